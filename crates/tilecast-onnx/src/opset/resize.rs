//! `Resize`: opset 10 knows one way of sampling, opset 11 names it.

use super::site::Site;
use crate::proto::NodeProto;
use crate::{DataType, Tensor, attribute};

type Converted = Result<(), String>;

/// Opset 11: a pixel of the result samples the input at its index divided by the scale (`asymmetric`), and the nearest
/// neighbour is the one before. When it shrinks, opset 10 does not say which neighbour that is.
pub(super) fn with_coordinates(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let mode = node.string("mode").map_err(|e| e.to_string())?;
    let is_nearest = !matches!(mode, Some("linear" | "bilinear"));
    if is_nearest {
        let scales = site.constant(node, 1).and_then(|s| s.to_f32_vec());
        if !scales.is_some_and(|scales| scales.iter().all(|&scale| scale >= 1.0)) {
            return Err(
                "which neighbour is nearest is only defined for constant scales of one and more"
                    .into(),
            );
        }
        node.attribute
            .push(attribute::string("nearest_mode", "floor"));
    }
    let asymmetric = attribute::string("coordinate_transformation_mode", "asymmetric");
    node.attribute.push(asymmetric);
    node.input.insert(1, String::new());
    // Only `tf_crop_and_resize` reads the region, but until opset 13 it must be there.
    let no_region = Tensor::from_f32(vec![0], &[]);
    site.set_input(node, 1, "roi", &no_region);
    Ok(())
}

/// Opset 13: sizes and scales exclude each other, where an empty tensor used to stand for no scales; and one way of
/// sampling is gone.
pub(super) fn one_of_scales_and_sizes(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let mode = node
        .string("coordinate_transformation_mode")
        .map_err(|e| e.to_string())?;
    if mode == Some("tf_half_pixel_for_nn") {
        return Err("`tf_half_pixel_for_nn` does not exist in a newer opset".into());
    }
    if node.input_name(2).is_some() && node.input_name(3).is_some() {
        let scales = site.constant(node, 2);
        if !scales.is_some_and(|s| s.is_empty() && s.data_type() == DataType::F32) {
            return Err("both scales and sizes are given".into());
        }
        node.input[2] = String::new();
    }
    Ok(())
}
