//! Which float types the operators take and give: the type constraints of the ONNX specification, as far as they concern
//! float32, float16 and bfloat16.
//!
//! [`table`] is written from the operator definitions themselves, so that "does this operator have a float16 form, since
//! when, and which of its inputs stay float32" is looked up instead of remembered.

mod table;

use table::SIGNATURES;

use crate::DataType;

/// The float types of an operator's inputs and outputs at one opset (default domain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    inputs: &'static str,
    outputs: &'static str,
}

/// What one input or output may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Slots with the same variable have the same type; `None` where the type is fixed or its own.
    pub variable: Option<u8>,
    kind: u8,
}

impl Signature {
    /// The signature of an operator in a model of this opset; `None` where the operator is not defined there.
    #[must_use]
    pub fn of(op: &str, opset: i64) -> Option<Self> {
        let end = SIGNATURES.partition_point(|&(name, since, ..)| (name, since) <= (op, opset));
        let &(name, _, inputs, outputs) = SIGNATURES.get(end.checked_sub(1)?)?;
        (name == op).then_some(Self { inputs, outputs })
    }

    /// The oldest opset from which an operator takes or gives this float type anywhere.
    #[must_use]
    pub fn first_opset_with(op: &str, data_type: DataType) -> Option<i64> {
        let start = SIGNATURES.partition_point(|&(name, ..)| name < op);
        SIGNATURES[start..]
            .iter()
            .take_while(|(name, ..)| *name == op)
            .find(|(_, _, inputs, outputs)| {
                let slots = inputs.split(' ').chain(outputs.split(' '));
                slots.filter_map(Slot::parse).any(|s| s.allows(data_type))
            })
            .map(|&(_, since, ..)| since)
    }

    /// The input at this position; `None` where the operator has none there.
    #[must_use]
    pub fn input(&self, slot: usize) -> Option<Slot> {
        nth(self.inputs, slot)
    }

    /// The output at this position; `None` where the operator has none there.
    #[must_use]
    pub fn output(&self, slot: usize) -> Option<Slot> {
        nth(self.outputs, slot)
    }
}

impl Slot {
    /// Whether a tensor of this float type may stand here. False for every type that is not one of the three.
    #[must_use]
    pub fn allows(self, data_type: DataType) -> bool {
        match data_type {
            DataType::F32 => self.kind != b'-',
            DataType::F16 => matches!(self.kind, b'h' | b'b'),
            DataType::BF16 => matches!(self.kind, b'b' | b'x'),
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let &[variable, kind, ref rest @ ..] = text.as_bytes() else {
            return None;
        };
        let shared = variable.is_ascii_digit() && rest != b"~";
        Some(Self {
            variable: shared.then(|| variable - b'0'),
            kind,
        })
    }
}

/// The slot at a position, where the last one may stand for all behind it.
fn nth(slots: &'static str, position: usize) -> Option<Slot> {
    let mut last = None;
    for (index, text) in slots.split(' ').enumerate() {
        if index == position {
            return Slot::parse(text);
        }
        last = Some(text);
    }
    last.filter(|text| text.ends_with(['*', '~']))
        .and_then(Slot::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{BF16, F16, F32, I64};

    fn slot(op: &str, opset: i64, input: usize) -> Slot {
        Signature::of(op, opset).unwrap().input(input).unwrap()
    }

    #[test]
    fn the_table_can_be_searched_and_every_entry_parses() {
        assert!(SIGNATURES.is_sorted_by_key(|&(op, since, ..)| (op, since)));
        for (op, since, inputs, outputs) in SIGNATURES {
            for text in [inputs, outputs]
                .iter()
                .flat_map(|s| s.split_terminator(' '))
            {
                let slot = Slot::parse(text);
                assert!(
                    slot.is_some_and(|s| b"-shbx".contains(&s.kind)),
                    "{op} {since}: {text}"
                );
            }
        }
    }

    #[test]
    fn versions_widen_and_fixed_slots_stay() {
        assert!(slot("Conv", 17, 0).allows(F16) && !slot("Conv", 21, 0).allows(BF16));
        assert!(slot("Conv", 22, 0).allows(BF16) && slot("Conv", 28, 2).allows(BF16));
        assert!(slot("Resize", 10, 1).allows(F32) && !slot("Resize", 10, 1).allows(F16));
        assert!(slot("Resize", 11, 1).allows(F16) && !slot("Resize", 11, 2).allows(F16));
        assert!(!slot("Range", 11, 0).allows(F16) && slot("Range", 27, 0).allows(F16));
        assert!(!slot("Reshape", 13, 1).allows(F32) && !slot("Add", 13, 0).allows(I64));
        assert_eq!(Signature::first_opset_with("Conv", BF16), Some(22));
        assert_eq!(Signature::first_opset_with("NonMaxSuppression", F16), None);
        assert_eq!(Signature::of("Gelu", 17), None);
        assert_eq!(Signature::of("NoSuchOperator", 17), None);
        assert_eq!(Signature::of("Relu", 17).unwrap().input(1), None);
    }

    #[test]
    fn variables_tie_slots_together_and_variadic_slots_repeat() {
        let concat = Signature::of("Concat", 13).unwrap();
        assert_eq!(concat.input(0), concat.input(7));
        assert_eq!(
            concat.input(0).unwrap().variable,
            concat.output(0).unwrap().variable
        );
        let repeat = Signature::of("Loop", 17).unwrap();
        assert_eq!(
            repeat.input(5).unwrap().variable,
            None,
            "each carried value has its own type"
        );
        assert!(repeat.output(3).unwrap().allows(BF16));
        assert_ne!(slot("Where", 16, 0).variable, slot("Where", 16, 1).variable);
        assert_eq!(slot("Where", 16, 1).variable, slot("Where", 16, 2).variable);
    }
}
