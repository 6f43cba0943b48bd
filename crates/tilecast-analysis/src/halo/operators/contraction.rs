//! Sums of products: `MatMul`, `Gemm`, `Einsum`.
//!
//! Each axis of an operand has a label. Axes of one label run together; a label that the result lacks is summed over.
//! What becomes of positions follows from where their digits are: on a label of the result they stay; summed over, the
//! result depends on the whole window, or, if it is the leading digit, on the whole image.

use super::super::TilingClass;
use super::super::axis_map::{AxisMap, Path};
use super::super::error::Refusal;
use super::super::layout::{
    Axis, Digit, Factor, Layout, Pairs, is_among, join_neighbours, join_operands,
};
use super::super::trace::{Effect, Mixing, Site};

type Label = u32;

/// `MatMul`: batch axes are aligned at the last, the inner axis is summed over.
pub(super) fn mat_mul(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let ranks = [site.dims(0)?.len(), site.dims(1)?.len()];
    if ranks[0] < 2 || ranks[1] < 2 {
        return Err(Refusal::unsupported(
            "a product with a vector is not supported here",
        ));
    }
    // Labels of batch axes count from the last one; three more for rows, the inner axis and columns.
    let labels = |rank: usize, last: [Label; 2]| -> Vec<Label> {
        let batch = (0..rank - 2).map(|axis| (rank - 3 - axis) as Label + 3);
        batch.chain(last).collect()
    };
    let [rows, inner, columns] = [0, 1, 2];
    let operands = [
        labels(ranks[0], [rows, inner]),
        labels(ranks[1], [inner, columns]),
    ];
    let output = labels(ranks[0].max(ranks[1]), [rows, columns]);
    contract(site, &operands, &output)
}

/// `Gemm`: matrices of two axes, each transposed or not.
pub(super) fn gemm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let flag = |name: &str| -> Result<bool, Refusal> { Ok(site.node.int(name)?.unwrap_or(0) != 0) };
    let turned = |labels: [Label; 2], turn: bool| -> Vec<Label> {
        if turn {
            vec![labels[1], labels[0]]
        } else {
            labels.to_vec()
        }
    };
    if site.has_positions(2) {
        return Err(Refusal::unsupported("its bias carries pixels"));
    }
    let operands = [
        turned([0, 1], flag("transA")?),
        turned([1, 2], flag("transB")?),
    ];
    contract(site, &operands, &[0, 2])
}

/// `Einsum` with an explicit result and without ellipses.
pub(super) fn einsum(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let equation: String = site.node.string("equation")?.unwrap_or_default().into();
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((operands, output)) = equation.split_once("->") else {
        return Err(Refusal::unsupported(
            "an equation without `->` is not supported here",
        ));
    };
    let labels = |term: &str| -> Result<Vec<Label>, Refusal> {
        let letter = |c: char| c.is_ascii_alphabetic().then_some(c as Label);
        let term: Option<Vec<Label>> = term.chars().map(letter).collect();
        let distinct = |l: &Vec<Label>| (1..l.len()).all(|i| !l[..i].contains(&l[i]));
        term.filter(distinct).ok_or_else(|| {
            Refusal::unsupported("ellipses and diagonals in an equation are not supported here")
        })
    };
    let operands = operands
        .split(',')
        .map(labels)
        .collect::<Result<Vec<_>, _>>()?;
    contract(site, &operands, &labels(output)?)
}

fn contract(
    site: &Site<'_, '_>,
    operands: &[Vec<Label>],
    output: &[Label],
) -> Result<Effect, Refusal> {
    let layouts = finest(site, operands.len())?;
    let mut result = Layout::without_positions(&[]);
    for layout in &layouts {
        for side in 0..2 {
            result.stride[side] = result.stride[side].or(layout.stride[side]);
            result.roll[side] = result.roll[side].or(layout.roll[side]);
        }
    }
    let mut labels: Vec<(Label, Axis)> = Vec::new();
    for (layout, names) in layouts.iter().zip(operands) {
        if layout.axes.len() != names.len() {
            return Err(Refusal::unsupported(
                "its equation does not fit its operands",
            ));
        }
        for (axis, &name) in layout.axes.iter().zip(names) {
            match labels.iter_mut().find(|(label, _)| *label == name) {
                None => labels.push((name, axis.clone())),
                Some((_, joined)) => {
                    *joined = join_operands(joined, axis).ok_or_else(|| {
                        Refusal::unsupported("its operands have rows and columns on different axes")
                    })?;
                }
            }
        }
    }
    // Positions that each result depends on as a whole: a block of them, or all.
    let mut block = [1u64; 2];
    let mut everywhere = false;
    for (_, axis) in labels.iter().filter(|(label, _)| !output.contains(label)) {
        for factor in axis {
            match *factor {
                Factor::Plain(_) => {}
                Factor::Digit(d) | Factor::Partner(d) if !d.is_leading() => {
                    block[d.side] = block[d.side].max(d.unit.saturating_mul(d.extent[0] as u64));
                }
                Factor::Digit(_) | Factor::Partner(_) | Factor::Free(_) => everywhere = true,
            }
        }
    }
    let mut makes_pairs = false;
    for name in output {
        let axis = labels.iter().find(|(label, _)| label == name);
        let axis = axis.map(|(_, axis)| axis.clone()).unwrap_or_default();
        // A digit that the result has already: this axis is the other position of a pair.
        let pair = |digit: Digit| is_among(digit, &result.axes);
        let axis = axis.into_iter().map(|factor| match factor {
            Factor::Digit(d) if pair(d) && d.is_leading() => {
                everywhere = true;
                Factor::Free(d.extent)
            }
            Factor::Digit(d) if pair(d) => {
                makes_pairs = true;
                block[d.side] = block[d.side].max(d.unit.saturating_mul(d.extent[0] as u64));
                Factor::Partner(d)
            }
            other => other,
        });
        let axis: Axis = axis.collect();
        result.axes.push(join_neighbours(&axis));
    }
    let paths = settle(&mut result, block)?;
    let is_rolled = result.roll.iter().any(Option::is_some);
    let pairs = layouts.iter().map(|l| l.pairs);
    let is_masked = pairs.clone().any(|p| p == Pairs::Masked);
    let mixing = if makes_pairs || is_masked {
        Mixing::Pairs
    } else {
        Mixing::Any
    };
    if makes_pairs && is_rolled {
        result.pairs = Pairs::Unmasked;
    }
    Ok(Effect {
        layout: result,
        paths,
        class: everywhere.then_some(TilingClass::C),
        mixing,
    })
}

/// The operands, with positions counted as finely in all as in the finest.
fn finest(site: &Site<'_, '_>, n_operands: usize) -> Result<Vec<Layout>, Refusal> {
    let mut layouts = (0..n_operands)
        .map(|slot| site.layout(slot))
        .collect::<Result<Vec<_>, _>>()?;
    super::pointwise::refine_all(&mut layouts)?;
    Ok(layouts)
}

/// Makes the result count in blocks where it has no lower digits left, and says what it reads.
fn settle(result: &mut Layout, block: [u64; 2]) -> Result<[Path; 2], Refusal> {
    let mut paths = [Path::default(), Path::default()];
    for side in 0..2 {
        let digits: Vec<Digit> = result.digits(side).map(|(_, d)| d).collect();
        if !digits.iter().any(|d| d.is_leading()) {
            if !digits.is_empty() {
                return Err(Refusal::unsupported(
                    "it mixes windows and keeps the positions inside them; its effect on tiles is not known",
                ));
            }
            result.stride[side] = None;
            result.roll[side] = None;
            continue;
        }
        let block = block[side];
        if block == 1 {
            continue;
        }
        if digits
            .iter()
            .all(|d| d.unit >= block && d.unit.is_multiple_of(block))
        {
            paths[side] = result.coarsened(side, block)?;
        } else {
            paths[side].then(AxisMap::Blocked {
                block: i128::from(block),
            });
        }
    }
    Ok(paths)
}
