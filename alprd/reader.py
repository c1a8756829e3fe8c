"""From frames of one camera to news of passes: detect, track, read, fuse, tell.

A *pass* is one plate going by one camera. It gives one ``early`` event as soon as its text may
be believed, a ``corrected`` one whenever a later fused text differs from the one told, and
exactly one ``final``: when its track has been lost for a moment without coming back, or after it
has stood in view long enough. The same plate reappearing within a few seconds is the same pass.

All of it is in RAM. A pass keeps probability matrices, one crop and one scaled-down picture of
its best frame; never whole frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.detect import Detector
from alprd.frames import Box, Detection, Frame, Image, PassEvent, PlateReading
from alprd.fuse import Fused, Reading, decode, differing, fuse
from alprd.models import ModelSet
from alprd.ocr import OcrResult, PlateReader, crop
from alprd.pictures import plate_picture, wide_picture
from alprd.profiles import ROAD, ReaderSettings
from alprd.records import new_id
from alprd.track import Track, Tracker, centre, sharpness, size

_NS: Final = 1e-9
_KEPT: Final = 8
"""Readings kept for fusion, the heaviest; the rest would only dilute them."""
_OTHER_VEHICLE: Final = 3
"""Characters by which two agreeing new readings must differ to be another vehicle."""


class PlateDetector(Protocol):
    """What the reader needs of :class:`alprd.detect.Detector`."""

    def detect(self, image: Image) -> list[Detection]: ...


class CharacterReader(Protocol):
    """What the reader needs of :class:`alprd.ocr.PlateReader`."""

    @property
    def regions(self) -> tuple[str | None, ...]: ...

    def read(self, crops: Sequence[Image]) -> list[OcrResult]: ...


@dataclass(slots=True, eq=False)
class _Pass:
    """What is known of one pass."""

    id: str
    first_mono_ns: int
    last_mono_ns: int
    box: Box
    frames: int = 0
    readings: list[Reading] = field(default_factory=list)
    ocr_runs: int = 0
    ocr_mono_ns: int = 0
    best_read: float = 0.0
    """Quality of the best crop that was read."""
    first_seen: dict[str, int] = field(default_factory=dict)
    """Text -> frame in which it was first read."""
    fused: Fused | None = None
    told: PlateReading | None = None
    final: bool = False
    lost_mono_ns: int | None = None
    picture_quality: float = 0.0
    picture_text: str = ""
    picture_mono_ns: int = 0
    plate_image: Image | None = None
    wide_image: Image | None = None


@dataclass(slots=True)
class _Candidate:
    """A crop that is worth reading."""

    pass_: _Pass
    detection: Detection
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
        self._passes: dict[int, _Pass] = {}
        """By number of the live track."""
        self._lost: list[_Pass] = []
        """Passes out of view that may still come back, or have been told lately."""
        self._motion = _Motion(settings)

    def process(self, frame: Frame) -> list[PassEvent]:
        """Take in one frame (instants must not run backwards); what is new about passes."""
        now = frame.mono_ns
        events: list[PassEvent] = []
        if self._tracker.tracks or self._motion.differs(frame.image, now):
            boxes = self._detector.detect(frame.image)
            step = self._tracker.update([d for d in boxes if self._plate_like(d)], now)
            for track in step.lost:
                self._lose(self._passes.pop(track.number), track, now)
            others = [d.box for d in boxes] + self._expected(now)
            candidates: list[_Candidate] = []
            for track, detection in step.seen:
                pass_ = self._pass_of(track, now)
                pass_.frames += 1
                pass_.last_mono_ns, pass_.box = now, detection.box
                candidate = self._candidate(pass_, detection, frame)
                if candidate is not None:
                    candidates.append(candidate)
            events += self._read(candidates, frame, others)
            for track, _ in step.seen:
                pass_ = self._passes[track.number]
                in_view = (now - pass_.first_mono_ns) * _NS
                if not pass_.final and in_view >= self._settings.max_view_s:
                    events += self._finish(pass_)
        events += self._expire(now)
        return events

    def flush(self) -> list[PassEvent]:
        """End every pass (session closed, end of file): the outstanding ``final`` events."""
        events: list[PassEvent] = []
        for track in self._tracker.clear():
            self._lose(self._passes.pop(track.number), track, track.last_mono_ns)
        for pass_ in self._lost:
            events += self._finish(pass_)
        self._lost.clear()
        return events

    # Choosing what to read

    def _plate_like(self, detection: Detection) -> bool:
        low, high = self._settings.aspect
        return low <= detection.box[2] / detection.box[3] <= high

    def _expected(self, now: int) -> list[Box]:
        """Where plates should be that this frame's detector missed, to mask them too."""
        return [t.predict(now) for t in self._tracker.tracks if t.last_mono_ns != now]

    def _pass_of(self, track: Track, now: int) -> _Pass:
        pass_ = self._passes.get(track.number)
        if pass_ is None:
            pass_ = _Pass(new_id(), now, now, track.box)
            self._passes[track.number] = pass_
        return pass_

    def _candidate(self, pass_: _Pass, detection: Detection, frame: Frame) -> _Candidate | None:
        """The crop, if reading it now could add something."""
        settings = self._settings
        x, y, w, h = detection.box
        height, width = frame.image.shape[:2]
        edge = settings.edge
        cut = x < edge or y < edge or x + w > width - edge or y + h > height - edge
        if cut or w < settings.min_width:
            return None
        since = (frame.mono_ns - pass_.ocr_mono_ns) * _NS
        enough = pass_.final or pass_.ocr_runs >= settings.max_readings
        if enough and since < settings.recheck_s:
            return None
        sharp = sharpness(crop(frame.image, detection.box, 0.0))
        if sharp < settings.min_sharpness:
            return None
        quality = _quality(w, sharp, detection.score, settings)
        few = pass_.ocr_runs < settings.first_readings
        sure = pass_.fused is not None and pass_.fused.reading.sure
        better = quality >= settings.better * pass_.best_read
        if not (few or better or since >= (settings.recheck_s if sure else 0.25)):
            return None
        return _Candidate(pass_, detection, quality, (pass_.ocr_runs, -quality))

    # Reading

    def _read(
        self, candidates: list[_Candidate], frame: Frame, others: Sequence[Box]
    ) -> list[PassEvent]:
        settings = self._settings
        candidates.sort(key=lambda c: c.urgency)
        candidates = candidates[: settings.max_ocr_per_frame]
        if not candidates:
            return []
        crops = [
            crop(frame.image, c.detection.box, widening)
            for c in candidates
            for widening in settings.widenings
        ]
        results = iter(self._ocr.read(crops))
        events: list[PassEvent] = []
        for candidate in candidates:
            pass_ = candidate.pass_
            pass_.ocr_runs += 1
            pass_.ocr_mono_ns = frame.mono_ns
            pass_.best_read = max(pass_.best_read, candidate.quality)
            fresh = [
                decode(next(results), candidate.quality, frame.mono_ns) for _ in settings.widenings
            ]
            other = self._other_vehicle(pass_, fresh)
            if other is not None:
                events += self._split(pass_, other, frame.mono_ns)
            self._take(pass_, fresh)
            self._keep_pictures(candidate, frame, others)
            events += self._tell(pass_)
        return events

    def _take(self, pass_: _Pass, fresh: Iterable[Reading]) -> None:
        for reading in fresh:
            if len(pass_.first_seen) < 32:
                pass_.first_seen.setdefault(reading.text, reading.mono_ns)
            pass_.readings.append(reading)
        crops = len(self._settings.widenings)
        if len(pass_.readings) > _KEPT * crops:
            # The newest stays whatever its weight: two in a row may show another vehicle.
            worst = min(pass_.readings[:-crops], key=lambda r: r.weight)
            pass_.readings = [r for r in pass_.readings if r.mono_ns != worst.mono_ns]
        pass_.fused = fuse(pass_.readings, self._ocr.regions, self._settings)

    def _other_vehicle(self, pass_: _Pass, fresh: Sequence[Reading]) -> list[Reading] | None:
        """The newest readings, if they agree on a text far from that of the pass so far.

        One vehicle can take another's place before the camera without the track breaking. What
        was read of the first must not be mixed with the second.
        """
        if pass_.fused is None or not pass_.fused.reading.sure or not pass_.readings:
            return None
        last, new = pass_.readings[-1], fresh[-1]
        believed = min(last.confidence, new.confidence) >= self._settings.char_floor
        if last.text != new.text or not believed:
            return None
        if differing(new.text, pass_.fused.reading.text) < _OTHER_VEHICLE:
            return None
        return [r for r in pass_.readings if r.mono_ns == last.mono_ns]

    def _split(self, pass_: _Pass, moved: list[Reading], now: int) -> list[PassEvent]:
        """End what ``pass_`` was and turn it, in place, into the pass of the new vehicle."""
        moved_frame = moved[0].mono_ns
        pass_.readings = [r for r in pass_.readings if r.mono_ns != moved_frame]
        pass_.fused = fuse(pass_.readings, self._ocr.regions, self._settings)
        ended = dataclasses.replace(pass_)
        events = self._finish(ended)
        ended.lost_mono_ns = now
        self._lost.append(ended)
        begun = _Pass(new_id(), moved_frame, now, pass_.box, frames=2)
        for slot in dataclasses.fields(_Pass):
            setattr(pass_, slot.name, getattr(begun, slot.name))
        self._take(pass_, moved)
        return events

    def _keep_pictures(self, candidate: _Candidate, frame: Frame, others: Sequence[Box]) -> None:
        """Keep this frame's pictures if it shows the plate better than the one kept.

        A frame whose own text is the fused one beats any that reads differently: the picture is
        what a deputy verifies the text by.
        """
        pass_ = candidate.pass_
        text = pass_.readings[-1].text
        fused = pass_.fused.reading.text if pass_.fused else ""
        agrees, kept_agrees = text == fused, pass_.picture_text == fused
        if pass_.final or agrees < kept_agrees:
            return
        if agrees == kept_agrees and candidate.quality < 1.1 * pass_.picture_quality:
            return
        box = candidate.detection.box
        # The box itself is among the others; overlap with itself leaves it unpainted.
        pass_.plate_image = plate_picture(frame.image, box, others, self._settings)
        pass_.wide_image = wide_picture(frame.image, box, others, self._settings)
        pass_.picture_quality, pass_.picture_text = candidate.quality, text
        pass_.picture_mono_ns = frame.mono_ns

    # Telling

    def _tell(self, pass_: _Pass) -> list[PassEvent]:
        """An early or corrected event, if the fused reading now deserves one."""
        fused = pass_.fused
        if pass_.final or fused is None or not fused.usable:
            return []
        if pass_.told is None:
            if not fused.reading.sure and fused.agreeing <= self._settings.agree:
                return []
            earlier = self._same_plate(pass_, fused.reading)
            if earlier is not None:
                self._join(earlier, pass_)
                return self._tell(pass_)
            if self._told_already(pass_, fused.reading):
                pass_.final = True  # a second track on one plate
                return []
            return [self._event(pass_, "early")]
        if _same_news(pass_.told, fused.reading):
            return []
        return [self._event(pass_, "corrected")]

    def _same_plate(self, pass_: _Pass, reading: PlateReading) -> _Pass | None:
        """A pass lost a moment ago that this one continues."""
        for earlier in reversed(self._lost):
            if earlier.fused is None or not earlier.fused.usable:
                continue
            old = earlier.fused.reading
            if old.text == reading.text:
                return earlier
            # Nearly the same text at the same place: one plate, of which one reading is poor.
            doubtful = not (old.sure and reading.sure)
            if doubtful and differing(old.text, reading.text) == 1 and _nearby(earlier, pass_):
                return earlier
        return None

    def _join(self, earlier: _Pass, pass_: _Pass) -> None:
        """Make ``pass_``, in view, the continuation of ``earlier``: same id, nothing told twice."""
        self._lost.remove(earlier)
        pass_.id, pass_.told, pass_.final = earlier.id, earlier.told, earlier.final
        pass_.first_mono_ns = earlier.first_mono_ns
        pass_.frames += earlier.frames
        pass_.first_seen = {**pass_.first_seen, **earlier.first_seen}
        if earlier.picture_quality > pass_.picture_quality:
            pass_.plate_image, pass_.wide_image = earlier.plate_image, earlier.wide_image
            pass_.picture_quality = earlier.picture_quality
            pass_.picture_text = earlier.picture_text
            pass_.picture_mono_ns = earlier.picture_mono_ns
        readings = earlier.readings + pass_.readings
        heaviest = sorted(readings, key=lambda r: -r.weight)[
            : _KEPT * len(self._settings.widenings)
        ]
        pass_.readings = sorted(heaviest, key=lambda r: r.mono_ns)
        pass_.fused = fuse(pass_.readings, self._ocr.regions, self._settings)

    def _lose(self, pass_: _Pass, track: Track, now: int) -> None:
        pass_.lost_mono_ns = track.last_mono_ns
        believable = track.frames >= self._settings.confirm_frames
        if pass_.told is not None or pass_.fused is not None or believable:
            self._lost.append(pass_)

    def _expire(self, now: int) -> list[PassEvent]:
        events: list[PassEvent] = []
        kept: list[_Pass] = []
        for pass_ in self._lost:
            gone = (now - (pass_.lost_mono_ns or 0)) * _NS
            if gone > self._settings.stitch_s:
                events += self._finish(pass_)
            if gone <= self._settings.remember_s:
                kept.append(pass_)
        self._lost = kept
        return events

    def _finish(self, pass_: _Pass) -> list[PassEvent]:
        """The one final event of a pass, and its pictures let go."""
        if pass_.final:
            return []
        pass_.final = True
        fused = pass_.fused
        usable = fused is not None and fused.usable
        if not usable and pass_.told is None and pass_.frames < self._settings.confirm_frames:
            return []
        if fused is not None and pass_.told is None and self._told_already(pass_, fused.reading):
            return []
        event = self._event(pass_, "final")
        pass_.plate_image = pass_.wide_image = None
        return [event]

    def _told_already(self, pass_: _Pass, reading: PlateReading) -> bool:
        """Whether another pass in view or just gone has told this very text."""
        return any(
            other is not pass_
            and other.fused is not None
            and (other.told is not None or (other.final and other.fused.usable))
            and other.fused.reading.text == reading.text
            for other in [*self._lost, *self._passes.values()]
        )

    def _event(self, pass_: _Pass, kind: Literal["early", "corrected", "final"]) -> PassEvent:
        fused = pass_.fused
        reading = fused.reading if fused is not None and fused.usable else None
        if kind != "final":
            pass_.told = reading
        return PassEvent(
            kind=kind,
            pass_id=pass_.id,
            camera=self.camera,
            reading=reading,
            first_mono_ns=pass_.first_seen.get(reading.text, pass_.first_mono_ns)
            if reading
            else pass_.first_mono_ns,
            best_mono_ns=pass_.picture_mono_ns or pass_.last_mono_ns,
            plate_image=pass_.plate_image,
            wide_image=pass_.wide_image,
            detail={
                "start_mono_ns": pass_.first_mono_ns,
                "end_mono_ns": pass_.last_mono_ns,
                "box": pass_.box,
                "frames": pass_.frames,
                "readings": len(pass_.readings),
            },
        )


def load(
    models: ModelSet, settings: ReaderSettings, *, threads: int = 1
) -> tuple[Detector, PlateReader]:
    """The pair of models as ``settings`` wants them; both may be shared between readers.

    Raises:
        ModelError: a file is missing or of another layout.
    """
    detector = Detector(
        models.detector,
        input_size=settings.input_size,
        threads=threads,
        threshold=settings.mask_threshold,
        max_upscale=settings.max_upscale,
    )
    return detector, PlateReader(models.ocr, models.ocr_config, threads=threads)


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


def _same_news(told: PlateReading, now: PlateReading) -> bool:
    """Whether ``now`` says nothing that ``told`` did not: a state lost again is no news."""
    same_text = (told.text, told.stacked) == (now.text, now.stacked)
    return same_text and (now.region is None or now.region == told.region)


def _nearby(earlier: _Pass, later: _Pass) -> bool:
    """Whether a pass began about where another was lost."""
    (ax, ay), (bx, by) = centre(earlier.box), centre(later.box)
    reach = 3.0 * (size(earlier.box) + size(later.box))
    return abs(ax - bx) <= reach and abs(ay - by) <= reach
