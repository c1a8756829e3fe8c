"""Tables of the breach file: incidents, security assessments, how far alarms were looked for."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from alprd.central.storage.db import UtcTime, main

incidents = Table(
    "incidents",
    main,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("discovered_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    # Plates needed for the notice, under a key of their own that dies when the duty is done.
    Column("affected", LargeBinary),
)

assessments = Table(
    "assessments",
    main,
    # The yearly security assessment (§ 13.055 subd. 6); the paper is an attachment.
    Column("id", String(32), primary_key=True),
    Column("done_at", UtcTime, nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("sha256", String(64), nullable=False),
)

watched = Table(
    "watched",
    main,
    # The last event of the trail that was looked at for alarms.
    Column("what", String(32), primary_key=True),
    Column("seq", Integer, nullable=False),
)
