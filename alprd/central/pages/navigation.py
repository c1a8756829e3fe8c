"""The menu: what a person's role may see, in groups; drawn from the inventory of routes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from alprd.central.pages import inventory
from alprd.central.staff.permissions import may
from alprd.wire import Person

HERE: ContextVar[str] = ContextVar("alprd_central_path", default="")
"""Path of the request that is being answered."""

MENU: Final = (
    (
        "Daily work",
        (
            ("Today", "/"),
            ("Cars", "/cars"),
            ("Lists", "/lists"),
            ("Categories", "/categories"),
            ("Additional entries", "/additional"),
        ),
    ),
    (
        "Stored reads",
        (
            ("Search", "/search"),
            ("Legal bases", "/bases"),
            ("Case links", "/links"),
            ("Holds", "/holds"),
            ("Imports", "/imports"),
            ("Retention schedule", "/schedule"),
        ),
    ),
    (
        "Going out",
        (
            ("Releases", "/releases"),
            ("Agencies", "/agencies"),
            ("Orders to recipients", "/recipient-orders"),
            ("Requests of others", "/requests"),
        ),
    ),
    ("Private requests", (("Address confidentiality", "/confidentiality"),)),
    (
        "Oversight",
        (
            ("People", "/people"),
            ("Audit trail", "/trail"),
            ("Compliance", "/compliance"),
            ("Biennial audits", "/audits"),
            ("Breach file", "/incidents"),
            ("Security assessments", "/assessments"),
            ("Weekly reports", "/reports"),
            ("Notices", "/notices"),
            ("Readers and notices", "/readers"),
            ("Fixed locations", "/fixed-locations"),
            ("Openness", "/openness"),
            ("Suspension", "/suspension"),
            ("Public log", "/public/index.html"),
        ),
    ),
)

Item = tuple[str, str, bool]
"""Label, path, and whether it is the page in sight."""


def menu(person: Person) -> list[tuple[str, list[Item]]]:
    """The groups with something in them; a page that does not exist is in none."""
    here = HERE.get()
    groups = []
    for name, items in MENU:
        seen = [(label, path, _within(here, path)) for label, path in items if _open(person, path)]
        if seen:
            groups.append((name, seen))
    return groups


def _open(person: Person, path: str) -> bool:
    entry = inventory.find("GET", path)
    return entry is not None and (entry.public or may(person, *entry.acts))


def _within(here: str, path: str) -> bool:
    return here == path or (path != "/" and here.startswith(f"{path}/"))
