//! Every command of the README and of `docs/` is run as it is written, page by page, on small files of the names that the
//! pages use. Commands that need what a test has not are listed with the reason.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Folder, NAFNET, SRVGG, repository, sample_model};

/// Beginnings of commands that are not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install", "builds and installs the program"),
    ("cargo test", "runs this test"),
    ("cargo build", "builds the program"),
    (
        "cargo xtask bench",
        "measures for minutes, beside tools of Python",
    ),
    ("cargo xtask gen", "has a test of its own"),
    ("cargo xtask fuzz", "searches for minutes"),
    (
        "cargo xtask conformance",
        "needs the cases of a Python package",
    ),
    (
        "cargo xtask quantize recipes/nafnet.yaml",
        "the test of the main job",
    ),
    ("pip install", "needs a package registry"),
    ("podman", "needs a container builder"),
    ("python ", "needs Python"),
    (
        "tilecast calibrate model.onnx --images photos -o part-$SLURM",
        "needs a scheduler's variable",
    ),
    (
        "tilecast calibrate merge part-*.json",
        "merges what the line above makes",
    ),
];

/// Beginnings of the lines that are commands.
const PROGRAMS: &[&str] = &["tilecast ", "cargo ", "pip ", "podman ", "python ", "cd "];

/// The pages, each with its commands in order: lines that are indented as code and begin with a program.
fn pages() -> Vec<(String, Vec<String>)> {
    let docs = fs::read_dir(repository().join("docs")).unwrap();
    let mut names: Vec<String> = docs
        .map(|file| format!("docs/{}", file.unwrap().file_name().to_str().unwrap()))
        .filter(|name| {
            std::path::Path::new(name)
                .extension()
                .is_some_and(|e| e == "md")
        })
        .collect();
    names.push("README.md".to_owned());
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(repository().join(&name)).unwrap();
            (name, commands(&text))
        })
        .collect()
}

fn commands(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let is_code = line.starts_with("    ") && !fenced;
        let command = line.trim();
        if is_code && PROGRAMS.iter().any(|program| command.starts_with(program)) {
            let without_comment = command.split("  # ").next().unwrap_or(command);
            found.push(without_comment.trim().to_owned());
        }
    }
    found
}

fn is_run(command: &str) -> bool {
    !NOT_RUN
        .iter()
        .any(|(beginning, _)| command.starts_with(beginning))
}

/// Small files of the names in the pages.
fn folder() -> Folder {
    let folder = Folder::with_images();
    for name in ["net.onnx", "model.onnx"] {
        folder.write(name, sample_model(SRVGG));
    }
    folder.write(NAFNET, sample_model(NAFNET));
    fs::rename(folder.path("images"), folder.path("photos")).unwrap();
    fs::copy(folder.path("photos/1.png"), folder.path("photo.png")).unwrap();
    let photo = image::open(folder.path("photos/2.png")).unwrap();
    photo.save(folder.path("photo.tif")).unwrap();
    folder.succeed("convert model.onnx --to fp16 --no-check --quiet -o model-fp16.onnx");
    folder
}

#[test]
fn every_command_of_the_pages_works_as_written() {
    for (page, commands) in pages() {
        if !commands.iter().any(|command| is_run(command)) {
            continue;
        }
        let folder = folder();
        for command in commands.iter().filter(|command| is_run(command)) {
            let output = Command::new("sh")
                .arg("-c")
                .arg(command.replace("cargo xtask ", "tilecast "))
                .current_dir(folder.path(""))
                .env("PATH", path_with_the_program())
                .env("TILECAST_CACHE_DIR", folder.path(".cache"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{page}: `{command}` ended with {}:\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// The folder of the program before those of the system.
fn path_with_the_program() -> std::ffi::OsString {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tilecast"));
    let own = program.parent().unwrap().to_owned();
    #[expect(
        clippy::disallowed_methods,
        reason = "a program that is found by its name needs the search path"
    )]
    let system = std::env::var("PATH").unwrap();
    std::env::join_paths([own].into_iter().chain(std::env::split_paths(&system))).unwrap()
}

#[test]
fn commands_that_are_not_run_are_few_and_there() {
    let all: Vec<String> = pages()
        .into_iter()
        .flat_map(|(_, commands)| commands)
        .collect();
    assert!(all.len() > 40, "{}", all.len());
    let n_run = all.iter().filter(|command| is_run(command)).count();
    assert!(n_run > 25, "{n_run} of {} commands are run", all.len());
    assert_eq!(
        commands("text\n    tilecast a  # b\n```\n    tilecast c\n```\n- x\n\n      cd d && e"),
        ["tilecast a", "cd d && e"]
    );
}
