"""onnxconverter-common beside tilecast, for `cargo xtask bench half`.

usage: python3 half_judge.py convert SOURCE TARGET    convert with onnxconverter-common; prints the seconds of load, convert and save
       python3 half_judge.py traps FOLDER             write the four models that break FP16 converters
       python3 half_judge.py judge < job.json         PSNR of both, one line of JSON per case

Needs onnx, onnxruntime, numpy and onnxconverter-common; the figures in docs/ are of onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6 and
onnxconverter-common 1.16.0. A job is {"cases": [{"name", "reference", "ours", "shape", "low", "high"}, ...]}; inputs are uniform between low
and high. `ort` is onnxruntime's CPU provider, which computes in float32; `rounded` rounds to float16 after every node.
"""
import json
import pathlib
import sys
import time
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings("ignore")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "golden" / "ort"))
from rounded import rounded_graph  # noqa: E402


def by_peer(source):
    from onnxconverter_common import float16

    return float16.convert_float_to_float16(onnx.load(source), keep_io_types=True)


def run(model, x, optimized):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0].astype(np.float32)


def quality(expected, found):
    if not np.isfinite(found).all():
        return {"finite": False}
    difference = found.astype(np.float64) - expected
    span = float(expected.max() - expected.min()) or 1.0
    mse = float((difference**2).mean())
    return {
        "finite": True,
        "psnr_db": 200.0 if mse == 0 else 10 * np.log10(span**2 / mse),
        "largest": float(np.abs(difference).max()) / span,
    }


def judge(case):
    reference = onnx.load(case["reference"])
    x = np.random.default_rng(1).uniform(case["low"], case["high"], case["shape"]).astype(np.float32)
    expected = run(reference, x, True)
    floats = [t for t in reference.graph.initializer if t.data_type == TensorProto.FLOAT]
    floats += [
        a.t for n in reference.graph.node for a in n.attribute if n.op_type == "Constant" and a.t.data_type == TensorProto.FLOAT
    ]
    size = pathlib.Path(case["reference"]).stat().st_size
    answer = {
        "name": case["name"],
        "floor": (size - 2 * sum(int(np.prod(t.dims)) for t in floats)) / size,
        "ratio": pathlib.Path(case["ours"]).stat().st_size / size,
    }
    for who, load in (("ours", lambda: onnx.load(case["ours"])), ("peer", lambda: by_peer(case["reference"]))):
        for how in ("ort", "rounded"):
            try:
                model = load()
                if who == "ours":
                    onnx.checker.check_model(model, full_check=True)
                model = model if how == "ort" else rounded_graph(model)
                answer[f"{who}_{how}"] = quality(expected, run(model, x, how == "ort"))
            except Exception as error:  # What a converter or a runtime says of a model is a result.
                answer[f"{who}_{how}"] = {"error": str(error).strip().splitlines()[0][:200]}
    return answer


def small(nodes, constants, channels=2):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8])  # noqa: E731
    initializers = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "trap", [value("x")], [value("y")], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def normalized(source, eps):
    """The nine nodes that exporters write for a layer normalization over channels, of `source` to `n`."""
    node = helper.make_node
    return [
        node("ReduceMean", [source], ["m"], "mean", axes=[1]),
        node("Sub", [source, "m"], ["c"], "center"),
        node("Pow", ["c", "two"], ["q"], "square"),
        node("ReduceMean", ["q"], ["v"], "variance", axes=[1]),
        node("Add", ["v", "eps"], ["ve"], "add_eps"),
        node("Sqrt", ["ve"], ["d"], "deviation"),
        node("Div", ["c", "d"], ["n"], "normalize"),
    ], {"two": 2.0, "eps": eps}


def traps(folder):
    node = helper.make_node
    draw = np.random.default_rng(7)
    conv = lambda x, w, y: node("Conv", [x, w], [y], f"conv_{y}", kernel_shape=[1, 1])  # noqa: E731
    norm, constants = normalized("a", 1e-6)
    wide = np.where(draw.random((512, 2, 1, 1)) < 0.3, 300.0, -250.0) * (1 + 0.05 * draw.random((512, 2, 1, 1)))
    constants |= {"wide": wide, "narrow": draw.normal(0, 0.01, (2, 512, 1, 1))}
    models = {
        "activations of 300, 512 channels": small([conv("x", "wide", "a"), *norm, conv("n", "narrow", "y")], constants),
        "weight of 20000": small(
            [conv("x", "w", "a"), conv("a", "small", "y")],
            {"w": [[[[20000.0]], [[0.5]]], [[[-20000.0]], [[1.0]]]], "small": [[[[1e-4]], [[0.0]]], [[[0.0]], [[1e-4]]]]},
        ),
    }
    norm, constants = normalized("a", 1e-8)
    constants |= {"flat": [[[[0.0]], [[1e-4]]]]}
    models["epsilon of 1e-8"] = small([node("Mul", ["x", "flat"], ["a"], "flatten"), *norm, node("Add", ["n", "x"], ["y"], "shift")], constants)
    mask = np.zeros((1, 1, 8, 8))
    mask[..., 6:] = mask[:, :, 0] = -3.4028234663852886e38
    models["mask of -3.4e38"] = small(
        [conv("x", "w", "a"), node("Add", ["a", "hidden"], ["s"], "mask"), node("Softmax", ["s"], ["p"], "softmax", axis=-1), conv("p", "w", "y")],
        {"w": [[[[0.5]], [[0.25]]], [[[-0.5]], [[1.0]]]], "hidden": mask},
    )
    for name, model in models.items():
        onnx.save(model, pathlib.Path(folder) / f"{name}.onnx")


def main():
    verb, *args = sys.argv[1:]
    if verb == "convert":
        from onnxconverter_common import float16

        begin = time.perf_counter()
        onnx.save(float16.convert_float_to_float16(onnx.load(args[0]), keep_io_types=True), args[1])
        pathlib.Path(args[1] + ".seconds").write_text(str(time.perf_counter() - begin))
    elif verb == "traps":
        traps(args[0])
    else:
        for case in json.load(sys.stdin)["cases"]:
            print(json.dumps(judge(case)), flush=True)


main()
