"""What central pushed to the car: lists, roster, intake keys, permit; and the queue's own state.

Counts and ages only: no plate, no name, and nothing of the suppression table (R-460.5-b4).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from alprd.crypto import SignedDocument, verify_document
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.errors import AlprdError, SignatureError, StoreError
from alprd.ledger import look
from alprd.roster import RosterBook
from alprd.targets import TargetClient, TargetSet
from alprd.wire import Permit

PERMIT_WARN: Final = timedelta(hours=4)
KEYS_WARN_DAYS: Final = 2
_DOCK: Final = "dock the car where central can be reached"
_NONE: Final = "no lists were ever taken over"
_LOCKED: Final = "encrypted: only the running daemon opens them; see its status page"


def _load(car: Car) -> TargetSet | None:
    """The active set, verified again from the disk; nothing is fetched and nothing written."""
    return TargetClient(car.trust).load_offline()


def check_lists(car: Car, sheet: Sheet) -> None:
    """Each list: how many entries, how old; and the keys that reads are sealed to."""
    if car.trust.locker.locked:
        sheet.skip("lists", _LOCKED)
        return
    found = _load(car)
    if found is None:
        sheet.fail("lists", _NONE, f"{_DOCK}, with lists published: alprd-central publish")
        return
    now, policy = car.now(), found.policy
    sheet.ok(
        "policy",
        f"policy {policy.version}, effective since {policy.effective:%Y-%m-%d}"
        if policy.effective <= now
        else f"policy {policy.version}, effective only from {policy.effective:%Y-%m-%d}",
        version=policy.version,
        effective=policy.effective <= now,
    )
    statuses = found.matcher.lists()
    if not statuses:
        sheet.fail("lists", "no list is published", f"import one at central, publish, then {_DOCK}")
    for item in statuses:
        hours = item.age(now) / timedelta(hours=1)
        sheet.judge(
            item.list_id,
            f"{item.entries} entries from {item.source}, {hours:.1f} hours old",
            fail=hours >= policy.list_stop_hours,
            warn=hours >= policy.list_warn_hours,
            remedy=f"import the supplier's newest list at central and publish, then {_DOCK}",
            entries=item.entries,
            age_h=round(hours, 2),
            source=item.source,
        )
    last = max(key.day for key in found.intake_keys.keys)
    ahead = (_day(last) - now.date().toordinal()) if last else 0
    sheet.judge(
        "intake-keys",
        f"{len(found.intake_keys.keys)} daily keys, the last for {last}",
        fail=False,
        warn=ahead < KEYS_WARN_DAYS,
        remedy=f"publish at central, then {_DOCK}: the last key goes on being used, and says so",
        days_ahead=ahead,
    )


def _day(name: str) -> int:
    from datetime import date

    return date.fromisoformat(name).toordinal()


def check_roster(car: Car, sheet: Sheet) -> None:
    """How many people may sign on, now."""
    if car.trust.locker.locked:
        sheet.skip("roster", _LOCKED)
        return
    found = _load(car)
    if found is None:
        sheet.fail("roster", _NONE, _DOCK)
        return
    roster, now = found.roster, car.now()
    RosterBook().load(roster)  # the daemon would not start with one that it cannot use
    able = sum(
        person.training_expires > now and person.authorised_until > now for person in roster.people
    )
    if roster.expires <= now:
        sheet.fail(
            "roster",
            f"the roster ended {(now - roster.expires) / timedelta(hours=1):.0f} hours ago",
            _DOCK,
            people=len(roster.people),
            able=able,
        )
        return
    sheet.judge(
        "roster",
        f"{len(roster.people)} people, {able} of them trained and authorised today",
        fail=able == 0,
        remedy="renew training or authorisation of people at central (alprd-central people), "
        f"publish, then {_DOCK}",
        people=len(roster.people),
        able=able,
        hours_left=round((roster.expires - now) / timedelta(hours=1), 1),
    )


def check_permit(car: Car, sheet: Sheet) -> None:
    """What is left of the permit to collect (R-13.824-6-6)."""
    with _queue(car) as queue:
        row = queue.execute("SELECT value FROM meta WHERE key = 'permit'").fetchone()
    if row is None:
        sheet.fail("permit", "this car has no permit to collect", _DOCK)
        return
    trust, now = car.trust, car.now()
    try:
        document = SignedDocument.model_validate_json(row[0])
        permit = verify_document(document, "permit", trust.receipt_key, Permit)
        if (permit.agency, permit.vehicle) != (trust.agency, trust.vehicle):
            raise SignatureError("permit is for another car")
    except (AlprdError, ValidationError):
        sheet.fail("permit", "the kept permit does not verify", f"{_DOCK}, for a new one")
        return
    left = permit.expires - now
    hours = left / timedelta(hours=1)
    if permit.suspended and permit.reason == "notice":
        sheet.fail(
            "permit",
            "the notice of this reader to the BCA is not on record (Minn. Stat. 13.824 subd. 8)",
            f"the office records it at central; then {_DOCK}",
            suspended=True,
        )
        return
    if permit.suspended:
        sheet.fail(
            "permit",
            "collection is suspended by order (Minn. Stat. 13.824 subd. 6)",
            f"it resumes when the order is lifted at central; then {_DOCK}",
            suspended=True,
        )
        return
    lapsed = left <= timedelta(0) or now < permit.not_before
    sheet.judge(
        "permit",
        f"{hours:.1f} hours left" if not lapsed else f"not live: its time ends {permit.expires:%c}",
        fail=lapsed,
        warn=left < PERMIT_WARN,
        remedy=f"check the clock; {_DOCK}, which renews it",
        hours_left=round(hours, 2),
        suspended=False,
    )


def check_queue(car: Car, sheet: Sheet) -> None:
    """The queue's database: whole, reconciled, and how much waits; opened read-only."""
    if not (car.state / "queue.db").exists():
        sheet.skip("queue", "no queue yet: the daemon has not run")
        return
    oldest = None
    try:
        with _queue(car) as queue:
            whole = queue.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
            if whole:
                oldest = queue.execute("SELECT min(destroy_by) FROM reads").fetchone()[0]
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):  # locked, or no leave to read
            raise
        whole = False
    if not whole:
        sheet.fail(
            "database",
            f"{car.state / 'queue.db'} is damaged",
            "restart the daemon: it moves the file aside and keeps what can be read; then look at "
            "the disk's health (smartctl)",
        )
        return
    sheet.ok("database", "whole")
    counts = look(car.state)
    left = counts["committed"] - counts["receipted"] - counts["expired"] - counts["lost"]
    sheet.judge(
        "ledger",
        f"{counts['pending']} reads wait for central"
        if left == counts["pending"]
        else f"{counts['pending']} reads wait, the ledger says {left}",
        fail=left != counts["pending"],
        remedy="tell the Administration Supervisor: reads were lost or added outside of alprd",
        pending=counts["pending"],
        lost=counts["lost"],
        oldest_destroy_by=oldest,
    )
    aside = sorted(path.name for path in car.state.glob("queue.damaged-*.db"))
    if aside:
        sheet.warn(
            "damaged",
            f"{len(aside)} damaged queue(s) lie aside",
            "look at the disk's health (smartctl); the daemon destroys them with their reads' life",
            files=len(aside),
        )


@contextmanager
def _queue(car: Car) -> Iterator[sqlite3.Connection]:
    """The queue, read-only and beside a daemon that may be writing."""
    path = car.state / "queue.db"
    if not path.exists():
        raise StoreError(f"{path} is not there", remedy="start the daemon once: alprd run")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        yield connection
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} cannot be read: {error}",
            remedy="restart the daemon: it moves a damaged queue aside and begins a new one",
        ) from error
    finally:
        connection.close()
