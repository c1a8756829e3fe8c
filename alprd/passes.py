"""One pass of one plate: what was read of it, its pictures, and what has been told.

A pass keeps probability matrices, one crop and one scaled-down picture of its best frame; never
whole frames, and a bounded number of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from alprd.frames import Box, Image, PassEvent, PlateReading
from alprd.fuse import Fused, Reading, differing, fuse
from alprd.pictures import plate_picture, wide_picture
from alprd.profiles import ReaderSettings
from alprd.records import new_id
from alprd.serials import one_shape
from alprd.track import centre, size

_KEPT: Final = 8
"""Frames whose readings are kept for fusion, the heaviest; the rest would only dilute them."""
_TEXTS: Final = 32
"""Different texts of a pass whose first frame is remembered."""
_OTHER_VEHICLE: Final = 3
"""Characters by which two agreeing new readings must differ to be another vehicle."""


@dataclass(slots=True, eq=False)
class Pass:
    """What is known of one pass. Boxes in pixels of the frame, instants monotonic."""

    first_mono_ns: int
    last_mono_ns: int
    box: Box
    id: str = field(default_factory=new_id)
    frames: int = 0
    score: float = 0.0
    """Best detection score: lettering and lamps seldom look like a plate in any frame."""
    widest: float = 0.0
    """Widest box in pixels: what never came near enough to be read has not passed."""
    readings: list[Reading] = field(default_factory=list)
    fused: Fused | None = None
    first_seen: dict[str, int] = field(default_factory=dict)
    """Text (one_shape) -> frame in which it was first read."""
    ocr_runs: int = 0
    near_runs: int = 0
    """Of them those of a box wide enough to be believed (``ReaderSettings.sure_width``)."""
    ocr_mono_ns: int = 0
    read_width: float = 0.0
    """``widest`` as it was at the last reading."""
    best_read: float = 0.0
    """Quality of the best crop that was read."""
    issuer_runs: int = 0
    best_issuer: float = 0.0
    """Quality of the best crop whose state was asked for."""
    told: PlateReading | None = None
    """The reading of the last event."""
    final: bool = False
    lost_mono_ns: int | None = None
    picture_quality: float = 0.0
    picture_text: str = ""
    picture_mono_ns: int = 0
    plate_image: Image | None = None
    wide_image: Image | None = None

    @property
    def usable(self) -> PlateReading | None:
        """The fused reading, if there is evidence enough to tell it."""
        return self.fused.reading if self.fused is not None and self.fused.usable else None

    def take(
        self,
        fresh: Iterable[Reading],
        regions: Sequence[str | None],
        settings: ReaderSettings,
    ) -> None:
        """Add the readings of one frame and fuse anew."""
        for reading in fresh:
            if len(self.first_seen) < _TEXTS:
                self.first_seen.setdefault(one_shape(reading.text), reading.mono_ns)
            self.readings.append(reading)
        crops = len(settings.widenings)
        if len(self.readings) > _KEPT * crops:
            # The newest stays whatever its weight: two in a row may show another vehicle.
            worst = min(self.readings[:-crops], key=lambda r: r.weight)
            self.readings = [r for r in self.readings if r.mono_ns != worst.mono_ns]
        self.fused = self._fuse(regions, settings)

    def _fuse(self, regions: Sequence[str | None], settings: ReaderSettings) -> Fused | None:
        """All readings fused; never sure of a pass that stayed too narrow or hardly a plate."""
        fused = fuse(self.readings, regions, settings)
        if fused is None:
            return None
        if self.widest >= settings.sure_width and self.score >= settings.sure_score:
            return fused
        return replace(fused, reading=replace(fused.reading, sure=False))

    def another_vehicle(self, fresh: Sequence[Reading], settings: ReaderSettings) -> list[Reading]:
        """The readings already kept that belong, with ``fresh``, to another vehicle.

        One vehicle can take another's place before the camera without the track breaking. What
        was read of the first must not be mixed with the second: two frames on end that agree on
        a text far from that of the pass are taken for another plate.
        """
        if self.fused is None or not self.fused.reading.sure or not self.readings:
            return []
        last, new = self.readings[-1], fresh[-1]
        believed = min(last.confidence, new.confidence) >= settings.char_floor
        if last.text != new.text or not believed:
            return []
        if differing(one_shape(new.text), one_shape(self.fused.reading.text)) < _OTHER_VEHICLE:
            return []
        return [r for r in self.readings if r.mono_ns == last.mono_ns]

    def drop(
        self,
        readings: Sequence[Reading],
        regions: Sequence[str | None],
        settings: ReaderSettings,
    ) -> None:
        """Take readings that belong to another plate out again."""
        frames = {r.mono_ns for r in readings}
        self.readings = [r for r in self.readings if r.mono_ns not in frames]
        self.fused = self._fuse(regions, settings)

    def keep_pictures(
        self,
        image: Image,
        mono_ns: int,
        box: Box,
        quality: float,
        others: Sequence[Box],
        settings: ReaderSettings,
    ) -> None:
        """Keep this frame's pictures if it shows the plate better than the one kept.

        A frame whose own text is the fused one beats any that reads differently: the picture is
        what a deputy verifies the text by. ``others`` are masked; the plate's own box may be
        among them.
        """
        text = one_shape(self.readings[-1].text)
        fused = one_shape(self.fused.reading.text) if self.fused else ""
        agrees, kept_agrees = text == fused, self.picture_text == fused
        if self.final or agrees < kept_agrees:
            return
        if agrees == kept_agrees and quality < 1.1 * self.picture_quality:
            return
        self.plate_image = plate_picture(image, box, others, settings)
        self.wide_image = wide_picture(image, box, others, settings)
        self.picture_quality, self.picture_text = quality, text
        self.picture_mono_ns = mono_ns

    def let_pictures_go(self) -> None:
        """Forget the pictures: after the final event nobody needs them here."""
        self.plate_image = self.wide_image = None

    def continue_(
        self, earlier: Pass, regions: Sequence[str | None], settings: ReaderSettings
    ) -> None:
        """Become the continuation of a pass lost a moment ago: its id, nothing told twice."""
        self.id, self.told, self.final = earlier.id, earlier.told, earlier.final
        self.first_mono_ns = earlier.first_mono_ns
        self.frames += earlier.frames
        self.score = max(self.score, earlier.score)
        self.widest = max(self.widest, earlier.widest)
        self.first_seen = {**self.first_seen, **earlier.first_seen}
        if earlier.picture_quality > self.picture_quality:
            self.plate_image, self.wide_image = earlier.plate_image, earlier.wide_image
            self.picture_quality = earlier.picture_quality
            self.picture_text = earlier.picture_text
            self.picture_mono_ns = earlier.picture_mono_ns
        heaviest = sorted(earlier.readings + self.readings, key=lambda r: -r.weight)
        kept = heaviest[: _KEPT * len(settings.widenings)]
        self.readings = sorted(kept, key=lambda r: r.mono_ns)
        self.fused = self._fuse(regions, settings)

    def continues(self, earlier: Pass, reading: PlateReading) -> bool:
        """Whether ``earlier``, lost a moment ago, was the same plate as this pass's ``reading``."""
        old = earlier.usable
        if old is None:
            return False
        if one_shape(old.text) == one_shape(reading.text):
            return True
        # Nearly the same text at the same place: one plate, of which one reading is poor.
        doubtful = not (old.sure and reading.sure)
        return doubtful and differing(old.text, reading.text) == 1 and _nearby(earlier, self)

    def news(self) -> bool:
        """Whether the fused reading says what has not been told.

        That a text told before has become sure is news: an alert waits for nothing else. A state
        lost again is none.
        """
        now, told = self.usable, self.told
        if now is None or told is None:
            return now is not None
        if now.sure and not told.sure:
            return True
        same_text = (told.text, told.stacked) == (now.text, now.stacked)
        return not (same_text and now.region in (None, told.region))

    def event(self, kind: Literal["early", "corrected", "final"], camera: str) -> PassEvent:
        """The event that tells the pass as it now stands.

        ``detail`` (for ``alprd read`` and benchmarks, never stored): ``start_mono_ns`` and
        ``end_mono_ns`` of the view, the last ``box``, the best detection ``score``, the ``widest``
        box, the numbers of ``frames`` and ``readings``, and the evidence of the fused text:
        frames ``agreeing`` of those ``read``, ``share`` of the length and ``end``.
        """
        reading, fused = self.usable, self.fused
        self.told = reading
        first = self.first_mono_ns
        if reading is not None:
            first = self.first_seen.get(one_shape(reading.text), first)
        return PassEvent(
            kind=kind,
            pass_id=self.id,
            camera=camera,
            reading=reading,
            first_mono_ns=first,
            best_mono_ns=self.picture_mono_ns or self.last_mono_ns,
            plate_image=self.plate_image,
            wide_image=self.wide_image,
            detail={
                "start_mono_ns": self.first_mono_ns,
                "end_mono_ns": self.last_mono_ns,
                "box": self.box,
                "frames": self.frames,
                "score": self.score,
                "readings": len(self.readings),
                "widest": self.widest,
                "agreeing": fused.agreeing if fused else 0,
                "read": fused.frames if fused else 0,
                "share": fused.share if fused else 0.0,
                "end": fused.end if fused else 0.0,
            },
        )


def _nearby(earlier: Pass, later: Pass) -> bool:
    """Whether a pass began about where another was lost."""
    (ax, ay), (bx, by) = centre(earlier.box), centre(later.box)
    reach = 3.0 * (size(earlier.box) + size(later.box))
    return abs(ax - bx) <= reach and abs(ay - by) <= reach
