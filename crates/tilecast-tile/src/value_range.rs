//! The interval that a network wants image values in.

/// The values that stand for black and white on both sides of a network; images use [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueRange {
    min: f32,
    max: f32,
    zeros: [f32; 3],
}

/// The bounds are no interval.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("[{min}, {max}] is no value range; give two finite bounds, the lower one first")]
pub struct CheckValueRangeError {
    min: f32,
    max: f32,
}

impl ValueRange {
    /// The range of images themselves: [0, 1].
    pub const UNIT: Self = Self {
        min: 0.0,
        max: 1.0,
        zeros: [0.0; 3],
    };

    /// The range from `min` (black) to `max` (white).
    ///
    /// # Errors
    /// `min` is not below `max`, or the width between them is not finite.
    pub fn new(min: f32, max: f32) -> Result<Self, CheckValueRangeError> {
        if min < max && (max - min).is_finite() {
            Ok(Self {
                min,
                max,
                zeros: [0.0; 3],
            })
        } else {
            Err(CheckValueRangeError { min, max })
        }
    }

    /// The same range for a network that gets planes through an engine which normalizes them: `zeros` are the values in this
    /// range, per plane of the image, that become 0 there. An image is padded with them.
    #[must_use]
    pub fn with_zeros(mut self, zeros: [f32; 3]) -> Self {
        self.zeros = zeros;
        self
    }

    /// What the padding of this plane is before an engine normalizes it, see [`ValueRange::with_zeros`].
    #[must_use]
    pub fn zero(self, plane: usize) -> f32 {
        self.zeros.get(plane).copied().unwrap_or(0.0)
    }

    fn is_unit(self) -> bool {
        (self.min, self.max) == (0.0, 1.0)
    }

    /// How far black and white are apart.
    #[must_use]
    pub fn width(self) -> f32 {
        self.max - self.min
    }

    /// An image value as the network takes it. For [`ValueRange::UNIT`] the same bits.
    #[must_use]
    pub fn to_network(self, value: f32) -> f32 {
        if self.is_unit() {
            return value;
        }
        value * (self.max - self.min) + self.min
    }

    /// A network's output as an image value, not clamped. For [`ValueRange::UNIT`] the same bits.
    #[must_use]
    pub fn to_image(self, value: f32) -> f32 {
        if self.is_unit() {
            return value;
        }
        (value - self.min) / (self.max - self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_map_to_the_bounds_and_back() {
        for (min, max) in [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0), (-0.5, 0.5)] {
            let range = ValueRange::new(min, max).unwrap();
            assert_eq!((range.to_network(0.0), range.to_network(1.0)), (min, max));
            assert_eq!((range.to_image(min), range.to_image(max)), (0.0, 1.0));
            assert!(range.to_image(max + 1.0) > 1.0, "nothing is clamped");
        }
        assert!(
            ValueRange::UNIT.to_network(-0.0).is_sign_negative(),
            "the same bits"
        );
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        let bad = [
            (1.0, 1.0),
            (1.0, 0.0),
            (0.0, f32::NAN),
            (f32::NEG_INFINITY, 0.0),
            (-f32::MAX, f32::MAX),
        ];
        for (min, max) in bad {
            assert!(ValueRange::new(min, max).is_err(), "[{min}, {max}]");
        }
    }
}
