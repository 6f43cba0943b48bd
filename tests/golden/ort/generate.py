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
from onnx import helper
from PIL import Image

from rounded import FULL, HALF, rounded_graph

ROOT = pathlib.Path(__file__).resolve().parents[3]


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
        options = onnxruntime.SessionOptions()
        # Processors without VNNI add products of u8 and s8 in 16 bits, which saturate; this asks for kernels that do not.
        options.add_session_config_entry("session.x64quantprecision", "1")
        shipped = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
