//! From the tree to the types: a serde deserializer whose errors know the path and the place of what is wrong.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::Problem;
use super::suggest;
use super::tree::{Key, Node, Origin, Value, shortened};

/// What is wrong, where it was written, and under which keys.
#[derive(Debug)]
pub(super) struct TreeError {
    cause: Cause,
    origin: Option<Origin>,
    /// Keys and indices from the inside out.
    reversed_path: Vec<String>,
}

#[derive(Debug)]
enum Cause {
    UnknownKey {
        key: String,
        valid: &'static [&'static str],
    },
    DuplicateKey(&'static str),
    MissingKey(&'static str),
    UnknownWord {
        word: String,
        valid: &'static [&'static str],
    },
    WrongValue {
        expected: String,
        /// Filled in where the error passes the value.
        found: Option<String>,
    },
    Other(String),
}

impl TreeError {
    fn new(cause: Cause) -> Self {
        Self {
            cause,
            origin: None,
            reversed_path: Vec::new(),
        }
    }

    /// Records where the error is, unless a value further inside has done so.
    fn at(mut self, node: &Node) -> Self {
        if self.origin.is_some() {
            return self;
        }
        self.origin = Some(match &self.cause {
            Cause::UnknownKey { key, .. } => last_key(node, key).unwrap_or(node.origin),
            Cause::DuplicateKey(key) => last_key(node, key).unwrap_or(node.origin),
            _ => node.origin,
        });
        if let Cause::WrongValue { found, .. } = &mut self.cause {
            *found = Some(node.describe());
        }
        self
    }

    fn under(mut self, segment: impl fmt::Display) -> Self {
        self.reversed_path.push(segment.to_string());
        self
    }
}

fn last_key(node: &Node, text: &str) -> Option<Origin> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .rev()
            .find(|(key, _)| key.text == text)
            .map(|(key, _)| key.origin),
        _ => None,
    }
}

impl From<TreeError> for Problem {
    fn from(error: TreeError) -> Self {
        let mut path = error.reversed_path;
        path.reverse();
        let inside = if path.is_empty() {
            String::new()
        } else {
            format!(" in `{}`", path.join("."))
        };
        let subject = if path.is_empty() {
            "the recipe".to_owned()
        } else {
            format!("`{}`", path.join("."))
        };
        let (message, label, help) = match error.cause {
            Cause::UnknownKey { key, valid } => (
                format!("unknown key `{}`{inside}", shortened(&key)),
                "unknown key".to_owned(),
                Some(suggest::for_key(&key, valid)),
            ),
            Cause::DuplicateKey(key) => (
                format!("key `{key}` is given twice{inside}"),
                "given again here".to_owned(),
                None,
            ),
            Cause::MissingKey(key) => {
                path.push(key.to_owned());
                (
                    format!("missing key `{key}`{inside}"),
                    format!("`{key}` is missing here"),
                    suggest::description(&path).map(|text| format!("`{key}`: {text}")),
                )
            }
            Cause::UnknownWord { word, valid } => (
                format!("{subject}: unknown value `{}`", shortened(&word)),
                "unknown value".to_owned(),
                Some(suggest::for_word(&word, valid)),
            ),
            Cause::WrongValue { expected, found } => {
                let found = found.map_or(String::new(), |found| format!(", found {found}"));
                let quote_it = matches!(expected.as_str(), "a text" | "a path")
                    .then(|| "put the value in quotes if it is meant as text".to_owned());
                (
                    format!("{subject}: expected {expected}{found}"),
                    format!("expected {expected}"),
                    quote_it.or_else(|| suggest::description(&path)),
                )
            }
            Cause::Other(message) => (
                format!("{subject}: {message}"),
                "not accepted".to_owned(),
                suggest::description(&path),
            ),
        };
        Self {
            origin: error.origin,
            message,
            label,
            help,
        }
    }
}

/// What serde expects, in the words of someone who writes YAML.
fn plain_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "f32" | "f64" => "a number".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "a nonzero u32" => format!("a whole number from 1 to {}", u32::MAX),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map of keys".to_owned(),
        "a string" => "a text".to_owned(),
        "path string" => "a path".to_owned(),
        "an array of length 2" => "a list of 2 numbers".to_owned(),
        "an array of length 3" => "a list of 3 numbers".to_owned(),
        _ if text.starts_with("struct ") => "a map of keys".to_owned(),
        _ => text,
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cause)
    }
}

impl std::error::Error for TreeError {}

impl Error for TreeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Cause::WrongValue {
            expected: plain_words(expected),
            found: None,
        })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::invalid_type(Unexpected::Seq, expected)
    }

    fn unknown_variant(word: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownWord {
            word: word.to_owned(),
            valid,
        })
    }

    fn unknown_field(key: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownKey {
            key: key.to_owned(),
            valid,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Cause::MissingKey(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(Cause::DuplicateKey(key))
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = TreeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TreeError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(*value as f64),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => {
                let mut access = ListAccess {
                    items: items.iter().enumerate(),
                };
                let value = visitor.visit_seq(&mut access).map_err(|e| e.at(self))?;
                // A fixed-size list reads only as many elements as it has.
                match access.items.next() {
                    None => Ok(value),
                    Some((idx, _)) => Err(TreeError::new(Cause::WrongValue {
                        expected: format!("a list of {idx} numbers"),
                        found: None,
                    })),
                }
            }
            Value::Map(entries) => visitor.visit_map(EntryAccess {
                entries: entries.iter(),
                current: None,
            }),
        }
        .map_err(|error| error.at(self))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TreeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TreeError> {
        match &self.value {
            Value::String(word) => {
                let word: StrDeserializer<'_, TreeError> = word.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(TreeError::new(Cause::WrongValue {
                expected: suggest::one_of(variants),
                found: None,
            })),
        }
        .map_err(|error| error.at(self))
    }

    // The derived code would also take a list with the fields in order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TreeError> {
        match self.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(TreeError::invalid_type(Unexpected::Other(""), &visitor).at(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TreeError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct ListAccess<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for &mut ListAccess<'de> {
    type Error = TreeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TreeError> {
        self.items
            .next()
            .map(|(idx, item)| seed.deserialize(item).map_err(|error| error.under(idx)))
            .transpose()
    }
}

struct EntryAccess<'de> {
    entries: std::slice::Iter<'de, (Key, Node)>,
    current: Option<&'de (Key, Node)>,
}

impl<'de> MapAccess<'de> for EntryAccess<'de> {
    type Error = TreeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TreeError> {
        self.current = self.entries.next();
        self.current
            .map(|(key, _)| {
                let text: StrDeserializer<'_, TreeError> = key.text.as_str().into_deserializer();
                seed.deserialize(text)
            })
            .transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, TreeError> {
        let (key, value) = self
            .current
            .ok_or_else(|| TreeError::custom("a value was asked for before its key"))?;
        seed.deserialize(value)
            .map_err(|error| error.under(&key.text))
    }
}
