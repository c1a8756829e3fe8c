"""On PostgreSQL the reads are held in parts by day; rows that must be rewritten; workers."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    op.create_table(
        "row_rewrites",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _in_parts()


def _in_parts() -> None:
    run = op.get_bind()
    op.rename_table("reads", "reads_before")
    op.execute("ALTER INDEX reads_pkey RENAME TO reads_before_pkey")
    op.execute("DROP INDEX ix_reads_hour")
    op.execute("DROP INDEX ix_reads_destroy_by")
    # The id alone is unique by the arrivals and by the one writer.
    op.execute(
        "CREATE TABLE reads (LIKE reads_before INCLUDING DEFAULTS, PRIMARY KEY (id, hour)) "
        "PARTITION BY RANGE (hour)"
    )
    op.execute("CREATE INDEX ix_reads_hour ON reads (hour)")
    op.execute("CREATE INDEX ix_reads_destroy_by ON reads (destroy_by)")
    for (day,) in run.execute(sa.text("SELECT DISTINCT hour::date FROM reads_before")).all():
        op.execute(
            f"CREATE TABLE reads_d{day.isoformat().replace('-', '')} PARTITION OF reads "
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    op.execute("INSERT INTO reads SELECT * FROM reads_before")
    op.drop_table("reads_before")
