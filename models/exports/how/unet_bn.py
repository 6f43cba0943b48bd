"""U-Net (Ronneberger et al., 2015) with BatchNorm, as a residual restorer: convolutions without bias, each followed by BatchNorm and ReLU,
max pooling down, transposed convolutions (with BatchNorm too) up, skips concatenated."""

import torch
from torch import nn


def double_conv(c_in, c_out):
    layers = []
    for c in (c_in, c_out):
        layers += [nn.Conv2d(c, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Up(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)
        self.conv = double_conv(2 * c_out, c_out)

    def forward(self, x, skip):
        x = torch.relu(self.norm(self.up(x)))
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, widths=(12, 24, 48)):
        super().__init__()
        self.first = double_conv(3, widths[0])
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths, widths[1:]))
        self.downs = nn.ModuleList(double_conv(a, b) for a, b in pairs)
        self.ups = nn.ModuleList(Up(b, a) for a, b in reversed(pairs))
        self.last = nn.Conv2d(widths[0], 3, 1)

    def forward(self, image):
        x = self.first(image)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(self.pool(x))
        for up in self.ups:
            x = up(x, skips.pop())
        return image + self.last(x)
