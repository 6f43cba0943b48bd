"""Simplifies one model with another tool, as its own command line does by default.

usage: python3 other_simplifiers.py onnxslim|onnxsim IN OUT

Needs the tool; the figures in docs/ are of onnxslim 0.1.98 and onnxsim 0.8.1 with onnx 1.23.2. Prints the number of nodes that are left.
A process for each model: a tool that crashes must not take the others with it.
"""

import sys

import onnx


def main():
    tool, source, target = sys.argv[1:]
    if tool == "onnxslim":
        import onnxslim

        model = onnxslim.slim(source)
    else:
        import onnxsim

        model, equal = onnxsim.simplify(onnx.load(source))
        if not equal:
            sys.exit("onnxsim found its own result to differ")
    onnx.save(model, target)
    print("nodes", len(model.graph.node))


main()
