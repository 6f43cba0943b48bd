//! The versions that change what an operator means, each with what becomes of a node.

use super::site::Site;
use super::{axes, normalization, parameters, pooling, rename, resize, softmax, split};
use crate::proto::NodeProto;

/// What becomes of an operator of the version before, so that it computes the same under the new version.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Every node can be converted.
    Convert(fn(&mut NodeProto, &mut Site<'_>)),
    /// Some can; an error says why this one cannot.
    TryConvert(fn(&mut NodeProto, &mut Site<'_>) -> Result<(), String>),
    /// There is no conversion.
    Refuse,
}

use Rule::{Convert, Refuse, TryConvert};

const RULES: &[(&[&str], i64, Rule)] = &[
    (
        &["BatchNormalization"],
        9,
        TryConvert(normalization::without_spatial),
    ),
    (&["Upsample"], 9, TryConvert(parameters::upsample_scales)),
    (&["Scan"], 9, Refuse),
    (&["Upsample"], 10, Convert(rename::upsample)),
    (&["Slice"], 10, TryConvert(parameters::slice)),
    (&["TopK"], 10, TryConvert(parameters::top_k)),
    (&["Dropout"], 10, TryConvert(parameters::without_mask)),
    (&["Clip"], 11, TryConvert(parameters::clip)),
    (&["Pad"], 11, TryConvert(parameters::pad)),
    (&["Resize"], 11, TryConvert(resize::with_coordinates)),
    (&["ConvTranspose"], 11, TryConvert(pooling::explicit_pads)),
    (&["Scatter"], 11, Convert(rename::scatter)),
    (&["OneHot"], 11, Refuse),
    (&["Dropout"], 12, TryConvert(parameters::dropout_ratio)),
    (
        &["Squeeze", "Unsqueeze", "ReduceSum"],
        13,
        Convert(axes::to_input),
    ),
    (&["Split"], 13, Convert(split::sizes_to_input)),
    (&["Resize"], 13, TryConvert(resize::one_of_scales_and_sizes)),
    (
        &["Softmax", "LogSoftmax", "Hardmax"],
        13,
        TryConvert(softmax::over_one_axis),
    ),
    (
        &["BatchNormalization"],
        14,
        TryConvert(normalization::without_training),
    ),
    (&["RoiAlign"], 16, Convert(rename::roi_align)),
    (
        &[
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSumSquare",
        ],
        18,
        Convert(axes::to_input),
    ),
    (&["Split"], 18, Convert(split::count_outputs)),
    (&["AveragePool"], 19, TryConvert(pooling::rounding_down)),
    (&["GridSample"], 20, TryConvert(rename::grid_sample)),
    (&["DFT"], 20, Refuse),
    (
        &["GroupNormalization"],
        21,
        TryConvert(normalization::per_channel),
    ),
    (
        &["AveragePool", "MaxPool"],
        22,
        TryConvert(pooling::rounding_down),
    ),
    (&["Attention"], 24, Refuse),
    (&["Attention"], 25, Refuse),
];

/// How `operator` is carried into `version`; `None` where nothing has to be done.
pub(super) fn rule(operator: &str, version: i64) -> Option<Rule> {
    RULES
        .iter()
        .find(|(operators, changed_in, _)| *changed_in == version && operators.contains(&operator))
        .map(|(_, _, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opset::history;

    #[test]
    fn every_rule_belongs_to_a_version_of_its_operator() {
        for (operators, version, _) in RULES {
            for operator in *operators {
                let versions = history::versions(operator).unwrap();
                assert!(versions.contains(version), "{operator} {version}");
            }
        }
    }
}
