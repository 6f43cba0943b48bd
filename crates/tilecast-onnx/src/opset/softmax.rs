//! `Softmax`, `LogSoftmax` and `Hardmax` before opset 13 flatten their input to two dimensions at `axis`.

use super::site::{Site, set_attribute};
use crate::proto::{NodeFields, NodeProto};
use crate::{attribute, node};

/// The axis of the versions before 13, where it is left out.
const OLD_DEFAULT_AXIS: i64 = 1;

/// Opset 13 works along one axis. The last one is the same in both; otherwise the flattening is written out.
pub(super) fn over_one_axis(softmax: &mut NodeProto, site: &mut Site<'_>) -> Result<(), String> {
    let axis = softmax.int("axis").map_err(|e| e.to_string())?;
    let axis = axis.unwrap_or(OLD_DEFAULT_AXIS);
    let rank = site.dims(softmax, 0).map(|dims| dims.len() as i64);
    set_attribute(softmax, attribute::int("axis", -1));
    if axis == -1 || rank.is_some_and(|rank| axis == rank - 1) {
        return Ok(());
    }
    let (Some(input), Some(output)) = (softmax.input.first(), softmax.output.first()) else {
        return Err("an input and an output are needed".into());
    };
    let (input, output) = (input.clone(), output.clone());
    let [shape, flat, result] = ["shape", "flat", "flat_result"].map(|s| site.new_name(softmax, s));
    let label = softmax.label().to_owned();
    let named = |suffix: &str| match label.as_str() {
        "" => String::new(),
        label => format!("{label}_{suffix}"),
    };
    let flatten = node("Flatten", &named("flatten"), &[&input], &[&flat])
        .with_attribute(attribute::int("axis", axis));
    let shape_of = node("Shape", &named("shape"), &[&input], &[&shape]);
    let reshape = node("Reshape", &named("reshape"), &[&result, &shape], &[&output]);
    site.before.extend([shape_of, flatten]);
    site.after.push(reshape);
    let NodeFields { input, output, .. } = &mut softmax.fields;
    input[0] = flat;
    output[0] = result;
    Ok(())
}
