"""Reading rendered clips with the product's road reader, one clip a process at a time."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from alprd.detect import Detector
from alprd.errors import InputError
from alprd.frames import Box, Frame, Image, PassEvent
from alprd.models import shipped
from alprd.ocr import PlateReader
from alprd.profiles import ROAD, ReaderSettings
from alprd.reader import RoadReader, load
from bench.drive_score import Case, Report, judge
from bench.drive_world import Clip, frames
from sim.world import FPS

_CROP: Final = (480, 320)
"""Width and height of a saved picture, without its caption."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a reading process is told: models (None: the shipped ones), folder of pictures."""

    models: Path | None
    errors: Path | None


def events_of(
    clip: Clip, detector: Detector, ocr: PlateReader, settings: ReaderSettings = ROAD
) -> Iterator[PassEvent]:
    """What the road reader tells of a clip; it gets frames and their instants alone.

    Raises:
        InputError: the video does not fit its truth.
        ModelError: a model failed.
    """
    begins = {scene.first for scene in clip.scenes}
    reader: RoadReader | None = None
    for number, image in frames(clip):
        if reader is None or number in begins:
            # The empty road between two scenes, in which every pass would end, is not rendered.
            yield from reader.flush() if reader else ()
            reader = RoadReader(clip.camera, detector, ocr, settings)
        frame = Frame(clip.camera, np.asarray(image, np.uint8), number * 10**9 // FPS, number)
        yield from reader.process(frame)
    yield from reader.flush() if reader else ()


def read_clip(clip: Clip, detector: Detector, ocr: PlateReader) -> list[Report]:
    """Every report of the road reader on a clip; raises as :func:`events_of`."""
    return [Report.of(event) for event in events_of(clip, detector, ocr)]


_pair: tuple[Detector, PlateReader] | None = None


def _begin_worker(task: Task) -> None:
    global _pair
    folder = task.models
    _pair = load(shipped(folder, verify=False) if folder else shipped(), ROAD, threads=1)


def _work(clip: Clip, errors: Path | None) -> list[Case]:
    assert _pair is not None  # noqa: S101 - the worker began with it
    cases = judge(clip, read_clip(clip, *_pair))
    if errors is not None:
        save_errors(clip, cases, errors)
    return cases


def read(
    clips: Sequence[Clip], task: Task, jobs: int, progress: Callable[[int], None]
) -> list[Case]:
    """The cases of all clips, in their order; ``progress`` is called with clips read so far.

    Raises:
        InputError: a clip cannot be read, or the folder for pictures cannot be written.
        ModelError: the models cannot be loaded, or failed.
    """
    if task.errors is not None:
        try:
            task.errors.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{task.errors}: {error.strerror}", remedy="name another --save-errors"
            ) from error
    if jobs == 1:
        _begin_worker(task)
        cases: list[Case] = []
        for done, clip in enumerate(clips, 1):
            cases += _work(clip, task.errors)
            progress(done)
        return cases
    shipped(task.models, verify=False) if task.models else shipped()
    context = mp.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin_worker, (task,)) as pool:
        futures = [pool.submit(_work, clip, task.errors) for clip in clips]
        for done, _ in enumerate(as_completed(futures), 1):
            progress(done)
        return [case for future in futures for case in future.result()]


def save_errors(clip: Clip, cases: Sequence[Case], folder: Path) -> int:
    """Write the plate of every case that is not exact, as a picture; returns how many.

    The picture is of the frame in which the plate was clear and widest (of the report, for what
    is no readable plate), with what was expected and got in its name and below it.
    """
    wanted: dict[int, list[Case]] = {}
    for case in cases:
        if case.outcome != "exact":
            wanted.setdefault(case.frame, []).append(case)
    for number, image in frames(clip) if wanted else ():
        for case in wanted.get(number, []):
            # Only letters and digits can be in a text, so it is fit for a file's name.
            said = f"{case.expected or 'NOTHING'}-{case.got or 'nothing'}"
            vehicle = case.plate.vehicle if case.plate else 0
            name = f"{case.outcome}-{said}-{clip.name}-{vehicle}-{number}.png"
            cv2.imwrite(str(folder / name), _picture(image, case))
    return sum(len(found) for found in wanted.values())


def _picture(image: Image, case: Case) -> Image:
    x, y, w, h = _grown(case.box)
    height, width = image.shape[:2]
    x0, y0 = max(0, int(x)), max(0, int(y))
    part = image[y0 : min(height, int(y + h) + 1), x0 : min(width, int(x + w) + 1)]
    big = cv2.resize(part, _CROP, interpolation=cv2.INTER_CUBIC)
    plate = case.plate
    about = f"{case.light} {plate.state} {plate.width_px:.0f} px" if plate else case.light
    caption = np.full((56, _CROP[0], 3), 255, np.uint8)
    for row, words in enumerate((f"{case.expected} > {case.got}  {case.confidence:.3f}", about)):
        at = (6, 22 + 26 * row)
        cv2.putText(caption, words, at, cv2.FONT_HERSHEY_DUPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([big, caption])


def _grown(box: Box) -> Box:
    """A box of the saved picture's shape round a plate, with a fifth of its width a side."""
    x, y, w, h = box
    wide = max(1.4 * w, 1.4 * h * _CROP[0] / _CROP[1])
    tall = wide * _CROP[1] / _CROP[0]
    return x + w / 2 - wide / 2, y + h / 2 - tall / 2, wide, tall
