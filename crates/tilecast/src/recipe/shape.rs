//! Sizes of images, as people write them: `512x512`, width first.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// Longest side, pixels: what one side of a model's input may sensibly have, and small enough that no product overflows.
const MAX_SIDE_PX: usize = 1 << 16;

/// Width and height of an image, pixels, both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// A text that is no size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as `512x512` (width x height)")]
pub struct ParseImageShapeError;

impl FromStr for ImageShape {
    type Err = ParseImageShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let side = |text: &str| {
            let side: Option<usize> = text.trim().parse().ok();
            side.filter(|side| (1..=MAX_SIDE_PX).contains(side))
        };
        let (width, height) = text.split_once('x').ok_or(ParseImageShapeError)?;
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(ParseImageShapeError),
        }
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Serialize for ImageShape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;

        impl Visitor<'_> for ShapeVisitor {
            type Value = ImageShape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `512x512` (width x height)")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ImageShape, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(ShapeVisitor)
    }
}

impl JsonSchema for ImageShape {
    fn schema_name() -> Cow<'static, str> {
        "ImageShape".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^ *[0-9]+ *x *[0-9]+ *$",
            "examples": ["512x512", "1024x768"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ImageShape;

    #[test]
    fn shapes_parse_and_print() {
        for (text, sides) in [
            ("512x384", Some((512, 384))),
            (" 512 x 384 ", Some((512, 384))),
            ("65536x1", Some((65536, 1))),
            ("65537x1", None),
            ("0x8", None),
            ("512", None),
            ("512x", None),
            ("512X512", None),
            ("1x2x3", None),
            ("-1x2", None),
        ] {
            let shape: Option<ImageShape> = text.parse().ok();
            assert_eq!(shape.map(|s| (s.width, s.height)), sides, "{text}");
            if let Some(shape) = shape {
                assert_eq!(shape.to_string().parse(), Ok(shape));
            }
        }
    }
}
