"""Documented search of stored reads (R-13.824-7-1, -2, -3; R-460.6-b).

Without a case number, offence, facts in the searcher's own words, a statement of suspicion and a
bounded window nothing is shown. The search and the ids of its results are in the trail before the
first result leaves (R-AT-1, -3); a typed plate stands there encrypted and erasable (R-AT-4).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select

from alprd.central import db, exemptions, people, vault
from alprd.central.audit import Event
from alprd.central.permissions import Act
from alprd.central.store import Central
from alprd.errors import EnvelopeError, RefusedError
from alprd.records import fold, hour_floor, normalise
from alprd.wire import Person

log: Final = logging.getLogger("alprd.central.search")
MAX_WINDOW: Final = timedelta(hours=24)
MIN_TEXT: Final = 20
MIN_WORDS: Final = 4
_CASE: Final = re.compile(r"^(?=(?:.*\d){4})[0-9A-Z][0-9A-Z-]{3,19}$")


@dataclass(frozen=True, slots=True)
class Request:
    """What a person states before a search."""

    case: str
    offence: str
    facts: str
    suspicion: str
    since: datetime
    until: datetime
    plate: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One stored read of a result."""

    id: str
    plate: str
    stacked: str
    state: str | None
    instant: datetime
    lat: float | None
    lon: float | None
    session: str
    vehicle: str
    pictures: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON line."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["instant"] = self.instant.isoformat()
        return values


def check(request: Request) -> None:
    """Refuse a search that is not documented (R-13.824-7-2).

    Raises:
        RefusedError: names the first field that is missing or not enough.
    """
    if not _CASE.match(request.case.strip().upper()):
        raise RefusedError(
            "case, complaint or incident number is missing or not of its form",
            reason="bad_case",
            remedy="give the number of an active criminal investigation, such as 26001234",
        )
    if len(request.offence.strip()) < 3:
        raise RefusedError("offence type is missing", reason="missing_offence")
    for name, text in (("facts", request.facts), ("suspicion", request.suspicion)):
        words = text.split()
        if len(" ".join(words)) < MIN_TEXT or len({w.lower() for w in words}) < MIN_WORDS:
            raise RefusedError(
                f"{name}: at least {MIN_TEXT} characters and {MIN_WORDS} different words",
                reason=f"short_{name}",
                remedy="state what is known in your own words",
            )
    if request.until <= request.since:
        raise RefusedError("window ends before it begins", reason="bad_window")
    if request.until - request.since > MAX_WINDOW:
        raise RefusedError(
            "window is longer than 24 h",
            reason="window_too_long",
            remedy="search a shorter window; beyond it a legal basis is needed",
        )
    if request.plate is not None and not normalise(request.plate):
        raise RefusedError("plate is empty", reason="bad_plate")


def run(central: Central, person: Person, request: Request) -> list[Found]:
    """Search, record, and only then return the results, oldest first.

    Raises:
        RefusedError: role, training, authorisation or documentation is missing; recorded too.
        AuditError: the trail cannot be written; nothing is shown.
    """
    now = central.clock()
    try:
        people.require(person, Act.SEARCH, now)
        check(request)
    except RefusedError as error:
        with central.database.write() as tx:
            central.trail.record(
                tx,
                Event.SEARCH_REFUSED,
                people.actor(person),
                at=now,
                detail={"reason": error.reason},
            )
        raise
    with central.database.write() as tx:
        found = _find(central, tx, request, now)
        central.trail.record(
            tx,
            Event.SEARCHED,
            people.actor(person),
            at=now,
            subjects=[read.id for read in found],
            detail={
                "case": request.case.strip().upper(),
                "offence": request.offence.strip(),
                "facts": _without_plate(request.facts, request.plate),
                "suspicion": _without_plate(request.suspicion, request.plate),
                "from": request.since.isoformat(),
                "to": request.until.isoformat(),
                "results": len(found),
            },
            terms=normalise(request.plate) if request.plate else None,
        )
    return found


def _without_plate(text: str, plate: str | None) -> str:
    """The text with the searched plate left out, however it is spaced (R-AT-4)."""
    letters = normalise(plate or "")
    if not letters:
        return text
    spaced = r"[\W_]*".join(re.escape(letter) for letter in letters)
    return re.sub(spaced, "[plate]", text, flags=re.IGNORECASE)


def _find(central: Central, tx: Connection, request: Request, now: datetime) -> list[Found]:
    table = db.reads
    first, last = hour_floor(request.since), hour_floor(request.until)
    query = select(table).where(
        table.c.hour >= first,
        table.c.hour <= last,
        table.c.destroy_by > now,
        table.c.id.not_in(exemptions.held()),
    )
    if request.plate is not None:
        digests = _digests(central, fold(request.plate), first, last)
        query = query.where(or_(*(c.in_(digests) for c in _DIGESTS)))
    rows: Sequence[Row[Any]] = tx.execute(query).all()
    keys = central.keystore.open_read_keys(row.id for row in rows)
    found = []
    for row in rows:
        key = keys.get(row.id)
        try:
            cell = vault.open_cell(row, key) if key is not None else None
        except EnvelopeError:
            log.error("ALARM: stored read %s does not open", row.id)
            continue  # one damaged row must not hide the others
        if cell is None or not request.since <= cell.instant <= request.until:
            continue
        if request.plate is not None and not _same(cell, normalise(request.plate)):
            continue
        found.append(
            Found(
                id=row.id,
                plate=cell.plate.text,
                stacked=cell.plate.stacked,
                state=cell.plate.state,
                instant=cell.instant,
                lat=cell.position.lat if cell.position else None,
                lon=cell.position.lon if cell.position else None,
                session=row.session,
                vehicle=row.vehicle,
                pictures=vault.has_pictures(central.objects, row.id),
            )
        )
    return sorted(found, key=lambda read: (read.instant, read.id))


_DIGESTS: Final = (db.reads.c.digest0, db.reads.c.digest1, db.reads.c.digest2)


def _digests(central: Central, folded: str, first: datetime, last: datetime) -> list[bytes]:
    """The digests that the plate has in each hour of the window."""
    digests = []
    hour = first
    while hour <= last:
        key = central.keystore.hour_key(hour)
        if key is not None:
            digests.append(vault.plate_digest(key, folded))
        hour += timedelta(hours=1)
    return digests


def _same(cell: vault.Cell, plate: str) -> bool:
    text, stacked = cell.plate.text, cell.plate.stacked
    return plate in (text, text + stacked, stacked + text)
