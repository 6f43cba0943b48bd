//! Normalization over channels in one pass, an operator that tract does not have.

use tract_onnx::tract_hir::internal::IntoTValue;
use tract_onnx::tract_hir::internal::{
    Datum, EvalContext, EvalOp, InferenceOp, Op, StaticName, TValue, TVec, Tensor, TractResult,
    TypedFact, TypedOp, as_op, ensure, inference_wrap, op_as_typed_op, op_out_of_plan, tvec,
};

use tilecast_simd::{Loop, widest};

use crate::lower::ChannelNorm;

/// Most positions that are normalized together.
const BLOCK: usize = 256;

/// `(x - mean) / sqrt(variance + ε)` over axis 1, times the scale, plus the shift. The reciprocal of the root is multiplied
/// with, which is a rounding more than a division.
#[derive(Clone, Debug, PartialEq)]
struct Normalize(ChannelNorm);

// Its numbers come from a model's constants and are compared to tell operators apart; one that is no number is equal to
// none, itself included, which costs nothing but a comparison.
impl Eq for Normalize {}

impl Op for Normalize {
    fn name(&self) -> StaticName {
        "ChannelNorm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Normalize {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shape = inputs[0].shape();
        ensure!(shape.len() > 1, "a channel axis");
        let (channels, inner) = (shape[1], shape[2..].iter().product());
        let mut output = Tensor::zero::<f32>(shape)?;
        let input = inputs[0].try_as_plain_ram()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let image = channels * inner;
        if image > 0 {
            let targets = plain.as_slice_mut::<f32>()?.chunks_exact_mut(image);
            for (source, target) in input.as_slice::<f32>()?.chunks_exact(image).zip(targets) {
                widest(Image {
                    norm: &self.0,
                    source,
                    target,
                    channels,
                    inner,
                });
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

/// One image, channel after channel.
struct Image<'a> {
    norm: &'a ChannelNorm,
    source: &'a [f32],
    target: &'a mut [f32],
    channels: usize,
    inner: usize,
}

impl Loop for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            norm,
            source,
            target,
            channels,
            inner,
        } = self;
        let count = channels as f32;
        let block = block_len(channels);
        // Rows of a block lie next to each other here. In the image their distance may be a power of two, and then they take
        // each other's places in the cache.
        let mut gathered = vec![0.0_f32; channels * block];
        let (mut mean, mut factor) = (vec![0.0_f32; block], vec![0.0_f32; block]);
        for start in (0..inner).step_by(block) {
            let n = block.min(inner - start);
            let (mean, factor) = (&mut mean[..n], &mut factor[..n]);
            mean.fill(0.0);
            factor.fill(0.0);
            let rows = source.chunks_exact(inner);
            for (row, kept) in rows.zip(gathered.chunks_exact_mut(n)) {
                let row = &row[start..start + n];
                for ((kept, sum), value) in kept.iter_mut().zip(mean.iter_mut()).zip(row) {
                    *kept = *value;
                    *sum += *value;
                }
            }
            for sum in mean.iter_mut() {
                *sum /= count;
            }
            let rows = || gathered.chunks_exact(n).take(channels);
            for row in rows() {
                for ((sum, value), mean) in factor.iter_mut().zip(row).zip(mean.iter()) {
                    let difference = *value - *mean;
                    *sum += difference * difference;
                }
            }
            for sum in factor.iter_mut() {
                *sum = 1.0 / (*sum / count + norm.epsilon).sqrt();
            }
            let planes = target.chunks_exact_mut(inner);
            for (channel, (row, plane)) in rows().zip(planes).enumerate() {
                let of = |list: &Option<Vec<f32>>, default| {
                    let value = list.as_ref().and_then(|list| list.get(channel));
                    value.copied().unwrap_or(default)
                };
                let (scale, shift) = (of(&norm.scale, 1.0), of(&norm.shift, 0.0));
                let places = plane[start..start + n].iter_mut();
                for (((place, value), mean), factor) in
                    places.zip(row).zip(mean.iter()).zip(factor.iter())
                {
                    *place = (*value - *mean) * *factor * scale + shift;
                }
            }
        }
    }
}

/// How many positions are normalized together: so many that their channels fit into a core's first cache, within bounds.
fn block_len(channels: usize) -> usize {
    const CACHE_VALUES: usize = 6 << 10;
    (CACHE_VALUES / channels.max(1)).clamp(64, BLOCK) / 16 * 16
}

impl TypedOp for Normalize {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == f32::datum_type(), "float32");
        Ok(tvec!(inputs[0].without_value()))
    }
}

pub(super) fn channel_norm(norm: &ChannelNorm) -> Box<dyn InferenceOp> {
    inference_wrap(Normalize(norm.clone()), 1, |_, solver, inputs, outputs| {
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_normalized_by_its_channels() {
        let (channels, inner) = (3, BLOCK + 7);
        let value = |i: usize| ((i * 37 + i * i) % 101) as f32 / 10.0;
        let source: Vec<f32> = (0..channels * inner).map(value).collect();
        let norm = ChannelNorm {
            epsilon: 1e-3,
            scale: Some(vec![2.0, 1.0, 0.5]),
            shift: Some(vec![0.0, -1.0, 3.0]),
        };
        let mut target = vec![0.0; source.len()];
        widest(Image {
            norm: &norm,
            source: &source,
            target: &mut target,
            channels,
            inner,
        });
        for position in [0, 1, BLOCK - 1, BLOCK, inner - 1] {
            let at = |c: usize| f64::from(source[c * inner + position]);
            let mean = (at(0) + at(1) + at(2)) / 3.0;
            let squares = (0..3).map(|c| (at(c) - mean).powi(2)).sum::<f64>();
            let root = (squares / 3.0 + 1e-3).sqrt();
            for (channel, (scale, shift)) in
                [(2.0, 0.0), (1.0, -1.0), (0.5, 3.0)].iter().enumerate()
            {
                let expected = (at(channel) - mean) / root * scale + shift;
                let found = f64::from(target[channel * inner + position]);
                assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
            }
        }
    }
}
