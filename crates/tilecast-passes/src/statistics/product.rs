//! Products that sum over all positions: the c×c matrices of channel attention, and other Gram matrices.
//!
//! Queries and keys are often divided by their norms over all positions before the product. A row's norm is a factor of the
//! product, so the product of the undivided operands is swept and divided by the swept norms afterwards. Products and norms are
//! then statistics of one level, where the divided ones would be exact a sweep later.

use tilecast_analysis::Merge;
use tilecast_onnx::{DataType, NodeId};

use super::cutter::{Cutter, Weighting};
use super::{Done, input, output};

pub(super) fn cut(cutter: &mut Cutter<'_, '_>, id: NodeId) -> Result<Done, String> {
    let (a, b) = (input(cutter.graph, id, 0)?, input(cutter.graph, id, 1)?);
    let y = output(cutter.graph, id)?;
    let grids = cutter.grids;
    if !(grids.varies(a) && grids.varies(b)) {
        return Ok(Done::Nothing);
    }
    let Some(dims) = grids.fixed(y).map(<[usize]>::to_vec) else {
        return Ok(Done::Nothing);
    };
    let rank = dims.len();
    if rank < 2 || !grids.varies_along_only(b, rank - 2) {
        return Err(
            "it does not sum over one axis that holds all positions of the image".to_owned(),
        );
    }
    let y_type = cutter.float_type(y)?;
    let left = Factors::of(cutter, a, rank - 1);
    let right = transposed(cutter, b, rank)
        .map(|(of, perm)| (Factors::of(cutter, of, rank - 1), perm))
        .filter(|(factors, _)| factors.divisor.is_some());

    let grid = cutter.grids.grid(cutter.graph, left.dividend)?;
    let rows = cutter.weighted(left.dividend, grid, Weighting::Plain)?;
    let columns = match &right {
        Some((factors, perm)) => {
            let dividend = cutter.as_f32(factors.dividend)?;
            cutter.transpose(&dividend, perm)
        }
        None => cutter.as_f32(b)?,
    };
    let of_core = cutter.add_like(id, &[&rows, &columns]);
    let mut swept = cutter.statistic(id, Merge::Sum, &of_core, dims);
    if let Some(divisor) = left.divisor {
        let divisor = cutter.as_f32(divisor)?;
        swept = cutter.add("Div", &[&swept, &divisor]);
    }
    if let Some((
        Factors {
            divisor: Some(divisor),
            ..
        },
        perm,
    )) = right
    {
        let divisor = cutter.as_f32(divisor)?;
        let divisor = cutter.transpose(&divisor, &perm);
        swept = cutter.add("Div", &[&swept, &divisor]);
    }
    let swept = cutter.cast(&swept, DataType::F32, y_type);
    cutter.replace(id, &swept)?;
    cutter.place_after(id);
    Ok(Done::Cut)
}

/// A value as a quotient whose divisor is the same at all positions.
struct Factors<'g> {
    dividend: &'g str,
    divisor: Option<&'g str>,
}

impl<'g> Factors<'g> {
    /// The quotient behind a value; the value itself where it is none. Positions are axis `axis`, the last one.
    fn of(cutter: &Cutter<'_, 'g>, value: &'g str, axis: usize) -> Self {
        let undivided = Self {
            dividend: value,
            divisor: None,
        };
        let Some(node) = cutter.graph.producer_node(value).filter(|n| n.is("Div")) else {
            return undivided;
        };
        let (Some(dividend), Some(mut divisor)) = (node.input_name(0), node.input_name(1)) else {
            return undivided;
        };
        // Exporters spread the norms to the shape of the queries first.
        if let Some(expand) = cutter
            .graph
            .producer_node(divisor)
            .filter(|n| n.is("Expand"))
        {
            divisor = expand.input_name(0).unwrap_or(divisor);
        }
        let same_everywhere = cutter
            .grids
            .fixed(divisor)
            .is_some_and(|dims| dims.len() == axis + 1 && dims[axis] == 1);
        if same_everywhere && cutter.grids.same_shape(dividend, value) {
            Self {
                dividend,
                divisor: Some(divisor),
            }
        } else {
            undivided
        }
    }
}

/// What a value is with its last two axes exchanged, and how they were.
fn transposed<'g>(
    cutter: &Cutter<'_, 'g>,
    value: &'g str,
    rank: usize,
) -> Option<(&'g str, Vec<i64>)> {
    let node = cutter
        .graph
        .producer_node(value)
        .filter(|n| n.is("Transpose"))?;
    let perm = node.ints("perm").ok().flatten()?;
    let mut exchanged: Vec<i64> = (0..rank as i64).collect();
    exchanged.swap(rank - 2, rank - 1);
    (perm == exchanged).then_some((node.input_name(0)?, exchanged))
}
