"""Pictures: into what ``alprd read`` decodes with, and what a camera's stream is decoded with.

The first byte of an input says which: the loader of photographs, or FFmpeg as a camera that sends
MJPEG, with the frames back to back.
"""

from __future__ import annotations

import atexit
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import Final

import cv2
import numpy as np

from alprd.errors import CameraError, InputError
from alprd.pictureguard import MOST_PIXELS, load_picture
from alprd.sources import CameraConfig
from alprd.streams import MOST_PIXELS as MOST_STREAMED
from alprd.streams import FFmpegSource
from fuzz.mutate import damaged

OUTCOMES: Final = ("refused", "decoded")
MEMORY_MB: Final = 3 * (MOST_PIXELS >> 20) * 2 + 128
"""The pixels twice (a decoder's own copy and ours), and some."""

PHOTO, STREAM = range(2)
_FOLDER: Final = Path(tempfile.mkdtemp(prefix="fuzz-image-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_PHOTO: Final = _FOLDER / "photo.jpg"
_STREAM: Final = _FOLDER / "stream.mjpeg"
_CAMERA: Final = CameraConfig("fuzz", f"file:{_STREAM}")
_SIDES: Final = (0, 1, 2, 31, 32, 0x7FFF, 0xFFFF, 0x10000, 20_000, 0x7FFFFFFF, 0xFFFFFFFF)


def _seeds() -> dict[str, tuple[bytes, ...]]:
    grain = np.random.default_rng(7)
    pictures = [
        grain.integers(0, 255, (48, 64, 3), dtype=np.uint8),
        np.full((33, 40, 3), 90, np.uint8),
        grain.integers(0, 255, (24, 32), dtype=np.uint8),
    ]
    kinds: dict[str, list[list[int]]] = {
        "jpg": [[cv2.IMWRITE_JPEG_QUALITY, 60], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]],
        "png": [[], [cv2.IMWRITE_PNG_COMPRESSION, 0]],
        "bmp": [[]],
        "webp": [[cv2.IMWRITE_WEBP_QUALITY, 50], [cv2.IMWRITE_WEBP_QUALITY, 101]],
        "tiff": [[], [cv2.IMWRITE_TIFF_COMPRESSION, 5]],
    }
    return {
        kind: tuple(
            np.asarray(cv2.imencode(f".{kind}", picture, params)[1]).tobytes()
            for params in options
            for picture in pictures
        )
        for kind, options in kinds.items()
    }


_SEEDS: Final = _seeds()
_ALL: Final = tuple(data for group in _SEEDS.values() for data in group)


def _side(rng: Random) -> int:
    """Mostly small: a header that announces much costs a hundred times the time of another."""
    return rng.choice(_SIDES) if rng.random() < 0.2 else rng.randint(1, 300)


def _resized(kind: str, data: bytes, rng: Random) -> bytes:
    """The same file with another width and height in its header, checksums put right."""
    changed = bytearray(data)
    if kind == "jpg":
        at = max(changed.find(b"\xff\xc0"), changed.find(b"\xff\xc2"))
        changed[at + 5 : at + 9] = struct.pack(">HH", _side(rng) & 0xFFFF, _side(rng) & 0xFFFF)
    elif kind == "png":
        changed[16:24] = struct.pack(">II", _side(rng), _side(rng))
        if rng.random() < 0.3:
            changed[24:27] = rng.randbytes(3)  # depth, colour type, compression
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif kind == "bmp":
        sign = rng.choice((1, 1, -1))
        height = max(-(2**31), sign * min(_side(rng), 2**31 - 1))
        changed[18:26] = struct.pack("<Ii", _side(rng), height)
    elif kind == "webp":
        at = changed.find(b"VP8 ")
        if at >= 0:
            changed[at + 14 : at + 18] = struct.pack(
                "<HH", _side(rng) & 0xFFFF, _side(rng) & 0xFFFF
            )
    else:
        (first,) = struct.unpack("<I", changed[4:8])
        for entry in range(2):  # tags 256 and 257 come first, sorted
            at = first + 2 + 12 * entry + 8
            if at + 4 <= len(changed) and rng.random() < 0.7:
                changed[at : at + 4] = struct.pack("<I", _side(rng))
    return bytes(changed)


def _header_damaged(data: bytes, rng: Random) -> bytes:
    """Damage in the first bytes, where decoders believe what they read."""
    return damaged(data[:160], rng) + data[160:]


def _picture(rng: Random, kinds: tuple[str, ...]) -> bytes:
    kind = rng.choice(kinds)
    data = rng.choice(_SEEDS[kind])
    way = rng.random()
    if way < 0.35:
        data = _resized(kind, data, rng)
    elif way < 0.65:
        data = _header_damaged(data, rng)
    elif way < 0.95:
        data = damaged(data, rng, _ALL)
    return data


def make(rng: Random) -> bytes:
    """A photograph, or one time in twenty a stream of one to three JPEG pictures."""
    if rng.random() < 0.05:
        frames = b"".join(_picture(rng, ("jpg",)) for _ in range(rng.randint(1, 3)))
        return bytes((STREAM,)) + frames
    return bytes((PHOTO,)) + _picture(rng, tuple(_SEEDS))


def run(data: bytes) -> str:
    """Decodes it."""
    try:
        return _stream(data[1:]) if data[0] == STREAM else _photo(data[1:])
    except (InputError, CameraError) as error:
        if "alloc" in error.message or "memory" in error.message:
            raise AssertionError("it wanted more memory than there may be") from error
        return "refused"


def _photo(data: bytes) -> str:
    _PHOTO.write_bytes(data)
    image = load_picture(_PHOTO)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise AssertionError("a picture that is not BGR")
    if image.shape[0] * image.shape[1] > MOST_PIXELS:
        raise AssertionError(f"a picture of {image.shape[1]}x{image.shape[0]}")
    return "decoded"


def _stream(data: bytes) -> str:
    _STREAM.write_bytes(data)
    source = FFmpegSource(_CAMERA)
    decoded = False
    try:
        while source.grab():
            image = source.retrieve()
            if image is not None and image.shape[0] * image.shape[1] > MOST_STREAMED:
                raise AssertionError(f"a frame of {image.shape[1]}x{image.shape[0]}")
            decoded = decoded or image is not None
    finally:
        source.release()
    return "decoded" if decoded else "refused"
