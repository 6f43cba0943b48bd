"""SwinIR (Liang et al., 2021) for super-resolution: attention in 8x8 windows, shifted by half a window in every second layer, with relative
position bias and a mask for windows that the shift wraps around; LayerNorm on tokens; a convolution after each group of layers; pixel
shuffle. The input is padded by reflection to a multiple of the window inside the graph, and the output is cropped, as in the paper's code."""

import torch
import torch.nn.functional as F
from torch import nn

WINDOW = 8
AREA = WINDOW * WINDOW


def to_windows(x):
    """[B, H, W, C] to [B * windows, 64, C]."""
    b, h, w, c = x.shape
    x = x.view(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, AREA, c)


def from_windows(x, h, w):
    """[B * windows, 64, C] to [B, H, W, C], with a batch of one."""
    x = x.view(1, h // WINDOW, w // WINDOW, WINDOW, WINDOW, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(1, h, w, -1)


def shift_mask(h, w, shift=WINDOW // 2):
    """[windows, 64, 64]: -100 between two pixels of a window that were no neighbours before the shift, 0 otherwise."""
    region = torch.zeros(1, h, w, 1)
    cuts = [slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None)]
    for i, rows in enumerate(cuts):
        for j, columns in enumerate(cuts):
            region[:, rows, columns, :] = 3 * i + j
    tokens = to_windows(region).view(-1, AREA)
    difference = tokens.unsqueeze(1) - tokens.unsqueeze(2)
    return torch.zeros_like(difference).masked_fill(difference != 0, -100.0)


def relative_position_index():
    """[64, 64]: the row of the bias table for each pair of pixels of a window."""
    at = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    offset = at[:, :, None] - at[:, None, :] + WINDOW - 1
    return offset[0] * (2 * WINDOW - 1) + offset[1]


class WindowAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads, self.scale = heads, (c // heads) ** -0.5
        self.position_bias = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("position_index", relative_position_index())
        self.qkv = nn.Linear(c, 3 * c)
        self.project = nn.Linear(c, c)

    def forward(self, x, mask):
        n, _, c = x.shape
        q, k, v = self.qkv(x).reshape(n, AREA, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.position_bias[self.position_index.view(-1)].view(AREA, AREA, -1)
        attention = attention + bias.permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            attention = attention.view(-1, n, self.heads, AREA, AREA) + mask.unsqueeze(1).unsqueeze(0)
            attention = attention.view(-1, self.heads, AREA, AREA)
        x = (attention.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, AREA, c)
        return self.project(x)


class Layer(nn.Module):
    def __init__(self, c, heads, shift):
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.attention = WindowAttention(c, heads)
        self.mlp = nn.Sequential(nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c))

    def forward(self, x, h, w, mask):
        skip, s = x, self.shift
        x = self.norm1(x).view(1, h, w, -1)
        if s:
            x = torch.roll(x, (-s, -s), (1, 2))
        x = from_windows(self.attention(to_windows(x), mask if s else None), h, w)
        if s:
            x = torch.roll(x, (s, s), (1, 2))
        x = skip + x.view(1, h * w, -1)
        return x + self.mlp(self.norm2(x))


class Group(nn.Module):
    """Two layers, one plain and one shifted, a convolution, and the residual around them."""

    def __init__(self, c, heads):
        super().__init__()
        self.layers = nn.ModuleList([Layer(c, heads, 0), Layer(c, heads, WINDOW // 2)])
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x, h, w, mask):
        skip = x
        for layer in self.layers:
            x = layer(x, h, w, mask)
        x = self.conv(x.transpose(1, 2).view(1, -1, h, w))
        return x.flatten(2).transpose(1, 2) + skip


class SwinIR(nn.Module):
    def __init__(self, c=16, heads=2, groups=2, features=16, scale=2):
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.embed_norm = nn.LayerNorm(c)
        self.groups = nn.ModuleList(Group(c, heads) for _ in range(groups))
        self.norm = nn.LayerNorm(c)
        self.after_body = nn.Conv2d(c, c, 3, padding=1)
        self.before_up = nn.Sequential(nn.Conv2d(c, features, 3, padding=1), nn.LeakyReLU(inplace=True))
        self.up = nn.Sequential(nn.Conv2d(features, features * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, image):
        height, width = image.shape[-2:]
        padding = (0, (WINDOW - width % WINDOW) % WINDOW, 0, (WINDOW - height % WINDOW) % WINDOW)
        x = self.first(F.pad(image, padding, mode="reflect"))
        h, w = x.shape[-2:]
        tokens = self.embed_norm(x.flatten(2).transpose(1, 2))
        mask = shift_mask(h, w)
        for group in self.groups:
            tokens = group(tokens, h, w, mask)
        body = self.norm(tokens).transpose(1, 2).view(1, -1, h, w)
        x = self.before_up(self.after_body(body) + x)
        x = self.last(self.up(x))
        return x[:, :, : height * self.scale, : width * self.scale]
