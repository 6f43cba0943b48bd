"""Runs models in onnxruntime on the CPU, each in pairs with its reference, for the benchmarks of `cargo xtask bench`.

usage: python3 ort_pairs.py < job.json

Needs onnxruntime and numpy; the figures in docs/ are of onnxruntime 1.31.1 and numpy 2.4.6. The job:

    {"threads": [1, 2], "rounds": 21,
     "cases": [{"name": ..., "reference": path, "shape": [1, 3, h, w], "candidates": {label: path, ...}}, ...]}

Writes one line of JSON per case and number of threads:

    {"name": ..., "threads": n, "reference_ms": [...], "candidates": {label: {"ratios": [...], "difference": x} or {"error": ...}}}

A ratio is the reference's time over the candidate's: above one, the candidate is faster. A round runs reference, candidate, candidate,
reference: a drift of the machine's speed is the same for both. Each of these is as many runs in a row as take 50 ms of the
reference, so that a network of a few milliseconds is not measured by what the one before left in the caches. `difference` is the largest absolute difference of the outputs
over the range of the reference's.
"""

import json
import math
import sys
import time

import numpy as np
import onnxruntime as ort


SAMPLE_SECONDS = 0.05


def session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The threads of one session must not keep a core busy while the other one runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def seconds(model, feed, runs):
    begin = time.perf_counter()
    for _ in range(runs):
        model.run(None, feed)
    return (time.perf_counter() - begin) / runs


def relative_difference(expected, found):
    worst = 0.0
    for a, b in zip(expected, found):
        if a.shape != b.shape:
            return float("inf")
        span = float(a.max() - a.min()) or 1.0
        worst = max(worst, float(np.abs(a.astype(np.float64) - b).max()) / span)
    return worst


def first_line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def measure(case, threads, rounds):
    reference = session(case["reference"], threads)
    shape = case["shape"]
    feed = {reference.get_inputs()[0].name: np.random.default_rng(1).random(shape, dtype=np.float32)}
    expected = reference.run(None, feed)
    results, candidates = {}, {}
    for label, path in case["candidates"].items():
        try:
            candidate = session(path, threads)
            found = candidate.run(None, feed)
        except Exception as error:  # Whatever onnxruntime says of a model is a result of the benchmark.
            results[label] = {"error": first_line(error)}
            continue
        candidates[label] = candidate
        results[label] = {"ratios": [], "difference": relative_difference(expected, found)}
    runs = math.ceil(SAMPLE_SECONDS / min(seconds(reference, feed, 1) for _ in range(3)))
    reference_ms = []
    for _ in range(rounds):
        for label, candidate in candidates.items():
            before = seconds(reference, feed, runs)
            inner = seconds(candidate, feed, runs) + seconds(candidate, feed, runs)
            after = seconds(reference, feed, runs)
            results[label]["ratios"].append((before + after) / inner)
            reference_ms.append(500 * (before + after))
    return {"name": case["name"], "threads": threads, "reference_ms": reference_ms, "candidates": results}


def main():
    job = json.load(sys.stdin)
    for case in job["cases"]:
        for threads in job["threads"]:
            print(json.dumps(measure(case, threads, job["rounds"])), flush=True)


main()
