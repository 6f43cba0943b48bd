"""Golden figures from onnxruntime for the artifacts of recipes/nafnet.yaml.

usage: python generate.py DIST    (DIST: the folder that `cargo xtask quantize recipes/nafnet.yaml` wrote)

Needs onnx 1.23.2, onnxruntime 1.31.1, numpy and Pillow. Every artifact must pass onnx.checker, load in onnxruntime's
CPU provider and give finite output. Figures are PSNR against the FP32 model in dB, peak 1, unclamped, whole images:

- INT8 artifacts run as they are;
- the FP16 artifact runs as a float32 graph with a Cast to float16 and back after every node whose result is float16,
  because the CPU provider computes FP16 graphs in float32 and drops roundings between adjacent nodes.

Only held-out images of up to 512 pixels a side are used: they run whole in a test.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[3]
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


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def rounding_survives():
    """Whether onnxruntime keeps a Cast to float16 and back: the figures mean nothing if it does not."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["h"], to=HALF), helper.make_node("Cast", ["h"], ["y"], to=FULL)],
        "g",
        [helper.make_tensor_value_info("x", FULL, [1])],
        [helper.make_tensor_value_info("y", FULL, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.array([1.0 + 2.0**-12], np.float32)
    return session(model).run(None, {"x": x})[0][0] == np.float32(np.float16(x[0]))


def psnr(a, b):
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


def main(dist):
    assert rounding_survives(), "this onnxruntime drops a Cast to float16 and back"
    report = json.loads((dist / "report.json").read_text())
    folder = ROOT / "calibration" / "noisy"
    images = {}
    for entry in report["calibration"]["holdout"]:
        pixels = np.asarray(Image.open(folder / entry["name"]).convert("RGB"), np.float32) / 255
        if max(pixels.shape) <= 512:
            images[entry["name"]] = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    reference = session(onnx.load(ROOT / "models" / "nafnet-denoise.onnx"))
    expected = {name: reference.run(None, {"input": x})[0] for name, x in images.items()}
    artifacts = {}
    for artifact in report["artifacts"]:
        path = dist / artifact["path"]
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        shipped = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        judged = session(rounded_graph(model)) if artifact["precision"] == "fp16" else shipped
        figures = {}
        for name, x in images.items():
            assert np.isfinite(shipped.run(None, {"input": x})[0]).all(), (artifact["name"], name)
            figures[name] = round(psnr(expected[name], judged.run(None, {"input": x})[0]), 3)
        artifacts[artifact["name"]] = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "psnr_db": figures,
        }
    figures = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "artifacts": artifacts}
    (pathlib.Path(__file__).parent / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


main(pathlib.Path(sys.argv[1]))
