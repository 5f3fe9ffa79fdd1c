"""The denoising networks: an MLP for points (notebook 02), an attention U-Net (03), the lab's U-Net (07).

Every network is called as `model(x_t, t)`, t in 1 .. T, and carries `model.prediction`, "eps", "x0" or "v".
One built with `classes` is called as `model(x_t, t, y)`, y (B,) int64; y = `model.classes`: "no label".
In each, `model.time[0]` is the linear layer that reads timestep_embedding(t).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of t at dim/2 frequencies falling geometrically from 1 to 1/max_period.

    t: (B,) levels, int or float; returns (B, dim) float32. Raises ValueError for an odd dim.
    Source: Vaswani et al. 2017, section 3.5; used for noise levels by DDPM, appendix B.
    """
    if dim % 2:
        raise ValueError(f"dim must be even (half sines, half cosines), got {dim}")
    exponents = torch.arange(dim // 2, device=t.device, dtype=torch.float32) / (dim // 2)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FourierFeatures(nn.Module):
    """Coordinates (B, d) to (B, 2 * count * d): sines and cosines at frequencies pi/2 * 1 .. pi/2 * count.

    Lets an MLP draw sharp edges (Tancik et al. 2020, arXiv:2006.10739).
    """

    def __init__(self, count: int = 8):
        super().__init__()
        self.register_buffer("frequencies", torch.arange(1, count + 1) * math.pi / 2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angles = (x[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class PointMLP(nn.Module):
    """Residual MLP for points: (B, 2) and t (B,), with classes also y (B,), to (B, 2).

    width: units a layer; depth: residual blocks; features: Fourier frequencies of each coordinate.
    Each block is told the noise level anew.
    """

    def __init__(self, width=128, depth=3, features=8, time_dim=64, prediction="eps", classes=0):
        super().__init__()
        self.config = dict(width=width, depth=depth, features=features, time_dim=time_dim)
        self.config |= dict(prediction=prediction, classes=classes)
        self.prediction, self.time_dim, self.classes = prediction, time_dim, classes
        self.fourier = FourierFeatures(features)
        self.enter = nn.Linear(2 + 4 * features, width)
        self.time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU())
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2 * depth))
        self.leave = nn.Linear(width, 2)
        self.label = label_embedding(classes, width)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.time(timestep_embedding(t, self.time_dim)) + embed_label(self, t, y)
        h = self.enter(torch.cat([x, self.fourier(x)], dim=1))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            h = h + second(F.silu(first(F.silu(h + emb))))
        return self.leave(F.silu(h))


def make_time_layers(dim: int) -> nn.Sequential:
    """What reads timestep_embedding(t) (B, dim) and tells every block, (B, dim)."""
    return nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())


def label_embedding(classes: int, dim: int) -> nn.Embedding | None:
    """A vector for each class and one for "no label", all zero at first; None for classes = 0."""
    if not classes:
        return None
    table = nn.Embedding(classes + 1, dim)
    nn.init.zeros_(table.weight)
    return table


def embed_label(model: nn.Module, t: Tensor, y: Tensor | None) -> Tensor | float:
    """What is added to the embedding of t: (B, dim) for labels y (B,) ("no label" when None), or 0.

    Raises ValueError for labels given to a network without any.
    """
    if model.label is None:
        if y is not None:
            raise ValueError("this network takes no labels: build it with classes=10")
        return 0.0
    return model.label(torch.full_like(t, model.classes) if y is None else y)


class ResBlock(nn.Module):
    """(B, c_in, H, W) to (B, c_out, H, W): two 3x3 convolutions, told the noise level by a bias a channel.

    GroupNorm, because batch statistics would mix noise levels. Source: DDPM appendix B.
    """

    activation = staticmethod(F.silu)

    def __init__(self, c_in: int, c_out: int, emb_dim: int, groups: int = 8):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, c_in), nn.GroupNorm(groups, c_out)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.time = nn.Linear(emb_dim, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight), nn.init.zeros_(self.conv2.bias)  # each block starts as identity

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(self.activation(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(self.activation(self.norm2(h)))
        return self.skip(x) + h


class SelfAttention(nn.Module):
    """(B, C, H, W) to the same: every pixel looks at every pixel (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, channels: int, heads: int = 4, groups: int = 8):
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels ({channels}) must divide by heads ({heads})")
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (B, C, H, W), each (B, heads, H*W, C/heads)."""
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        return tuple(qkv.transpose(-1, -2).unbind(1))

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*self.split(x))
        return x + self.out(mixed.transpose(-1, -2).reshape(x.shape))


class UNet(nn.Module):
    """Attention U-Net: (B, c, H, W) and t (B,), with classes also y (B,), to (B, c, H, W).

    channels: one width a resolution; H and W must divide by 2 ** (len(channels) - 1).
    blocks: residual blocks a resolution on the way down, and as many on the way up.
    attention, skips, time: set one to False to see what it is worth (notebook 03).
    Source: Ronneberger et al. 2015 (arXiv:1505.04597); as a denoiser, DDPM appendix B.
    """

    def __init__(
        self,
        channels=(32, 64),
        blocks: int = 1,
        in_channels: int = 1,
        emb_dim: int = 128,
        heads: int = 4,
        attention: bool = True,
        skips: bool = True,
        time: bool = True,
        prediction: str = "v",
        classes: int = 0,
    ):
        super().__init__()
        self.config = dict(channels=list(channels), blocks=blocks, in_channels=in_channels, emb_dim=emb_dim)
        self.config |= dict(heads=heads, attention=attention, skips=skips, time=time)
        self.config |= dict(prediction=prediction, classes=classes)
        self.classes = classes
        self.prediction, self.use_skips, self.use_time, self.emb_dim = prediction, skips, time, emb_dim
        self.time = make_time_layers(emb_dim)
        self.enter = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        c = channels[0]
        for i, width in enumerate(channels):
            widths = [c] + [width] * (blocks - 1)
            self.down.append(nn.ModuleList(ResBlock(c_in, width, emb_dim) for c_in in widths))
            last = i == len(channels) - 1
            self.shrink.append(nn.Identity() if last else nn.Conv2d(width, width, 3, stride=2, padding=1))
            c = width
        self.middle = nn.ModuleList([ResBlock(c, c, emb_dim), ResBlock(c, c, emb_dim)])
        self.attention = SelfAttention(c, heads) if attention else nn.Identity()
        for i, width in reversed(list(enumerate(channels))):
            widths = [c + width if skips else c] + [width] * (blocks - 1)
            self.up.append(nn.ModuleList(ResBlock(c_in, width, emb_dim) for c_in in widths))
            self.grow.append(nn.Conv2d(width, channels[i - 1], 3, padding=1) if i else nn.Identity())
            c = channels[i - 1] if i else width
        self.leave = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, in_channels, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight), nn.init.zeros_(self.leave[-1].bias)
        self.label = label_embedding(classes, emb_dim)

    def embed(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Noise levels (B,), labels (B,), to what every block is told, (B, emb_dim); time=False: no level."""
        emb = timestep_embedding(t, self.emb_dim)
        return self.time(emb if self.use_time else torch.zeros_like(emb)) + embed_label(self, t, y)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        emb, h, skips = self.embed(t, y), self.enter(x), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:
                h = block(h, emb)
            skips.append(h)
            h = shrink(h)
        h = self.middle[1](self.attention(self.middle[0](h, emb)), emb)
        for blocks, grow in zip(self.up, self.grow, strict=True):
            skip = skips.pop()
            h = torch.cat([h, skip], dim=1) if self.use_skips else h
            for block in blocks:
                h = block(h, emb)
            if skips:
                h = grow(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.leave(h)


class LabBlock(nn.Module):
    """(B, c_in, H, W) to (B, c_out, H/stride, W/stride): a convolution, and one told the level."""

    def __init__(self, c_in: int, c_out: int, emb_dim: int, stride: int = 1):
        super().__init__()
        self.enter = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)
        self.norm, self.bias = nn.GroupNorm(8, c_out), nn.Linear(emb_dim, c_out)
        self.conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.enter(x)
        return h + self.conv(F.silu(self.norm(h) + self.bias(emb)[:, :, None, None]))


class LabUNet(nn.Module):
    """The lab's small U-Net, no attention: (B, 1, 28, 28) and t (B,), with classes also y (B,), to eps.

    a, b, c: channels at 28x28, 14x14 and 7x7, with a skip at each.
    """

    def __init__(self, a: int = 16, b: int = 32, c: int = 64, emb_dim: int = 64, classes: int = 0):
        super().__init__()
        self.config = dict(a=a, b=b, c=c, emb_dim=emb_dim, classes=classes)
        self.prediction, self.emb_dim, self.classes = "eps", emb_dim, classes
        self.time = make_time_layers(emb_dim)
        self.label = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.down1, self.down2 = LabBlock(1, a, emb_dim), LabBlock(a, b, emb_dim, stride=2)
        self.down3, self.middle = LabBlock(b, c, emb_dim, stride=2), LabBlock(c, c, emb_dim)
        self.up3, self.up2 = LabBlock(2 * c, c, emb_dim), LabBlock(c + b, b, emb_dim)
        self.up1 = LabBlock(b + a, a, emb_dim)
        self.leave = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, 1, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight), nn.init.zeros_(self.leave[-1].bias)

    def embed(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """What every block is told, (B, emb_dim): the noise level t (B,), and the label y (B,) when given."""
        emb = self.time(timestep_embedding(t, self.emb_dim))
        return emb if y is None else emb + self.label(y)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.embed(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
