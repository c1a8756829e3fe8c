"""From frames of one camera to news of passes: detect, track, read, fuse, tell.

A *pass* is one plate going by one camera. It gives one ``early`` event as soon as its text may
be believed, a ``corrected`` one whenever a later fused text differs from the one told or has
become sure, and exactly one ``final``: when its track has been lost for a moment without coming
back, or after it has stood in view long enough. The same plate reappearing within a few seconds is
the same pass.
Everything is in RAM (:mod:`alprd.passes` says what is kept).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.detect import Detector
from alprd.frames import Box, Detection, Frame, Image, PassEvent, PlateReading
from alprd.fuse import Reading, decode
from alprd.issuer import IssuerReader
from alprd.models import ModelSet
from alprd.ocr import OcrResult, PlateReader, crop
from alprd.passes import Pass
from alprd.profiles import ROAD, ReaderSettings
from alprd.serials import one_shape
from alprd.track import Step, Track, Tracker, sharpness

_NS: Final = 1e-9


class PlateDetector(Protocol):
    """What the reader needs of :class:`alprd.detect.Detector`."""

    def detect(self, image: Image) -> list[Detection]: ...


class CharacterReader(Protocol):
    """What the reader needs of :class:`alprd.ocr.PlateReader`."""

    @property
    def regions(self) -> tuple[str | None, ...]: ...

    def read(
        self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
    ) -> list[OcrResult]: ...


@dataclass(slots=True)
class _Candidate:
    """A crop that is worth reading."""

    track: int
    box: Box
    quality: float
    urgency: tuple[int, float]


class RoadReader:
    """Reads the plates of one camera; one for each camera, not thread-safe.

    Args:
        camera: its name, for the events.
        detector: run with ``settings.mask_threshold`` or lower. May be shared between readers.
        ocr: may be shared between readers.
        settings: thresholds; the ``road`` profile unless told otherwise.
    """

    def __init__(
        self,
        camera: str,
        detector: PlateDetector,
        ocr: CharacterReader,
        settings: ReaderSettings = ROAD,
    ) -> None:
        self.camera = camera
        self._detector = detector
        self._ocr = ocr
        self._settings = settings
        self._tracker = Tracker(settings)
        self._passes: dict[int, Pass] = {}
        """By number of the live track."""
        self._lost: list[Pass] = []
        """Passes out of view that may still come back, or have been told lately."""
        self._motion = _Motion(settings)
        self._size = (0, 0)

    def process(self, frame: Frame) -> list[PassEvent]:
        """Take in one frame (instants must not run backwards); what is new about passes.

        Raises:
            ModelError: a model failed on this frame; the reader may be used on.
        """
        now = frame.mono_ns
        events: list[PassEvent] = []
        self._resized(frame.image)
        if self._tracker.tracks or self._motion.differs(frame.image, now):
            boxes = self._detector.detect(frame.image)
            width = frame.image.shape[1]
            step = self._tracker.update([d for d in boxes if self._plate_like(d, width)], now)
            self._follow(step, now)
            candidates = [
                candidate
                for track, detection in step.seen
                if (candidate := self._candidate(track, detection, frame)) is not None
            ]
            others = [d.box for d in boxes] + self._expected(now)
            events += self._read(candidates, frame, others)
            for track, _ in step.seen:
                if self._long_enough(self._passes[track.number], now):
                    events += self._finish(self._passes[track.number])
        return events + self._expire(now)

    def flush(self) -> list[PassEvent]:
        """End every pass (session closed, end of file): the outstanding ``final`` events."""
        self._lose(self._tracker.clear())
        events = [event for pass_ in self._lost for event in self._finish(pass_)]
        self._lost.clear()
        return events

    # Following

    def _resized(self, image: Image) -> None:
        """After a change of resolution no track goes on: its box means another place now.

        Passes stay, to be continued by their text where the plate is seen again.
        """
        height, width = image.shape[:2]
        if (height, width) == self._size:
            return
        if any(self._size):
            self._lose(self._tracker.clear())
            sy, sx = height / self._size[0], width / self._size[1]
            for pass_ in self._lost:
                x, y, w, h = pass_.box
                pass_.box = (x * sx, y * sy, w * sx, h * sy)
        self._size = (height, width)

    def _plate_like(self, detection: Detection, width: int) -> bool:
        low, high = self._settings.aspect
        _, _, w, h = detection.box
        return low <= w / h <= high and w <= self._settings.max_width_share * width

    def _follow(self, step: Step, now: int) -> None:
        self._lose(step.lost)
        for track, detection in step.seen:
            pass_ = self._passes.setdefault(track.number, Pass(now, now, detection.box))
            pass_.frames += 1
            pass_.score = max(pass_.score, detection.score)
            pass_.widest = max(pass_.widest, detection.box[2])
            pass_.last_mono_ns, pass_.box = now, detection.box

    def _expected(self, now: int) -> list[Box]:
        """Where plates should be that this frame's detector missed, to mask them too."""
        return [t.predict(now) for t in self._tracker.tracks if t.last_mono_ns != now]

    def _lose(self, tracks: Sequence[Track]) -> None:
        for track in tracks:
            pass_ = self._passes.pop(track.number)
            pass_.lost_mono_ns = track.last_mono_ns
            self._lost.append(pass_)

    def _expire(self, now: int) -> list[PassEvent]:
        """Finals of passes that did not come back; forget those told long enough ago."""
        events: list[PassEvent] = []
        kept: list[Pass] = []
        for pass_ in self._lost:
            gone = (now - (pass_.lost_mono_ns or 0)) * _NS
            if gone > self._settings.stitch_s:
                events += self._finish(pass_)
            if gone <= self._settings.remember_s:
                kept.append(pass_)
        self._lost = kept
        return events

    def _long_enough(self, pass_: Pass, now: int) -> bool:
        """Whether a pass still in view should be reported now."""
        sure = pass_.told is not None and pass_.fused is not None and pass_.fused.reading.sure
        limit = self._settings.max_view_s if sure else self._settings.max_unsure_s
        return (now - pass_.first_mono_ns) * _NS >= limit

    # Reading

    def _candidate(self, track: Track, detection: Detection, frame: Frame) -> _Candidate | None:
        """The crop, if reading it now could add something."""
        settings, pass_ = self._settings, self._passes[track.number]
        x, y, w, h = detection.box
        height, width = frame.image.shape[:2]
        edge = settings.edge
        if x < edge or y < edge or x + w > width - edge or y + h > height - edge:
            return None  # cut off: what is left may read like a whole, wrong plate
        since = (frame.mono_ns - pass_.ocr_mono_ns) * _NS
        if w < settings.min_width or (pass_.final and since < settings.recheck_s):
            return None
        sharp = sharpness(crop(frame.image, detection.box, 0.0))
        if sharp < settings.min_sharpness:
            return None
        quality = _quality(w, sharp, detection.score, settings)
        sure = pass_.fused is not None and pass_.fused.reading.sure
        spent = sure or pass_.ocr_runs >= settings.max_readings
        wait = settings.recheck_s if spent else settings.retry_s
        few = pass_.ocr_runs < settings.first_readings
        few |= w >= settings.sure_width and pass_.near_runs < settings.near_readings
        # Just near enough to be believed: an alert may wait for nothing but this reading.
        reached = pass_.widest >= settings.sure_width > pass_.read_width
        # Each better crop must beat the best by a factor, so even these are bounded.
        if not (few or reached or quality >= settings.better * pass_.best_read or since >= wait):
            return None
        return _Candidate(track.number, detection.box, quality, (pass_.ocr_runs, -quality))

    def _read(
        self, candidates: list[_Candidate], frame: Frame, others: Sequence[Box]
    ) -> list[PassEvent]:
        """Read the most urgent crops and tell what they change."""
        settings, regions = self._settings, self._ocr.regions
        candidates.sort(key=lambda c: c.urgency)
        chosen = candidates[: settings.max_ocr_per_frame]
        crops = [
            crop(frame.image, c.box, widening + self._wander(c))
            for c in chosen
            for widening in settings.widenings
        ]
        # The first of a candidate's crops is enough to tell the state from.
        issuers = [
            number == 0 and self._asks_issuer(c)
            for c in chosen
            for number in range(len(settings.widenings))
        ]
        results = iter(self._ocr.read(crops, issuers))
        events: list[PassEvent] = []
        for candidate in chosen:
            pass_ = self._passes[candidate.track]
            fresh = [
                decode(next(results), candidate.quality, frame.mono_ns) for _ in settings.widenings
            ]
            moved = pass_.another_vehicle(fresh, settings)
            if moved:
                events += self._split(candidate, moved, frame.mono_ns)
                pass_ = self._passes[candidate.track]
            pass_.ocr_runs += 1
            pass_.near_runs += candidate.box[2] >= settings.sure_width
            pass_.ocr_mono_ns = frame.mono_ns
            pass_.read_width = pass_.widest
            pass_.best_read = max(pass_.best_read, candidate.quality)
            if fresh[0].region is not None:
                pass_.issuer_runs += 1
                pass_.best_issuer = max(pass_.best_issuer, candidate.quality)
            pass_.take(fresh, regions, settings)
            pass_.keep_pictures(
                frame.image, frame.mono_ns, candidate.box, candidate.quality, others, settings
            )
            events += self._tell(pass_)
        return events

    def _wander(self, candidate: _Candidate) -> float:
        """How much wider than usual to cut this reading's crops."""
        turns = self._settings.wander
        return turns[self._passes[candidate.track].ocr_runs % len(turns)]

    def _asks_issuer(self, candidate: _Candidate) -> bool:
        """Whether the state classifier could add something to what the pass knows."""
        pass_, settings = self._passes[candidate.track], self._settings
        few = pass_.issuer_runs < settings.issuer_readings
        return few or candidate.quality >= settings.better * pass_.best_issuer

    def _split(self, candidate: _Candidate, moved: list[Reading], now: int) -> list[PassEvent]:
        """End the pass of a track on which another vehicle has appeared, and begin one for it."""
        ended = self._passes[candidate.track]
        ended.drop(moved, self._ocr.regions, self._settings)
        ended.lost_mono_ns = now
        self._lost.append(ended)
        begun = Pass(moved[0].mono_ns, now, candidate.box, frames=2, score=ended.score)
        begun.take(moved, self._ocr.regions, self._settings)
        self._passes[candidate.track] = begun
        return self._finish(ended)

    # Telling

    def _tell(self, pass_: Pass) -> list[PassEvent]:
        """An early or corrected event, if the fused reading now deserves one."""
        fused = pass_.fused
        if pass_.final or fused is None or not pass_.news():
            return []
        if pass_.told is not None:
            return [pass_.event("corrected", self.camera)]
        if pass_.score < self._settings.pass_score:
            return []
        if not fused.reading.sure and fused.agreeing <= self._settings.agree:
            return []
        for earlier in reversed(self._lost):
            if pass_.continues(earlier, fused.reading):
                self._lost.remove(earlier)
                pass_.continue_(earlier, self._ocr.regions, self._settings)
                return self._tell(pass_)
        if self._told_already(pass_, fused.reading):
            pass_.final = True  # a second track on one plate
            return []
        return [pass_.event("early", self.camera)]

    def _finish(self, pass_: Pass) -> list[PassEvent]:
        """The one final event of a pass, and its pictures let go."""
        if pass_.final:
            return []
        pass_.final = True
        reading = pass_.usable
        events: list[PassEvent] = []
        if pass_.told is not None:
            events.append(pass_.event("final", self.camera))
        elif pass_.score >= self._settings.pass_score:
            # Never told early, so nobody has asked yet whether the plate was told before.
            known = reading is not None and self._told_already(pass_, reading)
            near = pass_.widest >= self._settings.min_width
            seen = reading is not None or (near and pass_.frames >= self._settings.confirm_frames)
            if seen and not known:
                events.append(pass_.event("final", self.camera))
        pass_.let_pictures_go()
        return events

    def _told_already(self, pass_: Pass, reading: PlateReading) -> bool:
        """Whether another pass in view or just gone has told this very text."""
        return any(
            other is not pass_
            and other.told is not None
            and one_shape(other.told.text) == one_shape(reading.text)
            for other in [*self._lost, *self._passes.values()]
        )


def load(
    models: ModelSet,
    settings: ReaderSettings,
    *,
    threads: int = 1,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> tuple[Detector, PlateReader]:
    """The models as ``settings`` wants them; both may be shared between readers.

    OpenCV is held to the same number of threads: its pool would spread a 0.5 ms resize over
    cores that the other camera is using.

    Raises:
        ModelError: a file is missing or of another layout, or a provider is missing.
    """
    cv2.setNumThreads(threads)
    detector = Detector(
        models.detector,
        input_size=settings.input_size,
        threads=threads,
        threshold=settings.mask_threshold,
        max_upscale=settings.max_upscale,
        providers=providers,
    )
    issuer = None
    if models.state is not None and models.state_config is not None:
        issuer = IssuerReader(
            models.state, models.state_config, threads=threads, providers=providers
        )
    ocr = PlateReader(
        models.ocr, models.ocr_config, threads=threads, providers=providers, issuer=issuer
    )
    return detector, ocr


class _Motion:
    """Whether a frame differs from the last one that was looked at, at the cost of a thumbnail."""

    def __init__(self, settings: ReaderSettings) -> None:
        self._settings = settings
        self._last: NDArray[np.int16] | None = None
        self._last_mono_ns = 0

    def differs(self, image: Image, mono_ns: int) -> bool:
        """True if something moved or nothing has been looked at for ``idle_s``."""
        # Every fourth pixel first: the average of all of them costs five times as much and the
        # noise that it removes in addition lies far below the threshold.
        small = cv2.resize(image[::4, ::4], (64, 36), interpolation=cv2.INTER_AREA)
        thumb = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.int16)
        waited = (mono_ns - self._last_mono_ns) * _NS
        if (
            self._last is not None
            and waited < self._settings.idle_s
            and float(np.abs(thumb - self._last).max()) < self._settings.motion
        ):
            return False
        self._last, self._last_mono_ns = thumb, mono_ns
        return True


def _quality(width: float, sharp: float, score: float, settings: ReaderSettings) -> float:
    """Weight of a crop's reading: size, detail and detection score, 0…1.

    Width counts squared: the error of the OCR falls steeply between 40 and 80 px of plate.
    """
    grown = min(1.0, width / settings.full_width)
    return max(1e-4, grown * grown * min(1.0, 0.1 + 5.0 * sharp) * min(1.0, score + 0.2))
