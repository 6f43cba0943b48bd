//! Resize with `align_corners`, where its sizes are fixed, to products with matrices.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Facts, Graph, Patch, Tensor, node};

use crate::names::FreshNames;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// A matrix with more elements costs more than the resize that it replaces.
const MAX_ELEMENTS: usize = 1 << 22;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "make_resize_explicit",
    summary: "write a linear Resize with align_corners as two matrix products, in a model of fixed size",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** A linear interpolation is a linear map along each axis. Where the sizes before and after are fixed, the two maps are
constants: a matrix of `W x W'` that the rows are multiplied by, and one of `H' x H` for the columns. An axis that keeps its size
needs none.

**Why.** With `align_corners` output `o` samples the input at `o (n - 1) / (n' - 1)`: at a place that depends on the length of the axis, so that no
tile samples where the whole image does. Some runtimes do not have the mode, or drop it in silence. In a model for one size (`shape` of an artifact,
`simplify --bind`) the places are numbers, and the products are the same function in operators that every runtime has.

It does not make tiles of another size right: in a model of open size there is no number to write down, and the pass declines.

**Before / After.** `y = Resize(x, coordinate_transformation_mode=align_corners, mode=linear)` becomes `t = MatMul(x, C); y = MatMul(R, t)`.

**Preconditions.** Four axes of which the last two are resized, with extents that are fixed by the model; float32; no `antialias`.

**Numerics.** Reassociates: weights are formed in float64 and rounded once.

**References.** ONNX operator Resize.",
};

/// Writes resizes as products; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MakeResizeExplicit;

impl Pass for MakeResizeExplicit {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut names = FreshNames::of(graph);
        let mut patch = Patch::default();
        for (id, resize) in graph.nodes().filter(|(_, n)| n.is("Resize")) {
            let mode = resize.string("coordinate_transformation_mode");
            if !matches!(mode, Ok(Some("align_corners"))) {
                continue;
            }
            let (Some(x), Some(y)) = (resize.input_name(0), resize.output_name(0)) else {
                continue;
            };
            match sides(cx.facts(graph), resize, x, y) {
                Ok([rows, columns]) => {
                    let mut value = x.to_owned();
                    let mut steps: Vec<(bool, Tensor)> = Vec::new();
                    if columns.0 != columns.1 {
                        steps.push((true, transposed(columns)));
                    }
                    if rows.0 != rows.1 {
                        let dims = vec![rows.1, rows.0];
                        steps.push((false, Tensor::from_f32(dims, &weights(rows))));
                    }
                    let n_steps = steps.len();
                    for (step, (on_the_right, matrix)) in steps.into_iter().enumerate() {
                        let constant = names.fresh(y, ".align_corners");
                        patch.set_initializer(&constant, &matrix);
                        let output = if step + 1 == n_steps {
                            y.to_owned()
                        } else {
                            names.fresh(y, ".columns")
                        };
                        let operands = if on_the_right {
                            [value.as_str(), constant.as_str()]
                        } else {
                            [constant.as_str(), value.as_str()]
                        };
                        let name = names.fresh(resize.label(), ".MatMul");
                        patch.insert_before(id, node("MatMul", &name, &operands, &[&output]));
                        value = output;
                    }
                    if n_steps == 0 {
                        let name = names.fresh(resize.label(), ".Identity");
                        patch.insert_before(id, node("Identity", &name, &[x], &[y]));
                    }
                    patch.remove_node(id);
                    for constant in resize.input.iter().skip(1) {
                        if graph.initializer(constant).is_some()
                            && graph.only_use(constant).is_some()
                        {
                            patch.remove_initializer(constant);
                        }
                    }
                }
                Err(reason) => cx.decline(graph, id, reason),
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// Length before and after of rows and of columns.
fn sides(
    facts: &Facts,
    resize: &NodeProto,
    x: &str,
    y: &str,
) -> Result<[(usize, usize); 2], String> {
    let mode = resize.string("mode").map_err(|e| e.to_string())?;
    if mode != Some("linear") {
        return Err(format!(
            "it interpolates by `{}`, not linearly",
            mode.unwrap_or("nearest")
        ));
    }
    let antialias = resize.int("antialias").map_err(|e| e.to_string())?;
    if antialias.unwrap_or(0) != 0 {
        return Err("it smooths what it makes smaller".to_owned());
    }
    if facts.data_type(x) != Some(DataType::F32) {
        return Err(format!("`{x}` is not float32"));
    }
    let (before, after) = (facts.dims(x), facts.dims(y));
    let (Some(before @ [_, _, _, _]), Some(after @ [_, _, _, _])) = (before, after) else {
        return Err(format!("`{x}` and `{y}` do not have four axes each"));
    };
    if before[..2] != after[..2] {
        return Err("it resizes other axes than rows and columns".to_owned());
    }
    let side = |axis: usize| {
        let known = facts.extent(x, axis).zip(facts.extent(y, axis));
        let (from, to) = known.ok_or_else(|| {
            "its sampling points depend on the size of the image, which the model leaves open: bind the model to a size first"
                .to_owned()
        })?;
        match from.checked_mul(to) {
            Some(n) if n <= MAX_ELEMENTS && n > 0 => Ok((from, to)),
            _ => Err(format!(
                "a matrix from {from} to {to} positions is larger than {MAX_ELEMENTS} elements"
            )),
        }
    };
    Ok([side(2)?, side(3)?])
}

/// Weights of the input's positions in each of the output's, a row per output.
fn weights((from, to): (usize, usize)) -> Vec<f32> {
    let mut weights = vec![0.0; from * to];
    for (output, row) in weights.chunks_exact_mut(from).enumerate() {
        let step = if to > 1 {
            (from - 1) as f64 / (to - 1) as f64
        } else {
            0.0
        };
        let at = output as f64 * step;
        let left = (at.floor() as usize).min(from - 1);
        let right = (left + 1).min(from - 1);
        let share = at - left as f64;
        row[left] += (1.0 - share) as f32;
        row[right] += share as f32;
    }
    weights
}

fn transposed((from, to): (usize, usize)) -> Tensor {
    let by_output = weights((from, to));
    let by_input: Vec<f32> = (0..from * to)
        .map(|index| by_output[index % to * from + index / to])
        .collect();
    Tensor::from_f32(vec![from, to], &by_input)
}
