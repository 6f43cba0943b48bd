//! A Cast of a Cast that lost nothing.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_casts",
    summary: "let a Cast read what a widening Cast before it reads",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A Cast whose input is a Cast to a type that holds every value of the type before it reads what that one
reads. Where the second leads back to the first type, `remove_identity` removes what is left.

**Why.** Mixed-precision exports cast to float32 around single operators; where two such operators meet, the casts between
them do nothing.

**Before / After.** `a = Cast(x, float32); y = Cast(a, float16)` with a float16 `x` becomes `y = Cast(x, float16)`.

**Preconditions.** The type of the first node's input is known, and every value of it is a value of the type in between.
The second Cast does not go to a type of eight bits or fewer, whose rounding and saturation attributes depend on the
source type.

**Numerics.** Exact.

**References.** IEEE 754-2019, section 5.4.2.",
};

/// Merges Casts; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeCasts;

impl Pass for MergeCasts {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, node)| node.is("Cast")) {
            let Some((first, x)) = node
                .input_name(0)
                .and_then(|x| graph.producer_node(x))
                .filter(|first| first.is("Cast"))
                .and_then(|first| Some((first, first.input_name(0)?)))
            else {
                continue;
            };
            let (Some(from), Some(middle), Some(to)) =
                (cx.facts(graph).data_type(x), target(first), target(node))
            else {
                cx.decline(graph, id, "the element type before both casts is not known");
                continue;
            };
            if !holds_every_value(middle, from) {
                cx.decline(
                    graph,
                    id,
                    format!("the cast before it, from {from} to {middle}, may round"),
                );
            } else if to.bits() <= 8 && to != DataType::Bool && to != from {
                cx.decline(
                    graph,
                    id,
                    format!("how values are fitted into {to} depends on the type before"),
                );
            } else {
                x.clone_into(&mut patch.edit_node(graph, id).input[0]);
            }
        }
        Ok(Outcome::of(patch))
    }
}

fn target(cast: &NodeProto) -> Option<DataType> {
    let code = cast.int("to").ok()??;
    DataType::from_code(i32::try_from(code).ok()?)
}

/// Whether every value of type `narrow` is one of type `wide`.
fn holds_every_value(wide: DataType, narrow: DataType) -> bool {
    use DataType as T;
    let integer = |t| {
        Some(match t {
            T::Bool => (false, 1),
            T::U8 => (false, 8),
            T::U16 => (false, 16),
            T::U32 => (false, 32),
            T::U64 => (false, 64),
            T::I8 => (true, 7),
            T::I16 => (true, 15),
            T::I32 => (true, 31),
            T::I64 => (true, 63),
            _ => return None,
        })
    };
    // Integers up to 2^n are exact.
    let float = |t| {
        Some(match t {
            T::F16 => (11, 5),
            T::BF16 => (8, 8),
            T::F32 => (24, 8),
            T::F64 => (53, 11),
            _ => return None,
        })
    };
    if wide == narrow {
        return true;
    }
    match (integer(narrow), integer(wide), float(narrow), float(wide)) {
        // A cast to bool asks whether the value is zero.
        _ if wide == T::Bool => false,
        (Some((signed, bits)), Some((wide_signed, wide_bits)), ..) => {
            wide_bits >= bits && (wide_signed || !signed)
        }
        (Some((_, bits)), _, _, Some((mantissa, exponent))) => {
            // The exponent must reach the largest integer as well.
            bits <= mantissa && bits < 1 << (exponent - 1)
        }
        (_, _, Some((mantissa, exponent)), Some((wide_mantissa, wide_exponent))) => {
            wide_mantissa >= mantissa && wide_exponent >= exponent
        }
        _ => false,
    }
}
