//! `global_statistics`: the one key whose value is a word or a map with one key.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What operators that look at the whole image (global poolings, instance normalizations) see when it is cut in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalStatistics {
    /// Their tile.
    Local,
    /// A window of this many pixels around each position.
    Window(NonZeroU32),
    /// The whole image, after some sweeps over all tiles.
    Sweeps(Sweeps),
}

/// How often all tiles are swept to collect global statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweeps {
    /// Until the statistics no longer change.
    Auto,
    /// This often.
    Count(NonZeroU32),
}

const KEYS: &[&str] = &["window", "sweeps"];

impl fmt::Display for GlobalStatistics {
    /// As in the recipe: `local`, `{window: 64}`, `{sweeps: 2}`, `{sweeps: auto}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Window(pixels) => write!(f, "{{window: {pixels}}}"),
            Self::Sweeps(Sweeps::Auto) => f.write_str("{sweeps: auto}"),
            Self::Sweeps(Sweeps::Count(count)) => write!(f, "{{sweeps: {count}}}"),
        }
    }
}

impl Serialize for GlobalStatistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if matches!(self, Self::Local) {
            return serializer.serialize_str("local");
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Local => {}
            Self::Window(pixels) => map.serialize_entry("window", pixels)?,
            Self::Sweeps(Sweeps::Auto) => map.serialize_entry("sweeps", "auto")?,
            Self::Sweeps(Sweeps::Count(count)) => map.serialize_entry("sweeps", count)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for GlobalStatistics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatisticsVisitor;

        impl<'de> Visitor<'de> for StatisticsVisitor {
            type Value = GlobalStatistics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`local`, `{window: n}`, `{sweeps: n}` or `{sweeps: auto}`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<GlobalStatistics, E> {
                match word {
                    "local" => Ok(GlobalStatistics::Local),
                    other => Err(E::unknown_variant(other, &["local"])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<GlobalStatistics, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::invalid_length(0, &self));
                };
                let statistics = match key.as_str() {
                    "window" => GlobalStatistics::Window(map.next_value()?),
                    "sweeps" => GlobalStatistics::Sweeps(map.next_value()?),
                    other => return Err(A::Error::unknown_field(other, KEYS)),
                };
                match map.next_key::<String>()? {
                    None => Ok(statistics),
                    Some(second) if KEYS.contains(&second.as_str()) => Err(A::Error::custom(
                        "takes one of `window` and `sweeps`, not both",
                    )),
                    Some(second) => Err(A::Error::unknown_field(&second, KEYS)),
                }
            }
        }

        deserializer.deserialize_any(StatisticsVisitor)
    }
}

impl<'de> Deserialize<'de> for Sweeps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SweepsVisitor;

        impl Visitor<'_> for SweepsVisitor {
            type Value = Sweeps;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, 1 or more, or `auto`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Sweeps, E> {
                match word {
                    "auto" => Ok(Sweeps::Auto),
                    other => Err(E::unknown_variant(other, &["auto"])),
                }
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Sweeps, E> {
                u32::try_from(count)
                    .ok()
                    .and_then(NonZeroU32::new)
                    .map(Sweeps::Count)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(count), &self))
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Sweeps, E> {
                u64::try_from(count)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))
                    .and_then(|count| self.visit_u64(count))
            }
        }

        deserializer.deserialize_any(SweepsVisitor)
    }
}

impl JsonSchema for GlobalStatistics {
    fn schema_name() -> Cow<'static, str> {
        "GlobalStatistics".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "const": "local", "description": "Their tile." },
                {
                    "type": "object",
                    "properties": {
                        "window": {
                            "description": "Side of the window around the tile, in pixels. At least 1.",
                            "type": "integer",
                            "minimum": 1
                        }
                    },
                    "required": ["window"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": {
                        "sweeps": {
                            "description": "Number of sweeps over all tiles, at least 1, or `auto`: until the statistics no longer change.",
                            "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "auto" }]
                        }
                    },
                    "required": ["sweeps"],
                    "additionalProperties": false
                }
            ]
        })
    }
}
