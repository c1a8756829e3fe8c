"""Tables of oversight: the collection ledger and the daily compliance reports."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, String, Table, Text

from alprd.central.storage.db import UtcTime, main

collected = Table(
    "collected",
    main,
    # Reads taken in, by UTC day of collection and session; no plates, so it outlives them.
    Column("day", String(10), primary_key=True),
    Column("session", String(48), primary_key=True),
    Column("count", Integer, nullable=False),
)

compliance_reports = Table(
    "compliance_reports",
    main,
    # One for each local day; what it found lies sealed, for it names cars and people.
    Column("day", String(10), primary_key=True),
    Column("made_at", UtcTime, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("signed_at", UtcTime),
    Column("signed_by", String(64)),
    Column("signing", LargeBinary),
)

audits = Table(
    "audits",
    main,
    # Completed biennial audits; results are public, the paper is an attachment.
    Column("id", String(32), primary_key=True),
    Column("completed", String(10), nullable=False),
    Column("document", Text, nullable=False),
)
