"""Documented search of stored reads (R-13.824-7-1, -2, -3; R-460.6-b; R-460.4.1-c, -c2).

Without what :mod:`searchform` asks for nothing is looked at. A search that would track a plate by
accumulation stops before its results and needs a legal basis (:mod:`accumulation`). The search and
the ids of its results are in the trail before the first result leaves (R-AT-1, -3); a typed
plate or place stands there encrypted and erasable (R-AT-4). There is no route, pattern or
co-travel function, and no order of results but time (R-460.4.1-c3).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select

from alprd.central.grounds import accumulation, legalbasis
from alprd.central.grounds.searchform import MAX_WINDOW as MAX_WINDOW
from alprd.central.grounds.searchform import Place as Place
from alprd.central.grounds.searchform import Request as Request
from alprd.central.grounds.searchform import check as check
from alprd.central.grounds.unplated import without_plate
from alprd.central.records import exemptions, protected
from alprd.central.staff import notices, people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, RefusedError
from alprd.records import Plate, fold, hour_floor
from alprd.wire import Person

log: Final = logging.getLogger("alprd.central.searches.search")
STOPS: Final = {
    "repeated": "this plate was searched before within 30 days, by anyone",
    "over_24_h": "the search spans more than 24 h",
    "more_than_one_place": "the plate was read at more than one place",
}


class StoppedError(RefusedError):
    """A search that needs a warrant or exigent circumstances before its results (R-460.4.1-c2)."""

    def __init__(self, reasons: Sequence[str], notice: str) -> None:
        super().__init__(
            "search stops for a legal basis: " + "; ".join(STOPS[one] for one in reasons),
            reason="legal_basis_needed",
            remedy="enter a warrant, or ask for exigent circumstances, then search with its id; "
            "the supervisor was told",
        )
        self.reasons = tuple(reasons)
        self.notice = notice


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

    @property
    def reading(self) -> Plate:
        """The plate as read."""
        return Plate(text=self.plate, stacked=self.stacked, state=self.state)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON line."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["instant"] = self.instant.isoformat()
        return values


@dataclass(frozen=True, slots=True)
class Answer:
    """Results, oldest first, and the number of the search's event in the trail."""

    seq: int
    found: list[Found]


def run(central: Central, person: Person, request: Request) -> list[Found]:
    """Search, record, and only then return the results, oldest first.

    Raises:
        RefusedError: see :func:`answer`.
    """
    return answer(central, person, request).found


def answer(central: Central, person: Person, request: Request) -> Answer:
    """Search, record, and only then return the results.

    Raises:
        StoppedError: a legal basis is needed; recorded, and the supervisor is told.
        RefusedError: role, training, authorisation or documentation is missing; recorded too.
        AuditError: the trail cannot be written; nothing is shown.
    """
    now = central.clock()
    stopped: StoppedError | None = None
    try:
        people.require(person, Act.SEARCH, now)
        check(request, central.config.search)
        with central.database.write() as tx:
            accumulation.refuse_canned(central, tx, request)
            basis = legalbasis.carries(central, tx, request, now)
            found = _find(central, tx, request, now)
            stops = accumulation.stops(central, tx, request, found, now)
            carried = set() if basis is None else {bytes.fromhex(basis.mark)}
            own = set()
            if request.plate is not None:
                own = {accumulation.plate_mark(central, request.wanted)}
            # A basis for the very plate or pattern that was typed carries the whole search.
            left = [] if own & carried else [one for one in stops if one.mark not in carried]
            if left:
                stopped = _stop(central, tx, person, request, left, now)
                seq = 0
            else:
                seq = _record(central, tx, person, request, found, now)
                accumulation.note(central, tx, seq, person.id, request, now)
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
    if stopped is not None:
        raise stopped
    return Answer(seq, found)


def _stop(
    central: Central,
    tx: Connection,
    person: Person,
    request: Request,
    stops: Sequence[accumulation.Stop],
    now: datetime,
) -> StoppedError:
    reasons = sorted({one.reason for one in stops})
    seq = central.trail.record(
        tx,
        Event.SEARCH_STOPPED,
        people.actor(person),
        at=now,
        detail=_said(request) | {"stops": ",".join(reasons)},
        terms=request.typed,
    )
    notice = notices.add(
        tx,
        "search_stopped",
        at=now,
        about=person.id,
        subject=str(seq),
        detail=", ".join(reasons),
    )
    return StoppedError(reasons, notice)


def _record(
    central: Central,
    tx: Connection,
    person: Person,
    request: Request,
    found: Sequence[Found],
    now: datetime,
) -> int:
    return central.trail.record(
        tx,
        Event.SEARCHED,
        people.actor(person),
        at=now,
        subjects=[read.id for read in found],
        detail=_said(request) | {"results": len(found)},
        terms=request.typed,
    )


def _said(request: Request) -> dict[str, str | int | bool]:
    """What the trail keeps of a request; the plate only as its term."""
    said: dict[str, str | int | bool] = {
        "case": request.number,
        "offence": without_plate(request.offence.strip(), request.plate),
        "facts": without_plate(request.facts, request.plate),
        "suspicion": without_plate(request.suspicion, request.plate),
        "from": request.since.isoformat(),
        "to": request.until.isoformat(),
        "purpose": request.purpose,
    }
    if request.place is not None:
        said["place"] = True
        said["unplaced"] = request.unplaced
    if request.pattern:
        said["partial"] = True
    if request.basis:
        said["basis"] = request.basis
    return said


def _find(central: Central, tx: Connection, request: Request, now: datetime) -> list[Found]:
    table = db.reads
    first, last = hour_floor(request.since), hour_floor(request.until)
    query = select(table).where(
        table.c.hour >= first,
        table.c.hour <= last,
        table.c.destroy_by > now,
        table.c.id.not_in(exemptions.held()),
    )
    if request.plate is not None and not request.pattern:
        digests = _digests(central, fold(request.wanted), first, last)
        query = query.where(or_(*(c.in_(digests) for c in _DIGESTS)))
    rows: Sequence[Row[Any]] = tx.execute(query).all()
    keys = central.keystore.open_read_keys((row.id for row in rows), {row.hour for row in rows})
    # A protected read that a link or hold keeps is seen through that alone (T-11).
    private = protected.suppressed_folds(central, tx)
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
        if not private.isdisjoint(vault.folds(cell.plate)) or not _fits(request, cell):
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


def _fits(request: Request, cell: vault.Cell) -> bool:
    """Plate letter for letter, and place."""
    if request.plate is not None and not accumulation.matches(request.wanted, cell.plate):
        return False
    if request.place is None:
        return True
    if cell.position is None:
        return request.unplaced
    return request.place.holds(cell.position.lat, cell.position.lon)
