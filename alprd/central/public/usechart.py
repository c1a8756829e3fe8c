"""A bar chart as SVG, made on the server: no script, no inline style, a title and a text.

Everything in it also stands in a table beside it; each bar tells its value to whoever points at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 720
HEIGHT: Final = 240
_LEFT: Final = 64
_RIGHT: Final = 8
_TOP: Final = 12
_BOTTOM: Final = 34
_WIDEST: Final = 44
_GAP: Final = 2
_LABELS: Final = 7
"""At most so many names below the bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One value: the name below it, and what is told of it."""

    name: str
    value: float
    told: str


def bars(chart_id: str, title: str, description: str, values: Sequence[Bar]) -> Markup:
    """The chart; without values a sentence."""
    if not values:
        return Markup('<p class="note">There is nothing to draw yet.</p>')
    top = _round_up(ceil(max(bar.value for bar in values)))
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    slot = wide / len(values)
    thick = max(1.0, min(_WIDEST, slot - _GAP))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{chart_id}-t {chart_id}-d">',
        f'<title id="{chart_id}-t">{escape(title)}</title>',
        f'<desc id="{chart_id}-d">{escape(description)}</desc>',
    ]
    for step in range(5):
        value = top * step // 4
        y = _TOP + high - high * step / 4
        kind = "axis" if step == 0 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>'
        )
    every = ceil(len(values) / _LABELS)
    for number, bar in enumerate(values):
        middle = _LEFT + slot * (number + 0.5)
        tall = high * bar.value / top
        if bar.value:
            parts.append(_bar(middle - thick / 2, _TOP + high, thick, max(tall, 1.0), bar.told))
        if (len(values) - 1 - number) % every == 0:
            parts.append(
                f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - 12}" '
                f'text-anchor="middle">{escape(bar.name)}</text>'
            )
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704 - every text in it was escaped above


def _bar(x: float, foot: float, wide: float, tall: float, told: str) -> str:
    """A bar that stands on the axis, its free end rounded."""
    round_ = min(4.0, wide / 2, tall)
    return (
        f'<path class="bar-of-use" d="M{x:.1f} {foot:.1f}v-{tall - round_:.1f}'
        f"q0 -{round_:.1f} {round_:.1f} -{round_:.1f}h{wide - 2 * round_:.1f}"
        f'q{round_:.1f} 0 {round_:.1f} {round_:.1f}v{tall - round_:.1f}z">'
        f"<title>{escape(told)}</title></path>"
    )


def _round_up(value: int) -> int:
    """The next figure that four steps divide well, at least 4."""
    if value <= 4:
        return 4
    unit = 10 ** floor(log10(value))
    for factor in (1, 2, 4, 8, 10):
        if value <= factor * unit and factor * unit % 4 == 0:
            return int(factor * unit)
    return int(ceil(value / 4) * 4)
