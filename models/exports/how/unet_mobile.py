"""A U-Net of MobileNet blocks (Sandler et al., 2018, MobileNetV2; Howard et al., 2019, MobileNetV3): inverted residuals with a depthwise
convolution, BatchNorm, ReLU6 in the early blocks and HardSwish with squeeze-and-excite in the later ones. The decoder resizes bilinearly
to the size of the skip, so any height and width will do."""

import torch
import torch.nn.functional as F
from torch import nn


def conv_norm(c_in, c_out, kernel=1, stride=1, groups=1, act=None):
    layers = [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    def __init__(self, c, reduced):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(c, reduced, 1)
        self.excite = nn.Conv2d(reduced, c, 1)

    def forward(self, x):
        s = torch.relu(self.squeeze(self.pool(x)))
        return x * F.hardsigmoid(self.excite(s))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, c_out, expand, kernel, stride, act, excite=False):
        super().__init__()
        c = c_in * expand
        layers = [conv_norm(c_in, c, act=act), conv_norm(c, c, kernel, stride, groups=c, act=act)]
        if excite:
            layers.append(SqueezeExcite(c, c // 4))
        self.body = nn.Sequential(*layers, conv_norm(c, c_out))
        self.skip = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.body(x) if self.skip else self.body(x)


class Up(nn.Module):
    """Resizes to the skip, concatenates, and mixes by a depthwise-separable convolution."""

    def __init__(self, c_in, c_skip, c_out):
        super().__init__()
        c = c_in + c_skip
        self.depthwise = conv_norm(c, c, 3, groups=c, act=nn.ReLU6)
        self.pointwise = conv_norm(c, c_out, act=nn.ReLU6)

    def forward(self, x, skip):
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.pointwise(self.depthwise(torch.cat([x, skip], dim=1)))


class MobileUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 12, 3, act=nn.Hardswish)
        self.down1 = nn.Sequential(
            InvertedResidual(12, 16, 3, 3, 2, nn.ReLU6), InvertedResidual(16, 16, 3, 3, 1, nn.ReLU6)
        )
        self.down2 = nn.Sequential(
            InvertedResidual(16, 24, 3, 3, 2, nn.ReLU6), InvertedResidual(24, 24, 3, 5, 1, nn.Hardswish, excite=True)
        )
        self.down3 = nn.Sequential(
            InvertedResidual(24, 40, 3, 5, 2, nn.Hardswish, excite=True),
            InvertedResidual(40, 40, 3, 5, 1, nn.Hardswish, excite=True),
        )
        self.up3, self.up2, self.up1 = Up(40, 24, 24), Up(24, 16, 16), Up(16, 12, 12)
        self.last = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, image):
        x0 = self.stem(image)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x = self.up1(self.up2(self.up3(x3, x2), x1), x0)
        return image + self.last(x)
