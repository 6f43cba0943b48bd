//! `Squeeze`, `Unsqueeze` and the reductions: axes become an input.

use super::site::{Site, take_attribute};
use crate::Tensor;
use crate::proto::NodeProto;

/// Axes that are left out mean the same in both forms: all of them (with length 1, for `Squeeze`).
pub(super) fn to_input(node: &mut NodeProto, site: &mut Site<'_>) {
    if let Some(axes) = take_attribute(node, "axes") {
        let axes = Tensor::from_i64(vec![axes.ints.len()], &axes.ints);
        site.set_input(node, 1, "axes", &axes);
    }
}
