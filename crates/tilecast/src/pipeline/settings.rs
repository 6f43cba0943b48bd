//! From the words of a recipe to what the stages work with.

use tilecast_passes::{
    IoTypes, Override, PerChannel, Pins, Precision, RangeSource, TARGETS, Target, target_by_name,
};

use tilecast_tile::Size;

use crate::artifact::ArtifactRequest;
use crate::recipe::{Artifact, ArtifactPrecision, Gate, OverridePrecision, Pin, PinPrecision};
use crate::report::Gates;
use crate::{Failure, FailureKind};

/// An artifact as conversions without a recipe make it: per-channel, ends and normalizations pinned.
pub(crate) fn default_artifact(precision: Precision, target: &'static Target) -> ArtifactRequest {
    ArtifactRequest {
        name: format!("{precision}-{}", target.name),
        precision,
        range_source: RangeSource::Static,
        target,
        per_channel: PerChannel::Yes,
        pins: pins(&Pin::default()),
        overrides: Vec::new(),
        io: IoTypes::default(),
        strip_metadata: false,
        shape: None,
    }
}

/// The artifacts whose sizes `inspect` predicts, by precision.
pub(crate) fn default_artifacts() -> Vec<(&'static str, ArtifactRequest)> {
    [Precision::Fp16, Precision::Int8]
        .map(|p| (p.name(), default_artifact(p, TARGETS[0])))
        .into()
}

/// The recipe's artifact, resolved.
pub(super) fn artifact(artifact: &Artifact) -> Result<ArtifactRequest, Failure> {
    let target = target_by_name(artifact.target.name()).ok_or_else(|| {
        Failure::new(
            FailureKind::Usage,
            format!("target `{}` is not built yet", artifact.target),
        )
    })?;
    let (precision, range_source) = match artifact.precision {
        ArtifactPrecision::Fp16 => (Precision::Fp16, RangeSource::Static),
        ArtifactPrecision::Bf16 => (Precision::Bf16, RangeSource::Static),
        ArtifactPrecision::Int8 => (Precision::Int8, RangeSource::Static),
        ArtifactPrecision::Int8Dynamic => (Precision::Int8, RangeSource::Dynamic),
    };
    let overrides = artifact
        .overrides
        .iter()
        .map(|o| Override::new(&o.nodes, override_precision(o.precision)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ArtifactRequest {
        name: artifact.effective_name(),
        precision,
        range_source,
        target,
        per_channel: if artifact.per_channel {
            PerChannel::Yes
        } else {
            PerChannel::No
        },
        pins: pins(&artifact.pin),
        overrides,
        io: IoTypes {
            converted: if artifact.keep_io_types {
                None
            } else {
                precision.half_format()
            },
            kept: artifact.keep_io.iter().cloned().collect(),
        },
        strip_metadata: artifact.strip_metadata,
        shape: artifact.shape.map(|shape| Size {
            height: shape.height,
            width: shape.width,
        }),
    })
}

/// The recipe's gate, resolved.
pub(super) fn gates(gate: &Gate) -> Gates {
    Gates {
        min_psnr_db: gate.min_psnr_db,
        min_worst_psnr_db: gate.min_worst_psnr_db,
        min_ssim: gate.min_ssim,
        max_drop_db: gate.max_drop_db,
        max_worst_drop_db: gate.max_worst_drop_db,
    }
}

fn pins(pin: &Pin) -> Pins {
    let precision = |p| match p {
        PinPrecision::Fp16 => Precision::Fp16,
        PinPrecision::Fp32 => Precision::Fp32,
    };
    Pins {
        first_conv: precision(pin.first_conv),
        last_conv: precision(pin.last_conv),
        norms: precision(pin.norms),
    }
}

fn override_precision(precision: OverridePrecision) -> Precision {
    match precision {
        OverridePrecision::Int8 => Precision::Int8,
        OverridePrecision::Fp16 => Precision::Fp16,
        OverridePrecision::Fp32 => Precision::Fp32,
    }
}
