//! Calibration tables: parts merge to the bytes of one run, tables serve conversions, and what does not fit is refused.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Folder, NAFNET, Outcome, SRVGG, sample_model};

/// A folder with images, and the table of all of them as `whole.json`.
fn with_table() -> Folder {
    let folder = Folder::with_images();
    folder.succeed(&calibrate("-o whole.json"));
    folder
}

/// A command line with these options.
fn calibrate(options: &str) -> String {
    format!("calibrate {SRVGG} --images images --target ort-cpu --tile 64 {options}")
}

/// Makes `K-of-N.json` for every part K of N, each on as many threads as its number.
fn make_parts(folder: &Folder, of: usize) {
    for index in 1..=of {
        let line = calibrate(&format!("--shard {index}/{of} -o {index}-of-{of}.json"));
        let output = folder
            .command(&line)
            .env("RAYON_NUM_THREADS", index.to_string())
            .output()
            .unwrap();
        Outcome::new(&line, &output).assert_code(0);
    }
}

#[test]
fn parts_merge_to_the_bytes_of_one_run() {
    let folder = with_table();
    let whole = folder.read("whole.json");
    for (of, orders) in [
        (1, &["1-of-1.json"][..]),
        (2, &["1-of-2.json 2-of-2.json", "2-of-2.json 1-of-2.json"]),
        (
            3,
            &[
                "1-of-3.json 2-of-3.json 3-of-3.json",
                "3-of-3.json 1-of-3.json 2-of-3.json",
                "2-of-3.json 3-of-3.json 1-of-3.json",
            ],
        ),
    ] {
        make_parts(&folder, of);
        for order in orders {
            folder.succeed(&format!("calibrate merge {order} -o merged.json"));
            assert!(folder.read("merged.json") == whole, "{order}");
        }
    }
    let table: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(table["schema"], "tilecast.calibration/1");
    assert_eq!(table["images"].as_array().unwrap().len(), 4);
    assert_eq!(table.get("part"), None);
}

#[test]
fn a_table_serves_conversions_as_its_images_do() {
    let folder = with_table();
    let convert = format!("convert {SRVGG} --to int8 --target ort-cpu --tile 64");
    folder.succeed(&format!("{convert} --calibration images -o images.onnx"));
    folder.succeed(&format!(
        "{convert} --calibration-table whole.json -o table.onnx"
    ));
    assert!(folder.read("images.onnx") == folder.read("table.onnx"));

    let mut models = BTreeSet::new();
    for range in ["minmax", "mean-minmax", "percentile", "entropy", "mse"] {
        folder.succeed(&format!(
            "{convert} --calibration-table whole.json --range {range} -o {range}.onnx"
        ));
        models.insert(folder.read(&format!("{range}.onnx")));
    }
    assert_eq!(models.len(), 5, "every method chooses ranges of its own");
    folder
        .fail(
            &format!("{convert} --calibration-table whole.json --range kl -o no.onnx"),
            2,
        )
        .assert_says(&["`kl` is not available; use one of minmax, mean-minmax"]);
}

#[test]
fn extremes_alone_serve_min_max_and_nothing_else() {
    let folder = with_table();
    folder.succeed(&calibrate("--extremes-only -o extremes.json"));
    assert!(folder.read("extremes.json").len() < folder.read("whole.json").len() / 4);
    let convert =
        format!("convert {SRVGG} --to int8 --target ort-cpu --tile 64 --calibration-table");
    for table in ["whole", "extremes"] {
        folder.succeed(&format!(
            "{convert} {table}.json --range minmax -o {table}.onnx"
        ));
    }
    folder.succeed(&format!(
        "{} --calibration images --range minmax -o images.onnx",
        convert.trim_end_matches(" --calibration-table")
    ));
    assert!(folder.read("whole.onnx") == folder.read("extremes.onnx"));
    assert!(folder.read("whole.onnx") == folder.read("images.onnx"));
    for range in ["mean-minmax", "percentile", "entropy", "mse"] {
        folder
            .fail(
                &format!("{convert} extremes.json --range {range} -o no.onnx"),
                2,
            )
            .assert_says(&[
                "only extremes were kept",
                "calibrate without `--extremes-only`",
            ]);
    }
    folder.succeed(&calibrate("--shard 1/2 -o 1-of-2.json"));
    folder.succeed(&calibrate("--extremes-only --shard 2/2 -o 2-of-2.json"));
    folder
        .fail("calibrate merge 1-of-2.json 2-of-2.json -o no.json", 2)
        .assert_says(&["what was kept is `histograms` in one and `extremes` in the other"]);
}

#[test]
fn what_was_written_is_told() {
    let folder = Folder::with_images();
    let document = folder.succeed_with_json(&calibrate("--shard 2/3 -o part.json --json"));
    assert_eq!(document["schema"], "tilecast.calibrate/1");
    assert_eq!(document["images"], 1);
    assert_eq!(document["complete"], false);
    assert!(document["values"].as_u64().unwrap() > 10);
    let bytes = folder.read("part.json").len();
    assert_eq!(document["bytes"], bytes);
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let folder = with_table();
    make_parts(&folder, 3);
    folder.succeed(&calibrate("--shard 1/2 -o 1-of-2.json"));
    folder.succeed(&calibrate("--shard 2/3 -o wide.json").replace("--tile 64", "--tile 96"));
    folder.succeed(&calibrate("--shard 2/3 -o raw.json --no-simplify"));
    let generic = calibrate("--shard 2/3 -o generic.json").replace("ort-cpu", "generic");
    folder.succeed(&generic);
    let older = String::from_utf8(folder.read("2-of-3.json")).unwrap();
    let older = older.replace("\"tilecast\":\"", "\"tilecast\":\"0.0.");
    folder.write("older.json", older);
    let other = String::from_utf8(folder.read("2-of-3.json")).unwrap();
    folder.write("renamed.json", other.replace("2.png", "1.png"));
    for (tables, message) in [
        ("1-of-3.json 3-of-3.json", "part 2 of 3 is missing"),
        ("2-of-3.json", "part 1, 3 of 3 is missing"),
        (
            "1-of-3.json 2-of-3.json 1-of-3.json",
            "`1-of-3.json` and `1-of-3.json` are both part 1 of 3",
        ),
        ("whole.json whole.json", "are both complete"),
        (
            "1-of-3.json 1-of-2.json",
            "number of parts is `3` in one and `2` in the other",
        ),
        (
            "1-of-3.json whole.json",
            "number of parts is `3` in one and `1` in the other",
        ),
        (
            "1-of-3.json wide.json 3-of-3.json",
            "tile size is `64` in one and `96` in the other",
        ),
        (
            "1-of-3.json raw.json 3-of-3.json",
            "simplification is `true` in one and `false`",
        ),
        (
            "1-of-3.json generic.json 3-of-3.json",
            "target is `ort-cpu` in one and `generic`",
        ),
        (
            "1-of-3.json older.json 3-of-3.json",
            "version of tilecast is",
        ),
        (
            "1-of-3.json renamed.json 3-of-3.json",
            "image `1.png` of `renamed.json` is in another part too",
        ),
    ] {
        folder
            .fail(&format!("calibrate merge {tables} -o no.json"), 2)
            .assert_says(&[message]);
    }
    // An image more, and the shares are others.
    let image = folder.read("images/4.png");
    folder.write("images/5.png", image);
    folder.succeed(&calibrate("--shard 2/3 -o more.json"));
    folder
        .fail(
            "calibrate merge 1-of-3.json more.json 3-of-3.json -o no.json",
            2,
        )
        .assert_says(&["hash of the names of the images"]);
    assert!(!folder.path("no.json").exists());
}

#[test]
fn a_stale_table_is_refused() {
    let folder = with_table();
    folder.write(NAFNET, sample_model(NAFNET));
    let convert = |model: &str, options: &str| {
        format!("convert {model} --to int8 -o no.onnx --calibration-table {options}")
    };
    folder
        .fail(&convert(NAFNET, "whole.json --target ort-cpu"), 2)
        .assert_says(&[
            "the calibration table is stale: its model is ",
            "help: calibrate again",
        ]);
    folder
        .fail(&convert(SRVGG, "whole.json --target generic"), 2)
        .assert_says(&["its target is `ort-cpu`, here it is `generic`"]);
    folder
        .fail(
            &convert(SRVGG, "whole.json --target ort-cpu --no-simplify"),
            2,
        )
        .assert_says(&["its simplification is `true`, here it is `false`"]);

    folder.succeed(&calibrate("--shard 1/2 -o part.json"));
    folder
        .fail(&convert(SRVGG, "part.json --target ort-cpu"), 2)
        .assert_says(&["is part 1 of 2", "tilecast calibrate merge"]);
    folder
        .fail(
            &format!("convert {SRVGG} --to fp16 -o no.onnx --calibration-table whole.json"),
            2,
        )
        .assert_says(&["`--calibration-table` serves static INT8 only"]);
}

#[test]
fn files_that_are_no_tables_are_named() {
    let folder = with_table();
    let convert =
        format!("convert {SRVGG} --to int8 --target ort-cpu -o no.onnx --calibration-table");
    folder
        .fail(&format!("{convert} absent.json"), 4)
        .assert_says(&["`absent.json`: the table cannot be read"]);
    folder
        .fail(&format!("{convert} images/1.png"), 4)
        .assert_says(&["`images/1.png`: it is no calibration table"]);
    let text = String::from_utf8(folder.read("whole.json")).unwrap();
    for (from, to, message) in [
        (
            "calibration/1",
            "calibration/9",
            "its format is `tilecast.calibration/9`",
        ),
        ("\"zeros\":", "\"nought\":", "unknown field `nought`"),
        (
            "\"first_bin\":-",
            "\"first_bin\":",
            "histogram has bins that do not match",
        ),
        (
            "\"count\":4",
            "\"count\":0",
            "extremes of the images do not match",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        folder.write("bad.json", text.replacen(from, to, 1));
        folder
            .fail(&format!("{convert} bad.json"), 4)
            .assert_says(&["`bad.json`", message]);
    }
    folder.truncate("whole.json");
    folder
        .fail(&format!("{convert} whole.json"), 4)
        .assert_says(&["`whole.json`: it is no calibration table: EOF"]);
}

#[test]
fn shards_are_checked() {
    let folder = Folder::with_images();
    folder
        .fail(&calibrate("--shard 5/9 -o no.json"), 2)
        .assert_says(&["`images` has 4 images, fewer than shards"]);
    for shard in ["0/2", "3/2", "1", "a/b", "1/0"] {
        let outcome = folder.run(&calibrate(&format!("--shard {shard} -o no.json")));
        outcome.assert_code(2);
        outcome.assert_says(&["is no shard; write for instance 1/3"]);
    }
}
