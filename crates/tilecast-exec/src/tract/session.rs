//! An optimized plan and its runs.

use std::fmt;
use std::sync::Arc;

use tract_onnx::tract_core::knobs;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::optim::Optimizer;
use tract_onnx::tract_core::plan;
use tract_onnx::tract_core::prelude::multithread::Executor;
use tract_onnx::tract_hir::internal::{
    DimLike, IntoTValue, RunOptions, TVec, Tensor, TractResult, TypedModel, TypedNode,
    TypedRunnableModel, ensure,
};

use super::ops::Observe;
use super::{NAME, build, panels};
use crate::border::check_inputs;
use crate::guard::guarded;
use crate::lower::{Constant, LoweredGraph};
use crate::{HostTensor, Observer, RunError, Session, SessionOptions, Unseen};

/// A plan for one set of input shapes. It is immutable: each run has its own state.
pub(super) struct TractSession {
    plan: Arc<TypedRunnableModel>,
    /// Name and shape of each graph input.
    inputs: Vec<(String, Vec<usize>)>,
    peak_live_bytes: usize,
}

impl fmt::Debug for TractSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TractSession")
            .field("inputs", &self.inputs)
            .field("nodes", &self.plan.model().nodes().len())
            .finish_non_exhaustive()
    }
}

impl TractSession {
    /// Builds and optimizes the plan.
    pub(super) fn prepare(lowered: LoweredGraph, options: &SessionOptions) -> Result<Self, String> {
        let inputs = lowered
            .inputs
            .iter()
            .map(|input| (input.name.clone(), input.dims.clone()))
            .collect();
        // tract keeps weights repacked inside its operators, where they cannot be counted; they have about this size.
        let weight_bytes: usize = lowered.constants.values().map(Constant::bytes).sum();
        let (plan, activation_bytes) = guarded(|| -> TractResult<_> {
            // An environment variable could switch float32 products to bfloat16 operands; a setting made here wins.
            ensure!(
                knobs::set_str("TRACT_AMX_BF16", "false"),
                "tract has no setting TRACT_AMX_BF16"
            );
            let model = optimized(build::build(lowered)?)?;
            let options = RunOptions {
                executor: Some(Executor::SingleThread),
                ..RunOptions::default()
            };
            let plan = model.into_runnable_with_options(&options)?;
            let activation_bytes = peak_activation_bytes(&plan)?;
            Ok((plan, activation_bytes))
        })?;
        if options.unseen == Unseen::Refused {
            check_observed(&plan, &options.observe)?;
        }
        Ok(Self {
            plan,
            inputs,
            peak_live_bytes: activation_bytes + weight_bytes,
        })
    }

    fn run_with(
        &self,
        inputs: &[HostTensor],
        observer: Option<&mut Observer<'_>>,
    ) -> Result<Vec<HostTensor>, RunError> {
        let fail = |reason| RunError {
            engine: NAME,
            reason,
        };
        check_inputs(inputs, &self.inputs).map_err(fail)?;
        guarded(|| -> TractResult<_> {
            let inputs = inputs
                .iter()
                .map(|input| Ok(Tensor::from_shape(input.dims(), input.data())?.into_tvalue()))
                .collect::<TractResult<TVec<_>>>()?;
            let mut state = self.plan.spawn()?;
            let outputs = match observer {
                None => state.run(inputs)?,
                Some(observer) => {
                    state.run_plan_with_eval(inputs, |context, state, node, inputs| {
                        if let Some(slot) = node.op_as::<Observe>().and_then(|point| point.slot) {
                            let values = inputs[0].try_as_plain_ram()?;
                            observer(slot, inputs[0].shape(), values.as_slice::<f32>()?);
                        }
                        plan::eval(context, state, node, inputs)
                    })?
                }
            };
            outputs
                .iter()
                .map(|output| {
                    let values = output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
                    Ok(HostTensor::new(output.shape().to_vec(), values))
                })
                .collect()
        })
        .map_err(fail)
    }
}

impl Session for TractSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        self.run_with(inputs, None)
    }

    fn run_observed(
        &self,
        inputs: &[HostTensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        self.run_with(inputs, Some(observer))
    }

    fn peak_live_bytes(&self) -> usize {
        self.peak_live_bytes
    }
}

/// tract's optimization, with constants folded once more in between, and operands packed by panels.
///
/// A rewritten convolution leaves a chain of reshaped constants behind. Its later passes look at every one of them, in time
/// that grows with the square of their number, and its own order folds them only after that. The plans are the same.
fn optimized(mut model: TypedModel) -> TractResult<TypedModel> {
    let mut declutter = Optimizer::declutter();
    let rewritten = declutter
        .passes
        .iter()
        .position(|pass| format!("{pass:?}") == "declutter");
    if let Some(rewritten) = rewritten {
        for fold in Optimizer::prop_consts().passes {
            declutter.add_pass(rewritten + 1, fold);
        }
    }
    declutter.optimize(&mut model)?;
    model.optimize()?;
    panels::pack_by_panels(&mut model)?;
    Ok(model)
}

/// Every observation point is still computed: tract drops what no output needs.
fn check_observed(plan: &TypedRunnableModel, observed: &[String]) -> Result<(), String> {
    let computed: Vec<usize> = plan
        .order_without_consts()
        .iter()
        .filter_map(|&id| plan.model().node(id).op_as::<Observe>())
        .filter_map(|point| point.slot)
        .collect();
    match (0..observed.len()).find(|slot| !computed.contains(slot)) {
        None => Ok(()),
        Some(slot) => Err(format!(
            "value `{}`: it is to be observed and no output depends on it",
            observed[slot]
        )),
    }
}

/// The largest sum of computed tensors that are alive at one step.
fn peak_activation_bytes(plan: &TypedRunnableModel) -> TractResult<usize> {
    let order = plan.order_without_consts();
    let is_computed = |node: &TypedNode| !node.op_is::<Const>();
    let steps = plan.model().eval_tmp_memory_usage(order, is_computed)?;
    steps
        .iter()
        .try_fold(0, |peak, (_, bytes)| Ok(peak.max(bytes.to_usize()?)))
}
