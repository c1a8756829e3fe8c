"""Assignment of cells to plates, and the training loss.

Assignment: task-aligned (Feng et al., "TOOD", ICCV 2021, section 3.2): for each plate the
``TOP_K`` candidate cells with the largest score^alpha * IoU^beta become positive, and their
score target is that figure, scaled so that the best cell of a plate gets the root of its IoU:
the IoU itself, as in the paper, held the scores of small plates under any useful threshold,
because a pixel of error costs them most. Boxes are
trained with the complete IoU (Zheng et al., AAAI 2020), scores with binary cross entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TOP_K = 8
ALPHA = 0.5
BETA = 4.0
# A cell is a candidate inside the box or this many strides around its centre, so that a plate
# of 12x6 pixels, which may contain no cell centre at all, still has candidates.
CENTRE_RADIUS = 0.8
BOX_WEIGHT = 5.0
SCORE_WEIGHT = 1.0
_EPS = 1e-7


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch.

    ``boxes`` is ``[N, G, 4]`` (x0, y0, x1, y1 in input pixels, zero-padded); ``kind`` is
    ``[N, G]``: 1 a plate, 2 a region to ignore (cut, tiny or unreadable), 0 padding.
    """

    boxes: Tensor
    kind: Tensor


@dataclass(frozen=True)
class Losses:
    """The weighted sum for the optimiser, and its parts for the log."""

    total: Tensor
    box: float
    score: float
    positives: int


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes ``[N, G, 4]`` and ``[N, A, 4]`` as ``[N, G, A]``."""
    left_top = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    right_bottom = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    inter = (right_bottom - left_top).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return inter / (area_a[:, :, None] + area_b[:, None, :] - inter + _EPS)


def complete_iou(p: Tensor, t: Tensor) -> Tensor:
    """Complete IoU of matching rows of ``[P, 4]`` boxes."""
    inter = (torch.minimum(p[:, 2:], t[:, 2:]) - torch.maximum(p[:, :2], t[:, :2])).clamp(min=0)
    overlap = inter.prod(-1)
    size_p, size_t = p[:, 2:] - p[:, :2], t[:, 2:] - t[:, :2]
    iou = overlap / (size_p.prod(-1) + size_t.prod(-1) - overlap + _EPS)
    hull = torch.maximum(p[:, 2:], t[:, 2:]) - torch.minimum(p[:, :2], t[:, :2])
    diagonal = hull.square().sum(-1) + _EPS
    gap = (p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]).square().sum(-1) / 4
    angle = torch.atan(size_t[:, 0] / (size_t[:, 1] + _EPS)) - torch.atan(
        size_p[:, 0] / (size_p[:, 1] + _EPS)
    )
    v = (4 / math.pi**2) * angle.square()
    with torch.no_grad():
        weight = v / (1 - iou + v + _EPS)
    return iou - gap / diagonal - weight * v


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, cells: Tensor, targets: Targets
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the positive cells.

    Returns for each cell ``[N, A]``: the index of its plate (-1 none), its score target, and
    whether it is left out of the score loss.
    """
    gt, kind = targets.boxes, targets.kind
    iou = pairwise_iou(gt, boxes)
    cx, cy, stride = cells[:, 0], cells[:, 1], cells[:, 2]
    inside = (cx > gt[..., 0:1]) & (cx < gt[..., 2:3]) & (cy > gt[..., 1:2]) & (cy < gt[..., 3:4])
    middle = (gt[..., :2] + gt[..., 2:]) / 2
    near = ((cx - middle[..., 0:1]).abs() < CENTRE_RADIUS * stride) & (
        (cy - middle[..., 1:2]).abs() < CENTRE_RADIUS * stride
    )
    candidate = (inside | near) & (kind == 1)[..., None]
    metric = torch.where(candidate, scores[:, None].pow(ALPHA) * iou.pow(BETA) + 1e-12, 0.0)
    top = metric.topk(min(TOP_K, metric.shape[-1]), dim=-1)
    chosen = torch.zeros_like(metric).scatter_(-1, top.indices, 1.0).bool() & candidate
    best_iou, owner = torch.where(chosen, iou, -1.0).max(1)
    positive = best_iou >= 0
    owner = torch.where(positive, owner, -1)
    mine = chosen & (owner[:, None] == torch.arange(gt.shape[1])[None, :, None])
    metric = torch.where(mine, metric, 0.0)
    ceiling = torch.where(mine, iou, 0.0).amax(-1, keepdim=True)
    scaled = metric / (metric.amax(-1, keepdim=True) + 1e-12) * ceiling.sqrt()
    ignored = ((inside | near) & (kind == 2)[..., None]).any(1) & ~positive
    return owner, scaled.amax(1), ignored


def detection_loss(boxes: Tensor, logits: Tensor, cells: Tensor, targets: Targets) -> Losses:
    """Loss of a batch; arguments as returned by :func:`training.detector.network.decode`."""
    owner, goal, ignored = assign(boxes.detach(), logits.detach().sigmoid(), cells, targets)
    keep = (~ignored).float()
    norm = goal.sum().clamp(min=1.0)
    bce = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    score_loss = (bce * keep).sum() / norm
    n_index, a_index = torch.nonzero(owner >= 0, as_tuple=True)
    if len(n_index):
        truth = targets.boxes[n_index, owner[n_index, a_index]]
        weight = goal[n_index, a_index].clamp(min=0.05)
        ciou = complete_iou(boxes[n_index, a_index], truth)
        box_loss = ((1 - ciou) * weight).sum() / norm
    else:
        box_loss = boxes.sum() * 0.0
    return Losses(
        total=BOX_WEIGHT * box_loss + SCORE_WEIGHT * score_loss,
        box=float(box_loss.detach()),
        score=float(score_loss.detach()),
        positives=len(n_index),
    )
