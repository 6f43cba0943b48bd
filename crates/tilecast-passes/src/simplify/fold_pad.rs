//! Zero padding of the image into the padding of what reads it.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, attribute};

use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on Pad can name its axes.
const AXES_SLOT: usize = 3;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fold_pad",
    summary: "fold constant zero padding into the Conv or AveragePool behind it",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A `Pad` that puts zeros around the spatial axes goes into the `pads` attribute of every `Conv` or
`AveragePool` that reads it; an `AveragePool` then counts its padding, as it counted the zeros.

**Why.** Pad copies the whole activation, and a convolution pads for nothing.

**Before / After.** `p = Pad(x, [0,0,1,1,0,0,1,1]); y = Conv(p, W, pads=[0,0,0,0])` becomes `y = Conv(x, W, pads=[1,1,1,1])`.

**Preconditions.** Constant mode with the value 0, constant pads that are not negative and zero for batch and channels,
and only `Conv` or `AveragePool` nodes with explicit pads as readers. An `AveragePool` needs floor mode, must not have
pads that it leaves out of its count, and the padding must stay below its kernel. `MaxPool` pads with minus infinity and
`ConvTranspose` crops by its pads, so neither can take it.

**Numerics.** Exact: the same zeros take part in the same sums.

**References.** ONNX operators Pad, Conv and AveragePool.",
};

/// Folds zero padding; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldPad;

impl Pass for FoldPad {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes().filter(|(_, n)| n.is("Pad")) {
            let Some(padded) = node.output_name(0) else {
                continue;
            };
            // Padding that something else reads is no candidate, and nothing that a user would expect to be folded.
            let feeds_window = graph
                .uses(padded)
                .iter()
                .any(|u| Window::of(graph.node(u.node)).is_some());
            if !feeds_window || rewrite.touched(id) {
                continue;
            }
            match padding(&site, node).and_then(|pads| readers_with(graph, padded, &pads)) {
                Ok(readers) => {
                    let source = node.input[0].clone();
                    for (reader, pads) in readers {
                        write(rewrite.edit(reader), &source, &pads);
                    }
                    rewrite.remove(id);
                }
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// What can take padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Conv,
    AveragePool,
}

impl Window {
    fn of(node: &NodeProto) -> Option<Self> {
        if node.is("Conv") {
            Some(Self::Conv)
        } else if node.is("AveragePool") {
            Some(Self::AveragePool)
        } else {
            None
        }
    }
}

/// Padding of the spatial axes, starts before ends.
fn padding(site: &Site<'_, '_>, node: &NodeProto) -> Result<Vec<i64>, String> {
    let mode = node.string("mode").map_err(|e| e.to_string())?;
    if let Some(mode) = mode.filter(|&m| m != "constant") {
        return Err(format!("it pads by `{mode}`, not with zeros"));
    }
    let value = match node.input_name(2) {
        Some(name) => site
            .float_constant(name)
            .and_then(|t| t.to_f32_vec())
            .and_then(|v| v.first().copied())
            .ok_or_else(|| format!("its value `{name}` is not a float32 constant"))?,
        None => node
            .float("value")
            .map_err(|e| e.to_string())?
            .unwrap_or(0.0),
    };
    if value != 0.0 {
        return Err(format!("it pads with {value}, not with zeros"));
    }
    let pads = site
        .integers(node, "pads", 1)
        .ok_or("its pads are not constant")?;
    if node.input_name(AXES_SLOT).is_some() {
        return Err("it names its axes".into());
    }
    let rank = pads.len() / 2;
    if pads.len() % 2 != 0 || rank < 3 {
        return Err(format!("its {} pads are not those of an image", pads.len()));
    }
    if pads.iter().any(|&p| p < 0) {
        return Err("it crops: a pad is negative".into());
    }
    let (starts, ends) = pads.split_at(rank);
    if starts[..2].iter().chain(&ends[..2]).any(|&p| p != 0) {
        return Err("it pads the batch or the channels".into());
    }
    Ok([&starts[2..], &ends[2..]].concat())
}

/// Every reader of the padded value with the pads that it gets.
fn readers_with(
    graph: &Graph<'_>,
    padded: &str,
    pads: &[i64],
) -> Result<Vec<(NodeId, Vec<i64>)>, String> {
    if graph.is_output(padded) {
        return Err(format!("`{padded}` is an output of the graph"));
    }
    let mut readers = Vec::new();
    for reader in graph.uses(padded) {
        let node = graph.node(reader.node);
        let window = Window::of(node).filter(|_| reader.slot == Some(0));
        let Some(window) = window else {
            return Err(format!(
                "{} reads it too and cannot pad",
                graph.path(reader.node)
            ));
        };
        let total = total_pads(node, window, pads)
            .map_err(|reason| format!("{} {reason}", graph.path(reader.node)))?;
        readers.push((reader.node, total));
    }
    Ok(readers)
}

fn total_pads(node: &NodeProto, window: Window, pads: &[i64]) -> Result<Vec<i64>, String> {
    let automatic = node.string("auto_pad").map_err(|e| e.to_string())?;
    if automatic.is_some_and(|a| a.starts_with("SAME")) {
        return Err("pads by itself to the size of its input".into());
    }
    let zeros = vec![0; pads.len()];
    let own = match automatic {
        Some("VALID") => &zeros[..],
        _ => node
            .ints("pads")
            .map_err(|e| e.to_string())?
            .unwrap_or(&zeros),
    };
    if own.len() != pads.len() {
        return Err(format!(
            "has {} pads, the padding has {}",
            own.len(),
            pads.len()
        ));
    }
    let total: Vec<i64> = own
        .iter()
        .zip(pads)
        .map(|(a, b)| a.saturating_add(*b))
        .collect();
    if window == Window::AveragePool {
        let int =
            |name: &str| Ok::<_, String>(node.int(name).map_err(|e| e.to_string())?.unwrap_or(0));
        if int("ceil_mode")? != 0 {
            return Err("rounds its size up, and padding moves where its last window ends".into());
        }
        if int("count_include_pad")? == 0 && own.iter().any(|&p| p != 0) {
            return Err("leaves its own padding out of its averages".into());
        }
        let kernel = node.ints("kernel_shape").map_err(|e| e.to_string())?;
        let kernel = kernel.unwrap_or_default();
        let n_axes = pads.len() / 2;
        let fits = |(index, &pad): (usize, &i64)| {
            kernel
                .get(index % n_axes)
                .is_some_and(|&extent| pad < extent)
        };
        if !total.iter().enumerate().all(fits) {
            return Err("has a kernel that is not larger than the padding".into());
        }
    }
    Ok(total)
}

fn write(node: &mut NodeProto, source: &str, pads: &[i64]) {
    let is_pool = node.is("AveragePool");
    source.clone_into(&mut node.input[0]);
    let replaced = |name: Option<&str>| match name {
        Some("pads" | "auto_pad") => true,
        Some("count_include_pad") => is_pool,
        _ => false,
    };
    node.attribute.retain(|a| !replaced(a.name.as_deref()));
    node.attribute.push(attribute::ints("pads", pads));
    if is_pool {
        node.attribute.push(attribute::int("count_include_pad", 1));
    }
}
