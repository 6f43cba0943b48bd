"""What onnxruntime makes of the nodes of INT8 models for `ort-cpu`: the answers that the predictions are held against.

    python tests/golden/ort_fusion/generate.py target/release/tilecast

Needs onnx 1.23.2 and onnxruntime 1.31.1. Converts models of this repository as `crates/tilecast/tests/ort_fusion.rs` does,
has onnxruntime write its optimized graph, and writes one file per model: the name of every node of the converted model that
is no Q/DQ, Cast or Constant, and

- `int8`: it became an integer operator, or reads and writes integers;
- `gone`: no node of this name is left, because another computes it;
- anything else: the operator that computes it with floats.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import onnx
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
MODELS = [
    "models/nafnet-denoise.onnx",
    "models/srvgg-x2.onnx",
    "models/exports/nafnet-pad-dy20.onnx",
    "models/exports/realesrgan-x4plus-dy20.onnx",
    "models/exports/restormer-dy20.onnx",
    "models/exports/swinir-dy20.onnx",
    "models/exports/unet-bn-ts17.onnx",
    "models/exports/unet-mobile-ts17.onnx",
]
CALIBRATION = "calibration/noisy/01-s10-256x256.png"
INTEGER_OPS = {"MatMulIntegerToFloat", "QGemm"}
IGNORED = {"QuantizeLinear", "DequantizeLinear", "Cast", "Constant"}


def convert(tool, model, folder):
    images = folder / "images"
    images.mkdir(exist_ok=True)
    (images / "1.png").write_bytes((ROOT / CALIBRATION).read_bytes())
    converted = folder / model.name
    line = [tool, "convert", model, "--to", "int8", "--target", "ort-cpu", "--calibration", images]
    subprocess.run([*line, "--int8-everywhere", "--tile", "64", "-o", converted], check=True, stdout=subprocess.DEVNULL)
    return converted


def optimized(converted, folder):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(converted), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx").graph


def answers(graph, after):
    integers = set()
    found = {}
    for node in after.node:
        is_integer_op = node.op_type.startswith("QLinear") or node.op_type in INTEGER_OPS
        moves = bool(node.input) and node.input[0] in integers and node.op_type != "DequantizeLinear"
        if is_integer_op or moves or node.op_type == "QuantizeLinear":
            integers.update(node.output)
        assert node.name not in found or not node.name, f"two nodes have the name {node.name}"
        found[node.name] = "int8" if is_integer_op or moves else node.op_type
    names = [node.name for node in graph.node if node.op_type not in IGNORED]
    assert all(names) and len(set(names)) == len(names), "every node needs a name of its own"
    return {name: found.get(name, "gone") for name in names}


def main():
    tool = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for model in MODELS:
            model = ROOT / model
            converted = convert(tool, model, folder)
            answer = answers(onnx.load(converted).graph, optimized(converted, folder))
            document = {"onnxruntime": onnxruntime.__version__, "nodes": answer}
            path = HERE / f"{model.stem}.json"
            path.write_text(json.dumps(document, indent=0) + "\n")
            counts = {kind: list(answer.values()).count(kind) for kind in ("int8", "gone")}
            print(path.name, len(answer), "nodes", counts)


if __name__ == "__main__":
    main()
