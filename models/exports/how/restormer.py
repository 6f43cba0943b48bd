"""Restormer (Zamir et al., 2022): transposed attention (channels attend to channels over all pixels, queries and keys of unit length, a
learned temperature per head), gated depthwise feed-forward, LayerNorm over channels on tokens, PixelUnshuffle down, PixelShuffle up.
Three levels of one block instead of the paper's four of several."""

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    """Over the channels of [B, C, H, W], through [B, H*W, C]; with bias as in most tasks, or without mean and bias as in denoising."""

    def __init__(self, c, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c)) if bias else None

    def forward(self, x):
        h, w = x.shape[-2:]
        t = x.flatten(2).transpose(1, 2)
        variance = t.var(-1, keepdim=True, unbiased=False)
        if self.bias is None:
            t = t / torch.sqrt(variance + 1e-5) * self.weight
        else:
            t = (t - t.mean(-1, keepdim=True)) / torch.sqrt(variance + 1e-5) * self.weight + self.bias
        return t.transpose(1, 2).reshape(x.shape[0], x.shape[1], h, w)


class TransposedAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(c, 3 * c, 1, bias=False)
        self.depthwise = nn.Conv2d(3 * c, 3 * c, 3, padding=1, groups=3 * c, bias=False)
        self.project = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (t.reshape(b, self.heads, c // self.heads, h * w) for t in self.depthwise(self.qkv(x)).chunk(3, dim=1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.project((attention @ v).reshape(b, c, h, w))


class GatedFeedForward(nn.Module):
    def __init__(self, c, expansion=2.66):
        super().__init__()
        hidden = int(c * expansion)
        self.enter = nn.Conv2d(c, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.leave = nn.Conv2d(hidden, c, 1, bias=False)

    def forward(self, x):
        gate, value = self.depthwise(self.enter(x)).chunk(2, dim=1)
        return self.leave(F.gelu(gate) * value)


class Block(nn.Module):
    def __init__(self, c, heads, bias):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(c, bias), LayerNorm(c, bias)
        self.attention = TransposedAttention(c, heads)
        self.feed_forward = GatedFeedForward(c)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


def down(c):
    return nn.Sequential(nn.Conv2d(c, c // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def up(c):
    return nn.Sequential(nn.Conv2d(c, 2 * c, 3, padding=1, bias=False), nn.PixelShuffle(2))


class Restormer(nn.Module):
    """Height and width must be multiples of four. The first level has norms with bias and the others without, so that both are there."""

    def __init__(self, c=8, heads=(1, 2, 4)):
        super().__init__()
        self.embed = nn.Conv2d(3, c, 3, padding=1, bias=False)
        self.encoder1 = Block(c, heads[0], bias=True)
        self.down1 = down(c)
        self.encoder2 = Block(2 * c, heads[1], bias=False)
        self.down2 = down(2 * c)
        self.latent = Block(4 * c, heads[2], bias=False)
        self.up2 = up(4 * c)
        self.reduce2 = nn.Conv2d(4 * c, 2 * c, 1, bias=False)
        self.decoder2 = Block(2 * c, heads[1], bias=False)
        self.up1 = up(2 * c)
        self.decoder1 = Block(2 * c, heads[0], bias=True)
        self.last = nn.Conv2d(2 * c, 3, 3, padding=1, bias=False)

    def forward(self, image):
        x1 = self.encoder1(self.embed(image))
        x2 = self.encoder2(self.down1(x1))
        x = self.latent(self.down2(x2))
        x = self.decoder2(self.reduce2(torch.cat([self.up2(x), x2], dim=1)))
        x = self.decoder1(torch.cat([self.up1(x), x1], dim=1))
        return image + self.last(x)
