"""The plate reader: a small convolution trunk, one transformer layer, slot queries.

Input: uint8 (N, 64, 128, 3), NHWC, RGB, the crop resized without keeping its aspect.
Outputs, each a softmax over its last axis: `plate` (N, 9, 37) full-size characters from left to
right, padded with `_`; `region` (N, 52) issuing state or "other"; `stacked` (N, 3, 37) small
stacked or side letters. The first two are the layout that fast-plate-ocr reads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.ocr.layout import ALPHABET, PLATE_SLOTS, STACKED_SLOTS

LAYOUT_STAGE = 4  # blocks of the trunk before the 8 x 32 map that shows the plate's layout
ROWS, COLUMNS = 2, 32  # the trunk's map: the picture over 32 and over 4


class Logits(NamedTuple):
    """Raw scores: plate (N, 9, 37), stacked (N, 3, 37), region (N, regions); `columns`
    (32, N, 37) are scores of each column of the picture for the auxiliary CTC loss."""

    plate: Tensor
    stacked: Tensor
    region: Tensor
    columns: Tensor


def _wave(x: Tensor, channels: int) -> Tensor:
    """Sines and cosines of positions `x` (n,) in [0, 1]: (n, channels)."""
    rates = torch.exp(torch.linspace(math.log(1.5), math.log(60.0), channels // 2))
    angles = x[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _positions(rows: int, columns: int, width: int) -> Tensor:
    """Starting value of the token positions, (1, rows * columns, width): x in the first two
    thirds of the channels, y in the rest."""
    across = width * 2 // 3
    xs = _wave((torch.arange(columns) + 0.5) / columns, across)
    ys = _wave((torch.arange(rows) + 0.5) / rows, width - across)
    grid = torch.cat([xs[None].expand(rows, -1, -1), ys[:, None].expand(-1, columns, -1)], dim=2)
    return 0.5 * grid.reshape(1, rows * columns, width)


def _slots(width: int) -> Tensor:
    """Starting value of the queries: each full-size slot looks near where its character would
    stand. Without this the slots took some thousand steps to tell themselves apart."""
    slots = torch.randn(1, PLATE_SLOTS + STACKED_SLOTS + 1, width) * 0.02
    across = width * 2 // 3
    xs = 0.08 + 0.84 * (torch.arange(PLATE_SLOTS) + 0.5) / 7.5
    slots[0, :PLATE_SLOTS, :across] += 0.5 * _wave(xs, across)
    return slots


class _Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1) or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(y)) + self.shortcut(x))


class _Attention(nn.Module):
    """Multi-head attention of `query` tokens over `context` tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        with torch.no_grad():  # equal projections: at first, near positions attract
            self.key_value.weight[:width] = self.query.weight

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        n, q, width = query.shape
        k = context.shape[1]
        depth = width // self.heads
        qs = self.query(query).view(n, q, self.heads, depth).transpose(1, 2)
        kv = self.key_value(context).view(n, k, 2, self.heads, depth)
        ks, vs = kv[:, :, 0].transpose(1, 2), kv[:, :, 1].transpose(1, 2)
        weights = torch.softmax(qs @ ks.transpose(2, 3) * depth**-0.5, dim=-1)
        return torch.as_tensor(self.out((weights @ vs).transpose(1, 2).reshape(n, q, width)))


class _Mlp(nn.Sequential):
    def __init__(self, width: int, factor: int) -> None:
        super().__init__(
            nn.Linear(width, factor * width),
            nn.GELU(),
            nn.Linear(factor * width, width),
        )


class _Encoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.mlp = _Mlp(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y)
        return torch.as_tensor(x + self.mlp(self.norm2(x)))


class _Decoder(nn.Module):
    """Slots look at each other, then at the picture."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = _Attention(width, heads)
        self.across = _Attention(width, heads)
        self.mlp = _Mlp(width, 2)

    def forward(self, slots: Tensor, tokens: Tensor) -> Tensor:
        y = self.norms[0](slots)
        slots = slots + self.among(y, y)
        slots = slots + self.across(self.norms[1](slots), tokens)
        return torch.as_tensor(slots + self.mlp(self.norms[2](slots)))


class PlateReader(nn.Module):
    """The trainable network; `forward` takes NHWC uint8 (or float 0-255) and gives `Logits`."""

    def __init__(self, regions: int = 52, width: int = 144, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.trunk = nn.Sequential(
            _Residual(24, 48, (2, 2)),
            _Residual(48, 48),
            _Residual(48, 96, (2, 1)),
            _Residual(96, 96),
            _Residual(96, width, (2, 1)),
            _Residual(width, width, (2, 1)),
        )
        self.position = nn.Parameter(_positions(ROWS, COLUMNS, width))
        self.encoder = _Encoder(width, 4)
        self.tokens_norm = nn.LayerNorm(width)
        self.slots = nn.Parameter(_slots(width))
        self.decoders = nn.ModuleList(_Decoder(width, 4) for _ in range(2))
        self.slots_norm = nn.LayerNorm(width)
        self.characters = nn.Linear(width, len(ALPHABET))
        self.columns = nn.Linear(width, len(ALPHABET))
        self.stacked = nn.Linear(width, len(ALPHABET))
        self.region = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, regions))
        # The state shows in colours and lettering at fixed places. With the query alone it was
        # right on 38 % of val crops at a time when 83 % of the numbers were.
        self.layout = nn.Sequential(
            nn.Conv2d(96, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(2 * dropout),
            nn.Linear(64 * 4 * 16, regions),
        )

    def forward(self, image: Tensor) -> Logits:
        x = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for number, block in enumerate(self.trunk.children(), 1):
            x = block(x)
            if number == LAYOUT_STAGE:
                layout = self.layout(x)
        tokens = x.flatten(2).transpose(1, 2) + self.position
        tokens = self.tokens_norm(self.encoder(tokens))
        slots = self.slots.expand(tokens.shape[0], -1, -1)
        for decoder in self.decoders:
            slots = decoder(slots, tokens)
        slots = self.slots_norm(slots)
        end = PLATE_SLOTS + STACKED_SLOTS
        seen = torch.cat([slots[:, end], tokens.mean(1)], dim=1)
        return Logits(
            self.characters(slots[:, :PLATE_SLOTS]),
            self.stacked(slots[:, PLATE_SLOTS:end]),
            self.region(seen) + layout,
            self.columns(tokens.unflatten(1, (ROWS, COLUMNS)).amax(1)).transpose(0, 1),
        )


class Exported(nn.Module):
    """`PlateReader` with the softmax and the output order of the ONNX file."""

    def __init__(self, reader: PlateReader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.reader(image)
        return (
            torch.softmax(logits.plate, dim=-1),
            torch.softmax(logits.region, dim=-1),
            torch.softmax(logits.stacked, dim=-1),
        )
