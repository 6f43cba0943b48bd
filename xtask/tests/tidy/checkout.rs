//! What the rules look at: the text files of this checkout, and cargo's view of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What holds nothing of ours: version control (a folder, or a file in a linked worktree), build output, results.
const SKIPPED: &[&str] = &[".git", "target", "dist", "__pycache__"];

/// Endings of the text files that are checked in; files without an ending are scripts and licences.
const TEXT_ENDINGS: &[&str] = &[
    "", "html", "json", "jsonl", "lock", "md", "proto", "py", "rs", "sh", "snap", "svg", "toml",
    "txt", "yaml", "yml",
];

/// A text file of this checkout.
pub(crate) struct TextFile {
    /// Path relative to the repository's root, with forward slashes.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

impl TextFile {
    /// Whether it is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|ending| ending == "rs")
    }

    /// The name without folders.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of one file, by its path relative to the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file, in the order of the paths.
pub(crate) fn text_files() -> Vec<TextFile> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        files.iter().any(|file| file.path == "xtask/src/main.rs"),
        "the walk must start at the repository's root"
    );
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    for entry in fs::read_dir(folder).expect("the checkout can be read") {
        let entry = entry.expect("the checkout can be read");
        let name = entry
            .file_name()
            .into_string()
            .expect("names are in Unicode");
        let path = format!("{prefix}{name}");
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
            continue;
        }
        let ending = name
            .trim_start_matches('.')
            .rsplit_once('.')
            .map_or("", |(_, e)| e);
        if TEXT_ENDINGS.contains(&ending) {
            let bytes = fs::read(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            // A file without an ending may be a fuzzer's input; the compiler sees to it that sources are text.
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile { path, text });
            }
        }
    }
}

/// The workspace's crates, each with those it depends on outside of tests and examples.
pub(crate) fn crate_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo is there, since it runs this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name_of = |value: &serde_json::Value| value["name"].as_str().map(str::to_owned);
    let members: BTreeSet<String> = packages.iter().filter_map(name_of).collect();
    packages
        .iter()
        .map(|package| {
            let arrows = package["dependencies"]
                .as_array()
                .expect("a list of dependencies")
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .filter_map(name_of)
                .filter(|name| members.contains(name))
                .collect();
            (name_of(package).expect("packages have names"), arrows)
        })
        .collect()
}

/// The third-party crates that the root manifest names.
pub(crate) fn third_party_dependencies() -> BTreeSet<String> {
    parse_third_party(&read("Cargo.toml"))
}

/// Keys of the table `workspace.dependencies` that are not crates of this workspace.
fn parse_third_party(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim_start().starts_with('#') && !line.contains("path ="))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

#[test]
fn third_party_dependencies_are_the_keys_without_a_path() {
    let manifest = "[workspace]\nexclude = [\"fuzz\"]\n\n[workspace.dependencies]\nours = { path = \"crates/ours\" }\n\n\
        # pinned = \"because\"\nserde = { version = \"1\", features = [\"derive\"] }\nhalf = \"2\"\n\n[workspace.lints.rust]\nx = \"y\"\n";
    let found: Vec<String> = parse_third_party(manifest).into_iter().collect();
    assert_eq!(found, ["half", "serde"]);
}
