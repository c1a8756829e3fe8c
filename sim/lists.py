"""Hotlist and suppression list of a drive: who is wanted, who must leave no trace.

Both hold some of the drive's plates among many invented decoys.  No decoy looks like a plate of
the drive: it differs from each in at least two characters even after look-alikes are made equal.
The one exception is meant: the *near-miss twin*, a listed plate that differs from a plate of the
drive by one look-alike character and must raise no alert.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

import plates
from sim.seeds import stream
from sim.world import REGION_WEIGHTS, World, fold

CATEGORIES = ("stolen", "owner_warrant", "owner_suspended_revoked", "other_lpdf")
"""Categories that a supplier's list may hold; entries of an active investigation are asked for and
approved one by one at central, never imported (R-460.4.1-b2)."""
TWINS = {"B": "8", "8": "B", "S": "5", "5": "S", "Z": "2", "2": "Z", "G": "6", "6": "G"}
"""Look-alike pairs of near-miss twins (O/0 and I/1 are left out: plates do not tell them apart)."""
HOTLIST_FIELDS = ("plate", "state", "type", "category", "source", "entered", "text")
DECOYS = 200
_TEXTS = {
    "stolen": "Invented entry: stolen vehicle, recover and hold",
    "owner_warrant": "Invented entry: registered owner has an active warrant, verify owner",
    "owner_suspended_revoked": "Invented entry: registered owner suspended or revoked",
    "other_lpdf": "Invented entry: other file, verify before acting",
}


@dataclass(frozen=True)
class Entry:
    """One line of the hotlist."""

    plate: str
    state: str
    type: str
    category: str
    source: str
    entered: str
    text: str


@dataclass(frozen=True)
class Lists:
    """The lists, and what they mean for the drive: alerts, suppressed and near-miss vehicles."""

    hotlist: tuple[Entry, ...]
    suppression: tuple[tuple[str, str], ...]
    alerts: dict[int, str]
    suppressed: frozenset[int]
    near_miss: dict[int, str]

    def hotlist_csv(self) -> str:
        """``hotlist.csv``."""
        return _csv(HOTLIST_FIELDS, ([getattr(e, f) for f in HOTLIST_FIELDS] for e in self.hotlist))

    def suppression_csv(self) -> str:
        """``suppression.csv``."""
        return _csv(("plate", "state"), self.suppression)


def _csv(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def distance(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        prev, row[0] = row[0], i
        for j, cb in enumerate(b, 1):
            prev, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, prev + (ca != cb))
    return row[-1]


def twins(text: str) -> list[str]:
    """All texts that differ from ``text`` by one look-alike character."""
    return [text[:i] + TWINS[c] + text[i + 1 :] for i, c in enumerate(text) if c in TWINS]


def _ordinary(spec: plates.PlateSpec) -> bool:
    return spec.plate_type == "passenger" and not spec.stacked and plates.format_of(spec) != ""


def build_lists(world: World, readable: dict[int, float], start: datetime) -> Lists:
    """Choose roles among the readable vehicles (id -> time of the best view), spread in time."""
    rng = stream(world.split, world.seed, "lists")
    by_id = {v.id: v for v in world.vehicles}
    order = sorted(readable, key=lambda i: readable[i])
    # Roles go to plates in a format of their state: there a position tells O from 0.
    plain = [i for i in order if _ordinary(by_id[i].spec)]
    texts = {v.id: v.spec.text for v in world.vehicles}

    near = [i for i in plain if twins(texts[i])]
    near_miss: dict[int, str] = {}
    if near:
        pick = near[len(near) // 3]
        near_miss[pick] = str(rng.choice(twins(texts[pick])))
    rest = [i for i in plain if i not in near_miss]
    roles = min(4, max(0, len(rest) - 1))
    spread = (
        [rest[int((k + 0.5) * len(rest) / (roles + 0.5))] for k in range(roles)] if roles else []
    )
    kinds = ("stolen", "owner_warrant", "owner_suspended_revoked", "stolen")
    alerts = dict(zip(spread, kinds, strict=False))
    rest = [i for i in rest if i not in alerts]
    suppressed = frozenset(rest[int(len(rest) * f)] for f in (0.3, 0.75)) if len(rest) >= 4 else (
        frozenset(rest[:1])
    )  # fmt: skip

    entries = [
        _entry(by_id[i].spec.text, by_id[i].spec.region, kind, start, rng)
        for i, kind in alerts.items()
    ]
    entries += [
        _entry(text, by_id[i].spec.region, "stolen", start, rng) for i, text in near_miss.items()
    ]
    taken = [fold(x) for x in texts.values()]
    decoys = _decoys(rng, DECOYS + 40, taken)
    cats = rng.choice(4, p=[0.34, 0.28, 0.24, 0.14], size=DECOYS)
    for spec, c in zip(decoys[:DECOYS], cats, strict=True):
        entries.append(_entry(spec.text, spec.region, CATEGORIES[int(c)], start, rng))
    entries = [entries[int(k)] for k in rng.permutation(len(entries))]
    hidden = [(by_id[i].spec.text, by_id[i].spec.region) for i in suppressed]
    hidden += [(s.text, "MN") for s in decoys[DECOYS:]]
    return Lists(tuple(entries), tuple(sorted(hidden)), alerts, suppressed, near_miss)


def _entry(
    plate: str, state: str, category: str, start: datetime, rng: np.random.Generator
) -> Entry:
    entered = start - timedelta(minutes=int(rng.integers(90, 60 * 24 * 90)))
    return Entry(plate, state, "passenger", category, "LPDF",
                 entered.strftime("%Y-%m-%dT%H:%M:00Z"), _TEXTS[category])  # fmt: skip


def _decoys(rng: np.random.Generator, count: int, taken: list[str]) -> list[plates.PlateSpec]:
    out: list[plates.PlateSpec] = []
    mine: set[str] = set()
    while len(out) < count:
        spec = plates.random_spec(rng, region_weights=REGION_WEIGHTS, vanity_share=0.0)
        key = fold(spec.text)
        if spec.stacked or spec.plate_type != "passenger" or len(spec.text) < 6 or key in mine:
            continue
        if any(distance(key, other) < 2 for other in taken):
            continue
        mine.add(key)
        out.append(spec)
    return out
