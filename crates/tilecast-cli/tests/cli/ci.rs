//! The files under `docs/ci`: their commands run as they are written.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::support::{Folder, Outcome, SRVGG, repository};

/// A composite action.
#[derive(Deserialize)]
struct Action {
    inputs: BTreeMap<String, Input>,
    runs: Runs,
}

#[derive(Deserialize)]
struct Input {
    default: Option<String>,
}

#[derive(Deserialize)]
struct Runs {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    r#if: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    run: Option<String>,
}

/// The one job of the GitLab file.
#[derive(Deserialize)]
struct Pipeline {
    tilecast: Job,
}

#[derive(Deserialize)]
struct Job {
    variables: BTreeMap<String, String>,
    script: Vec<String>,
    artifacts: Artifacts,
}

#[derive(Deserialize)]
struct Artifacts {
    reports: BTreeMap<String, String>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join("docs/ci").join(path)).unwrap()
}

/// Runs a script as continuous integration does, with the built binary first on the PATH.
fn bash(folder: &Folder, script: &str, variables: &BTreeMap<String, String>) -> Outcome {
    let binary = Path::new(env!("CARGO_BIN_EXE_tilecast")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(binary.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
        .envs(variables)
        .env("PATH", path.unwrap())
        .env("GITHUB_STEP_SUMMARY", folder.path("step-summary.md"))
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    Outcome::new(script, &output)
}

/// Runs the steps of the action with these inputs; the exit code is that of the first that fails.
fn act(folder: &Folder, inputs: &[(&str, &str)]) -> i32 {
    let action: Action = serde_saphyr::from_str(&read("github-action/action.yml")).unwrap();
    let mut given: BTreeMap<String, String> = action
        .inputs
        .into_iter()
        .map(|(name, input)| (name, input.default.unwrap_or_default()))
        .collect();
    for (name, value) in inputs {
        assert!(
            given
                .insert((*name).to_owned(), (*value).to_owned())
                .is_some()
        );
    }
    let mut code = 0;
    for step in action.runs.steps {
        let Some(run) = step.run else { continue };
        if code != 0 && step.r#if.as_deref() != Some("always()") {
            continue;
        }
        let value = |text: &str| {
            let name = text
                .strip_prefix("${{ inputs.")
                .and_then(|t| t.strip_suffix(" }}"));
            given[name.unwrap_or_else(|| panic!("{text}"))].clone()
        };
        let env = step
            .env
            .iter()
            .map(|(name, text)| (name.clone(), value(text)));
        let outcome = bash(folder, &run, &env.collect());
        if code == 0 {
            code = outcome.code();
        }
    }
    code
}

fn text(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).unwrap()
}

#[test]
fn the_github_action_passes_fails_and_compares() {
    let folder = Folder::with_images();
    assert_eq!(act(&folder, &[("recipe", "recipe.yaml")]), 0);
    let summary = text(&folder, "step-summary.md");
    assert!(summary.starts_with("### Passed: `recipe`"), "{summary}");
    assert!(text(&folder, "dist/tilecast/junit.xml").contains("failures=\"0\""));

    // The same again, against the first run.
    let baseline = [
        ("recipe", "recipe.yaml"),
        ("out", "again"),
        ("baseline", "dist/tilecast/report.json"),
    ];
    assert_eq!(act(&folder, &baseline), 0);
    assert!(text(&folder, "again/summary.md").contains("compared with the baseline `report.json`"));

    let strict = text(&folder, "recipe.yaml").replace("min_psnr_db: 55", "min_psnr_db: 99");
    folder.write("recipe.yaml", strict);
    std::fs::remove_file(folder.path("step-summary.md")).unwrap();
    assert_eq!(act(&folder, &[("recipe", "recipe.yaml")]), 1);
    let summary = text(&folder, "step-summary.md");
    assert!(summary.starts_with("### Failed: `recipe`"), "{summary}");
    assert!(
        summary.contains("- **fp16-generic**: min_psnr_db is "),
        "{summary}"
    );
}

#[test]
fn the_gitlab_job_runs() {
    let folder = Folder::with_images();
    let job: Pipeline = serde_saphyr::from_str(&read("gitlab-ci.yml")).unwrap();
    let mut job = job.tilecast;
    *job.variables.get_mut("RECIPE").unwrap() = "recipe.yaml".to_owned();
    bash(&folder, &job.script.join("\n"), &job.variables).assert_code(0);
    let junit = text(&folder, &job.artifacts.reports["junit"]);
    assert!(
        junit.contains("<testsuite name=\"fp16-generic\""),
        "{junit}"
    );
}

#[test]
fn the_command_without_a_recipe_runs() {
    let folder = Folder::with_images();
    folder.write("fp32.onnx", folder.read(SRVGG));
    folder.succeed("convert fp32.onnx --to fp16 -o int8.onnx");
    let page = read("README.md");
    let command = page.lines().find(|l| l.starts_with("    tilecast verify "));
    bash(&folder, command.unwrap().trim(), &BTreeMap::new()).assert_code(0);
    assert!(text(&folder, "summary.md").starts_with("### Passed: `int8.onnx`"));
    let maps: Vec<String> = folder
        .files()
        .into_iter()
        .filter(|name| name.starts_with("errors/"))
        .collect();
    assert_eq!(maps.len(), 4, "{maps:?}");
    assert!(maps[0].starts_with("errors/1.png.error-") && maps[0].ends_with("x.png"));
}
