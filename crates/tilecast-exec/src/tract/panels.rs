//! Operands of matrix products, packed a panel at a time.
//!
//! tract writes a packed copy of a whole operand before it multiplies. An activation of a pointwise convolution is larger
//! than any cache, so that copy goes to memory and back, and most panel widths are copied number by number. Here the panel
//! that a kernel is about to read is copied row by row, and stays in the cache of the core.

use std::alloc::Layout;
use std::fmt;
use std::sync::Arc;

use tract_onnx::tract_core::ops::matmul::optimized::{MatMulOperand, OptMatMul, ProtoFusedSpec};
use tract_onnx::tract_core::ops::matmul::pack::{DynPackedExoticFact, OptMatMulPack};
use tract_onnx::tract_core::tract_linalg::mmm::{
    MMMInputFormat, MMMInputValue, PackedExoticFact, PackedMatrixStorage,
};
use tract_onnx::tract_core::tract_linalg::pack::PackedFormat;
use tract_onnx::tract_hir::internal::{
    Datum, DimLike, EvalContext, EvalOp, ExoticFact, IntoArcTensor, IntoTValue, Op, StaticName,
    TValue, TVec, Tensor, ToDim, TractErrorContext, TractResult, TypedFact, TypedModel, TypedNode,
    TypedOp, as_op, bail, ensure, f16, op_as_typed_op, op_out_of_plan, tvec,
};

/// Weights up to this size stay in a core's own cache while all panels of the other operand pass by.
const MOST_WEIGHT_BYTES: usize = 256 << 10;

/// Packs the left operand of products panel by panel, wherever tract would have packed it whole before multiplying.
pub(super) fn pack_by_panels(model: &mut TypedModel) -> TractResult<()> {
    let mut replaced = Vec::new();
    for node in model.nodes() {
        if let Some(op) = by_panels(model, node)? {
            replaced.push((node.id, op));
        }
    }
    for (id, op) in replaced {
        model.node_mut(id).op = Box::new(op);
    }
    Ok(())
}

/// What packs the operand of a node by panels; `None` where it is not worth it or not the left operand of products alone.
fn by_panels(model: &TypedModel, node: &TypedNode) -> TractResult<Option<PackByPanels>> {
    let Some(whole) = node.op_as::<OptMatMulPack>() else {
        return Ok(None);
    };
    let (inputs, outputs) = model.node_facts(node.id)?;
    let Some(packed) = outputs[0]
        .exotic_fact()
        .and_then(|fact| fact.downcast_ref::<DynPackedExoticFact>())
    else {
        return Ok(None);
    };
    let [packer] = &packed.packers[..] else {
        return Ok(None);
    };
    let Some(packer) = packer.downcast_ref::<PackedFormat>() else {
        return Ok(None);
    };
    let mapping = whole.axes_mapping(&inputs, &outputs)?;
    let position = |axis: char| -> TractResult<usize> {
        mapping.axis(axis)?.inputs[0]
            .first()
            .copied()
            .context("the packed operand has both axes of its matrix")
    };
    let (k_axis, mn_axis) = (position('K')?, position('M')?);
    let Some(shape) = inputs[0].shape.as_concrete() else {
        return Ok(None);
    };
    let is_one_matrix = shape.len() >= 2
        && mn_axis == shape.len() - 1
        && (0..shape.len()).all(|axis| axis == k_axis || axis == mn_axis || shape[axis] == 1);
    let is_left = node.outputs[0].successors.iter().all(|inlet| {
        let user = model.node(inlet.node);
        user.op_as::<OptMatMul>().is_some_and(|product| {
            product.micro_ops.iter().all(|step| match step {
                ProtoFusedSpec::AddMatMul { a, b, .. } => {
                    *a == MatMulOperand::Input(inlet.slot) && *b != MatMulOperand::Input(inlet.slot)
                }
                _ => true,
            }) && weight_bytes(product, shape[k_axis]) <= MOST_WEIGHT_BYTES
        })
    });
    let is_plain = packer.dt == f32::datum_type() && inputs[0].datum_type == packer.dt;
    if !(is_one_matrix && is_left && is_plain) {
        return Ok(None);
    }
    Ok(Some(PackByPanels {
        whole: whole.clone(),
        packer: packer.clone(),
        k_axis,
    }))
}

/// Size of the right operand of a product.
fn weight_bytes(product: &OptMatMul, k: usize) -> usize {
    let n = product
        .c_n_axis
        .map_or(Ok(1), |axis| product.c_fact.shape[axis].to_usize());
    n.unwrap_or(usize::MAX)
        .saturating_mul(k)
        .saturating_mul(size_of::<f32>())
}

/// Keeps the operand as it is, for [`Panels`] to pack when they are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PackByPanels {
    /// What it stands for: all about shapes is as there.
    whole: OptMatMulPack,
    packer: PackedFormat,
    k_axis: usize,
}

impl Op for PackByPanels {
    fn name(&self) -> StaticName {
        "PackByPanels".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PackByPanels {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let matrix = inputs.remove(0).into_arc_tensor();
        let shape = matrix.shape();
        let (k, mn) = (shape[self.k_axis], shape[shape.len() - 1]);
        ensure!(
            matrix.datum_type() == f32::datum_type() && matrix.len() == k * mn,
            "one matrix of float32"
        );
        let output_shape = self.whole.output_shape(shape);
        let panels = Panels {
            fact: PackedExoticFact {
                format: Box::new(self.packer.clone()),
                mn: mn.to_dim(),
                k,
            },
            packer: self.packer.clone(),
            matrix,
            k,
            mn,
        };
        let storage = PackedMatrixStorage::new_batched(&output_shape, tvec!(Box::new(panels) as _));
        Ok(tvec!(storage.into_tensor(f32::datum_type()).into_tvalue()))
    }
}

impl TypedOp for PackByPanels {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.whole.output_facts(inputs)
    }

    as_op!();
}

/// A matrix of `k` rows with `mn` numbers each, in panels as wide as a kernel reads.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Panels {
    fact: PackedExoticFact,
    packer: PackedFormat,
    matrix: Arc<Tensor>,
    k: usize,
    mn: usize,
}

impl Panels {
    fn rows(&self) -> TractResult<impl Iterator<Item = &[f32]>> {
        let numbers = self.matrix.try_as_plain_ram()?.as_slice::<f32>()?;
        Ok(numbers.chunks_exact(self.mn))
    }
}

impl MMMInputValue for Panels {
    fn format(&self) -> &dyn MMMInputFormat {
        &self.packer
    }

    fn scratch_panel_buffer_layout(&self) -> Option<Layout> {
        Some(self.packer.single_panel_layout(self.k, size_of::<f32>()))
    }

    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "tract hands out its buffer for a panel as an address, aligned as asked for"
    )]
    fn panel_bytes(&self, index: usize, buffer: Option<*mut u8>) -> TractResult<*const u8> {
        let buffer = buffer.context("a buffer for a panel")?.cast::<f32>();
        let width = self.packer.r;
        let start = index * width;
        let end = (start + width).min(self.mn);
        for (line, row) in self.rows()?.enumerate() {
            let numbers = &row[start..end];
            // SAFETY: tract gives a buffer of the layout that `scratch_panel_buffer_layout` asked for, with room for `width`
            // aligned numbers in each of `k` lines, and lets nobody else use it meanwhile. There are `k` rows, and `numbers`
            // is no longer than a line.
            unsafe {
                let place = buffer.add(line * width);
                place.copy_from_nonoverlapping(numbers.as_ptr(), numbers.len());
                place
                    .add(numbers.len())
                    .write_bytes(0, width - numbers.len());
            }
        }
        Ok(buffer.cast_const().cast())
    }

    fn mn(&self) -> usize {
        self.mn
    }

    fn k(&self) -> usize {
        self.k
    }

    fn exotic_fact(&self) -> &dyn ExoticFact {
        &self.fact
    }

    fn extract_at_mn_f16(&self, _: usize, _: &mut [f16]) -> TractResult<()> {
        bail!("panels are float32")
    }

    fn extract_at_mn_f32(&self, mn: usize, column: &mut [f32]) -> TractResult<()> {
        for (place, row) in column.iter_mut().zip(self.rows()?) {
            *place = row[mn];
        }
        Ok(())
    }
}

impl fmt::Display for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows of {} by panels of {}",
            self.k, self.mn, self.packer.r
        )
    }
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panels of a packed operand, up to the numbers that a kernel reads ahead.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "panels are handed out as addresses of f32"
    )]
    fn panels(value: &dyn MMMInputValue) -> Vec<Vec<f32>> {
        let layout = value.scratch_panel_buffer_layout();
        let width = value.format().r();
        (0..value.panels_count())
            .map(|index| {
                let mut buffer = layout.map(|layout| vec![f32::NAN; layout.size() / 4]);
                let place = buffer.as_mut().map(|b| b.as_mut_ptr().cast::<u8>());
                let panel = value.panel_bytes(index, place).unwrap().cast::<f32>();
                // SAFETY: a panel holds `width` numbers for each of `k` lines.
                unsafe { std::slice::from_raw_parts(panel, width * value.k()) }.to_vec()
            })
            .collect()
    }

    #[test]
    fn panels_are_those_of_the_whole_packed_operand() {
        for (k, mn, r) in [(3, 300, 128), (5, 256, 128), (2, 33, 32), (1, 7, 6)] {
            let numbers: Vec<f32> = (0..k * mn).map(|i| i as f32 + 1.0).collect();
            let matrix = Tensor::from_shape(&[k, mn], &numbers).unwrap();
            let packer = PackedFormat::new(f32::datum_type(), r, 64);
            let whole = packer.prepare_one(&matrix, 0, 1).unwrap();
            let lazy = Panels {
                fact: PackedExoticFact {
                    format: Box::new(packer.clone()),
                    mn: mn.to_dim(),
                    k,
                },
                packer,
                matrix: matrix.into_arc_tensor(),
                k,
                mn,
            };
            assert_eq!(panels(&lazy), panels(&*whole), "{k} x {mn} by {r}");
            let mut column = vec![0.0; k];
            lazy.extract_at_mn_f32(mn - 1, &mut column).unwrap();
            let last = numbers.chunks_exact(mn).map(|row| row[mn - 1]);
            assert_eq!(column, last.collect::<Vec<_>>());
        }
    }
}
