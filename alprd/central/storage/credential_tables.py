"""Resets of the sheriff's and supervisors' credentials, which two persons make (R-CJIS-2)."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, String, Table

from alprd.central.storage.db import UtcTime, main

credential_resets = Table(
    "credential_resets",
    main,
    Column("id", String(32), primary_key=True),
    Column("person", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("asked_by", String(64), nullable=False),
    Column("ends_at", UtcTime, nullable=False),
    Column("state", String(16), nullable=False),
    # What comes into force with the approval, and the reason.
    Column("sealed", LargeBinary, nullable=False),
    Column("decided_at", UtcTime),
    Column("decided_by", String(64)),
)
