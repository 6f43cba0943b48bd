//! Shapes of convolutions, written down where only a proof over all input sizes has them.

use std::collections::{BTreeMap, HashSet};

use tilecast_onnx::proto::{DimValue, ValueInfoProto};
use tilecast_onnx::{DataType, Extent, Graph, Patch, declared_dimensions};

use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Rank of a batch of images.
const IMAGE_RANK: usize = 4;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "record_shapes",
    summary: "record the shapes of convolutions, sizes that depend on the input as names",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** The shape of what each convolution writes is recorded in the model (`value_info`). Two sizes that are
provably the same at every input size get the same name.

**Why.** ONNX Runtime keeps the results of convolutions in its blocked layout through additions and products where both
operands have one shape. It does not follow sizes through the padding to a multiple that most image networks begin with,
so without the record it goes back to plain layout at every gate and every residual.

**Preconditions.** The rank is 4, the element type is known, and every size is a number or proved to be that expression of the
input's sizes.

**Numerics.** Exact: nothing is computed otherwise.

**References.** ONNX IR specification, `value_info` and `dim_param`.",
};

/// Records shapes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordShapes;

impl Pass for RecordShapes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut symbols = Symbols::of(&site);
        let known: BTreeMap<&str, &ValueInfoProto> = graph
            .proto()
            .value_info
            .iter()
            .filter_map(|v| Some((v.name.as_deref()?, v)))
            .collect();
        let mut patch = Patch::default();
        for (_, node) in graph.nodes().filter(|(_, n)| n.is("Conv")) {
            let Some(value) = node.output_name(0).filter(|v| !graph.is_output(v)) else {
                continue;
            };
            let (Some(dims), Some(data_type)) = (site.dims(value), site.data_type(value)) else {
                continue;
            };
            if dims.len() != IMAGE_RANK || data_type != DataType::F32 {
                continue;
            }
            let dims: Vec<DimValue> = dims.iter().map(|extent| symbols.dim(extent)).collect();
            let recorded = known.get(value).and_then(|v| declared_dimensions(v));
            if recorded.as_ref() != Some(&dims) {
                patch.record_value(value, data_type, dims);
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// Names of sizes: those of the inputs, and fresh ones in graph order.
struct Symbols {
    names: BTreeMap<Extent, String>,
    taken: HashSet<String>,
    next: usize,
}

impl Symbols {
    fn of(site: &Site<'_, '_>) -> Self {
        let mut symbols = Self {
            names: BTreeMap::new(),
            taken: HashSet::new(),
            next: 0,
        };
        let proto = site.graph.proto();
        for value in proto.input.iter().chain(&proto.output) {
            let name = value.name.as_deref().unwrap_or_default();
            let (Some(declared), Some(dims)) = (declared_dimensions(value), site.dims(name)) else {
                continue;
            };
            for (dim, extent) in declared.into_iter().zip(dims) {
                let DimValue::DimParam(symbol) = dim else {
                    continue;
                };
                symbols.taken.insert(symbol.clone());
                // The same name for two sizes that are not proved equal says less than two names.
                if !symbols.names.values().any(|name| *name == symbol) {
                    symbols.names.entry(extent.clone()).or_insert(symbol);
                }
            }
        }
        symbols
    }

    fn dim(&mut self, extent: &Extent) -> DimValue {
        if let Some(number) = extent.known() {
            return DimValue::DimValue(number);
        }
        if let Some(name) = self.names.get(extent) {
            return DimValue::DimParam(name.clone());
        }
        let name = loop {
            let name = format!("size_{}", self.next);
            self.next += 1;
            if self.taken.insert(name.clone()) {
                break name;
            }
        };
        self.names.insert(extent.clone(), name.clone());
        DimValue::DimParam(name)
    }
}
