//! A 1x1 convolution and the pixel shuffle behind it as one transposed convolution.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Tensor, attribute, node};

use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Beyond, the convolution gains more by INT8, which the transposed form does not have in ONNX Runtime, than the shuffle costs.
const MOST_CHANNELS: usize = 128;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "transpose_upsampling",
    summary: "turn a 1x1 convolution and the pixel shuffle behind it into one transposed convolution",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** A 1x1 `Conv` whose channels `DepthToSpace` moves into blocks of r x r pixels becomes one `ConvTranspose`
with taps r x r and strides r.

**Why.** The blocks do not overlap, so that both compute the same products. ONNX Runtime's `DepthToSpace` moves single
elements, on one thread and out of the blocked layout of convolutions, and takes longer than the convolution before it.

**Before / After.** `c = Conv(x, W); y = DepthToSpace(c, blocksize = r)` becomes
`y = ConvTranspose(x, V, strides = [r, r])`, where `V[channel, filter, i, j]` is the weight of that channel in the filter
that the shuffle moves to `(i, j)`.

**Preconditions.** The convolution has taps and strides of 1, no padding, no groups, constant weights and at most 128
channels; only the shuffle reads it. Its bias, if there is one, is the same at all places of a block.

**Numerics.** Reassociates: the same products are summed, perhaps in another order.

**References.** W. Shi et al., *Is the deconvolution layer the same as a convolutional layer?*, 2016,
<https://arxiv.org/abs/1609.07009>.",
};

/// Merges convolutions and pixel shuffles; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransposeUpsampling;

impl Pass for TransposeUpsampling {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, shuffle) in graph.nodes().filter(|(_, n)| n.is("DepthToSpace")) {
            let input = shuffle.input_name(0).unwrap_or_default();
            let Some((conv_id, conv)) = site.produced_by(input, "Conv") else {
                continue;
            };
            match Upsampling::of(&site, conv, shuffle) {
                Ok(found) => {
                    let merged = found.write(&mut rewrite, conv, shuffle);
                    let removed = BTreeSet::from([conv_id, id]);
                    rewrite.replace_pattern(&removed, id, vec![merged]);
                }
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// The constants of the transposed convolution.
struct Upsampling {
    block: usize,
    /// `[channels, filters, block, block]`.
    weights: Tensor,
    /// One per filter.
    bias: Option<Tensor>,
}

impl Upsampling {
    fn of(site: &Site<'_, '_>, conv: &NodeProto, shuffle: &NodeProto) -> Result<Self, String> {
        let constant = |slot: usize| {
            let name = conv.input_name(slot)?;
            let tensor = site.float_constant(name);
            Some(tensor.ok_or_else(|| format!("`{name}` is not a float32 constant")))
        };
        let weights = constant(1).ok_or("its convolution has no weights")??;
        let bias = constant(2).transpose()?;
        let &[n_rows, n_channels, 1, 1] = weights.dims() else {
            return Err("its convolution has more taps than one".into());
        };
        if n_channels > MOST_CHANNELS {
            return Err(format!("its convolution has {n_channels} channels"));
        }
        let plain = |name: &str, usual: i64| -> Result<bool, String> {
            let ints = conv.ints(name).map_err(|e| e.to_string())?;
            Ok(ints.is_none_or(|ints| ints.iter().all(|&i| i == usual)))
        };
        let groups = conv.int("group").map_err(|e| e.to_string())?;
        if !plain("strides", 1)? || !plain("pads", 0)? || groups.is_some_and(|g| g != 1) {
            return Err("its convolution has strides, pads or groups".into());
        }
        site.check_one_reader(conv.output_name(0).unwrap_or_default())?;
        let block = shuffle.int("blocksize").map_err(|e| e.to_string())?;
        let block = block.and_then(|b| usize::try_from(b).ok()).unwrap_or(0);
        let n_places = block * block;
        if n_places == 0 || !n_rows.is_multiple_of(n_places) {
            return Err(format!(
                "{n_rows} channels are no blocks of {block}x{block}"
            ));
        }
        let n_filters = n_rows / n_places;
        let is_crd = shuffle
            .string("mode")
            .map_err(|e| e.to_string())?
            .is_some_and(|mode| mode == "CRD");
        let row = |filter: usize, place: usize| {
            if is_crd {
                filter * n_places + place
            } else {
                place * n_filters + filter
            }
        };
        let values = weights.to_f32_vec().unwrap_or_default();
        let mut moved = Vec::with_capacity(values.len());
        for channel in 0..n_channels {
            for filter in 0..n_filters {
                for place in 0..n_places {
                    moved.push(values[row(filter, place) * n_channels + channel]);
                }
            }
        }
        let bias = bias.map(|bias| {
            let values = bias.to_f32_vec().unwrap_or_default();
            let bits = |filter, place| values[row(filter, place)].to_bits();
            let is_even = values.len() == n_rows
                && (0..n_filters).all(|filter| {
                    (1..n_places).all(|place| bits(filter, place) == bits(filter, 0))
                });
            let first = |filter| values[row(filter, 0)];
            is_even
                .then(|| {
                    Tensor::from_f32(
                        vec![n_filters],
                        &(0..n_filters).map(first).collect::<Vec<_>>(),
                    )
                })
                .ok_or("its convolution has a bias that is not the same all over a block")
        });
        Ok(Self {
            block,
            weights: Tensor::from_f32(vec![n_channels, n_filters, block, block], &moved),
            bias: bias.transpose()?,
        })
    }

    fn write(
        &self,
        rewrite: &mut Rewrite<'_, '_>,
        conv: &NodeProto,
        shuffle: &NodeProto,
    ) -> NodeProto {
        let weights = rewrite.add_constant(&conv.input[1], "_transposed", &self.weights);
        let name = rewrite.fresh(conv.label(), "_transposed");
        let mut merged = node(
            "ConvTranspose",
            &name,
            &[&conv.input[0], &weights],
            &[&shuffle.output[0]],
        );
        if let Some(bias) = &self.bias {
            let bias = rewrite.add_constant(&conv.input[2], "_transposed", bias);
            merged.input.push(bias);
        }
        let block = self.block as i64;
        merged
            .with_attribute(attribute::ints("kernel_shape", &[block, block]))
            .with_attribute(attribute::ints("strides", &[block, block]))
    }
}
