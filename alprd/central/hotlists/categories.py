"""The category map: each source code to one public-log column, one priority, one clearance.

A supplier marks an entry with a code of its own: the record type of the NCIC extract (``V``), a
state file (``KOPS``), a word (``STOLEN VEHICLE``). The public log knows five columns
(R-460.5.1-c1…-c5), the alert three priorities, the person a clearance (R-460.4-e). The map brings
one to the other: shipped rows for the documented codes, and rows of the agency, set by a named
person, which come before them. A code without a row is *unmapped*, and a list that has one is not
activated until somebody maps it.

Codes are compared in upper case with one space between words, so that ``Stolen  vehicle`` and
``STOLEN_VEHICLE`` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from sqlalchemy import Connection, delete, insert, select

from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Category
from alprd.wire import RESTRICTED, Clearance, Person

Priority = Literal["high", "medium", "low"]
Origin = Literal["shipped", "agency"]

ANY: Final = "*"
"""As a source: the row counts for every source that has no row of its own for the code."""
RECORD_TYPE_SOURCES: Final = frozenset({"ncic", "minnesota", "texas-ncic"})
"""Layouts whose code is the one-letter record type of the NCIC extract."""
COLUMNS: Final[tuple[Category, ...]] = get_args(Category)
INVESTIGATION: Final[Category] = "active_investigative"
"""The column of approved additional entries (:mod:`alprd.central.hotlists.additional`): no list
that is imported can have it, whatever its code is mapped to (R-460.4.1-b2)."""
MAPPABLE: Final = tuple(column for column in COLUMNS if column != INVESTIGATION)
NOT_IMPORTED: Final = frozenset({"ACTIVE INVESTIGATIVE", "ACTIVE INVESTIGATION"})
"""Codes that say so by their name; no row of the map gives them another column."""
WHY_NOT: Final = "entries of an active investigation are asked for, not imported"
ASK_INSTEAD: Final = (
    "ask for each such entry with `alprd-central additional request`, or on the page Additional "
    "entries; another person approves it (R-460.4.1-b2)"
)
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
_MAX_CODE: Final = 64
_SPACES: Final = re.compile(r"[\s_/.-]+")
_SOURCE: Final = re.compile(r"\*|[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a code becomes."""

    column: Category
    priority: Priority
    restricted: bool = False
    """From a restricted file (handled like criminal history): a clearance of its own is needed."""

    @property
    def clearance(self) -> Clearance:
        """What a person must be cleared for, besides the column, to see the alert in full."""
        return RESTRICTED if self.restricted else self.column


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the map, for people."""

    source: str
    code: str
    mapping: Mapping
    origin: Origin
    set_by: str = ""


_RECORD_TYPES: Final[ReadOnly[str, Mapping]] = MappingProxyType(
    {
        "A": Mapping("other_lpdf", "high"),  # Amber alert
        "F": Mapping("other_lpdf", "high"),  # felony vehicle
        "V": Mapping("stolen", "high"),  # stolen vehicle
        "P": Mapping("stolen", "high"),  # stolen plate
        "W": Mapping("owner_warrant", "high"),  # wanted person
        "M": Mapping("other_lpdf", "medium"),  # missing person
        "C": Mapping("other_lpdf", "medium", restricted=True),  # supervised release
        "H": Mapping("other_lpdf", "medium"),  # protection order
        "K": Mapping("other_lpdf", "medium", restricted=True),  # protective interest
        "L": Mapping("other_lpdf", "high", restricted=True),  # violent person
        "N": Mapping("other_lpdf", "low"),  # immigration violator
        "R": Mapping("stolen", "high"),  # Canadian stolen vehicle or plate, or wanted
        "T": Mapping("other_lpdf", "high", restricted=True),  # gang or threat
        "X": Mapping("other_lpdf", "low", restricted=True),  # sex offender
    }
)
_WORDS: Final[ReadOnly[str, Mapping]] = MappingProxyType(
    {
        # Minnesota's state files; their layouts are unverified, so several spellings are known.
        "KOPS": Mapping("other_lpdf", "high"),
        "KOPS ALERT": Mapping("other_lpdf", "high"),
        "KEEPING OUR POLICE SAFE": Mapping("other_lpdf", "high"),
        "WARRANT": Mapping("owner_warrant", "high"),
        "WARRANTS": Mapping("owner_warrant", "high"),
        "MN WARRANT": Mapping("owner_warrant", "high"),
        "MINNESOTA WARRANT": Mapping("owner_warrant", "high"),
        "MINNESOTA WARRANTS": Mapping("owner_warrant", "high"),
        "MN WARRANTS": Mapping("owner_warrant", "high"),
        "SUSPENDED": Mapping("owner_suspended_revoked", "low"),
        "REVOKED": Mapping("owner_suspended_revoked", "low"),
        "CANCELLED": Mapping("owner_suspended_revoked", "low"),
        "CANCELED": Mapping("owner_suspended_revoked", "low"),
        "DISQUALIFIED": Mapping("owner_suspended_revoked", "low"),
        "DAS": Mapping("owner_suspended_revoked", "low"),  # driving after suspension
        "DAR": Mapping("owner_suspended_revoked", "low"),  # … revocation
        "DAC": Mapping("owner_suspended_revoked", "low"),  # … cancellation
        "SUSPENDED DRIVER": Mapping("owner_suspended_revoked", "low"),
        "REVOKED DRIVER": Mapping("owner_suspended_revoked", "low"),
        "CANCELLED DRIVER STATUS": Mapping("owner_suspended_revoked", "low"),
        # Words in the reason or alert field of CSV feeds.
        "AMBER ALERT": Mapping("other_lpdf", "high"),
        "FELONY VEHICLE": Mapping("other_lpdf", "high"),
        "STOLEN": Mapping("stolen", "high"),
        "STOLEN VEHICLE": Mapping("stolen", "high"),
        "STOLEN PLATE": Mapping("stolen", "high"),
        "STOLEN LICENSE PLATE": Mapping("stolen", "high"),
        "WANTED PERSON": Mapping("owner_warrant", "high"),
        "MISSING PERSON": Mapping("other_lpdf", "medium"),
        "SUPERVISED RELEASE": Mapping("other_lpdf", "medium", restricted=True),
        "PROTECTION ORDER": Mapping("other_lpdf", "medium"),
        "PROTECTIVE INTEREST": Mapping("other_lpdf", "medium", restricted=True),
        "VIOLENT PERSON": Mapping("other_lpdf", "high", restricted=True),
        "IMMIGRATION VIOLATOR": Mapping("other_lpdf", "low"),
        "CANADIAN STOLEN": Mapping("stolen", "high"),
        "CANADIAN WANTED": Mapping("owner_warrant", "high"),
        "GANG": Mapping("other_lpdf", "high", restricted=True),
        "THREAT": Mapping("other_lpdf", "high", restricted=True),
        "SEX OFFENDER": Mapping("other_lpdf", "low", restricted=True),
        # The product's own CSV names the column itself.
        "OWNER WARRANT": Mapping("owner_warrant", "high"),
        "OWNER SUSPENDED REVOKED": Mapping("owner_suspended_revoked", "low"),
        "OTHER LPDF": Mapping("other_lpdf", "medium"),
    }
)


def canonical_code(code: str) -> str:
    """A code as it is compared: upper case, one space between words."""
    return _SPACES.sub(" ", code).strip().upper()


class CategoryMap:
    """An immutable snapshot of the map; look-ups cost two dictionary accesses."""

    def __init__(self, rows: ReadOnly[tuple[str, str], Mapping] | None = None) -> None:
        """The shipped map with an agency's own rows, by (source, canonical code)."""
        self._own: Final = dict(rows or {})

    def column(self, source: str, code: str) -> Mapping | None:
        """What an entry with this code becomes, or ``None`` when nobody has mapped it.

        Args:
            source: the layout's name, such as ``ncic``, ``minnesota`` or ``vigilant``.
            code: the code as the supplier writes it.
        """
        source, code = source.lower(), canonical_code(code)
        own = self._own.get((source, code)) or self._own.get((ANY, code))
        if own is not None:
            return own
        if source in RECORD_TYPE_SOURCES and code in _RECORD_TYPES:
            return _RECORD_TYPES[code]
        return _WORDS.get(code)

    def is_asked_for(self, source: str, code: str) -> bool:
        """Whether such entries must be asked for one by one, and never imported."""
        found = self.column(source, code)
        return canonical_code(code) in NOT_IMPORTED or (
            found is not None and found.column == INVESTIGATION
        )


def shipped() -> tuple[Row, ...]:
    """The rows that come with the product, a row for each source that has the code."""
    letters = [
        Row(source, code, mapping, "shipped")
        for source in sorted(RECORD_TYPE_SOURCES)
        for code, mapping in _RECORD_TYPES.items()
    ]
    return (*letters, *(Row(ANY, code, mapping, "shipped") for code, mapping in _WORDS.items()))


def load(tx: Connection) -> CategoryMap:
    """The map in force."""
    return CategoryMap({(row.source, row.code): row.mapping for row in agency_rows(tx)})


def agency_rows(tx: Connection) -> tuple[Row, ...]:
    """The agency's own rows, by source and code."""
    table = db.categories
    found = tx.execute(select(table).order_by(table.c.source, table.c.code))
    return tuple(
        Row(
            row.source,
            row.code,
            Mapping(row.category, row.priority, row.restricted),
            "agency",
            row.set_by,
        )
        for row in found
    )


def set_row(central: Central, person: Person, source: str, code: str, mapping: Mapping) -> Row:
    """Map a code, or map it anew; counts for the next import (R-460.5.1-c5).

    Raises:
        RefusedError: the person may not, has no live training or authorisation, or the row would
            let entries of an active investigation in (R-460.4.1-b2).
        InputError: source or code cannot be.
    """
    now = central.clock()
    people.require(person, Act.CATEGORY_MAP, now)
    source, code = _checked(source, code)
    if code in NOT_IMPORTED or mapping.column == INVESTIGATION:
        raise RefusedError(WHY_NOT, reason="additional_not_imported", remedy=ASK_INSTEAD)
    table = db.categories
    here = (table.c.source == source) & (table.c.code == code)
    with central.database.write() as tx:
        before = load(tx).column(source, code)
        tx.execute(delete(table).where(here))
        tx.execute(
            insert(table).values(
                source=source,
                code=code,
                category=mapping.column,
                priority=mapping.priority,
                restricted=mapping.restricted,
                set_by=person.id,
                set_at=now,
            )
        )
        central.trail.record(
            tx,
            Event.CATEGORY_MAPPED,
            people.actor(person),
            at=now,
            subjects=[source],
            detail={"code": code, "before": _words(before), "after": _words(mapping)},
        )
    return Row(source, code, mapping, "agency", person.id)


def remove_row(central: Central, person: Person, source: str, code: str) -> None:
    """Take the agency's own row away; the shipped one counts again, where there is one.

    Raises:
        RefusedError: the person may not.
        InputError: the agency has no such row.
    """
    now = central.clock()
    people.require(person, Act.CATEGORY_MAP, now)
    source, code = _checked(source, code)
    table = db.categories
    with central.database.write() as tx:
        before = load(tx).column(source, code)
        gone = tx.execute(delete(table).where(table.c.source == source, table.c.code == code))
        if gone.rowcount == 0:
            raise InputError(
                f"the agency has no row of its own for code {code!r} of {source}",
                remedy="see `alprd-central categories list`; shipped rows are overruled only",
            )
        central.trail.record(
            tx,
            Event.CATEGORY_MAPPED,
            people.actor(person),
            at=now,
            subjects=[source],
            detail={
                "code": code,
                "before": _words(before),
                "after": _words(load(tx).column(source, code)),
            },
        )


def _checked(source: str, code: str) -> tuple[str, str]:
    source, code = source.strip().lower(), canonical_code(code)
    if not _SOURCE.fullmatch(source):
        raise InputError(
            "source: not a layout's name", remedy=f"a layout such as ncic, or {ANY} for every one"
        )
    if not code or len(code) > _MAX_CODE or not code.isprintable():
        raise InputError(f"code: give 1 to {_MAX_CODE} printable characters")
    return source, code


def _words(mapping: Mapping | None) -> str:
    """A mapping in the trail."""
    if mapping is None:
        return "unmapped"
    tail = " restricted" if mapping.restricted else ""
    return f"{mapping.column} {mapping.priority}{tail}"
