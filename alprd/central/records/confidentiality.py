"""Address-confidentiality requests: destroy everywhere, keep it private (R-460.5-b, -b4, -b6).

A participant asks in writing. Central destroys what it holds at once, and drops what comes in
later; a car brings its queue at its next dock, as always, and destroys new reads at the time of
collection once it has the new list. No car is given an order: an order would tell. Each store that
is done leaves a receipt without the plate. Only what a case link or a hold keeps is deferred.

Every act of a person leaves one and the same event in the trail, also a look at an empty list;
what was done stands in its sealed term, opened only by :func:`history`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, or_, select

from alprd.central.grounds import accumulation
from alprd.central.grounds.searchform import plate_of
from alprd.central.records import confidentialstore, exemptions, protected
from alprd.central.records.confidentialcars import settle_cars, waiting_cars
from alprd.central.records.confidentialstore import Asked, Deferral, Receipt
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import STATES, fold, new_id, normalise
from alprd.wire import AuditEvent, Person

FIRST_REVIEW: Final = timedelta(days=365)
LONGEST_REVIEW: Final = timedelta(days=4 * 366)
"""Participation in the programme runs four years."""
_DECIDE: Final = timedelta(days=1)
_TERM: Final = 1024
"""What an event's sealed term is padded to, so that its length tells nothing."""


def enter(
    central: Central,
    person: Person,
    *,
    plates: Sequence[str],
    received: datetime,
    verified_by: str,
    reference: str,
    review: datetime | None = None,
) -> Asked:
    """Enter a verified request, and destroy what central holds of its plates.

    The cars learn of it with the next regular publication, within the hour: one that came right
    after a request would tell of it to whoever sees the trail (ADR 0053).

    Args:
        plates: ``PLATE`` or ``PLATE/STATE``.
        reference: number of the written request in the agency's restricted file.

    Raises:
        RefusedError: the role.
        InputError: a field is missing or cannot be.
    """
    now = central.clock()
    people.require(person, Act.CONFIDENTIALITY, now)
    pairs = _pairs(plates)
    review = review or now + FIRST_REVIEW
    if received > now:
        raise InputError("the request was received in the future")
    if not now < review <= now + LONGEST_REVIEW:
        raise InputError("the review date is not within four years")
    for name, text in (("verified by", verified_by), ("reference", reference)):
        if not 2 <= len(text.strip()) <= 200:
            raise InputError(f"{name}: missing, or longer than 200 characters")
    with central.database.write() as tx:
        row = Asked(
            id=new_id(),
            plates=pairs,
            received=received,
            verified_by=verified_by.strip(),
            reference=reference.strip(),
            review=review,
            entered_by=person.id,
            entered_at=now,
            cars=waiting_cars(central, tx),
        )
        row = _keep(central, tx, _destroy(central, tx, row, now))
        _worked(central, tx, person, now, "entered", row.id)
    _checkpoint(central)
    return row


def add_plates(
    central: Central, person: Person, request: str, plates: Sequence[str], reference: str
) -> Asked:
    """Add plates on the participant's written word, and destroy what is held of them.

    Raises:
        RefusedError: the role.
        InputError: no such request, no reference, or plates that cannot be.
    """
    now = central.clock()
    pairs = _pairs(plates)

    def change(row: Asked, tx: Connection) -> Asked:
        joined = tuple(dict.fromkeys((*row.plates, *pairs)))
        row = row.model_copy(update={"plates": joined, "cars": waiting_cars(central, tx)})
        return _destroy(central, tx, _note(row, now, person, f"added: {_said(reference)}"), now)

    made = _change(central, person, request, "added", change)
    _checkpoint(central)
    return made


def remove(
    central: Central,
    person: Person,
    request: str,
    reference: str,
    plates: Sequence[str] = (),
) -> Asked:
    """Take plates out, or end the request, on the participant's written word.

    Raises:
        RefusedError: the role.
        InputError: no such request, no reference, or a plate that it does not have.
    """
    now = central.clock()
    gone = {fold(plate.split("/")[0]) for plate in plates}

    def change(row: Asked, tx: Connection) -> Asked:
        text = f"removed: {_said(reference)}"
        if not gone:
            row = row.model_copy(update={"plates": (), "ended_at": now, "cars": (), "deferred": ()})
            return _note(row, now, person, text)
        if not gone <= {fold(plate) for plate, _ in row.plates}:
            raise InputError("the request does not have this plate")
        left = tuple(pair for pair in row.plates if fold(pair[0]) not in gone)
        if not left:
            raise InputError("no plate would be left", remedy="end the request instead")
        return _note(row.model_copy(update={"plates": left}), now, person, text)

    return _change(central, person, request, "removed", change)


def review(central: Central, person: Person, request: str, until: datetime, note: str) -> Asked:
    """Say that a request still stands; the next review date. Without one it stands all the same.

    Raises:
        RefusedError: the role.
        InputError: no such request, no note, or a date that cannot be.
    """
    now = central.clock()
    if not now < until <= now + LONGEST_REVIEW:
        raise InputError("the next review date is not within four years")

    def change(row: Asked, tx: Connection) -> Asked:
        row = row.model_copy(update={"review": until})
        return _note(row, now, person, f"reviewed: {_said(note)}")

    return _change(central, person, request, "reviewed", change)


def released_to(central: Central, person: Person, request: str, recipient: str) -> Asked:
    """Note that related data was released to somebody, who was told to destroy it.

    Raises:
        RefusedError: the role.
        InputError: no such request, or no name.
    """

    def change(row: Asked, tx: Connection) -> Asked:
        names = dict.fromkeys((*row.releases, _said(recipient)))
        return row.model_copy(update={"releases": tuple(names)})

    return _change(central, person, request, "release", change)


def confirm(central: Central, person: Person, request: str, store: str, how: str) -> Asked:
    """Note by hand that a store is done: a recipient, or a car that will not come back.

    Args:
        store: ``release NAME`` or ``car NAME``, as the request lists it.

    Raises:
        RefusedError: the role.
        InputError: no such request or store, or nothing said of how it is known.
    """
    now = central.clock()

    def change(row: Asked, tx: Connection) -> Asked:
        kind, _, name = store.partition(" ")
        cars = tuple(car for car in row.cars if not (kind == "car" and car.car == name))
        releases = tuple(one for one in row.releases if not (kind == "release" and one == name))
        if (cars, releases) == (row.cars, row.releases):
            raise InputError("the request waits for no store of this name")
        done = Receipt(store=store, at=now, how=f"{_said(how)} ({person.id})")
        return row.model_copy(
            update={"cars": cars, "releases": releases, "receipts": (*row.receipts, done)}
        )

    return _change(central, person, request, "confirmed", change)


def listing(central: Central, person: Person, *, due: bool = False) -> list[Asked]:
    """Every request, newest first, or those that need a person now.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.CONFIDENTIALITY, now)
    with central.database.write() as tx:
        rows = _settled(central, tx, now)
        _worked(central, tx, person, now, "listed", "")
    rows = [row for row in rows if not due or needs_person(row, now)]
    return sorted(rows, key=lambda row: row.entered_at, reverse=True)


def needs_person(row: Asked, now: datetime) -> bool:
    """Whether a request waits for one: its review, a deferral, a recipient, or an old car."""
    if row.ended_at is not None:
        return False
    late = any(one.review <= now for one in row.deferred)
    absent = row.cars and row.entered_at + timedelta(days=7) <= now
    return bool(row.review <= now or late or absent or row.releases)


def due_count(central: Central, tx: Connection, now: datetime) -> int:
    """How many requests need a person; for the first page of the two roles alone."""
    return sum(needs_person(row, now) for row in confidentialstore.load(central, tx).values())


def figures(central: Central, tx: Connection) -> dict[str, int]:
    """Counts for the audit's restricted annex; for the two roles alone (R-13.824-6-2)."""
    rows = list(confidentialstore.load(central, tx).values())
    return {
        "requests": len(rows),
        "in_force": sum(row.ended_at is None for row in rows),
        "deferred": sum(bool(row.deferred) for row in rows),
        "waiting_for_cars": sum(bool(row.cars) for row in rows),
    }


def history(central: Central, person: Person) -> list[dict[str, str]]:
    """Who did what with requests, oldest first; only for the two roles.

    Raises:
        RefusedError: the role.
    """
    now = central.clock()
    people.require(person, Act.CONFIDENTIALITY, now)
    table = db.audit
    query = select(table.c.document).where(table.c.event == Event.REQUESTS_WORKED.value)
    with central.database.write() as tx:
        events = [AuditEvent.model_validate_json(text) for text in
                  tx.scalars(query.order_by(table.c.seq))]  # fmt: skip
        _worked(central, tx, person, now, "history", "")
    found = []
    for event in events:
        said = json.loads(central.trail.terms(event) or "{}")
        found.append({"at": event.at.isoformat(), "who": event.actor, **said})
    return found


def settle(central: Central) -> None:
    """At each housekeeping: ended deferrals, cars that are done; the document is written anew."""
    with central.database.write() as tx:
        _settled(central, tx, central.clock())


# --- shared -------------------------------------------------------------------------------------


def _settled(central: Central, tx: Connection, now: datetime) -> list[Asked]:
    rows = []
    for row in confidentialstore.load(central, tx).values():
        if row.ended_at is None and not row.complete:
            kept = _kept(central, tx, row, now)
            row = row.model_copy(update={"deferred": kept})
            row = settle_cars(central, tx, row, now)
        rows.append(row)
    confidentialstore.save(central, tx, rows)
    return rows


def _destroy(central: Central, tx: Connection, row: Asked, now: datetime) -> Asked:
    """Central's own stores; what a link or hold keeps is deferred."""
    forms = frozenset(fold(plate) for plate, _ in row.plates)
    number = protected.destroy_held(central, tx, forms)
    terms = _erase_terms(central, tx, forms)
    accumulation.forget_plates(central, tx, forms)
    done = tuple(
        Receipt(store=store, at=now, how=how, reads=count)
        for store, how, count in (
            ("database", "rows overwritten", number),
            ("keystore", "read keys replaced; backups open with no key", number),
            ("pictures", "objects overwritten", number),
            ("terms", "keys of typed search terms erased", terms),
        )
    )
    return row.model_copy(
        update={
            "receipts": (*row.receipts, *done),
            "deferred": _kept(central, tx, row, now),
        }
    )


def _kept(central: Central, tx: Connection, row: Asked, now: datetime) -> tuple[Deferral, ...]:
    """Links and holds that keep reads of these plates; opened in memory."""
    forms = frozenset(fold(plate) for plate, _ in row.plates)
    by_row: dict[str, int] = defaultdict(int)
    names: dict[str, list[str]] = defaultdict(list)
    for entry in tx.execute(select(db.exempted)).all():
        names[entry.read].append(entry.exemption)
    if not names:
        return ()
    rows = tx.execute(select(db.reads).where(db.reads.c.id.in_(list(names)))).all()
    keys = exemptions.current_keys(central, tx, [one.id for one in rows])
    for one in rows:
        cell = vault.open_cell(one, keys[one.id]) if one.id in keys else None
        if cell is not None and not forms.isdisjoint(vault.folds(cell.plate)):
            for exemption in names[one.id]:
                by_row[exemption] += 1
    before = {one.exemption: one.review for one in row.deferred}
    made = []
    for keeper in exemptions.every(central, tx):
        if keeper.id in by_row:
            # T-11: a hold is decided with counsel within a day; a link has its own review date.
            review_at = keeper.due if keeper.kind == "case" else None
            made.append(
                Deferral(
                    exemption=keeper.id,
                    kind=keeper.kind,
                    number=keeper.number,
                    reads=by_row[keeper.id],
                    review=review_at or before.get(keeper.id, now + _DECIDE),
                )
            )
    return tuple(made)


def _erase_terms(central: Central, tx: Connection, forms: frozenset[str]) -> int:
    """Erase the keys of typed search terms that name these plates; the events stay (T-5)."""
    table = db.audit
    gone = 0
    # A data subject's look-up is a search too, and its plate was typed like any other.
    names = [table.c.event.startswith(first) for first in ("search.", "basis.", "subject.")]
    searches = or_(*names)
    for document in tx.scalars(select(table.c.document).where(searches)).all():
        event = AuditEvent.model_validate_json(document)
        typed = central.trail.terms(event)
        if not typed:
            continue
        wanted = accumulation.folded(plate_of(typed))
        if wanted and any(accumulation.form_fits(wanted, form) for form in forms):
            central.keystore.forget_secret(str(event.detail["terms_key"]))
            gone += 1
    return gone


def _change(
    central: Central,
    person: Person,
    request: str,
    what: str,
    change: Callable[[Asked, Connection], Asked],
) -> Asked:
    now = central.clock()
    people.require(person, Act.CONFIDENTIALITY, now)
    with central.database.write() as tx:
        row = confidentialstore.load(central, tx).get(request)
        if row is None:
            raise InputError("there is no request with this id")
        if row.ended_at is not None:
            raise RefusedError("the request was ended in writing", reason="ended")
        row = _keep(central, tx, change(row, tx))
        _worked(central, tx, person, now, what, row.id)
    return row


def _keep(central: Central, tx: Connection, row: Asked) -> Asked:
    rows = confidentialstore.load(central, tx)
    rows[row.id] = row
    confidentialstore.save(central, tx, rows.values())
    return row


def _worked(
    central: Central, tx: Connection, person: Person, now: datetime, what: str, request: str
) -> None:
    """The one event of every act; what it was stands in a sealed term of one length."""
    said = json.dumps({"what": what, "request": request})
    central.trail.record(
        tx, Event.REQUESTS_WORKED, people.actor(person), at=now, terms=said.ljust(_TERM)
    )


def _pairs(plates: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for typed in plates:
        text, _, issuer = typed.partition("/")
        plate, issuer = normalise(text), issuer.strip().upper()
        if not 1 <= len(plate) <= 14:
            raise InputError("a plate is empty or too long")
        if issuer and issuer not in STATES:
            raise InputError("a plate's state is unknown", remedy="write ABC123/MN, or no state")
        pairs.append((plate, issuer))
    if not pairs:
        raise InputError("a request names at least one plate")
    return tuple(dict.fromkeys(pairs))


def _note(row: Asked, now: datetime, person: Person, text: str) -> Asked:
    return row.model_copy(
        update={"notes": (*row.notes, f"{now:%Y-%m-%dT%H:%MZ} {person.id}: {text}")}
    )


def _said(text: str) -> str:
    text = " ".join(text.split())
    if not 2 <= len(text) <= 200:
        raise InputError("the reference or note is missing, or longer than 200 characters")
    return text


def _checkpoint(central: Central) -> None:
    """Nothing of what was overwritten stays in the databases' own files."""
    central.database.checkpoint()
    central.keystore.database.checkpoint()
