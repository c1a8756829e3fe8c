"""What the public export of the trail withholds, field by field, as data (R-AT-5, T-7).

The trail is public to the extent that nothing else classifies it. Each field has a default with its
citation; the administration supervisor may change it when a court or the commissioner rules, with
citation and reason, and no code changes. Every change is a row of its own and in the trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, delete, func, insert, select

from alprd.central.public.sources import cited
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import mac
from alprd.central.storage.public_tables import protected_cases, redactions
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Person

Treatment = Literal["public", "withheld"]
SUBD_7: Final = "Minn. Stat. § 13.824, subd. 7(c)"


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the export."""

    name: str
    what: str
    treatment: Treatment
    citation: str


FIELDS: Final = (
    Field("date", "local date", "public", SUBD_7),
    Field("time", "local time with its distance from UTC", "public", SUBD_7),
    Field("user", "user id of who acted", "public", SUBD_7),
    Field("action", "what was done", "public", SUBD_7),
    Field("purpose", "purpose of a search", "public", SUBD_7),
    Field("case_number", "number stated, unless its case is protected", "public", SUBD_7),
    Field("stated_reason", "offence stated for a search", "public", SUBD_7),
    Field("result_count", "how many reads a search gave", "public", SUBD_7),
    Field("searched", "networks and devices searched", "public", SUBD_7),
    Field("time_from", "start of the time frame searched", "public", SUBD_7),
    Field("time_to", "end of the time frame searched", "public", SUBD_7),
    Field("plate", "plate searched for", "withheld", "Minn. Stat. § 13.824, subd. 2(b)"),
    Field("filters", "what else narrowed a search", "withheld", "Minn. Stat. § 13.824, subd. 2(b)"),
    Field("statement", "facts and suspicion in the searcher's words", "withheld",
          "Minn. Stat. § 13.82, subd. 7"),
)  # fmt: skip
NAMES: Final = tuple(field.name for field in FIELDS)


def in_force(tx: Connection) -> dict[str, Field]:
    """Every field with the treatment that counts now."""
    found = {field.name: field for field in FIELDS}
    for row in tx.execute(select(redactions).order_by(redactions.c.number)):
        if row.field in found:  # a field of a later version is not one of this
            found[row.field] = Field(
                row.field,
                found[row.field].what,
                "withheld" if row.treatment == "withheld" else "public",
                row.citation,
            )
    return found


def put(
    central: Central, person: Person, field: str, treatment: str, citation: str, reason: str
) -> None:
    """Change how a field is treated from now on.

    Raises:
        RefusedError: the role.
        InputError: no such field or treatment, no citation, or no reason.
    """
    now = central.clock()
    people.require(person, Act.REDACTION_SET, now)
    citation, reason = cited(citation), " ".join(reason.split())
    if field not in NAMES or treatment not in ("public", "withheld"):
        raise InputError(f"the field is one of {', '.join(NAMES)}; it is public or withheld")
    if not 10 <= len(reason) <= 500:
        raise InputError("say in 10 to 500 characters why it changes")
    with central.database.write() as tx:
        before = in_force(tx)[field]
        number = (tx.scalar(select(func.max(redactions.c.number))) or 0) + 1
        tx.execute(
            insert(redactions).values(
                number=number, field=field, treatment=treatment, citation=citation, reason=reason,
                set_by=person.id, set_at=now,
            )
        )  # fmt: skip
        central.trail.record(
            tx,
            Event.REDACTION_SET,
            people.actor(person),
            at=now,
            detail={
                "field": field, "treatment": treatment, "citation": citation, "reason": reason,
                "before": before.treatment,
            },
        )  # fmt: skip


def protect(central: Central, person: Person, case: str, citation: str) -> None:
    """Withhold a case number in every export from now on; only its keyed digest is kept.

    Raises:
        RefusedError: the role.
        InputError: no number, or no citation.
    """
    now = central.clock()
    people.require(person, Act.REDACTION_SET, now)
    citation, mark = cited(citation), _mark(central, case)
    with central.database.write() as tx:
        if mark in protected(tx):
            raise InputError("the case is protected already")
        tx.execute(
            insert(protected_cases).values(
                digest=mark, citation=citation, set_by=person.id, set_at=now
            )
        )
        _record(central, tx, person, now, {"protected": True, "citation": citation})


def unprotect(central: Central, person: Person, case: str) -> None:
    """Show a case number again.

    Raises:
        RefusedError: the role.
        InputError: it is not protected.
    """
    now = central.clock()
    people.require(person, Act.REDACTION_SET, now)
    mark = _mark(central, case)
    with central.database.write() as tx:
        if (
            tx.execute(delete(protected_cases).where(protected_cases.c.digest == mark)).rowcount
            == 0
        ):
            raise InputError("the case is not protected")
        _record(central, tx, person, now, {"protected": False})


def protected(tx: Connection) -> dict[str, str]:
    """Citation by the keyed digest of a case number."""
    return {row.digest: row.citation for row in tx.execute(select(protected_cases))}


def mark_of(central: Central, case: str) -> str:
    """Keyed digest of a case number, however it is spaced."""
    plain = "".join(letter for letter in case.upper() if letter.isalnum())
    return mac(central.keystore.purpose_key("protected cases"), plain.encode()).hex()


def _mark(central: Central, case: str) -> str:
    if not any(letter.isdigit() for letter in case) or len(case) > 64:
        raise InputError("the case number is missing")
    return mark_of(central, case)


def _record(
    central: Central, tx: Connection, person: Person, now: datetime, detail: dict[str, Any]
) -> None:
    central.trail.record(tx, Event.CASE_PROTECTED, people.actor(person), at=now, detail=detail)
