"""Tracking by accumulation: when searches of one plate stop for a legal basis (R-460.4.1-c2).

The third search of one plate in 30 days, by anyone; a window or a result of more than 24 h; results
at more than one place. A person's own reason never carries further than that: a warrant or exigent
circumstances do (R-460.4.1-c).

There is no table of plates. A searched plate leaves a keyed digest of its fold, dropped after 30
days; a partial plate is compared with the erasable term of its event in the trail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection, delete, insert, select

from alprd.central.grounds.searchform import MAX_WINDOW, Request, metres, plate_of
from alprd.central.storage import db
from alprd.central.storage.keys import mac
from alprd.central.storage.search_tables import searched
from alprd.central.storage.store import Central
from alprd.errors import RefusedError
from alprd.records import Plate, fold, normalise
from alprd.wire import AuditEvent

REMEMBER: Final = timedelta(days=30)
_PURPOSE: Final = "searched plates"
_TEXTS: Final = "searched texts"


class Result(Protocol):
    """What is looked at of one result."""

    @property
    def reading(self) -> Plate:
        """The plate of the read."""

    @property
    def instant(self) -> datetime:
        """When it was read."""

    @property
    def lat(self) -> float | None:
        """Degrees, or not known."""

    @property
    def lon(self) -> float | None:
        """Degrees, or not known."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One reason to stop, and the digest of the plate that it is about."""

    reason: str
    mark: bytes


def plate_mark(central: Central, plate: str) -> bytes:
    """Keyed digest of a plate's fold, or of a partial plate, 16 bytes."""
    return mac(central.keystore.purpose_key(_PURPOSE), folded(plate).encode())[:16]


def folded(plate: str) -> str:
    """The fold of a plate or partial plate, wildcards kept."""
    return "".join(sign if sign in "?*" else fold(sign) for sign in plate.upper())


def matches(pattern: str, plate: Plate) -> bool:
    """Whether a partial plate fits a read, letter for letter; stacked part in either order."""
    form = re.compile(
        "".join({"?": ".", "*": ".*"}.get(sign, re.escape(sign)) for sign in pattern), re.ASCII
    )
    text, stacked = plate.text, plate.stacked
    return any(form.fullmatch(one) for one in {text, text + stacked, stacked + text})


def stops(
    central: Central, tx: Connection, request: Request, found: Sequence[Result], now: datetime
) -> list[Stop]:
    """Every reason for which this search needs a legal basis; none for a search by place."""
    if request.plate is None:
        return []
    own = plate_mark(central, request.wanted)
    made = []
    if request.until - request.since > MAX_WINDOW:
        made.append(Stop("over_24_h", own))
    groups: dict[str, list[Result]] = {}
    for read in found:
        groups.setdefault(fold(read.reading.text), []).append(read)
    subjects: dict[bytes, str] = {own: folded(request.wanted)}
    if request.pattern:
        subjects |= {plate_mark(central, form): form for form in groups}
    made += [Stop("repeated", mark) for mark in _searched_before(central, tx, subjects, now)]
    for form, reads in groups.items():
        mark = plate_mark(central, form) if request.pattern else own
        times = [read.instant for read in reads]
        if max(times) - min(times) > MAX_WINDOW:
            made.append(Stop("over_24_h", mark))
        if _places(reads, central.config.search.same_place_m) > 1:
            made.append(Stop("more_than_one_place", mark))
    return list(dict.fromkeys(made))


def _searched_before(
    central: Central, tx: Connection, subjects: dict[bytes, str], now: datetime
) -> list[bytes]:
    """Which of these were searched so often that the search at hand stops."""
    counts = dict.fromkeys(subjects, 0)
    rows = tx.execute(
        select(searched.c.seq, searched.c.mark, searched.c.pattern).where(
            searched.c.at > now - REMEMBER, searched.c.mark.is_not(None)
        )
    ).all()
    for row in rows:
        if row.mark in counts:
            counts[row.mark] += 1
        elif row.pattern:
            term = _term(central, tx, row.seq)
            for mark, form in subjects.items():
                if term and not set(form) & set("?*") and form_fits(folded(term), form):
                    counts[mark] += 1
    return [mark for mark, count in counts.items() if count + 1 >= central.config.search.stop_at]


def form_fits(pattern: str, form: str) -> bool:
    """Whether a folded plate or partial plate means the plate of this fold."""
    expression = "".join({"?": ".", "*": ".*"}.get(s, re.escape(s)) for s in pattern)
    return re.fullmatch(expression, form) is not None


def _term(central: Central, tx: Connection, seq: int) -> str | None:
    document = tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == seq))
    if document is None:
        return None
    typed = central.trail.terms(AuditEvent.model_validate(json.loads(document)))
    return None if typed is None else plate_of(typed)


def _places(reads: Sequence[Result], apart: int) -> int:
    """Places of one plate's reads; what has no place cannot be said to be at the same one."""
    if len(reads) < 2:
        return len(reads)
    points = [(r.lat, r.lon) for r in reads if r.lat is not None and r.lon is not None]
    unknown = len(reads) - len(points)
    far = any(metres(one, other) > apart for i, one in enumerate(points) for other in points[:i])
    return 1 + far + (unknown > 0)


# --- what a search leaves behind ----------------------------------------------------------------


def note(
    central: Central, tx: Connection, seq: int, person: str, request: Request, now: datetime
) -> None:
    """Keep the digests of a search that was answered, in its transaction."""
    case, facts, suspicion = _text_marks(central, request)
    tx.execute(
        insert(searched).values(
            seq=seq,
            at=now,
            person=person,
            mark=None if request.plate is None else plate_mark(central, request.wanted),
            pattern=request.pattern,
            case_mark=case,
            facts_mark=facts,
            suspicion_mark=suspicion,
        )
    )


def refuse_canned(central: Central, tx: Connection, request: Request) -> None:
    """Refuse facts or suspicion that were given for another case (R-13.824-7-2).

    Raises:
        RefusedError: ``canned_facts`` or ``canned_suspicion``.
    """
    case, facts, suspicion = _text_marks(central, request)
    for name, mark in (("facts", facts), ("suspicion", suspicion)):
        used = select(searched.c.seq).where(
            searched.c.case_mark != case,
            (searched.c.facts_mark == mark) | (searched.c.suspicion_mark == mark),
        )
        if tx.execute(used.limit(1)).first() is not None:
            raise RefusedError(
                f"{name}: the same text was given for another case",
                reason=f"canned_{name}",
                remedy="state what is known of this case in your own words",
            )


def _text_marks(central: Central, request: Request) -> tuple[bytes, bytes, bytes]:
    key = central.keystore.purpose_key(_TEXTS)
    case, facts, suspicion = (
        mac(key, f"{kind} {normalise(text)}".encode())[:16]
        for kind, text in (
            ("case", request.number), ("text", request.facts), ("text", request.suspicion)
        )
    )  # fmt: skip
    return case, facts, suspicion


def forget_old(tx: Connection, now: datetime) -> None:
    """At each purge: drop the digests that are over 30 days old."""
    tx.execute(delete(searched).where(searched.c.at <= now - REMEMBER))


def forget_plates(central: Central, tx: Connection, forms: Iterable[str]) -> None:
    """Drop the digests of plates that are protected now (T-5)."""
    marks = [plate_mark(central, form) for form in forms]
    if marks:
        tx.execute(delete(searched).where(searched.c.mark.in_(marks)))
