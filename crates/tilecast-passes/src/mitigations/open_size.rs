//! Height and width that a model was exported with, to sizes that are open.

use tilecast_analysis::analyze;
use tilecast_onnx::proto::{
    DimValue, ModelFields, ModelProto, OperatorSetIdFields, OperatorSetIdProto, ValueInfoProto,
};
use tilecast_onnx::{Graph, ImageAxes, Model, NodeId, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "open_size",
    summary: "open the height and width that a model was exported with, where nothing in it depends on them",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Height and width of the image that goes in, and all dimensions of what comes out, are declared as open. Shapes that are
recorded for values in between go away.

**Why.** Exported without dynamic axes a network is declared for one size, and runs in tiles of that size alone, although most graphs
compute at any. Open, its tiles are chosen by the memory that there is.

**Before / After.** `input: [1, 3, 256, 256]` becomes `input: [1, 3, height, width]`.

**Preconditions.** The tiling analysis goes through: at other sizes every value of the graph has the shape that its strides ask for, and no
constant, target of a Reshape or border of a Slice belongs to one size. Otherwise the pass declines, with the node. There is one
image among the inputs.

**Numerics.** Exact: at the size of the export nothing changes, and at others the graph computes what it says.

**References.** ONNX IR, section *Tensor shape definition*.",
};

/// Opens the size of a model; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenSize;

impl Pass for OpenSize {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let images: Vec<(&ValueInfoProto, ImageAxes)> = graph
            .inputs()
            .filter_map(|input| Some((input, ImageAxes::of(input)?)))
            .filter(|(_, axes)| axes.size != [None; 2])
            .collect();
        let (Some(&(image, axes)), Some((first, _))) = (images.first(), graph.nodes().next())
        else {
            return Ok(Outcome::Unchanged);
        };
        match check(graph, cx, images.len()) {
            Ok(()) => Ok(Outcome::Rewrite(Box::new(open(graph, image, axes)))),
            Err((node, reason)) => {
                cx.decline(graph, node.unwrap_or(first), reason);
                Ok(Outcome::Unchanged)
            }
        }
    }
}

/// Checks that nothing depends on the size.
///
/// # Errors
/// Why it does, and the node where that is known.
fn check(
    graph: &Graph<'_>,
    cx: &PassContext,
    n_images: usize,
) -> Result<(), (Option<NodeId>, String)> {
    if n_images > 1 {
        return Err((None, format!("it has {n_images} images as inputs")));
    }
    let model = Model::from_proto(ModelProto::from(ModelFields {
        ir_version: Some(cx.ir_version()),
        opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
            domain: None,
            version: Some(cx.opset()),
        })],
        graph: Some(graph.proto().clone()),
        ..ModelFields::default()
    }));
    let model = model.map_err(|_| (None, "the graph is not valid".to_owned()))?;
    match analyze(&model) {
        Ok(_) => Ok(()),
        Err(error) => Err((error.node(), error.to_string())),
    }
}

fn open(graph: &Graph<'_>, image: &ValueInfoProto, axes: ImageAxes) -> Patch {
    let mut patch = Patch::default();
    let first = if axes.channels_last { 1 } else { 2 };
    let name = |side: &str| DimValue::DimParam(side.to_owned());
    let sides = [(first, name("height")), (first + 1, name("width"))];
    patch.declare_dims(image.name.as_deref().unwrap_or_default(), &sides);
    for output in &graph.proto().output {
        let output = output.name.as_deref().unwrap_or_default();
        let sides = [2, 3].map(|axis| (axis, name(&format!("{output}_{axis}"))));
        patch.declare_dims(output, &sides);
    }
    patch.forget_values();
    patch
}
