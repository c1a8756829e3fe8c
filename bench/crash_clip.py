"""A cheap clip with many plates: what the cameras of the crash and fault benches see.

Recognition is not measured here, so the pictures are small and plain: new, rendered plates of
Minnesota on dark blocks that drift over a grey road, a fresh set of them every
:data:`SHOWN_S` + :data:`BARE_S`. Every plate of a clip is another one. Equal seeds give equal
clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import plates
from plates import FontPool
from sim.seeds import stream

U8 = NDArray[np.uint8]

SIZE: Final = (216, 384)
"""Height and width of a picture."""
FPS: Final = 10
SHOWN_S: Final = 0.7
"""How long a set of plates is in view: enough for two agreeing readings."""
BARE_S: Final = 0.5
"""Bare road between two sets, so that no track goes over to another plate."""
PLATE: Final = (42, 84)
"""Height and width of a plate in the picture."""
_SLOTS: Final = ((52, 70), (52, 230), (140, 150))
"""Top and left of the plates of a set."""


@dataclass(frozen=True, slots=True)
class _Card:
    """A plate on its block, as drawn into the picture (H, W, 3) BGR."""

    text: str
    image: U8


def _card(seed: int, number: int, fonts: FontPool) -> _Card:
    rng = stream("test", seed, "crash", number)
    spec = plates.random_spec(rng, region="MN", vanity_share=0.0, old_share=0.0)
    while spec.plate_type != "passenger" or spec.stacked:
        spec = plates.random_spec(rng, region="MN", vanity_share=0.0, old_share=0.0)
    flat = plates.render(spec, rng, fonts=fonts, wear=False).image[:, :, ::-1]
    height, width = PLATE
    small = cv2.resize(np.ascontiguousarray(flat), (width, height), interpolation=cv2.INTER_AREA)
    block = np.full((height + 24, width + 40, 3), 46, np.uint8)
    block[:4] = 90
    block[12 : 12 + height, 20 : 20 + width] = small
    return _Card(spec.text, block)


def pictures(seconds: float, seed: int) -> Iterator[U8]:
    """The pictures of a clip, BGR (216, 384, 3) uint8, :data:`FPS` a second."""
    fonts = FontPool.load("test")
    rows = np.linspace(150, 96, SIZE[0]).astype(np.uint8)
    road = np.repeat(np.repeat(rows[:, None, None], SIZE[1], axis=1), 3, axis=2)
    shown, bare = round(SHOWN_S * FPS), round(BARE_S * FPS)
    cards: list[_Card] = []
    for index in range(round(seconds * FPS)):
        turn, at = divmod(index, shown + bare)
        picture = road.copy()
        if at == 0:
            cards = [_card(seed, turn * len(_SLOTS) + slot, fonts) for slot in range(len(_SLOTS))]
        if at < shown:
            for card, (top, left) in zip(cards, _SLOTS, strict=True):
                height, width = card.image.shape[:2]
                y, x = top - 20 + at, left - 20 + 2 * at
                picture[y : y + height, x : x + width] = card.image
        yield picture


def write_clip(path: Path, seconds: float, seed: int) -> None:
    """Encode a clip as H.264 in ``path`` (its end names the container)."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for index, picture in enumerate(pictures(seconds, seed)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
