//! What people read on stdout.

use crate::support::{Folder, NAFNET, SRVGG, assert_text, sample_model};

/// The text with the numbers of megabytes on the line of this label replaced: predicted memory follows the kernels that
/// the engine picks for the processor at hand.
fn without_sizes_on(label: &str, text: &str) -> String {
    let mask = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_size = |index: usize| {
            words
                .get(index + 1)
                .is_some_and(|next| next.starts_with("MB"))
        };
        let masked: Vec<&str> = (0..words.len())
            .map(|index| if is_size(index) { "#" } else { words[index] })
            .collect();
        masked.join(" ")
    };
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.trim_start().starts_with(label) {
                mask(line)
            } else {
                line.to_owned()
            }
        })
        .collect();
    lines.join("\n")
}

fn inspect(model: &str) -> String {
    let folder = Folder::new();
    folder.write(model, sample_model(model));
    let outcome = folder.succeed(&format!("inspect {model}"));
    assert_eq!(outcome.talk(), "");
    without_sizes_on("memory", &outcome.stdout)
}

#[test]
fn inspect_of_the_denoiser() {
    assert_text(&inspect(NAFNET), "
    nafnet-denoise.onnx
      made by      pytorch 2.15.0 (IR 8, opset 17)
      parameters   1754099
      size         7.14 MB now; as fp16 3.63 MB, fp32 7.14 MB, int8 2.36 MB
      input        input float32 [1, 3, h, w]
      output       output float32 [Sliceoutput_dim_0, Sliceoutput_dim_1, h, w]
      nodes        851: 224 Constant, 132 Mul, 101 Add, 82 Conv, 51 Slice, 48 Div, 48 ReduceMean, 27 Gather and 14 more kinds
      tiling       class C, halo 80 px, alignment 16 px, scale 1, 12 node(s) see the whole image
      memory       128 px # MB, 256 px # MB, 512 px # MB, 1024 px # MB
      largest tile 2GiB: 1024 px, 4GiB: 1024 px, 6GiB: 1024 px, 8GiB: 1024 px (of those above, FP32)
    ");
}

#[test]
fn inspect_of_the_upscaler() {
    assert_text(
        &inspect(SRVGG),
        "
    srvgg-x2.onnx
      made by      pytorch 2.15.0 (IR 8, opset 17)
      parameters   97196
      size         0.39 MB now; as fp16 0.20 MB, fp32 0.39 MB, int8 0.13 MB
      input        input float32 [1, 3, h, w]
      output       output float32 [1, 3, h2, w2]
      nodes        27: 12 Conv, 11 PRelu, 1 Add, 1 Constant, 1 DepthToSpace, 1 Resize
      tiling       class A, halo 12 px, alignment 1 px, scale 2, 0 node(s) see the whole image
      memory       128 px # MB, 256 px # MB, 512 px # MB, 1024 px # MB
      largest tile 2GiB: 1024 px, 4GiB: 1024 px, 6GiB: 1024 px, 8GiB: 1024 px (of those above, FP32)
    ",
    );
}

#[test]
fn lint_of_the_upscaler() {
    let folder = Folder::with_images();
    let outcome = folder.succeed(&format!("lint {SRVGG}"));
    assert_eq!(outcome.talk(), "");
    assert_text(
        &outcome.stdout,
        "
    note[H01] main_graph: a tile needs 12 pixels of context on each side; the network sees that far
      help: keep only what is farther than this from a tile's inner edges
    srvgg-x2.onnx: 1 finding(s); `tilecast explain CODE` says more
    ",
    );
}

#[test]
fn explain_of_a_rule() {
    let folder = Folder::new();
    assert_text(&folder.succeed("explain H21").stdout, "
    # H21 global_average (warning)

    An average over all positions: channel attention, squeeze and excitation.

    **Why.** The average of each channel is that of the tile instead of the image, and what it steers (a gate on each channel) changes
    from tile to tile.

    **Does overlap help?** Only as far as a larger tile resembles the image more.

    **What to do.** Sweep the statistics: run the tiles once to collect the averages, merge them, run again with the averages of the
    whole image. Or let the network look at windows of bounded size instead (`global_statistics: {window: n}`,
    `--local-window`), which makes another network of it. Or use tiles about as large as the crops that the model was trained on: for such
    models small tiles are not worse against the ground truth, only different. Or run the image whole.
    ");
}

#[test]
fn colour_is_used_only_where_asked_for() {
    let folder = Folder::new();
    let plain = folder.fail("inspect absent.onnx", 4);
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    let coloured = folder.run("inspect absent.onnx --color always");
    coloured.assert_code(4);
    assert!(coloured.stderr.contains('\u{1b}'), "{}", coloured.stderr);
}
