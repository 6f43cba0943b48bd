//! `--bind`: concrete sizes by the model's names of its dimensions, and what is said of those it does not have.

use crate::support::{Folder, SRVGG, sample_model};

/// A denoiser that rounds to a multiple of 8 and whose dynamo export says so.
const MULTIPLES: &str = "exports/nafnet-dy20.onnx";

/// The same from the other exporter: 463 nodes, of which shape arithmetic is a part.
const TRACED: &str = "exports/nafnet-ts17.onnx";

fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("exports")).unwrap();
    for model in [SRVGG, MULTIPLES, TRACED] {
        folder.write(model, sample_model(model));
    }
    folder
}

#[test]
fn inspect_shows_the_shapes_at_a_size() {
    let folder = folder();
    let cases = [
        (SRVGG, "h=20,w=30", [[20, 30], [40, 60]]),
        (SRVGG, "input:2=20 --bind w=30", [[20, 30], [40, 60]]),
        (SRVGG, "input=1x3x20x30", [[20, 30], [40, 60]]),
        // By the symbol, and by the whole of what stands in the model.
        (MULTIPLES, "h=4,8*w=40", [[32, 40], [32, 40]]),
    ];
    for (model, bindings, [input, output]) in cases {
        let document =
            folder.succeed_with_json(&format!("inspect {model} --json --bind {bindings}"));
        for (ports, [h, w]) in [("inputs", input), ("outputs", output)] {
            let expected = ["1".to_owned(), "3".into(), h.to_string(), w.to_string()];
            let shape = &document[ports][0]["shape"];
            assert_eq!(
                *shape,
                serde_json::json!(expected),
                "{model} {bindings}: {ports}"
            );
        }
    }
    // What is said besides the shapes is that of the model as it is.
    let bound = folder.succeed_with_json(&format!("inspect {SRVGG} --json --bind h=20,w=30"));
    let free = folder.succeed_with_json(&format!("inspect {SRVGG} --json"));
    assert_eq!(bound["halo_px"], free["halo_px"]);
    assert_eq!(bound["peak_bytes"], free["peak_bytes"]);
}

#[test]
fn a_bound_model_has_no_shape_arithmetic_left() {
    let folder = folder();
    let simplify = |bind: &str| {
        let line = format!("simplify {TRACED} -o out.onnx --json{bind}");
        let report = folder.succeed_with_json(&line);
        let document = folder.succeed_with_json("inspect out.onnx --json");
        (report, document)
    };
    let (_, free) = simplify("");
    let (report, bound) = simplify(" --bind h=64,w=96");
    assert!(bound["nodes"].as_u64() <= free["nodes"].as_u64());
    for operator in ["Shape", "Gather", "Cast", "Concat", "Range"] {
        assert!(bound["operators"][operator].is_null(), "{operator} is left");
    }
    for ports in ["inputs", "outputs"] {
        let expected = serde_json::json!(["1", "3", "64", "96"]);
        assert_eq!(bound[ports][0]["shape"], expected, "{ports}");
    }
    // It was run at the size that it has.
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 1, "{checks:?}");
    assert_eq!(checks[0]["size_px"], serde_json::json!([64, 96]));

    // With one side open, the other one varies.
    let (report, _) = simplify(" --bind h=64");
    let sizes: Vec<_> = report["checks"].as_array().unwrap().iter().collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert!(
        sizes.iter().all(|check| check["size_px"][0] == 64),
        "{sizes:?}"
    );
}

#[test]
fn a_converted_model_is_bound_last() {
    let folder = folder();
    folder.succeed(&format!(
        "convert {TRACED} --to fp16 -o out.onnx --bind h=64,w=96"
    ));
    let bound = folder.succeed_with_json("inspect out.onnx --json");
    for ports in ["inputs", "outputs"] {
        let expected = serde_json::json!(["1", "3", "64", "96"]);
        assert_eq!(bound[ports][0]["shape"], expected, "{ports}");
    }
    for operator in ["Shape", "Gather"] {
        assert!(bound["operators"][operator].is_null(), "{operator} is left");
    }
    let refused = folder.fail(
        &format!("convert {SRVGG} --to fp16 -o none.onnx --bind H=64"),
        2,
    );
    refused.assert_says(&["`H`", "`h`, `w`"]);
    assert!(!folder.files().contains(&"none.onnx".to_owned()));
}

#[test]
fn what_the_model_does_not_have_is_a_usage_error_that_lists_what_it_has() {
    let folder = folder();
    let cases: [(&str, &[&str]); 10] = [
        ("H=256", &["`H`", "`h`, `w`"]),
        ("image=1x3x8x8", &["`image`", "`input`"]),
        ("h", &["`h` is no binding", "NAME=256"]),
        ("h=0", &["`h=0` is no binding"]),
        ("h=-8", &["`h=-8` is no binding"]),
        ("h=8x8", &["no dimension `h`"]),
        ("input=8x8", &["gives 2 dimensions", "has 4"]),
        ("input:4=8", &["none numbered 4"]),
        ("h=8,h=9", &["`h` is bound to 8 and to 9"]),
        ("h=8,input:2=9", &["`input:2` is bound to 8 and to 9"]),
    ];
    for (binding, says) in cases {
        for verb in [
            format!("inspect {SRVGG}"),
            format!("simplify {SRVGG} -o out.onnx"),
        ] {
            folder
                .fail(&format!("{verb} --bind {binding}"), 2)
                .assert_says(says);
        }
    }
    assert!(!folder.path("out.onnx").exists());
    folder
        .fail(&format!("inspect {MULTIPLES} --bind height=8"), 2)
        .assert_says(&["`8*h`, `h`, `8*w`, `w`"]);
}

#[test]
fn sizes_that_the_model_cannot_take_name_the_node() {
    let folder = folder();
    let cases: [(&str, &[&str]); 2] = [
        ("h=60,w=64", &[TRACED, "(Add)", "do not broadcast"]),
        ("input=1x4x64x64", &[TRACED, "(Conv)", "does not fit"]),
    ];
    for (binding, says) in cases {
        for verb in [
            format!("inspect {TRACED}"),
            format!("simplify {TRACED} -o out.onnx"),
        ] {
            folder
                .fail(&format!("{verb} --bind {binding}"), 3)
                .assert_says(says);
        }
    }
    assert!(!folder.path("out.onnx").exists());
}
