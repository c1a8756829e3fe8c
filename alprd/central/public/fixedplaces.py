"""Fixed locations, current and previous, with dates: a list that only grows (R-460.5.1-e, -e2).

An entry begins with the day a device stands at a place, and ends with the day it leaves; a move is
both at once. Nothing is ever changed or removed: each step is a row of its own. The sheriff, as
responsible authority, may withhold the place of one entry as security information under § 13.37,
with a written reason, a short explanation for whoever asks (subd. 2), and a date of review. The
public list still shows the entry, its dates, and the section.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, insert, select

from alprd.audit import Actor
from alprd.central.public import logbook, readers
from alprd.central.public.localdays import as_date, local_day
from alprd.central.public.sources import cited
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.public_tables import fixed_events
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import new_id
from alprd.wire import Person

Kind = Literal["fixed", "other", "post"]
KINDS: Final[dict[str, str]] = {
    "fixed": "fixed reader",
    "other": "other surveillance device with reader capability",
}
"""What a person can enter."""
POST: Final = "reader of a vehicle at a stationary post"
"""Declared in the car; its rows come from the public log."""
SECTION: Final = "Minn. Stat. § 13.37, subd. 1(a)"
LONGEST_REVIEW: Final = timedelta(days=366)
COLUMNS: Final = ("device", "kind", "place", "from", "to", "withheld_under", "determined_on")
_OPEN_END: Final = "9999-12-31"


@dataclass(frozen=True, slots=True)
class Determination:
    """Why a place is withheld: the record of § 13.37 (R-460.5.1-e2)."""

    by: str
    name: str
    on: str
    section: str
    reason: str
    explanation: str
    """Short description of the necessity, for whoever asks."""
    review: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One device at one place; days are local dates, ``until`` empty while it stands there."""

    id: str
    device: str
    kind: Kind
    place: str
    since: str
    until: str = ""
    withheld: Determination | None = None

    def public(self) -> str:
        """The place as everyone may read it."""
        if self.withheld is None:
            return self.place
        return f"withheld as security information ({self.withheld.section})"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the public log says of the place of a reader."""

    entries: tuple[tuple[str, Entry], ...]
    """Reader number and entry."""

    def of(self, reader: str, day: str, declared: str) -> str:
        """Place of a reader on a day: of the list, else the declared post, else empty."""
        found = [
            entry.public()
            for number, entry in self.entries
            if number == reader and entry.since <= day <= (entry.until or _OPEN_END)
        ]
        return "; ".join(dict.fromkeys(found)) or declared


def shown(central: Central, tx: Connection) -> Shown:
    """The list by the readers' public numbers."""
    numbers = {row.vehicle: row.reader for row in tx.execute(select(db.vehicles))}
    return Shown(
        tuple((numbers[one.device], one) for one in listing(central, tx) if one.device in numbers)
    )


def listing(central: Central, tx: Connection) -> list[Entry]:
    """Every entry that ever was, oldest first."""
    found: dict[str, Entry] = {}
    for row in tx.execute(select(fixed_events).order_by(fixed_events.c.number)):
        told = _open(central, row.entry, row.sealed)
        if row.kind == "from":
            found[row.entry] = Entry(row.entry, row.device, told["kind"], told["place"], row.on_day)
        elif row.kind == "to":
            found[row.entry] = replace(found[row.entry], until=row.on_day)
        elif row.kind == "withheld":
            found[row.entry] = replace(found[row.entry], withheld=Determination(**told))
        else:
            found[row.entry] = replace(found[row.entry], withheld=None)
    return sorted(found.values(), key=lambda one: (one.since, one.id))


def posts(central: Central, tx: Connection) -> list[Entry]:
    """Stationary posts that cars declared, with their days (R-460.5.1-d, -e), oldest first.

    They come from the public log, which is never edited, so they are history like the list. A post
    of a day on which the list has a place of that reader is that place, withheld or not.
    """
    places = shown(central, tx)
    names = {row.reader: row.vehicle for row in tx.execute(select(db.vehicles))}
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in logbook.entries(tx):
        if entry.kind != "session" or entry.mode != "fixed" or not entry.place:
            continue
        if places.of(entry.reader, entry.date, ""):
            continue
        device = names.get(entry.reader, f"reader {entry.reader}")
        key = (device, entry.place, entry.date)
        until = max(entry.end[:10], found[key].until) if key in found else entry.end[:10]
        found[key] = Entry("", device, "post", entry.place, entry.date, until)
    return sorted(found.values(), key=lambda one: (one.since, one.device, one.place))


def public_rows(entries: Iterable[Entry]) -> list[dict[str, str]]:
    """The public list (R-460.5.1-e): columns of :data:`COLUMNS`."""
    return [
        {
            "device": one.device,
            "kind": KINDS.get(one.kind, POST),
            "place": one.public(),
            "from": one.since,
            "to": one.until,
            "withheld_under": one.withheld.section if one.withheld else "",
            "determined_on": one.withheld.on if one.withheld else "",
        }
        for one in entries
    ]


def place(
    central: Central, person: Person, *, device: str, kind: str, at: str, since: str
) -> Entry:
    """A device stands at a fixed location from a day on; one that stood elsewhere has moved.

    Raises:
        RefusedError: the role.
        InputError: unknown device, no place, or a day that cannot be.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    day, at = local_day(central, since, now), " ".join(at.split())
    if kind not in KINDS:
        raise InputError("the kind is 'fixed' or 'other'")
    if not 3 <= len(at) <= 200:
        raise InputError("the place is missing or longer than 200 characters")
    by = people.actor(person)
    with central.database.write() as tx:
        readers.ensure(central, tx, device)
        readers.known(tx, device)
        before = [one for one in listing(central, tx) if one.device == device]
        for one in before:
            if day < (one.until or one.since):
                raise InputError(f"the device stood elsewhere after {day}")
            if not one.until:
                _add(central, tx, one.id, "to", device, day, by, {"moved": True}, now)
        made = Entry(new_id(), device, "fixed" if kind == "fixed" else "other", at, day)
        told = {"kind": made.kind, "place": made.place}
        _add(central, tx, made.id, "from", device, day, by, told, now)
    return made


def leave(central: Central, person: Person, entry: str, day: str) -> Entry:
    """The device no longer stands there; the entry stays.

    Raises:
        RefusedError: the role.
        InputError: no such entry, it has ended, or a day that cannot be.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    day = local_day(central, day, now)
    with central.database.write() as tx:
        found = find(central, tx, entry)
        if found.until or day < found.since:
            raise InputError("the entry has ended already, or began later")
        _add(central, tx, found.id, "to", found.device, day, people.actor(person), {}, now)
    return replace(found, until=day)


def withhold(
    central: Central,
    person: Person,
    entry: str,
    *,
    reason: str,
    explanation: str,
    review: str,
    section: str = SECTION,
) -> Entry:
    """Withhold the place of one entry as security information; again: a new determination.

    Raises:
        RefusedError: not the responsible authority.
        InputError: no such entry, a text that says too little, or no date of review in a year.
    """
    now = central.clock()
    people.require(person, Act.PLACE_WITHHOLD, now)
    today = now.astimezone(central.config.zone()).date()
    due = as_date(review)
    if not today < due <= today + LONGEST_REVIEW:
        raise InputError("the date of review lies within a year from now")
    for name, text in (("reason", reason), ("explanation", explanation)):
        if not 20 <= len(text.strip()) <= 2000:
            raise InputError(
                f"{name}: 20 to 2000 characters",
                remedy="say why disclosure would jeopardise security or safety",
            )
    with central.database.write() as tx:
        found = find(central, tx, entry)
        if found.place.casefold() in explanation.casefold():
            raise InputError("the explanation names the place it is to keep back")
        made = Determination(
            by=person.id, name=person.name, on=today.isoformat(), section=cited(section),
            reason=reason.strip(), explanation=explanation.strip(), review=due.isoformat(),
        )  # fmt: skip
        told = {name: getattr(made, name) for name in made.__dataclass_fields__}
        actor = people.actor(person)
        _add(central, tx, entry, "withheld", found.device, today.isoformat(), actor, told, now)
    return replace(found, withheld=made)


def show(central: Central, person: Person, entry: str) -> Entry:
    """End a withholding: the public list names the place again.

    Raises:
        RefusedError: not the responsible authority.
        InputError: no such entry, or it is not withheld.
    """
    now = central.clock()
    people.require(person, Act.PLACE_WITHHOLD, now)
    today = now.astimezone(central.config.zone()).date().isoformat()
    with central.database.write() as tx:
        found = find(central, tx, entry)
        if found.withheld is None:
            raise InputError("the entry is not withheld")
        _add(central, tx, entry, "shown", found.device, today, people.actor(person), {}, now)
    return replace(found, withheld=None)


def explanation(central: Central, entry: str) -> str:
    """The short description for whoever asks why a place is withheld (§ 13.37 subd. 2).

    Raises:
        InputError: no such entry, or it is not withheld.
    """
    with central.database.read() as tx:
        found = find(central, tx, entry)
    told = found.withheld
    if told is None:
        raise InputError("the entry is not withheld")
    return (
        f"{central.config.agency_name}\n"
        f"Location of {found.device} from {found.since} to {found.until or 'now'}: withheld.\n"
        f"Section: {told.section}\n"
        f"Determined on {told.on} by the responsible authority; to be reviewed by {told.review}.\n"
        f"Why: {told.explanation}\n"
    )


def for_court(central: Central, person: Person, entry: str) -> dict[str, Any]:
    """The full entry with its determination, for review by a court; the look is recorded.

    Raises:
        RefusedError: the role.
        InputError: no such entry.
    """
    now = central.clock()
    people.require(person, Act.PLACE_FULL, now)
    with central.database.write() as tx:
        found = find(central, tx, entry)
        central.trail.record(
            tx, Event.PLACE_VIEWED, people.actor(person), at=now, subjects=[found.id]
        )
    told = found.withheld
    return {
        "agency": central.config.agency_name, "entry": found.id, "device": found.device,
        "kind": KINDS[found.kind], "place": found.place, "from": found.since, "to": found.until,
        "withheld": None
        if told is None
        else {name: getattr(told, name) for name in told.__dataclass_fields__},
    }  # fmt: skip


def overdue(central: Central, tx: Connection, today: date) -> list[Entry]:
    """Withheld entries whose determination is to be reviewed by now."""
    return [
        one
        for one in listing(central, tx)
        if one.withheld is not None and one.withheld.review <= today.isoformat()
    ]


def find(central: Central, tx: Connection, entry: str) -> Entry:
    """An entry by id.

    Raises:
        InputError: there is none.
    """
    for one in listing(central, tx):
        if one.id == entry:
            return one
    raise InputError(f"there is no fixed location {entry}", remedy="see alprd-central fixed list")


def _add(
    central: Central,
    tx: Connection,
    entry: str,
    kind: str,
    device: str,
    day: str,
    by: Actor,
    told: dict[str, Any],
    now: datetime,
) -> None:
    number = (tx.scalar(select(func.max(fixed_events.c.number))) or 0) + 1
    tx.execute(
        insert(fixed_events).values(
            number=number,
            entry=entry,
            kind=kind,
            device=device,
            on_day=day,
            recorded_at=now,
            recorded_by=by.id,
            sealed=seal(_key(central), json.dumps(told).encode(), _aad(entry)),
        )
    )
    central.trail.record(
        tx,
        Event.PLACE_RECORDED,
        by,
        at=now,
        subjects=[entry],
        detail={"step": kind, "device": device, "on": day},
    )


def _key(central: Central) -> bytes:
    return central.keystore.purpose_key("fixed locations")


def _aad(entry: str) -> bytes:
    return f"fixed {entry}".encode()


def _open(central: Central, entry: str, sealed: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(unseal(_key(central), sealed, _aad(entry)))
    return told
