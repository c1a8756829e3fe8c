"""The table of the reports of rejected lines (:mod:`alprd.central.hotlists.rejections`)."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from alprd.central.storage.db import UtcTime, main

rejections = Table(
    "rejections",
    main,
    # One report; it lies sealed in <home>/rejected/<id>, its key in the keystore.
    Column("id", String(32), primary_key=True),
    Column("list_id", String(64), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("lines", Integer, nullable=False),
)
