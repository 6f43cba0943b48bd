//! Normalizations and quantization with statistics among their outputs.

use super::call::{Call, Inferred, require_rank, resolve_axis};
use super::extent::Extent;
use super::fact::Fact;
use super::unknowns::Unknowns;

/// `BatchNormalization`: further outputs are per-channel statistics.
pub(super) fn batch(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    require_rank(x, 2)?;
    let mut facts = vec![Fact::of_dims(vec![x[1].clone()]); call.n_outputs().max(1)];
    facts[0] = Fact::of_dims(x.to_vec());
    Ok(facts)
}

/// `LayerNormalization`: mean and inverse deviation keep the outer axes and have 1 for the normalized ones.
pub(super) fn layer(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", -1)?, x.len())?;
    let mut statistics = x.to_vec();
    statistics[axis..].fill(Extent::number(1));
    Ok(vec![
        Fact::of_dims(x.to_vec()),
        Fact::of_dims(statistics.clone()),
        Fact::of_dims(statistics),
    ])
}

/// `DynamicQuantizeLinear`: the tensor, its scale, its zero point.
pub(super) fn dynamic_quantize(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    Ok(vec![
        Fact::of_dims(call.dims(0)?.to_vec()),
        Fact::of_dims(vec![]),
        Fact::of_dims(vec![]),
    ])
}
