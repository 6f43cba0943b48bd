//! Tiles with the derived halo against the whole row, computed in float64 by an interpreter that knows no intervals.

use tilecast_analysis::analyze;
use tilecast_onnx::{Model, Tensor, attribute};

use super::halo::{double_conv_u_net, naf_net, side};
use super::signal;
use super::support::{CHANNELS, Net};

/// A row of `n` positive values without a short period.
fn test_row(n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| 0.3 + ((i * 7919) % 613) as f64 / 613.0)
        .collect()
}

/// Runs a whole row and tiles of it, and compares every output.
fn assert_exact_by_brute_force(name: &str, model: &Model) {
    let analysis = analyze(model).unwrap();
    assert!(analysis.tiling_class.is_exact(), "{name}");
    let reach = side(analysis.reach.unwrap());
    let (period, scale) = (analysis.alignment_px, analysis.scale);
    let to_output = |px: usize| px * scale.numerator / scale.denominator;
    let n = (8 * reach[0].max(reach[1]) + 64).next_multiple_of(period);
    let row = test_row(n);
    let whole = signal::evaluate(model, &row);
    assert_eq!(whole.len(), to_output(n), "{name}");
    let mut tight = [false; 2];
    for origin_periods in [1, 2, 3] {
        let origin = (n / 4).next_multiple_of(period) + origin_periods * period;
        let length =
            (3 * reach[0].max(reach[1]) + 8).next_multiple_of(period) + origin_periods * period;
        let tile = signal::evaluate(model, &row[origin..origin + length]);
        let differs: Vec<usize> = (0..tile.len())
            .filter(|&i| (tile[i] - whole[to_output(origin) + i]).abs() > 1e-12)
            .collect();
        // Kept cores are aligned: the first whole period behind the reach, and the last before it.
        let first = to_output(reach[0].next_multiple_of(period));
        let end = to_output(length - reach[1].next_multiple_of(period));
        let wrong: Vec<_> = differs
            .iter()
            .filter(|&&i| (first..end).contains(&i))
            .collect();
        assert!(
            wrong.is_empty(),
            "{name}: origin {origin}, outputs {wrong:?} differ"
        );
        // One pixel less on a side would be too little for some block.
        let one_less = |px: usize| to_output(px.saturating_sub(1) / period * period);
        tight[0] |= reach[0] == 0
            || differs
                .iter()
                .any(|&i| (one_less(reach[0])..first).contains(&i));
        tight[1] |= reach[1] == 0
            || differs
                .iter()
                .any(|&i| (end..to_output(length) - one_less(reach[1])).contains(&i));
    }
    assert!(
        tight[0] && tight[1],
        "{name}: the reach {reach:?} is larger than needed"
    );
}

#[test]
fn tiles_with_the_derived_halo_equal_the_whole_row() {
    let ints = attribute::ints;
    let text = attribute::string;
    let pool = |op, k: i64, s: i64, p: i64| {
        Net::new().op(
            op,
            vec![
                ints("kernel_shape", &[k, k]),
                ints("strides", &[s, s]),
                ints("pads", &[p; 4]),
            ],
        )
    };
    let resize = |mode: &str, coordinates: &str, scale: f32| {
        let attributes = vec![
            text("mode", mode),
            text("coordinate_transformation_mode", coordinates),
        ];
        Net::new().resize(scale, attributes)
    };
    let shifted = {
        let mut net = Net::new().conv3();
        let pads = net.integers(&[0, 0, 3, 3, 0, 0, 3, 3]);
        net.op_with("Pad", &[&pads], vec![])
            .conv_of([CHANNELS; 2], 7, 1, 0)
    };
    let strided_slices = {
        let mut net = Net::new().conv3();
        let source = net.end();
        let phases: Vec<String> = (0..2)
            .map(|phase| {
                let starts = net.integers(&[phase, phase]);
                let ends = net.integers(&[i64::MAX, i64::MAX]);
                let axes = net.integers(&[2, 3]);
                let steps = net.integers(&[2, 2]);
                net = net.clone().from(&source).op_with(
                    "Slice",
                    &[&starts, &ends, &axes, &steps],
                    vec![],
                );
                net.end()
            })
            .collect();
        net.from(&phases[0])
            .op_with("Concat", &[&phases[1]], vec![attribute::int("axis", 1)])
            .conv_of([2 * CHANNELS, CHANNELS], 3, 1, 1)
            .shuffle(2)
    };
    let cases = [
        ("convolutions", Net::new().conv3s(5)),
        ("dilated", {
            let mut net = Net::new();
            let weight = net.constant(&Tensor::from_f32(vec![4, 4, 3, 3], &[0.1; 144]));
            net.op_with(
                "Conv",
                &[&weight],
                vec![ints("dilations", &[4, 4]), ints("pads", &[4; 4])],
            )
        }),
        (
            "strided chain",
            Net::new()
                .conv_of([4, 4], 3, 2, 1)
                .conv_of([4, 4], 5, 2, 2)
                .conv3()
                .shuffle(4),
        ),
        ("max pool", pool("MaxPool", 3, 2, 1).conv3().nearest(2.0)),
        (
            "average pool",
            pool("AveragePool", 4, 4, 0).conv3().shuffle(4),
        ),
        (
            "transposed 4/2/1",
            Net::new().down().conv3().conv_transpose(4, 2, 1),
        ),
        (
            "transposed 2/2/0",
            Net::new().down().conv3().conv_transpose(2, 2, 0).conv3(),
        ),
        ("unshuffle", Net::new().unshuffle(4).conv3s(2).shuffle(4)),
        (
            "×2 nearest",
            Net::new().conv3().nearest(2.0).conv3().nearest(2.0).conv3(),
        ),
        ("×3 shuffle", Net::new().conv3s(2).shuffle(3).conv3()),
        ("×2 linear", resize("linear", "half_pixel", 2.0)),
        ("×4 linear", resize("linear", "half_pixel", 4.0)),
        ("×2 cubic", resize("cubic", "half_pixel", 2.0)),
        ("×2 linear, asymmetric", resize("linear", "asymmetric", 2.0)),
        (
            "½ linear and back",
            resize("linear", "half_pixel", 0.5).conv3().bilinear(2.0),
        ),
        (
            "¼ nearest and back",
            resize("nearest", "half_pixel", 0.25).conv3().nearest(4.0),
        ),
        ("pad and valid convolution", shifted),
        ("strided slices", strided_slices),
        (
            "U-Net, transposed",
            double_conv_u_net(&|net| net.conv_transpose(2, 2, 0)),
        ),
        (
            "U-Net, bilinear",
            double_conv_u_net(&|net| net.bilinear(2.0)),
        ),
        ("NAFNet-like", naf_net(&[1, 1, 2], 1, &[1, 1, 1])),
    ];
    for (name, net) in cases {
        assert_exact_by_brute_force(name, &net.model());
    }
}

#[test]
fn no_output_of_a_misaligned_tile_is_equal() {
    let model = double_conv_u_net(&|net| net.conv_transpose(2, 2, 0)).model();
    let row = test_row(1024);
    let whole = signal::evaluate(&model, &row);
    for (origin, some_equal) in [(256, true), (257, false), (264, false)] {
        let tile = signal::evaluate(&model, &row[origin..origin + 320]);
        let equal = (0..320)
            .filter(|&i| (tile[i] - whole[origin + i]).abs() < 1e-12)
            .count();
        assert_eq!(
            equal > 0,
            some_equal,
            "origin {origin}: {equal} equal outputs"
        );
    }
}
