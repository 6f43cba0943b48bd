//! Ctrl-C: code 130, nothing half written, earlier files as they were.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Folder, NAFNET, Outcome, sample_image, sample_model};

/// Two images of which the second is held out. With the denoiser in tiles of 256 it keeps two cores busy for several
/// times as long as a signal takes to arrive.
fn folder_with_a_long_job() -> Folder {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    std::fs::create_dir(folder.path("images")).unwrap();
    let large = sample_image("20-s10-1024x1024.png");
    let small = image::imageops::crop_imm(&large, 0, 0, 64, 64).to_image();
    small.save(folder.path("images/1.png")).unwrap();
    large.save(folder.path("images/2.png")).unwrap();
    folder
}

fn interrupt(child: &Child) {
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn an_interrupted_quantize_leaves_whole_artifacts_and_no_report() {
    const RECIPE: &str = "\
version: 1
model: nafnet-denoise.onnx
calibration: { images: images, holdout: 0.5 }
artifacts: [{ precision: fp16 }]
";
    let folder = folder_with_a_long_job();
    folder.write("recipe.yaml", RECIPE);
    let line = "quantize recipe.yaml --out out";
    let mut child = folder
        .command(line)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The artifact appears when it is complete; validation is next.
    let artifact = folder.path("out/nafnet-denoise-fp16-generic.onnx");
    let start = Instant::now();
    while !artifact.exists() {
        assert_eq!(child.try_wait().unwrap(), None, "ended before validation");
        if start.elapsed() > Duration::from_mins(2) {
            child.kill().unwrap();
            panic!("no artifact appeared");
        }
        sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let outcome = Outcome::new(line, &child.wait_with_output().unwrap());
    outcome.assert_failure(130);
    outcome.assert_says(&["interrupted"]);
    folder.assert_nothing_unfinished();
    folder.succeed("lint out/nafnet-denoise-fp16-generic.onnx");
}

#[test]
fn an_interrupted_run_keeps_the_earlier_image() {
    let folder = folder_with_a_long_job();
    folder.write("result.png", "earlier");
    let line = "run nafnet-denoise.onnx images/2.png -o result.png --tile 256";
    let mut child = folder
        .command(line)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The warning about its global nodes is the last thing said before the tiles.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.lines().any(|line| line.starts_with("warning: ")) {
        let n_bytes = stderr.read_line(&mut said).unwrap();
        assert!(n_bytes > 0, "ended without the warning: {said}");
    }
    interrupt(&child);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stderr = rest.into_bytes();
    let outcome = Outcome::new(line, &output);
    outcome.assert_failure(130);
    outcome.assert_says(&["images/2.png: interrupted after"]);
    folder.assert_nothing_unfinished();
    assert_eq!(folder.read("result.png"), b"earlier");
}

#[test]
fn twenty_kills_leave_no_part_of_an_image_and_the_next_run_tidies_up() {
    let folder = Folder::with_images();
    kill_twenty_times(
        &folder,
        "run srvgg-x2.onnx images/2.png -o result.png --tile 64",
    );
}

#[test]
fn kills_between_sweeps_leave_no_more() {
    let folder = Folder::with_images();
    let model = "instance-norm.onnx";
    folder.write(model, sample_model(&format!("statistics/{model}")));
    let whole = sample_image("01-s10-256x256.png");
    let part = image::imageops::crop_imm(&whole, 0, 0, 162, 130).to_image();
    part.save(folder.path("images/2.png")).unwrap();
    // A draft and two of three sweeps write no image.
    kill_twenty_times(
        &folder,
        &format!("run {model} images/2.png -o result.png --tile 80 --sweeps 3"),
    );
}

/// Kills this run at twenty moments, and lets it come to its end then.
#[track_caller]
fn kill_twenty_times(folder: &Folder, line: &str) {
    let start = Instant::now();
    folder.succeed(line);
    let millis = start.elapsed().as_millis() as u64;
    let whole = folder.read("result.png");
    std::fs::remove_file(folder.path("result.png")).unwrap();
    let mut state = 12_345_u64;
    for _ in 0..20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut child = folder
            .command(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis((state >> 33) % millis.max(1)));
        // A process that has ended already is no failure.
        let _ = child.kill();
        child.wait().unwrap();
        if folder.path("result.png").exists() {
            assert_eq!(folder.read("result.png"), whole, "half an image");
            std::fs::remove_file(folder.path("result.png")).unwrap();
        }
    }
    folder.succeed(line);
    assert_eq!(folder.read("result.png"), whole);
    folder.assert_nothing_unfinished();
}
