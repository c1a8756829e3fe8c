"""Every plate of one picture, each once, and never sure of what may be a part of a plate.

A picture is read alone: several crops of one detection stand in for the frames of a track. Boxes
are in pixels of the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from alprd.frames import Box, Detection, Image, PlateReading
from alprd.fuse import Fused, Reading, decode, fuse
from alprd.ocr import crop
from alprd.pictures import overlap
from alprd.profiles import ROAD, ReaderSettings
from alprd.reader import CharacterReader, PlateDetector

NO_READING: Final = PlateReading("", "", (), None, 0.0, 0.0, False)
_SAME_PLATE: Final = 0.3
"""Two boxes that share more of the smaller one than this are one plate."""


@dataclass(frozen=True, slots=True)
class FoundPlate:
    """A plate of a photograph. ``box`` in whole pixels; text "" where none could be read."""

    reading: PlateReading
    box: tuple[int, int, int, int]
    score: float

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON line."""
        return {**reading_json(self.reading), "box": list(self.box)}


class PhotoDetector(PlateDetector, Protocol):
    """A detector that can look at a picture at another scale."""

    def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]: ...


def read_image(
    image: Image, detector: PhotoDetector, ocr: CharacterReader, settings: ReaderSettings
) -> list[FoundPlate]:
    """Every plate of one picture, surest detection first, each once (:func:`join_fragments`)."""
    found = _look(image, detector, settings)
    cuts = [partial(crop, image, d.box) for d in found]
    plates: list[FoundPlate] = []
    for detection, fused in zip(found, read_cuts(cuts, ocr, settings), strict=True):
        readable = fused is not None and detection.box[2] >= settings.min_width
        reading = fused.reading if fused is not None and readable else NO_READING
        if detection.score < settings.high_threshold:  # told for want of another
            reading = dataclasses.replace(reading, sure=False)
        plates.append(FoundPlate(reading, _whole(detection.box, image), detection.score))
    return join_fragments(plates)


def read_cuts(
    plates: Sequence[Callable[[float], Image]], ocr: CharacterReader, settings: ReaderSettings
) -> list[Fused | None]:
    """What each plate says, from several cuts of one picture.

    The cuts must agree, as frames of a track must. A plate that is not sure by the first cuts is
    cut more often: on validation that reads what cutting every plate so often does, for a third of
    the cost. The state is asked of the first cuts only, and changes little from cut to cut.

    Args:
        plates: for each plate what cuts it, grown by a share of its size a side.
        ocr: the reader.
        settings: their ``widenings`` and ``doubtful_widenings``.

    Raises:
        ModelError: the reader failed.
    """
    readings: list[list[Reading]] = [[] for _ in plates]
    fused: list[Fused | None] = [None] * len(plates)

    def look(chosen: Sequence[int], widenings: Sequence[float], *, issuer: bool) -> None:
        crops = [plates[n](widening) for n in chosen for widening in widenings]
        results = iter(ocr.read(crops, [issuer] * len(crops)))
        for n in chosen:
            for _ in widenings:
                readings[n].append(decode(next(results), 1.0, len(readings[n])))
            fused[n] = fuse(readings[n], ocr.regions, settings)

    look(range(len(plates)), settings.widenings, issuer=True)
    doubtful = [n for n, f in enumerate(fused) if f is None or not f.reading.sure]
    if doubtful and settings.doubtful_widenings:
        look(doubtful, settings.doubtful_widenings, issuer=False)
    return fused


def join_fragments(plates: Sequence[FoundPlate]) -> list[FoundPlate]:
    """One plate where boxes overlap, in the given order; never sure of what may be a part.

    Of overlapping boxes the one with the most readable characters stays, then the widest. It is
    not sure if another one saw characters that it lacks, or if a wider one touches it.
    """

    def rank(plate: FoundPlate) -> tuple[int, int, float]:
        reading = plate.reading
        readable = reading.confidence >= ROAD.read_floor
        return len(reading.text) if readable else 0, plate.box[2], reading.confidence

    kept: list[FoundPlate] = []
    for plate in sorted(plates, key=rank, reverse=True):
        if not any(_same_plate(plate, other) for other in kept):
            kept.append(plate)
    return [_doubted(plate, plates) for plate in plates if any(plate is k for k in kept)]


def _same_plate(a: FoundPlate, b: FoundPlate) -> bool:
    shared = _shared(a.box, b.box)
    if shared == 0:
        return False
    short, long = sorted((a.reading.text, b.reading.text), key=len)
    return shared > _SAME_PLATE or (short != "" and short in long)


def _doubted(plate: FoundPlate, others: Iterable[FoundPlate]) -> FoundPlate:
    """``plate``, not sure if one of ``others`` shows that it may be a part of a plate."""
    text = plate.reading.text
    for other in others:
        shared, seen = _shared(plate.box, other.box), other.reading
        if shared == 0 or (seen.text and seen.text in text):
            continue
        wider = other.box[2] > plate.box[2]
        lacking = bool(seen.text) and seen.confidence >= ROAD.read_floor
        if wider or (lacking and shared > _SAME_PLATE):
            reading = dataclasses.replace(plate.reading, sure=False)
            return dataclasses.replace(plate, reading=reading)
    return plate


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller box, 0…1."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, w) * max(0, h) / min(a[2] * a[3], b[2] * b[3])


def _look(image: Image, detector: PhotoDetector, settings: ReaderSettings) -> list[Detection]:
    """Plates of a picture; where one is large, from two looks at different scale.

    Where none reaches ``high_threshold``, the best one above ``lone_threshold``.
    """
    low, high = settings.aspect

    def shaped(shrink: float) -> list[Detection]:
        boxes = detector.detect(image, shrink)
        return [d for d in boxes if low <= d.box[2] / d.box[3] <= high]

    def plates(boxes: Sequence[Detection]) -> list[Detection]:
        return [d for d in boxes if d.score >= settings.high_threshold]

    boxes = shaped(1.0)
    found = plates(boxes)
    if not found and settings.lone_threshold is not None:
        return [d for d in boxes[:1] if d.score >= settings.lone_threshold]
    if settings.second_look is None:
        return found
    limit = settings.second_look * max(image.shape[:2])
    if not any(d.box[2] > limit for d in found):
        return found
    large = [d for d in plates(shaped(settings.second_scale)) if d.box[2] > limit]
    small = [d for d in found if all(overlap(d.box, o.box) < 0.3 for o in large)]
    return sorted(large + small, key=lambda d: -d.score)


def reading_json(reading: PlateReading) -> dict[str, Any]:
    """What a JSON line tells of a reading."""
    return {
        "plate": reading.text,
        "stacked": reading.stacked,
        "region": reading.region,
        "confidence": round(reading.confidence, 4),
        "sure": reading.exact,
    }


def _whole(box: Box, image: Image) -> tuple[int, int, int, int]:
    """The box in whole pixels, inside the picture."""
    height, width = image.shape[:2]
    x0, y0 = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
    x1, y1 = min(round(box[0] + box[2]), width), min(round(box[1] + box[3]), height)
    return x0, y0, max(1, x1 - x0), max(1, y1 - y0)
