"""The plate detector: general features below, a small anchor-free head above.

EfficientNet-Lite0's first eleven blocks (strides 2 to 16), one stage of our own at stride 32 that
sees a whole vehicle, a top-down path of additions, and one head each at strides 8 and 16. Every
cell predicts one box and one score.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from training.backbone import BLOCKS, Lite0

STRIDES = (8, 16)
# Width in pixels of the box an untrained cell predicts, one for each stride; height is half.
_PRIOR_WIDTH = (40.0, 120.0)
_PRIOR_SCORE = 0.01
# The exponent of the size is bounded so that one wild weight update cannot overflow bf16.
MAX_LOG_SIZE = 5.0


# Blocks of the backbone that are read: strides 4, 8 and 16.
TAPS = (2, 4, 10)


@dataclass(frozen=True)
class NetworkConfig:
    """Channels at strides 8, 16 and 32, of the heads, and how many blocks stay as published."""

    c8: int = 64
    c16: int = 96
    c32: int = 128
    head: int = 64
    frozen: int = 6

    def as_dict(self) -> dict[str, int]:
        """The configuration as plain numbers, as stored in checkpoints."""
        return asdict(self)


class ConvBlock(nn.Module):
    """Convolution, batch normalisation and (unless ``act`` is False) ReLU."""

    def __init__(self, cin: int, cout: int, k: int = 3, stride: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout, momentum=0.03)
        self.act = act

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that this block is at inference."""
        bn = self.bn
        assert bn.running_var is not None and bn.running_mean is not None
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        return self.conv.weight * scale[:, None, None, None], bn.bias - bn.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, cin, H, W]`` to ``[N, cout, H / stride, W / stride]``."""
        y = self.bn(self.conv(x))
        return torch.relu_(y) if self.act else y


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = ConvBlock(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return torch.relu(x + self.second(self.first(x)))


class Head(nn.Module):
    """One 3x3 convolution and a linear layer to (dx, dy, log w, log h, score logit)."""

    def __init__(self, cin: int, hidden: int, stride: int, prior_width: float) -> None:
        super().__init__()
        self.trunk = ConvBlock(cin, hidden)
        self.out = nn.Conv2d(hidden, 5, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        assert self.out.bias is not None
        with torch.no_grad():
            self.out.bias.copy_(
                torch.tensor(
                    [
                        0.5,
                        0.5,
                        math.log(prior_width / stride),
                        math.log(prior_width / 2 / stride),
                        math.log(_PRIOR_SCORE / (1 - _PRIOR_SCORE)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, cin, h, w]`` to ``[N, 5, h, w]``."""
        y: Tensor = self.out(self.trunk(x))
        return y


class PlateDetector(nn.Module):
    """The network; input ``[N, 3, H, W]`` RGB 0..1, H and W multiples of 32."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        c = config or NetworkConfig()
        self.config = c
        self.backbone = Lite0(TAPS[-1] + 1, c.frozen)
        at4, at8, at16 = (BLOCKS[tap][4] for tap in TAPS)
        self.s32 = nn.Sequential(ConvBlock(at16, c.c32, stride=2), Residual(c.c32))
        self.lateral32 = ConvBlock(c.c32, c.c16, k=1, act=False)
        self.lateral16 = ConvBlock(at16, c.c16, k=1, act=False)
        self.fuse16 = ConvBlock(c.c16, c.c16)
        self.down16 = ConvBlock(c.c16, c.c8, k=1, act=False)
        self.lateral8 = ConvBlock(at8, c.c8, k=1, act=False)
        # Strokes of a plate of 20 px are gone at stride 8 unless they are looked at before.
        self.detail = ConvBlock(at4, c.c8, stride=2, act=False)
        self.fuse8 = ConvBlock(c.c8, c.c8)
        self.head8 = Head(c.c8, c.head, STRIDES[0], _PRIOR_WIDTH[0])
        self.head16 = Head(c.c16, c.head, STRIDES[1], _PRIOR_WIDTH[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raw maps ``[N, 5, H/8, W/8]`` and ``[N, 5, H/16, W/16]``."""
        f4, f8, f16 = self.backbone(x, TAPS)
        f32 = self.s32(f16)
        up = nn.functional.interpolate
        f16 = self.lateral16(f16) + up(self.lateral32(f32), scale_factor=2.0, mode="nearest")
        f16 = self.fuse16(torch.relu(f16))
        f8 = self.lateral8(f8) + self.detail(f4)
        f8 = f8 + up(self.down16(f16), scale_factor=2.0, mode="nearest")
        f8 = self.fuse8(torch.relu(f8))
        return self.head8(f8), self.head16(f16)


def decode(maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Raw maps to boxes.

    Returns float32 boxes ``[N, A, 4]`` as (x0, y0, x1, y1) in input pixels, score logits
    ``[N, A]`` and cells ``[A, 3]`` (centre x, centre y, stride). A is the number of cells of
    both maps, stride 8 first, rows before columns.
    """
    boxes, logits, cells = [], [], []
    for raw, stride in zip(maps, STRIDES, strict=True):
        n, _, h, w = raw.shape
        flat = raw.float().permute(0, 2, 3, 1).reshape(n, h * w, 5)
        ys, xs = torch.meshgrid(
            torch.arange(h, dtype=torch.float32),
            torch.arange(w, dtype=torch.float32),
            indexing="ij",
        )
        grid = torch.stack((xs, ys), -1).reshape(-1, 2)
        centre = (flat[..., :2] + grid) * stride
        half = flat[..., 2:4].clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE).exp() * (stride / 2)
        boxes.append(torch.cat((centre - half, centre + half), -1))
        logits.append(flat[..., 4])
        cells.append(torch.cat(((grid + 0.5) * stride, torch.full_like(grid[:, :1], stride)), -1))
    return torch.cat(boxes, 1), torch.cat(logits, 1), torch.cat(cells, 0)
