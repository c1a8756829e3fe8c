"""On PostgreSQL the keys of reads are held in parts by day; what must be rewritten; fresh keys."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    op.create_table(
        "key_rewrites",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "fresh_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _in_parts()


def _in_parts() -> None:
    run = op.get_bind()
    op.rename_table("read_keys", "read_keys_before")
    op.execute("ALTER INDEX read_keys_pkey RENAME TO read_keys_before_pkey")
    op.execute("DROP INDEX ix_read_keys_hour")
    op.execute(
        "CREATE TABLE read_keys (LIKE read_keys_before INCLUDING DEFAULTS, "
        "PRIMARY KEY (id, hour)) PARTITION BY RANGE (hour)"
    )
    op.execute("CREATE INDEX ix_read_keys_hour ON read_keys (hour)")
    days = run.execute(sa.text("SELECT DISTINCT hour::date FROM read_keys_before")).all()
    for (day,) in days:
        op.execute(
            f"CREATE TABLE read_keys_d{day.isoformat().replace('-', '')} PARTITION OF read_keys "
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    op.execute("INSERT INTO read_keys SELECT * FROM read_keys_before")
    op.drop_table("read_keys_before")
