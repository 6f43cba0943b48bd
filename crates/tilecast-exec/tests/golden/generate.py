"""Writes the golden files of this folder: small models and what ONNX Runtime computes with them.

    python generate.py

Versions used: onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6. Inputs come from `values`, which
`tests/engines/main.rs` has too. ONNX Runtime runs on one thread without graph optimizations, so that every
node is computed as it is written, Q and DQ one after the other. Float16 models are run one node at a
time: in one piece, ONNX Runtime drops the rounding between two nodes that it computes in float32. Files named like a model hold its outputs one after the other, float32 little-endian;
the models themselves declare the shapes.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parents[3] / "models"
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def values(seed, shape):
    """Floats in [0, 1) from an integer hash of the seed and the position."""
    n = int(np.prod(shape))
    x = np.arange(n, dtype=np.uint64) + seed * 0x9E3779B1 & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    x ^= x >> 16
    return ((x >> 8).astype(np.float32) / np.float32(1 << 24)).reshape(shape)


def run(model, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def run_each_node(model, feeds):
    """Runs every node as a model of its own, so that every value has the type that it is declared with."""
    known = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer} | feeds
    for node in model.graph.node:
        inputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(known[n].dtype), known[n].shape)
                  for n in dict.fromkeys(node.input) if n]
        outputs = [helper.make_empty_tensor_value_info(n) for n in node.output]
        graph = helper.make_graph([node], "node", inputs, outputs)
        single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        single = onnx.shape_inference.infer_shapes(single, strict_mode=True)
        results = run(single.SerializeToString(), {i.name: known[i.name] for i in inputs})
        known |= dict(zip(node.output, results, strict=True))
    return [known[o.name] for o in model.graph.output]


def write(name, outputs):
    data = np.concatenate([o.astype("<f4").ravel() for o in outputs])
    data.tofile(HERE / f"{name}.bin")
    print(name, data.size, "values, at most", np.abs(data).max())


def sample(name, width, height):
    x = values(1, (1, 3, height, width))
    write(name, run(str(MODELS / f"{name}.onnx"), {"input": x}))


class Builder:
    def __init__(self, data_type=FLOAT):
        self.nodes, self.initializers, self.outputs = [], [], []
        self.data_type = data_type

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape):
        w = values(100 + len(self.initializers), shape) - np.float32(0.5)
        return self.constant(w.astype(np.float16) if self.data_type == HALF else w)

    def node(self, op, inputs, n_outputs=1, **attributes):
        name = f"{op}_{len(self.nodes)}"
        outputs = [name] if n_outputs == 1 else [f"{name}_{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs[0] if n_outputs == 1 else outputs

    def out(self, op, inputs, n_outputs=1, cast=False, **attributes):
        """A node whose outputs are graph outputs."""
        outputs = self.node(op, inputs, n_outputs, **attributes)
        for name in [outputs] if n_outputs == 1 else outputs:
            self.outputs.append(self.node("Cast", [name], to=FLOAT) if cast else name)

    def save(self, name, opset, feeds):
        inputs = [helper.make_tensor_value_info(n, self.data_type, a.shape) for n, a in feeds.items()]
        untyped = [helper.make_empty_tensor_value_info(o) for o in self.outputs]
        graph = helper.make_graph(self.nodes, name, inputs, untyped, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        results = run_each_node(model, feeds) if self.data_type == HALF else run(model.SerializeToString(), feeds)
        del model.graph.value_info[:]
        for output, result in zip(model.graph.output, results, strict=True):
            element = helper.np_dtype_to_tensor_dtype(result.dtype)
            output.CopyFrom(helper.make_tensor_value_info(output.name, element, result.shape))
        onnx.checker.check_model(model)
        onnx.save(model, HERE / f"{name}.onnx")
        write(name, results)


def operators():
    """Every operator of the allow-list with the attributes that image networks give it."""
    b = Builder()
    c, w, out = b.constant, b.weight, b.out
    ints = lambda *v: c(np.array(v, np.int64))
    floats = lambda *v: c(np.array(v, np.float32))
    x = b.node("Sub", ["input", floats(0.5)])
    positive = b.node("Add", ["input", floats(0.1)])
    for op in ["Abs", "Neg", "Ceil", "Floor", "Round", "Relu", "Sigmoid", "Tanh", "Exp", "Erf", "Sin", "Cos", "Softplus", "HardSwish"]:
        out(op, [b.node("Mul", [x, floats(4)])])
    for op in ["Log", "Sqrt", "Reciprocal"]:
        out(op, [positive])
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"]:
        out(op, [x, positive])
    out("Pow", [positive, floats(1.7)])
    out("Mod", [x, positive], fmod=1)
    for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]:
        out(op, [x, floats(0.1)], cast=True)
    less, more = b.node("Less", [x, floats(0.2)]), b.node("Greater", [x, floats(-0.2)])
    out("And", [less, more], cast=True)
    out("Or", [less, more], cast=True)
    out("Not", [less], cast=True)
    out("Where", [less, x, positive])
    out("LeakyRelu", [x], alpha=0.2)
    out("Elu", [x], alpha=0.7)
    out("HardSigmoid", [x], alpha=0.3, beta=0.4)
    out("PRelu", [x, w(4, 1, 1)])
    out("Gelu", [x])
    out("Gelu", [x], approximate="tanh")
    out("Clip", [x, c(np.float32(-0.2)), c(np.float32(0.3))])
    out("Clip", [x, "", c(np.float32(0.1))])
    out("Softmax", [x], axis=1)
    out("Conv", [x, w(6, 4, 3, 3), w(6)], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    out("Conv", [x, w(6, 4, 3, 3)], strides=[2, 2], auto_pad="SAME_UPPER")
    out("Conv", [x, w(4, 1, 3, 3), ""], group=4, dilations=[2, 2], pads=[2, 2, 2, 2])
    out("Conv", [x, w(6, 2, 1, 1), w(6)], group=2)
    out("ConvTranspose", [x, w(4, 3, 4, 4), w(3)], strides=[2, 2], pads=[1, 1, 1, 1])
    out("ConvTranspose", [x, w(4, 3, 3, 3)], strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1], group=2)
    out("MaxPool", [x], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])
    out("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    out("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    out("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    out("GlobalAveragePool", [x])
    out("GlobalMaxPool", [x])
    out("BatchNormalization", [x, w(4), w(4), w(4), c(values(7, (4,)) + np.float32(0.5))], epsilon=1e-3)
    out("InstanceNormalization", [x, w(4), w(4)], epsilon=1e-4)
    out("LayerNormalization", [x, w(8), w(8)], axis=-1, epsilon=1e-4)
    out("GroupNormalization", [x, w(4), w(4)], num_groups=2, epsilon=1e-4)
    out("MatMul", [x, w(8, 5)])
    out("Gemm", [b.node("Flatten", [x], axis=2), w(5, 48), w(5)], transB=1, alpha=0.5, beta=2.0)
    out("Einsum", [x, w(4, 5)], equation="bchw,cd->bdhw")
    for op in ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"]:
        out(op, [x, ints(2, 3)])
        out(op, [x, ints(-1)], keepdims=0)
    out("ReduceProd", [positive, ints(3)])
    coordinate_modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    for mode in ["nearest", "linear", "cubic"]:
        for coordinates in coordinate_modes:
            out("Resize", [x, "", floats(1, 1, 2, 1.5)], mode=mode, coordinate_transformation_mode=coordinates,
                nearest_mode="floor")
    out("Resize", [x, "", "", ints(1, 4, 3, 5)], mode="linear", antialias=1)
    out("Pad", [x, ints(0, 0, 1, 2, 0, 0, 3, 0)], mode="reflect")
    out("Pad", [x, ints(0, 0, 1, 2, 0, 0, 3, 0)], mode="edge")
    out("Pad", [x, ints(1, 2, 3, 0), c(np.float32(0.25)), ints(2, 3)])
    out("Slice", [x, ints(1, -1), ints(5, -9), ints(2, 3), ints(2, -2)])
    out("Split", [x, ints(1, 3)], 2, axis=1)
    out("Split", [x], 3, axis=3, num_outputs=3)
    out("Concat", [x, positive], axis=1)
    out("Reshape", [x, ints(0, 2, -1, 8)])
    out("Transpose", [x], perm=[0, 2, 3, 1])
    out("Squeeze", [x, ints(0)])
    out("Unsqueeze", [x, ints(1)])
    out("Flatten", [x], axis=1)
    out("Expand", [b.node("GlobalAveragePool", [x]), ints(1, 4, 2, 3)])
    out("Tile", [x, ints(1, 2, 1, 3)])
    out("Gather", [x, ints(3, 0, 0)], axis=1)
    out("DepthToSpace", [x], blocksize=2, mode="CRD")
    out("DepthToSpace", [x], blocksize=2)
    out("SpaceToDepth", [x], blocksize=2)
    out("Identity", [x])
    out("Dropout", [x, c(np.float32(0.5))])
    shape = b.node("Shape", [x], start=2)
    out("Identity", [shape], cast=True)
    out("ConstantOfShape", [shape], value=numpy_helper.from_array(np.array([1.5], np.float32)))
    last = b.node("Gather", [shape, c(np.array(1, np.int64))])
    out("Range", [c(np.array(0, np.int64)), last, c(np.array(3, np.int64))], cast=True)
    out("Mod", [shape, ints(5)], cast=True)
    b.save("operators", 21, {"input": values(2, (1, 4, 6, 8))})


def half():
    """A float16 block: what is rounded, what is moved, what leaves and enters float16."""
    b = Builder(HALF)
    scale = b.constant(np.array([40000], np.float16))
    x = b.node("Conv", ["input", b.weight(8, 4, 3, 3), b.weight(8)], pads=[1, 1, 1, 1])
    y = b.node("Sigmoid", [x])
    y = b.node("Mul", [x, y])
    y = b.node("DepthToSpace", [y], blocksize=2)
    y = b.node("Resize", [y, "", b.constant(np.array([1, 1, 0.5, 0.5], np.float32))], mode="nearest")
    y = b.node("Conv", [y, b.weight(8, 2, 1, 1)])
    left, right = b.node("Split", [y], 2, axis=1, num_outputs=2)
    b.out("Mul", [left, right])
    wide = b.node("Cast", [left], to=FLOAT)
    wide = b.node("Mul", [wide, b.constant(np.array([1 / 3], np.float32))])
    b.out("Cast", [wide], to=HALF)
    b.out("Mul", [b.node("Mul", [y, scale]), scale])
    filled = b.node("ConstantOfShape", [b.node("Shape", [left])], value=numpy_helper.from_array(np.array([0.1], np.float16)))
    b.out("Add", [filled, left])
    b.save("half", 18, {"input": values(3, (1, 4, 6, 8)).astype(np.float16)})


def quantized():
    """Convolutions between Q/DQ pairs: u8 and s8 activations, weights per tensor and per channel, int32 bias."""
    b = Builder()

    def pair(x, scale, zero_point):
        parameters = [b.constant(np.float32(scale)), b.constant(zero_point)]
        return b.node("DequantizeLinear", [b.node("QuantizeLinear", [x, *parameters]), *parameters])

    def convolution(x, x_scale, o, i, k, per_channel, seed):
        q = np.round((values(seed, (o, i, k, k)) - 0.5) * 254).astype(np.int8)
        scale = (values(seed + 1, (o,) if per_channel else ()) * 0.004 + 0.002).astype(np.float32)
        attributes = {"axis": 0} if per_channel else {}
        weight = b.node("DequantizeLinear", [b.constant(q), b.constant(scale)], **attributes)
        bias = np.round((values(seed + 2, (o,)) - 0.5) * 20000).astype(np.int32)
        bias_scale = b.constant(np.broadcast_to(scale * np.float32(x_scale), (o,)).astype(np.float32))
        bias = b.node("DequantizeLinear", [b.constant(bias), bias_scale], axis=0)
        return b.node("Conv", [x, weight, bias], pads=[k // 2] * 4)

    x = pair("input", 1 / 255, np.uint8(0))
    y = convolution(x, 1 / 255, 8, 3, 3, True, 10)
    y = pair(b.node("Relu", [y]), 0.01, np.uint8(0))
    y = convolution(y, 0.01, 8, 8, 3, False, 20)
    y = pair(y, 0.03, np.int8(-5))
    b.outputs.append(convolution(y, 0.03, 3, 8, 1, True, 30))
    b.save("quantized", 17, {"input": values(4, (1, 3, 12, 10))})


if __name__ == "__main__":
    sample("nafnet-denoise", 96, 80)
    sample("srvgg-x2", 33, 20)
    operators()
    half()
    quantized()
