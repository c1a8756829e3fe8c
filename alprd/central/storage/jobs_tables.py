"""The table of long work that pages start (:mod:`alprd.central.upkeep.jobs`)."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, Text

from alprd.central.storage.db import UtcTime, main

jobs = Table(
    "jobs",
    main,
    # Long work that a page started, and how far it is (alprd.central.upkeep.jobs).
    Column("id", String(32), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("started_by", String(64), nullable=False),
    Column("ended_at", UtcTime),
    Column("worker", String(128), nullable=False),
    Column("text", Text, nullable=False),
    Column("link", String(128), nullable=False),
)
