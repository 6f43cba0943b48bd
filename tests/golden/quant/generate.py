#!/usr/bin/env python3
"""Writes the golden files of tilecast-quant from ONNX Runtime's own quantizer.

Needs onnx 1.23.2, onnxruntime 1.31.1 and numpy 2.4.6:

    python tests/golden/quant/generate.py

Floats are stored as the integers of their bits, so that no decimal conversion can hide a difference. The
random numbers come from a fixed seed; running the script again gives the same bytes.
"""

import json
import types
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.base_quantizer import BaseQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import (
    compute_data_quant_params,
    compute_scale_zp,
    get_qmin_qmax_for_qType,
    quantize_data,
    quantize_onnx_initializer,
)

assert onnxruntime.__version__ == "1.31.1", onnxruntime.__version__
HERE = Path(__file__).parent
F32 = numpy.float32
TYPES = {"u8": TensorProto.UINT8, "s8": TensorProto.INT8}


def bits(values):
    """The bits of one float or of an array, as integers."""
    flat = numpy.asarray(values, dtype=F32).reshape(-1).view(numpy.uint32).tolist()
    return flat if numpy.ndim(values) else flat[0]


def write(name, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n")
    print(name, len(cases), "cases")


def ranges(rng):
    tiny, biggest = numpy.finfo(F32).tiny, numpy.finfo(F32).max
    fixed = [
        (0.0, 0.0), (-0.0, 0.0), (-0.0, -0.0), (0.0, 1.0), (-1.0, 0.0), (-1.0, 1.0), (0.5, 1.0), (-1.0, -0.5),
        (1.0, 1.0), (-1.0, -1.0), (-1.0, 3.0), (0.0, 255.0), (-128.0, 127.0), (-0.5, 254.5), (-1.5, 253.5),
        (-127.5, 127.5), (0.0, 6.0), (-3.0, 3.0), (-1e-3, 1e3), (-1e3, 1e-3), (0.0, biggest), (-biggest, 0.0),
        (-biggest, biggest), (0.0, tiny), (-tiny, tiny), (0.0, 1e-45), (-1e-45, 1e-45), (0.0, 1e-40),
        (0.0, tiny * 254), (0.0, tiny * 255), (0.0, tiny * 256), (-tiny * 127, tiny * 127), (-tiny * 126, tiny),
        (-tiny * 127.5, tiny), (-tiny * 128, tiny), (0.0, 1e-37), (0.0, 3e-36), (-1e30, 1e-30), (-1e-30, 1e30),
    ]  # fmt: skip
    yield from fixed
    for _ in range(40):
        yield tuple(sorted(rng.normal(0, 3, 2)))
    for _ in range(40):
        yield tuple(sorted(rng.choice([-1, 1], 2) * 10.0 ** rng.uniform(-44, 38, 2)))
    for _ in range(20):
        yield (0.0, 10.0 ** rng.uniform(-4, 4))
    for _ in range(10):
        yield (-(10.0 ** rng.uniform(-4, 4)), 0.0)
    # Lopsided ranges, whose zero points lie near an end, and constants.
    for _ in range(20):
        large, share = 10.0 ** rng.uniform(-3, 3), 10.0 ** rng.uniform(-4, -1)
        yield (-share * large, large)
        yield (-large, share * large)
        yield (large, large)
    # Around the smallest scale that is kept, for every number of steps.
    for steps in (254, 255):
        for factor in (0.999, 1.0, 1.001):
            yield (0.0, tiny * steps * factor)
            yield (-tiny * steps * factor, 0.0)
            yield (-tiny * steps * factor / 2, tiny * steps * factor / 2)


def params_cases(rng):
    for low, high in ranges(rng):
        rmin, rmax = numpy.array(low, dtype=F32), numpy.array(high, dtype=F32)
        for type_name, quant_type in TYPES.items():
            for symmetric in (False, True):
                qmin, qmax = get_qmin_qmax_for_qType(quant_type, symmetric=symmetric)
                zero_point, scale = compute_scale_zp(rmin, rmax, qmin, qmax, symmetric)
                yield {
                    "min": bits(rmin),
                    "max": bits(rmax),
                    "type": type_name,
                    "symmetric": symmetric,
                    "scale": bits(scale),
                    "zero_point": int(zero_point),
                }


def weights(rng):
    yield rng.normal(0, 0.2, (4, 3, 3, 3)), 0
    yield rng.normal(0, 0.2, (3, 4, 2, 2)), 1
    yield rng.normal(0, 2.0, (5, 7)), 0
    yield rng.normal(0, 2.0, (5, 7)), 1
    yield rng.uniform(-1, 1, (2, 3, 5)), 2
    yield rng.normal(0, 1, (6,)), 0
    yield numpy.zeros((2, 4)), 0
    yield numpy.array([[0.0, 0.0, 0.0], [1e-45, -1e-40, 0.0], [1e-37, -1e-37, 5e-38], [1e30, -1e38, 3.4e38]]), 0
    yield rng.normal(0, 1, (6, 5)) * 10.0 ** rng.uniform(-30, 30, (6, 1)), 0
    # Convolutions with filters of zeros, of tiny numbers, and with one outlier.
    filters = rng.normal(0, 0.1, (6, 3, 3, 3))
    filters[1] = 0.0
    filters[2] *= 1e-39
    filters[4, 0, 1, 2] = 1e4
    filters[5, 1:] = 0.0
    yield filters, 0
    yield filters.transpose(1, 0, 2, 3), 1
    yield numpy.zeros((3, 2, 1, 1)), 0
    yield rng.normal(0, 1, (8, 1, 3, 3)) * 10.0 ** rng.uniform(-6, 2, (8, 1, 1, 1)), 0
    # Half steps of a power-of-two scale: every odd one is a tie.
    yield numpy.concatenate([[127.0], numpy.arange(-253, 254, 6) / 2]).reshape(1, -1), 0


def weight_cases(rng):
    for values, axis in weights(rng):
        values = values.astype(F32)
        zero_point, scale, quantized = quantize_data(values.flatten(), TensorProto.INT8, True)
        assert zero_point == 0
        channels = [compute_data_quant_params(values.take(i, axis).ravel(), TensorProto.INT8, True)
                    for i in range(values.shape[axis])]  # fmt: skip
        zero_points = numpy.asarray([zero_point for zero_point, _ in channels])
        scales = numpy.asarray([scale for _, scale in channels])
        assert not zero_points.any() and scales.dtype == F32
        initializer = numpy_helper.from_array(values, "w")
        per_channel = quantize_onnx_initializer(initializer, TensorProto.INT8, zero_points, scales, axis)
        # Smaller scales than the values ask for: the integers saturate.
        small = (scales * F32(0.7)).astype(F32)
        saturated = quantize_onnx_initializer(initializer, TensorProto.INT8, zero_points, small, axis)
        yield {
            "dims": list(values.shape),
            "axis": axis,
            "values": bits(values),
            "tensor_scale": bits(scale),
            "tensor_values": quantized.tolist(),
            "channel_scales": bits(scales),
            "channel_values": numpy_helper.to_array(per_channel).reshape(-1).tolist(),
            "small_scales": bits(small),
            "small_values": numpy_helper.to_array(saturated).reshape(-1).tolist(),
        }


def biases(rng):
    for n in (1, 4, 16):
        yield rng.normal(0, 1, n), 0.02, rng.uniform(1e-4, 1e-2, n)
        yield rng.normal(0, 1, n), 0.02, 10.0 ** rng.uniform(-14, -2, n)
        yield rng.normal(0, 1e5, n), 0.004, 10.0 ** rng.uniform(-12, -6, n)
    yield numpy.array([0.0, -0.0, 1e-3]), 0.5, numpy.array([1.0, 1e-9, 1e-20])
    yield numpy.array([0.25, 0.75, 1.25, -0.25]), 0.5, numpy.array([1.0, 1.0, 1.0, 1.0])
    yield numpy.array([2147483520.0, 2147483648.0, -2147483648.0, -3e9]), 1.0, numpy.ones(4)


class StubModel:
    """The part of ONNX Runtime's model wrapper that `quantize_bias_static_impl` uses."""

    def __init__(self, *initializers):
        self.initializers = list(initializers)

    def initializer(self):
        return self.initializers

    def initializer_extend(self, more):
        self.initializers.extend(more)


def quantize_bias(bias, input_scale, weight_scales):
    model = StubModel(numpy_helper.from_array(bias, "b"))
    stub = types.SimpleNamespace(model=model, weight_qType=TensorProto.INT8)
    name, scale_name, *_ = BaseQuantizer.quantize_bias_static_impl(stub, "b", input_scale, weight_scales)
    by_name = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.initializers}
    return by_name[name].tolist(), bits(by_name[scale_name])


def bias_cases(rng):
    for bias, input_scale, scales in biases(rng):
        bias, input_scale, scales = bias.astype(F32), numpy.array(input_scale, dtype=F32), scales.astype(F32)
        proto = numpy_helper.from_array(bias, "b")
        for per_channel in (True, False):
            given = scales if per_channel else scales[:1].reshape(())
            quantized, bias_scales = quantize_bias(bias, input_scale, given)
            # The adjustment writes into the array it is given.
            changed, raised = QDQQuantizer._adjust_weight_scale_for_int32_bias(
                None, input_scale, given.copy(), "w", proto, per_channel
            )
            raised = numpy.asarray(raised)
            raised_quantized, _ = quantize_bias(bias, input_scale, raised)
            assert raised.dtype == F32 and changed == bool((raised != given).any())
            yield {
                "per_channel": per_channel,
                "bias": bits(bias),
                "input_scale": bits(input_scale),
                "weight_scales": bits(given.reshape(-1)),
                "bias_scales": bias_scales,
                "values": quantized,
                "raised_scales": bits(raised.reshape(-1)),
                "raised_values": raised_quantized,
            }


def activation_cases(rng):
    """Quantized activations, every type and symmetry, values inside, outside and on ties."""
    for low, high in [(-1.0, 3.0), (0.0, 6.0), (-0.17, 8.0), (-5.0, 0.0), (2.0, 7.0), (-1e-38, 3e-38), (-2e4, 5e4)]:
        rmin, rmax = numpy.array(low, dtype=F32), numpy.array(high, dtype=F32)
        for type_name, quant_type in TYPES.items():
            for symmetric in (False, True):
                qmin, qmax = get_qmin_qmax_for_qType(quant_type, symmetric=symmetric)
                zero_point, scale = compute_scale_zp(rmin, rmax, qmin, qmax, symmetric)
                values = rng.uniform(1.3 * low - 0.3 * high, 1.3 * high - 0.3 * low, 40).astype(F32)
                ties = (F32(scale) * (numpy.arange(-6, 6, dtype=F32) + F32(0.5))).astype(F32)
                values = numpy.concatenate([values, ties, [rmin, rmax, 0.0, -0.0]]).astype(F32)
                graph = helper.make_graph(
                    [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], "g",
                    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
                    [helper.make_tensor_value_info("y", quant_type, [None])],
                    [numpy_helper.from_array(numpy.array(scale, dtype=F32), "s"),
                     helper.make_tensor("z", quant_type, [], [int(zero_point)])],
                )  # fmt: skip
                model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
                session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
                yield {
                    "min": bits(rmin),
                    "max": bits(rmax),
                    "type": type_name,
                    "symmetric": symmetric,
                    "values": bits(values),
                    "quantized": session.run(None, {"x": values})[0].tolist(),
                }


write("params.json", list(params_cases(numpy.random.default_rng(1))))
write("weights.json", list(weight_cases(numpy.random.default_rng(2))))
write("bias.json", list(bias_cases(numpy.random.default_rng(3))))
write("activations.json", list(activation_cases(numpy.random.default_rng(4))))
