//! Where the pixels of a value lie: each axis as a product of factors, the outermost first.
//!
//! A position along rows or columns is a number written in digits. A feature map holds each of its two numbers in one digit
//! on one axis; a partition into windows splits them into the number of the window and the position inside it, and moves
//! the digits to other axes; tokens hold both on one axis. So every chain of reshapes and transposes can be followed, and
//! what an operator mixes is seen from the digits on the axes that it works along.

use tilecast_onnx::NodeId;

use super::axis_map::{AxisMap, Path};
use super::error::{Cause, Refusal};
use super::ratio::Ratio;

/// Extents for the small and the large probe image.
pub(crate) type Extents = [usize; 2];

/// A digit of the position along one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digit {
    /// 0: rows, 1: columns.
    pub(crate) side: usize,
    /// Positions from one value of the digit to the next.
    pub(crate) unit: u64,
    /// How many values it has.
    pub(crate) extent: Extents,
}

impl Digit {
    /// Whether it is the leading digit: the one that follows the image.
    pub(crate) fn is_leading(self) -> bool {
        self.extent[0] != self.extent[1]
    }

    /// Positions that the digit and all lower ones count.
    fn span(self) -> u64 {
        self.unit.saturating_mul(self.extent[0] as u64)
    }

    fn same_digit(self, other: Self) -> bool {
        self.side == other.side && self.unit == other.unit
    }
}

/// A part of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    /// Channels, heads, taps: nothing that says where in the image.
    Plain(usize),
    /// A digit of the position.
    Digit(Digit),
    /// In a table of pairs of positions, the digit of the other one.
    Partner(Digit),
    /// Follows the size of the image and says nothing about this value's position: copies, or all positions at once.
    Free(Extents),
}

impl Factor {
    pub(crate) fn extent(self) -> Extents {
        match self {
            Self::Plain(n) => [n; 2],
            Self::Digit(digit) | Self::Partner(digit) => digit.extent,
            Self::Free(extent) => extent,
        }
    }

    fn without_position(self) -> Self {
        match self {
            Self::Digit(digit) | Self::Partner(digit) if !digit.is_leading() => {
                Self::Plain(digit.extent[0])
            }
            Self::Digit(digit) | Self::Partner(digit) => Self::Free(digit.extent),
            other => other,
        }
    }
}

/// Factors of one axis, outermost first; none where the extent is 1.
pub(crate) type Axis = Vec<Factor>;

/// A cyclic shift that is not undone yet: position q of the value holds the pixel at `q + by`, wrapped at the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roll {
    pub(crate) by: i128,
    /// The node that shifted.
    pub(crate) node: NodeId,
}

/// Whether a value is a table of pairs of positions of a shifted window, in which pairs that the shift made neighbours must
/// not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    None,
    /// They still count.
    Unmasked,
    /// They are masked.
    Masked,
}

/// How a value that is computed from pixels holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) axes: Vec<Axis>,
    /// Image pixels per position, along rows and columns; `None` where the value has no position along that side.
    pub(crate) stride: [Option<Ratio>; 2],
    pub(crate) roll: [Option<Roll>; 2],
    pub(crate) pairs: Pairs,
}

impl Layout {
    /// An image, [N, C, rows, columns] or [N, rows, columns, C]: columns follow the axis of rows.
    pub(crate) fn image(dims: &[Extents], rows_axis: usize) -> Self {
        let axes =
            dims.iter()
                .enumerate()
                .map(|(axis, &extent)| match axis.checked_sub(rows_axis) {
                    Some(side @ (0 | 1)) => vec![Factor::Digit(Digit {
                        side,
                        unit: 1,
                        extent,
                    })],
                    _ => plain(extent),
                });
        Self {
            axes: axes.collect(),
            stride: [Some(Ratio::ONE); 2],
            ..Self::without_positions(&[])
        }
    }

    /// A value that has no position: a constant, a statistic.
    pub(crate) fn without_positions(dims: &[Extents]) -> Self {
        Self {
            axes: dims.iter().map(|&extent| plain(extent)).collect(),
            stride: [None; 2],
            roll: [None; 2],
            pairs: Pairs::None,
        }
    }

    pub(crate) fn has_positions(&self) -> bool {
        self.stride.iter().any(Option::is_some)
    }

    /// Digits of the position along one side, with their axes.
    pub(crate) fn digits(&self, side: usize) -> impl Iterator<Item = (usize, Digit)> + '_ {
        let axes = self.axes.iter().enumerate();
        axes.flat_map(|(axis, factors)| factors.iter().map(move |&f| (axis, f)))
            .filter_map(move |(axis, factor)| match factor {
                Factor::Digit(digit) if digit.side == side => Some((axis, digit)),
                _ => None,
            })
    }

    /// The axes of rows and columns, where each is one axis and nothing else.
    pub(crate) fn grid_axes(&self) -> Option<[usize; 2]> {
        let along = |side: usize| {
            let mut digits = self.digits(side);
            let (axis, digit) = digits.next()?;
            let alone = digits.next().is_none() && self.axes[axis].len() == 1;
            (alone && digit.unit == 1 && digit.is_leading()).then_some(axis)
        };
        Some([along(0)?, along(1)?])
    }

    /// Whether an axis holds rows or columns, whole or as windows.
    pub(crate) fn follows_image(&self, axis: usize) -> bool {
        let follows = |f: &Factor| f.extent()[0] != f.extent()[1];
        self.axes.get(axis).is_some_and(|a| a.iter().any(follows))
    }

    /// The same positions counted `factor` times as finely along one side.
    pub(crate) fn refined(mut self, side: usize, factor: u64) -> Option<Self> {
        let fine = Ratio::new(1, factor)?;
        if let Some(stride) = self.stride[side] {
            self.stride[side] = Some(stride.times(fine)?);
        }
        for digit in self.digits_mut(side) {
            digit.unit = digit.unit.checked_mul(factor)?;
        }
        if let Some(roll) = &mut self.roll[side] {
            roll.by *= i128::from(factor);
        }
        Some(self)
    }

    fn digits_mut(&mut self, side: usize) -> impl Iterator<Item = &mut Digit> {
        let factors = self.axes.iter_mut().flatten();
        factors.filter_map(move |factor| match factor {
            Factor::Digit(d) | Factor::Partner(d) if d.side == side => Some(d),
            _ => None,
        })
    }

    /// Joins digits that stand together, and takes channels that stand below a position for positions between them: what a
    /// pixel shuffle in reshaped form ends with.
    pub(crate) fn joined(mut self) -> Result<(Self, [Path; 2]), Refusal> {
        let mut paths = [Path::default(), Path::default()];
        for axis in &mut self.axes {
            *axis = join_neighbours(axis);
        }
        while let Some((axis, at, digit, channels)) = self.interleaved() {
            let factor = channels as u64;
            let refused = || Refusal::unsupported("its strides are too small");
            self = self.refined(digit.side, factor).ok_or_else(refused)?;
            let extent = digit.extent.map(|n| n.saturating_mul(channels));
            self.axes[axis][at] = Factor::Digit(Digit {
                unit: 1,
                extent,
                ..digit
            });
            self.axes[axis].remove(at + 1);
            paths[digit.side].then(AxisMap::Spread {
                factor: i128::from(factor),
            });
        }
        Ok((self, paths))
    }

    /// A leading digit of unit 1 with channels right below it.
    fn interleaved(&self) -> Option<(usize, usize, Digit, usize)> {
        let pairs = self.axes.iter().enumerate().flat_map(|(axis, factors)| {
            let windows = factors.windows(2).enumerate();
            windows.map(move |(at, pair)| (axis, at, pair[0], pair[1]))
        });
        let mut pairs = pairs;
        pairs.find_map(|(axis, at, high, low)| match (high, low) {
            (Factor::Digit(d), Factor::Plain(n)) if d.is_leading() && d.unit == 1 => {
                Some((axis, at, d, n))
            }
            _ => None,
        })
    }

    /// Drops the positions on these axes, which an operator mixes: what is left counts whole blocks of them. The leading
    /// digits must not be among them.
    pub(crate) fn settled(mut self, axes: &[usize]) -> Result<(Self, [Path; 2]), Refusal> {
        let mut paths = [Path::default(), Path::default()];
        for (side, path) in paths.iter_mut().enumerate() {
            let dropped = self.digits(side).filter(|(axis, _)| axes.contains(axis));
            let (mut block, mut leading) = (1, false);
            for (_, digit) in dropped {
                block = block.max(digit.span());
                leading |= digit.is_leading();
            }
            if leading {
                return Err(Refusal::unsupported(
                    "it mixes rows or columns; its effect on tiles is not known",
                ));
            }
            if block == 1 {
                continue;
            }
            let kept = |digit: Digit| digit.unit >= block && digit.unit.is_multiple_of(block);
            let left = |(axis, digit): (usize, Digit)| axes.contains(&axis) || kept(digit);
            if !self.digits(side).all(left) {
                return Err(Refusal::unsupported(
                    "it mixes some digits of a position inside a window and not the lower ones; its effect on tiles is not known",
                ));
            }
            *path = self.coarsened(side, block)?;
        }
        for &axis in axes {
            let factors = self.axes[axis].iter().map(|f| f.without_position());
            self.axes[axis] = join_neighbours(&factors.collect::<Vec<_>>());
        }
        Ok((self, paths))
    }

    /// Counts positions in blocks from now on; digits below are left to the caller.
    pub(crate) fn coarsened(&mut self, side: usize, block: u64) -> Result<Path, Refusal> {
        let coarse = Ratio::new(block, 1);
        self.stride[side] = self.stride[side].zip(coarse).and_then(|(a, b)| a.times(b));
        if self.stride[side].is_none() {
            return Err(Refusal::unsupported("its stride is too large"));
        }
        for digit in self.digits_mut(side) {
            digit.unit /= block;
        }
        if let Some(roll) = &mut self.roll[side] {
            roll.by /= i128::from(block);
        }
        let mut path = Path::default();
        path.then(AxisMap::Gathered {
            factor: i128::from(block),
        });
        Ok(path)
    }

    /// What mixing along these axes reads where the result keeps all of its positions: whole blocks.
    pub(crate) fn blocks(&self, axes: &[usize]) -> [Path; 2] {
        [0, 1].map(|side| {
            let mixed = self.digits(side).filter(|(axis, _)| axes.contains(axis));
            let block = mixed.map(|(_, d)| d.span()).fold(1, u64::max);
            let mut path = Path::default();
            if block > 1 {
                path.then(AxisMap::Blocked {
                    block: i128::from(block),
                });
            }
            path
        })
    }

    /// The same elements in the same order, in these dimensions.
    pub(crate) fn reshaped(&self, dims: &[Extents]) -> Result<Self, Refusal> {
        let mut rest: Vec<Factor> = self.axes.iter().flatten().copied().rev().collect();
        let mut axes = Vec::with_capacity(dims.len());
        for &extent in dims {
            let mut axis = Axis::new();
            let mut need = extent;
            while need != [1; 2] {
                let next = rest.pop().ok_or_else(|| splits(extent))?;
                if let Some(left) = divided(need, next.extent()) {
                    axis.push(next);
                    need = left;
                    continue;
                }
                let inner = divided(next.extent(), need).ok_or_else(|| splits(extent))?;
                let (high, low) = split(next, need, inner)?;
                axis.push(high);
                rest.push(low);
                need = [1; 2];
            }
            axes.push(axis);
        }
        if rest.iter().any(|f| f.extent() != [1; 2]) {
            return Err(splits([0; 2]));
        }
        Ok(Self {
            axes,
            ..self.clone()
        })
    }

    /// Sets the extents to those of a value and checks that each grows with the image as the strides say.
    pub(crate) fn fitted(mut self, dims: &[Extents], growth_px: usize) -> Option<Self> {
        if dims.len() != self.axes.len() {
            return None;
        }
        let stride = self.stride;
        for (axis, &extent) in self.axes.iter_mut().zip(dims) {
            match axis.as_mut_slice() {
                [Factor::Digit(digit)] if digit.is_leading() => {
                    // In image pixels: how far the position moved, and how far the image grew.
                    let stride = stride[digit.side]?;
                    let positions = extent[1].checked_sub(extent[0])? as u128;
                    let moved = positions * u128::from(digit.unit) * u128::from(stride.numerator());
                    if moved != growth_px as u128 * u128::from(stride.denominator()) {
                        return None;
                    }
                    digit.extent = extent;
                }
                factors if factors.iter().all(|f| matches!(f, Factor::Plain(_))) => {
                    if extent[0] != extent[1] {
                        return None;
                    }
                    *axis = plain(extent);
                }
                [Factor::Free(free)] => *free = extent,
                factors => {
                    let product =
                        |n: usize| factors.iter().map(|f| f.extent()[n]).product::<usize>();
                    if [product(0), product(1)] != extent {
                        return None;
                    }
                }
            }
        }
        Some(self)
    }
}

/// An axis without position.
pub(crate) fn plain(extent: Extents) -> Axis {
    match extent {
        [1, 1] => Vec::new(),
        [small, large] if small == large => vec![Factor::Plain(small)],
        _ => vec![Factor::Free(extent)],
    }
}

/// What an axis of a result holds where its operands hold these; `None` where they contradict each other.
pub(crate) fn join_operands(a: &Axis, b: &Axis) -> Option<Axis> {
    let rank = |axis: &Axis| {
        axis.iter().fold(0, |rank, factor| {
            rank.max(match factor {
                Factor::Plain(_) => 1,
                Factor::Free(_) => 2,
                Factor::Partner(_) => 3,
                Factor::Digit(_) => 4,
            })
        })
    };
    let (ranks, extent) = ([rank(a), rank(b)], |axis: &Axis| {
        [0, 1].map(|n| axis.iter().map(|f| f.extent()[n]).product::<usize>())
    });
    match ranks {
        [_, 0] => Some(a.clone()),
        [0, _] => Some(b.clone()),
        _ if a == b => Some(a.clone()),
        _ if extent(a) != extent(b) => None,
        // A table of pairs meets the values of one of the two positions.
        [4, 3] => (*a == as_positions(b)).then(|| a.clone()),
        [3, 4] => (*b == as_positions(a)).then(|| b.clone()),
        [4, 1 | 2] | [1..=3, 1] => Some(a.clone()),
        [1 | 2, 4] | [1, 2 | 3] => Some(b.clone()),
        _ => None,
    }
}

/// The axis with the other position of a pair in place of none.
fn as_positions(axis: &Axis) -> Axis {
    let position = |factor: &Factor| match *factor {
        Factor::Partner(digit) => Factor::Digit(digit),
        other => other,
    };
    axis.iter().map(position).collect()
}

/// Neighbours that make one factor.
pub(crate) fn join_neighbours(axis: &[Factor]) -> Axis {
    let mut joined = Axis::new();
    for &factor in axis.iter().filter(|f| f.extent() != [1; 2]) {
        let last = joined.last().copied();
        let whole = last.and_then(|high| match (high, factor) {
            (Factor::Plain(a), Factor::Plain(b)) => Some(Factor::Plain(a.saturating_mul(b))),
            (Factor::Digit(a), Factor::Digit(b)) => Some(Factor::Digit(continued(a, b)?)),
            (Factor::Partner(a), Factor::Partner(b)) => Some(Factor::Partner(continued(a, b)?)),
            _ => None,
        });
        if whole.is_some() {
            joined.pop();
        }
        joined.push(whole.unwrap_or(factor));
    }
    joined
}

/// The digit that two make of which the second continues the first.
fn continued(high: Digit, low: Digit) -> Option<Digit> {
    let continues = high.side == low.side && !low.is_leading() && high.unit == low.span();
    continues.then(|| Digit {
        extent: [0, 1].map(|n| high.extent[n].saturating_mul(low.extent[n])),
        ..low
    })
}

/// Whether some axis holds this digit.
pub(crate) fn is_among(digit: Digit, axes: &[Axis]) -> bool {
    let all = axes.iter().flatten();
    all.filter_map(|f| match f {
        Factor::Digit(d) => Some(*d),
        _ => None,
    })
    .any(|d| d.same_digit(digit))
}

fn divided(a: Extents, b: Extents) -> Option<Extents> {
    let whole = |n: usize| (b[n] != 0 && a[n].is_multiple_of(b[n])).then(|| a[n] / b[n]);
    Some([whole(0)?, whole(1)?])
}

fn split(factor: Factor, outer: Extents, inner: Extents) -> Result<(Factor, Factor), Refusal> {
    let digits = |digit: Digit| -> Result<(Digit, Digit), Refusal> {
        if inner[0] != inner[1] {
            let side = ["rows", "columns"][digit.side];
            return Err(Refusal::size_dependent(format!(
                "it splits {side} into a fixed number of parts that grow with the image (a grid), so where a part begins depends on the absolute size"
            ))
            .because(Cause::Grid));
        }
        let high = Digit {
            unit: digit.unit.saturating_mul(inner[0] as u64),
            extent: outer,
            ..digit
        };
        let low = Digit {
            extent: inner,
            ..digit
        };
        Ok((high, low))
    };
    let free = |extent: Extents| match plain(extent).as_slice() {
        [factor] => *factor,
        _ => Factor::Plain(1),
    };
    Ok(match factor {
        Factor::Digit(digit) => {
            let (high, low) = digits(digit)?;
            (Factor::Digit(high), Factor::Digit(low))
        }
        Factor::Partner(digit) => {
            let (high, low) = digits(digit)?;
            (Factor::Partner(high), Factor::Partner(low))
        }
        Factor::Plain(_) | Factor::Free(_) => (free(outer), free(inner)),
    })
}

fn splits(extent: Extents) -> Refusal {
    Refusal::size_dependent(format!(
        "its dimension {} cuts rows or columns apart in a way that is not known to be the same for every tile",
        extent[0]
    ))
}
