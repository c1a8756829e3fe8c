"""What needs a person for the public and the BCA: notices, reviews, the published entry."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final

from sqlalchemy import Connection, select

from alprd.central.oversight.todo import Todo, Urgency, several
from alprd.central.public import bcanotices, fixedplaces, readers
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.store import Central

_KEEP: Final = (Act.READERS_KEEP,)
_MOST: Final = 6


def bca(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Notices that are owed, the last day of each; the comparison of the published entry."""
    today, zone = readers.today(central), central.config.zone()
    owed = []
    for duty in bcanotices.owed(central, tx):
        late = today > duty.due
        told = f"{duty.device}: notice of {duty.what} "
        told += "is overdue, the reader may not collect" if late else f"is due on {duty.due}"
        urgent: Urgency = "now" if today >= duty.due - timedelta(days=3) else "soon"
        end = datetime.combine(duty.due, time(23, 59), zone).astimezone(UTC)
        owed.append(Todo("Notices to the BCA", told, "/readers", _KEEP, urgent, end))
    found = several(owed, _MOST, "notices to the BCA are owed", "/readers", _KEEP)
    checks = bcanotices.checks(tx)
    if readers.register(tx) and (not checks or checks[0].checked_at < now - bcanotices.CHECK_EVERY):
        text = "compare the BCA's published entry with the register"
        found.append(Todo("Notices to the BCA", text, "/readers", _KEEP, "soon"))
    elif checks and checks[0].agrees == "no":
        text = "the BCA's published entry did not agree with the register"
        found.append(Todo("Notices to the BCA", text, "/readers", _KEEP))
    return found


def withheld(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Withheld locations whose determination is to be reviewed (§ 13.37)."""
    overdue = fixedplaces.overdue(central, tx, readers.today(central))
    acts = (Act.PLACE_WITHHOLD,)
    return [
        Todo(
            "Fixed locations",
            f"the withholding of a location of {one.device} is to be reviewed",
            "/fixed-locations",
            acts,
        )
        for one in overdue
    ]


def suspension(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """All readers are suspended: nobody may forget it (R-13.824-6-6)."""
    table = db.suspensions
    since = tx.scalar(
        select(table.c.ordered_at).where(table.c.vehicle == "", table.c.lifted_at.is_(None))
    )
    if since is None:
        return []
    text = "all readers are suspended by order"
    return [Todo("Suspension", text, "/suspension", (Act.CAR_ORDER,), "now", since)]
