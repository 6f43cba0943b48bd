"""Shapes (and small integer values) of every tensor, as onnxruntime computes them.

Run from the repository root, with onnx 1.23.2, onnxruntime 1.31.1 and numpy:

    python tests/golden/shapes/generate.py

Writes beside itself: `operators-opset<N>.onnx` (one graph with many small operator calls), and for it and for each sample
model one `<model>-<height>x<width>.tsv` with a line `name <tab> dims <tab> values` for each node output; `values` only for
integer and boolean tensors of at most 64 elements whose content does not depend on pixels.
"""
from pathlib import Path
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "models"
SIZES = [(250, 131), (64, 48)]
INTEGERS = {"tensor(int64)", "tensor(int32)", "tensor(bool)"}


class Builder:
    """Collects nodes over one image input `x` of shape [1, 4, h, w]."""

    def __init__(self, opset):
        self.opset, self.nodes, self.inits = opset, [], []

    def const(self, array):
        name = f"c{len(self.inits)}"
        self.inits.append(nh.from_array(np.asarray(array), name))
        return name

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def scalar(self, value):
        return self.const(np.array(value, np.int64))

    def weight(self, *dims):
        return self.const(np.full(dims, 0.01, np.float32))

    def op(self, op, inputs, n_outputs=1, **attributes):
        outputs = [f"{op}_{len(self.nodes)}_{i}" for i in range(n_outputs)]
        self.nodes.append(h.make_node(op, inputs, outputs, name=f"{op}_{len(self.nodes)}", **attributes))
        return outputs[0] if n_outputs == 1 else outputs

    def model(self):
        x = h.make_tensor_value_info("x", T.FLOAT, [1, 4, "h", "w"])
        y = h.make_tensor_value_info("y", T.FLOAT, [1, 4, "h", "w"])
        self.nodes.append(h.make_node("Identity", ["x"], ["y"], name="last"))
        graph = h.make_graph(self.nodes, f"operators{self.opset}", [x], [y], self.inits)
        return h.make_model(graph, opset_imports=[h.make_opsetid("", self.opset)], ir_version=8)


def windows(b):
    w = b.weight(6, 4, 3, 3)
    for attributes in [
        dict(pads=[1, 1, 1, 1]), dict(strides=[2, 3]), dict(dilations=[2, 3], pads=[0, 1, 2, 3]),
        dict(auto_pad="SAME_UPPER", strides=[2, 2]), dict(auto_pad="SAME_LOWER", strides=[3, 2]), dict(auto_pad="VALID"),
        dict(strides=[5, 4], pads=[2, 0, 1, 2], kernel_shape=[3, 3]),
    ]:
        b.op("Conv", ["x", w], **attributes)
    b.op("Conv", ["x", b.weight(8, 1, 3, 3)], group=4)
    b.op("Conv", ["x", b.weight(8, 2, 1, 5)], group=2)
    wt = b.weight(4, 3, 3, 3)
    for attributes in [
        dict(), dict(strides=[2, 2], pads=[1, 1, 1, 1]), dict(strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        dict(strides=[3, 2], dilations=[2, 1]), dict(auto_pad="SAME_UPPER", strides=[2, 2]),
        dict(auto_pad="SAME_LOWER", strides=[3, 2]), dict(auto_pad="VALID", strides=[2, 2]),
    ]:
        b.op("ConvTranspose", ["x", wt], **attributes)
    b.op("ConvTranspose", ["x", b.weight(4, 3, 2, 2)], strides=[2, 2], group=2)
    for op in ["MaxPool", "AveragePool", "LpPool"]:
        for attributes in [
            dict(strides=[2, 2]), dict(strides=[2, 2], pads=[1, 1, 1, 1]), dict(), dict(auto_pad="SAME_UPPER", strides=[2, 2]),
            dict(auto_pad="SAME_LOWER", strides=[4, 3]), dict(auto_pad="VALID", strides=[2, 5]),
        ]:
            b.op(op, ["x"], kernel_shape=[3, 3], **attributes)
    for op in ["MaxPool", "AveragePool"]:
        for attributes in [
            dict(kernel_shape=[3, 3], strides=[2, 2]), dict(kernel_shape=[2, 2], strides=[2, 2]),
            dict(kernel_shape=[3, 3], strides=[4, 4], pads=[1, 1, 1, 1]), dict(kernel_shape=[2, 3], strides=[7, 5], pads=[1, 2, 1, 2]),
            dict(kernel_shape=[2, 2], strides=[3, 3], pads=[0, 0, 1, 1]),
        ]:
            b.op(op, ["x"], ceil_mode=1, **attributes)
    b.op("MaxPool", ["x"], kernel_shape=[3, 2], dilations=[2, 3])
    b.op("MaxPool", ["x"], n_outputs=2, kernel_shape=[2, 2])
    for op in ["GlobalAveragePool", "GlobalMaxPool"]:
        b.op(op, ["x"])


def shape_arithmetic(b):
    shape = b.op("Shape", ["x"])
    b.op("Shape", ["x"], start=1, end=-1)
    b.op("Shape", ["x"], start=-2)
    b.op("Shape", ["x"], start=3, end=2)
    b.op("Size", ["x"])
    height = b.op("Gather", [shape, b.scalar(2)])
    width = b.op("Gather", [shape, b.scalar(-1)])
    b.op("Gather", [shape, b.ints(3, 2)])
    b.op("Gather", ["x", b.ints(1, 0, 3)], axis=1)
    b.op("Gather", ["x", b.scalar(1)], axis=1)
    seven, minus_seven = b.scalar(7), b.scalar(-7)
    negative = b.op("Neg", [height])
    for op in ["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]:
        for left, right in [(height, seven), (negative, seven), (height, minus_seven), (shape, width), (height, height)]:
            b.op(op, [left, right])
    b.op("Mod", [negative, seven], fmod=1)
    b.op("Mod", [height, minus_seven], fmod=1)
    b.op("Pow", [seven, b.scalar(3)])
    b.op("Abs", [negative])
    b.op("Sign", [negative])
    b.op("Max", [height, width, seven])
    b.op("Sum", [b.op("Cast", [height], to=T.FLOAT), b.const(np.float32(0.5))])
    wide = b.op("Greater", [shape, seven])
    b.op("And", [wide, b.op("Not", [wide])])
    b.op("Or", [wide, b.op("Not", [wide])])
    b.op("Xor", [wide, wide])
    b.op("Where", [wide, shape, seven])
    b.op("Where", [b.const(np.ones((1, 1, 1, 1), bool)), "x", b.const(np.float32(0))])
    halved = b.op("Div", [b.op("Cast", [height], to=T.FLOAT), b.const(np.float32(3))])
    for op in ["Floor", "Ceil", "Round"]:
        b.op("Cast", [b.op(op, [halved])], to=T.INT64)
    b.op("Cast", [b.op("Neg", [halved])], to=T.INT32)
    b.op("Cast", [halved], to=T.BOOL)
    b.op("Range", [b.scalar(0), height, seven])
    b.op("Range", [height, b.scalar(0), minus_seven])
    b.op("Range", [height, b.scalar(0), seven])
    b.op("ConstantOfShape", [b.op("Concat", [b.op("Unsqueeze", [height, b.ints(0)]), b.ints(2)], axis=0)])
    b.op("ConstantOfShape", [b.ints(2, 3)], value=h.make_tensor("", T.INT64, [1], [5]))
    for op in ["ReduceProd", "ReduceMin", "ReduceMax"]:
        b.op(op, [shape], keepdims=0)
    b.op("ReduceSum", [shape], keepdims=1)
    grid = b.op("Reshape", [b.op("Range", [b.scalar(0), b.scalar(12), b.scalar(1)]), b.ints(3, -1)])
    b.op("Transpose", [grid])
    b.op("Slice", [grid, b.ints(-1), b.ints(-(2**63) + 1), b.ints(0), b.ints(-1)])
    b.op("Slice", [grid, b.ints(2, 0), b.ints(0, 4), b.ints(0, 1), b.ints(-1, 3)])
    b.op("Tile", [grid, b.ints(2, 1)])
    b.op("Expand", [b.op("Unsqueeze", [shape, b.ints(1)]), b.ints(2, 4, 3)])
    b.op("Concat", [grid, grid], axis=1)
    b.op("Squeeze", [b.op("Unsqueeze", [grid, b.ints(0, -1)])])
    b.op("Split", [shape], n_outputs=2)
    b.op("Split", [shape, b.ints(1, 3)], n_outputs=2, axis=-1)
    b.op("Gather", [grid, b.ints(2, -1, 0)], axis=-1)
    b.op("Gather", [grid, b.const(np.array([[0, 2], [1, 1]], np.int64))], axis=0)


def rearrangements(b):
    big, low = 2**63 - 1, -(2**63)
    for starts, ends, axes, steps in [
        ([0], [big], [2], [1]), ([-5], [big], [3], [1]), ([1], [-1], [2], [2]), ([0], [2**31 - 1], [2], [3]),
        ([-1], [low], [3], [-1]), ([-1], [low], [3], [-4]), ([1000], [0], [2], [-1]), ([5], [3], [2], [1]),
        ([0, 1], [2, 9], [1, -1], [1, 2]), ([1000], [2000], [2], [1]), ([-1000], [-900], [2], [1]), ([10], [2], [3], [-3]),
    ]:
        b.op("Slice", ["x", b.ints(*starts), b.ints(*ends), b.ints(*axes), b.ints(*steps)])
    b.op("Slice", ["x", b.ints(0, 1), b.ints(1, 3)])
    b.op("Split", ["x"], n_outputs=2, axis=1)
    b.op("Split", ["x", b.ints(1, 3)], n_outputs=2, axis=1)
    b.op("Reshape", ["x", b.ints(0, 2, 2, -1)])
    b.op("Reshape", ["x", b.ints(-1)])
    b.op("Reshape", ["x", b.ints(0, -1, 0, 1)])
    for axis in [0, 1, -1, 4]:
        b.op("Flatten", ["x"], axis=axis)
    b.op("Transpose", ["x"])
    b.op("Transpose", ["x"], perm=[0, 2, 3, 1])
    b.op("Squeeze", ["x", b.ints(0)])
    b.op("Squeeze", ["x"])
    b.op("Unsqueeze", ["x", b.ints(-1, 0)])
    b.op("Expand", [b.weight(4, 1, 1), b.op("Shape", ["x"])])
    b.op("Tile", ["x", b.ints(1, 2, 1, 3)])
    b.op("DepthToSpace", ["x"], blocksize=2)
    b.op("SpaceToDepth", [b.op("Resize", ["x", "", b.const(np.array([1, 1, 2, 2], np.float32))])], blocksize=2)
    b.op("Concat", ["x", "x"], axis=1)
    b.op("Concat", ["x", "x", "x"], axis=-1)
    b.op("Pad", ["x", b.ints(0, 0, 1, 2, 0, 0, 3, 4)])
    b.op("Pad", ["x", b.ints(0, 0, 1, 2, 0, 0, 3, 4)], mode="reflect")
    b.op("Pad", ["x", b.ints(0, 1, -1, -2, 0, 0, -3, 4)])
    b.op("TopK", ["x", b.ints(3)], n_outputs=2, axis=1)


def arithmetic_on_images(b):
    b.op("Mul", ["x", b.weight(4, 1, 1)])
    b.op("Mul", [b.weight(2, 1, 1, 1, 1), "x"])
    b.op("PRelu", ["x", b.weight(4, 1, 1)])
    b.op("Clip", ["x"])
    b.op("Relu", ["x"])
    b.op("Dropout", ["x"], n_outputs=2)
    b.op("MatMul", ["x", b.op("Transpose", ["x"], perm=[0, 1, 3, 2])])
    rows = b.op("Reshape", ["x", b.ints(4, -1)])
    b.op("Gemm", [rows, rows], transB=1)
    b.op("Gemm", [rows, rows], transA=1)
    vector = b.op("Reshape", [rows, b.ints(-1)])
    b.op("MatMul", [vector, vector])
    b.op("MatMul", [b.weight(5, 4), rows])
    for axes in [[1], [2, 3], [-1]]:
        b.op("ReduceMax", ["x"], axes=axes, keepdims=0)
        b.op("ReduceMean", ["x"], axes=axes)
    b.op("ReduceSum", ["x", b.ints(1, 2)], keepdims=0)
    b.op("ReduceSum", ["x"], noop_with_empty_axes=1)
    b.op("ReduceL2", ["x"])
    b.op("ArgMax", ["x"], axis=1)
    b.op("ArgMin", ["x"], axis=-1, keepdims=0)
    b.op("Softmax", ["x"], axis=1)
    b.op("InstanceNormalization", ["x", b.weight(4), b.weight(4)])
    b.op("BatchNormalization", ["x", b.weight(4), b.weight(4), b.weight(4), b.weight(4)])
    b.op("LayerNormalization", [b.op("Transpose", ["x"], perm=[0, 2, 3, 1]), b.weight(4)], n_outputs=3)
    q, scale, zero = b.op("DynamicQuantizeLinear", ["x"], n_outputs=3)
    b.op("DequantizeLinear", [q, scale, zero])
    b.op("ConvInteger", [q, b.const(np.ones((3, 4, 3, 3), np.uint8)), zero])
    fixed = b.op("QuantizeLinear", ["x", b.const(np.float32(0.1)), b.const(np.uint8(3))])
    b.op("QLinearConv", [fixed, b.const(np.float32(0.1)), b.const(np.uint8(3)), b.const(np.ones((3, 4, 3, 3), np.int8)),
                         b.const(np.float32(0.1)), b.const(np.int8(0)), b.const(np.float32(0.1)), b.const(np.uint8(0))])


def resampling(b):
    for scales in [[1, 1, 2, 2], [1, 1, 0.5, 0.25], [1, 1, 1.5, 2.7], [1, 1, 1 / 3, 1.1]]:
        b.op("Resize", ["x", "", b.const(np.array(scales, np.float32))], mode="linear")
    b.op("Resize", ["x", "", "", b.ints(1, 4, 33, 77)], mode="nearest")
    computed = b.op("Concat", [b.op("Shape", ["x"], start=0, end=2),
                               b.op("Mul", [b.op("Shape", ["x"], start=2), b.ints(2, 3)])], axis=0)
    b.op("Resize", ["x", "", "", computed], mode="cubic")
    b.op("GridSample", ["x", b.weight(1, 20, 30, 2)])


def newer(b):
    shape = b.op("Shape", ["x"])
    b.op("Resize", ["x", "", "", b.ints(50, 60)], axes=[2, 3], mode="linear")
    b.op("Resize", ["x", "", "", b.ints(50, 60)], axes=[2, 3], mode="linear", keep_aspect_ratio_policy="not_larger")
    b.op("Resize", ["x", "", "", b.ints(50, 60)], axes=[2, 3], mode="linear", keep_aspect_ratio_policy="not_smaller")
    b.op("Resize", ["x", "", b.const(np.array([3], np.float32))], axes=[-1], mode="nearest")
    b.op("Split", ["x"], n_outputs=3, axis=2, num_outputs=3)
    b.op("Split", [b.op("Concat", [shape, b.ints(9)], axis=0)], n_outputs=3, num_outputs=3)
    b.op("Pad", ["x", b.ints(1, 2, 3, 4), "", b.ints(2, -1)])
    b.op("ReduceMean", ["x", b.ints(2, 3)])
    b.op("ReduceMean", ["x", b.ints(1)], keepdims=0)
    b.op("ReduceMax", ["x"], noop_with_empty_axes=1)
    b.op("AveragePool", ["x"], kernel_shape=[3, 3], dilations=[2, 2], pads=[1, 1, 1, 1])
    b.op("Reshape", [b.op("Slice", ["x", b.ints(0), b.ints(0), b.ints(1)]), b.ints(0, 5)], allowzero=1)


def older(b):
    b.op("Slice", ["x"], starts=[1, 2], ends=[-1, 2**31 - 1], axes=[2, 3])
    b.op("Squeeze", ["x"], axes=[0])
    b.op("Unsqueeze", ["x"], axes=[0, 3])
    b.op("Upsample", ["x", b.const(np.array([1, 1, 2, 3], np.float32))], mode="nearest")
    b.op("Pad", ["x"], pads=[0, 0, 1, 2, 0, 0, 3, 4], mode="edge")
    b.op("ReduceSum", ["x"], axes=[2, 3])
    b.op("Split", ["x"], n_outputs=2, axis=1, split=[1, 3])
    b.op("TopK", ["x"], n_outputs=2, axis=1, k=2)
    b.op("Clip", ["x"], min=0.0, max=1.0)


def expose(model):
    """Every node output as a graph output; names in graph order."""
    names = [o for node in model.graph.node for o in node.output if o]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return names


def pixel_free(model):
    """Outputs that depend on the shape of the image and not on its pixels."""
    tainted = {model.graph.input[0].name}
    free = set()
    for node in model.graph.node:
        dirty = node.op_type not in ("Shape", "Size") and any(i in tainted for i in node.input)
        (tainted if dirty else free).update(node.output)
    return free


def record(name, model, sizes):
    free = pixel_free(model)
    names = expose(model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    kinds = {o.name: o.type for o in session.get_outputs()}
    for height, width in sizes:
        x = np.random.default_rng(0).random((1, feed.shape[1], height, width), np.float32)
        lines = []
        for out, value in zip(names, session.run(names, {feed.name: x})):
            value = np.asarray(value)
            values = ""
            if out in free and kinds[out] in INTEGERS and value.size <= 64:
                values = ",".join(str(int(v)) for v in value.flatten())
                values = f"[{values}]"
            lines.append(f"{out}\t{','.join(map(str, value.shape))}\t{values}\n")
        (HERE / f"{name}-{height}x{width}.tsv").write_text("".join(lines))


for opset, families in [(17, [windows, shape_arithmetic, rearrangements, arithmetic_on_images, resampling]), (21, [newer]), (9, [older])]:
    builder = Builder(opset)
    for family in families:
        family(builder)
    model = builder.model()
    onnx.checker.check_model(model)
    path = HERE / f"operators-opset{opset}.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    record(path.stem, model, [(25, 18)])
for sample in ["nafnet-denoise", "srvgg-x2"]:
    record(sample, onnx.load(MODELS / f"{sample}.onnx"), SIZES)
