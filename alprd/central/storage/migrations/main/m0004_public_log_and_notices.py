"""Public log and notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alprd.central.storage.public_tables import APPEND_ONLY, append_only_statements

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    op.create_table(
        "bca_checks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("checked_at", sa.DateTime(), nullable=False),
        sa.Column("checked_by", sa.String(length=64), nullable=False),
        sa.Column("published", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("agrees", sa.String(length=3), nullable=False),
        sa.Column("note", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "bca_notices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.String(length=32), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=False),
        sa.Column("sent_by", sa.String(length=64), nullable=False),
        sa.Column("how", sa.String(length=32), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("receipt_sha256", sa.String(length=64), nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("bca_notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bca_notices_device"), ["device"], unique=False)

    op.create_table(
        "bca_reminders",
        sa.Column("duty", sa.String(length=128), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("given_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("duty", "day"),
    )
    op.create_table(
        "fixed_events",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("on_day", sa.String(length=10), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("fixed_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fixed_events_device"), ["device"], unique=False)
        batch_op.create_index(batch_op.f("ix_fixed_events_entry"), ["entry"], unique=False)

    op.create_table(
        "hidden_sources",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("citation", sa.String(length=200), nullable=False),
        sa.Column("flagged_by", sa.String(length=64), nullable=False),
        sa.Column("flagged_at", sa.DateTime(), nullable=False),
        sa.Column("lifted_by", sa.String(length=64), nullable=True),
        sa.Column("lifted_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("hidden_sources", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hidden_sources_source"), ["source"], unique=False)

    op.create_table(
        "protected_cases",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("citation", sa.String(length=200), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "public_log",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=True),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("public_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_public_log_session"), ["session"], unique=False)
        batch_op.create_index(
            "public_log_one_row_a_session",
            ["session"],
            unique=True,
            sqlite_where=sa.text("kind = 'session'"),
            postgresql_where=sa.text("kind = 'session'"),
        )

    op.create_table(
        "readers",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("what", sa.String(length=200), nullable=False),
        sa.Column("installed", sa.String(length=10), nullable=True),
        sa.Column("first_used", sa.String(length=10), nullable=True),
        sa.Column("retired", sa.String(length=10), nullable=True),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "redactions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("treatment", sa.String(length=16), nullable=False),
        sa.Column("citation", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("redactions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_redactions_field"), ["field"], unique=False)

    # Rows of these are only added. A later revision that makes one of them anew (SQLite's batch
    # mode does) must put its triggers back.
    for name in APPEND_ONLY:
        for statement in append_only_statements(name, op.get_bind().dialect.name):
            op.execute(statement)
