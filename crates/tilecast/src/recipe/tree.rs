//! YAML as a tree in which every key and value remembers where it was written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::Problem;

/// Where a key or value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the recipe file.
    File(Place),
    /// In the `--set` argument with this index.
    Override(usize),
}

/// A stretch of the recipe file. Lines and columns count from 1; offset and length are in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) offset_chars: usize,
    pub(super) len_chars: usize,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A key of a map and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) origin: Origin,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// Parses one YAML document; no document at all is null. Duplicate keys, unknown tags and deep nesting are errors.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            // `no` and `on` are words, as in YAML 1.2.
            strict_booleans: true,
            reject_unsupported_tags: true,
            // Refused where the number is used, with the name of the key.
            non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        };
        serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
            .map(Node::from)
            .map_err(|error| syntax_problem(&error))
    }

    /// Makes the tree look as if all of it had been written at `origin`.
    pub(super) fn move_to(&mut self, origin: Origin) {
        self.origin = origin;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_to(origin)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.origin = origin;
                    value.move_to(origin);
                }
            }
            _ => {}
        }
    }

    /// The value at `key` of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(entry, _)| entry.text == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The elements of a list; nothing for any other value.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where the value at a dotted path (`artifacts.0.gate`) was written, or as much of the path as exists.
    pub(super) fn origin_of(&self, path: &str) -> Origin {
        let mut node = self;
        for segment in path.split('.') {
            let next = match segment.parse::<usize>() {
                Ok(idx) => node.items().get(idx),
                Err(_) => node.get(segment),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.origin
    }

    /// The value in the words of a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("`{value}`"),
            Value::Float(value) => format!("`{value}`"),
            Value::String(text) => format!("`{}`", shortened(text)),
            Value::List(items) if items.len() == 1 => "a list of 1 element".to_owned(),
            Value::List(items) => format!("a list of {} elements", items.len()),
            Value::Map(entries) => match entries.first() {
                Some((key, _)) => format!("a map with the key `{}`", shortened(&key.text)),
                None => "an empty map".to_owned(),
            },
        }
    }
}

/// Text for a message: one line, and not longer than a line.
pub(super) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut line: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

impl Place {
    fn new(location: &Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
            offset_chars: usize::try_from(location.span().offset()).unwrap_or(usize::MAX),
            len_chars: usize::try_from(location.span().len()).unwrap_or(0),
        }
    }
}

fn syntax_problem(error: &serde_saphyr::Error) -> Problem {
    let location = error.location();
    let message = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("key `{}` is given twice", shortened(key))
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "more than one YAML document; a recipe is one".to_owned()
        }
        serde_saphyr::Error::Budget { .. } => {
            "nested too deeply or too large for a recipe".to_owned()
        }
        _ => {
            let text = error.to_string();
            let place = location.map_or(String::new(), |at| {
                format!(" at line {}, column {}", at.line(), at.column())
            });
            format!(
                "not valid YAML: {}",
                text.strip_suffix(&place).unwrap_or(&text)
            )
        }
    };
    Problem {
        origin: location.map(|at| Origin::File(Place::new(&at))),
        label: "here".to_owned(),
        message,
        help: None,
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            // Of an alias, the place where it is used.
            origin: Origin::File(Place::new(&spanned.referenced)),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Value>>()? {
            items.push(Node::from(item));
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                origin: Origin::File(Place::new(&key.referenced)),
                text: key.value,
            };
            entries.push((key, Node::from(map.next_value::<Spanned<Value>>()?)));
        }
        Ok(Value::Map(entries))
    }
}
