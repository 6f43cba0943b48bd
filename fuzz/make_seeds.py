"""Writes the seeds of the fuzz targets: one small model per part of the format.

Usage: python make_seeds.py, with the `onnx` package installed.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEEDS = Path(__file__).parent / "seeds"
F32 = TensorProto.FLOAT


def tensor(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def value(name, shape, dtype=F32):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(name, nodes, inputs, outputs, initializers=(), opset=17, domains=(), functions=(), change=None, **graph):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers), **graph)
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions), producer_name="seeds")
    model.ir_version = min(helper.find_min_ir_version_for(imports[:1]), 10)
    if change:
        change(model)
    (SEEDS / f"{name}.onnx").write_bytes(model.SerializeToString())


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def main():
    SEEDS.mkdir(exist_ok=True)
    x, y = value("x", [1, 3, "H", "W"]), value("y", None)
    weight = tensor("w", np.ones((4, 3, 3, 3)) / 27)

    save("convolution", [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "b", "b", "b", "b"], ["n"], epsilon=1e-3),
        node("Relu", ["n"], ["r"]),
        node("DepthToSpace", ["r"], ["y"], blocksize=2, mode="CRD"),
    ], [x], [y], [weight, tensor("b", [1, 2, 3, 4])], doc_string="a doc string")

    save("shape_arithmetic", [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "two"], ["h"]),
        node("Mod", ["h", "sixteen"], ["m"]), node("Sub", ["sixteen", "m"], ["d"]),
        node("Unsqueeze", ["d", "zero"], ["e"]), node("Concat", ["zeros", "e", "zero"], ["p"], axis=0),
        node("Pad", ["x", "p"], ["q"], mode="reflect"), node("Slice", ["q", "zero", "ends", "axes"], ["y"]),
    ], [x], [y], [tensor("two", 2, np.int64), tensor("sixteen", 16, np.int64), tensor("zero", [0], np.int64),
                  tensor("zeros", [0] * 6, np.int64), tensor("ends", [8], np.int64), tensor("axes", [2], np.int64)])

    then = helper.make_graph([node("Mul", ["x", "scale"], ["t"])], "then", [], [value("t", None)], [tensor("scale", 2.0)])
    other = helper.make_graph([node("Neg", ["x"], ["o"])], "else", [], [value("o", None)])
    save("branches", [node("If", ["c"], ["y"], then_branch=then, else_branch=other)], [x, value("c", [], TensorProto.BOOL)], [y])

    body = helper.make_graph([node("Add", ["carried", "x"], ["next"]), node("Identity", ["going"], ["still"])], "body",
                             [value("i", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("carried", None)],
                             [value("still", [], TensorProto.BOOL), value("next", None)])
    save("loop", [node("Loop", ["n", "", "x"], ["y"], body=body)], [x], [y], [tensor("n", 3, np.int64)])

    leaky = helper.make_node("LeakyRelu", ["a"], ["t"])
    reference = leaky.attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "alpha", "slope", 1
    inner = helper.make_function("local", "Inner", ["a"], ["r"], [leaky, helper.make_node("Abs", ["t"], ["r"])],
                                 [helper.make_opsetid("", 17)], [], [helper.make_attribute("slope", 0.5)])
    outer = helper.make_function("local", "Outer", ["a", "b"], ["r"], [
        helper.make_node("Inner", ["a"], ["m"], domain="local", slope=0.25), helper.make_node("Add", ["m", "b"], ["r"]),
    ], [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)])
    save("functions", [helper.make_node("Outer", ["x", "x"], ["m"], domain="local"),
                       helper.make_node("Inner", ["m"], ["y"], domain="local")], [x], [y],
         domains=["local"], functions=[inner, outer])

    save("quantized", [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0), node("Conv", ["d", "w"], ["y"]),
    ], [x], [y], [tensor("s", 0.02), tensor("z", 128, np.uint8), tensor("wq", np.ones((2, 3, 1, 1)), np.int8),
                  tensor("ws", [0.1, 0.2]), tensor("wz", [0, 0], np.int8)])

    save("old_opset", [
        node("Upsample", ["x"], ["u"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
        node("Pad", ["u"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5), node("Clip", ["p"], ["c"], min=0.0, max=6.0),
        node("Slice", ["c"], ["l"], starts=[0], ends=[4], axes=[2]), node("ReduceSum", ["l"], ["r"], axes=[1], keepdims=1),
        node("Squeeze", ["r"], ["q"], axes=[1]), node("Unsqueeze", ["q"], ["e"], axes=[1]),
        node("Softmax", ["e"], ["f"], axis=1), node("Dropout", ["f"], ["y"], ratio=0.5),
    ], [value("x", [1, 3, 8, 8])], [y], opset=8)

    save("older_parameters", [
        node("Resize", ["x", "roi", "s"], ["r"], mode="linear", coordinate_transformation_mode="align_corners"),
        node("Split", ["r"], ["a", "b"], axis=1, split=[1, 2]), node("TopK", ["b", "k"], ["t", "i"], axis=1),
        node("ReduceMean", ["t"], ["m"], axes=[2, 3]), node("GlobalAveragePool", ["a"], ["g"]), node("Add", ["m", "g"], ["y"]),
    ], [value("x", [1, 3, 8, 8])], [y], [tensor("roi", []), tensor("s", [1, 1, 2, 2]), tensor("k", [1], np.int64)], opset=12)

    save("attention", [
        node("LayerNormalization", ["x", "w", "b"], ["n"], axis=-1), node("MatMul", ["n", "p"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[0, 2, 1]), node("MatMul", ["q", "t"], ["s"]),
        node("Softmax", ["s"], ["m"], axis=-1), node("MatMul", ["m", "q"], ["a"]), node("Gelu", ["a"], ["g"]),
        node("Reshape", ["g", "shape"], ["h"]), node("Einsum", ["h", "h"], ["y"], equation="bij,bkj->bik"),
    ], [value("x", [1, "T", 4])], [y], [tensor("w", [1] * 4), tensor("b", [0] * 4), tensor("p", np.eye(4)),
                                        tensor("shape", [0, -1, 4], np.int64)], opset=20)

    typed = [helper.make_tensor(f"t{code}", code, [2], data) for code, data in [
        (TensorProto.FLOAT, [1, 2]), (TensorProto.DOUBLE, [1, 2]), (TensorProto.INT32, [-1, 2]), (TensorProto.INT64, [-1, 2]),
        (TensorProto.UINT64, [1, 2]), (TensorProto.UINT32, [1, 2]), (TensorProto.INT8, [-1, 2]), (TensorProto.BOOL, [0, 1]),
        (TensorProto.FLOAT16, [1, 2]), (TensorProto.BFLOAT16, [1, 2]), (TensorProto.COMPLEX64, [1, 2j]),
        (TensorProto.STRING, [b"a", b"b"]), (TensorProto.INT4, [1, -2]), (TensorProto.FLOAT8E4M3FN, [1, 2])]]
    sparse = helper.make_sparse_tensor(tensor("sparse", [1, 2]), tensor("at", [0, 3], np.int64), [2, 2])

    def annotate(model):
        model.graph.initializer[0].external_data.add(key="note", value="kept")
        model.metadata_props.add(key="author", value="nobody")
        annotation = model.graph.quantization_annotation.add(tensor_name="x")
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="t1")
        model.graph.input.add(name="seq").type.sequence_type.elem_type.tensor_type.elem_type = F32
        model.graph.input.add(name="opt").type.optional_type.elem_type.map_type.key_type = TensorProto.INT64
        model.graph.node[0].metadata_props.add(key="k", value="v")

    save("all_types", [node("Constant", [], ["c"], value_floats=[1.0, float("nan")]), node("Relu", ["x"], ["y"])],
         [x], [y], typed, sparse_initializer=[sparse], change=annotate, opset=21)

    def point_elsewhere(model):
        external = model.graph.initializer[0]
        external.ClearField("raw_data")
        external.data_location = TensorProto.EXTERNAL
        for key, text in [("location", "weights.bin"), ("offset", "4096"), ("length", "432")]:
            external.external_data.add(key=key, value=text)

    save("external_data", [node("Conv", ["x", "w"], ["y"])], [x], [y], [weight], change=point_elsewhere)


main()
