"""The openly licensed type faces that draw plates, split into `train` and `test` families.

The split is what keeps an accuracy figure honest: a family of the `test` split is seen by no
training run. The table `plates/fonts/FONTS.md` is the only list of families; a face that it does
not name is not loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Split = Literal["train", "test"]
Mask = NDArray[np.uint8]

FONT_DIR = Path(__file__).parent / "fonts"
# What the `display` faces are like; a design asks for a kind, never for a family.
_SCRIPTS = frozenset({"kaushan-script", "lobster", "pacifico", "playball", "yellowtail"})
_SLABS = frozenset({"alfa-slab-one", "rokkitt"})
_GLYPH_SIZE = 150  # points; a capital is then about 105 px high, as large as a plate ever needs


@dataclass(frozen=True)
class Face:
    """One weight of one family: `path` is its WOFF2 file."""

    family: str
    weight: int
    path: Path


@dataclass(frozen=True)
class FontPool:
    """The faces of one split: `serial` draws numbers; `words` draws plain words; `display` draws
    script, serif and slab words."""

    split: Split
    serial: tuple[Face, ...]
    words: tuple[Face, ...]
    display: tuple[Face, ...]
    families: frozenset[str] = field(default_factory=frozenset)

    def of_kind(self, kind: str) -> tuple[Face, ...]:
        """The faces for words of a `kind`: "plain", "script", "serif" or "slab". A split that has
        no face of a kind gives the nearest one (slab for serif), so this is never empty."""
        return _of_kind(self, kind)

    @classmethod
    def load(cls, split: Split) -> FontPool:
        """Load the faces of `split` ("train" or "test").

        Raises:
            ValueError: `split` is neither, or the table lists a family without files.
        """
        if split not in ("train", "test"):
            raise ValueError(f"font split {split!r} is unknown: use 'train' or 'test'")
        serial: list[Face] = []
        words: list[Face] = []
        display: list[Face] = []
        families: set[str] = set()
        for family, row_split, use in read_font_table():
            if row_split != split:
                continue
            faces = [
                Face(family, int(path.stem.split("-")[-2]), path)
                for path in sorted((FONT_DIR / family).glob("*.woff2"))
            ]
            if not faces:
                raise ValueError(
                    f"plates/fonts/{family}: listed in FONTS.md but has no .woff2 file"
                )
            families.add(family)
            if use in ("serial", "both"):
                serial += faces
                words += faces
            if use == "words":
                display += faces
        return cls(split, tuple(serial), tuple(words), tuple(display), frozenset(families))


@lru_cache(maxsize=64)
def _of_kind(pool: FontPool, kind: str) -> tuple[Face, ...]:
    if kind == "plain":
        return pool.words
    scripts = tuple(face for face in pool.display if face.family in _SCRIPTS)
    slabs = tuple(face for face in pool.display if face.family in _SLABS)
    serifs = tuple(face for face in pool.display if face.family not in _SCRIPTS | _SLABS)
    if kind == "script":
        return scripts or pool.display
    return (serifs or slabs) if kind == "serif" else (slabs or serifs)


def read_font_table() -> list[tuple[str, str, str]]:
    """Rows (family, split, use) of `plates/fonts/FONTS.md`."""
    rows: list[tuple[str, str, str]] = []
    for line in (FONT_DIR / "FONTS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[2] in ("train", "test"):
            rows.append((cells[0], cells[2], cells[3]))
    return rows


@lru_cache(maxsize=256)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=8192)
def glyph(path: Path, char: str) -> Mask:
    """Ink of one character, cropped tightly: uint8 coverage of shape (h, w), h about 105 px.

    Cropping every character to its own ink is deliberate: plate dies are all of one height, so a
    type face's overshoot and descending Q are taken away as a die maker does.
    """
    font = _font(path, _GLYPH_SIZE)
    left, top, right, bottom = (int(v) for v in font.getbbox(char))
    image = Image.new("L", (max(1, right - left) + 8, max(1, bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), char, font=font, fill=255)
    pixels = np.asarray(image)
    x, y, w, h = cv2.boundingRect((pixels > 40).astype(np.uint8))
    return np.ascontiguousarray(pixels[y : y + h, x : x + w])


@lru_cache(maxsize=2048)
def line(path: Path, text: str, height: int, spacing: int = 0) -> Mask:
    """A line of text as coverage, about `height` px high for a capital, `spacing` px tracking."""
    font = _font(path, max(6, round(height * 1.4)))
    if not text.strip():
        return np.zeros((height, 1), np.uint8)
    if spacing:
        width = int(sum(font.getlength(char) + spacing for char in text)) + 8
    else:
        width = int(font.getlength(text)) + 8
    box = font.getbbox(text)
    image = Image.new("L", (width + 8, int(box[3] - box[1]) + 8))
    draw = ImageDraw.Draw(image)
    if spacing:
        x = 4.0
        for char in text:
            draw.text((x, 4 - box[1]), char, font=font, fill=255)
            x += font.getlength(char) + spacing
    else:
        draw.text((4, 4 - box[1]), text, font=font, fill=255)
    pixels = np.asarray(image)
    x0, y0, w, h = cv2.boundingRect((pixels > 40).astype(np.uint8))
    if w == 0:  # a character that the face has no ink for
        return np.zeros((height, 1), np.uint8)
    return np.ascontiguousarray(pixels[y0 : y0 + h, x0 : x0 + w])
