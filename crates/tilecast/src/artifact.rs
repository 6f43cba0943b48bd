//! From a precision plan to a model file.

use std::collections::BTreeMap;

use tilecast_onnx::{
    InputExtents, Model, bind, declared_extents, mixed_float_operands, upgrade_opset,
};
use tilecast_passes::{
    ConvertHalf, DynamicInt8, Float16, FoldShapes, ImageLayout, InsertQdq, IoTypes,
    KeepChannelsLast, Override, Pass, PassReport, PerChannel, Pins, PlanRequest, Precision,
    PrecisionPlan, RangeEvidence, RangeSource, RemoveDeadNodes, RoundFilters, StoreFloat16,
    StripMetadata, Target, run_pass,
};
use tilecast_quant::{HalfFormat, Range};
use tilecast_tile::Size;

use crate::prepare::tile_shapes;
use crate::{Failure, FailureKind};

/// What one artifact is to be, resolved from the recipe or the command line.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactRequest {
    /// Name, unique in a recipe.
    pub(crate) name: String,
    /// Precision of the nodes that nothing pins.
    pub(crate) precision: Precision,
    /// Where the ranges of INT8 come from.
    pub(crate) range_source: RangeSource,
    /// The runtime that it is made for.
    pub(crate) target: &'static Target,
    /// Whether weights have one scale per channel.
    pub(crate) per_channel: PerChannel,
    /// Precision of first and last convolutions and normalizations.
    pub(crate) pins: Pins,
    /// The recipe's word on single nodes.
    pub(crate) overrides: Vec<Override>,
    /// What becomes of the types of inputs and outputs.
    pub(crate) io: IoTypes,
    /// Whether documentation strings and the like are left out of the file.
    pub(crate) strip_metadata: bool,
    /// The one size of image that the file takes; `None` for any.
    pub(crate) shape: Option<Size>,
}

impl ArtifactRequest {
    /// Whether nodes compute in 16 bits, so that what calibration sees of their ranges decides which of them can.
    #[must_use]
    pub(crate) fn computes_in_half(&self) -> bool {
        self.target.float16 == Float16::Compute || self.precision.half_format().is_some()
    }

    /// The opset that the artifact needs, at least the model's own: bfloat16 came late to most operators, and INT8 with scales
    /// per channel in opset 13. A model that cannot be raised for INT8 keeps its own, and its nodes are left alone.
    #[must_use]
    pub(crate) fn opset(&self, model: &Model) -> i64 {
        let own = model.opset();
        match self.precision {
            Precision::Int8 if own < InsertQdq::MIN_OPSET => {
                let can = upgrade_opset(&mut model.clone(), InsertQdq::MIN_OPSET).is_ok();
                if can { InsertQdq::MIN_OPSET } else { own }
            }
            precision if precision.half_format() == Some(HalfFormat::BF16) => {
                PrecisionPlan::opset_for(model, HalfFormat::BF16)
            }
            _ => own,
        }
    }

    /// Decides the precision of every node; what INT8 makes no faster on tiles of this side is left out of it. What 16 bits
    /// cannot hold is raised by [`PrecisionPlan::keep_in_range`] once something is known of the values.
    #[must_use]
    pub(crate) fn plan(&self, model: &Model, tile_px: usize) -> PrecisionPlan {
        let mut plan = self.plan_everywhere(model);
        if self.precision == Precision::Int8
            && self.range_source == RangeSource::Static
            && let Some(shapes) = tile_shapes(model, tile_px)
        {
            plan.keep_worthwhile(&model.graph(), &shapes, self.target);
        }
        plan
    }

    /// The same without asking what is faster: every node that any size of tile could give INT8 has it.
    #[must_use]
    pub(crate) fn plan_everywhere(&self, model: &Model) -> PrecisionPlan {
        PrecisionPlan::new(
            model,
            &PlanRequest {
                precision: self.precision,
                target: self.target,
                pins: self.pins,
                overrides: &self.overrides,
                ranges: self.range_source,
            },
        )
    }

    /// Values whose ranges [`ArtifactRequest::rewrite`] needs; empty unless some node becomes INT8.
    #[must_use]
    pub(crate) fn calibrated_values(&self, model: &Model, plan: &PrecisionPlan) -> Vec<String> {
        match self.range_source {
            RangeSource::Static => InsertQdq::calibrated_values(&model.graph(), plan, self.target),
            RangeSource::Dynamic => Vec::new(),
        }
    }

    /// Carries the plan out on a copy of `model`, with what calibration saw of its values.
    ///
    /// # Errors
    /// A pass meets something that it must handle and cannot.
    pub(crate) fn rewrite(
        &self,
        model: &Model,
        plan: &PrecisionPlan,
        ranges: &BTreeMap<String, Range>,
        evidence: Option<&RangeEvidence>,
    ) -> Result<(Model, Vec<PassReport>), Failure> {
        let before = model;
        let mut model = model.clone();
        let mut reports = Vec::new();
        if let Some(evidence) = evidence {
            reports.push(run_pass(&RoundFilters { plan, evidence }, &mut model)?);
        }
        let (target, per_channel) = (self.target, self.per_channel);
        let to_int8: Box<dyn Pass + '_> = match self.range_source {
            RangeSource::Static => Box::new(InsertQdq {
                plan,
                target,
                per_channel,
                ranges,
            }),
            RangeSource::Dynamic => Box::new(DynamicInt8 {
                plan,
                target,
                per_channel,
            }),
        };
        reports.push(run_pass(to_int8.as_ref(), &mut model)?);
        if target.image_layout == ImageLayout::Blocked {
            reports.push(run_pass(&KeepChannelsLast, &mut model)?);
        }
        reports.push(match self.target.float16 {
            Float16::Store if self.precision == Precision::Int8 => {
                run_pass(&StoreFloat16 { plan }, &mut model)?
            }
            _ => run_pass(&ConvertHalf { plan, io: &self.io }, &mut model)?,
        });
        if self.strip_metadata {
            reports.push(run_pass(&StripMetadata, &mut model)?);
        }
        check_types(before, &model)?;
        Ok((model, reports))
    }
}

/// A copy of a model for images of one size: what follows from it is written into its shapes, and shape arithmetic folded.
///
/// # Errors
/// The model does not have one image as its input, or cannot run at that size.
pub(crate) fn at_fixed_size(model: &Model, size: Size) -> Result<Model, Failure> {
    let mut bound = model.clone();
    let mut extents = InputExtents::default();
    for input in model.graph().inputs() {
        if let Some([batch, channels, _, _]) = declared_extents(input).as_deref() {
            let dims = vec![
                batch.or(Some(1)),
                *channels,
                Some(size.height),
                Some(size.width),
            ];
            extents = extents.with(input.name.as_deref().unwrap_or_default(), dims);
        }
    }
    bind(&mut bound, &extents, &BTreeMap::new())
        .map_err(|error| Failure::from(error).about(format!("an artifact for {size} px")))?;
    fold_shapes(&mut bound)?;
    Ok(bound)
}

/// Folds the shape arithmetic of a model that was bound to a size.
///
/// # Errors
/// A pass fails.
pub(crate) fn fold_shapes(model: &mut Model) -> Result<(), Failure> {
    // One round may make the next possible; each takes nodes away.
    loop {
        let folded = run_pass(&FoldShapes, model)?.changed;
        let removed = run_pass(&RemoveDeadNodes, model)?.changed;
        if !folded && !removed {
            return Ok(());
        }
    }
}

/// No rewrite may leave operands of two float types where a runtime asks for one. What was wrong before is not its fault.
fn check_types(before: &Model, after: &Model) -> Result<(), Failure> {
    let known = mixed_float_operands(before.proto(), before.opset());
    let found = mixed_float_operands(after.proto(), after.opset());
    match found.iter().find(|violation| !known.contains(violation)) {
        None => Ok(()),
        Some(violation) => Err(Failure::new(
            FailureKind::Internal,
            format!("changing the precision of the model broke its types: {violation}"),
        )
        .with_help("nothing was written; please report it with the model")),
    }
}
