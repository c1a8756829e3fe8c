"""``make bench-conditions``: real plates made small, soft and dark, read by us and by the peer.

The crops of ``us-crops`` val (real American plates) are clean and frontal. Each is set on grey,
made as wide as the condition says, blurred or darkened, and sent through JPEG; the plate's true box
is known, so that what is compared is reading alone:

* this reader as ``alprd read --profile photo`` reads a plate (:func:`alprd.still.read_cuts`), from
  three to seven cuts of it;
* fast-alpr's OCR on the box as it is, and grown by 10 % a side, which suits it better: one cut.

No plate of these was trained on here, but others of the same collection were, and are two fifths
of what the reader learns from; what the peer learned from is not known. So it is a comparison of
small, soft and dark with clear more than of one reader with another.

All read the same pixels in the same run. O and 0 count as one. ``sure`` is the share that this
reader tells as sure of every character, ``wrong_sure`` the share of those with another text.

Exit code: 0 when everything was measured, 3 when the table of crops or the peer was not there
(without the peer ours is told anyway), 1 when a crop cannot be read.

``--json FILE`` writes ``{"version": 1, "plates", "peer": package or null, "conditions": [{"name",
"width", "blur", "light", "exact_o0", "sure", "wrong_sure", "peer_exact_o0",
"peer_widened_exact_o0"}]}``; shares 0 to 1, null where not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alprd.errors import AlprdError, InputError
from alprd.frames import Box, Image
from alprd.models import shipped
from alprd.ocr import crop
from alprd.pictureguard import load_picture
from alprd.profiles import PHOTO
from alprd.reader import load
from alprd.still import read_cuts
from bench.accuracy import folded
from bench.data import Crop, frontal_crops
from bench.memory import ROOT
from bench.options import count, writable
from bench.peer import WIDENING, Peer, PeerAbsentError

NOT_MEASURED: Final = 3
_BEHIND: Final = (75, 70, 70)
"""Grey of the car around the plate, BGR."""
_AROUND: Final = 0.25
"""Of it, as a share of the plate's width a side."""
_NOISE: Final = 5.0
"""Standard deviation of a dark picture's noise, in grey levels."""
_JPEG: Final = 80
_LEAST: Final = 16
"""Pixels that a plate to be spoilt has either way."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How a plate is seen: its width in pixels, blur (sigma in pixels), light (1: as it is)."""

    name: str
    width: int
    blur: float = 0.0
    light: float = 1.0


CONDITIONS: Final = (
    Condition("128 px", 128),
    Condition("80 px", 80),
    Condition("64 px", 64),
    Condition("50 px", 50),
    Condition("40 px", 40),
    Condition("64 px, soft", 64, blur=1.0),
    Condition("80 px, dark", 80, light=0.18),
    Condition("64 px, dark", 64, light=0.25),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was read under one condition; shares, None where there was no peer or no sure text."""

    name: str
    width: int
    blur: float
    light: float
    exact_o0: float
    sure: float
    wrong_sure: float | None
    peer_exact_o0: float | None
    peer_widened_exact_o0: float | None


def spoilt(plate: Image, seen: Condition, rng: np.random.Generator) -> tuple[Image, Box]:
    """``plate`` (BGR, nothing but the plate) as ``seen``: a picture and the plate's box in it.

    Raises:
        InputError: it is too small or too narrow to be one.
    """
    height, width = plate.shape[:2]
    if min(height, width) < _LEAST or not 0.5 <= width / height <= 8:
        raise InputError(f"a crop of {width} x {height} px is no plate")
    border = round(_AROUND * width)
    whole = cv2.copyMakeBorder(
        plate, border, border, border, border, cv2.BORDER_CONSTANT, value=_BEHIND
    )
    scale = seen.width / width
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (round(whole.shape[1] * scale), round(whole.shape[0] * scale))
    small = np.asarray(cv2.resize(whole, size, interpolation=how), np.float64)
    if seen.blur:
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), seen.blur), np.float64)
    if seen.light < 1:
        small = small * seen.light + rng.normal(0, _NOISE, small.shape)
    pixels = small.clip(0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    picture = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    at = border * scale
    return picture, (at, at, width * scale, height * scale)


Reader = Callable[[Image, Box], tuple[str, bool]]
"""The text of the plate in a box, and whether it is told as sure."""


def measure(
    crops: Sequence[Crop],
    ours: Reader,
    peer: Peer | None,
    conditions: Sequence[Condition] = CONDITIONS,
    *,
    seed: int = 0,
    wrap: Callable[[Sequence[Crop], str], Any] = lambda crops, _: crops,
) -> list[Row]:
    """Read every crop under every condition.

    Args:
        wrap: shows progress over the crops of a condition.

    Raises:
        InputError: a crop cannot be opened.
        ModelError: a model failed.
    """
    rows = []
    for seen in conditions:
        rng = np.random.default_rng(seed)
        right = sure = wrong = 0
        theirs = {0.0: 0, WIDENING: 0}
        for item in wrap(crops, seen.name):
            try:
                image, box = spoilt(load_picture(item.path), seen, rng)
            except InputError as error:
                named = str(item.path) in error.message
                told = error.message if named else f"{item.path}: {error.message}"
                raise InputError(told, remedy=error.remedy) from error
            text, certain = ours(image, box)
            same = folded(text) == folded(item.text)
            right += same
            sure += certain
            wrong += certain and not same
            # The peer has no place for stacked letters: the text is right with them, too.
            wanted = {item.text, item.text + item.stacked, item.stacked + item.text}
            for widening in theirs if peer else ():
                said = peer.spell(crop(image, box, widening)) if peer else ""
                theirs[widening] += folded(said) in {folded(word) for word in wanted}
        n = len(crops)
        shares = [theirs[w] / n if peer else None for w in theirs]
        rows.append(
            Row(**asdict(seen), exact_o0=right / n, sure=sure / n,
                wrong_sure=wrong / sure if sure else None,
                peer_exact_o0=shares[0], peer_widened_exact_o0=shares[1])
        )  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench conditions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--models", type=Path, metavar="DIR", help="other models than the shipped")
    parser.add_argument(
        "--shared", type=Path, default=ROOT.parent / "shared", metavar="DIR",
        help="folder of data/ and peers/",
    )  # fmt: skip
    parser.add_argument("--crops", type=count, metavar="N", help="so many crops only")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return _run(args)
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def _run(args: argparse.Namespace) -> int:
    if args.json:
        writable(args.json)
    try:
        crops = frontal_crops(args.shared / "data", args.crops)
        if not crops:
            raise InputError(f"{args.shared / 'data' / 'us-crops'} has no crop of val")
    except InputError as error:
        print(f"not measured: {error.diagnostics()}", file=sys.stderr)
        return NOT_MEASURED
    models = shipped(args.models, verify=False) if args.models else shipped()
    _, ocr = load(models, PHOTO, threads=1)

    def ours(image: Image, box: Box) -> tuple[str, bool]:
        (fused,) = read_cuts([partial(crop, image, box)], ocr, PHOTO)
        return (fused.reading.text, fused.reading.exact) if fused else ("", False)

    peer = missing = None
    try:
        peer = Peer(args.shared / "peers")
    except PeerAbsentError as error:
        missing = error
    console = Console(stderr=True)
    rows = measure(
        crops,
        ours,
        peer,
        wrap=lambda some, name: track(some, name, console=console, disable=not console.is_terminal),
    )
    table = Table("condition", "ours", "sure", "wrong of these", "peer", "peer, crop + 10 %")
    for row in rows:
        shares = (row.exact_o0, row.sure, row.wrong_sure, row.peer_exact_o0)
        cells = [*shares, row.peer_widened_exact_o0]
        table.add_row(row.name, *("not measured" if v is None else f"{v:.1%}" for v in cells))
    Console().print(f"{len(crops)} crops of us-crops val, exact with O=0", table)
    if args.json:
        document = {
            "version": 1,
            "plates": len(crops),
            "peer": peer.package if peer else None,
            "conditions": [asdict(row) for row in rows],
        }
        args.json.write_text(json.dumps(document, indent=2) + "\n")
    if missing is not None:
        print(f"the peer was not measured: {missing.diagnostics()}", file=sys.stderr)
        return NOT_MEASURED
    return 0


if __name__ == "__main__":
    sys.exit(main())
