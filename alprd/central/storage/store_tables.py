"""Tables of the store's own work."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Integer, String, Table

from alprd.central.storage.db import UtcTime, main

leases: Final = Table(
    "leases",
    main,
    Column("name", String(32), primary_key=True),
    # A worker's own random id; its host's name is in the trail.
    Column("holder", String(64), nullable=False),
    # Raised whenever the lease goes to another holder: an older number is refused.
    Column("token", Integer, nullable=False),
    Column("ends_at", UtcTime, nullable=False),
)

workers: Final = Table(
    "workers",
    main,
    # Running workers: a new one sees whether it has the same home (alprd.central.storage.sharing).
    Column("id", String(64), primary_key=True),
    Column("host", String(64), nullable=False),
    Column("ends_at", UtcTime, nullable=False),
)
