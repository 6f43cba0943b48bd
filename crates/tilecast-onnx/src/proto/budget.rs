//! What the messages of a file would take in memory, told from its bytes before anything is decoded.
//!
//! An empty message is two bytes in a file and hundreds in memory. Real models are far from that, so a file that consists
//! of little else is refused rather than decoded.

use std::mem::size_of;

use prost::encoding::{WireType, decode_key, decode_varint};

use super::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    TensorType, TrainingInfoProto, TypeProto, ValueInfoProto,
};

/// Memory for messages that every file may take, bytes.
const ALLOWANCE: usize = 16 << 20;

/// Memory for messages per byte of the file. Attributes, the densest messages of real models, take half of it.
const LARGEST_FACTOR: usize = 32;

/// What a field that is no message takes at most: its place in a list of unknown fields.
const FIELD_BYTES: usize = 48;

/// Messages that hold messages.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
    Element,
    Function,
    Training,
    Annotation,
    Import,
    /// Any other message: its own size, and fields of it that are taken for numbers.
    Small,
}

impl Kind {
    /// The message in this field, if it holds one.
    fn of_field(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => Self::Import,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::ValueInfo,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Attribute, 14 | 15) | (Self::ValueInfo, 2) | (Self::Element, 1 | 2) => {
                Self::Type
            }
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 5 | 9) => Self::Element,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Model, 14 | 26)
            | (Self::Graph | Self::Tensor, 16)
            | (Self::Node, 9 | 10)
            | (Self::Function, 14)
            | (Self::Training, 3 | 4)
            | (Self::Tensor, 13)
            | (Self::Annotation, 2)
            | (Self::ValueInfo, 4) => Self::Small,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::Sparse => size_of::<SparseTensorProto>(),
            Self::ValueInfo => size_of::<ValueInfoProto>(),
            Self::Type | Self::Element => size_of::<TypeProto>(),
            Self::TensorType | Self::Shape => size_of::<TensorType>(),
            Self::Dimension => size_of::<Dimension>(),
            Self::Function => size_of::<FunctionProto>(),
            Self::Training => size_of::<TrainingInfoProto>(),
            Self::Annotation => size_of::<TensorAnnotation>(),
            Self::Import => size_of::<OperatorSetIdProto>(),
            Self::Small => size_of::<StringStringEntryProto>(),
        }
    }
}

/// Checks that decoding `file` takes memory in the order of its size.
///
/// # Errors
/// The reason, where it takes more. Damaged bytes are no error here: decoding says what is wrong with them.
pub(crate) fn check(file: &[u8]) -> Result<(), String> {
    let limit = file
        .len()
        .saturating_mul(LARGEST_FACTOR)
        .saturating_add(ALLOWANCE);
    let mut total = 0_usize;
    let mut pending = vec![(Kind::Model, file)];
    while let Some((kind, mut bytes)) = pending.pop() {
        while !bytes.is_empty() {
            let Some((field, payload)) = next_field(&mut bytes) else {
                break;
            };
            let inner = kind.of_field(field).zip(payload);
            total += inner.map_or(FIELD_BYTES, |(kind, _)| kind.bytes());
            pending.extend(inner);
            if total > limit {
                return Err(format!(
                    "its {} bytes hold more messages than {} MiB of memory do; no exporter writes such a file",
                    file.len(),
                    limit >> 20
                ));
            }
        }
    }
    Ok(())
}

/// Takes one field off the front: its number, and its payload where that has a length.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let (field, wire_type) = decode_key(bytes).ok()?;
    let skipped = match wire_type {
        WireType::Varint => {
            decode_varint(bytes).ok()?;
            return Some((field, None));
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(bytes).ok()?).ok()?,
        WireType::StartGroup | WireType::EndGroup => return Some((field, None)),
    };
    let (payload, rest) = bytes.split_at_checked(skipped)?;
    *bytes = rest;
    let has_length = wire_type == WireType::LengthDelimited;
    Some((field, has_length.then_some(payload)))
}
