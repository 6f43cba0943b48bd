//! What the writer of a recipe probably meant. Descriptions and places of keys come from the JSON schema.

use serde_json::Value as Json;

use super::schema::schema;

/// What to do about an unknown key where `valid` ones are allowed.
pub(super) fn for_key(key: &str, valid: &[&str]) -> String {
    if let Some(meant) = closest(key, valid) {
        return format!("did you mean `{meant}`?");
    }
    let homes = homes_of(key);
    if homes.is_empty() {
        format!("the keys here are {}", listed(valid))
    } else {
        format!("`{key}` is a key of {}", listed(&homes))
    }
}

/// What to do about an unknown word where `valid` ones are allowed.
pub(super) fn for_word(word: &str, valid: &[&str]) -> String {
    match closest(word, valid) {
        Some(meant) if valid.len() > 1 => {
            format!("did you mean `{meant}`? The values are {}", listed(valid))
        }
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("expected {}", one_of(valid)),
    }
}

/// "`a`, `b` or `c`".
pub(super) fn one_of<S: AsRef<str>>(words: &[S]) -> String {
    joined(words, "or")
}

/// "`a`, `b` and `c`".
pub(super) fn listed<S: AsRef<str>>(words: &[S]) -> String {
    joined(words, "and")
}

fn joined<S: AsRef<str>>(words: &[S], last: &str) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// The candidate that `word` is a misspelling or the beginning of. Case, `-` and `_` do not count.
pub(super) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A longer word is no misspelling, and the distance takes quadratic time.
    const MAX_BYTES: usize = 64;
    if word.is_empty() || word.len() > MAX_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &plain(candidate)),
                *candidate,
            )
        })
        .filter(|(distance, candidate)| {
            let longest = word.len().max(candidate.len());
            let is_part = word.len() >= 3 && plain(candidate).starts_with(&word)
                || candidate.len() >= 3 && word.starts_with(&plain(candidate));
            *distance <= longest.div_ceil(4) || is_part
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// First paragraph of the description of the key at `path` (keys and list indices).
pub(super) fn description(path: &[String]) -> Option<String> {
    let root = Json::from(schema());
    let mut node = &root;
    for segment in path {
        node = if segment.parse::<usize>().is_ok() {
            node.get("items")?
        } else {
            node.get("properties")?.get(segment)?
        };
    }
    let text = node.get("description")?.as_str()?;
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    Some(paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Sections that have a key of this name.
fn homes_of(key: &str) -> Vec<String> {
    fn walk(node: &Json, path: &str, key: &str, homes: &mut Vec<String>) {
        if let Some(properties) = node.get("properties").and_then(Json::as_object) {
            if properties.contains_key(key) && !path.is_empty() {
                homes.push(path.to_owned());
            }
            for (name, property) in properties {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(property, &inner, key, homes);
            }
        }
        if let Some(items) = node.get("items") {
            walk(items, path, key, homes);
        }
    }

    let mut homes = Vec::new();
    walk(&Json::from(schema()), "", key, &mut homes);
    homes
}

#[cfg(test)]
mod tests {
    use super::{closest, description, for_key, for_word, one_of};

    #[test]
    fn misspellings_are_recognized() {
        let keys = [
            "name",
            "precision",
            "target",
            "per_channel",
            "keep_io_types",
            "gate",
        ];
        for (word, meant) in [
            ("precison", Some("precision")),
            ("percision", Some("precision")),
            ("Precision", Some("precision")),
            ("per-channel", Some("per_channel")),
            ("keep_io", Some("keep_io_types")),
            ("targets", Some("target")),
            ("gaet", Some("gate")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &keys), meant, "{word}");
        }
    }

    #[test]
    fn help_names_the_section_that_has_the_key() {
        assert_eq!(
            for_key("min_psnr_db", &["name", "gate"]),
            "`min_psnr_db` is a key of `artifacts.gate`"
        );
        assert_eq!(
            for_key("zzz", &["name", "gate"]),
            "the keys here are `name` and `gate`"
        );
    }

    #[test]
    fn help_lists_values() {
        assert_eq!(
            for_word("int9", &["fp16", "int8"]),
            "did you mean `int8`? The values are `fp16` and `int8`"
        );
        assert_eq!(
            for_word("w", &["fp16", "int8"]),
            "expected `fp16` or `int8`"
        );
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }

    #[test]
    fn descriptions_come_from_the_schema() {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let holdout = description(&path("calibration.holdout")).expect("described");
        assert!(holdout.ends_with("Default: 0.25."), "{holdout}");
        assert!(description(&path("artifacts.3.gate.min_psnr_db")).is_some());
        assert!(description(&path("artifacts.x")).is_none());
    }
}
