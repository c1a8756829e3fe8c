"""What needs a person about searches and the trail: notices, legal bases, reports, samples."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from alprd.central.grounds import legalbasis
from alprd.central.oversight.todo import Todo
from alprd.central.records import confidentiality
from alprd.central.staff import notices
from alprd.central.staff.permissions import Act
from alprd.central.storage.audit_tables import exception_reports
from alprd.central.storage.credential_tables import credential_resets
from alprd.central.storage.search_tables import reason_reviews
from alprd.central.storage.store import Central


def searches(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Open notices, exigent circumstances to find or review, reports to sign, reasons to judge."""
    found = []
    waiting = notices.count_open(tx)
    if waiting:
        text = f"{waiting} notice{'s wait' if waiting != 1 else ' waits'} for an answer"
        found.append(Todo("Notices", text, "/notices", (Act.NOTICES,)))
    asked = reviews = 0
    for row in legalbasis.every(central, tx):
        asked += row.stands(now) == "requested"
        reviews += row.review_due(now)
    if asked:
        text = f"{asked} request{'s' if asked != 1 else ''} for exigent circumstances to decide"
        found.append(Todo("Legal bases", text, "/bases", (Act.BASIS_DECIDE,)))
    if reviews:
        text = f"{reviews} exigent circumstances need the written review after them"
        found.append(Todo("Legal bases", text, "/bases", (Act.BASIS_DECIDE,)))
    table = exception_reports
    unsigned = tx.scalar(select(func.count()).select_from(table).where(table.c.signed_at.is_(None)))
    if unsigned:
        text = f"{unsigned} weekly report{'s wait' if unsigned != 1 else ' waits'} for a sign-off"
        found.append(Todo("Audit trail", text, "/reports", (Act.REPORT_SIGN,)))
    rows = reason_reviews
    months = tx.scalars(
        select(rows.c.month).where(rows.c.finding.is_(None)).distinct().order_by(rows.c.month)
    ).all()
    found += [
        Todo("Audit trail", f"the sample of reasons of {month} is not judged whole",
             f"/reasons?month={month}", (Act.REASONS_REVIEW,), "soon")
        for month in months
    ]  # fmt: skip
    return found


def private(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Address-confidentiality requests that need a person: told to the two roles alone."""
    due = confidentiality.due_count(central, tx, now)
    if not due:
        return []
    text = f"{due} request{'s need' if due != 1 else ' needs'} a person"
    link = "/confidentiality?show=due"
    return [Todo("Private requests", text, link, (Act.CONFIDENTIALITY,))]


def resets(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Resets of a sheriff or supervisor that wait for the second person."""
    table = credential_resets
    waiting = tx.scalar(
        select(func.count())
        .select_from(table)
        .where(table.c.state == "asked", table.c.ends_at > now)
    )
    if not waiting:
        return []
    text = f"{waiting} reset{'s wait' if waiting != 1 else ' waits'} for a second person"
    return [Todo("People", text, "/resets", (Act.CREDENTIAL_DECIDE,))]
