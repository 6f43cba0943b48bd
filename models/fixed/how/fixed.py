"""Exports two of the networks of `../../exports` for one size only, and writes what PyTorch computes with them at that size.

    python fixed.py

Versions and determinism are those of `../../exports/how/export.py`, which has the networks and their weights.
"""

import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

HERE = Path(__file__).resolve().parent
OUT = HERE.parent
sys.path.append(str(HERE.parents[1] / "exports" / "how"))

import export as dynamic  # noqa: E402

HEIGHT, WIDTH = 64, 48
STRIDE = 7
NAMES = {"swinir": "ts17", "nafnet-pad": "dy20"}


def export_torchscript(model, path):
    torch.onnx.export(
        model,
        (torch.rand(1, 3, HEIGHT, WIDTH),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
    )


def export_dynamo(model, path):
    torch.onnx.export(
        model,
        (torch.rand(1, 3, HEIGHT, WIDTH),),
        path,
        dynamo=True,
        opset_version=20,
        input_names=["input"],
        output_names=["output"],
        external_data=False,
        verbose=False,
    )
    proto = onnx.load(path)
    for node in proto.graph.node:
        kept = [p for p in node.metadata_props if p.key not in dynamic.DROPPED_METADATA]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(proto, path)


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    x = dynamic.values(dynamic.SEED, (1, 3, HEIGHT, WIDTH))
    for name, suffix in NAMES.items():
        architecture = next(a for a in dynamic.ARCHITECTURES if a.name == name)
        model = dynamic.build(architecture)
        path = OUT / f"{name}-{suffix}-{WIDTH}x{HEIGHT}.onnx"
        (export_torchscript if suffix == "ts17" else export_dynamo)(model, path)
        proto = onnx.load(path)
        onnx.checker.check_model(proto, full_check=True)
        with torch.no_grad():
            want = model(torch.from_numpy(x)).numpy()
        got = dynamic.run(path, x, dynamic.ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        assert got.shape == want.shape and np.abs(got - want).max() < 1e-4, path
        want.astype("<f4").ravel()[::STRIDE].tofile(OUT / "golden" / f"{path.stem}.bin")
        print(f"{path.name}: {len(proto.graph.node)} nodes, {path.stat().st_size} bytes, {want.shape}, {want.min():.4f} to {want.max():.4f}")


if __name__ == "__main__":
    main()
