//! Windows: pooling that rounds its extent up, and transposed convolutions that compute their own padding.

use super::site::Site;
use crate::proto::NodeProto;

/// `AveragePool` of opsets 19 and 22, `MaxPool` of opset 22: the newer versions say otherwise which windows exist, and
/// what an average divides by, where a window hangs over the edge. Extents that are rounded down have no such window.
pub(super) fn rounding_down(node: &mut NodeProto, _: &mut Site<'_>) -> Result<(), String> {
    match node.int("ceil_mode").map_err(|e| e.to_string())? {
        None | Some(0) => Ok(()),
        Some(_) => {
            Err("with `ceil_mode` the last window has another meaning in a newer opset".into())
        }
    }
}

/// `ConvTranspose` of opset 11: computed padding puts the odd element on the other side than before.
pub(super) fn explicit_pads(node: &mut NodeProto, _: &mut Site<'_>) -> Result<(), String> {
    let mode = node.string("auto_pad").map_err(|e| e.to_string())?;
    let is_computed = matches!(mode, Some("SAME_UPPER" | "SAME_LOWER"));
    if is_computed || node.find_attribute("output_shape").is_some() {
        return Err("`auto_pad` and `output_shape` pad the other side in a newer opset".into());
    }
    Ok(())
}
