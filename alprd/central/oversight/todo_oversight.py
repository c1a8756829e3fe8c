"""What needs a person about releases, requests of others and compliance reports."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from alprd.central.exchange import outside
from alprd.central.oversight import compliance
from alprd.central.oversight.todo import Todo
from alprd.central.records import recipientorders
from alprd.central.staff.permissions import Act
from alprd.central.storage import release_tables as tables
from alprd.central.storage.store import Central

_SOON = timedelta(days=3)


def releases(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Requests for a release that wait for a decision, a package or a receipt; orders to send."""
    table = tables.releases
    counts = {
        state: number
        for state, number in tx.execute(select(table.c.state, func.count()).group_by(table.c.state))
    }
    found = []
    for state, acts, text in (
        ("asked", (Act.RELEASE_DECIDE,), "wait for review"),
        ("approved", (Act.RELEASE_SEND,), "are approved and not sent"),
        ("sent", (Act.RELEASE_SEND,), "are sent and not confirmed by the recipient"),
    ):
        if counts.get(state):
            found.append(Todo("Releases", f"{counts[state]} {text}", "/releases", acts))
    orders = recipientorders.open_count(tx)
    if orders:
        text = f"{orders} orders to recipients wait to be sent or confirmed"
        found.append(Todo("Releases", text, "/recipient-orders", (Act.RECIPIENT_ORDERS,)))
    return found


def requests(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Requests of others with the date by which they must be answered."""
    table = tables.outside_requests
    rows = tx.execute(
        select(table.c.id, table.c.due_at).where(table.c.state == "open").order_by(table.c.due_at)
    ).all()
    return [
        Todo(
            "Requests",
            "a request is to be answered",
            f"/requests/{row.id}",
            (Act.OUTSIDE_WORK,),
            "now" if row.due_at is None or row.due_at <= now + _SOON else "soon",
            row.due_at,
        )
        for row in rows
    ]


def subject_lookups(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Look-ups of data subjects that wait for a supervisor's word (R-460.7-g)."""
    if not central.config.release.data_subject_opinion:
        return []
    table = tables.outside_requests
    rows = tx.execute(
        select(table.c.id, table.c.due_at)
        .where(table.c.state == "open", table.c.kind == "data_subject")
        .order_by(table.c.due_at)
    ).all()
    found = []
    for row in rows:
        lookup = outside.find(central, tx, row.id).lookup
        if lookup is not None and not lookup.decision:
            text = "a look-up of a data subject waits for a decision"
            link = f"/requests/{row.id}/lookup"
            found.append(Todo("Requests", text, link, (Act.SUBJECT_DECIDE,), "now", row.due_at))
    return found


def compliance_reports(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Daily reports that nobody has signed for days."""
    number = compliance.unsigned(tx, now)
    if not number:
        return []
    text = f"{number} daily compliance reports are not signed"
    return [Todo("Compliance", text, "/compliance", (Act.COMPLIANCE_SIGN,))]
