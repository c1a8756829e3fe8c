"""What is compared: readers of whole pictures, with a watch on their stages.

Kept apart from the readers themselves (:mod:`bench.ours`, :mod:`bench.peer`), so that a process
that measures the memory of one does not load the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from alprd.frames import Box, Detection, Image


@dataclass(frozen=True, slots=True)
class Plate:
    """What a system reported: box in pixels, detection score, text ("" where it has none)."""

    box: Box
    score: float
    text: str


@dataclass(slots=True)
class Watch:
    """What the stages of one picture took; seconds by the clock unless told otherwise."""

    detect_s: float = 0.0
    ocr_s: float = 0.0
    state_s: float = 0.0
    """The state classifier, which is not counted as OCR; 0 where there is none."""
    detect_cpu_s: float = 0.0
    ocr_cpu_s: float = 0.0
    state_cpu_s: float = 0.0
    """The same three in processor time."""
    crops: int = 0
    """Crops that the OCR was given."""
    handed: int = 0
    """1 if nothing was found and the known plate was handed over."""
    raw: list[Detection] = field(default_factory=list)
    """The detector's own boxes, before what the path makes of them."""

    def reset(self) -> None:
        """Begin another picture."""
        self.detect_s = self.ocr_s = self.state_s = 0.0
        self.detect_cpu_s = self.ocr_cpu_s = self.state_cpu_s = 0.0
        self.crops = self.handed = 0
        self.raw = []


class System(Protocol):
    """One competitor."""

    name: str
    watch: Watch

    def read(self, image: Image, known: Box | None = None) -> list[Plate]:
        """Every plate of a BGR picture.

        Where nothing is found, ``known`` is read in its stead: a system that overlooks plates
        must not look quick for it.
        """
        ...

    def spell(self, crop: Image) -> str:
        """The text of a picture that is one plate."""
        ...
