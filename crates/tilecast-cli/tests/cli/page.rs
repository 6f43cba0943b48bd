//! `report.html`: one file that loads nothing, whose tags close, and which a keyboard and a screen reader can use.

use std::collections::BTreeMap;

use crate::support::Folder;

/// Tags without an end.
const VOID: [&str; 3] = ["meta", "img", "input"];

/// A start tag.
struct Tag {
    name: String,
    attributes: BTreeMap<String, String>,
}

/// The start tags of a page in order. Every tag that is no [`VOID`] one must be closed, innermost first.
fn tags(page: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (inside, after) = after.split_once('>').unwrap();
        rest = after;
        if inside.starts_with('!') {
            continue;
        }
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "tag {}", tags.len());
            continue;
        }
        let (name, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        tags.push(Tag {
            name: name.to_owned(),
            attributes: parse(attributes),
        });
        if ["script", "style"].contains(&name) {
            // What is inside is no HTML.
            let (_, after) = rest.split_once(&format!("</{name}>")).unwrap();
            rest = after;
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new());
    tags
}

/// Attributes with their values; empty where they have none.
fn parse(mut text: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    while !text.trim().is_empty() {
        text = text.trim_start();
        let end = text.find(['=', ' ']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let value = rest
            .strip_prefix("=\"")
            .map(|rest| rest.split_once('"').unwrap());
        let (value, rest) = value.unwrap_or(("", rest));
        attributes.insert(name.to_owned(), value.to_owned());
        text = rest;
    }
    attributes
}

fn page(line: &str) -> String {
    let folder = Folder::with_images();
    folder.run(line);
    String::from_utf8(folder.read("out/report.html")).unwrap()
}

#[test]
fn the_page_needs_nothing_and_says_everything_in_words() {
    // An artifact that passes, and one whose gate asks for a mixture.
    let page =
        page("quantize recipe.yaml --out out --set artifacts.int8-ort-cpu.gate.min_psnr_db=60");
    let tags = tags(&page);
    let all = |name: &'static str| tags.iter().filter(move |tag| tag.name == name);
    let ids: Vec<&String> = tags.iter().filter_map(|t| t.attributes.get("id")).collect();
    for id in &ids {
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1, "{id}");
    }
    for tag in &tags {
        for (name, value) in &tag.attributes {
            let is_local = match name.as_str() {
                "src" => value.starts_with("data:image/png;base64,"),
                "href" => value
                    .strip_prefix('#')
                    .is_some_and(|id| ids.iter().any(|known| *known == id)),
                _ => true,
            };
            assert!(is_local, "{name}={value}");
        }
    }
    assert!(!page.contains("://"), "an address of a network");
    assert_eq!(all("h1").count(), 1);
    let mut level = 1;
    for tag in &tags {
        if let Some(next) = tag
            .name
            .strip_prefix('h')
            .and_then(|l| l.parse::<u32>().ok())
        {
            assert!(
                next <= level + 1,
                "a heading of level {next} after one of {level}"
            );
            level = next;
        }
    }
    assert!(all("img").count() >= 6);
    assert!(all("img").all(|tag| !tag.attributes["alt"].is_empty()));
    assert!(all("th").all(|tag| tag.attributes.contains_key("scope")));
    let is_labelled = |tag: &Tag| {
        let labels =
            |id: &String| all("label").any(|label| label.attributes.get("for") == Some(id));
        tag.attributes.contains_key("aria-label") || tag.attributes.get("id").is_some_and(labels)
    };
    assert!(all("input").all(is_labelled));
    let has_words = |tag: &Tag| {
        let attribute = |name| tag.attributes.get(name).map(String::as_str);
        attribute("aria-hidden") == Some("true")
            || (attribute("role") == Some("img")
                && attribute("aria-label").is_some_and(|l| !l.is_empty()))
    };
    assert!(all("svg").all(has_words));
    for words in [
        "Mixtures of int8-ort-cpu",
        "Sensitivity",
        "show where tiles meet",
        "amplified",
        "Ranges for target ort-cpu",
    ] {
        assert!(page.contains(words), "no `{words}`");
    }
}

#[test]
fn names_from_files_are_text_and_not_tags() {
    let folder = Folder::with_images();
    let recipe = String::from_utf8(folder.read("recipe.yaml")).unwrap();
    let name = "a & <b> \"c\"";
    let renamed = recipe.replacen("- precision: fp16", "- name: x\n    precision: fp16", 1);
    folder.write(
        &format!("{name}.yaml"),
        format!("{renamed}# <script>alert(1)</script>\n"),
    );
    let mut command = folder.command("quantize");
    command.arg(format!("{name}.yaml")).args(["--out", "out"]);
    assert!(command.output().unwrap().status.success());
    let page = String::from_utf8(folder.read("out/report.html")).unwrap();
    tags(&page);
    assert!(page.contains("a &amp; &lt;b&gt; &quot;c&quot;"));
    assert!(!page.contains("alert(1)</script>"));
}
