//! The messages of `onnx.proto` (IR version 14, ONNX 1.23), each keeping the fields that it does not know.
//!
//! Differences from what `prost-build` would generate, and why:
//! - every message is a pair of its known fields and [`Unknown`], reached through `Deref`, so that decode and encode
//!   preserve what a newer writer added;
//! - byte payloads are [`Bytes`] slices of the file they were read from: weights are never copied by decoding;
//! - enums are plain `i32`, because an unknown enum value must survive a round trip;
//! - `packed` follows the proto2 file exactly (repeated numbers are unpacked unless the file says otherwise).
//!
//! Field names and numbers: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

#![expect(
    clippy::manual_range_patterns,
    reason = "field numbers are listed as the proto file lists them"
)]

pub(crate) mod budget;
mod external_payload;
mod unknown;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};
use std::ops::{Deref, DerefMut};

pub use external_payload::{Convert, ExternalPayload};
pub use unknown::Unknown;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident, $fields:ident, [$($tag:literal),* $(,)?], { $($body:tt)* } $(+ { $($beside:tt)* })?)*) => { $(
        #[doc = concat!("The known fields of [`", stringify!($name), "`].")]
        #[derive(Clone, PartialEq, Message)]
        pub struct $fields { $($body)* }

        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// The fields that this crate knows.
            pub fields: $fields,
            /// The fields that it does not, in the order read.
            pub unknown: Unknown,
            $($($beside)*)?
        }

        impl From<$fields> for $name {
            fn from(fields: $fields) -> Self {
                Self { fields, ..Self::default() }
            }
        }

        impl Deref for $name {
            type Target = $fields;
            fn deref(&self) -> &$fields {
                &self.fields
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut $fields {
                &mut self.fields
            }
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                self.fields.encode_raw(buf);
                self.unknown.encode(buf);
            }
            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                match tag {
                    $($tag)|* => self.fields.merge_field(tag, wire_type, buf, ctx),
                    _ => self.unknown.capture(tag, wire_type, buf, ctx),
                }
            }
            fn encoded_len(&self) -> usize {
                self.fields.encoded_len() + self.unknown.encoded_len()
            }
            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    )* };
}

messages! {
    /// A whole model.
    ModelProto, ModelFields, [1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26], {
        /// `ir_version`.
        #[prost(int64, optional, tag = "1")]
        pub ir_version: Option<i64>,
        /// `producer_name`.
        #[prost(string, optional, tag = "2")]
        pub producer_name: Option<String>,
        /// `producer_version`.
        #[prost(string, optional, tag = "3")]
        pub producer_version: Option<String>,
        /// `domain`.
        #[prost(string, optional, tag = "4")]
        pub domain: Option<String>,
        /// `model_version`.
        #[prost(int64, optional, tag = "5")]
        pub model_version: Option<i64>,
        /// `doc_string`.
        #[prost(string, optional, tag = "6")]
        pub doc_string: Option<String>,
        /// `graph`.
        #[prost(message, optional, tag = "7")]
        pub graph: Option<GraphProto>,
        /// `opset_import`.
        #[prost(message, repeated, tag = "8")]
        pub opset_import: Vec<OperatorSetIdProto>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "14")]
        pub metadata_props: Vec<StringStringEntryProto>,
        /// `training_info`.
        #[prost(message, repeated, tag = "20")]
        pub training_info: Vec<TrainingInfoProto>,
        /// `functions`.
        #[prost(message, repeated, tag = "25")]
        pub functions: Vec<FunctionProto>,
        /// `configuration`.
        #[prost(message, repeated, tag = "26")]
        pub configuration: Vec<DeviceConfigurationProto>,
    }

    /// A graph: nodes in topological order, initializers, inputs and outputs.
    GraphProto, GraphFields, [1, 2, 5, 10, 11, 12, 13, 14, 15, 16], {
        /// `node`.
        #[prost(message, repeated, tag = "1")]
        pub node: Vec<NodeProto>,
        /// `name`.
        #[prost(string, optional, tag = "2")]
        pub name: Option<String>,
        /// `initializer`.
        #[prost(message, repeated, tag = "5")]
        pub initializer: Vec<TensorProto>,
        /// `doc_string`.
        #[prost(string, optional, tag = "10")]
        pub doc_string: Option<String>,
        /// `input`.
        #[prost(message, repeated, tag = "11")]
        pub input: Vec<ValueInfoProto>,
        /// `output`.
        #[prost(message, repeated, tag = "12")]
        pub output: Vec<ValueInfoProto>,
        /// `value_info`.
        #[prost(message, repeated, tag = "13")]
        pub value_info: Vec<ValueInfoProto>,
        /// `quantization_annotation`.
        #[prost(message, repeated, tag = "14")]
        pub quantization_annotation: Vec<TensorAnnotation>,
        /// `sparse_initializer`.
        #[prost(message, repeated, tag = "15")]
        pub sparse_initializer: Vec<SparseTensorProto>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "16")]
        pub metadata_props: Vec<StringStringEntryProto>,
    }

    /// One operator call.
    NodeProto, NodeFields, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], {
        /// `input`.
        #[prost(string, repeated, tag = "1")]
        pub input: Vec<String>,
        /// `output`.
        #[prost(string, repeated, tag = "2")]
        pub output: Vec<String>,
        /// `name`.
        #[prost(string, optional, tag = "3")]
        pub name: Option<String>,
        /// `op_type`.
        #[prost(string, optional, tag = "4")]
        pub op_type: Option<String>,
        /// `attribute`.
        #[prost(message, repeated, tag = "5")]
        pub attribute: Vec<AttributeProto>,
        /// `doc_string`.
        #[prost(string, optional, tag = "6")]
        pub doc_string: Option<String>,
        /// `domain`.
        #[prost(string, optional, tag = "7")]
        pub domain: Option<String>,
        /// `overload`.
        #[prost(string, optional, tag = "8")]
        pub overload: Option<String>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "9")]
        pub metadata_props: Vec<StringStringEntryProto>,
        /// `device_configurations`.
        #[prost(message, repeated, tag = "10")]
        pub device_configurations: Vec<NodeDeviceConfigurationProto>,
    }

    /// A named attribute of a node.
    AttributeProto, AttributeFields, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 21, 22, 23], {
        /// `name`.
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        /// `f`.
        #[prost(float, optional, tag = "2")]
        pub f: Option<f32>,
        /// `i`.
        #[prost(int64, optional, tag = "3")]
        pub i: Option<i64>,
        /// `s`.
        #[prost(bytes = "bytes", optional, tag = "4")]
        pub s: Option<Bytes>,
        /// `t`.
        #[prost(message, optional, boxed, tag = "5")]
        pub t: Option<Box<TensorProto>>,
        /// `g`.
        #[prost(message, optional, boxed, tag = "6")]
        pub g: Option<Box<GraphProto>>,
        /// `floats`.
        #[prost(float, repeated, packed = "false", tag = "7")]
        pub floats: Vec<f32>,
        /// `ints`.
        #[prost(int64, repeated, packed = "false", tag = "8")]
        pub ints: Vec<i64>,
        /// `strings`.
        #[prost(bytes = "bytes", repeated, tag = "9")]
        pub strings: Vec<Bytes>,
        /// `tensors`.
        #[prost(message, repeated, tag = "10")]
        pub tensors: Vec<TensorProto>,
        /// `graphs`.
        #[prost(message, repeated, tag = "11")]
        pub graphs: Vec<GraphProto>,
        /// `doc_string`.
        #[prost(string, optional, tag = "13")]
        pub doc_string: Option<String>,
        /// `tp`.
        #[prost(message, optional, boxed, tag = "14")]
        pub tp: Option<Box<TypeProto>>,
        /// `type_protos`.
        #[prost(message, repeated, tag = "15")]
        pub type_protos: Vec<TypeProto>,
        /// `type`.
        #[prost(int32, optional, tag = "20")]
        pub r#type: Option<i32>,
        /// `ref_attr_name`.
        #[prost(string, optional, tag = "21")]
        pub ref_attr_name: Option<String>,
        /// `sparse_tensor`.
        #[prost(message, optional, boxed, tag = "22")]
        pub sparse_tensor: Option<Box<SparseTensorProto>>,
        /// `sparse_tensors`.
        #[prost(message, repeated, tag = "23")]
        pub sparse_tensors: Vec<SparseTensorProto>,
    }

    /// A tensor with its payload.
    TensorProto, TensorFields, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16], {
        /// `dims`.
        #[prost(int64, repeated, packed = "false", tag = "1")]
        pub dims: Vec<i64>,
        /// `data_type`.
        #[prost(int32, optional, tag = "2")]
        pub data_type: Option<i32>,
        /// `segment`.
        #[prost(message, optional, tag = "3")]
        pub segment: Option<Segment>,
        /// `float_data`.
        #[prost(float, repeated, tag = "4")]
        pub float_data: Vec<f32>,
        /// `int32_data`.
        #[prost(int32, repeated, tag = "5")]
        pub int32_data: Vec<i32>,
        /// `string_data`.
        #[prost(bytes = "bytes", repeated, tag = "6")]
        pub string_data: Vec<Bytes>,
        /// `int64_data`.
        #[prost(int64, repeated, tag = "7")]
        pub int64_data: Vec<i64>,
        /// `name`.
        #[prost(string, optional, tag = "8")]
        pub name: Option<String>,
        /// `raw_data`.
        #[prost(bytes = "bytes", optional, tag = "9")]
        pub raw_data: Option<Bytes>,
        /// `double_data`.
        #[prost(double, repeated, tag = "10")]
        pub double_data: Vec<f64>,
        /// `uint64_data`.
        #[prost(uint64, repeated, tag = "11")]
        pub uint64_data: Vec<u64>,
        /// `doc_string`.
        #[prost(string, optional, tag = "12")]
        pub doc_string: Option<String>,
        /// `external_data`.
        #[prost(message, repeated, tag = "13")]
        pub external_data: Vec<StringStringEntryProto>,
        /// `data_location`.
        #[prost(int32, optional, tag = "14")]
        pub data_location: Option<i32>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "16")]
        pub metadata_props: Vec<StringStringEntryProto>,
    } + {
        /// The payload that `external_data` points to, once found; encoding leaves it out.
        pub external: ExternalPayload,
    }

    /// Name and type of a value.
    ValueInfoProto, ValueInfoFields, [1, 2, 3, 4], {
        /// `name`.
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        /// `type`.
        #[prost(message, optional, tag = "2")]
        pub r#type: Option<TypeProto>,
        /// `doc_string`.
        #[prost(string, optional, tag = "3")]
        pub doc_string: Option<String>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "4")]
        pub metadata_props: Vec<StringStringEntryProto>,
    }

    /// The type of a value.
    TypeProto, TypeFields, [1, 4, 5, 6, 7, 8, 9], {
        /// `value`.
        #[prost(oneof = "TypeValue", tags = "1, 4, 5, 7, 8, 9")]
        pub value: Option<TypeValue>,
        /// `denotation`.
        #[prost(string, optional, tag = "6")]
        pub denotation: Option<String>,
    }

    /// Element type and shape of a tensor.
    TensorType, TensorTypeFields, [1, 2], {
        /// `elem_type`.
        #[prost(int32, optional, tag = "1")]
        pub elem_type: Option<i32>,
        /// `shape`.
        #[prost(message, optional, tag = "2")]
        pub shape: Option<TensorShapeProto>,
    }

    /// A tensor shape.
    TensorShapeProto, TensorShapeFields, [1], {
        /// `dim`.
        #[prost(message, repeated, tag = "1")]
        pub dim: Vec<Dimension>,
    }

    /// One dimension of a shape: a number, a name or unknown.
    Dimension, DimensionFields, [1, 2, 3], {
        /// `value`.
        #[prost(oneof = "DimValue", tags = "1, 2")]
        pub value: Option<DimValue>,
        /// `denotation`.
        #[prost(string, optional, tag = "3")]
        pub denotation: Option<String>,
    }

    /// A domain and its opset version.
    OperatorSetIdProto, OperatorSetIdFields, [1, 2], {
        /// `domain`.
        #[prost(string, optional, tag = "1")]
        pub domain: Option<String>,
        /// `version`.
        #[prost(int64, optional, tag = "2")]
        pub version: Option<i64>,
    }

    /// A key and a value.
    StringStringEntryProto, StringStringEntryFields, [1, 2], {
        /// `key`.
        #[prost(string, optional, tag = "1")]
        pub key: Option<String>,
        /// `value`.
        #[prost(string, optional, tag = "2")]
        pub value: Option<String>,
    }

    /// A model-local function.
    FunctionProto, FunctionFields, [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], {
        /// `name`.
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        /// `input`.
        #[prost(string, repeated, tag = "4")]
        pub input: Vec<String>,
        /// `output`.
        #[prost(string, repeated, tag = "5")]
        pub output: Vec<String>,
        /// `attribute`.
        #[prost(string, repeated, tag = "6")]
        pub attribute: Vec<String>,
        /// `node`.
        #[prost(message, repeated, tag = "7")]
        pub node: Vec<NodeProto>,
        /// `doc_string`.
        #[prost(string, optional, tag = "8")]
        pub doc_string: Option<String>,
        /// `opset_import`.
        #[prost(message, repeated, tag = "9")]
        pub opset_import: Vec<OperatorSetIdProto>,
        /// `domain`.
        #[prost(string, optional, tag = "10")]
        pub domain: Option<String>,
        /// `attribute_proto`.
        #[prost(message, repeated, tag = "11")]
        pub attribute_proto: Vec<AttributeProto>,
        /// `value_info`.
        #[prost(message, repeated, tag = "12")]
        pub value_info: Vec<ValueInfoProto>,
        /// `overload`.
        #[prost(string, optional, tag = "13")]
        pub overload: Option<String>,
        /// `metadata_props`.
        #[prost(message, repeated, tag = "14")]
        pub metadata_props: Vec<StringStringEntryProto>,
    }

    /// A sparse tensor.
    SparseTensorProto, SparseTensorFields, [1, 2, 3], {
        /// `values`.
        #[prost(message, optional, tag = "1")]
        pub values: Option<TensorProto>,
        /// `indices`.
        #[prost(message, optional, tag = "2")]
        pub indices: Option<TensorProto>,
        /// `dims`.
        #[prost(int64, repeated, packed = "false", tag = "3")]
        pub dims: Vec<i64>,
    }

    /// A piece of a tensor.
    Segment, SegmentFields, [1, 2], {
        /// `begin`.
        #[prost(int64, optional, tag = "1")]
        pub begin: Option<i64>,
        /// `end`.
        #[prost(int64, optional, tag = "2")]
        pub end: Option<i64>,
    }

    /// Quantization annotation of a tensor.
    TensorAnnotation, TensorAnnotationFields, [1, 2], {
        /// `tensor_name`.
        #[prost(string, optional, tag = "1")]
        pub tensor_name: Option<String>,
        /// `quant_parameter_tensor_names`.
        #[prost(message, repeated, tag = "2")]
        pub quant_parameter_tensor_names: Vec<StringStringEntryProto>,
    }

    /// Element type of a sequence or optional.
    ElemType, ElemTypeFields, [1], {
        /// `elem_type`.
        #[prost(message, optional, boxed, tag = "1")]
        pub elem_type: Option<Box<TypeProto>>,
    }

    /// Key and value types of a map.
    MapType, MapTypeFields, [1, 2], {
        /// `key_type`.
        #[prost(int32, optional, tag = "1")]
        pub key_type: Option<i32>,
        /// `value_type`.
        #[prost(message, optional, boxed, tag = "2")]
        pub value_type: Option<Box<TypeProto>>,
    }

    /// An opaque type.
    OpaqueType, OpaqueTypeFields, [1, 2], {
        /// `domain`.
        #[prost(string, optional, tag = "1")]
        pub domain: Option<String>,
        /// `name`.
        #[prost(string, optional, tag = "2")]
        pub name: Option<String>,
    }

    /// Training graphs; kept, never used.
    TrainingInfoProto, TrainingInfoFields, [1, 2, 3, 4], {
        /// `initialization`.
        #[prost(message, optional, tag = "1")]
        pub initialization: Option<GraphProto>,
        /// `algorithm`.
        #[prost(message, optional, tag = "2")]
        pub algorithm: Option<GraphProto>,
        /// `initialization_binding`.
        #[prost(message, repeated, tag = "3")]
        pub initialization_binding: Vec<StringStringEntryProto>,
        /// `update_binding`.
        #[prost(message, repeated, tag = "4")]
        pub update_binding: Vec<StringStringEntryProto>,
    }

    /// A multi-device configuration.
    DeviceConfigurationProto, DeviceConfigurationFields, [1, 2, 3], {
        /// `name`.
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        /// `num_devices`.
        #[prost(int32, optional, tag = "2")]
        pub num_devices: Option<i32>,
        /// `device`.
        #[prost(string, repeated, tag = "3")]
        pub device: Vec<String>,
    }

    /// Multi-device placement of a node.
    NodeDeviceConfigurationProto, NodeDeviceConfigurationFields, [1, 2, 3], {
        /// `configuration_id`.
        #[prost(string, optional, tag = "1")]
        pub configuration_id: Option<String>,
        /// `sharding_spec`.
        #[prost(message, repeated, tag = "2")]
        pub sharding_spec: Vec<ShardingSpecProto>,
        /// `pipeline_stage`.
        #[prost(int32, optional, tag = "3")]
        pub pipeline_stage: Option<i32>,
    }

    /// How one tensor is sharded.
    ShardingSpecProto, ShardingSpecFields, [1, 2, 3, 4], {
        /// `tensor_name`.
        #[prost(string, optional, tag = "1")]
        pub tensor_name: Option<String>,
        /// `device`.
        #[prost(int64, repeated, packed = "false", tag = "2")]
        pub device: Vec<i64>,
        /// `index_to_device_group_map`.
        #[prost(message, repeated, tag = "3")]
        pub index_to_device_group_map: Vec<IntIntListEntryProto>,
        /// `sharded_dim`.
        #[prost(message, repeated, tag = "4")]
        pub sharded_dim: Vec<ShardedDimProto>,
    }

    /// Key and list of a sharding map.
    IntIntListEntryProto, IntIntListEntryFields, [1, 2], {
        /// `key`.
        #[prost(int64, optional, tag = "1")]
        pub key: Option<i64>,
        /// `value`.
        #[prost(int64, repeated, packed = "false", tag = "2")]
        pub value: Vec<i64>,
    }

    /// How one axis is sharded.
    ShardedDimProto, ShardedDimFields, [1, 2], {
        /// `axis`.
        #[prost(int64, optional, tag = "1")]
        pub axis: Option<i64>,
        /// `simple_sharding`.
        #[prost(message, repeated, tag = "2")]
        pub simple_sharding: Vec<SimpleShardedDimProto>,
    }

    /// One piece of a sharded axis.
    SimpleShardedDimProto, SimpleShardedDimFields, [1, 2, 3], {
        /// `dim`.
        #[prost(oneof = "ShardDim", tags = "1, 2")]
        pub dim: Option<ShardDim>,
        /// `num_shards`.
        #[prost(int64, optional, tag = "3")]
        pub num_shards: Option<i64>,
    }
}

/// The size of one piece of a sharded axis.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ShardDim {
    /// A number.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// A name.
    #[prost(string, tag = "2")]
    DimParam(String),
}

/// A dimension: a number or a symbolic name.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DimValue {
    /// A number.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// A symbolic name.
    #[prost(string, tag = "2")]
    DimParam(String),
}

/// What kind of value a [`TypeProto`] describes.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum TypeValue {
    /// A dense tensor.
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    /// A sequence.
    #[prost(message, tag = "4")]
    Sequence(ElemType),
    /// A map.
    #[prost(message, tag = "5")]
    Map(MapType),
    /// An opaque value.
    #[prost(message, tag = "7")]
    Opaque(OpaqueType),
    /// A sparse tensor.
    #[prost(message, tag = "8")]
    SparseTensor(TensorType),
    /// An optional value.
    #[prost(message, tag = "9")]
    Optional(ElemType),
}
