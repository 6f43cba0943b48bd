"""onnxruntime's `quantize_static` beside tilecast, for `cargo xtask bench int8`.

usage: python3 int8_peer.py prepare SOURCE TARGET              `quant_pre_process`, once more without symbolic shapes where it fails
       python3 int8_peer.py quantize SOURCE TARGET IMAGES      `quantize_static`, calibrated on the images of a folder
       python3 int8_peer.py calibrate SOURCE IMAGES METHOD OUT ranges alone; writes the seconds without imports to OUT
       python3 int8_peer.py judge < job.json                   PSNR against FP32, and what runs in INT8; one line of JSON per case

Needs onnx, onnxruntime, numpy and pillow; the figures in docs/ are of onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6 and pillow 13.0.0. Weights are s8
per channel, activations u8, ranges min-max: what onnxruntime's documentation names for x64, with the defaults of everything else. A job is

    {"cases": [{"name": ..., "reference": path, "images": folder, "peak": 1.0 or null, "candidates": {label: path, ...}}, ...]}

and the answer

    {"name": ..., "candidates": {label: {"psnr_db": [one per image], "exact_psnr_db": [...], "int8_convolutions": n, "convolutions": n, "conversions": n} or {"error": ...}}}

PSNR is 10·log10(peak² / MSE); without a peak it is the range of the reference's output. Processors without VNNI add pairs of 8-bit products into 16 bits
that can saturate; `exact_psnr_db` is without that (`session.x64quantprecision`), what a processor with VNNI gives. `conversions` are the QuantizeLinear and DequantizeLinear
nodes that are left when onnxruntime has optimized the graph.
"""

import json
import logging
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from PIL import Image

logging.disable(logging.WARNING)

CONVOLUTIONS = ("Conv", "FusedConv", "ConvTranspose")


def images(folder):
    for path in sorted(pathlib.Path(folder).iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
        yield np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def reader(source, folder):
    from onnxruntime.quantization import CalibrationDataReader

    name = onnx.load(source, load_external_data=False).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.images = images(folder)

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {name: image}

    return Reader()


def prepare(source, target):
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(source, target)
    except Exception as error:  # A user's next try; most exports need it.
        print(first_line(error))
        quant_pre_process(source, target, skip_symbolic_shape=True)


def quantize(source, target, folder):
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        target,
        reader(source, folder),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def calibrate(source, folder, method, seconds):
    """What `quantize_static` does until it has ranges."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    begin = time.perf_counter()
    load_model_with_shape_infer(pathlib.Path(source))
    with tempfile.TemporaryDirectory() as scratch:
        calibrator = create_calibrator(
            pathlib.Path(source),
            list({*QLinearOpsRegistry, *QDQRegistry}),
            augmented_model_path=str(pathlib.Path(scratch) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )
        calibrator.collect_data(reader(source, folder))
        ranges = calibrator.compute_data()
    if not ranges.keys():
        sys.exit("no value has a range")
    pathlib.Path(seconds).write_text(str(time.perf_counter() - begin))


def session(path, exact=False, optimized=""):
    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level = 4
    chosen.optimized_model_filepath = optimized
    if exact:
        chosen.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, chosen, providers=["CPUExecutionProvider"])


def psnr_db(expected, found, peak):
    if not np.isfinite(found).all():
        raise ValueError("the output is not finite")
    peak = peak or float(expected.max() - expected.min()) or 1.0
    mse = float(((found.astype(np.float64) - expected) ** 2).mean())
    return 200.0 if mse == 0 else float(10 * np.log10(peak**2 / mse))


def optimized_nodes(path):
    """Operators of the graph that onnxruntime runs, one per node."""
    with tempfile.TemporaryDirectory() as scratch:
        target = str(pathlib.Path(scratch) / "optimized.onnx")
        session(path, optimized=target)
        return [node.op_type for node in onnx.load(target).graph.node]


def first_line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def judge(case):
    reference = session(case["reference"])
    name = reference.get_inputs()[0].name
    feeds = [{name: image} for image in images(case["images"])]
    expected = [reference.run(None, feed)[0] for feed in feeds]
    answers = {}
    for label, path in case["candidates"].items():
        try:
            found = []
            for exact in (False, True):
                candidate = session(path, exact)
                found.append([psnr_db(e, candidate.run(None, feed)[0], case["peak"]) for e, feed in zip(expected, feeds)])
            nodes = optimized_nodes(path)
            integer = nodes.count("QLinearConv")
            answers[label] = {
                "psnr_db": found[0],
                "exact_psnr_db": found[1],
                "int8_convolutions": integer,
                "convolutions": integer + sum(map(nodes.count, CONVOLUTIONS)),
                "conversions": nodes.count("QuantizeLinear") + nodes.count("DequantizeLinear"),
            }
        except Exception as error:  # What a runtime says of a model is a result.
            answers[label] = {"error": first_line(error)}
    return {"name": case["name"], "candidates": answers}


def main():
    verb, *args = sys.argv[1:]
    if verb == "judge":
        for case in json.load(sys.stdin)["cases"]:
            print(json.dumps(judge(case)), flush=True)
    else:
        {"prepare": prepare, "quantize": quantize, "calibrate": calibrate}[verb](*args)


main()
