"""What passes between capture, recognition and the daemon, in RAM only.

Pixels are BGR uint8 as OpenCV gives them. Boxes are ``(x, y, w, h)`` in pixels of the frame.
Instants are ``time.monotonic_ns()``; :mod:`alprd.clock` maps them to UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alprd.errors import InputError

Image = NDArray[np.uint8]
"""(H, W, 3) BGR uint8."""
Box = tuple[float, float, float, float]


def check_image(image: Image) -> None:
    """Hold ``image`` to what a model can look at.

    Raises:
        InputError: it is not (H, W, 3) uint8, or empty.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {image.shape} and {image.dtype} cannot be looked at",
            remedy="give uint8 of (height, width, 3), blue first, as cv2.imread does",
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture of one camera."""

    camera: str
    image: Image
    mono_ns: int
    """Monotonic instant of exposure (of arrival, for a live stream)."""
    sequence: int


@dataclass(frozen=True, slots=True)
class Detection:
    """A plate-like box and the detector's confidence, 0…1."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Character:
    """One fused character with what else it could be.

    ``alternatives`` are the other characters above 1 % with their probability, likeliest first.
    """

    char: str
    prob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PlateReading:
    """What the reader says about one plate: text, stacked part, issuing state.

    ``region`` is a USPS code or None (unknown, or below the region floor); ``confidence`` is the
    lowest character probability; ``sure`` means above the shipped alert floor, every character by
    its own floor, O and 0, I and 1 taken as one, as matching does. ``open`` are the places (from 0)
    where it is not said which of the two stands there. ``sharpness``/confidence never leave RAM
    (T-4).
    """

    text: str
    stacked: str
    characters: tuple[Character, ...]
    region: str | None
    region_prob: float
    confidence: float
    sure: bool
    open: tuple[int, ...] = ()

    @property
    def exact(self) -> bool:
        """Sure, and of every character."""
        return self.sure and not self.open


@dataclass(frozen=True, slots=True)
class PassEvent:
    """News of one pass of one plate before one camera.

    ``early``: two agreeing frames, or one very sure one: an alert may fire on it.
    ``corrected``: a later fused reading differs from the one told before, or has become sure.
    ``final``: the pass is over (or lasts longer than the limit): exactly one per pass, the one
    that may become a read. A pass that never gave a usable reading ends with ``reading=None`` and
    only counts (R-460.5.1-b1).
    """

    kind: Literal["early", "corrected", "final"]
    pass_id: str
    camera: str
    reading: PlateReading | None
    first_mono_ns: int
    """Frame in which this text was first read."""
    best_mono_ns: int
    """Frame of the pictures: instant and position of the read."""
    plate_image: Image | None
    """Crop of the plate with a small margin, best frame."""
    wide_image: Image | None
    """Vehicle and surroundings, best frame, every other plate-like box masked (R-460.5-b5)."""
    detail: dict[str, Any] | None = None
