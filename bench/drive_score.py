"""What the reader said of a clip, held against its truth, plate by plate.

A pass counts when its plate was readable by ``sim.truth``, which knows nothing of any reader. The
reader's word on a pass is its final report; a *sure* one with another text than the plate's
full-size characters is *wrong and sure* (unless the two differ in nothing but O and 0, I and 1, and
the report leaves each such place open: then it is only wrong), as are sure reports of what is no
plate, and wrong ones of plates that were not readable. A report belongs to the plate where its last
box lay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from alprd.frames import Box, PassEvent
from alprd.serials import one_shape
from bench.drive_world import Clip, TruePlate, TrueScene
from sim.world import FPS

Outcome = Literal["exact", "unsure", "wrong", "unread", "missed", "wrong_sure"]
"""``unsure``: right, but not sure of every character; ``wrong``: another text, not sure of it;
``unread``: a plate was reported without a text; ``missed``: nothing was reported."""
NEIGHBOURS: Final = ("WI", "ND", "SD", "IA")
_REACH: Final = 0.7
"""A box belongs to a plate when their middles are nearer than this share of the wider one."""
_NS: Final = 1e-9


def may_be(text: str, expected: str, places: Collection[int]) -> bool:
    """Whether ``text`` is ``expected``, each of the open ``places`` being either of its twins."""
    return one_shape(text) == one_shape(expected) and all(
        a == b or n in places for n, (a, b) in enumerate(zip(text, expected, strict=True))
    )


@dataclass(frozen=True, slots=True)
class Report:
    """One event of the reader: frame numbers of the camera, box in pixels."""

    final: bool
    text: str | None
    stacked: str
    state: str | None
    sure: bool
    confidence: float
    frame: int
    box: Box
    open: tuple[int, ...] = ()
    """Places (from 0) in which it leaves open which of O and 0, I and 1 it is."""

    @classmethod
    def of(cls, event: PassEvent) -> Report:
        """The report that an event makes."""
        detail, reading = event.detail or {}, event.reading
        x, y, w, h = detail["box"]
        return cls(
            event.kind == "final",
            reading.text if reading else None,
            reading.stacked if reading else "",
            reading.region if reading else None,
            reading is not None and reading.sure,
            reading.confidence if reading else 0.0,
            round(detail["end_mono_ns"] * _NS * FPS),
            (float(x), float(y), float(w), float(h)),
            reading.open if reading else (),
        )

    def misleads(self, expected: str) -> bool:
        """Whether it is sure of a text that is not ``expected``; an open place may be either."""
        return self.sure and self.text is not None and not may_be(self.text, expected, self.open)


@dataclass(frozen=True, slots=True)
class Case:
    """A readable plate, or a sure report that is wrong of something else, and what became of it.

    For what is no readable plate ``readable`` is false, and ``plate`` None where there is none.
    """

    clip: str
    camera: str
    kind: str
    light: str
    plate: TruePlate | None
    readable: bool
    outcome: Outcome
    got: str | None
    got_stacked: str
    got_state: str | None
    confidence: float
    told_wrong: bool
    """Whether a sure and wrong text was told at any moment, also if corrected afterwards."""
    frame: int
    box: Box

    @property
    def expected(self) -> str:
        """The plate's full-size characters; empty where there is no plate."""
        return self.plate.text if self.plate else ""

    def document(self) -> dict[str, Any]:
        """The case as JSON has it."""
        plate = self.plate
        return {
            "clip": self.clip,
            "vehicle": plate.vehicle if plate else None,
            "expected": self.expected or None,
            "got": self.got,
            "outcome": self.outcome,
            "readable": self.readable,
            "confidence": round(self.confidence, 4),
            "told_wrong": self.told_wrong,
            "stacked": plate.stacked if plate else None,
            "got_stacked": self.got_stacked,
            "state": plate.state if plate else None,
            "got_state": self.got_state,
            "design": plate.design if plate else None,
            "face": plate.face if plate else None,
            "width_px": plate.width_px if plate else None,
            "smear_px": plate.smear_px if plate else None,
            "light": self.light,
            "kind": self.kind,
            "frame": self.frame,
            "box": [round(k, 1) for k in self.box],
        }


def owner(scene: TrueScene, report: Report) -> TruePlate | None:
    """The plate that lies where the report's last box is, if any."""
    best: tuple[float, TruePlate] | None = None
    x, y, w, h = report.box
    for plate in scene.plates:
        box = plate.sights.get(report.frame)
        if box is None:
            continue
        px, py, pw, ph = box
        gap = math.hypot(x + w / 2 - px - pw / 2, y + h / 2 - py - ph / 2)
        if gap < _REACH * max(w, pw) and (best is None or gap < best[0]):
            best = gap, plate
    return best[1] if best else None


def judge(clip: Clip, reports: Sequence[Report]) -> list[Case]:
    """The cases of a clip: every readable plate, and every other report that is wrong and sure."""
    scene_of = {s.first + k: s for s in clip.scenes for k in range(s.frames)}
    theirs: dict[int, list[Report]] = {}
    strays: list[Case] = []
    for report in reports:
        scene = scene_of[report.frame]
        plate = owner(scene, report)
        if plate is not None and plate.readable:
            theirs.setdefault(plate.vehicle, []).append(report)
        elif report.final and report.misleads(plate.text if plate else ""):
            strays.append(_case(clip, scene, plate, "wrong_sure", report, True))
    cases = [
        _of_plate(clip, scene, plate, theirs.get(plate.vehicle, []))
        for scene in clip.scenes
        for plate in scene.plates
        if plate.readable
    ]
    return cases + strays


def _of_plate(clip: Clip, scene: TrueScene, plate: TruePlate, reports: list[Report]) -> Case:
    told_wrong = any(r.misleads(plate.text) for r in reports)
    finals = [r for r in reports if r.final]
    if not finals:
        return _case(clip, scene, plate, "missed", None, told_wrong)
    order: dict[Outcome, int] = {"wrong_sure": 0, "exact": 1, "unsure": 2, "wrong": 3, "unread": 4}

    def outcome(report: Report) -> Outcome:
        if report.text is None:
            return "unread"
        if report.text == plate.text:
            return "exact" if report.sure and not report.open else "unsure"
        return "wrong_sure" if report.misleads(plate.text) else "wrong"

    # A plate reported twice is only as good as its worst sure report.
    said = min(finals, key=lambda r: order[outcome(r)])
    return _case(clip, scene, plate, outcome(said), said, told_wrong)


def _case(
    clip: Clip,
    scene: TrueScene,
    plate: TruePlate | None,
    outcome: Outcome,
    report: Report | None,
    told_wrong: bool,
) -> Case:
    readable = plate is not None and plate.readable
    frame = plate.best if readable and plate and plate.best is not None else -1
    box = plate.sights[frame] if plate and frame >= 0 else (0.0, 0.0, 0.0, 0.0)
    if not readable and report is not None:
        frame, box = report.frame, report.box
    return Case(
        clip.name, clip.camera, scene.kind, scene.light, plate, readable, outcome,
        report.text if report else None, report.stacked if report else "",
        report.state if report else None, report.confidence if report else 0.0,
        told_wrong, frame, box,
    )  # fmt: skip


def one_zero(text: str) -> str:
    """A text with the letter O and zero made one."""
    return text.replace("O", "0")


@dataclass(frozen=True, slots=True)
class Tally:
    """Figures of some cases; shares are of ``plates``, the readable ones."""

    plates: int
    counts: dict[str, int]

    @classmethod
    def of(cls, cases: Iterable[Case]) -> Tally:
        """Count cases; strays add to ``wrong_sure`` (and ``wrong_sure_o0``) alone."""
        counts: Counter[str] = Counter()
        plates = 0
        for case in cases:
            plate = case.plate
            folded = case.got is not None and one_zero(case.got) == one_zero(case.expected)
            counts["wrong_sure"] += case.outcome == "wrong_sure"
            counts["wrong_sure_o0"] += case.outcome == "wrong_sure" and not folded
            counts["no_plate"] += plate is None
            counts["unreadable_wrong_sure"] += plate is not None and not case.readable
            if plate is None or not case.readable:
                continue
            plates += 1
            sure = case.outcome in ("exact", "wrong_sure")
            counts["exact_o0"] += sure and folded
            counts["told_wrong"] += case.told_wrong
            if case.outcome != "wrong_sure":
                counts[case.outcome] += 1
            counts["state_right"] += case.got_state == plate.state
            counts["state_wrong"] += case.got_state not in (None, plate.state)
            if case.outcome == "exact":
                counts["stacked_right"] += case.got_stacked == plate.stacked
        return cls(plates, dict(counts))

    def count(self, name: str) -> int:
        """A count by name, 0 where there was none."""
        return self.counts.get(name, 0)

    def share(self, name: str, of: str | None = None) -> float | None:
        """A count as a share of the plates, or of another count; None of nothing."""
        whole = self.count(of) if of else self.plates
        return self.count(name) / whole if whole else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """Wilson's 95 % interval of a share of the plates."""
        n, z = self.plates, 1.96
        if n == 0:
            return None
        p = min(1.0, self.count(name) / n)
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        return (
            max(0.0, (middle - spread) / (1 + z * z / n)),
            min(1.0, (middle + spread) / (1 + z * z / n)),
        )


def band(width: float) -> str:
    """The band of ten pixels that a plate's greatest width lies in."""
    low = int(width // 10) * 10
    return "100 px and more" if low >= 100 else f"{low} to {low + 10} px"


def groups(cases: Sequence[Case]) -> dict[str, dict[str, Tally]]:
    """Tallies of the readable plates by width, light, state, type face, camera and motion."""

    def state(plate: TruePlate) -> str:
        return plate.state if plate.state in ("MN", *NEIGHBOURS) else "others"

    keys: dict[str, dict[str, list[Case]]] = {}
    for case in cases:
        if case.plate is None or not case.readable:
            continue
        for group, name in (
            ("width", band(case.plate.width_px)),
            ("light", case.light),
            ("state", state(case.plate)),
            ("type face", case.plate.face),
            ("camera", case.camera),
            ("motion", case.kind),
            ("stacked letters", "with" if case.plate.stacked else "without"),
        ):
            keys.setdefault(group, {}).setdefault(name, []).append(case)
    return {
        group: {name: Tally.of(found) for name, found in sorted(rows.items(), key=_by_number)}
        for group, rows in keys.items()
    }


def _by_number(row: tuple[str, list[Case]]) -> tuple[int, str]:
    head = row[0].split(" ")[0]
    return (int(head) if head.isdigit() else 0), row[0]


def confusions(cases: Iterable[Case]) -> Counter[tuple[str, str]]:
    """Characters of readable plates that another stands for in the text that was told, sure or
    not: (expected, got); ``-`` for one that is missing, or should not be there."""
    found: Counter[tuple[str, str]] = Counter()
    for case in cases:
        if not case.readable or case.got is None or case.got == case.expected:
            continue
        aligned = SequenceMatcher(None, case.expected, case.got, autojunk=False)
        for _, a, b, c, d in (op for op in aligned.get_opcodes() if op[0] != "equal"):
            left, right = case.expected[a:b], case.got[c:d]
            if len(left) != len(right):
                left, right = left.ljust(len(right), "-"), right.ljust(len(left), "-")
            found.update(zip(left, right, strict=True))
    return found
