"""What the guest's camera sees and reads with where only durability is measured: tiny models.

An emulated processor needs seconds for one look of the shipped models, and no pass is followed
over such gaps. :mod:`bench.tiny_models` need next to no time: everything behind them, from the
reader's tracks to the sealed and committed read, is the product's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from alprd.frames import Image
from alprd.models import digest
from alprd.ocr import ALPHABET
from bench.tiny_models import SLOTS, draw_plate, write_detector, write_ocr
from sim.seeds import stream

SIZE: Final = (192, 320)
"""Height and width of a picture, and of the detector's input."""
RATE: Final = 4
"""Frames a second."""
SHOWN: Final = 5
"""Frames of a plate ..."""
BARE: Final = 2
"""... and of bare road after it, so that no track goes over to the next plate."""
FOLDER: Final = "/usr/share/alprd-tiny"
"""Where the models and the clip lie in the guest."""
_WIDTH: Final = 80
_GREYS: Final = ALPHABET.replace("_", "")


def pictures(seconds: float, seed: int) -> Iterator[NDArray[np.uint8]]:
    """BGR pictures, :data:`RATE` a second: plate after plate, each with a text of its own."""
    rows = np.linspace(120, 60, SIZE[0]).astype(np.uint8)
    road = np.repeat(np.repeat(rows[:, None, None], SIZE[1], axis=1), 3, axis=2)
    text, left, top = "", 0, 0
    for index in range(round(seconds * RATE)):
        turn, at = divmod(index, SHOWN + BARE)
        picture: Image = road.copy()
        if at == 0:
            rng = stream("test", seed, "tiny", turn)
            text = "".join(_GREYS[int(k)] for k in rng.integers(0, len(_GREYS), SLOTS - 1))
            left, top = int(rng.integers(10, 180)), int(rng.integers(10, 120))
        if at < SHOWN:
            draw_plate(picture, text, left + 6 * at, top + 3 * at, _WIDTH)
        yield picture


def write_clip(path: Path, seconds: float, seed: int) -> None:
    """Encode a clip without loss: the plates' frames are one pixel wide."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264rgb", rate=RATE, options={"preset": "ultrafast", "qp": "0"})
        video.width, video.height, video.pix_fmt = SIZE[1], SIZE[0], "bgr24"
        for index, picture in enumerate(pictures(seconds, seed)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


def write_all(folder: Path, seconds: float, seed: int) -> tuple[dict[str, Path], str]:
    """Write the models and the clip.

    Args:
        folder: where, on the host.
        seconds: length of the clip.
        seed: of its plates.

    Returns:
        Path in the guest → file of the host, and the sections of the configuration that name and
        pin the models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    detector = write_detector(folder / "detector.onnx", fixed=SIZE)
    ocr, sheet = write_ocr(folder)
    clip = folder / "clip.mp4"
    write_clip(clip, seconds, seed)
    copies = {f"{FOLDER}/{path.name}": path for path in (detector, ocr, sheet, clip)}
    sections = f"""\
[detector]
model = "{FOLDER}/{detector.name}"
sha256 = "{digest(detector)}"
[ocr]
model = "{FOLDER}/{ocr.name}"
sha256 = "{digest(ocr)}"
config = "{FOLDER}/{sheet.name}"
config_sha256 = "{digest(sheet)}"
"""
    return copies, sections
