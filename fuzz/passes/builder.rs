//! A graph in the making: values with their dimensions, nodes, constants.

use tilecast_onnx::proto::{
    AttributeProto, DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields,
    ModelProto, NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorProto, TensorShapeFields,
    TensorShapeProto, TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue,
    ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};

use super::choices::Choices;
use super::oracle::noise;

/// Steps that would make a larger value are left out.
pub(super) const MAX_ELEMENTS: usize = 3000;

/// Ends of names that passes give to what they add; now and then a value of the graph has one already.
const TAKEN_ENDINGS: [&str; 6] = [
    "_ln_scale",
    "_split_sizes",
    "_gn_scale",
    "_folded",
    "_Gelu",
    "_2",
];

/// A float32 value of the graph.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    /// Whether it is the same to the bit whatever passes do: no sum or product of floats is behind it.
    pub(super) is_exact: bool,
}

impl Value {
    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    pub(super) fn n_elements(&self) -> usize {
        self.dims.iter().product()
    }

    pub(super) fn is_image(&self) -> bool {
        self.rank() == 4
    }
}

/// The graph so far.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) choices: Choices<'a>,
    pub(super) opset: i64,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Float constants that a later step may read again.
    shared: Vec<(String, Vec<usize>)>,
    pub(super) values: Vec<Value>,
    outputs: Vec<String>,
    input: ValueInfoProto,
    value_infos: Vec<ValueInfoProto>,
    /// Whether dimensions of the input are numbers, so that values may be declared with theirs.
    is_static: bool,
    n_names: usize,
}

impl<'a> Builder<'a> {
    /// A graph of one input whose dimensions are in part left open.
    pub(super) fn new(mut choices: Choices<'a>) -> Self {
        let opset = choices.pick(&[17, 11, 13, 18, 21, 12, 14, 20, 16]);
        let dims = match choices.below(8) {
            0..=5 => vec![
                1,
                choices.pick(&[4, 1, 2, 3, 6, 8]),
                choices.pick(&[6, 4, 5, 7, 8, 10]),
                choices.pick(&[8, 4, 6, 5, 9]),
            ],
            6 => vec![1, choices.pick(&[9, 5, 12]), choices.pick(&[8, 4, 6])],
            _ => vec![2, choices.pick(&[4, 8]), 6, 4],
        };
        let is_open: Vec<bool> = match choices.below(4) {
            0 => vec![false; 4],
            1 | 2 => vec![false, dims.len() == 3, true, true],
            _ => vec![true; 4],
        };
        // The channels are never open: nothing that is of interest could follow.
        let channels = if dims.len() == 3 { 2 } else { 1 };
        let declared = dims.iter().enumerate().map(|(axis, &extent)| {
            if is_open[axis] && axis != channels {
                // The oracle reads the extent of the run from the name.
                DimValue::DimParam(format!("d{axis}_{extent}"))
            } else {
                DimValue::DimValue(extent as i64)
            }
        });
        let declared: Vec<DimValue> = declared.collect();
        let is_static = declared.iter().all(|d| matches!(d, DimValue::DimValue(_)));
        Self {
            choices,
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            shared: Vec::new(),
            values: vec![Value {
                name: "x".into(),
                dims,
                is_exact: true,
            }],
            outputs: Vec::new(),
            input: value_info("x", Some(declared)),
            value_infos: Vec::new(),
            is_static,
            n_names: 0,
        }
    }

    /// The value that the next step works on: mostly the newest.
    pub(super) fn current(&mut self) -> Value {
        let newest = self.values.len() - 1;
        let at = match self.choices.below(8) {
            0..=5 => newest,
            6 => newest.saturating_sub(1),
            _ => self.choices.below(newest + 1),
        };
        self.values[at].clone()
    }

    /// A name that nothing has.
    pub(super) fn fresh(&mut self) -> String {
        self.n_names += 1;
        if self.choices.one_in(64) {
            let base = self.choices.below(self.n_names);
            let ending = self.choices.pick(&TAKEN_ENDINGS);
            let name = format!("v{base}{ending}");
            if !self.is_taken(&name) {
                return name;
            }
        }
        format!("v{}", self.n_names)
    }

    fn is_taken(&self, name: &str) -> bool {
        self.nodes
            .iter()
            .any(|n| n.output.iter().any(|o| o == name))
            || self
                .initializers
                .iter()
                .any(|t| t.name.as_deref() == Some(name))
    }

    /// Adds a node of one output and returns the output's name.
    pub(super) fn op(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.op_of(op, inputs, attributes, 1).remove(0)
    }

    /// Adds a node of several outputs.
    pub(super) fn op_of(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        n_outputs: usize,
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..n_outputs).map(|_| self.fresh()).collect();
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let label = format!("n{}", self.nodes.len());
        let mut node = node(op, &label, inputs, &names);
        node.attribute = attributes;
        self.nodes.push(node);
        outputs
    }

    /// Makes what a node computes available to later steps, and now and then an output of the graph.
    pub(super) fn push(&mut self, name: &str, dims: &[usize], is_exact: bool) {
        if self.choices.one_in(16) {
            self.output(name);
        }
        if self.is_static && self.choices.one_in(8) {
            let dims = dims.iter().map(|&d| DimValue::DimValue(d as i64));
            self.value_infos
                .push(value_info(name, Some(dims.collect())));
        }
        self.values.push(Value {
            name: name.into(),
            dims: dims.to_vec(),
            is_exact,
        });
    }

    /// Makes a value an output of the graph.
    pub(super) fn output(&mut self, name: &str) {
        if name != "x" && self.outputs.iter().all(|o| o != name) {
            self.outputs.push(name.into());
        }
    }

    /// Whether the last node computes this value and nothing else.
    pub(super) fn is_computed_last(&self, name: &str) -> bool {
        self.nodes.last().is_some_and(|n| n.output == [name])
    }

    /// The last node once more, with a name of its own for its only output.
    pub(super) fn repeat_last(&mut self) -> Option<String> {
        let mut copy = self.nodes.last().filter(|n| n.output.len() == 1)?.clone();
        let name = self.fresh();
        copy.output[0].clone_from(&name);
        copy.name = None;
        self.nodes.push(copy);
        Some(name)
    }

    /// A float constant of these values.
    pub(super) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let tensor = Tensor::from_f32(dims.to_vec(), values);
        let name = self.constant(&tensor);
        self.shared.push((name.clone(), dims.to_vec()));
        name
    }

    /// A float scalar.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        let dims: &[usize] = if self.choices.one_in(4) { &[1] } else { &[] };
        self.floats(dims, &[value])
    }

    /// A scalar of a formula: right, or now and then near it.
    pub(super) fn formula(&mut self, value: f32) -> String {
        let value = if self.choices.one_in(32) {
            value * 1.01
        } else {
            value
        };
        self.scalar(value)
    }

    /// A float constant of values around `center`, or one of the same dimensions that is there already.
    pub(super) fn random(&mut self, dims: &[usize], center: f32, spread: f32) -> String {
        let seed = self.choices.byte();
        if seed & 7 == 7
            && let Some((name, _)) = self.shared.iter().rev().find(|(_, d)| d == dims)
        {
            return name.clone();
        }
        let n: usize = dims.iter().product();
        // Without the zeros that lead the input.
        let values: Vec<f32> = noise(u64::from(seed & 31) + 1, n + 2)[2..]
            .iter()
            .map(|v| center + spread * v)
            .collect();
        let name = self.floats(dims, &values);
        match self.choices.below(16) {
            14 => self.op("Identity", &[&name], vec![]),
            15 => {
                let zero = self.scalar(0.25);
                self.op("Add", &[&name, &zero], vec![])
            }
            _ => name,
        }
    }

    /// A vector of integers.
    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        self.constant(&Tensor::from_i64(vec![values.len()], values))
    }

    /// An integer scalar.
    pub(super) fn integer(&mut self, value: i64) -> String {
        self.constant(&Tensor::from_i64(vec![], &[value]))
    }

    /// An initializer or a `Constant` node.
    pub(super) fn constant(&mut self, tensor: &Tensor) -> String {
        if self.choices.below(4) == 3 {
            return self.op("Constant", &[], vec![attribute::tensor("value", tensor)]);
        }
        let name = self.fresh();
        self.initializers.push(tensor.to_proto(&name));
        name
    }

    /// An operator whose list of integers became an input in opset `since`.
    pub(super) fn listed(
        &mut self,
        op: &str,
        x: &str,
        list: (&str, &[i64]),
        since: i64,
        mut attributes: Vec<AttributeProto>,
    ) -> String {
        if self.opset >= since {
            let list = self.integers(list.1);
            return self.op(op, &[x, &list], attributes);
        }
        attributes.push(attribute::ints(list.0, list.1));
        self.op(op, &[x], attributes)
    }

    /// `ReduceMean` or another reduction of this kind.
    pub(super) fn reduce(&mut self, op: &str, x: &str, axes: &[i64], keepdims: bool) -> String {
        let mut attributes = vec![];
        if !keepdims {
            attributes.push(attribute::int("keepdims", 0));
        }
        self.listed(op, x, ("axes", axes), 18, attributes)
    }

    /// `Slice` along one axis.
    pub(super) fn slice(&mut self, x: &str, axis: i64, start: i64, end: i64) -> String {
        let bounds = [start, end, axis].map(|v| self.integers(&[v]));
        let mut inputs = vec![x, &bounds[0], &bounds[1], &bounds[2]];
        let steps;
        if self.choices.one_in(4) {
            steps = self.integers(&[1]);
            inputs.push(&steps);
        }
        self.op("Slice", &inputs, vec![])
    }

    /// The model.
    pub(super) fn finish(mut self) -> Model {
        let newest = self.values[self.values.len() - 1].name.clone();
        if self.outputs.is_empty() || newest != "x" {
            if newest == "x" {
                let copy = self.op("Identity", &["x"], vec![]);
                self.output(&copy);
            } else {
                self.output(&newest);
            }
        }
        let is_named = !self.choices.one_in(8);
        if !is_named {
            self.nodes.iter_mut().for_each(|n| n.name = None);
        }
        let proto = ModelProto::from(ModelFields {
            ir_version: Some(if self.opset > 18 { 10 } else { 8 }),
            opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
                domain: None,
                version: Some(self.opset),
            })],
            graph: Some(GraphProto::from(GraphFields {
                name: Some("g".into()),
                node: self.nodes,
                input: vec![self.input],
                output: self.outputs.iter().map(|o| value_info(o, None)).collect(),
                initializer: self.initializers,
                value_info: self.value_infos,
                ..GraphFields::default()
            })),
            ..ModelFields::default()
        });
        Model::from_proto(proto).unwrap_or_else(|violations| {
            panic!("the generator made no valid model: {violations:?}")
        })
    }
}

fn value_info(name: &str, dims: Option<Vec<DimValue>>) -> ValueInfoProto {
    let shape = dims.map(|dims| {
        let dims = dims.into_iter().map(|value| {
            Dimension::from(DimensionFields {
                value: Some(value),
                ..DimensionFields::default()
            })
        });
        TensorShapeProto::from(TensorShapeFields {
            dim: dims.collect(),
        })
    });
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(DataType::F32.code()),
        shape,
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        r#type: Some(TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(tensor)),
            ..TypeFields::default()
        })),
        ..ValueInfoFields::default()
    })
}
