//! Values that have the size of the image and depend on no pixel: zeros to fill with, masks of shifted windows, coordinates.
//!
//! What such a value means for tiles is in its elements. They follow from the size of the image alone, so they are computed,
//! for one small image: a few operators, by their definitions, on a bounded number of elements. What is not computed so is
//! taken for dependent on the place in the image.

use std::cell::OnceCell;
use std::collections::HashMap;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{
    DataType, Graph, ShapeMap, Tensor, arrange, broadcast_dims, n_data_inputs, spread,
};

use super::layout::{Axis, Digit, Factor, Layout};
use super::probe::{Probes, Size, image_inputs, shapes_at};

/// Elements that are read and computed at most, over all values of a graph.
const MAX_ELEMENTS: usize = 1 << 24;

/// Windows on each side of the small image: one at each border, and two inside.
const N_PERIODS: [usize; 2] = [4, 5];

/// How far a mask must press a score down for its weight in the softmax to vanish in float32.
const MASK_DEPTH: f64 = 50.0;

/// What is known of the elements of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The same along every axis that follows the image.
    Uniform,
    /// Not so, or not known.
    Other,
}

/// Elements of such values for one small image.
#[derive(Debug)]
pub(crate) struct PositionTensors<'a, 't> {
    graph: Graph<'a>,
    probes: &'t Probes,
    size: Size,
    values: OnceCell<HashMap<&'a str, Array>>,
}

#[derive(Clone, Debug)]
struct Array {
    dims: Vec<usize>,
    data: Vec<f64>,
}

impl<'a, 't> PositionTensors<'a, 't> {
    pub(crate) fn new(graph: &Graph<'a>, probes: &'t Probes) -> Self {
        Self {
            graph: Graph::new(graph.proto()),
            probes,
            size: N_PERIODS.map(|n| n * probes.growth_px),
            values: OnceCell::new(),
        }
    }

    fn value(&self, name: &str) -> Option<&Array> {
        self.values
            .get_or_init(|| evaluate(&self.graph, self.size))
            .get(name)
    }

    pub(crate) fn content(&self, name: &str) -> Content {
        let uniform = || {
            let array = self.value(name)?;
            let varying = self.probes.varying_axes(name)?;
            let steps = strides(&array.dims);
            let along: Vec<(usize, usize)> = varying
                .iter()
                .map(|&axis| Some((*steps.get(axis)?, *array.dims.get(axis)?)))
                .collect::<Option<_>>()?;
            // Each element against the one at the origin of these axes.
            Some(array.data.iter().enumerate().all(|(index, value)| {
                let back: usize = along.iter().map(|&(s, n)| index / s % n * s).sum();
                same(*value, array.data[index - back])
            }))
        };
        match uniform() {
            Some(true) => Content::Uniform,
            _ => Content::Other,
        }
    }

    /// Whether adding this value to a table of pairs takes out exactly the pairs that only a cyclic shift brought together,
    /// and treats all others alike in every window.
    pub(crate) fn masks(&self, name: &str, pairs: &Layout) -> bool {
        self.mask(name, pairs).unwrap_or(false)
    }

    fn mask(&self, name: &str, pairs: &Layout) -> Option<bool> {
        let array = self.value(name)?;
        let places = Places::new(pairs, &array.dims, self.probes, self.size)?;
        let mut n_apart = 0usize;
        for (index, &value) in array.data.iter().enumerate() {
            let inside = *array.data.get(places.same_pair_inside(index))?;
            if places.is_apart(index) {
                n_apart += 1;
                // Minus infinity minus itself is not a number, and no mask.
                let is_deep = inside - value >= MASK_DEPTH;
                if !is_deep {
                    return Some(false);
                }
            } else if !same(value, inside) {
                return Some(false);
            }
        }
        Some(n_apart > 0)
    }
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq() || (a - b).abs() <= 0.0
}

/// Where the elements of a mask lie.
struct Places {
    digits: Vec<Place>,
    sides: [Side; 2],
}

/// One digit of a position, in the row-major index of the mask.
struct Place {
    digit: Digit,
    is_partner: bool,
    /// Elements from one value of the digit to the next.
    step: usize,
    extent: usize,
}

#[derive(Clone, Copy)]
struct Side {
    /// By how much positions are shifted.
    by: i128,
    length: i128,
}

impl Places {
    fn new(pairs: &Layout, dims: &[usize], probes: &Probes, size: Size) -> Option<Self> {
        let lead = pairs.axes.len().checked_sub(dims.len())?;
        let steps = strides(dims);
        let mut digits = Vec::new();
        let mut sides = pairs.roll.map(|roll| Side {
            by: roll.map_or(0, |r| r.by),
            length: 0,
        });
        for (axis, &extent) in dims.iter().enumerate() {
            let factors: &Axis = &pairs.axes[axis + lead];
            let mut below = 1;
            for factor in factors.iter().rev() {
                let (digit, is_partner) = match *factor {
                    Factor::Digit(digit) => (digit, false),
                    Factor::Partner(digit) => (digit, true),
                    Factor::Plain(n) => {
                        below *= n;
                        continue;
                    }
                    Factor::Free(_) => return None,
                };
                let own = at_size(digit, pairs, probes, size)?;
                if digit.is_leading() {
                    sides[digit.side].length = own as i128 * i128::from(digit.unit);
                }
                digits.push(Place {
                    digit,
                    is_partner,
                    step: steps[axis] * below,
                    extent: own,
                });
                below *= own;
            }
            // A mask that is the same for all heads has one for all; for all windows it would be none.
            if extent != below {
                let has_digits = factors.iter().any(|f| !matches!(f, Factor::Plain(_)));
                if extent != 1 || has_digits {
                    return None;
                }
            }
        }
        sides
            .iter()
            .all(|s| s.length > 0)
            .then_some(Self { digits, sides })
    }

    fn value(place: &Place, index: usize) -> usize {
        index / place.step % place.extent
    }

    /// The same pair of positions in the second window from the border, on both sides.
    fn same_pair_inside(&self, index: usize) -> usize {
        let leading = self.digits.iter().filter(|p| p.digit.is_leading());
        leading.fold(index, |index, place| {
            index + place.step - Self::value(place, index) * place.step
        })
    }

    /// Whether the two positions of a pair lie on different sides of the border that the shift moved inwards.
    fn is_apart(&self, index: usize) -> bool {
        self.sides.iter().enumerate().any(|(number, side)| {
            let position = |partner: bool| {
                let own = self.digits.iter().filter(|p| p.digit.side == number);
                own.filter(|p| p.is_partner == partner || p.digit.is_leading())
                    .map(|p| Self::value(p, index) as i128 * i128::from(p.digit.unit))
                    .sum::<i128>()
            };
            let wraps = |position: i128| !(0..side.length).contains(&(position + side.by));
            wraps(position(false)) != wraps(position(true))
        })
    }
}

/// Extent of a digit for the small image: it grows with the image as its stride says.
fn at_size(digit: Digit, layout: &Layout, probes: &Probes, size: Size) -> Option<usize> {
    if !digit.is_leading() {
        return Some(digit.extent[0]);
    }
    let stride = layout.stride[digit.side]?;
    let less_px = (probes.small_px[digit.side].checked_sub(size[digit.side])?) as u64;
    let positions = less_px.checked_mul(stride.denominator())? / stride.numerator();
    digit.extent[0].checked_sub(usize::try_from(positions / digit.unit).ok()?)
}

/// Elements from one index of an axis to the next.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// All values that follow from the size of the image, as far as they are known.
fn evaluate<'a>(graph: &Graph<'a>, size: Size) -> HashMap<&'a str, Array> {
    let mut values = HashMap::new();
    let Ok(shapes) = shapes_at(graph, size) else {
        return values;
    };
    let images: Vec<&str> = image_inputs(graph).map(|(name, _)| name).collect();
    let mut budget = MAX_ELEMENTS;
    for (_, node) in graph.nodes() {
        let Some(output) = node.output_name(0) else {
            continue;
        };
        if node
            .input
            .iter()
            .any(|name| images.contains(&name.as_str()))
        {
            continue;
        }
        let operands = Operands {
            graph,
            shapes: &shapes,
            values: &values,
        };
        // Shapes give the size of all operands before anything is computed or copied.
        let names = node.input.iter().map(String::as_str).chain([output]);
        let n_elements = |name: &str| -> Option<usize> {
            let dims = if name.is_empty() {
                &[0][..]
            } else {
                shapes.shape(name)?
            };
            Some(dims.iter().product())
        };
        let cost: Option<Vec<usize>> = names.map(n_elements).collect();
        let cost = cost.map(|parts| parts.into_iter().fold(0, usize::saturating_add));
        let Some(rest) = cost.and_then(|cost| budget.checked_sub(cost)) else {
            continue;
        };
        if let Some(array) = operands.result(node) {
            budget = rest;
            values.insert(output, array);
        }
    }
    values
}

struct Operands<'a, 'v> {
    graph: &'v Graph<'a>,
    shapes: &'v ShapeMap,
    values: &'v HashMap<&'a str, Array>,
}

impl Operands<'_, '_> {
    fn operand(&self, node: &NodeProto, slot: usize) -> Option<Array> {
        let name = node.input_name(slot)?;
        if let Some(array) = self.values.get(name) {
            return Some(array.clone());
        }
        if let (Some(dims), Some(integers)) = (self.shapes.shape(name), self.shapes.integers(name))
        {
            return Some(Array {
                dims: dims.to_vec(),
                data: integers.iter().map(|&v| v as f64).collect(),
            });
        }
        let n: usize = self.shapes.shape(name)?.iter().product();
        (n <= MAX_ELEMENTS).then_some(())?;
        from_tensor(&self.graph.constant(name).ok()??)
    }

    fn result(&self, node: &NodeProto) -> Option<Array> {
        if let Some(n_data) = n_data_inputs(node) {
            return self.moved(node, n_data);
        }
        let pair = || Some((self.operand(node, 0)?, self.operand(node, 1)?));
        let truth = |b: bool| f64::from(u8::from(b));
        match node.op() {
            "ConstantOfShape" => {
                let dims = self.shapes.shape(node.output_name(0)?)?.to_vec();
                let value = match node.find_attribute("value") {
                    Some(value) => {
                        let tensor = Tensor::from_proto(value.t.as_deref()?).ok()?;
                        *from_tensor(&tensor)?.data.first()?
                    }
                    None => 0.0,
                };
                let n = dims.iter().product();
                Some(Array {
                    dims,
                    data: vec![value; n],
                })
            }
            "Range" => {
                let (start, delta) = (self.operand(node, 0)?, self.operand(node, 2)?);
                let n = *self.shapes.shape(node.output_name(0)?)?.first()?;
                let (start, delta) = (*start.data.first()?, *delta.data.first()?);
                Some(Array {
                    dims: vec![n],
                    data: (0..n).map(|i| start + i as f64 * delta).collect(),
                })
            }
            "Cast" => {
                let mut array = self.operand(node, 0)?;
                let to = i32::try_from(node.int("to").ok()??).ok()?;
                match DataType::from_code(to)? {
                    DataType::F32 | DataType::F64 => {}
                    DataType::Bool => array.data.iter_mut().for_each(|v| *v = truth(*v != 0.0)),
                    DataType::I32 | DataType::I64 => {
                        array.data.iter_mut().for_each(|v| *v = v.trunc());
                    }
                    _ => return None,
                }
                Some(array)
            }
            "Neg" => Some(mapped(self.operand(node, 0)?, |v| -v)),
            "Not" => Some(mapped(self.operand(node, 0)?, |v| truth(v == 0.0))),
            "Abs" => Some(mapped(self.operand(node, 0)?, f64::abs)),
            "Add" => zipped(pair()?, |a, b| a + b),
            "Sub" => zipped(pair()?, |a, b| a - b),
            "Mul" => zipped(pair()?, |a, b| a * b),
            "Equal" => zipped(pair()?, |a, b| truth(same(a, b))),
            "Less" => zipped(pair()?, |a, b| truth(a < b)),
            "LessOrEqual" => zipped(pair()?, |a, b| truth(a <= b)),
            "Greater" => zipped(pair()?, |a, b| truth(a > b)),
            "GreaterOrEqual" => zipped(pair()?, |a, b| truth(a >= b)),
            "And" => zipped(pair()?, |a, b| truth(a != 0.0 && b != 0.0)),
            "Or" => zipped(pair()?, |a, b| truth(a != 0.0 || b != 0.0)),
            "Where" => {
                let (yes, no) = (self.operand(node, 1)?, self.operand(node, 2)?);
                let condition = self.operand(node, 0)?;
                // Twice a choice between two, so that all three broadcast.
                let dims = broadcast_dims(&broadcast_dims(&condition.dims, &yes.dims)?, &no.dims)?;
                let [condition, yes, no] =
                    [condition, yes, no].map(|array| broadcast(&array, &dims));
                let (condition, yes, no) = (condition?, yes?, no?);
                let pick = |((c, y), n): ((&f64, &f64), &f64)| if *c == 0.0 { *n } else { *y };
                let data = condition.iter().zip(&yes).zip(&no).map(pick).collect();
                Some(Array { dims, data })
            }
            "ScatterND" => self.scattered(node),
            _ => None,
        }
    }

    /// Operators that move elements: `arrange` says where from.
    fn moved(&self, node: &NodeProto, n_data: usize) -> Option<Array> {
        let mut data = Vec::new();
        let mut inputs = Vec::with_capacity(node.input.len());
        for slot in 0..node.input.len() {
            if node.input_name(slot).is_none() {
                inputs.push(None);
                continue;
            }
            let array = self.operand(node, slot)?;
            if slot < n_data {
                data.extend_from_slice(&array.data);
                let zeros = vec![0.0; array.data.len()];
                inputs.push(Some(Tensor::from_f32(array.dims, &zeros)));
            } else {
                let name = node.input_name(slot)?;
                let integers = match self.shapes.integers(name) {
                    Some(integers) => integers.to_vec(),
                    None => self.graph.constant(name).ok()??.to_i64_vec()?,
                };
                inputs.push(Some(Tensor::from_i64(array.dims, &integers)));
            }
        }
        let arranged = arrange(node, &inputs, MAX_ELEMENTS)?.into_iter().next()?;
        let data = arranged
            .source
            .iter()
            .map(|&from| data.get(from).copied())
            .collect::<Option<_>>()?;
        Some(Array {
            dims: arranged.dims,
            data,
        })
    }

    fn scattered(&self, node: &NodeProto) -> Option<Array> {
        if node.string("reduction").ok()?.unwrap_or("none") != "none" {
            return None;
        }
        let mut array = self.operand(node, 0)?;
        let (indices, updates) = (self.operand(node, 1)?, self.operand(node, 2)?);
        let depth = *indices.dims.last()?;
        let steps = strides(&array.dims);
        let block: usize = array.dims.get(depth..)?.iter().product();
        if depth == 0 {
            return None;
        }
        for (n, index) in indices.data.chunks_exact(depth).enumerate() {
            let mut first = 0;
            for (axis, &at) in index.iter().enumerate() {
                let extent = array.dims[axis] as i64;
                let at = at as i64;
                let at = usize::try_from(if at < 0 { at + extent } else { at }).ok()?;
                first += at * steps[axis];
            }
            let from = updates.data.get(n * block..(n + 1) * block)?;
            array
                .data
                .get_mut(first..first + block)?
                .copy_from_slice(from);
        }
        Some(array)
    }
}

fn from_tensor(tensor: &Tensor) -> Option<Array> {
    let data = match tensor.to_f32_vec() {
        Some(floats) => floats.into_iter().map(f64::from).collect(),
        None => tensor.to_i64_vec()?.into_iter().map(|v| v as f64).collect(),
    };
    Some(Array {
        dims: tensor.dims().to_vec(),
        data,
    })
}

fn mapped(mut array: Array, f: impl Fn(f64) -> f64) -> Array {
    array.data.iter_mut().for_each(|v| *v = f(*v));
    array
}

fn zipped((a, b): (Array, Array), f: impl Fn(f64, f64) -> f64) -> Option<Array> {
    let dims = broadcast_dims(&a.dims, &b.dims)?;
    let (a, b) = (broadcast(&a, &dims)?, broadcast(&b, &dims)?);
    let data = a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect();
    Some(Array { dims, data })
}

fn broadcast(array: &Array, dims: &[usize]) -> Option<Vec<f64>> {
    let from = spread(&array.dims, dims, MAX_ELEMENTS)?;
    Some(from.into_iter().map(|i| array.data[i]).collect())
}
