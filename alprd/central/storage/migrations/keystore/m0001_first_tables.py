"""The tables of the programs before there were migrations; those that are there are left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    op.create_table(
        "hour_keys",
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hour"),
        if_not_exists=True,
    )
    op.create_table(
        "intake_keys",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("public", sa.String(length=128), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day"),
        sa.UniqueConstraint("key_id"),
        if_not_exists=True,
    )
    op.create_table(
        "keepers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "kept_keys",
        sa.Column("keeper", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("keeper", "id"),
        if_not_exists=True,
    )
    op.create_table(
        "read_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_read_keys_hour"), "read_keys", ["hour"], unique=False, if_not_exists=True
    )

    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
