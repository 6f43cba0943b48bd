"""FP16 models as a GPU computes them: float32 arithmetic with a rounding to float16 after every node.

onnxruntime's CPU provider computes FP16 graphs in float32 and drops roundings between adjacent nodes, so that it judges nothing.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT


def rounded_graph(model):
    """The FP16 model as float32 arithmetic with explicit rounding to float16 after every node."""
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    for tensor in graph.initializer:
        if tensor.data_type == HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == HALF:
                value = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(value))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == HALF:
                attribute.i = FULL
        results = [o for o in node.output if types.get(o) == HALF]
        raw = {o: o + "/raw" for o in results}
        for position, name in enumerate(node.output):
            node.output[position] = raw.get(name, name)
        nodes.append(node)
        for name in results:
            nodes.append(helper.make_node("Cast", [raw[name]], [name + "/half"], to=HALF))
            nodes.append(helper.make_node("Cast", [name + "/half"], [name], to=FULL))
    del graph.value_info[:]
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return out
