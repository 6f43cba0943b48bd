"""The x4plus generator of Real-ESRGAN: RRDBNet (Wang et al., 2018, ESRGAN; Wang et al., 2021, Real-ESRGAN). Residual-in-residual dense
blocks with LeakyReLU, residuals scaled by 0.2, and two nearest-neighbour upscalings, each followed by a convolution."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(c_in, c_out):
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class DenseBlock(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        self.grow = nn.ModuleList(conv(c + i * growth, growth) for i in range(4))
        self.fuse = conv(c + 4 * growth, c)

    def forward(self, x):
        features = [x]
        for layer in self.grow:
            features.append(F.leaky_relu(layer(torch.cat(features, dim=1)), 0.2))
        return self.fuse(torch.cat(features, dim=1)) * 0.2 + x


class RRDB(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(c, growth) for _ in range(3)))

    def forward(self, x):
        return self.blocks(x) * 0.2 + x


class RRDBNet(nn.Module):
    def __init__(self, features=12, growth=6, blocks=2):
        super().__init__()
        self.first = conv(3, features)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.after_body = conv(features, features)
        self.up1, self.up2 = conv(features, features), conv(features, features)
        self.high = conv(features, features)
        self.last = conv(features, 3)

    def forward(self, image):
        x = self.first(image)
        x = x + self.after_body(self.body(x))
        for up in (self.up1, self.up2):
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(F.leaky_relu(self.high(x), 0.2))
