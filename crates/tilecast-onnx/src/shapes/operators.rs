//! The one table from operator name to shape rule (default domain, all opsets), for sizes that are numbers and for those
//! that are not.

use super::call::Rule;
use super::{elementwise, indexing, layout, linear, normalize, reduce, resample, sources, window};

/// The rule of an operator; `None` leaves its outputs unknown.
pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        // Where shapes and constants come from.
        "Constant" => sources::constant,
        "ConstantOfShape" => sources::constant_of_shape,
        "Shape" => sources::shape,
        "Size" => sources::element_count,
        "Range" => sources::range,

        // The shape of the first input.
        "Neg" | "Abs" | "Sign" | "Not" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Identity" => {
            elementwise::folded_unary
        }
        "Cast" => elementwise::cast,
        "CastLike"
        | "Clip"
        | "BitwiseNot"
        | "Reciprocal"
        | "Exp"
        | "Log"
        | "Sin"
        | "Cos"
        | "Tan"
        | "Asin"
        | "Acos"
        | "Atan"
        | "Sinh"
        | "Cosh"
        | "Tanh"
        | "Asinh"
        | "Acosh"
        | "Atanh"
        | "Erf"
        | "Sigmoid"
        | "HardSigmoid"
        | "HardSwish"
        | "Softplus"
        | "Softsign"
        | "Relu"
        | "LeakyRelu"
        | "ThresholdedRelu"
        | "Elu"
        | "Selu"
        | "Celu"
        | "Gelu"
        | "Mish"
        | "Swish"
        | "Shrink"
        | "IsNaN"
        | "IsInf"
        | "QuantizeLinear"
        | "DequantizeLinear"
        | "RandomNormalLike"
        | "RandomUniformLike"
        | "Bernoulli"
        | "EyeLike"
        | "Softmax"
        | "LogSoftmax"
        | "Hardmax"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "MeanVarianceNormalization"
        | "LpNormalization"
        | "LRN"
        | "RMSNormalization"
        | "CumSum"
        | "ScatterElements"
        | "ScatterND"
        | "Scatter"
        | "Trilu" => elementwise::like_first_input,
        "Dropout" => elementwise::every_output_like_first_input,
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Equal" | "Less" | "LessOrEqual"
        | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => elementwise::folded_binary,
        "Min" | "Max" | "Sum" => elementwise::folded_variadic,
        "Mean" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => {
            elementwise::broadcast_all
        }
        "PRelu" => elementwise::prelu,
        "Where" => elementwise::select,

        // The same elements in another arrangement.
        "Reshape" => layout::reshape,
        "Flatten" => layout::flatten,
        "Transpose" => layout::transpose,
        "Squeeze" => layout::squeeze,
        "Unsqueeze" => layout::unsqueeze,
        "Expand" => layout::expand,
        "Tile" => layout::tile,
        "DepthToSpace" => layout::depth_to_space,
        "SpaceToDepth" => layout::space_to_depth,

        // Parts of tensors, and tensors from parts.
        "Gather" => indexing::gather,
        "GatherElements" => indexing::gather_elements,
        "Slice" => indexing::slice,
        "Split" => indexing::split,
        "Concat" => indexing::concat,
        "Pad" => indexing::pad,
        "TopK" => indexing::top_k,

        // Sliding windows.
        "Conv" | "ConvInteger" | "DeformConv" => window::conv,
        "QLinearConv" => window::qlinear_conv,
        "ConvTranspose" => window::conv_transpose,
        "MaxPool" | "AveragePool" | "LpPool" => window::pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => window::global_pool,

        // Reductions.
        "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceSumSquare" | "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" => {
            reduce::reduce
        }
        "ArgMax" | "ArgMin" => reduce::arg,

        // Products.
        "MatMul" | "MatMulInteger" => linear::mat_mul,
        "QLinearMatMul" => linear::qlinear_mat_mul,
        "Gemm" => linear::gemm,
        "Einsum" => linear::einsum,

        // Another sampling grid.
        "Resize" => resample::resize,
        "Upsample" => resample::upsample,
        "GridSample" => resample::grid_sample,

        // Statistics or quantization parameters beside the result.
        "BatchNormalization" => normalize::batch,
        "LayerNormalization" => normalize::layer,
        "DynamicQuantizeLinear" => normalize::dynamic_quantize,
        _ => return None,
    })
}
