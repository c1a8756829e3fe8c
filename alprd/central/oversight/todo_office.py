"""What needs a person in the office: lists, additional entries, links and holds, people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from alprd.central.hotlists import additional, gate
from alprd.central.oversight.todo import Todo, Urgency, several
from alprd.central.records import exemptions
from alprd.central.staff import memberlog, people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.store import Central

SOON: Final = timedelta(days=30)
REVIEW_SOON: Final = timedelta(days=14)
_MOST: Final = 6
_LISTS: Final = (Act.LISTS_WORK,)
_LINKS: Final = (Act.LINK_DECIDE,)
_HOLDS: Final = (Act.HOLD_PLACE,)
_PEOPLE: Final = (Act.PEOPLE_RECORD, Act.PEOPLE_AUTHORISE)


def lists(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Lists past their age, imports that wait, codes nobody has mapped (R-460.4.1-b4)."""
    policy = central.config.policy
    found = []
    for used in tx.execute(select(db.lists.c.list_id, db.lists.c.supplied_at)):
        age = gate.age_hours(used.supplied_at, now)
        if age > policy.list_stop_hours:
            text = f"{used.list_id} is {age:.0f} hours old: cars match nothing with it"
            found.append(Todo("Lists", text, "/lists", _LISTS, "now", used.supplied_at))
        elif age > policy.list_warn_hours:
            text = f"{used.list_id} is {age:.0f} hours old: cars warn"
            found.append(Todo("Lists", text, "/lists", _LISTS, "soon", used.supplied_at))
    for waiting in gate.waiting(tx):
        row, held = gate.report(central, tx, waiting.id)
        codes = sum(f.code == "unmapped" for f in held.findings)
        what = "has codes without a column" if codes else "waits for a decision"
        text = f"an import of {row.list_id} {what}; the list in use stays"
        link = f"/lists/held/{row.id}"
        found.append(Todo("Lists", text, link, _LISTS, "now", row.held_at))
    return found


def entries(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Additional entries to be decided, and exigent circumstances to be reviewed."""
    asked = reviews = 0
    for entry in additional.entries(central, tx):
        asked += entry.stands(now) == "requested"
        reviews += entry.review_due(now)
    found = []
    if asked:
        text = f"{asked} additional entr{'y waits' if asked == 1 else 'ies wait'} for approval"
        found.append(Todo("Additional entries", text, "/additional", (Act.ENTRY_APPROVE,)))
    if reviews:
        text = f"{reviews} exigent circumstances need the written review after them"
        found.append(Todo("Additional entries", text, "/additional", (Act.ENTRY_REVIEW,)))
    return found


def exempted(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Links and holds: to decide, to review, and holds whose cars have not uploaded yet."""
    table = db.exemptions
    rows = tx.execute(
        select(table.c.id, table.c.kind, table.c.state, table.c.opened_at, table.c.due_at)
        .where(table.c.state.in_(["requested", *exemptions.LIVE]))
        .order_by(table.c.due_at, table.c.opened_at)
    ).all()
    found = []
    for row in rows:
        opened = f"{row.opened_at.astimezone(central.config.zone()):%Y-%m-%d}"
        link = f"/{'links' if row.kind == 'case' else 'holds'}/{row.id}"
        if row.state == "requested":
            text = f"a link asked for on {opened} waits for approval by another"
            found.append(Todo("Case links", text, link, _LINKS, "now", row.opened_at))
        elif row.due_at is not None and row.due_at <= now + REVIEW_SOON:
            what = "review" if row.state == "active" else "decision on its end"
            urgency: Urgency = "now" if row.due_at <= now else "soon"
            tense = "is overdue" if row.due_at <= now else "comes due"
            text = f"the {what} of the link of {opened} {tense}"
            found.append(Todo("Case links", text, link, _LINKS, urgency, row.due_at))
        elif row.kind == "hold" and row.state == "active":
            cars = len(exemptions.find(central, tx, row.id, "hold").orders)
            if cars:
                text = f"the hold of {opened} waits for what {cars} cars may still bring"
                found.append(Todo("Holds", text, link, _HOLDS, "soon", row.opened_at))
    return several(found, _MOST * 2, "links and holds", "/links", _LINKS)


def members(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Trainings, authorisations and assignments that end, and what is missing of a person."""
    found = []
    for person in people.everyone(tx):
        facts = memberlog.history(tx, person.id)
        dates = [("training", person.training_expires), ("authorisation", person.authorised_until)]
        if memberlog.ASSIGNED_ROLE in person.roles:
            ends = [fact.ends for fact in facts if fact.kind == "assignment"][:1]
            dates += [("assignment", end) for end in ends if end is not None]
        for what, date in dates:
            if date - now >= SOON:
                continue
            tense = "has ended" if date <= now else "ends"
            urgency: Urgency = "now" if date <= now else "soon"
            text = f"{what} of {person.name} {tense}"
            found.append(Todo("People", text, f"/people/{person.id}", _PEOPLE, urgency, date))
        if not any(fact.kind == "screening" for fact in facts):
            text = f"{person.name}: no completed screening is on record"
            found.append(Todo("People", text, f"/people/{person.id}", _PEOPLE))
    found.sort(key=lambda one: one.urgency != "now")
    return several(found, _MOST, "dates of people", "/people", _PEOPLE)
