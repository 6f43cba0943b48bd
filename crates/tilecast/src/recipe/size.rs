//! Sizes in bytes, as people write them: `2GiB`, `512MiB`, `1.5GB`, `1048576`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// Units with their size in bytes, largest binary unit first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// How much of a text that is no size is quoted in the error.
const MAX_QUOTED_CHARS: usize = 40;

/// A number of bytes above zero.
///
/// Read from `2GiB`, `512 MiB`, `1.5GB` or a plain number of bytes; upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A text that is no size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size; write for example `2GiB`, `512MiB`, `1.5GB` or a number of bytes")]
pub struct ParseByteSizeError {
    text: String,
}

impl ByteSize {
    /// `count` × 2³⁰ bytes; `count` from 1 to 2³⁴ − 1.
    pub(super) const fn from_gibibytes(count: u64) -> Self {
        Self(count << 30)
    }

    /// `count` × 2²⁰ bytes; `count` from 1 to 2⁴⁴ − 1.
    pub(super) const fn from_mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes, above zero.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseByteSizeError {
            text: text.chars().take(MAX_QUOTED_CHARS).collect(),
        };
        let trimmed = text.trim();
        let digits = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim_start();
        let multiplier = if unit.is_empty() {
            1
        } else {
            UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, multiplier)| *multiplier)
                .ok_or_else(refuse)?
        };

        // Whole numbers stay integers, so that no byte of a large size is lost.
        let bytes = if let Ok(count) = number.parse::<u64>() {
            count.checked_mul(multiplier).ok_or_else(refuse)?
        } else {
            let count: f64 = number.parse().map_err(|_| refuse())?;
            let bytes = (count * multiplier as f64).round();
            if bytes >= u64::MAX as f64 {
                return Err(refuse());
            }
            bytes as u64
        };
        if bytes == 0 {
            return Err(refuse());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that divides the size without rest, so that reading it back gives the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, multiplier) = UNITS[..4]
            .iter()
            .find(|(_, multiplier)| self.0.is_multiple_of(*multiplier))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / multiplier)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `2GiB`, `512MiB` or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                bytes.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
                bytes.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                {
                    "type": "string",
                    "pattern": "^[0-9]*\\.?[0-9]+ *([KkMmGgTt][Ii]?[Bb]|[Bb])?$",
                    "examples": ["2GiB", "512MiB", "1.5GB"]
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_parse() {
        for (text, bytes) in [
            ("2GiB", Some(2 << 30)),
            ("512MiB", Some(512 << 20)),
            ("1.5GB", Some(1_500_000_000)),
            ("0.5 KiB", Some(512)),
            (" 3 kb ", Some(3_000)),
            ("1TB", Some(1_000_000_000_000)),
            ("4096", Some(4096)),
            ("7B", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("999999999999TiB", None),
            ("0", None),
            ("0.0001B", None),
            ("", None),
            ("GiB", None),
            ("2G", None),
            ("-1GiB", None),
            ("1.2.3MiB", None),
            (".", None),
            ("2GiBs", None),
            ("1e9", None),
            ("２GiB", None),
        ] {
            assert_eq!(
                text.parse::<ByteSize>().ok().map(ByteSize::bytes),
                bytes,
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_print_as_they_parse() {
        for (text, printed) in [
            ("2GiB", "2GiB"),
            ("2048MiB", "2GiB"),
            ("1.5GiB", "1536MiB"),
            ("1.5GB", "1500000000B"),
            ("1024", "1KiB"),
            ("1023", "1023B"),
        ] {
            let size: ByteSize = text.parse().expect("a size");
            assert_eq!(size.to_string(), printed);
            assert_eq!(printed.parse(), Ok(size));
        }
    }
}
