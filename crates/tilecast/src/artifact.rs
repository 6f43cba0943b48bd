//! From a precision plan to a model file.

use std::collections::BTreeMap;

use tilecast_onnx::Model;
use tilecast_passes::{
    ConvertFloat16, Float16, InsertQdq, Override, PassReport, PerChannel, Pins, PlanRequest,
    Precision, PrecisionPlan, StoreFloat16, Target, run_pass,
};
use tilecast_quant::Range;

use crate::Failure;

/// What one artifact is to be, resolved from the recipe or the command line.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactRequest {
    /// Name, unique in a recipe.
    pub(crate) name: String,
    /// Precision of the nodes that nothing pins.
    pub(crate) precision: Precision,
    /// The runtime that it is made for.
    pub(crate) target: &'static Target,
    /// Whether weights have one scale per channel.
    pub(crate) per_channel: PerChannel,
    /// Precision of first and last convolutions and normalizations.
    pub(crate) pins: Pins,
    /// The recipe's word on single nodes.
    pub(crate) overrides: Vec<Override>,
}

impl ArtifactRequest {
    /// Decides the precision of every node.
    #[must_use]
    pub(crate) fn plan(&self, model: &Model) -> PrecisionPlan {
        PrecisionPlan::new(
            &model.graph(),
            &PlanRequest {
                precision: self.precision,
                target: self.target,
                pins: self.pins,
                overrides: &self.overrides,
            },
        )
    }

    /// Values whose ranges [`ArtifactRequest::rewrite`] needs; empty unless some node becomes INT8.
    #[must_use]
    pub(crate) fn calibrated_values(&self, model: &Model, plan: &PrecisionPlan) -> Vec<String> {
        InsertQdq::calibrated_values(&model.graph(), plan, self.target)
    }

    /// Carries the plan out on a copy of `model`.
    ///
    /// # Errors
    /// A pass meets something that it must handle and cannot.
    pub(crate) fn rewrite(
        &self,
        model: &Model,
        plan: &PrecisionPlan,
        ranges: &BTreeMap<String, Range>,
    ) -> Result<(Model, Vec<PassReport>), Failure> {
        let mut model = model.clone();
        let qdq = InsertQdq {
            plan,
            target: self.target,
            per_channel: self.per_channel,
            ranges,
        };
        let mut reports = vec![run_pass(&qdq, &mut model)?];
        reports.push(match self.target.float16 {
            Float16::Store if self.precision == Precision::Int8 => {
                run_pass(&StoreFloat16 { plan }, &mut model)?
            }
            _ => run_pass(&ConvertFloat16 { plan }, &mut model)?,
        });
        Ok((model, reports))
    }
}
