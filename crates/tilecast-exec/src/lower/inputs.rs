//! The border of the graph: float32 on the outside whatever the model declares.

use super::{LoweredInput, Lowering, Operation, PrepareError, ValueId, half_format};
use crate::SessionOptions;
use crate::border::{border_type, graph_inputs};

impl Lowering<'_, '_> {
    /// Adds every graph input; a float16 input is rounded on entry.
    pub(super) fn lower_inputs(&mut self, options: &SessionOptions) -> Result<(), PrepareError> {
        for input in graph_inputs(&self.graph, &self.types, options)? {
            let value = self.new_value();
            self.inputs.push(LoweredInput {
                name: input.name.to_owned(),
                dims: input.dims,
                value,
            });
            let value = match half_format(input.data_type) {
                Some(format) => self.push_unary(
                    format!("input `{}`", input.name),
                    Operation::Round(format),
                    value,
                ),
                None => value,
            };
            self.define(input.name, value)?;
        }
        Ok(())
    }

    /// The values of the graph outputs, all computed.
    pub(super) fn lower_outputs(&mut self) -> Result<Vec<ValueId>, PrepareError> {
        let outputs = &self.graph.proto().output;
        outputs
            .iter()
            .map(|output| {
                let name = output.name.as_deref().unwrap_or_default();
                border_type(&self.types, name, "output")?;
                self.value(name, &format!("output `{name}`"))
            })
            .collect()
    }
}
