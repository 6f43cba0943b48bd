//! Cutting statistics of the whole image out of a model, so that a tiled run can share them among tiles.
//!
//! Reading order: this file (what is cut, and in which order) → `statistics/grid.rs` (which axes of a value are rows and columns)
//! → `statistics/cutter.rs` (what every cut needs) → one file per family of operators: `reduction.rs`, `normalization.rs`,
//! `product.rs` → `statistics/levels.rs` (which statistics depend on which).
//!
//! A statistic over tile *cores* is the same operator applied to its input times a weight map: zero outside of the core, and
//! scaled such that a mean over the tile is the mean over the core. So nothing is cropped, the shapes are those of the
//! original, and a core of any size is a matter of the numbers that are fed.

mod cutter;
mod grid;
mod levels;
mod normalization;
mod product;
mod reduction;

use std::collections::BTreeSet;

use tilecast_analysis::{Merge, SweepContract};
use tilecast_onnx::{Graph, Model, NodeId};

use crate::{Decline, Numerics, PassError, PassMeta};

use cutter::Cutter;
pub(crate) use grid::{Grid, Grids, Layout};

/// The pass's fixed facts.
pub(crate) const CUT_STATISTICS: PassMeta = PassMeta {
    id: "cut_statistics",
    summary: "make statistics of the whole image inputs and outputs of the model, for runs in tiles",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** An operator that takes a statistic over all positions gets an output for the statistic of the tile's core and an
input for that of the image. A switch says which of the two the model goes on with: 0 for that of the tile, 1 for the input.

**Why.** The statistic of a tile is not that of the image. A runtime that merges those of all tiles and runs the tiles again
with the merged ones comes as near to the whole-image run as it wants, with the memory of one tile. `docs/sweeps.md` says how
the parts go together.

**Before / After.** `p = GlobalAveragePool(x)` becomes `p_own = GlobalAveragePool(x); out = GlobalAveragePool(x * weights);
p = Where(switch > 0.5, in, p_own)`.

**Preconditions.** Batch 1; rows and columns are the last two axes of the operand, or one axis that was made of them by a
Reshape; the operator is a mean, sum, maximum, minimum or L2 norm over both, an instance or group normalization, or a matrix
product over positions. Others stay as they are, and a run with the rest swept is an approximation.

- A normalization is one level, not two: mean and variance are taken in one sweep, the variance around the mean of the core, so that
  nothing is lost where the mean is large beside the spread.
- A product of queries and keys that are divided by their norms is one level with these norms: the product of the undivided ones is
  swept, and divided by the swept norms afterwards.

**Numerics.** Reassociates, where the tile is the image. Statistics are taken in float32 whatever the precision of the model.

**References.** T. F. Chan, G. H. Golub, R. J. LeVeque, *Updating formulae and a pairwise algorithm for computing sample
variances*, 1979.",
};

/// A model whose statistics can be swept.
#[derive(Clone, Debug)]
pub struct SweptModel {
    /// The model: after its own inputs those of the contract, and so for its outputs.
    pub model: Model,
    /// The inputs and outputs that were added.
    pub contract: SweepContract,
    /// Paths of the nodes whose statistics were cut.
    pub cut: BTreeSet<String>,
    /// Nodes that take a statistic which was not cut, and why.
    pub declined: Vec<Decline>,
}

/// Cuts every statistic that can be merged out of a copy of the model, whose tiles are aligned to `alignment_px`.
///
/// # Errors
/// The model does not have one image input, its shapes contradict each other, or a node is damaged.
pub fn cut_statistics(model: &Model, alignment_px: usize) -> Result<SweptModel, PassError> {
    let graph = model.graph();
    let grids = Grids::new(&graph, alignment_px)
        .map_err(|reason| PassError::at(&CUT_STATISTICS, "graph", reason))?;
    let mut cutter = Cutter::new(&graph, &grids);
    let mut cut = BTreeSet::new();
    let mut declined = Vec::new();
    for (id, _) in graph.nodes() {
        match cut_node(&mut cutter, id) {
            Ok(Done::Cut) => {
                cut.insert(graph.path(id));
            }
            Ok(Done::Nothing) => {}
            Err(reason) => {
                cutter.abandon();
                declined.push(Decline {
                    node: graph.path(id),
                    reason,
                });
            }
        }
    }
    let (patch, mut contract) = cutter.finish();
    let mut swept = model.clone();
    patch
        .apply(&mut swept)
        .map_err(|error| PassError::at(&CUT_STATISTICS, "graph", error))?;
    levels::assign(&swept.graph(), &mut contract);
    Ok(SweptModel {
        model: swept,
        contract,
        cut,
        declined,
    })
}

/// What became of a node.
enum Done {
    /// It takes no statistic over positions, or none that this pass knows.
    Nothing,
    /// Its statistics are outputs and inputs now.
    Cut,
}

/// Cuts one node, or gives the reason for which it is left alone.
fn cut_node(cutter: &mut Cutter<'_, '_>, id: NodeId) -> Result<Done, String> {
    let node = cutter.graph.node(id);
    if !node.domain_name().is_empty() {
        return Ok(Done::Nothing);
    }
    match node.op() {
        "GlobalAveragePool" | "ReduceMean" => reduction::cut(cutter, id, Merge::Mean),
        "ReduceSum" | "ReduceSumSquare" => reduction::cut(cutter, id, Merge::Sum),
        "ReduceL2" => reduction::cut(cutter, id, Merge::Norm),
        "GlobalMaxPool" | "ReduceMax" => reduction::cut(cutter, id, Merge::Maximum),
        "ReduceMin" => reduction::cut(cutter, id, Merge::Minimum),
        "InstanceNormalization" | "GroupNormalization" => normalization::cut(cutter, id),
        "MatMul" => product::cut(cutter, id),
        _ => Ok(Done::Nothing),
    }
}

/// The node's input, which every node of a valid graph has.
fn input<'g>(graph: &Graph<'g>, id: NodeId, slot: usize) -> Result<&'g str, String> {
    graph
        .node(id)
        .input_name(slot)
        .ok_or_else(|| format!("it has no input {slot}"))
}

/// The node's output, which every node of a valid graph has.
fn output<'g>(graph: &Graph<'g>, id: NodeId) -> Result<&'g str, String> {
    graph
        .node(id)
        .output_name(0)
        .ok_or_else(|| "it has no output".to_owned())
}
