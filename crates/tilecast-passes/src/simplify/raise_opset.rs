//! Raising the opset to what a fusion needs, and no further.

use tilecast_onnx::{Model, upgrade_opset};

use super::{
    InputExtents, fuse_gelu, fuse_group_norm, fuse_hard_swish, fuse_layer_norm, fuse_pixel_shuffle,
    slices_to_split,
};
use crate::pass::run_pass_with;
use crate::{Decline, Numerics, Pass, PassError, PassMeta, PassReport};

/// The fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "raise_opset",
    summary: "raise the opset to what a fusion needs, where that is asked for",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Some fusions write an operator that the model's opset does not have yet. Where such a fusion finds its
pattern, the opset is raised to the one that it needs, and the operators whose meaning changed on the way are converted.
Where no fusion needs a newer opset, the model keeps its own.

**Why.** Exporters write old opsets to be read everywhere, and a model of opset 11 would miss every fusion that came since.

**Before / After.** A model of opset 11 with a layer normalization taken apart becomes one of opset 17, in which it can be
`LayerNormalization`.

**Preconditions.** No pass finds anything more at the present opset. A limit was given (`simplify --opset N`) and the fusion
needs no more than that: no target gains from a newer opset by itself, because runtimes recognize the common patterns when they
load a model. Every operator of the model can be converted.

**Numerics.** Exact: an operator whose new version computes something else is written out, or the opset stays.

**References.** The change log of the ONNX operators.",
};

/// What a fusion needs at least, ascending.
const NEEDS: &[(&str, i64)] = &[
    (fuse_pixel_shuffle::META.id, fuse_pixel_shuffle::MODE_OPSET),
    (slices_to_split::META.id, slices_to_split::MIN_OPSET),
    (fuse_hard_swish::META.id, fuse_hard_swish::MIN_OPSET),
    (fuse_layer_norm::META.id, fuse_layer_norm::MIN_OPSET),
    (fuse_gelu::META.id, fuse_gelu::MIN_OPSET),
    (fuse_group_norm::META.id, fuse_group_norm::MIN_OPSET),
];

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Raised {
    /// The report, where the opset was raised.
    pub(super) report: Option<PassReport>,
    /// Why it could not be raised where a fusion asked for it.
    pub(super) declined: Vec<Decline>,
}

/// Raises the opset, up to `max_opset`, for the first of these passes that then finds something to do. Each comes with whether it left a
/// place alone: one that met no pattern need not be tried.
///
/// # Errors
/// A pass failed when it was tried.
pub(super) fn raise_opset<'p>(
    model: &mut Model,
    passes: impl Fn(&str) -> Option<&'p dyn Pass>,
    max_opset: i64,
    inputs: &InputExtents,
) -> Result<Raised, PassError> {
    let mut raised = Raised::default();
    for &(id, opset) in NEEDS {
        if opset <= model.opset() || opset > max_opset {
            continue;
        }
        let Some(pass) = passes(id) else {
            continue;
        };
        let mut newer = model.clone();
        if let Err(error) = upgrade_opset(&mut newer, opset) {
            raised.declined.push(Decline {
                node: model.graph_proto().name.clone().unwrap_or_default(),
                reason: format!("`{id}` would need it: {error}"),
            });
            continue;
        }
        if run_pass_with(pass, &mut newer.clone(), inputs)?.changed {
            let nodes = [&*model, &newer].map(|m| m.graph_proto().node.len());
            *model = newer;
            raised.report = Some(PassReport {
                pass: META.id,
                changed: true,
                nodes,
                declined: Vec::new(),
            });
            return Ok(raised);
        }
    }
    Ok(raised)
}
