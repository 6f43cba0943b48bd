//! The sums that operators make inside, where a 16-bit accumulator would overflow though inputs and outputs fit: what has
//! to be observed to bound them, and the bound.
//!
//! Bounds hold for every partial sum in any order. For dot products that is Cauchy and Schwarz: a partial sum of `w·x` is at
//! most `‖w‖·‖x‖` of the whole, so the energy of the observed input and the norm of the weights are enough.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Tensor};
use tilecast_quant::{Terms, largest_sum};

/// How the axes of a tensor are summed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum View {
    /// Over these axes, counted from the end where negative.
    Axes(Vec<i64>),
    /// Over this axis and all behind it.
    From(usize),
    /// Over the channels (axis 1) of each of so many groups.
    ChannelsOfGroups(usize),
    /// Over each of so many groups of channels and all positions.
    Groups(usize),
}

/// One observed factor of a bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObservedSum {
    pub(crate) value: String,
    pub(crate) view: View,
    pub(crate) terms: Terms,
}

/// A bound of what a node sums up: `factor` times the product of the observed sums, or times its root.
#[derive(Clone, Debug)]
pub(crate) struct InnerSum {
    pub(crate) factor: f64,
    pub(crate) parts: Vec<ObservedSum>,
    root: bool,
}

impl InnerSum {
    /// The bound, where every part was observed.
    pub(crate) fn bound(&self, of: impl Fn(&ObservedSum) -> Option<f64>) -> Option<f64> {
        let mut product = 1.0;
        for part in &self.parts {
            product *= of(part)?;
        }
        Some(self.factor * if self.root { product.sqrt() } else { product })
    }
}

impl View {
    /// The largest sum of one tensor; infinite where the view does not fit its shape.
    pub(crate) fn largest_sum(&self, values: &[f32], dims: &[usize], terms: Terms) -> f64 {
        let rank = dims.len();
        let sum = |dims: &[usize], reduced: &[bool]| largest_sum(values, dims, reduced, terms);
        let grouped = |n_groups: usize| -> Option<Vec<usize>> {
            let channels = *dims.get(1)?;
            (n_groups > 0 && channels.is_multiple_of(n_groups)).then(|| {
                let mut split = vec![dims[0], n_groups, channels / n_groups];
                split.extend(&dims[2..]);
                split
            })
        };
        match self {
            Self::Axes(axes) => {
                let mut reduced = vec![false; rank];
                for &axis in axes {
                    let axis = if axis < 0 { axis + rank as i64 } else { axis };
                    match usize::try_from(axis).ok().and_then(|a| reduced.get_mut(a)) {
                        Some(flag) => *flag = true,
                        None => return f64::INFINITY,
                    }
                }
                sum(dims, &reduced)
            }
            Self::From(first) => sum(dims, &(0..rank).map(|a| a >= *first).collect::<Vec<_>>()),
            Self::ChannelsOfGroups(n) => grouped(*n).map_or(f64::INFINITY, |dims| {
                sum(&dims, &(0..dims.len()).map(|a| a == 2).collect::<Vec<_>>())
            }),
            Self::Groups(n) => grouped(*n).map_or(f64::INFINITY, |dims| {
                sum(&dims, &(0..dims.len()).map(|a| a >= 2).collect::<Vec<_>>())
            }),
        }
    }
}

/// What a node sums inside.
pub(crate) enum Inside {
    /// Nothing that could exceed its inputs and outputs.
    Nothing,
    /// A sum with a bound.
    Sum(InnerSum),
    /// A sum that cannot be bounded by observation.
    Unbounded,
}

/// What the node sums inside, by its operator.
pub(crate) fn inside(graph: &Graph<'_>, node: &NodeProto, opset: i64) -> Inside {
    if !node.domain_name().is_empty() {
        return Inside::Nothing;
    }
    let Some(x) = node.input_name(0) else {
        return Inside::Nothing;
    };
    let over = |view: View, terms: Terms| {
        Inside::Sum(InnerSum {
            factor: 1.0,
            parts: vec![observed(x, view, terms)],
            root: false,
        })
    };
    let stash_is_single =
        |default: i64| node.int("stash_type").ok().flatten().unwrap_or(default) == 1;
    match node.op() {
        "ReduceMean" | "ReduceSum" | "ReduceL1" => reduced_axes(graph, node)
            .map_or(Inside::Unbounded, |view| over(view, Terms::Magnitudes)),
        "ReduceL2" | "ReduceSumSquare" => {
            reduced_axes(graph, node).map_or(Inside::Unbounded, |view| over(view, Terms::Squares))
        }
        "GlobalAveragePool" => over(View::From(2), Terms::Magnitudes),
        "GlobalLpPool" => over(View::From(2), Terms::Squares),
        "LpNormalization" => {
            let axis = node.int("axis").ok().flatten().unwrap_or(-1);
            over(View::Axes(vec![axis]), Terms::Squares)
        }
        "InstanceNormalization" => over(View::From(2), Terms::CenteredSquares),
        "MeanVarianceNormalization" => {
            let axes = node.ints("axes").ok().flatten().unwrap_or(&[0, 2, 3]);
            over(View::Axes(axes.to_vec()), Terms::CenteredSquares)
        }
        // Its statistics are float32 by definition since opset 21.
        "GroupNormalization" if opset >= 21 && stash_is_single(1) => Inside::Nothing,
        "GroupNormalization" => match node.int("num_groups") {
            Ok(Some(n)) if n > 0 => over(View::Groups(n as usize), Terms::CenteredSquares),
            _ => Inside::Unbounded,
        },
        "LayerNormalization" | "RMSNormalization" if stash_is_single(1) => Inside::Nothing,
        "LayerNormalization" | "RMSNormalization" => {
            let axis = node.int("axis").ok().flatten().unwrap_or(-1);
            match usize::try_from(axis) {
                Ok(axis) => over(View::From(axis), Terms::Squares),
                Err(_) => over(View::Axes((axis..0).collect()), Terms::Squares),
            }
        }
        "CumSum" => match constant_integers(graph, node, 1).as_deref() {
            Some(&[axis]) => over(View::Axes(vec![axis]), Terms::Magnitudes),
            _ => Inside::Unbounded,
        },
        "AveragePool" => match node.ints("kernel_shape") {
            Ok(Some(kernel)) => Inside::Sum(InnerSum {
                factor: kernel.iter().map(|&k| k as f64).product(),
                parts: vec![observed(x, View::Axes(vec![]), Terms::Magnitudes)],
                root: false,
            }),
            _ => Inside::Unbounded,
        },
        "Conv" | "ConvTranspose" => convolution(graph, node, x).unwrap_or(Inside::Nothing),
        "MatMul" => product(graph, node, x, -1, -2),
        "Gemm" => {
            let transposed = |name| node.int(name).ok().flatten().unwrap_or(0) != 0;
            let row = i64::from(!transposed("transA"));
            let column = i64::from(transposed("transB"));
            product(graph, node, x, row, column)
        }
        "ReduceLogSum" | "ReduceLogSumExp" | "ReduceProd" => Inside::Unbounded,
        _ => Inside::Nothing,
    }
}

fn observed(value: &str, view: View, terms: Terms) -> ObservedSum {
    ObservedSum {
        value: value.to_owned(),
        view,
        terms,
    }
}

fn constant(graph: &Graph<'_>, node: &NodeProto, slot: usize) -> Option<Tensor> {
    graph.constant(node.input_name(slot)?).ok()?
}

fn constant_integers(graph: &Graph<'_>, node: &NodeProto, slot: usize) -> Option<Vec<i64>> {
    constant(graph, node, slot)?.to_i64_vec()
}

/// The axes of a reduction, from its attribute or its second input; `None` where they are computed.
fn reduced_axes(graph: &Graph<'_>, node: &NodeProto) -> Option<View> {
    let axes = match node.input_name(1) {
        Some(_) => Some(constant_integers(graph, node, 1)?),
        None => node.ints("axes").ok()?.map(<[i64]>::to_vec),
    };
    match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => Some(View::Axes(axes)),
        None if node.int("noop_with_empty_axes").ok()?.unwrap_or(0) != 0 => {
            Some(View::Axes(vec![]))
        }
        None => Some(View::From(0)),
    }
}

/// `‖w‖` of the largest filter, `‖x‖` of the patch under it: at most the energy of the strongest position times the number
/// of positions in the kernel.
fn convolution(graph: &Graph<'_>, node: &NodeProto, x: &str) -> Option<Inside> {
    let weights = constant(graph, node, 1)?;
    let dims = weights.dims().to_vec();
    let values = weights.to_f32_vec()?;
    let group = usize::try_from(node.int("group").ok()?.unwrap_or(1)).ok()?;
    let volume: usize = dims.get(2..)?.iter().product();
    let energy = if node.is("Conv") {
        View::From(1).largest_sum(&values, &dims, Terms::Squares)
    } else {
        // [C in, C out / group, …]: an output channel sums over the inputs of its group.
        let per_group = dims[0].checked_div(group)?;
        let mut split = vec![group, per_group];
        split.extend(&dims[1..]);
        let reduced: Vec<bool> = (0..split.len())
            .map(|axis| axis != 0 && axis != 2)
            .collect();
        largest_sum(&values, &split, &reduced, Terms::Squares)
    };
    Some(Inside::Sum(InnerSum {
        factor: (energy * volume as f64).sqrt(),
        parts: vec![observed(x, View::ChannelsOfGroups(group), Terms::Squares)],
        root: true,
    }))
}

/// Rows of the first operand times columns of the second; the axes are those that are summed over.
fn product(graph: &Graph<'_>, node: &NodeProto, a: &str, row: i64, column: i64) -> Inside {
    let Some(b) = node.input_name(1) else {
        return Inside::Nothing;
    };
    let rows = observed(a, View::Axes(vec![row]), Terms::Squares);
    let columns = View::Axes(vec![column]);
    match constant(graph, node, 1) {
        Some(weights) => {
            let Some(values) = weights.to_f32_vec() else {
                return Inside::Nothing;
            };
            // A vector has one axis only.
            let columns = if weights.dims().len() < 2 {
                View::From(0)
            } else {
                columns
            };
            let energy = columns.largest_sum(&values, weights.dims(), Terms::Squares);
            Inside::Sum(InnerSum {
                factor: energy.sqrt(),
                parts: vec![rows],
                root: true,
            })
        }
        None => Inside::Sum(InnerSum {
            factor: 1.0,
            parts: vec![rows, observed(b, columns, Terms::Squares)],
            root: true,
        }),
    }
}
