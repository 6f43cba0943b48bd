//! `Split`: its sizes become an input, and equal parts are asked for by their number.

use super::site::{Site, take_attribute};
use crate::proto::NodeProto;
use crate::{Tensor, attribute};

/// Opset 13.
pub(super) fn sizes_to_input(node: &mut NodeProto, site: &mut Site<'_>) {
    if let Some(sizes) = take_attribute(node, "split") {
        let sizes = Tensor::from_i64(vec![sizes.ints.len()], &sizes.ints);
        site.set_input(node, 1, "split", &sizes);
    }
}

/// Opset 18. Where the parts cannot be equal the older version is invalid, so the last part never comes out smaller.
pub(super) fn count_outputs(node: &mut NodeProto, _: &mut Site<'_>) {
    if node.input_name(1).is_some() {
        return;
    }
    let count = attribute::int("num_outputs", node.output.len() as i64);
    node.attribute.push(count);
}
