"""Answers each line, the path of a model, with the seconds that `onnx.load` takes for it.

usage: python3 onnx_load.py

Needs onnx; the figures in docs/ are of onnx 1.23.2.
"""

import sys
import time

import onnx

for line in sys.stdin:
    begin = time.perf_counter()
    model = onnx.load(line.rstrip("\n"))
    seconds = time.perf_counter() - begin
    del model
    print(seconds, flush=True)
