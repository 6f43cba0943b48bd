//! Rules for the text of single files.

use crate::assert_none;
use crate::checkout::{TextFile, text_files};

/// Lines that a source file may have; one that needs more holds two subjects.
const MAX_LINES: usize = 800;

/// What no source file may hold, with the reason. Written in halves, so that this file does not hold it either.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "build it or refuse it by name"),
    (
        concat!("unimplemented", "!("),
        "build it or refuse it by name",
    ),
    (concat!("dbg", "!("), "a library prints nothing"),
    (
        concat!("#[ig", "nore"),
        "assert what happens today, and say why that is wrong",
    ),
    (
        concat!("#[al", "low("),
        "use expect with a reason: it ends with its cause",
    ),
    (
        concat!("#![al", "low("),
        "use expect with a reason: it ends with its cause",
    ),
    (concat!("TO", "DO"), "open an issue instead"),
];

/// Beginnings of paths that exist on one machine only, with the reason.
const MACHINE_PATHS: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a folder of one machine"),
    (concat!("/ro", "ot/"), "a folder of one user"),
    (concat!("/ho", "me/"), "a folder of one user"),
    (concat!("/tm", "p/"), "a folder that is emptied"),
];

fn rust_files() -> Vec<TextFile> {
    let mut files = text_files();
    files.retain(TextFile::is_rust);
    files
}

/// `path:line: what` for each line that holds one of the patterns.
fn occurrences(files: &[TextFile], patterns: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for (pattern, advice) in patterns {
                if line.contains(pattern) {
                    found.push(format!("{}:{}: {advice}", file.path, index + 1));
                }
            }
        }
    }
    found
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let violations: Vec<String> = rust_files()
        .iter()
        .filter(|file| !has_header(&file.text))
        .map(|file| file.path.clone())
        .collect();
    assert_none(&violations, "these files need a `//!` header");
}

/// Whether the first line is module documentation that says something.
fn has_header(text: &str) -> bool {
    text.lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"))
        .is_some_and(|words| !words.trim().is_empty())
}

#[test]
fn no_source_file_is_too_long() {
    let violations: Vec<String> = rust_files()
        .iter()
        .filter(|file| file.name() != "tests.rs")
        .map(|file| (&file.path, file.text.lines().count()))
        .filter(|(_, n_lines)| *n_lines > MAX_LINES)
        .map(|(path, n_lines)| format!("{path}: {n_lines} lines"))
        .collect();
    assert_none(
        &violations,
        &format!("files over {MAX_LINES} lines need to be split"),
    );
}

#[test]
fn nothing_unfinished_or_silenced_is_checked_in() {
    let violations = occurrences(&rust_files(), FORBIDDEN);
    assert_none(&violations, "these lines may not stay");
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let violations = occurrences(&text_files(), MACHINE_PATHS);
    assert_none(
        &violations,
        "these lines name a folder that others do not have",
    );
}

#[test]
fn headers_are_told_from_other_beginnings() {
    for (text, expected) in [
        ("//! What it is.\n\nfn f() {}", true),
        ("//!\n//! Late.", false),
        ("// A comment.\n//! Late.", false),
        ("use std::fs;\n", false),
        ("", false),
    ] {
        assert_eq!(has_header(text), expected, "{text:?}");
    }
}

#[test]
fn occurrences_name_the_line() {
    let file = TextFile {
        path: "a.rs".to_owned(),
        text: format!("fn f() {{\n    {}x);\n}}", concat!("dbg", "!(")),
    };
    assert_eq!(
        occurrences(&[file], FORBIDDEN),
        ["a.rs:2: a library prints nothing"]
    );
}
