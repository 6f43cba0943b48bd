//! Folders that hold one thing per file: each file must be an entry of the list that makes it known.

use std::fs;

use crate::assert_none;
use crate::checkout::{read, root};

/// A folder and its list.
struct Registry {
    /// The folder, relative to the repository's root.
    folder: &'static str,
    /// The file that holds the list.
    list_file: &'static str,
    /// The list's constant or function; the entries stand between this name and the next line that closes it.
    list: &'static str,
    /// Files in the folder that are no entries: shared by some of them.
    helpers: &'static [&'static str],
}

const REGISTRIES: &[Registry] = &[
    Registry {
        folder: "crates/tilecast-analysis/src/rules",
        list_file: "crates/tilecast-analysis/src/rules/mod.rs",
        list: "pub static RULES",
        helpers: &[],
    },
    Registry {
        folder: "crates/tilecast-passes/src/precision",
        list_file: "crates/tilecast-passes/src/lib.rs",
        list: "pub const PASSES",
        helpers: &[],
    },
    Registry {
        folder: "crates/tilecast-passes/src/mitigations",
        list_file: "crates/tilecast-passes/src/lib.rs",
        list: "pub const PASSES",
        helpers: &[],
    },
    Registry {
        folder: "crates/tilecast-passes/src/targets",
        list_file: "crates/tilecast-passes/src/targets.rs",
        list: "pub const TARGETS",
        helpers: &[],
    },
];

#[test]
fn every_file_of_a_registry_is_listed() {
    let mut violations = Vec::new();
    for registry in REGISTRIES {
        let entries = entries(&read(registry.list_file), registry.list);
        let stems = stems(registry.folder);
        assert!(!stems.is_empty(), "{} is empty", registry.folder);
        for stem in stems {
            let is_helper = registry.helpers.contains(&stem.as_str());
            if !is_helper && !is_mentioned(&entries, &stem) {
                violations.push(format!(
                    "{}/{stem}.rs is not in `{}` of {}",
                    registry.folder, registry.list, registry.list_file
                ));
            }
        }
    }
    assert_none(&violations, "these files are not registered");
}

/// Names of the modules in a folder, without tests.
fn stems(folder: &str) -> Vec<String> {
    let mut stems: Vec<String> = fs::read_dir(root().join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|stem| !["mod", "tests"].contains(&stem.as_str()))
        .collect();
    stems.sort();
    stems
}

/// The text of the list: from its name to the end of the statement or block.
fn entries(text: &str, list: &str) -> String {
    let (_, after) = text
        .split_once(list)
        .unwrap_or_else(|| panic!("there is no `{list}`"));
    let end = ["];\n", "\n}\n"]
        .iter()
        .filter_map(|end| after.find(end))
        .min();
    after[..end.unwrap_or(after.len())].to_owned()
}

/// Whether a module's name is a whole word of the list, in whatever case.
fn is_mentioned(entries: &str, stem: &str) -> bool {
    entries
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word.eq_ignore_ascii_case(stem))
}

#[test]
fn only_whole_words_inside_the_list_count() {
    let text = "mod halo;\npub const RULES: &[&Rule] = &[\n    &norm::NORM,\n    &HALO_MAX,\n];\nuse gone;\n";
    let entries = entries(text, "pub const RULES");
    for (stem, expected) in [
        ("norm", true),
        ("halo_max", true),
        ("halo", false),
        ("gone", false),
    ] {
        assert_eq!(is_mentioned(&entries, stem), expected, "{stem}");
    }
}
