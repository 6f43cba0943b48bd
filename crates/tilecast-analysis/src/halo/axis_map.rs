//! How one operator maps positions along one axis: from the outputs that are wanted to the inputs they need.
//!
//! Integers only. Every map commutes with a shift by one period (as many output positions as [`AxisMap::stride`] has in
//! its denominator against as many input positions as it has in its numerator), and treats the two ends of an interval
//! independently; the halo's derivation rests on both (see the module above).

use super::ratio::Ratio;

/// Positions `first..=last` along one axis. They may lie outside the tensor: clipping at the image border is the
/// tiler's matter.
///
/// 128 bits cannot overflow here: extents, and with them every padding and kernel, are bounded by shape inference, and
/// strides by the largest alignment period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: i128,
    pub(crate) last: i128,
}

impl Interval {
    /// The smallest interval that holds both.
    pub(crate) fn hull(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// Which input positions an output position is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AxisMap {
    /// The same position.
    Same,
    /// A window of `reach + 1` positions at every `stride`, starting `begin` before the first: convolutions and pools.
    Window {
        stride: i128,
        begin: i128,
        reach: i128,
    },
    /// The transpose of a window: transposed convolutions.
    Transposed {
        stride: i128,
        begin: i128,
        reach: i128,
    },
    /// Blocks of `factor` outputs from one input: pixel shuffle.
    Spread { factor: i128 },
    /// One output from a block of `factor` inputs: pixel unshuffle.
    Gathered { factor: i128 },
    /// Every `step`-th position from `start` on: slices, and with a negative start and step 1, padding.
    Strided { start: i128, step: i128 },
    /// The whole block of `block` positions that the output lies in: attention in windows.
    Blocked { block: i128 },
    /// Interpolation on another grid.
    Resampled(Resampling),
}

/// Maps one after the other, from outputs to inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<AxisMap>);

impl Path {
    /// Follows the path by one more map, towards the input.
    pub(crate) fn then(&mut self, map: AxisMap) {
        if map != AxisMap::Same {
            self.0.push(map);
        }
    }

    /// This path, and then the other, towards the input.
    pub(crate) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The input interval that an output interval needs.
    pub(crate) fn pull(&self, wanted: Interval) -> Interval {
        self.0.iter().fold(wanted, |wanted, map| map.pull(wanted))
    }

    /// Input positions per output position; `None` where a part does not fit.
    pub(crate) fn stride(&self) -> Option<Ratio> {
        self.0
            .iter()
            .try_fold(Ratio::ONE, |stride, map| stride.times(map.stride()?))
    }

    /// The most positions that are read as one block; 1 where there are no blocks.
    pub(crate) fn largest_block(&self) -> u64 {
        let block = |map: &AxisMap| match map {
            AxisMap::Blocked { block } => u64::try_from(*block).unwrap_or(1),
            _ => 1,
        };
        self.0.iter().map(block).max().unwrap_or(1)
    }

    /// How many input positions, with all between them, make one output position; 1 without such maps.
    pub(crate) fn gathered(&self) -> u64 {
        let factor = |map: &AxisMap| match map {
            AxisMap::Gathered { factor } => u64::try_from(*factor).unwrap_or(1),
            _ => 1,
        };
        self.0.iter().map(factor).fold(1, u64::saturating_mul)
    }

    /// Whether each output position reads one input position, at a fixed distance.
    pub(crate) fn is_shift(&self) -> bool {
        let shift = |map: &AxisMap| matches!(map, AxisMap::Strided { step: 1, .. });
        self.0.iter().all(shift)
    }
}

impl From<AxisMap> for Path {
    fn from(map: AxisMap) -> Self {
        let mut path = Self::default();
        path.then(map);
        path
    }
}

/// A change of sampling grid by `input_step / output_step` input positions for each output position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resampling {
    pub(crate) input_step: i128,
    pub(crate) output_step: i128,
    pub(crate) coordinates: Coordinates,
    pub(crate) taps: Taps,
}

/// Where an output position lies in input coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coordinates {
    /// `x · ratio`.
    Asymmetric,
    /// `(x + ½) · ratio − ½`.
    HalfPixel,
    /// `(x + ½) · ratio`.
    TfHalfPixel,
}

/// Which positions around a coordinate are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taps {
    Floor,
    Ceil,
    RoundHalfDown,
    RoundHalfUp,
    Linear,
    Cubic,
    /// All positions less than this far away: filters that widen when they shrink.
    Within(i128),
}

impl AxisMap {
    /// The input interval that an output interval needs.
    pub(crate) fn pull(self, wanted: Interval) -> Interval {
        let Interval { first, last } = wanted;
        let both = |f: &dyn Fn(i128) -> i128| Interval {
            first: f(first),
            last: f(last),
        };
        match self {
            Self::Same => wanted,
            Self::Window {
                stride,
                begin,
                reach,
            } => Interval {
                first: stride * first - begin,
                last: stride * last - begin + reach,
            },
            Self::Transposed {
                stride,
                begin,
                reach,
            } => Interval {
                first: -(-(first + begin - reach)).div_euclid(stride),
                last: (last + begin).div_euclid(stride),
            },
            Self::Spread { factor } => both(&|x| x.div_euclid(factor)),
            Self::Gathered { factor } => Interval {
                first: factor * first,
                last: factor * last + factor - 1,
            },
            Self::Strided { start, step } => both(&|x| start + step * x),
            Self::Blocked { block } => Interval {
                first: first.div_euclid(block) * block,
                last: last.div_euclid(block) * block + block - 1,
            },
            Self::Resampled(resampling) => Interval {
                first: resampling.taps(first).first,
                last: resampling.taps(last).last,
            },
        }
    }

    /// Input positions per output position; `None` where a part does not fit.
    pub(crate) fn stride(self) -> Option<Ratio> {
        let (input, output) = match self {
            Self::Same | Self::Blocked { .. } => (1, 1),
            Self::Window { stride, .. } => (stride, 1),
            Self::Transposed { stride, .. } => (1, stride),
            Self::Spread { factor } => (1, factor),
            Self::Gathered { factor } => (factor, 1),
            Self::Strided { step, .. } => (step, 1),
            Self::Resampled(r) => (r.input_step, r.output_step),
        };
        Ratio::new(u64::try_from(input).ok()?, u64::try_from(output).ok()?)
    }
}

impl Resampling {
    /// The input positions that output position `x` reads.
    fn taps(self, x: i128) -> Interval {
        // The coordinate as a fraction, so that rounding is exact.
        let (numerator, denominator) = match self.coordinates {
            Coordinates::Asymmetric => (x * self.input_step, self.output_step),
            Coordinates::HalfPixel => (
                (2 * x + 1) * self.input_step - self.output_step,
                2 * self.output_step,
            ),
            Coordinates::TfHalfPixel => ((2 * x + 1) * self.input_step, 2 * self.output_step),
        };
        let floor = numerator.div_euclid(denominator);
        let ceil = -(-numerator).div_euclid(denominator);
        let single = |position| Interval {
            first: position,
            last: position,
        };
        match self.taps {
            Taps::Floor => single(floor),
            Taps::Ceil => single(ceil),
            Taps::RoundHalfUp => single((2 * numerator + denominator).div_euclid(2 * denominator)),
            Taps::RoundHalfDown => {
                single(-(-(2 * numerator - denominator)).div_euclid(2 * denominator))
            }
            Taps::Linear => Interval {
                first: floor,
                last: ceil,
            },
            // Four positions also on a grid position, where all weights but one vanish: the ends of an interval could
            // not be mapped on their own otherwise.
            Taps::Cubic => Interval {
                first: floor - 1,
                last: floor + 2,
            },
            Taps::Within(distance) => Interval {
                first: floor - distance,
                last: ceil + distance,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions that one output reads, enumerated from the operator's definition rather than from an interval formula.
    fn reads(map: AxisMap, x: i128) -> Vec<i128> {
        match map {
            AxisMap::Window {
                stride,
                begin,
                reach,
            } => (0..=reach).map(|t| stride * x - begin + t).collect(),
            // Input i scatters to outputs stride·i − begin + t.
            AxisMap::Transposed {
                stride,
                begin,
                reach,
            } => (-50..50)
                .filter(|i| (0..=reach).any(|t| stride * i - begin + t == x))
                .collect(),
            AxisMap::Spread { factor } => (-50..50)
                .filter(|i| (0..factor).any(|t| factor * i + t == x))
                .collect(),
            AxisMap::Gathered { factor } => (0..factor).map(|t| factor * x + t).collect(),
            _ => {
                let Interval { first, last } = map.pull(Interval { first: x, last: x });
                (first..=last).collect()
            }
        }
    }

    fn all_maps() -> Vec<AxisMap> {
        let mut maps = vec![AxisMap::Same, AxisMap::Strided { start: 3, step: 2 }];
        for stride in 1..4 {
            for (begin, reach) in [(0, 0), (1, 2), (0, 1), (2, 4), (0, 6)] {
                maps.push(AxisMap::Window {
                    stride,
                    begin,
                    reach,
                });
                // A kernel shorter than its stride leaves outputs that read nothing.
                if reach + 1 >= stride {
                    maps.push(AxisMap::Transposed {
                        stride,
                        begin,
                        reach,
                    });
                }
            }
            maps.push(AxisMap::Spread { factor: stride });
            maps.push(AxisMap::Gathered { factor: stride });
            for coordinates in [
                Coordinates::Asymmetric,
                Coordinates::HalfPixel,
                Coordinates::TfHalfPixel,
            ] {
                for taps in [
                    Taps::Floor,
                    Taps::Ceil,
                    Taps::RoundHalfDown,
                    Taps::RoundHalfUp,
                    Taps::Linear,
                    Taps::Cubic,
                    Taps::Within(3),
                ] {
                    for (input_step, output_step) in [(1, stride), (stride, 1), (stride, 5)] {
                        maps.push(AxisMap::Resampled(Resampling {
                            input_step,
                            output_step,
                            coordinates,
                            taps,
                        }));
                    }
                }
            }
        }
        maps
    }

    #[test]
    fn an_interval_is_the_hull_of_what_its_positions_read() {
        for map in all_maps() {
            for first in -7..8 {
                for len in 0..6 {
                    let read: Vec<i128> =
                        (first..=first + len).flat_map(|x| reads(map, x)).collect();
                    let pulled = map.pull(Interval {
                        first,
                        last: first + len,
                    });
                    let hull = (*read.iter().min().unwrap(), *read.iter().max().unwrap());
                    assert_eq!(
                        (pulled.first, pulled.last),
                        hull,
                        "{map:?} at {first}+{len}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_shift_by_a_period_of_outputs_is_a_shift_by_a_period_of_inputs() {
        for map in all_maps() {
            let stride = map.stride().unwrap();
            let (output, input) = (
                i128::from(stride.denominator()),
                i128::from(stride.numerator()),
            );
            for first in -7..8 {
                let here = map.pull(Interval { first, last: first });
                let there = map.pull(Interval {
                    first: first + output,
                    last: first + output,
                });
                assert_eq!(
                    (there.first - here.first, there.last - here.last),
                    (input, input),
                    "{map:?}"
                );
            }
        }
    }

    #[test]
    fn blocks_are_read_whole_and_move_with_the_block() {
        let map = AxisMap::Blocked { block: 8 };
        for (first, last, expected) in [(0, 7, (0, 7)), (-1, 8, (-8, 15)), (3, 3, (0, 7))] {
            let pulled = map.pull(Interval { first, last });
            assert_eq!((pulled.first, pulled.last), expected);
        }
        // Shifted windows: the shift, the blocks, and the shift back.
        let mut path = Path::from(AxisMap::Strided { start: -4, step: 1 });
        path.then(map);
        path.then(AxisMap::Strided { start: 4, step: 1 });
        let pulled = path.pull(Interval { first: 0, last: 7 });
        assert_eq!((pulled.first, pulled.last), (-4, 11));
        assert!(!path.is_shift() && path.stride() == Some(Ratio::ONE));
    }

    #[test]
    fn rounding_modes_break_ties_as_their_names_say() {
        // Half-pixel upsampling by 2 reads at x/2 − ¼; by an odd downscale of 2 at 2x + ½: a tie.
        for (taps, expected) in [
            (Taps::Floor, 0),
            (Taps::Ceil, 1),
            (Taps::RoundHalfDown, 0),
            (Taps::RoundHalfUp, 1),
        ] {
            let map = AxisMap::Resampled(Resampling {
                input_step: 2,
                output_step: 1,
                coordinates: Coordinates::HalfPixel,
                taps,
            });
            assert_eq!(
                map.pull(Interval { first: 0, last: 0 }).first,
                expected,
                "{taps:?}"
            );
        }
    }
}
