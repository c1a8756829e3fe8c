"""The daily self-check: a rendered plate with a known number, shown to the loaded pipeline.

``alprd/models/selfcheck.png`` is rendered by ``python -m sim.selfcheck``; the plate is invented
and its truth stands in ``selfcheck.txt``. The check goes through detector, tracker, OCR and fusion
as the daemon has them loaded, with a reader of its own: nothing of it can reach the collector, so
it is never stored, counted, matched or alerted. It catches what a SHA-256 of a file cannot: a
runtime, provider or accelerator that computes something else today than yesterday.

What is told and recorded says whether the number was read, never what was read instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from alprd.audit import Event, Trail
from alprd.errors import AlprdError, ModelError
from alprd.frames import Frame, Image, PassEvent
from alprd.models import FOLDER
from alprd.reader import RoadReader
from alprd.workers import Beat, describe

log = logging.getLogger(__name__)

EVERY_S: Final = 24 * 3600.0
AGAIN_S: Final = 3600.0
"""After a failure the next check comes sooner: the alarm should end when its cause has."""
PICTURE: Final = "selfcheck.png"
TRUTH: Final = "selfcheck.txt"
FRAMES: Final = 6
_STEP_NS: Final = 66_000_000
"""The frames pretend to be of a camera with 15 frames/s."""
_REMEDY: Final = "run alprd doctor; install the package again if the models are at fault"

Outcome = Literal["read", "unread", "misread", "unsure", "damaged", "error"]
_WORDS: Final[dict[Outcome, str]] = {
    "read": "the test plate was read",
    "unread": "the test plate was not found or not read",
    "misread": "the test plate was read as another number",
    "unsure": "the test plate was read, but not surely",
    "damaged": "the test picture is missing or damaged",
    "error": "a model failed on the test plate",
}

MakeReader = Callable[[str], RoadReader]
"""A reader of its own, of the given name, over the models and settings that the cameras use."""
Now = Callable[[], tuple[datetime, bool]]


@dataclass(frozen=True, slots=True)
class SelfCheckResult:
    """One check. ``milliseconds`` is the mean over the frames shown; 0 if none could be."""

    at: datetime
    outcome: Outcome
    milliseconds: float

    @property
    def ok(self) -> bool:
        """Whether the pipeline reads what it must."""
        return self.outcome == "read"

    @property
    def text(self) -> str:
        """The result in words, ready to show."""
        return _WORDS[self.outcome]


class SelfCheck:
    """The worker that shows the test plate at start and once a day; any thread may ask it.

    Args:
        make_reader: see :data:`MakeReader`.
        trail: each result is recorded there.
        now: the disciplined clock.
        folder: of picture and truth.
        pause_s: rest between frames, so that the cameras' frames come first.
    """

    def __init__(
        self,
        make_reader: MakeReader,
        *,
        trail: Trail,
        now: Now,
        folder: Path = FOLDER,
        every_s: float = EVERY_S,
        again_s: float = AGAIN_S,
        pause_s: float = 0.2,
    ) -> None:
        self._make_reader = make_reader
        self._trail = trail
        self._now = now
        self._folder = folder
        self._every_s = every_s
        self._again_s = again_s
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._result: SelfCheckResult | None = None

    @property
    def result(self) -> SelfCheckResult | None:
        """The latest check; None before the first."""
        with self._lock:
            return self._result

    @property
    def alarm(self) -> str:
        """What the deputy must know, "" while all is well."""
        result = self.result
        return "" if result is None or result.ok else f"self-check failed: {result.text}"

    def health(self) -> dict[str, object]:
        """For the health page: whether, when and how the last check went."""
        result = self.result
        return {
            "ok": None if result is None else result.ok,
            "outcome": None if result is None else result.outcome,
            "at": None if result is None else result.at.isoformat(),
            "milliseconds": None if result is None else round(result.milliseconds, 1),
        }

    def run(self, beat: Beat) -> None:
        """Check now and then daily, until asked to stop."""
        while not beat.stopping:
            result = self.check(beat)
            if result is None or beat.sleep(self._every_s if result.ok else self._again_s):
                return

    def check(self, beat: Beat | None = None) -> SelfCheckResult | None:
        """One check, told to the log and recorded; None when it was asked to stop on the way.

        Raises:
            AuditError: the trail cannot be written; the worker is started again.
        """
        outcome, milliseconds = self._look(beat)
        if beat is not None and beat.stopping:
            return None
        result = SelfCheckResult(self._now()[0], outcome, milliseconds)
        with self._lock:
            self._result = result
        if not result.ok:
            log.error("self-check: %s; %s", result.text, _REMEDY)
        self._trail.record(
            Event.SELF_CHECKED,
            detail={"ok": result.ok, "outcome": outcome, "milliseconds": round(milliseconds)},
        )
        return result

    def _look(self, beat: Beat | None) -> tuple[Outcome, float]:
        try:
            image, truth = load_picture(self._folder)
        except ModelError as error:
            log.error("self-check: %s", error.diagnostics())
            return "damaged", 0.0
        try:
            return show(self._make_reader("self-check"), image, truth, beat, self._pause_s)
        except AlprdError as error:
            log.error("self-check: %s", error.diagnostics())
        except Exception as error:  # noqa: BLE001 - whatever a runtime throws is the finding
            log.error("self-check: %s", describe(error))
        return "error", 0.0


def load_picture(folder: Path = FOLDER) -> tuple[Image, str]:
    """The test picture, (H, W, 3) BGR, and the number on it.

    Raises:
        ModelError: one of the two files is missing or damaged.
    """
    try:
        truth = (folder / TRUTH).read_text(encoding="ascii").split()
        data = np.frombuffer((folder / PICTURE).read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ModelError(
            f"{folder / PICTURE} and {TRUTH} cannot be read: {reason}",
            remedy="install the package again",
        ) from error
    if image is None or len(truth) != 2:
        raise ModelError(
            f"{folder / PICTURE} or {TRUTH} is damaged", remedy="install the package again"
        )
    return np.asarray(image, np.uint8), truth[0]


def show(
    reader: RoadReader, image: Image, truth: str, beat: Beat | None = None, pause_s: float = 0.0
) -> tuple[Outcome, float]:
    """Show a picture as :data:`FRAMES` frames of one pass; the outcome and milliseconds a frame.

    Raises:
        ModelError: a model failed.
    """
    events: list[PassEvent] = []
    spent = 0.0
    begin = time.monotonic_ns()
    for number in range(FRAMES):
        started = time.perf_counter()
        events += reader.process(Frame("self-check", image, begin + number * _STEP_NS, number))
        spent += time.perf_counter() - started
        if beat is not None:
            beat()
            if beat.sleep(pause_s):
                break
    events += reader.flush()
    return _judge(events, truth), 1000.0 * spent / FRAMES


def _judge(events: list[PassEvent], truth: str) -> Outcome:
    finals = [e.reading for e in events if e.kind == "final" and e.reading is not None]
    if not finals:
        return "unread"
    if len(finals) > 1 or finals[0].text != truth:
        return "misread"
    return "read" if finals[0].sure else "unsure"
