"""Photographs as files: refused by their headers before a decoder takes memory for them, decoded.

The files that ``alprd read`` is given come from anywhere. OpenCV itself refuses more than
:data:`MOST_PIXELS`, but believes what the chunks of a PNG say of their length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from alprd.errors import InputError
from alprd.frames import Image

MOST_PIXELS: Final = 1 << 27
"""Largest picture that is decoded; OpenCV holds it before memory is taken (see ``alprd``)."""


def load_picture(path: Path) -> Image:
    """A photograph as BGR pixels, turned upright by its EXIF orientation.

    Raises:
        InputError: it cannot be read or decoded.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:  # a name that no file can have is the latter
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)!r} cannot be read: {reason}") from error
    remedy = "use JPEG, PNG, BMP, TIFF or WebP"
    if data.size == 0:
        raise InputError(f"{path} is empty", remedy=remedy)
    if not _whole_png(data.tobytes()):
        raise InputError(f"{path} is cut short or damaged", remedy=remedy)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "MAX_IMAGE" in error.err:
            told, remedy = "has too many pixels", f"scale it down: {MOST_PIXELS:,} are read at most"
        else:
            told = f"is too large or damaged: {error.err}"
        raise InputError(f"{path} {told}", remedy=remedy) from error
    if image is None:
        raise InputError(f"{path} is no picture that can be decoded", remedy=remedy)
    return np.asarray(image, dtype=np.uint8)


def _whole_png(data: bytes) -> bool:
    """Whether no chunk of a PNG is longer than the file; True of any other format.

    OpenCV takes the memory that a chunk announces, up to 4 GB, before it looks for its bytes
    (found by ``make fuzz``).
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return True
    at, kind = 8, b""
    while at + 8 <= len(data) and kind != b"IEND":  # what follows the last is no chunk
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at <= len(data)
