//! The vocabulary of quantization: integer types, scales, zero points and real ranges.
//!
//! Each type holds its invariant, so that the arithmetic in the other files needs no checks of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The 8-bit integer type a tensor is quantized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantType {
    /// Unsigned, `0..=255`.
    U8,
    /// Signed, `-128..=127`.
    S8,
}

impl QuantType {
    /// The smallest representable integer. Saturation uses this limit under every symmetry.
    #[must_use]
    pub const fn qmin(self) -> i32 {
        match self {
            Self::U8 => 0,
            Self::S8 => -128,
        }
    }

    /// The largest representable integer.
    #[must_use]
    pub const fn qmax(self) -> i32 {
        match self {
            Self::U8 => 255,
            Self::S8 => 127,
        }
    }

    /// The name used in recipes and reports: `u8` or `s8`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::S8 => "s8",
        }
    }
}

impl fmt::Display for QuantType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Whether the zero point follows the range or sits at the middle of the integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Symmetry {
    /// The zero point is placed so that the whole integer range covers the real range.
    Asymmetric,
    /// The real range is widened to `[-m, m]`; the zero point is 0 for [`QuantType::S8`] and 128 for
    /// [`QuantType::U8`].
    Symmetric,
}

/// The real width of one integer step: a normal positive `f32`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Scale(f32);

impl Scale {
    /// The scale of a tensor whose range is too narrow to be measured.
    pub const ONE: Self = Self(1.0);

    /// Checks that `value` is finite, positive and not denormal.
    ///
    /// # Errors
    /// [`CheckScaleError`] for anything else: a denormal scale is flushed to zero on some hardware.
    pub fn new(value: f32) -> Result<Self, CheckScaleError> {
        if value.is_normal() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(CheckScaleError { value })
        }
    }

    /// The scale as a float.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Scale {
    type Error = CheckScaleError;

    fn try_from(value: f32) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<Scale> for f32 {
    fn from(scale: Scale) -> Self {
        scale.0
    }
}

/// The integer that stands for the real value 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZeroPoint(i32);

impl ZeroPoint {
    /// Wraps an integer; [`QuantParams::new`] checks it against a type.
    #[must_use]
    pub const fn new(value: i32) -> Self {
        Self(value)
    }

    /// The zero point as an integer.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// A closed interval of real values: finite and ordered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RangeFields", into = "RangeFields")]
pub struct Range {
    min: f32,
    max: f32,
}

/// The serialized form of [`Range`], before its invariant is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeFields {
    min: f32,
    max: f32,
}

impl Range {
    /// Checks that both ends are finite and that `min <= max`.
    ///
    /// # Errors
    /// [`CheckRangeError`] with the offending ends.
    pub fn new(min: f32, max: f32) -> Result<Self, CheckRangeError> {
        if min.is_finite() && max.is_finite() && min <= max {
            Ok(Self { min, max })
        } else {
            Err(CheckRangeError { min, max })
        }
    }

    /// The lower end.
    #[must_use]
    pub const fn min(self) -> f32 {
        self.min
    }

    /// The upper end.
    #[must_use]
    pub const fn max(self) -> f32 {
        self.max
    }

    /// The largest magnitude in the range.
    #[must_use]
    pub fn abs_max(self) -> f32 {
        self.min.abs().max(self.max.abs())
    }
}

impl TryFrom<RangeFields> for Range {
    type Error = CheckRangeError;

    fn try_from(fields: RangeFields) -> Result<Self, Self::Error> {
        Self::new(fields.min, fields.max)
    }
}

impl From<Range> for RangeFields {
    fn from(range: Range) -> Self {
        Self {
            min: range.min,
            max: range.max,
        }
    }
}

/// How a tensor maps to integers: `x ≈ (q - zero_point) * scale`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ParamsFields", into = "ParamsFields")]
pub struct QuantParams {
    scale: Scale,
    zero_point: ZeroPoint,
    quant_type: QuantType,
}

/// The serialized form of [`QuantParams`], before its invariant is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamsFields {
    scale: Scale,
    zero_point: ZeroPoint,
    quant_type: QuantType,
}

impl QuantParams {
    /// Checks that the zero point is representable in `quant_type`.
    ///
    /// # Errors
    /// [`CheckParamsError`] when it is not.
    pub fn new(
        scale: Scale,
        zero_point: ZeroPoint,
        quant_type: QuantType,
    ) -> Result<Self, CheckParamsError> {
        if (quant_type.qmin()..=quant_type.qmax()).contains(&zero_point.get()) {
            Ok(Self {
                scale,
                zero_point,
                quant_type,
            })
        } else {
            Err(CheckParamsError {
                zero_point: zero_point.get(),
                quant_type,
            })
        }
    }

    /// The width of one step.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The integer that stands for 0, within the limits of [`quant_type`](Self::quant_type).
    #[must_use]
    pub const fn zero_point(&self) -> ZeroPoint {
        self.zero_point
    }

    /// The integer type.
    #[must_use]
    pub const fn quant_type(&self) -> QuantType {
        self.quant_type
    }
}

impl TryFrom<ParamsFields> for QuantParams {
    type Error = CheckParamsError;

    fn try_from(fields: ParamsFields) -> Result<Self, Self::Error> {
        Self::new(fields.scale, fields.zero_point, fields.quant_type)
    }
}

impl From<QuantParams> for ParamsFields {
    fn from(params: QuantParams) -> Self {
        Self {
            scale: params.scale,
            zero_point: params.zero_point,
            quant_type: params.quant_type,
        }
    }
}

/// A number that cannot be a scale.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("scale {value:e} is not a positive normal f32; recompute it from a range")]
pub struct CheckScaleError {
    value: f32,
}

/// Two numbers that do not bound a range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("range [{min:e}, {max:e}] is not finite and ordered; check the values it was measured on")]
pub struct CheckRangeError {
    min: f32,
    max: f32,
}

/// A zero point outside its integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("zero point {zero_point} does not fit {quant_type}; use a value from {} to {}", .quant_type.qmin(), .quant_type.qmax())]
pub struct CheckParamsError {
    zero_point: i32,
    quant_type: QuantType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_accepts_positive_normal_floats_only() {
        for good in [f32::MIN_POSITIVE, 1.0, f32::MAX] {
            assert_eq!(Scale::new(good).map(Scale::get), Ok(good));
        }
        for bad in [0.0, -1.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::NAN] {
            assert!(Scale::new(bad).is_err(), "{bad:e} was accepted");
        }
    }

    #[test]
    fn range_accepts_finite_ordered_ends_only() {
        for (min, max) in [(0.0, 0.0), (-1.0, 1.0), (2.0, 3.0), (f32::MIN, f32::MAX)] {
            assert!(
                Range::new(min, max).is_ok(),
                "[{min:e}, {max:e}] was refused"
            );
        }
        for (min, max) in [
            (1.0, 0.0),
            (f32::NAN, 1.0),
            (0.0, f32::NAN),
            (0.0, f32::INFINITY),
        ] {
            assert!(
                Range::new(min, max).is_err(),
                "[{min:e}, {max:e}] was accepted"
            );
        }
    }

    #[test]
    fn params_refuse_a_zero_point_outside_the_type() {
        for (quant_type, value, ok) in [
            (QuantType::U8, 0, true),
            (QuantType::U8, 255, true),
            (QuantType::U8, -1, false),
            (QuantType::U8, 256, false),
            (QuantType::S8, -128, true),
            (QuantType::S8, 127, true),
            (QuantType::S8, -129, false),
            (QuantType::S8, 128, false),
        ] {
            let made = QuantParams::new(Scale::ONE, ZeroPoint::new(value), quant_type);
            assert_eq!(made.is_ok(), ok, "{quant_type} zero point {value}");
        }
    }

    #[test]
    fn serialized_values_are_checked_when_read() {
        let text = r#"{"scale":0.5,"zero_point":3,"quant_type":"u8"}"#;
        let params: QuantParams = serde_json::from_str(text).expect("valid parameters");
        assert_eq!(serde_json::to_string(&params).expect("serializes"), text);

        for bad in [
            r#"{"scale":0.0,"zero_point":3,"quant_type":"u8"}"#,
            r#"{"scale":0.5,"zero_point":300,"quant_type":"u8"}"#,
            r#"{"scale":0.5,"zero_point":3,"quant_type":"u4"}"#,
        ] {
            assert!(
                serde_json::from_str::<QuantParams>(bad).is_err(),
                "{bad} was accepted"
            );
        }
        assert!(serde_json::from_str::<Range>(r#"{"min":1.0,"max":0.0}"#).is_err());
    }
}
