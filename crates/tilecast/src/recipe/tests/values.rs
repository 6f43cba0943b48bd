//! Values of the wrong type, out of range or not built yet, and the words in which they are refused.

use super::check_refused;

#[test]
fn wrong_types_say_what_is_expected() {
    for (from, to, message, help) in [
        (
            "version: 1",
            "version: one",
            "1:10: `version`: expected a whole number from 0 to 4294967295, found `one`",
            "Version of the recipe format: 1.",
        ),
        (
            "holdout: 0.25",
            "holdout: a quarter",
            "6:12: `calibration.holdout`: expected a number, found `a quarter`",
            "Between 0 and 1, both excluded. Default: 0.25.",
        ),
        (
            "range: [0, 1]",
            "range: [0, 1, 2]",
            "8:48: `preprocess.range`: expected a list of 2 numbers, found a list of 3 elements",
            "Values of black and white",
        ),
        (
            "range: [0, 1]",
            "range: [0]",
            "8:48: `preprocess.range`: expected a list of 2 numbers, found a list of 1 element",
            "",
        ),
        (
            "range: [0, 1]",
            "range: [0, white]",
            "8:52: `preprocess.range.1`: expected a number, found `white`",
            "",
        ),
        (
            "per_channel: true",
            "per_channel: yes",
            "16:18: `artifacts.1.per_channel`: expected `true` or `false`, found `yes`",
            "Whether weights get one scale per output channel",
        ),
        (
            "- precision: int8",
            "- precision: int9",
            "14:16: `artifacts.1.precision`: unknown value `int9`",
            "did you mean `int8`? The values are `fp16`, `bf16`, `int8` and `int8-dynamic`",
        ),
        (
            "- precision: int8",
            "- precision: 8",
            "14:16: `artifacts.1.precision`: expected `fp16`, `bf16`, `int8` or `int8-dynamic`, found `8`",
            "Precision of the artifact.",
        ),
        (
            "range: minmax",
            "range: min-max",
            "7:10: `calibration.range`: unknown value `min-max`",
            "did you mean `minmax`?",
        ),
        (
            "target: ort-cpu",
            "target: cuda",
            "15:13: `artifacts.1.target`: unknown value `cuda`",
            "expected `generic`, `ort-cpu`, `ort-cpu-vnni`, `tensorrt`, `directml` or `coreml`",
        ),
        (
            "norms: fp32",
            "norms: int8",
            "19:14: `artifacts.1.pin.norms`: unknown value `int8`",
            "expected `fp16` or `fp32`",
        ),
        (
            "model: m.onnx",
            "model: 7",
            "2:8: `model`: expected a path, found `7`",
            "put the value in quotes",
        ),
        (
            "gate: { min_psnr_db: 60, max_drop_db: 0.1, min_ssim: 0.99 }",
            "gate: 60",
            "13:11: `artifacts.0.gate`: expected a map of keys, found `60`",
            "Quality that the artifact must reach",
        ),
        (
            "memory: 1GiB",
            "memory: 2 gigabytes",
            "23:11: `tiling.memory`: `2 gigabytes` is not a size; write for example `2GiB`, `512MiB`, `1.5GB` or a number of bytes",
            "Default: `2GiB`.",
        ),
        (
            "memory: 1GiB",
            "memory: [1, 2]",
            "23:11: `tiling.memory`: expected a size such as `2GiB`, `512MiB` or a number of bytes, found a list of 2 elements",
            "",
        ),
        (
            "validate_tile: 128",
            "validate_tile: -1",
            "25:18: `tiling.validate_tile`: expected a whole number from 0 to 4294967295, found `-1`",
            "At least 16. Default: 256.",
        ),
        (
            "validate_tile: 128",
            "validate_tile: 128.5",
            "25:18: `tiling.validate_tile`: expected a whole number from 0 to 4294967295, found `128.5`",
            "",
        ),
        (
            "global_statistics: local",
            "global_statistics: 4",
            "26:22: `tiling.global_statistics`: expected `local`, `{window: n}`, `{sweeps: n}` or `{sweeps: auto}`, found `4`",
            "",
        ),
        (
            "global_statistics: local",
            "global_statistics: {}",
            "26:22: `tiling.global_statistics`: expected `local`, `{window: n}`, `{sweeps: n}` or `{sweeps: auto}`, found an empty map",
            "",
        ),
        (
            "global_statistics: local",
            "global_statistics: { sweeps: 0 }",
            "26:32: `tiling.global_statistics.sweeps`: expected a whole number, 1 or more, or `auto`, found `0`",
            "",
        ),
        (
            "global_statistics: local",
            "global_statistics: { window: 0 }",
            "26:32: `tiling.global_statistics.window`: expected a whole number from 1 to 4294967295, found `0`",
            "",
        ),
        (
            "global_statistics: local",
            "global_statistics: { window: 3, sweeps: 2 }",
            "26:22: `tiling.global_statistics`: takes one of `window` and `sweeps`, not both",
            "",
        ),
        (
            "allow: [H21]",
            "allow: H21",
            "28:10: `lint.allow`: expected a list, found `H21`",
            "",
        ),
    ] {
        check_refused(from, to, message, help);
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for (from, to, message) in [
        (
            "version: 1",
            "version: 2",
            "1:10: recipe version 2 is not known; this version of tilecast reads version 1",
        ),
        (
            "model: m.onnx",
            "model: ''",
            "2:8: `model`: the path is empty",
        ),
        (
            "holdout: 0.25",
            "holdout: 1",
            "6:12: `calibration.holdout`: 1 is not between 0 and 1",
        ),
        (
            "holdout: 0.25",
            "holdout: .nan",
            "6:12: `calibration.holdout`: NaN is not between 0 and 1",
        ),
        (
            "range: [0, 1]",
            "range: [1, 0]",
            "8:48: `preprocess.range`: [1, 0] is not ascending",
        ),
        (
            "range: [0, 1]",
            "range: [0, .inf]",
            "8:48: `preprocess.range`: [0, inf] is not ascending",
        ),
        (
            "validate_tile: 128",
            "free_memory: { side_512: 3GiB }",
            "25:16: `tiling.free_memory.whole` is less than `side_512`; larger tiles need more memory",
        ),
        (
            "validate_tile: 128",
            "validate_tile: 15",
            "25:18: `tiling.validate_tile`: 15 is too small; use 16 or more",
        ),
        (
            "name: small",
            "name: a/b",
            "11:11: `artifacts.0.name`: `a/b` is no name for a file; use up to 64 letters, digits, `-` and `_`, with at least one letter",
        ),
        (
            "name: small",
            "name: '16'",
            "11:11: `artifacts.0.name`: `16` is no name for a file; use up to 64 letters, digits, `-` and `_`, with at least one letter",
        ),
        (
            "name: small",
            "name: INT8-ort-cpu",
            "14:5: `artifacts.1`: `int8-ort-cpu` is also the name of `artifacts.0`; give one of them another `name`",
        ),
        (
            "'/mid/*'",
            "''",
            "21:18: `artifacts.1.overrides.0.nodes`: the pattern is empty and matches nothing",
        ),
        (
            "min_psnr_db: 60",
            "min_psnr_db: -3",
            "13:26: `artifacts.0.gate.min_psnr_db`: -3 is not 0 or more",
        ),
        (
            "min_ssim: 0.99",
            "min_ssim: 99",
            "13:58: `artifacts.0.gate.min_ssim`: 99 is not between 0 and 1",
        ),
        (
            "  references: clean\n",
            "",
            "12:43: `artifacts.0.gate.max_drop_db`: a drop is measured against ground truth; give its folder in `calibration.references`",
        ),
        (
            "deny: [P04]",
            "deny: [P01, h21]",
            "29:15: `lint.deny.1`: `h21` is also in `lint.allow`; keep one of them",
        ),
        (
            "keep_io_types: true",
            "shape: 512x512x3",
            "12:12: `artifacts.0.shape`: expected a size such as `512x512` (width x height), found `512x512x3`",
        ),
    ] {
        check_refused(from, to, message, "");
    }
}

#[test]
fn codes_that_no_rule_has_are_refused_with_a_suggestion() {
    for (from, to, message, help) in [
        (
            "allow: [H21]",
            "allow: [H021]",
            "28:11: `lint.allow.0`: no rule has the code `H021`",
            "did you mean `H01`?",
        ),
        (
            "deny: [P04]",
            "deny: [P01, global_average]",
            "29:15: `lint.deny.1`: no rule has the code `global_average`",
            "the codes are in docs/generated/rules.md",
        ),
        (
            "deny: [P04]",
            "fix: [H21]",
            "29:9: `lint.fix.0`: no pass repairs what rule `H21` finds",
            "those that have one are `H09`, `H16` and `H35`",
        ),
        (
            "deny: [P04]",
            "fix: [H99]",
            "29:9: `lint.fix.0`: no rule has the code `H99`",
            "did you mean",
        ),
    ] {
        check_refused(from, to, message, help);
    }
}

#[test]
fn values_that_are_not_built_are_refused_by_name() {
    let message = "24:9: `mode: measured` is not built yet; use exact";
    check_refused("mode: exact", "mode: measured", message, "");
}

#[test]
fn a_normalization_has_finite_means_and_positive_deviations() {
    for (to, message) in [
        (
            "mean: [0, .inf, 0]",
            "8:47: `preprocess.mean`: a mean is not finite",
        ),
        (
            "std: [1, 0, 1]",
            "8:46: `preprocess.std`: a standard deviation is not above 0",
        ),
        (
            "normalized_output: true",
            "8:60: `preprocess.normalized_output` needs `mean` or `std`",
        ),
    ] {
        check_refused("range: [0, 1]", to, message, "");
    }
}
