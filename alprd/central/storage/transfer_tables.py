"""The register of imports from other agencies (R-460.5-3)."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, Text

from alprd.central.storage.db import UtcTime, main

transfers = Table(
    "transfers",
    main,
    Column("id", String(32), primary_key=True),
    Column("sender", String(200), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("terms", Text, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("received_by", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    # The case link that keeps what was older than its life; empty when nothing was.
    Column("exemption", String(32), nullable=False),
    Column("stored", Integer, nullable=False),
    Column("known", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
)
