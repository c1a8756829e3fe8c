"""What the systems find and read on labelled pictures.

A label is found when a reported box has IoU 0.5 or more with it; boxes are matched surest first,
each label once, and every other box is false. A text counts for the reported box with the largest
IoU of 0.3 or more with the labelled one; a plate that was not found is a plate read wrongly.
Labels miss some plates of ``detect`` (its ``SOURCES.md``), so "false" boxes are not all false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from alprd.frames import Box, Image
from alprd.pictureguard import load_picture
from alprd.pictures import overlap
from bench.data import Crop, Photograph, Share
from bench.ours import Ours
from bench.peer import Peer
from bench.systems import Plate
from bench.timing import Figures

FOUND = 0.5
READ = 0.3


@dataclass(slots=True)
class Finds:
    """Detection over a set of pictures."""

    pictures: int = 0
    labels: int = 0
    found: int = 0
    false: int = 0

    def add(self, labels: Sequence[Box], plates: Iterable[Plate]) -> None:
        """Count one picture."""
        found, false = match(labels, plates)
        self.pictures += 1
        self.labels += len(labels)
        self.found += found
        self.false += false

    @property
    def recall(self) -> float | None:
        return self.found / self.labels if self.labels else None

    @property
    def false_boxes(self) -> float | None:
        """A picture."""
        return self.false / self.pictures if self.pictures else None


@dataclass(slots=True)
class Texts:
    """Texts over a set of plates."""

    plates: int = 0
    right: int = 0
    right_o0: int = 0

    def add(self, wanted: Iterable[str], text: str) -> None:
        """Count one plate, for which any of ``wanted`` is right."""
        options = list(wanted)
        self.plates += 1
        self.right += text in options
        self.right_o0 += folded(text) in {folded(option) for option in options}

    @property
    def exact(self) -> float | None:
        return self.right / self.plates if self.plates else None

    @property
    def exact_o0(self) -> float | None:
        """With the letter O and zero taken as one."""
        return self.right_o0 / self.plates if self.plates else None


@dataclass(slots=True)
class Marks:
    """All that is counted of one system."""

    reported: Finds = field(default_factory=Finds)
    raw: Finds = field(default_factory=Finds)
    """The detector's boxes at the same threshold, before the path sorts any out."""
    told: Finds = field(default_factory=Finds)
    unseen: Texts = field(default_factory=Texts)
    trained_on: Texts = field(default_factory=Texts)
    told_texts: Texts = field(default_factory=Texts)

    def figures(self, *, told: bool) -> Figures:
        """By the benchmark's keys; ``told`` where the system has a floor for telling."""
        return {
            "detect_recall50": self.reported.recall,
            "false_boxes": self.reported.false_boxes,
            "detector_recall50": self.raw.recall,
            "detector_false_boxes": self.raw.false_boxes,
            "told_recall50": self.told.recall if told else None,
            "told_false_boxes": self.told.false_boxes if told else None,
            "exact": self.unseen.exact,
            "exact_o0": self.unseen.exact_o0,
            "told_exact": self.told_texts.exact if told else None,
            "told_exact_o0": self.told_texts.exact_o0 if told else None,
            "exact_trained_on": self.trained_on.exact,
            "exact_o0_trained_on": self.trained_on.exact_o0,
        }


def match(labels: Sequence[Box], plates: Iterable[Plate]) -> tuple[int, int]:
    """Labels found, and boxes that are false."""
    free = set(range(len(labels)))
    false = 0
    for plate in sorted(plates, key=lambda p: -p.score):
        best = max(free, key=lambda k: overlap(labels[k], plate.box), default=None)
        if best is not None and overlap(labels[best], plate.box) >= FOUND:
            free.remove(best)
        else:
            false += 1
    return len(labels) - len(free), false


def text_at(plates: Iterable[Plate], box: Box) -> str:
    """The text reported at ``box``, "" where nothing was."""
    best = max(plates, key=lambda p: overlap(p.box, box), default=None)
    return best.text if best is not None and overlap(best.box, box) >= READ else ""


def folded(text: str) -> str:
    """With O and 0 as one."""
    return text.replace("O", "0")


def on_photographs(
    pictures: Sequence[Photograph],
    ours: Sequence[Ours],
    peer: Peer | None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Marks]:
    """Read every photograph with every system.

    Returns:
        Marks by name of the system, and of the peer with grown crops by ``peer_widened``.
    """
    marks = {system.name: Marks() for system in ours}
    if peer:
        marks |= {"peer": Marks(), "peer_widened": Marks()}
    for picture in pictures:
        image = load_picture(picture.path)
        for system in ours:
            plates, settings = system.read(image), system.settings
            raw = [d for d in system.watch.raw if d.score >= settings.high_threshold]
            told = [p for p in plates if p.score >= settings.pass_score]
            _mark(marks[system.name], picture, image, plates, told)
            _mark_raw(marks[system.name], picture, image, [Plate(d.box, d.score, "") for d in raw])
        if peer:
            plates = peer.read(image)
            _mark(marks["peer"], picture, image, plates, plates)
            _mark_raw(marks["peer"], picture, image, plates)
            if picture.texts:
                plates = peer.widened(image, plates)
            _mark(marks["peer_widened"], picture, image, plates, plates)
        advance()
    return marks


def on_crops(
    crops: Sequence[Crop],
    ours: Ours,
    peer: Peer | None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Texts]:
    """Read pictures that are one plate each: OCR alone, the same pixels for both.

    Ours tells stacked letters apart, the peer has no place for them: with the peer the text is
    right with them, at either end, and without.
    """
    texts = {"ours": Texts()} | ({"peer": Texts()} if peer else {})
    for crop in crops:
        image = load_picture(crop.path)
        texts["ours"].add([crop.text], ours.spell(image))
        if peer:
            wanted = [crop.text, crop.text + crop.stacked, crop.stacked + crop.text]
            texts["peer"].add(wanted, peer.spell(image))
        advance()
    return texts


def _mark(
    marks: Marks, picture: Photograph, image: Image, plates: list[Plate], told: list[Plate]
) -> None:
    if picture.plates is not None:
        labels = [pixels(share, image) for share in picture.plates]
        marks.reported.add(labels, plates)
        marks.told.add(labels, told)
    texts = marks.unseen if picture.split == "val" else marks.trained_on
    for share, text in picture.texts:
        box = pixels(share, image)
        texts.add([text], text_at(plates, box))
        if picture.split == "val":
            marks.told_texts.add([text], text_at(told, box))


def _mark_raw(marks: Marks, picture: Photograph, image: Image, boxes: list[Plate]) -> None:
    if picture.plates is not None:
        marks.raw.add([pixels(share, image) for share in picture.plates], boxes)


def pixels(share: Share, image: Image) -> Box:
    """A labelled box as (x, y, w, h) in pixels of ``image``."""
    height, width = image.shape[:2]
    cx, cy, w, h = share
    return (cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height
