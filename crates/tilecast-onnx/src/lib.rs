//! ONNX bytes to a graph and back, without losing a byte.
//!
//! Reading order: [`Model`] (a file and its decoded messages) → [`Graph`] (an indexed view: who produces a value, who
//! consumes it) → [`Patch`] (how a graph is changed) → [`verify`] (what is wrong with a graph).
//! [`Tensor`] is the typed form of an initializer, [`infer_types`] and [`infer_shapes`] say what flows where; [`Facts`] says
//! what holds of shapes at every input size.
//!
//! The messages themselves ([`proto`]) stay the single source of truth: every other type is a view of them or an edit to
//! them, so that whatever this crate does not understand is written back as it was read.
//!
//! This crate never runs a graph and never reads a file other than the model's own and the data files beside it.

pub mod proto;

mod all_tensors;
mod attributes;
mod bind;
mod data_type;
mod encode;
mod external;
mod functions;
mod graph;
mod image_axes;
mod model;
mod opset;
mod patch;
mod save;
mod shapes;
mod signatures;
mod tensor;
mod type_check;
mod types;
mod verify;

pub use attributes::{AttributeError, attribute, node};
pub use bind::{bind, bound_extents, declared_dimensions, dimension_names};
pub use data_type::DataType;
pub use functions::{InlineError, inline_functions};
pub use graph::{Graph, NodeId, Use, node_path};
pub use image_axes::ImageAxes;
pub use model::{LoadError, LoadErrorKind, Model};
pub use opset::{UpgradeError, upgrade_opset};
pub use patch::{ApplyError, Patch, value_info};
pub use save::{LARGEST_SINGLE_FILE, SaveError, SaveOptions, write_atomically};
pub use shapes::{
    Arrangement, Extent, Facts, InferShapesError, InputExtents, Remainder, ShapeMap, arrange,
    axes_from_front, axis_from_front, broadcast_dims, comparison, declared_extents, infer_shapes,
    integer_arithmetic, n_data_inputs, spread,
};
pub use signatures::{Signature, Slot};
pub use tensor::{Tensor, TensorError};
pub use type_check::mixed_float_operands;
pub use types::{OuterTypes, TypeMap, infer_body_types, infer_types};
pub use verify::{Violation, verify};
