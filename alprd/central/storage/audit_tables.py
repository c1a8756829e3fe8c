"""Tables beside the trail: the head of each chain, and the weekly exception reports."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from alprd.central.storage.db import UtcTime, main

audit_heads = Table(
    "audit_heads",
    main,
    # The last event of each chain under a key of the agency: else the newest rows could be taken
    # away between two anchors without a trace.
    Column("chain", String(160), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

exception_reports = Table(
    "exception_reports",
    main,
    Column("week", String(8), primary_key=True),
    Column("made_at", UtcTime, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("signed_at", UtcTime),
    Column("signed_by", String(64)),
    Column("signing", LargeBinary),
)
