//! Operators whose parameters become inputs: `Clip`, `Pad`, `Slice`, `TopK`, `Upsample`, `Dropout`.

use bytes::Bytes;
use half::f16;

use super::site::{Site, take_attribute};
use crate::proto::NodeProto;
use crate::{DataType, Tensor};

type Converted = Result<(), String>;

/// Opset 11. A bound that is left out is the type's own in both forms.
pub(super) fn clip(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    for (slot, name) in [(1, "min"), (2, "max")] {
        if let Some(bound) = take_attribute(node, name) {
            scalar_like_data(node, site, slot, name, bound.f.unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Opset 11. A fill value that is left out is 0 in both forms.
pub(super) fn pad(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let pads = take_attribute(node, "pads").ok_or("attribute `pads` is missing")?;
    let pads = Tensor::from_i64(vec![pads.ints.len()], &pads.ints);
    site.set_input(node, 1, "pads", &pads);
    let value = take_attribute(node, "value").and_then(|a| a.f);
    if let Some(value) = value.filter(|&value| value != 0.0) {
        scalar_like_data(node, site, 2, "value", value)?;
    }
    Ok(())
}

/// Opset 10.
pub(super) fn slice(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    for (slot, name) in [(1, "starts"), (2, "ends"), (3, "axes")] {
        match take_attribute(node, name) {
            Some(list) => {
                let list = Tensor::from_i64(vec![list.ints.len()], &list.ints);
                site.set_input(node, slot, name, &list);
            }
            None if name == "axes" => {}
            None => return Err(format!("attribute `{name}` is missing")),
        }
    }
    Ok(())
}

/// Opset 10.
pub(super) fn top_k(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let count = take_attribute(node, "k")
        .and_then(|a| a.i)
        .ok_or("attribute `k` is missing")?;
    site.set_input(node, 1, "k", &Tensor::from_i64(vec![1], &[count]));
    Ok(())
}

/// Opset 9.
pub(super) fn upsample_scales(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let scales = take_attribute(node, "scales").ok_or("attribute `scales` is missing")?;
    let scales = Tensor::from_f32(vec![scales.floats.len()], &scales.floats);
    site.set_input(node, 1, "scales", &scales);
    Ok(())
}

/// `Dropout` of opset 10: the mask becomes boolean, and what it holds in inference was never said.
pub(super) fn without_mask(node: &mut NodeProto, _: &mut Site<'_>) -> Converted {
    if node.output_name(1).is_some() {
        return Err("the mask of `Dropout` has another meaning in a newer opset".into());
    }
    Ok(())
}

/// `Dropout` of opset 12. Inference ignores the ratio; it is kept for who reads the model.
pub(super) fn dropout_ratio(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    if let Some(ratio) = take_attribute(node, "ratio").and_then(|a| a.f) {
        let ratio = Tensor::from_f32(vec![], &[ratio]);
        site.set_input(node, 1, "ratio", &ratio);
    }
    without_mask(node, site)
}

/// Makes input `slot` a scalar of the element type of input 0.
fn scalar_like_data(
    node: &mut NodeProto,
    site: &mut Site<'_>,
    slot: usize,
    name: &str,
    value: f32,
) -> Result<(), String> {
    let data_type = site.data_type(node, 0);
    let bytes = match data_type {
        Some(DataType::F32) => Bytes::copy_from_slice(&value.to_le_bytes()),
        Some(DataType::F64) => Bytes::copy_from_slice(&f64::from(value).to_le_bytes()),
        Some(DataType::F16) => Bytes::copy_from_slice(&f16::from_f32(value).to_le_bytes()),
        _ => {
            return Err(format!(
                "`{name}` becomes an input of the element type of `{}`, which is not known",
                node.input_name(0).unwrap_or_default()
            ));
        }
    };
    let scalar = Tensor::from_raw(data_type.unwrap_or(DataType::F32), vec![], bytes)
        .map_err(|e| e.to_string())?;
    site.set_input(node, slot, name, &scalar);
    Ok(())
}
