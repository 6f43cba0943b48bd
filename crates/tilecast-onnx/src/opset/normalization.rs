//! `BatchNormalization` and `GroupNormalization`.

use super::site::{Site, take_attribute};
use crate::Tensor;
use crate::proto::NodeProto;

type Converted = Result<(), String>;

/// `BatchNormalization` of opset 9 always normalizes per channel.
pub(super) fn without_spatial(node: &mut NodeProto, _: &mut Site<'_>) -> Converted {
    match take_attribute(node, "spatial").and_then(|a| a.i) {
        None | Some(1) => Ok(()),
        Some(_) => Err("`spatial` = 0 does not exist in a newer opset".into()),
    }
}

/// `BatchNormalization` of opset 14: before, more than one output meant training.
pub(super) fn without_training(node: &mut NodeProto, _: &mut Site<'_>) -> Converted {
    if (1..node.output.len()).any(|slot| node.output_name(slot).is_some()) {
        return Err("it computes statistics for training; export the model for inference".into());
    }
    node.output.truncate(1);
    Ok(())
}

/// `GroupNormalization` of opset 21 has a scale and a bias per channel, not per group.
pub(super) fn per_channel(node: &mut NodeProto, site: &mut Site<'_>) -> Converted {
    let n_groups = node
        .int("num_groups")
        .map_err(|e| e.to_string())?
        .and_then(|n| usize::try_from(n).ok())
        .filter(|&n| n > 0)
        .ok_or("attribute `num_groups` is missing")?;
    let n_channels = site
        .dims(node, 0)
        .and_then(|dims| *dims.get(1)?)
        .filter(|n| n % n_groups == 0)
        .ok_or("the number of channels is not known, or no multiple of `num_groups`")?;
    for (slot, name) in [(1, "scale"), (2, "bias")] {
        let per_group = site
            .constant(node, slot)
            .filter(|t| t.dims() == [n_groups])
            .ok_or_else(|| format!("the {name} is no constant with one element per group"))?;
        let per_channel = repeated(&per_group, n_channels / n_groups)?;
        site.set_input(node, slot, name, &per_channel);
    }
    Ok(())
}

/// Each element `times` times in a row.
fn repeated(tensor: &Tensor, times: usize) -> Result<Tensor, String> {
    let width = tensor.bytes().len() / tensor.len().max(1);
    let elements = tensor.bytes().chunks_exact(width.max(1));
    let bytes: Vec<u8> = elements.flat_map(|element| element.repeat(times)).collect();
    Tensor::from_raw(tensor.data_type(), vec![tensor.len() * times], bytes.into())
        .map_err(|e| e.to_string())
}
