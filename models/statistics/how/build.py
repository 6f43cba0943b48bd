"""Small networks with instance and group normalization, written with onnx.helper in the form that PyTorch's TorchScript exporter gives.

    python build.py

Needs onnx and numpy. Run again it gives the same bytes.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FOLDER = Path(__file__).resolve().parent.parent


class Network:
    """A chain of nodes over `input`, `[1, 3, height, width]`."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def constant(self, name, values):
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op, inputs, name, **attributes):
        output = f"/{name}/{op}_output_0"
        self.nodes.append(helper.make_node(op, inputs, [output], f"/{name}/{op}", **attributes))
        return output

    def conv(self, x, name, source, target, kernel=3, stride=1, gain=1.0):
        spread = gain * np.sqrt(2.0 / (source * kernel * kernel))
        weight = self.random.normal(0, spread, (target, source, kernel, kernel)).astype(np.float32)
        bias = self.random.normal(0, 0.1, target).astype(np.float32)
        weights = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Conv", [x, *weights], name, dilations=[1, 1], group=1, kernel_shape=[kernel] * 2,
                         pads=[kernel // 2] * 4, strides=[stride] * 2)

    def affine(self, channels):
        scale = (1 + 0.3 * self.random.normal(size=channels)).astype(np.float32)
        return scale, (0.3 * self.random.normal(size=channels)).astype(np.float32)

    def instance_norm(self, x, name, channels):
        scale, bias = self.affine(channels)
        inputs = [x, self.constant(f"{name}.weight", scale), self.constant(f"{name}.bias", bias)]
        return self.node("InstanceNormalization", inputs, name, epsilon=1e-5)

    def group_norm(self, x, name, channels, groups):
        scale, bias = self.affine(channels)
        shape = self.node("Shape", [x], name)
        target = self.constant(f"{name}.groups", np.array([0, groups, -1], np.int64))
        grouped = self.node("Reshape", [x, target], name)
        ones = self.constant(f"{name}.ones", np.ones(groups, np.float32))
        zeros = self.constant(f"{name}.zeros", np.zeros(groups, np.float32))
        normal = self.node("InstanceNormalization", [grouped, ones, zeros], name, epsilon=1e-5)
        back = self.node("Reshape", [normal, shape], f"{name}/back")
        scaled = self.node("Mul", [back, self.constant(f"{name}.weight", scale.reshape(-1, 1, 1))], name)
        return self.node("Add", [scaled, self.constant(f"{name}.bias", bias.reshape(-1, 1, 1))], name)

    def save(self, name, x):
        self.nodes.append(helper.make_node("Add", ["input", x], ["output"], "/Add"))
        image = [1, 3, "height", "width"]
        graph = helper.make_graph(
            self.nodes, "main_graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, image)],
            self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="build.py")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, FOLDER / f"{name}.onnx")


def instance_norm():
    """Encoder, three residual blocks, decoder; a normalization behind every convolution but the last."""
    net = Network(1)
    x = net.node("Relu", [net.instance_norm(net.conv("input", "enter", 3, 12), "enter_norm", 12)], "enter")
    x = net.node("Relu", [net.instance_norm(net.conv(x, "down", 12, 24, stride=2), "down_norm", 24)], "down")
    for block in range(3):
        y = net.instance_norm(net.conv(x, f"block{block}.0", 24, 24), f"block{block}.0_norm", 24)
        y = net.node("Relu", [y], f"block{block}")
        y = net.instance_norm(net.conv(y, f"block{block}.1", 24, 24), f"block{block}.1_norm", 24)
        x = net.node("Add", [x, y], f"block{block}")
    scales = net.constant("up.scales", np.array([1, 1, 2, 2], np.float32))
    x = net.node("Resize", [x, "", scales], "up", mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")
    x = net.node("Relu", [net.instance_norm(net.conv(x, "leave", 24, 12), "leave_norm", 12)], "leave")
    net.save("instance-norm", net.conv(x, "last", 12, 3, gain=0.1))


def group_norm():
    """Residual blocks as in the decoder of a latent diffusion model: normalization, SiLU, convolution, twice."""
    net = Network(2)
    x = net.conv("input", "enter", 3, 16)
    for block in range(3):
        y = x
        for half in range(2):
            name = f"block{block}.{half}"
            y = net.group_norm(y, f"{name}_norm", 16, 4)
            y = net.node("Mul", [y, net.node("Sigmoid", [y], name)], name)
            y = net.conv(y, name, 16, 16)
        x = net.node("Add", [x, y], f"block{block}")
    x = net.node("Relu", [net.group_norm(x, "leave_norm", 16, 4)], "leave")
    net.save("group-norm", net.conv(x, "last", 16, 3, gain=0.1))


instance_norm()
group_norm()
