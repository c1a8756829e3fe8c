"""Instants of the cars' trails, so that a page of the trail is found by an index."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_UNKNOWN = datetime(1970, 1, 1)
_CHUNK = 500


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    with op.batch_alter_table("car_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("at", sa.DateTime(), nullable=True))

    bind = op.get_bind()
    table = sa.table(
        "car_events",
        sa.column("enrolment", sa.String()),
        sa.column("seq", sa.Integer()),
        sa.column("document", sa.Text()),
        sa.column("at", sa.DateTime()),
    )
    fill = (
        table.update()
        .where(table.c.enrolment == sa.bindparam("of"), table.c.seq == sa.bindparam("number"))
        .values(at=sa.bindparam("instant"))
    )
    missing = sa.select(table.c.enrolment, table.c.seq, table.c.document)
    missing = missing.where(table.c.at.is_(None)).limit(_CHUNK)
    while rows := bind.execute(missing).all():
        bind.execute(
            fill,
            [{"of": row[0], "number": row[1], "instant": _instant(row[2])} for row in rows],
        )

    with op.batch_alter_table("car_events", schema=None) as batch_op:
        batch_op.alter_column("at", existing_type=sa.DateTime(), nullable=False)
        batch_op.create_index(batch_op.f("ix_car_events_at"), ["at"], unique=False)


def _instant(document: str) -> datetime:
    """Of a car's event; one that cannot be read is told by the check of the trail."""
    try:
        at = datetime.fromisoformat(json.loads(document)["at"])
        return at.astimezone(UTC).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        return _UNKNOWN
