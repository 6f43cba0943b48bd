//! A reader that has gone, as in `tilecast … | head`, has seen enough: no failure and no talk about it.

use std::process::Stdio;

use crate::support::{Folder, NAFNET, Outcome, sample_model};

#[test]
fn a_closed_stdout_is_no_failure() {
    let folder = Folder::with_images();
    folder.write(NAFNET, sample_model(NAFNET));
    for line in [
        "lint nafnet-denoise.onnx",
        "lint nafnet-denoise.onnx --json",
        "inspect srvgg-x2.onnx --json",
        "explain H21",
        "quantize recipe.yaml --out out --json --quiet",
        "--help",
        "--version",
    ] {
        // The reading end is closed before the process starts, so its first write fails.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = folder
            .command(line)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let outcome = Outcome::new(line, &child.wait_with_output().unwrap());
        outcome.assert_code(0);
        assert_eq!(outcome.talk(), "", "{line}");
    }
    assert!(folder.path("out/report.json").is_file());
}
