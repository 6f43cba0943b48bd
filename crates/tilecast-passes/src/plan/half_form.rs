//! Which operators can compute in a 16-bit float format, and which of their operands follow when they do.
//!
//! The specification decides ([`Signature`]); what is written down here is only what it leaves open.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Signature};

/// What becomes of a float32 operand of a node that computes in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// It has the type that the node computes in.
    Computed,
    /// It stays float32: the operator takes nothing else there.
    Single,
    /// The node takes it in whatever type it comes: what a `Cast` or a `Shape` reads decides nothing.
    Any,
}

/// Operators whose scales are kept in float32, because with 16-bit ones they need opset 19 and fuse in fewer runtimes.
const SCALES_STAY_SINGLE: &[&str] = &[
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
];

/// Operators whose tensors go into or come out of sequences and optionals: their types would have to change together.
const THROUGH_CONTAINERS: &[&str] = &[
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceMap",
    "SplitToSequence",
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
];

/// Operators that look at the shape of their input, or at single elements of it, and give no floats.
const READS_ANY_TYPE: &[&str] = &[
    "Cast", "CastLike", "Shape", "Size", "IsNaN", "IsInf", "NonZero", "ArgMax", "ArgMin",
];

/// Whether the type of the first input decides nothing.
pub(super) fn reads_any_type(node: &NodeProto) -> bool {
    node.domain_name().is_empty() && READS_ANY_TYPE.contains(&node.op())
}

/// What becomes of input `slot` when the node computes in `half`.
pub(crate) fn operand(node: &NodeProto, opset: i64, slot: usize, half: DataType) -> Operand {
    // The region of interest has a type of its own.
    if node.is("Resize") && slot > 0 {
        return Operand::Single;
    }
    match signature(node, opset).and_then(|s| s.input(slot)) {
        Some(input) if !input.allows(half) => Operand::Single,
        Some(_) if slot == 0 && reads_any_type(node) => Operand::Any,
        Some(_) => Operand::Computed,
        None => Operand::Single,
    }
}

/// Whether float32 output `slot` has the type `half` when the node computes in it.
pub(crate) fn output_follows(node: &NodeProto, opset: i64, slot: usize, half: DataType) -> bool {
    // Mean and inverse deviation come in the stash type.
    if node.is("LayerNormalization") && slot > 0 {
        return false;
    }
    signature(node, opset)
        .and_then(|s| s.output(slot))
        .is_some_and(|output| output.allows(half))
}

/// Whether the node can compute in `half` in a model of this opset: some float32 operand follows, and none that must
/// follow is of unknown type. `of` gives element types by name.
pub(super) fn exists(
    node: &NodeProto,
    opset: i64,
    half: DataType,
    of: &dyn Fn(&str) -> Option<DataType>,
) -> bool {
    if SCALES_STAY_SINGLE.contains(&node.op()) || THROUGH_CONTAINERS.contains(&node.op()) {
        return false;
    }
    let single = |name: &str| of(name) == Some(DataType::F32);
    let mut follows = false;
    for slot in 0..node.input.len() {
        let Some(name) = node.input_name(slot) else {
            continue;
        };
        if operand(node, opset, slot, half) != Operand::Computed {
            continue;
        }
        match of(name) {
            None => return false,
            Some(DataType::F32) => follows = true,
            Some(_) => {}
        }
    }
    for slot in 0..node.output.len() {
        if node.output_name(slot).is_some_and(single) {
            if output_follows(node, opset, slot, half) {
                follows = true;
            } else if slot == 0 {
                return false;
            }
        }
    }
    // A comparison of floats gives booleans: it follows by its inputs.
    follows
}

/// The oldest opset in which the operator has a form in `half`, where it has one at all.
pub(crate) fn first_opset(node: &NodeProto, half: DataType) -> Option<i64> {
    let fixed = SCALES_STAY_SINGLE.contains(&node.op()) || THROUGH_CONTAINERS.contains(&node.op());
    if fixed || !node.domain_name().is_empty() {
        return None;
    }
    Signature::first_opset_with(node.op(), half)
}

fn signature(node: &NodeProto, opset: i64) -> Option<Signature> {
    if node.domain_name().is_empty() {
        Signature::of(node.op(), opset)
    } else {
        None
    }
}
