//! The first hour: help, version, completions, a recipe from `init`, a dry run, and what a second run need not do again.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use tilecast_onnx::Model;

use crate::support::{Folder, NAFNET, RECIPE, SRVGG, sample_model};

/// The verbs that the help lists.
fn verbs() -> Vec<String> {
    let help = Folder::new().succeed("--help").stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    commands
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_help_fits_a_screen_and_gives_an_example() {
    let folder = Folder::new();
    let verbs = verbs();
    assert!(verbs.len() >= 15, "{verbs:?}");
    let pages = verbs
        .iter()
        .map(|verb| format!("{verb} "))
        .chain([String::new()]);
    for page in pages {
        for (flag, most_lines) in [("-h", 40), ("--help", 50)] {
            let text = folder.succeed(&format!("{page}{flag}")).stdout;
            assert!(
                text.contains("Example:\n  tilecast"),
                "{page}{flag}:\n{text}"
            );
            let n_lines = text.lines().count();
            assert!(
                n_lines <= most_lines,
                "{page}{flag}: {n_lines} lines:\n{text}"
            );
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 110, "{page}{flag}: {widest} columns:\n{text}");
        }
    }
}

#[test]
fn examples_name_the_verb_that_they_explain() {
    let folder = Folder::new();
    for verb in verbs() {
        let text = folder.succeed(&format!("{verb} --help")).stdout;
        let (_, example) = text.split_once("Example:\n").unwrap();
        assert!(example.contains(&format!("tilecast {verb}")), "{example}");
    }
}

#[test]
fn the_version_says_how_it_was_built() {
    let folder = Folder::new();
    let short = folder.succeed("--version").stdout;
    assert_eq!(short, format!("tilecast {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(folder.succeed("-V").stdout, short);
    let long = folder.succeed("--version --verbose").stdout;
    assert!(long.starts_with(&short), "{long}");
    for key in [
        "target: ",
        "profile: release",
        "features: ",
        "engine: tract 0.",
        "compiler: rustc ",
    ] {
        assert!(long.contains(key), "no `{key}` in:\n{long}");
    }
}

#[test]
fn shells_and_man_know_every_verb() {
    let folder = Folder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder.succeed(&format!("completions {shell}")).stdout;
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
    }
    assert!(folder.succeed("man").stdout.contains(".TH tilecast 1"));
    let written = folder.succeed_with_json("man pages --json");
    let n_pages = written["paths"].as_array().unwrap().len();
    assert_eq!(n_pages, verbs().len() + 1);
    let page = String::from_utf8(folder.read("pages/tilecast-quantize.1")).unwrap();
    assert!(
        page.contains("dry\\-run") && page.contains("Example"),
        "{page}"
    );
}

#[test]
fn init_writes_a_recipe_that_runs() {
    let folder = Folder::with_images();
    let outcome =
        folder.succeed("init srvgg-x2.onnx --images images --references references -o net.yaml");
    outcome.assert_says(&[
        "guessed: pixels from 0 (black) to 1 (white)",
        "`images` holds 4 image(s)",
    ]);
    assert!(
        outcome
            .stdout
            .contains("next: look at the 2 line(s) marked CHECK"),
        "{}",
        outcome.stdout
    );
    let recipe = String::from_utf8(folder.read("net.yaml")).unwrap();
    for line in [
        "# yaml-language-server: $schema=tilecast.schema.json",
        "model: srvgg-x2.onnx",
        "  images: images  #",
        "  references: references  #",
        "  layout: nchw",
        "# - scale 2, halo",
    ] {
        assert!(recipe.contains(line), "no `{line}` in:\n{recipe}");
    }
    assert_eq!(
        folder.read("tilecast.schema.json"),
        folder.succeed("schema").stdout.as_bytes()
    );
    folder.succeed("quantize net.yaml --out out --set tiling.validate_tile=64");

    let again = folder.run("init srvgg-x2.onnx -o net.yaml");
    again.assert_failure(2);
    again.assert_says(&["`net.yaml` is there already", "--force"]);
    folder.succeed("init srvgg-x2.onnx -o net.yaml --force --quiet");
    // Without -o the text is the answer.
    let text = folder.succeed("init srvgg-x2.onnx").stdout;
    assert!(text.starts_with("# yaml-language-server"), "{text}");
    let json = folder.succeed_with_json("init srvgg-x2.onnx --json");
    assert_eq!(
        (&json["schema"], &json["path"]),
        (&Value::from("tilecast.init/1"), &Value::Null)
    );
    assert_eq!(json["recipe"], text);
}

#[test]
fn a_dry_run_predicts_and_writes_nothing() {
    let folder = Folder::with_images();
    let before = folder.files();
    let plan = folder.succeed_with_json("quantize recipe.yaml --out out --dry-run --json");
    assert_eq!(plan["schema"], "tilecast.dry-run/1");
    let text = folder
        .succeed("quantize recipe.yaml --out out --dry-run")
        .stdout;
    assert!(text.contains("nothing was written"), "{text}");
    assert_eq!(folder.files(), before);

    let report = folder.succeed_with_json("quantize recipe.yaml --out out --json");
    let pairs = plan["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .zip(report["artifacts"].as_array().unwrap());
    for (predicted, made) in pairs {
        assert_eq!(predicted["path"], made["path"]);
        let [predicted, made] = [predicted, made].map(|a| a["bytes"].as_f64().unwrap());
        assert!(
            (predicted / made - 1.0).abs() < 0.03,
            "{predicted} and {made} bytes"
        );
    }
    assert_eq!(plan["stages"][0]["reused"], false);
    let seconds = plan["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 600.0, "{seconds}");
    // What was calibrated need not be again.
    let plan = folder.succeed_with_json("quantize recipe.yaml --out out --dry-run --json");
    assert_eq!(plan["stages"][0]["reused"], true);
}

/// The artifacts and reports of a folder, by name.
fn artifacts(folder: &Folder, out: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder.path(out)).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            std::path::Path::new(name)
                .extension()
                .is_some_and(|e| e == "onnx")
        })
        .map(|name| (name.clone(), folder.read(&format!("{out}/{name}"))))
        .collect()
}

#[test]
fn a_second_run_reuses_the_calibration_and_gives_the_same_bytes() {
    let folder = Folder::with_images();
    let reused = "calibrate    reused: tables of 2 of 2 target(s)";
    let first = folder.succeed("quantize recipe.yaml --out a");
    assert!(!first.stderr.contains("reused"), "{}", first.stderr);
    let second = folder.succeed("quantize recipe.yaml --out b");
    second.assert_says(&[reused]);
    let anew = folder.succeed("quantize recipe.yaml --out c --no-cache");
    assert!(!anew.stderr.contains("reused"), "{}", anew.stderr);
    assert_eq!(artifacts(&folder, "a").len(), 2);
    assert_eq!(artifacts(&folder, "a"), artifacts(&folder, "b"));
    assert_eq!(artifacts(&folder, "a"), artifacts(&folder, "c"));
    // A gate decides nothing about ranges, and neither does the way they are chosen.
    for set in ["artifacts.0.gate.min_psnr_db=50", "calibration.range=mse"] {
        let line = format!("quantize recipe.yaml --out d --set {set}");
        folder.succeed(&line).assert_says(&[reused]);
    }
    // Tiles of another side are other observations.
    let other = folder.succeed("quantize recipe.yaml --out d --set tiling.validate_tile=80");
    assert!(!other.stderr.contains("reused"), "{}", other.stderr);
    // And so are other images, under whatever name.
    fs::copy(folder.path("images/3.png"), folder.path("images/1.png")).unwrap();
    fs::copy(
        folder.path("references/3.png"),
        folder.path("references/1.png"),
    )
    .unwrap();
    let other = folder.succeed("quantize recipe.yaml --out d");
    assert!(!other.stderr.contains("reused"), "{}", other.stderr);
}

#[test]
fn artifacts_say_where_they_come_from() {
    let folder = Folder::with_images();
    let line = "quantize recipe.yaml --out out --json --set artifacts.0.strip_metadata=true";
    let report = folder.succeed_with_json(line);
    let read = |index: usize| -> BTreeMap<String, String> {
        let path = report["artifacts"][index]["path"].as_str().unwrap();
        let model = Model::load(&folder.path("out").join(path)).unwrap();
        let entries = model.proto().metadata_props.iter();
        entries
            .map(|e| (e.key.clone().unwrap(), e.value.clone().unwrap()))
            .collect()
    };
    let said = read(1);
    assert_eq!(said["tilecast.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said["tilecast.artifact"], "int8-ort-cpu");
    assert_eq!(said["tilecast.model"], "srvgg-x2.onnx");
    assert_eq!(
        said["tilecast.model_sha256"],
        report["model"]["sha256"].as_str().unwrap()
    );
    assert_eq!(
        said["tilecast.recipe_sha256"],
        report["recipe"]["sha256"].as_str().unwrap()
    );
    assert_eq!(
        said["tilecast.recipe_set"],
        "artifacts.0.strip_metadata=true"
    );
    assert!(
        read(0).keys().all(|key| !key.starts_with("tilecast.")),
        "it was asked to be stripped"
    );

    let sums = String::from_utf8(folder.read("out/SHA256SUMS")).unwrap();
    let mut names: Vec<&str> = sums
        .lines()
        .map(|line| line.split_once("  ").unwrap().1)
        .collect();
    assert!(
        sums.contains(report["artifacts"][1]["sha256"].as_str().unwrap()),
        "{sums}"
    );
    names.push("SHA256SUMS");
    names.sort_unstable();
    let mut found: Vec<String> = fs::read_dir(folder.path("out"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names, "every file has its hash");
}

#[test]
fn the_summary_fits_a_screen() {
    let folder = Folder::with_images();
    let summary = folder.succeed("quantize recipe.yaml --out out").stdout;
    for line in summary.lines() {
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    assert!(summary.lines().count() <= 24, "{summary}");
}

#[test]
fn talk_is_as_much_as_was_asked_for() {
    let folder = Folder::with_images();
    folder.write("recipe.yaml", RECIPE);
    let quiet = folder.succeed("quantize recipe.yaml --out a --no-cache --quiet");
    assert_eq!(quiet.stderr, "");
    let verbose = folder.succeed("quantize recipe.yaml --out b --no-cache --verbose");
    verbose.assert_says(&["calibrate: ", " tiles", "validate: "]);
    assert!(
        !verbose.stderr.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
    folder
        .run("lint srvgg-x2.onnx --quiet --verbose")
        .assert_failure_of_usage();
}

#[test]
fn explanations_are_documents_too() {
    let folder = Folder::new();
    let json = folder.succeed_with_json("explain H21 --json");
    assert_eq!(json["schema"], "tilecast.explain/1");
    assert!(json["text"].as_str().unwrap().len() > 100);
}

#[test]
fn init_says_what_cannot_be_run() {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    let outcome = folder.succeed("init nafnet-denoise.onnx");
    assert!(
        outcome
            .stdout
            .contains("global_statistics: local  # or { sweeps: auto }"),
        "{}",
        outcome.stdout
    );
    folder.write(SRVGG, "no model");
    folder.fail("init srvgg-x2.onnx -o net.yaml", 3);
    assert_eq!(folder.files(), [NAFNET, SRVGG]);
}
