//! Operators that got another name, and attributes whose values did.

use super::site::{Site, set_attribute};
use crate::attribute;
use crate::proto::NodeProto;

/// Opset 10: `Resize` takes over, with the same inputs and the same sampling for factors of one and more, which is all
/// that `Upsample` has.
pub(super) fn upsample(node: &mut NodeProto, _: &mut Site<'_>) {
    node.op_type = Some("Resize".into());
}

/// Opset 11: `ScatterElements` takes over.
pub(super) fn scatter(node: &mut NodeProto, _: &mut Site<'_>) {
    node.op_type = Some("ScatterElements".into());
}

/// `GridSample` of opset 20 works in any number of dimensions and says so in its modes.
pub(super) fn grid_sample(node: &mut NodeProto, _: &mut Site<'_>) -> Result<(), String> {
    let mode = match node.string("mode").map_err(|e| e.to_string())? {
        Some("bilinear") => "linear",
        Some("bicubic") => "cubic",
        _ => return Ok(()),
    };
    set_attribute(node, attribute::string("mode", mode));
    Ok(())
}

/// `RoiAlign` of opset 16 shifts its coordinates unless told not to.
pub(super) fn roi_align(node: &mut NodeProto, _: &mut Site<'_>) {
    let mode = attribute::string("coordinate_transformation_mode", "output_half_pixel");
    set_attribute(node, mode);
}
