//! FP16 and BF16: the nodes that the plan gives a 16-bit float format compute in it, with casts only where types meet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tilecast_onnx::proto::{Convert, GraphProto, NodeProto, TensorProto};
use tilecast_onnx::{
    DataType, Graph, NodeId, Patch, Tensor, TypeMap, attribute, infer_body_types, infer_types, node,
};
use tilecast_quant::HalfFormat;

use crate::names::FreshNames;
use crate::plan::{Operand, data_type_of, half_format_of, operand, output_follows};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta, PrecisionPlan};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "convert_half",
    summary: "compute in FP16 or BF16 where the plan says so",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** Values between FP16 nodes become float16 (BF16: bfloat16), constants are stored in it, and a Cast stands
where an FP16 node meets a float32 one or the graph's border: one per value and type, directly behind what makes the value,
shared by all readers, those in branches and loop bodies included. A constant that several types read is kept once in each.
A Cast of the model that has become one to its own type goes away.

**Why.** Half the bytes, and GPUs compute in 16 bits. Precision is a matter of types: the rewrite follows the inferred type of
every value and the type constraints of the specification, so scales of Resize stay float32, Cast and ConstantOfShape change
their attribute, branches agree with each other, and integer work is left alone.

**Preconditions.** The plan gives a 16-bit format only to operators that have it at the model's opset, with operands of known
type. Graph inputs and outputs keep their type unless they are asked to change.

**Numerics.** Lossy; measured by the pipeline with rounding after every node. A bound of Clip, Max or Min beyond the format is
set to the largest number of the format, which clips nothing that is finite; any other constant is rounded, beyond the
largest number to infinity, which is why the plan keeps its readers in FP32.

**References.** IEEE 754-2019 binary16; ONNX operator type constraints.",
};

/// Which graph inputs and outputs keep float32.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoTypes {
    /// The format that inputs and outputs get; `None` leaves all of them as they are.
    pub converted: Option<HalfFormat>,
    /// Names that stay float32 all the same.
    pub kept: BTreeSet<String>,
}

/// Converts nodes to 16-bit floats; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct ConvertHalf<'a> {
    /// Which nodes compute in which format.
    pub plan: &'a PrecisionPlan,
    /// What becomes of the graph's border.
    pub io: &'a IoTypes,
}

/// Operators whose constant bounds may be cut to the largest number of the format.
const BOUNDS: &[&str] = &["Clip", "Max", "Min"];

impl IoTypes {
    /// The type of a float32 input or output of this name.
    fn of(&self, name: &str) -> DataType {
        match self.converted {
            Some(format) if !self.kept.contains(name) => data_type_of(format),
            _ => DataType::F32,
        }
    }
}

impl Pass for ConvertHalf<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut decisions = self.plan.decisions().iter();
        if self.io.converted.is_none() && decisions.all(|d| d.precision.half_format().is_none()) {
            return Ok(Outcome::Unchanged);
        }
        let mut rewrite = Rewrite {
            pass: self,
            opset: cx.opset(),
            ir_version: cx.ir_version(),
            names: FreshNames::of(graph),
            wanted: HashMap::new(),
            frames: Vec::new(),
        };
        let types = infer_types(graph);
        rewrite.collect_wanted(graph.proto(), &types, &|_| None, None);
        let patch = rewrite.convert_graph(graph.proto(), types, None)?;
        Ok(Outcome::of(patch))
    }
}

/// In which types a constant is wanted.
#[derive(Default)]
struct Wanted {
    types: BTreeSet<DataType>,
    /// Read by an operator for which an infinite element is not as good as the largest number.
    beyond_bounds: bool,
}

/// One graph on the way down to the one that is being rewritten.
struct Frame<'g> {
    graph: Graph<'g>,
    types: TypeMap<'g>,
    /// Types after the rewrite, of float values whose type was known before.
    native: BTreeMap<&'g str, DataType>,
    /// Results of Casts that have become identities, and what they are identical to.
    aliases: HashMap<&'g str, &'g str>,
    /// New names of values whose old name is that of a cast graph output.
    renamed: HashMap<&'g str, String>,
    /// Names of values in a type other than their own.
    cast: HashMap<(&'g str, DataType), String>,
    patch: Patch,
}

struct Rewrite<'a, 'g> {
    pass: &'a ConvertHalf<'a>,
    opset: i64,
    ir_version: i64,
    names: FreshNames,
    /// By name: what reads a constant.
    wanted: HashMap<&'g str, Wanted>,
    /// Outermost first.
    frames: Vec<Frame<'g>>,
}

fn is_float(data_type: DataType) -> bool {
    matches!(data_type, DataType::F32 | DataType::F16 | DataType::BF16)
}

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute
        .iter()
        .flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs))
}

/// Operators that hand float values to a body and back: all of one node agree.
fn is_control_flow(node: &NodeProto) -> bool {
    ["If", "Loop", "Scan"].iter().any(|op| node.is(op))
}

impl<'g> Rewrite<'_, 'g> {
    /// The type that the node computes in.
    fn half_of(&self, node: &NodeProto) -> Option<DataType> {
        let decision = self.pass.plan.decision(node.output_name(0)?)?;
        decision.precision.half_format().map(data_type_of)
    }

    /// What the node wants at an input that was of type `before`; `None` takes it as it comes.
    fn wanted_at(&self, node: &NodeProto, slot: usize, before: DataType) -> Option<DataType> {
        // A format for the question whether a node reads any type at all.
        let half = self.half_of(node);
        let role = operand(node, self.opset, slot, half.unwrap_or(DataType::F16));
        match (before, half, role) {
            (DataType::F32, _, Operand::Any) => None,
            (DataType::F32, Some(half), Operand::Computed) => Some(half),
            _ => Some(before),
        }
    }

    /// The type of float32 output `slot` after the rewrite.
    fn output_type(&self, node: &NodeProto, slot: usize) -> DataType {
        match self.half_of(node) {
            Some(half) if is_control_flow(node) => half,
            Some(half) if output_follows(node, self.opset, slot, half) => half,
            _ => DataType::F32,
        }
    }

    /// Collects, for every constant of the graph and of those around it, the types in which it is read. `handed` is the type
    /// of the floats that go in and out of a body.
    fn collect_wanted(
        &mut self,
        graph: &'g GraphProto,
        types: &TypeMap<'g>,
        outer: &dyn Fn(&str) -> Option<DataType>,
        handed: Option<DataType>,
    ) {
        let known = |name: &str| types.get(name).copied().or_else(|| outer(name));
        for node in &graph.node {
            for slot in 0..node.input.len() {
                let Some(name) = node.input_name(slot) else {
                    continue;
                };
                if known(name) != Some(DataType::F32) {
                    continue;
                }
                if let Some(data_type) = self.wanted_at(node, slot, DataType::F32) {
                    let wanted = self.wanted.entry(name).or_default();
                    wanted.types.insert(data_type);
                    wanted.beyond_bounds |= !BOUNDS.contains(&node.op());
                }
            }
            let half = self.half_of(node).filter(|_| is_control_flow(node));
            for body in bodies(node) {
                let types = infer_body_types(node, body, &known);
                self.collect_wanted(body, &types, &known, Some(half.unwrap_or(DataType::F32)));
            }
        }
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            let data_type = handed.unwrap_or_else(|| self.pass.io.of(name));
            let wanted = self.wanted.entry(name).or_default();
            wanted.types.insert(data_type);
            wanted.beyond_bounds = true;
        }
    }

    /// Rewrites one graph. `handed` is the type of the floats that go in and out of a body, `None` for the main graph.
    fn convert_graph(
        &mut self,
        graph: &'g GraphProto,
        types: TypeMap<'g>,
        handed: Option<DataType>,
    ) -> Result<Patch, PassError> {
        self.frames.push(Frame {
            graph: Graph::new(graph),
            types,
            native: BTreeMap::new(),
            aliases: HashMap::new(),
            renamed: HashMap::new(),
            cast: HashMap::new(),
            patch: Patch::default(),
        });
        self.settle_types(graph, handed);
        if handed.is_none() {
            self.cast_outputs(graph);
        }
        for (index, node) in graph.node.iter().enumerate() {
            self.convert_node(NodeId(index), node)?;
        }
        self.store_constants(graph)?;
        if let Some(handed) = handed {
            self.redirect_outputs(graph, handed);
        }
        let mut frame = self.frames.pop().expect("pushed above");
        for (name, &native) in &frame.native {
            let before = frame.types.get(name).copied();
            let is_border = handed.is_none() && frame.graph.is_output(name);
            if before != Some(native) && !is_border {
                frame.patch.set_value_type(name, Some(native));
            }
        }
        Ok(frame.patch)
    }

    fn frame(&mut self) -> &mut Frame<'g> {
        self.frames.last_mut().expect("a graph is being rewritten")
    }

    /// Position of the innermost graph that defines a value.
    fn scope_of(&self, value: &str) -> Option<usize> {
        self.frames
            .iter()
            .rposition(|frame| frame.native.contains_key(value))
    }

    fn native(&self, value: &str) -> Option<DataType> {
        let scope = self.scope_of(value)?;
        self.frames[scope].native.get(value).copied()
    }

    /// Decides the type of every float value of the innermost graph, in graph order.
    fn settle_types(&mut self, graph: &'g GraphProto, handed: Option<DataType>) {
        let ir_version = self.ir_version;
        let constants = graph.initializer.iter().filter_map(|t| t.name.as_deref());
        let sparse = graph
            .sparse_initializer
            .iter()
            .filter_map(|s| s.values.as_ref()?.name.as_deref());
        let inputs = graph.input.iter().filter_map(|v| v.name.as_deref());
        for name in sparse {
            self.settle(name, |before| before);
        }
        for name in constants {
            let fixed = !self.frame().graph.is_default_only(name, ir_version);
            let stored = if fixed {
                self.stored_type(name)
            } else {
                DataType::F32
            };
            self.settle(name, |before| {
                if before == DataType::F32 {
                    stored
                } else {
                    before
                }
            });
        }
        for name in inputs {
            if self.frame().graph.initializer(name).is_some() {
                continue;
            }
            let of_border = handed.unwrap_or_else(|| self.pass.io.of(name));
            self.settle(name, |before| {
                if before == DataType::F32 {
                    of_border
                } else {
                    before
                }
            });
        }
        for node in &graph.node {
            for slot in 0..node.output.len() {
                let Some(name) = node.output_name(slot) else {
                    continue;
                };
                let after = if node.is("Constant") {
                    self.stored_type(name)
                } else {
                    self.output_type(node, slot)
                };
                self.settle(name, |before| {
                    if before == DataType::F32 {
                        after
                    } else {
                        before
                    }
                });
            }
            if let (true, Some(from), Some(to)) =
                (node.is("Cast"), node.input_name(0), node.output_name(0))
                && self.native(from).is_some()
                && self.native(from) == self.native(to)
                && !self.frame().graph.is_output(to)
            {
                self.frame().aliases.insert(to, from);
            }
        }
    }

    fn settle(&mut self, name: &'g str, after: impl Fn(DataType) -> DataType) {
        let frame = self.frame();
        if let Some(&before) = frame.types.get(name).filter(|t| is_float(**t)) {
            frame.native.insert(name, after(before));
        }
    }

    /// The type that a constant is kept in under its own name: the only one in which it is read, float32 otherwise.
    fn stored_type(&self, name: &str) -> DataType {
        let types = self.wanted.get(name).map(|w| &w.types);
        match types.and_then(|t| t.first().filter(|_| t.len() == 1)) {
            Some(only) => *only,
            None => DataType::F32,
        }
    }

    /// Outputs of the main graph keep their name and get their type; what computes them writes to another name.
    fn cast_outputs(&mut self, graph: &'g GraphProto) {
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            let frame = self.frames.last_mut().expect("a graph is being rewritten");
            let (Some(&before), Some(&native)) = (frame.types.get(name), frame.native.get(name))
            else {
                continue;
            };
            if before != DataType::F32 {
                continue;
            }
            let wanted = self.pass.io.of(name);
            frame.patch.set_value_type(name, Some(wanted));
            let Some((id, slot)) = frame.graph.producer(name).filter(|_| native != wanted) else {
                continue;
            };
            let raw = self.names.fresh(name, suffix(native));
            frame.patch.edit_node(&frame.graph, id).output[slot].clone_from(&raw);
            let cast = cast(&mut self.names, &raw, name, wanted);
            frame.patch.insert_after(id, cast);
            frame.renamed.insert(name, raw);
            frame.cast.insert((name, wanted), name.to_owned());
        }
    }

    fn convert_node(&mut self, id: NodeId, node: &'g NodeProto) -> Result<(), PassError> {
        if node
            .output_name(0)
            .is_some_and(|name| self.frame().aliases.contains_key(name))
        {
            self.frame().patch.remove_node(id);
            return Ok(());
        }
        for slot in 0..node.input.len() {
            let Some(name) = node.input_name(slot) else {
                continue;
            };
            let Some((before, native)) = self.types_of(name) else {
                continue;
            };
            let wanted = self.wanted_at(node, slot, before).unwrap_or(native);
            let resolved = self.resolve(self.frames.len() - 1, name, wanted);
            if resolved != name {
                let frame = self.frame();
                frame.patch.edit_node(&frame.graph, id).input[slot] = resolved;
            }
        }
        let computes = self.half_of(node);
        if let Some(half) = computes
            && let Some(name) = node.output_name(0)
            && self.types_of(name) == Some((DataType::F32, half))
        {
            self.change_typed_attribute(id, node, half)?;
        }
        self.convert_bodies(id, node, computes)
    }

    /// Types of a float value before and after; `None` for what is no float.
    fn types_of(&self, name: &str) -> Option<(DataType, DataType)> {
        let frame = &self.frames[self.scope_of(name)?];
        Some((*frame.types.get(name)?, *frame.native.get(name)?))
    }

    fn convert_bodies(
        &mut self,
        id: NodeId,
        node: &'g NodeProto,
        computes: Option<DataType>,
    ) -> Result<(), PassError> {
        let handed = computes
            .filter(|_| is_control_flow(node))
            .unwrap_or(DataType::F32);
        for (place, attribute) in node.attribute.iter().enumerate() {
            if let Some(body) = attribute.g.as_deref() {
                let converted = self.convert_body(node, body, handed)?;
                let frame = self.frame();
                frame.patch.edit_node(&frame.graph, id).attribute[place].g =
                    Some(Box::new(converted));
            }
            for (index, body) in attribute.graphs.iter().enumerate() {
                let converted = self.convert_body(node, body, handed)?;
                let frame = self.frame();
                frame.patch.edit_node(&frame.graph, id).attribute[place].graphs[index] = converted;
            }
        }
        Ok(())
    }

    fn convert_body(
        &mut self,
        node: &'g NodeProto,
        body: &'g GraphProto,
        handed: DataType,
    ) -> Result<GraphProto, PassError> {
        let types = {
            let frames = &self.frames;
            let known = |name: &str| {
                let frame = frames.iter().rev().find(|f| f.types.contains_key(name))?;
                frame.types.get(name).copied()
            };
            infer_body_types(node, body, &known)
        };
        let patch = self.convert_graph(body, types, Some(handed))?;
        let mut converted = body.clone();
        patch.apply_to(&mut converted);
        Ok(converted)
    }

    /// A body gives its outputs in the type that its node expects.
    fn redirect_outputs(&mut self, body: &'g GraphProto, handed: DataType) {
        for output in &body.output {
            let name = output.name.as_deref().unwrap_or_default();
            if self
                .types_of(name)
                .is_none_or(|(before, _)| before != DataType::F32)
            {
                continue;
            }
            let resolved = self.resolve(self.frames.len() - 1, name, handed);
            let patch = &mut self.frame().patch;
            patch.set_value_type(&resolved, Some(handed));
            if resolved != name {
                patch.redirect_output(name, &resolved);
            }
        }
    }

    /// The name under which a value of a graph in scope is had in this type; made where it is not there yet.
    fn resolve(&mut self, depth: usize, value: &str, wanted: DataType) -> String {
        let Some(scope) = self.frames[..=depth]
            .iter()
            .rposition(|frame| frame.native.contains_key(value))
        else {
            return value.to_owned();
        };
        let frame = &mut self.frames[scope];
        if let Some(&source) = frame.aliases.get(value) {
            return self.resolve(scope, source, wanted);
        }
        let (&value, &native) = frame.native.get_key_value(value).expect("found above");
        if native == wanted {
            return frame
                .renamed
                .get(value)
                .cloned()
                .unwrap_or_else(|| value.to_owned());
        }
        if let Some(done) = frame.cast.get(&(value, wanted)) {
            return done.clone();
        }
        let other = self.names.fresh(value, suffix(wanted));
        let fixed = !frame.graph.is_default_only(value, self.ir_version);
        match frame.graph.constant(value) {
            Ok(Some(tensor)) if fixed && tensor.data_type() == DataType::F32 => {
                let saturate = self.wanted.get(value).is_some_and(|w| !w.beyond_bounds);
                let late = (scope == 0)
                    .then(|| narrowed_later(&frame.graph, value, &other, wanted, saturate));
                match late.flatten() {
                    Some(message) => frame.patch.set_initializer_message(message),
                    None => frame
                        .patch
                        .set_initializer(&other, &narrowed(&tensor, wanted, saturate)),
                }
            }
            _ => {
                let from = frame
                    .renamed
                    .get(value)
                    .map_or(value, String::as_str)
                    .to_owned();
                let cast = cast(&mut self.names, &from, &other, wanted);
                match frame.graph.producer(value) {
                    Some((id, _)) => frame.patch.insert_after(id, cast),
                    None => frame.patch.insert_first(cast),
                }
            }
        }
        frame.cast.insert((value, wanted), other.clone());
        other
    }

    /// Constants whose own name now stands for a 16-bit float change in place.
    fn store_constants(&mut self, graph: &'g GraphProto) -> Result<(), PassError> {
        let initializers = graph.initializer.iter().filter_map(|t| t.name.as_deref());
        let nodes = graph
            .node
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is("Constant"));
        let of_nodes =
            nodes.filter_map(|(index, node)| Some((node.output_name(0)?, Some(NodeId(index)))));
        let all: Vec<_> = initializers
            .map(|name| (name, None))
            .chain(of_nodes)
            .collect();
        let is_main = self.frames.len() == 1;
        for (name, id) in all {
            let frame = self.frames.last_mut().expect("a graph is being rewritten");
            let native = match (frame.types.get(name), frame.native.get(name)) {
                (Some(DataType::F32), Some(&native)) if native != DataType::F32 => native,
                _ => continue,
            };
            let tensor = frame.graph.constant(name);
            let tensor = tensor.map_err(|e| PassError::at(&META, name, e))?;
            let Some(tensor) = tensor.filter(|t| t.data_type() == DataType::F32) else {
                continue;
            };
            let saturate = self.wanted.get(name).is_some_and(|w| !w.beyond_bounds);
            if is_main
                && let Some(message) = narrowed_later(&frame.graph, name, name, native, saturate)
            {
                frame.patch.set_initializer_message(message);
                continue;
            }
            let stored = narrowed(&tensor, native, saturate);
            match id {
                Some(id) => {
                    let value = attribute::tensor("value", &stored);
                    frame.patch.edit_node(&frame.graph, id).attribute = vec![value];
                }
                None => frame.patch.set_initializer(name, &stored),
            }
        }
        Ok(())
    }

    /// Operators that say in an attribute what they give.
    fn change_typed_attribute(
        &mut self,
        id: NodeId,
        node: &NodeProto,
        half: DataType,
    ) -> Result<(), PassError> {
        let replacement = match node.op() {
            "Cast" => attribute::int("to", i64::from(half.code())),
            "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike"
            | "EyeLike" | "Bernoulli" => attribute::int("dtype", i64::from(half.code())),
            "ConstantOfShape" => {
                let fill = node.find_attribute("value").and_then(|a| a.t.as_deref());
                let fill = fill.map(Tensor::from_proto).transpose();
                let fill =
                    fill.map_err(|e| PassError::at(&META, &self.frame().graph.path(id), e))?;
                let fill = fill.unwrap_or_else(|| Tensor::from_f32(vec![1], &[0.0]));
                attribute::tensor("value", &narrowed(&fill, half, false))
            }
            _ => return Ok(()),
        };
        let frame = self.frame();
        let edited = frame.patch.edit_node(&frame.graph, id);
        edited.attribute.retain(|a| a.name != replacement.name);
        edited.attribute.push(replacement);
        Ok(())
    }
}

fn suffix(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F16 => "_fp16",
        DataType::BF16 => "_bf16",
        _ => "_fp32",
    }
}

fn cast(names: &mut FreshNames, from: &str, to: &str, data_type: DataType) -> NodeProto {
    node("Cast", &names.fresh(to, "_Cast"), &[from], &[to])
        .with_attribute(attribute::int("to", i64::from(data_type.code())))
}

/// A float32 tensor in another float type. Where it saturates, finite elements beyond the format become its largest number.
fn narrowed(tensor: &Tensor, data_type: DataType, saturate: bool) -> Tensor {
    let (Some(format), DataType::F32) = (half_format_of(data_type), tensor.data_type()) else {
        return tensor.clone();
    };
    let payload = narrow_payload(tensor.bytes(), format, saturate);
    Tensor::from_raw(data_type, tensor.dims().to_vec(), payload.into())
        .expect("two bytes per element")
}

/// The same for an initializer whose payload lies in an external file, under the name `to`. It is converted while it is
/// saved, so that a model larger than memory can be.
fn narrowed_later(
    graph: &Graph<'_>,
    from: &str,
    to: &str,
    data_type: DataType,
    saturate: bool,
) -> Option<TensorProto> {
    use HalfFormat::{BF16, F16};
    let elements: fn(&[u8]) -> Vec<u8> = match (half_format_of(data_type)?, saturate) {
        (F16, false) => |payload| narrow_payload(payload, F16, false),
        (F16, true) => |payload| narrow_payload(payload, F16, true),
        (BF16, false) => |payload| narrow_payload(payload, BF16, false),
        (BF16, true) => |payload| narrow_payload(payload, BF16, true),
    };
    let convert = Convert {
        from: size_of::<f32>(),
        to: size_of::<u16>(),
        elements,
    };
    graph.initializer(from)?.converted(to, data_type, convert)
}

fn narrow_payload(payload: &[u8], format: HalfFormat, saturate: bool) -> Vec<u8> {
    let values = payload.as_chunks().0.iter();
    let mut values: Vec<f32> = values.map(|&b| f32::from_le_bytes(b)).collect();
    if saturate {
        let largest = format.largest();
        for value in values.iter_mut().filter(|v| v.is_finite()) {
            *value = value.clamp(-largest, largest);
        }
    }
    format.to_bytes(&values)
}
