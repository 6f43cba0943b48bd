//! The passes on the denoiser that ships with the project.

use std::path::Path;

use crate::common::{max_abs, ops, run};
use tilecast_onnx::Model;
use tilecast_passes::{
    ChannelNorms, FoldBatchNorm, FoldPad, FoldScaleShift, FuseLayerNorm, Pass, SlicesToSplit,
    run_pass,
};

fn sample() -> Model {
    Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/nafnet-denoise.onnx"))
        .unwrap()
}

fn count(model: &Model, op: &str) -> usize {
    ops(model).iter().filter(|&&o| o == op).count()
}

#[test]
fn the_denoiser_loses_its_affine_parts_and_half_slices_and_computes_the_same() {
    let before = sample();
    let mut after = before.clone();
    let passes: [&dyn Pass; 4] = [&FoldBatchNorm, &FoldPad, &FoldScaleShift, &SlicesToSplit];
    for pass in passes {
        run_pass(pass, &mut after).unwrap();
    }
    // Per block of 24 halves: a scale and a shift of the norm, and beta or gamma.
    assert_eq!(count(&before, "Mul") - count(&after, "Mul"), 48);
    assert_eq!(count(&before, "Add") - count(&after, "Add"), 24);
    assert_eq!(count(&after, "Split"), 24);
    let channels = FuseLayerNorm {
        over_channels: ChannelNorms::Convolved {
            fewest_transposed: 64,
        },
    };
    let mut convolved = after.clone();
    run_pass(&channels, &mut convolved).unwrap();
    // Two means of each of 24 normalizations.
    assert_eq!(
        count(&after, "ReduceMean") - count(&convolved, "ReduceMean"),
        48
    );
    for dims in [[1, 3, 48, 64], [1, 3, 35, 50]] {
        let expected = run(&before, &dims).remove(0);
        for model in [&after, &convolved] {
            let actual = run(model, &dims).remove(0);
            let difference = max_abs(expected.data(), actual.data());
            assert!(difference < 1e-4, "{difference} at {dims:?}");
        }
    }
}
