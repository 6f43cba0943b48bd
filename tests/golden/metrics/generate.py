#!/usr/bin/env python3
"""Writes the golden file of tilecast-metrics from scikit-image.

Needs numpy 2.4.6 and scikit-image 0.26.0:

    python tests/golden/metrics/generate.py

Images are made by integer arithmetic that `crates/tilecast-metrics/tests/scikit_image_golden.rs` repeats, so
the file holds parameters and results only. Pixels are multiples of 1/1024, exact in both languages.
"""

import json
from pathlib import Path

import numpy
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

assert skimage.__version__ == "0.26.0", skimage.__version__


def noise(seed, c, y, x):
    """A pseudo-random integer in [0, 1024), by wrapping 32-bit arithmetic."""
    value = (seed * 0x9E3779B1 + c * 0x85EBCA77 + y * 0xC2B2AE3D + x * 0x27D4EB2F) & 0xFFFFFFFF
    value ^= value >> 15
    value = (value * 0x2C1B3C6D) & 0xFFFFFFFF
    value ^= value >> 12
    return value % 1024


def pixel(case, c, y, x):
    """One pixel of the reference, in 1/1024."""
    if case["image"] == "flat":
        return 512
    if case["image"] == "ramp":
        return (x * 17 + y * 9 + c * 200) % 1024
    if case["image"] == "texture":
        return (x * x * 3 + y * y * 5 + x * y * 7 + c * 131) % 1024
    return noise(case["seed"], c, y, x)


def image_pair(case):
    shape = (case["channels"], case["height"], case["width"])
    reference = numpy.empty(shape)
    candidate = numpy.empty(shape)
    for c, y, x in numpy.ndindex(shape):
        value = pixel(case, c, y, x)
        disturbance = (noise(case["seed"] + 1, c, y, x) - 512) * case["amplitude"] // 1024
        reference[c, y, x] = value / 1024 * case["peak"]
        candidate[c, y, x] = (value + disturbance + case["offset"]) / 1024 * case["peak"]
    return reference, candidate


def cases():
    for height, width in [(24, 32), (11, 11), (40, 13)]:
        for image in ["flat", "ramp", "texture", "noise"]:
            for amplitude, offset in [(0, 0), (8, 0), (64, 0), (0, 50), (400, -30)]:
                yield {"image": image, "height": height, "width": width, "channels": 3, "seed": 7,
                       "amplitude": amplitude, "offset": offset, "peak": 1}  # fmt: skip
    yield {"image": "texture", "height": 24, "width": 32, "channels": 1, "seed": 3,
           "amplitude": 100, "offset": 0, "peak": 2}  # fmt: skip
    yield {"image": "ramp", "height": 24, "width": 32, "channels": 3, "seed": 3,
           "amplitude": 30, "offset": 5, "peak": 256}  # fmt: skip


def measure(case):
    reference, candidate = image_pair(case)

    def ssim(dtype):
        return float(structural_similarity(
            reference.astype(dtype), candidate.astype(dtype), gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=case["peak"], channel_axis=0,
        ))  # fmt: skip

    psnr = None
    if (reference != candidate).any():
        psnr = float(peak_signal_noise_ratio(reference, candidate, data_range=case["peak"]))
    return case | {"ssim_f64": ssim(numpy.float64), "ssim_f32": ssim(numpy.float32), "psnr_db": psnr}


results = [measure(case) for case in cases()]
lines = ",\n".join(json.dumps(result, separators=(",", ":")) for result in results)
(Path(__file__).parent / "images.json").write_text(f"[\n{lines}\n]\n")
print(len(results), "cases")
