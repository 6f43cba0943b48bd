//! Halo, alignment, scale and class: of published architectures, of the sample models and of small graphs.

use super::support::{CHANNELS, Net, sample, u_net};
use tilecast_analysis::{PadFill, Reach, TilingAnalysis, TilingClass, analyze};
use tilecast_onnx::{Tensor, attribute};

pub(super) fn side(reach: Reach) -> [usize; 2] {
    assert_eq!(
        (reach.top, reach.bottom),
        (reach.left, reach.right),
        "square kernels only"
    );
    [reach.left, reach.right]
}

pub(super) fn double_conv_u_net(up: &dyn Fn(Net) -> Net) -> Net {
    let two = |net: Net, _| net.conv3s(2);
    u_net(
        Net::new(),
        4,
        &two,
        &|net| net.conv3s(2),
        &two,
        [&Net::down, up],
    )
}

/// The local part of NAFNet: one depthwise 3×3 convolution a block, here a full one.
pub(super) fn naf_net(encoder: &'static [usize], middle: usize, decoder: &'static [usize]) -> Net {
    u_net(
        Net::new().conv3(),
        encoder.len(),
        &|net, level| net.conv3s(encoder[level]),
        &|net| net.conv3s(middle),
        &|net, level| net.conv3s(decoder[decoder.len() - 1 - level]),
        [&Net::down, &|net| net.shuffle(2)],
    )
    .conv3()
}

fn rrdb_net(blocks: usize, unshuffle: Option<i64>) -> Net {
    let net = match unshuffle {
        Some(factor) => Net::new().unshuffle(factor),
        None => Net::new(),
    };
    net.conv3()
        .conv3s(blocks * 15)
        .conv3()
        .nearest(2.0)
        .conv3()
        .nearest(2.0)
        .conv3s(3)
}

fn restormer() -> Net {
    let blocks = [4, 6, 6];
    u_net(
        Net::new().conv3(),
        3,
        &|net, level| net.conv3s(2 * blocks[level]),
        &|net| net.conv3s(16),
        &|net, level| net.conv3s(2 * blocks[level]),
        [&|net| net.conv3().unshuffle(2), &|net| {
            net.conv3().shuffle(2)
        }],
    )
    .conv3s(8)
    .conv3()
}

fn vae_decoder() -> Net {
    let level = |net: Net| net.conv3s(6).nearest(2.0).conv3();
    let net = Net::new().conv3().conv3s(4);
    level(level(level(net))).conv3s(6).conv3()
}

/// Published architectures: per-side reach of an aligned block and alignment period, as an independent calculation over
/// layer lists gives them (interval propagation with hand-written layer lists, checked numerically in float64).
#[test]
fn halos_of_published_architectures() {
    let bilinear = |net: Net| net.bilinear(2.0);
    let transposed = |net: Net| net.conv_transpose(2, 2, 0);
    let cases = [
        (
            "SRVGG, 16 hidden convolutions, ×4",
            Net::new().conv3s(18).shuffle(4),
            18,
            1,
            4,
        ),
        ("DnCNN-17", Net::new().conv3s(17), 17, 1, 1),
        ("RRDB-6, ×4", rrdb_net(6, None), 94, 1, 4),
        (
            "RRDB-23 after unshuffle 2, ×2",
            rrdb_net(23, Some(2)),
            698,
            2,
            2,
        ),
        (
            "U-Net, transposed convolutions",
            double_conv_u_net(&transposed),
            94,
            16,
            1,
        ),
        ("U-Net, bilinear", double_conv_u_net(&bilinear), 110, 16, 1),
        (
            "DRUNet",
            u_net(
                Net::new().conv3(),
                3,
                &|net, _| net.conv3s(8),
                &|net| net.conv3s(8),
                &|net, _| net.conv3s(8),
                [&Net::down, &transposed],
            )
            .conv3(),
            185,
            8,
            1,
        ),
        (
            "NAFNet GoPro",
            naf_net(&[1, 1, 1, 28], 1, &[1, 1, 1, 1]),
            264,
            16,
            1,
        ),
        (
            "NAFNet SIDD",
            naf_net(&[2, 2, 4, 8], 12, &[2, 2, 2, 2]),
            311,
            16,
            1,
        ),
        (
            "NAFNet of the samples",
            naf_net(&[1, 1, 2, 2], 2, &[1, 1, 1, 1]),
            76,
            16,
            1,
        ),
        ("Restormer", restormer(), 320, 8, 1),
        ("SD VAE decoder, latent pixels", vae_decoder(), 18, 1, 8),
    ];
    for (name, net, reach, alignment, scale) in cases {
        let analysis = analyze(&net.model()).unwrap();
        let found = side(analysis.reach.unwrap());
        assert_eq!(found, [reach; 2], "{name}");
        assert_eq!(analysis.alignment_px, alignment, "{name}");
        assert_eq!(analysis.scale.as_integer(), Some(scale), "{name}");
        assert_eq!(
            analysis.halo_px,
            Some(reach.next_multiple_of(alignment)),
            "{name}"
        );
        let class = if alignment > 1 {
            TilingClass::B
        } else {
            TilingClass::A
        };
        assert_eq!(analysis.tiling_class, class, "{name}");
    }
}

/// Derivation for the aligned block, from the output inwards, in positions of each level: ending and decoder convolution
/// reach 2 pixels; each halving rounds 2 to 1 and the decoder block there adds 1 again, down to stride 8; at stride 16
/// the two middle blocks make 3. Outwards: 3·2 + 2 = 8 at stride 8, 8·2 + 2 = 18 at 4, 18·2 + 1 = 37 at 2, 37·2 + 1 = 75
/// at 1, and the intro convolution makes 76. The pools have no halo.
#[test]
fn the_denoiser_has_twelve_global_pools_and_a_local_halo() {
    let analysis = analyze(&sample("nafnet-denoise")).unwrap();
    assert_eq!(side(analysis.reach.unwrap()), [76, 76]);
    assert_eq!(
        analysis,
        TilingAnalysis {
            halo_px: Some(80),
            reach: analysis.reach,
            alignment_px: 16,
            scale: analysis.scale,
            tiling_class: TilingClass::C,
            global_nodes: analysis.global_nodes.clone(),
            pads_itself: Some(PadFill::Zero),
            declared_size: None,
        }
    );
    assert_eq!(analysis.scale.as_integer(), Some(1));
    assert_eq!(analysis.global_nodes.len(), 12);
    for path in &analysis.global_nodes {
        assert!(path.ends_with("(GlobalAveragePool)"), "{path}");
    }
}

/// Twelve 3×3 convolutions at input resolution, one pixel each; the pixel shuffle and the nearest skip add none.
#[test]
fn the_super_resolution_sample_is_local() {
    let analysis = analyze(&sample("srvgg-x2")).unwrap();
    assert_eq!(side(analysis.reach.unwrap()), [12, 12]);
    assert_eq!((analysis.halo_px, analysis.alignment_px), (Some(12), 1));
    assert_eq!(analysis.tiling_class, TilingClass::A);
    assert_eq!(
        (analysis.scale.to_string().as_str(), analysis.scale.as_f64()),
        ("2", 2.0)
    );
    assert_eq!(analysis.pads_itself, None);
    assert!(analysis.global_nodes.is_empty());
}

#[test]
fn layouts_are_followed_through_transposes_and_dropped_axes() {
    let perm = |order: &[i64]| vec![attribute::ints("perm", order)];
    let axis = |axis: i64| vec![attribute::int("axis", axis)];
    let scale = |net: &mut Net| net.constant(&Tensor::from_f32(vec![4], &[1.0; 4]));
    let mut net = Net::new().conv3().op("Transpose", perm(&[0, 2, 3, 1]));
    let gain = scale(&mut net);
    let weight = net.constant(&Tensor::from_f32(vec![4, 4], &[0.1; 16]));
    let zero = net.integers(&[0]);
    let net = net
        .op_with("LayerNormalization", &[&gain], axis(-1))
        .op_with("MatMul", &[&weight], vec![])
        .op_with("Squeeze", &[&zero], vec![])
        .op("Softmax", axis(-1))
        .op_with("Unsqueeze", &[&zero], vec![])
        .op("Transpose", perm(&[0, 3, 1, 2]))
        .op("ReduceMean", vec![attribute::ints("axes", &[1])])
        .conv_of([1, CHANNELS], 3, 1, 1);
    let analysis = analyze(&net.model()).unwrap();
    assert_eq!(analysis.tiling_class, TilingClass::A);
    assert_eq!(side(analysis.reach.unwrap()), [2, 2]);
}

#[test]
fn classes_beyond_a_halo() {
    let mut gate = Net::new().conv3();
    let trunk = gate.end();
    gate = gate
        .op("GlobalAveragePool", vec![])
        .conv_of([CHANNELS; 2], 1, 1, 0)
        .op("Sigmoid", vec![])
        .op_with("Mul", &[&trunk], vec![])
        .conv3();
    let corners = vec![
        attribute::string("mode", "linear"),
        attribute::string("coordinate_transformation_mode", "align_corners"),
    ];
    let mut circular = Net::new();
    let pads = circular.integers(&[0, 0, 1, 1, 0, 0, 1, 1]);
    let circular = circular
        .op_with("Pad", &[&pads], vec![attribute::string("mode", "wrap")])
        .conv_of([CHANNELS; 2], 3, 1, 0);
    let noise = Net::new().op("RandomNormalLike", vec![]);
    let cases = [
        ("gate", gate, TilingClass::C, Some(2), "(GlobalAveragePool)"),
        (
            "align_corners",
            Net::new().resize(2.0, corners).conv3(),
            TilingClass::D,
            None,
            "(Resize)",
        ),
        ("wrap", circular, TilingClass::D, None, "(Pad)"),
        ("noise", noise, TilingClass::E, None, "(RandomNormalLike)"),
    ];
    for (name, net, class, halo, op) in cases {
        let analysis = analyze(&net.model()).unwrap();
        assert_eq!(
            (analysis.tiling_class, analysis.halo_px),
            (class, halo),
            "{name}"
        );
        assert_eq!(analysis.global_nodes.len(), 1, "{name}");
        assert!(
            analysis.global_nodes[0].ends_with(op),
            "{name}: {:?}",
            analysis.global_nodes
        );
    }
}

/// Pads the image bottom and right to a multiple of `multiple`, convolves and crops again.
fn self_padding(multiple: i64, attributes: Vec<tilecast_onnx::proto::AttributeProto>) -> Net {
    let mut net = Net::new();
    let multiple = net.integers(&[multiple]);
    let (two, four) = (net.integers(&[2]), net.integers(&[4]));
    let (axes, zeros) = (net.integers(&[2, 3]), net.integers(&[0, 0]));
    let sides = net
        .op("Shape", vec![])
        .op_with("Slice", &[&two, &four], vec![]);
    let size = sides.end();
    // (-size) mod multiple, with the divisor's sign.
    let amount = sides.op("Neg", vec![]).op_with("Mod", &[&multiple], vec![]);
    let end_pads = amount.end();
    let mut net =
        amount
            .from(&zeros)
            .op_with("Concat", &[&end_pads], vec![attribute::int("axis", 0)]);
    let pads = net.end();
    let zero = net.constant(&Tensor::from_f32(vec![], &[0.0]));
    net.from("x")
        .op_with("Pad", &[&pads, &zero, &axes], attributes)
        .down()
        .conv3()
        .shuffle(2)
        .op_with("Slice", &[&zeros, &size, &axes], vec![])
        .opset(18)
}

#[test]
fn padding_inside_the_graph_is_seen_and_may_lengthen_the_period() {
    let reflect = || vec![attribute::string("mode", "reflect")];
    let cases = [
        (
            "to the stride",
            self_padding(2, vec![]),
            2,
            Some(PadFill::Zero),
        ),
        (
            "to more than the stride",
            self_padding(24, vec![]),
            24,
            Some(PadFill::Zero),
        ),
        (
            "mirrored",
            self_padding(8, reflect()),
            8,
            Some(PadFill::Reflect),
        ),
        ("not at all", Net::new().down().conv3().shuffle(2), 2, None),
    ];
    for (name, net, alignment, fill) in cases {
        let analysis = analyze(&net.model()).unwrap();
        assert_eq!(
            (analysis.alignment_px, analysis.pads_itself),
            (alignment, fill),
            "{name}"
        );
        assert_eq!(side(analysis.reach.unwrap()), [2, 2], "{name}");
    }
}
