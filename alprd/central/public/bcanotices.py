"""Notices to the BCA: within ten days of installation or use, and of any fixed location.

Due is the earlier of installation and first use plus ten calendar days, weekends or not (T-18): a
first use on 2 March is due on 12 March. Each fixed location has a duty of its own, from the day
the device stands there. A person is reminded on day 0, 7 and 9. From the midnight after day ten a
device without a recorded notice gets no leave to collect, and no permit reaches beyond that
midnight, so that a car out of contact stops then too (R-460.4.1-d).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from alprd.central.public import fixedplaces, readers
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.public_tables import bca_checks, bca_notices, bca_reminders
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import InputError
from alprd.records import new_id
from alprd.wire import Person

DAYS: Final = 10
REMIND: Final = (0, 7, 9)
OVERDUE: Final = DAYS + 1
CHECK_EVERY: Final = timedelta(days=90)
HOW: Final = ("email", "letter", "portal", "fax")
MAX_RECEIPT: Final = 20_000_000
CITATION: Final = "Minn. Stat. § 13.824, subd. 8(a)"


@dataclass(frozen=True, slots=True)
class Duty:
    """One notice that is owed or was given; days are local dates."""

    device: str
    entry: str
    """Of the fixed location; empty: installation or use."""
    what: str
    kind: str
    place: str
    """Full text, never for the public."""
    withheld: str
    installed: str
    first_used: str
    begun: date
    notice: Row[Any] | None

    @property
    def due(self) -> date:
        """Last day on which it is in time."""
        return self.begun + timedelta(days=DAYS)

    @property
    def key(self) -> str:
        """Names it among all."""
        return f"{self.device}/{self.entry}" if self.entry else self.device

    def state(self, today: date, sent: date | None) -> str:
        """``sent``, ``sent late``, ``due`` or ``overdue``."""
        if sent is not None:
            return "sent" if sent <= self.due else "sent late"
        return "due" if today <= self.due else "overdue"


def due_day(installed: str | None, first_used: str | None) -> tuple[date, date] | None:
    """Day it began, and last day for the notice; ``None`` before either is known."""
    days = [date.fromisoformat(day) for day in (installed, first_used) if day]
    return (min(days), min(days) + timedelta(days=DAYS)) if days else None


def duties(central: Central, tx: Connection, device: str = "") -> list[Duty]:
    """Every duty of a device, or of all, the earliest due first."""
    sent: dict[tuple[str, str], Row[Any]] = {}
    for row in tx.execute(select(bca_notices).order_by(bca_notices.c.recorded_at)):
        sent.setdefault((row.device, row.entry), row)
    found = []
    for row in readers.register(tx):
        days = due_day(row.installed, row.first_used)
        if days is not None and device in ("", row.device):
            notice = sent.get((row.device, ""))
            found.append(_of_use(row, days[0], notice))
    places = fixedplaces.listing(central, tx)
    found += [
        _of_place(one, sent.get((one.device, one.id)))
        for one in places
        if device in ("", one.device)
    ]
    return sorted(found, key=lambda duty: (duty.begun, duty.key))


def _of_use(row: Row[Any], begun: date, notice: Row[Any] | None) -> Duty:
    return Duty(
        device=row.device,
        entry="",
        what="installation or use",
        kind=readers.KINDS[row.kind],
        place="",
        withheld="",
        installed=row.installed or "",
        first_used=row.first_used or "",
        begun=begun,
        notice=notice,
    )


def _of_place(one: fixedplaces.Entry, notice: Row[Any] | None) -> Duty:
    return Duty(
        device=one.device,
        entry=one.id,
        what="fixed location",
        kind=fixedplaces.KINDS[one.kind],
        place=one.place,
        withheld=one.withheld.section if one.withheld else "",
        installed=one.since,
        first_used="",
        begun=date.fromisoformat(one.since),
        notice=notice,
    )


def blocked_from(central: Central, tx: Connection, vehicle: str) -> datetime | None:
    """From when on a car may not collect for want of a notice; ``None``: all are on record."""
    readers.ensure(central, tx, vehicle)
    row = readers.known(tx, vehicle)
    left = [duty.due for duty in duties(central, tx, vehicle) if duty.notice is None]
    if not left or row.retired:
        return None
    midnight = datetime.combine(min(left) + timedelta(days=1), time(), central.config.zone())
    return midnight.astimezone(UTC)


def record(
    central: Central,
    person: Person,
    *,
    device: str,
    entry: str = "",
    sent_at: datetime,
    sent_by: str,
    how: str,
    reference: str = "",
    receipt: bytes,
) -> str:
    """Put on record that a notice was sent, with its receipt; the id. The device may collect.

    Raises:
        RefusedError: the role.
        InputError: no such duty, a time in the future, no sender, or no receipt.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    sent_by, reference = " ".join(sent_by.split()), " ".join(reference.split())
    if how not in HOW:
        raise InputError(f"how it was sent is one of {', '.join(HOW)}")
    if not 1 <= len(sent_by) <= 64 or len(reference) > 200:
        raise InputError("say who sent it (at most 64 characters)")
    if sent_at > now:
        raise InputError("the notice was sent in the future")
    if not 0 < len(receipt) <= MAX_RECEIPT:
        raise InputError("the receipt is missing or too long", remedy="attach what proves it")
    made = new_id()
    # Before the row: a row without its receipt would be no proof; a file without a row is none.
    central.objects.put("bca", {made: seal(_key(central), receipt, _aad(made))})
    with central.database.write() as tx:
        readers.ensure_all(central, tx)
        if entry not in {duty.entry for duty in duties(central, tx, device)}:
            raise InputError("no such notice is owed", remedy="see alprd-central bca list")
        digest = sha256_hex(receipt)
        tx.execute(
            insert(bca_notices).values(
                id=made, device=device, entry=entry, sent_at=sent_at, sent_by=sent_by, how=how,
                reference=reference, receipt_sha256=digest, recorded_by=person.id, recorded_at=now,
            )
        )  # fmt: skip
        central.trail.record(
            tx,
            Event.BCA_SENT,
            people.actor(person),
            at=now,
            subjects=[made],
            detail={
                "device": device, "entry": entry, "how": how, "sent_by": sent_by,
                "sent_at": sent_at.isoformat(timespec="seconds"), "receipt": digest,
            },
        )  # fmt: skip
    return made


def receipt(central: Central, person: Person, notice: str) -> bytes:
    """The receipt of a notice; the look is recorded.

    Raises:
        RefusedError: the role.
        InputError: no such notice.
        EnvelopeError: the file was altered.
    """
    now = central.clock()
    people.require(person, Act.READERS_SEE, now)
    with central.database.write() as tx:
        if tx.scalar(select(bca_notices.c.id).where(bca_notices.c.id == notice)) is None:
            raise InputError(f"there is no notice {notice}")
        sealed = central.objects.get("bca", notice)
        plain = unseal(_key(central), sealed, _aad(notice))
        central.trail.record(tx, Event.BCA_VIEWED, people.actor(person), at=now, subjects=[notice])
    return plain


def remind(central: Central) -> list[Duty]:
    """Remind of what is owed, each day of :data:`REMIND` once, and once when it is overdue."""
    now, today = central.clock(), readers.today(central)
    told = []
    with central.database.write() as tx:
        readers.ensure_all(central, tx)
        given = {(row.duty, row.day) for row in tx.execute(select(bca_reminders))}
        for duty in duties(central, tx):
            days = (today - duty.begun).days
            fresh = [
                day for day in (*REMIND, OVERDUE) if day <= days and (duty.key, day) not in given
            ]
            if duty.notice is not None or not fresh:
                continue
            for day in fresh:
                tx.execute(insert(bca_reminders).values(duty=duty.key, day=day, given_at=now))
            central.trail.record(
                tx,
                Event.BCA_OVERDUE if max(fresh) == OVERDUE else Event.BCA_DUE,
                CENTRAL,
                at=now,
                subjects=[duty.entry] if duty.entry else (),
                detail={
                    "device": duty.device, "what": duty.what, "due": duty.due.isoformat(),
                    "day": max(fresh),
                },
            )  # fmt: skip
            told.append(duty)
    return told


def published_text(central: Central, tx: Connection) -> str:
    """Our entry of the BCA's list: the agency, then its fixed locations, or N/A (R-460.4.1-d2)."""
    places = [
        f"location withheld ({one.withheld.section})" if one.withheld else one.place
        for one in fixedplaces.listing(central, tx)
        if not one.until
    ]
    told = "; ".join(sorted(dict.fromkeys(places))) or "N/A"
    return f"{central.config.agency_name}\nFixed or stationary locations: {told}\n"


def check(central: Central, person: Person, published: str, note: str = "") -> bool:
    """Compare the BCA's published entry with the register, on record; whether they agree.

    Raises:
        RefusedError: the role.
        InputError: nothing to compare, or too long.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    if not 1 <= len(published.strip()) <= 4000 or len(note) > 500:
        raise InputError("paste the published entry; a note has at most 500 characters")
    with central.database.write() as tx:
        expected = published_text(central, tx)
        agrees = _words(published) == _words(expected)
        tx.execute(
            insert(bca_checks).values(
                id=new_id(), checked_at=now, checked_by=person.id, published=published.strip(),
                expected=expected, agrees="yes" if agrees else "no", note=note.strip(),
            )
        )  # fmt: skip
        central.trail.record(
            tx, Event.BCA_CHECKED, people.actor(person), at=now, detail={"agrees": agrees}
        )
    return agrees


def checks(tx: Connection) -> list[Row[Any]]:
    """Every comparison, newest first."""
    return list(tx.execute(select(bca_checks).order_by(bca_checks.c.checked_at.desc())).all())


def sent_day(central: Central, duty: Duty) -> date | None:
    """Local day of its notice."""
    if duty.notice is None:
        return None
    sent: datetime = duty.notice.sent_at
    return sent.astimezone(central.config.zone()).date()


def owed(central: Central, tx: Connection) -> Iterable[Duty]:
    """Duties without a notice on record."""
    return (duty for duty in duties(central, tx) if duty.notice is None)


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def _key(central: Central) -> bytes:
    return central.keystore.purpose_key("bca notices")


def _aad(notice: str) -> bytes:
    return f"notice {notice}".encode()
