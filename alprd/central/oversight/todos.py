"""The first page's list of what needs a person today: every area's source, and who sees what."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

from alprd.central.oversight import (
    assessments,
    audits,
    todo_cars,
    todo_office,
    todo_oversight,
    todo_public,
    todo_records,
    todo_store,
)
from alprd.central.oversight.todo import Source, Todo
from alprd.central.staff.permissions import Act, may
from alprd.central.storage.store import Central
from alprd.errors import AlprdError
from alprd.wire import Person

log: Final = logging.getLogger("alprd.central.oversight.todos")

SOURCES: Final[tuple[Source, ...]] = (
    todo_store.alarms,
    todo_store.destruction,
    todo_store.certificates,
    todo_cars.cars,
    todo_cars.orders_waiting,
    todo_office.lists,
    todo_office.entries,
    todo_office.exempted,
    todo_office.members,
    todo_oversight.releases,
    todo_oversight.requests,
    todo_oversight.compliance_reports,
    todo_oversight.subject_lookups,
    audits.todos,
    assessments.todos,
    todo_records.searches,
    todo_public.bca,
    todo_public.withheld,
    todo_public.suspension,
    todo_records.private,
    todo_records.resets,
)
"""Each area's own; a new area adds its function here."""
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def for_person(central: Central, person: Person, now: datetime) -> list[Todo]:
    """What this person can do something about, most urgent first.

    A source that fails is a line of its own: silence must mean that nothing waits.
    """
    found: list[Todo] = []
    for source in SOURCES:
        try:
            with central.database.read() as tx:
                found += source(central, tx, now)
        except AlprdError as error:
            name = source.__name__.replace("_", " ")
            log.error("ALARM: %s could not be looked at (%s)", name, type(error).__name__)
            found.append(Todo("Central", f"{name}: could not be looked at", "/", (Act.PAGES,)))
    mine = [one for one in found if may(person, *one.acts)]
    return sorted(mine, key=lambda one: (one.urgency != "now", one.due or _LAST))
