//! Small valid graphs of what simplification passes look for, by choices.

use tilecast_onnx::{Model, attribute};

use super::builder::{Builder, Value};
use super::choices::Choices;
use super::{image_steps, layout_steps, pattern_steps};

/// Most steps of a graph; each adds one to a dozen nodes.
const MAX_STEPS: usize = 14;

/// One step: works on a value, and adds nothing where the value does not suit it.
type Step = fn(&mut Builder<'_>, &Value);

const STEPS: &[Step] = &[
    image_steps::convolution,
    image_steps::convolution,
    image_steps::affine,
    image_steps::affine,
    image_steps::batch_norm,
    image_steps::pad,
    image_steps::pool,
    image_steps::transposed_convolution,
    image_steps::resize,
    layout_steps::slices,
    layout_steps::split,
    layout_steps::reshape_there_and_back,
    layout_steps::transpose,
    layout_steps::pixel_shuffle,
    layout_steps::pixel_shuffle,
    layout_steps::squeeze,
    layout_steps::pad_to_a_multiple,
    layout_steps::expand,
    layout_steps::shape_arithmetic,
    pattern_steps::layer_norm,
    pattern_steps::layer_norm,
    pattern_steps::group_norm,
    pattern_steps::group_norm,
    pattern_steps::gelu,
    pattern_steps::hard_swish,
    pattern_steps::casts,
    pattern_steps::does_nothing,
    pattern_steps::does_nothing,
    pattern_steps::activation,
    pattern_steps::join,
    pattern_steps::join,
    pattern_steps::channel_attention,
    repeat,
    also_output,
];

/// The model that these bytes stand for.
pub(super) fn model_of(bytes: &[u8]) -> Model {
    let mut builder = Builder::new(Choices::new(bytes));
    for _ in 0..MAX_STEPS {
        if builder.choices.ended() {
            break;
        }
        let step = builder.choices.pick(STEPS);
        let value = builder.current();
        // A tensor flattened to one axis is for reshapes only.
        if value.rank() > 1 {
            step(&mut builder, &value);
        } else {
            layout_steps::reshape_there_and_back(&mut builder, &value);
        }
    }
    builder.finish()
}

/// The newest node once more, and the sum of both.
fn repeat(builder: &mut Builder<'_>, _: &Value) {
    let newest = builder.values[builder.values.len() - 1].clone();
    if newest.name == "x" || !builder.is_computed_last(&newest.name) {
        return;
    }
    if let Some(copy) = builder.repeat_last() {
        let sum = builder.op("Add", &[&newest.name, &copy], vec![]);
        builder.push(&sum, &newest.dims, false);
    }
}

fn also_output(builder: &mut Builder<'_>, value: &Value) {
    if builder.choices.one_in(2) {
        builder.output(&value.name);
    } else {
        let leaky = builder.op(
            "LeakyRelu",
            &[&value.name],
            vec![attribute::float("alpha", 0.1)],
        );
        builder.push(&leaky, &value.dims, false);
    }
}
