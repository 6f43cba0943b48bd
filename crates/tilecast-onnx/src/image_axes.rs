//! Which axis of an image holds what: channels stand before rows and columns, or behind them.

use crate::proto::ValueInfoProto;
use crate::shapes::declared_extents;

/// Most channels that make an axis at the end one of channels: grey with alpha, RGB, RGB with alpha.
const MOST_IMAGE_CHANNELS: usize = 4;

/// The axes of an input or output that holds an image, as it declares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageAxes {
    /// Number of channels, where it is declared as a number.
    pub channels: Option<usize>,
    /// Height and width, pixels, where they are declared as numbers.
    pub size: [Option<usize>; 2],
    /// Whether channels stand last, `[N, H, W, C]`, and not before rows and columns, `[N, C, H, W]`.
    pub channels_last: bool,
}

impl ImageAxes {
    /// The axes of a value with four of them; `None` for any other value. Channels stand last where the last axis has a
    /// number of channels that images have, and the one of `[N, C, H, W]` has not.
    #[must_use]
    pub fn of(value: &ValueInfoProto) -> Option<Self> {
        let [_, second, third, fourth] = declared_extents(value)?.try_into().ok()?;
        let is_few = |n: Option<usize>| n.is_some_and(|n| (1..=MOST_IMAGE_CHANNELS).contains(&n));
        let channels_last = is_few(fourth) && !is_few(second);
        Some(if channels_last {
            Self {
                channels: fourth,
                size: [second, third],
                channels_last,
            }
        } else {
            Self {
                channels: second,
                size: [third, fourth],
                channels_last,
            }
        })
    }

    /// Dimensions of one image in the order of these axes.
    #[must_use]
    pub fn dims(&self, channels: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        if self.channels_last {
            [1, height, width, channels]
        } else {
            [1, channels, height, width]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DimValue;
    use crate::{DataType, value_info};

    fn axes(dims: &[Option<i64>]) -> Option<ImageAxes> {
        let dim =
            |n: &Option<i64>| n.map_or(DimValue::DimParam("n".to_owned()), DimValue::DimValue);
        ImageAxes::of(&value_info(
            "x",
            DataType::F32,
            dims.iter().map(dim).collect(),
        ))
    }

    #[test]
    fn channels_are_told_from_rows() {
        let cases = [
            ([Some(1), Some(3), None, None], false, Some(3)),
            ([None, None, None, None], false, None),
            ([None, None, None, Some(3)], true, Some(3)),
            ([Some(1), Some(256), Some(256), Some(1)], true, Some(1)),
            ([Some(1), Some(64), None, None], false, Some(64)),
            ([Some(1), Some(3), Some(2), Some(3)], false, Some(3)),
            ([Some(1), Some(1), Some(256), Some(4)], false, Some(1)),
        ];
        for (dims, channels_last, channels) in cases {
            let found = axes(&dims).unwrap();
            assert_eq!(
                (found.channels_last, found.channels),
                (channels_last, channels),
                "{dims:?}"
            );
        }
        assert_eq!(axes(&[Some(1), Some(3)]), None);
    }
}
