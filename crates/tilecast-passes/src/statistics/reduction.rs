//! Means, sums, extremes and norms over all positions: the same operator, applied to the weighted input.

use tilecast_analysis::Merge;
use tilecast_onnx::NodeId;

use super::cutter::{Cutter, Weighting};
use super::{Done, input, output};

pub(super) fn cut(cutter: &mut Cutter<'_, '_>, id: NodeId, merge: Merge) -> Result<Done, String> {
    let x = input(cutter.graph, id, 0)?;
    let y = output(cutter.graph, id)?;
    if !cutter.grids.varies(x) {
        return Ok(Done::Nothing);
    }
    // A reduction over channels keeps the positions.
    let Some(dims) = cutter.grids.fixed(y).map(<[usize]>::to_vec) else {
        return if cutter.grids.same_positions(x, y) {
            Ok(Done::Nothing)
        } else {
            Err("it takes a statistic over rows or columns and not both".to_owned())
        };
    };
    let grid = cutter.grids.grid(cutter.graph, x)?;
    let y_type = cutter.float_type(y)?;
    let operand = match merge {
        // The squares are weighted.
        Merge::Norm => cutter.weighted(x, grid, Weighting::Root)?,
        Merge::Sum if cutter.graph.node(id).is("ReduceSumSquare") => {
            cutter.weighted(x, grid, Weighting::Root)?
        }
        Merge::Maximum => cutter.masked(x, grid, f32::MIN)?,
        Merge::Minimum => cutter.masked(x, grid, f32::MAX)?,
        Merge::Mean | Merge::Sum | Merge::Variance { .. } => {
            cutter.weighted(x, grid, Weighting::Plain)?
        }
    };
    let of_core = cutter.add_like(id, &[&operand]);
    let swept = cutter.statistic(id, merge, &of_core, dims);
    let swept = cutter.cast(&swept, tilecast_onnx::DataType::F32, y_type);
    cutter.replace(id, &swept)?;
    cutter.place_after(id);
    Ok(Done::Cut)
}
