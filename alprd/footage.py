"""Videos as files, read as a camera is: the passes of one, each told once it is final."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from alprd.errors import InputError
from alprd.frames import Frame, Image, PassEvent
from alprd.profiles import ReaderSettings
from alprd.reader import CharacterReader, PlateDetector, RoadReader

_WHOLE: Final = 0.9
"""Share of the time announced by a video from which it counts as whole: some only estimate it."""


def read_video(
    path: Path,
    detector: PlateDetector,
    ocr: CharacterReader,
    settings: ReaderSettings,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Image | None, PassEvent]]:
    """The final events of every pass of a video, with the masked wide picture of each.

    Every frame is looked at; instants are those of the file. ``note`` is told where its pictures
    end well before the time that it announces. It may then have been cut short; it may also have
    longer sound, or hide a part that another program cut away, so this is no error.

    Raises:
        InputError: the file cannot be opened, or gives no frame.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"{path} cannot be opened as a video", remedy="check that it plays")
        rate = capture.get(cv2.CAP_PROP_FPS)
        step_ns = round(1e9 / rate) if 1 <= rate <= 240 else round(1e9 / 15)
        reader = RoadReader(path.name, detector, ocr, settings)
        number, instant = 0, -step_ns
        while True:
            told, image = capture.read()
            if not told:
                break
            stamp = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            # Some containers tell no times; then the frame rate counts.
            instant = stamp if stamp > instant else instant + step_ns
            number += 1
            frame = Frame(path.name, np.asarray(image, dtype=np.uint8), instant, number)
            yield from _finals(reader.process(frame))
        if number == 0:
            raise InputError(f"{path} gives no frame", remedy="check that it plays")
        yield from _finals(reader.flush())
        announced, ended = capture.get(cv2.CAP_PROP_FRAME_COUNT) * step_ns, instant + step_ns
        if ended < _WHOLE * announced:
            note(
                f"{path} announces {announced * 1e-9:.1f} s and shows {ended * 1e-9:.1f} s: "
                "if that is not all of it, it was cut short; copy it again"
            )
    finally:
        capture.release()


def _finals(events: Iterable[PassEvent]) -> Iterator[tuple[Image | None, PassEvent]]:
    for event in events:
        if event.kind == "final" and event.reading is not None:
            yield event.wide_image, dataclasses.replace(event, plate_image=None, wide_image=None)
