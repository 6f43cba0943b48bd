"""Exports reduced networks with random weights by both of PyTorch's ONNX exporters, and writes what ONNX Runtime computes with them.

    python export.py [architecture ...]

Versions used: torch 2.15.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1, numpy 2.4.6. Nothing but the CPU is used, and running the
script again on the same machine gives the same bytes. `../README.md` describes the files that it writes; with names of architectures it
writes only theirs, and leaves the rows of the others in the index as they are.
"""

import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
OUT = HERE.parent
GOLDEN = OUT / "golden"
sys.path.append(str(HERE.parents[1] / "how"))

import restormer  # noqa: E402
import rrdb  # noqa: E402
import swinir  # noqa: E402
import unet_bn  # noqa: E402
import unet_mobile  # noqa: E402
from nafnet import NAFNet  # noqa: E402
from srvgg import SRVGG  # noqa: E402

SIZES = [(64, 64), (96, 80), (70, 53)]
SEED = 1
# The exporter repeats in these what `namespace` says, or writes the paths of the machine into them.
DROPPED_METADATA = {
    "pkg.torch.onnx.stack_trace",
    "pkg.torch.onnx.fx_node",
    "pkg.torch.onnx.class_hierarchy",
    "pkg.torch.onnx.name_scopes",
}
INDEX_COLUMNS = [
    "file", "architecture", "exporter", "opset", "nodes", "bytes", "size_multiple", "height", "width", "input_seed",
    "output_shape", "output_min", "output_max", "golden", "stride", "max_abs_error",
]  # fmt: skip


@dataclass
class Architecture:
    name: str
    build: Callable[[], nn.Module]
    last: Callable[[nn.Module], nn.Conv2d]
    """The convolution that ends the network."""
    adds_input: bool
    """Whether the (upscaled) input is added to what `last` gives."""
    multiple: int = 1
    """Height and width must be multiples of this."""
    keep_batch_norm: bool = False
    """Keep the TorchScript exporter from folding BatchNorm into convolutions, and export by dynamo without its optimizer too, which folds."""


def nafnet(pad):
    return NAFNet(width=8, mid=1, enc=(1, 1, 1), dec=(1, 1, 1), pad=pad)


ARCHITECTURES = [
    Architecture("nafnet", lambda: nafnet(False), lambda m: m.ending, True, multiple=8),
    Architecture("nafnet-pad", lambda: nafnet(True), lambda m: m.ending, True),
    Architecture("unet-bn", unet_bn.UNet, lambda m: m.last, True, multiple=4, keep_batch_norm=True),
    Architecture("unet-mobile", unet_mobile.MobileUNet, lambda m: m.last, True),
    Architecture("realesrgan-x4v3", lambda: SRVGG(24, 8, 4), lambda m: m.body[-2], True),
    Architecture("realesrgan-x4plus", rrdb.RRDBNet, lambda m: m.last, False),
    Architecture("swinir", swinir.SwinIR, lambda m: m.last, False),
    Architecture("restormer", restormer.Restormer, lambda m: m.last, True, multiple=4),
]


def values(seed, shape):
    """Floats in [0, 1) from an integer hash of the seed and the position."""
    n = int(np.prod(shape))
    x = np.arange(n, dtype=np.uint64) + seed * 0x9E3779B1 & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    x ^= x >> 16
    return ((x >> 8).astype(np.float32) / np.float32(1 << 24)).reshape(shape)


def randomize(model):
    """Gives every parameter a value that no shortcut of an exporter or an optimizer can mistake for a default."""
    convolutions = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    for module in model.modules():
        if isinstance(module, convolutions):
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = module.weight.shape[0] if transposed else module.weight[0].numel()
            nn.init.normal_(module.weight, std=(1.4 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.05, 0.4)
        else:
            for name, parameter in module.named_parameters(recurse=False):
                if name in ("weight", "w"):
                    nn.init.uniform_(parameter, 0.6, 1.4)
                elif name in ("bias", "b"):
                    nn.init.normal_(parameter, std=0.1)
                elif name == "temperature":
                    nn.init.uniform_(parameter, 1.0, 4.0)
                elif name in ("beta", "gamma", "position_bias"):
                    nn.init.normal_(parameter, std=0.3)
                else:
                    raise ValueError(f"no rule for the parameter {name}")


def measure_batch_norms(model):
    """Takes the statistics from random images and then moves them, as those of other images would be."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
    model.train()
    for _ in range(4):
        model(torch.rand(2, 3, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
        deviation = norm.running_var.sqrt()
        norm.running_mean += 0.2 * deviation * torch.randn_like(deviation)
        norm.running_var *= torch.empty_like(deviation).uniform_(0.7, 1.5)


@torch.no_grad()
def build(architecture):
    """The network in evaluation mode; its output spreads about as much as an image does."""
    torch.manual_seed(SEED)
    model = architecture.build()
    randomize(model)
    measure_batch_norms(model)
    model.eval()
    last, seen = architecture.last(model), []
    hook = last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    model(torch.from_numpy(values(SEED, (1, 3, 64, 64))))
    hook.remove()
    last.weight *= 0.2 / seen[0].std()
    if last.bias is not None:
        mean = (seen[0].mean() - last.bias.mean()) * 0.2 / seen[0].std()
        last.bias += (0.0 if architecture.adds_input else 0.5) - mean
    return model


def export_torchscript(architecture, model, path):
    mode = torch.onnx.TrainingMode
    torch.onnx.export(
        model,
        (torch.rand(1, 3, 64, 48),),
        path,
        dynamo=False,
        opset_version=17,
        training=mode.PRESERVE if architecture.keep_batch_norm else mode.EVAL,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {2: "h", 3: "w"}, "output": {2: "h_out", 3: "w_out"}},
    )


def export_dynamo(architecture, model, path, optimize=True):
    if architecture.multiple == 1:
        dims = {2: torch.export.Dim("h", min=16, max=4096), 3: torch.export.Dim("w", min=16, max=4096)}
    else:
        dims = {i: architecture.multiple * torch.export.Dim(n, min=4, max=512) for i, n in ((2, "h"), (3, "w"))}
    torch.onnx.export(
        model,
        (torch.rand(1, 3, 64, 48),),
        path,
        dynamo=True,
        opset_version=20,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=(dims,),
        optimize=optimize,
        external_data=False,
        verbose=False,
    )
    proto = onnx.load(path)
    for node in proto.graph.node:
        kept = [p for p in node.metadata_props if p.key not in DROPPED_METADATA]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(proto, path)


def export_dynamo_unoptimized(architecture, model, path):
    export_dynamo(architecture, model, path, optimize=False)


def run(path, x, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def rows(architecture, model, path, exporter):
    """Compares the export with the network at every size that it takes, writes the golden files, and gives the rows of the index."""
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    levels = ort.GraphOptimizationLevel
    for height, width in SIZES:
        if height % architecture.multiple or width % architecture.multiple:
            continue
        x = values(SEED, (1, 3, height, width))
        with torch.no_grad():
            want = model(torch.from_numpy(x)).numpy()
        got = run(path, x, levels.ORT_DISABLE_ALL)
        errors = [np.abs(y - want).max() for y in (got, run(path, x, levels.ORT_ENABLE_ALL))]
        assert got.shape == want.shape and max(errors) < 1e-4, (path, errors)
        stride = next(s for s in (7, 31, 61, 97) if got.size / s < 4500)
        golden = f"{path.stem}-{height}x{width}.bin"
        got.astype("<f4").ravel()[::stride].tofile(GOLDEN / golden)
        print(f"{golden}: {got.shape}, {got.min():.3f} to {got.max():.3f}, off by {errors[0]:.1e} and {errors[1]:.1e}")
        yield [
            path.name, architecture.name, exporter, proto.opset_import[0].version, len(proto.graph.node), path.stat().st_size,
            architecture.multiple, height, width, SEED, "x".join(map(str, got.shape)), f"{got.min():.4f}", f"{got.max():.4f}",
            golden, stride, f"{1e-4 * (got.max() - got.min()):.2e}",
        ]  # fmt: skip


def main(names):
    unknown = set(names) - {a.name for a in ARCHITECTURES}
    assert not unknown, f"no such architecture: {unknown}"
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    GOLDEN.mkdir(exist_ok=True)
    index = GOLDEN / "index.tsv"
    old = [line.split("\t") for line in index.read_text().splitlines()[1:]] if index.exists() else []
    table = []
    for architecture in ARCHITECTURES:
        if names and architecture.name not in names:
            table += [row for row in old if row[1] == architecture.name]
            continue
        model = build(architecture)
        exports = [("torchscript", "ts17", export_torchscript), ("dynamo", "dy20", export_dynamo)]
        if architecture.keep_batch_norm:
            exports.append(("dynamo-unoptimized", "unoptimized-dy20", export_dynamo_unoptimized))
        for exporter, suffix, export in exports:
            path = OUT / f"{architecture.name}-{suffix}.onnx"
            export(architecture, model, path)
            table += rows(architecture, model, path, exporter)
    lines = ["\t".join(map(str, row)) for row in [INDEX_COLUMNS, *table]]
    index.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
