"""The state classifier: general features, one linear layer.

The reader's own input is too small for it: at 64 x 128 the state's name is six pixels high, and
what a state's plates look like takes more examples than there are crops. With the reader's branch
the state was right on 68 % of val crops.

Input: uint8 (N, 96, 192, 3), NHWC, RGB, the crop resized without keeping its aspect. Output
`region`: softmax (N, 52) over the regions of the reader, "other" included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.backbone import BLOCKS, Lite0

HEIGHT, WIDTH = 96, 192
DEPTH = 11
HIDDEN = 384


class StateClassifier(nn.Module):
    """The trainable network; `forward` takes NHWC uint8 (or float 0-255), gives raw scores.

    The first `frozen` blocks of the backbone stay as published.
    """

    def __init__(self, regions: int = 52, dropout: float = 0.3, frozen: int = 5) -> None:
        super().__init__()
        self.backbone = Lite0(DEPTH, frozen)
        self.widen = nn.Sequential(
            nn.Conv2d(BLOCKS[DEPTH - 1][4], HIDDEN, 1, bias=False), nn.BatchNorm2d(HIDDEN)
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, regions)

    def forward(self, image: Tensor) -> Tensor:
        """Raw scores (N, regions)."""
        x = image.permute(0, 3, 1, 2).float() / 255
        x = self.backbone(x.contiguous(memory_format=torch.channels_last), (DEPTH - 1,))[0]
        x = torch.relu(self.widen(x)).mean((2, 3))
        y: Tensor = self.out(self.dropout(x))
        return y


class Exported(nn.Module):
    """`StateClassifier` with its softmax."""

    def __init__(self, classifier: StateClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, regions)."""
        return torch.softmax(self.classifier(image), dim=-1)
