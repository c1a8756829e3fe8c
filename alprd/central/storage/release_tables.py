"""Tables of releases to other agencies and of requests of others (460.7)."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, String, Table, Text

from alprd.central.storage.db import UtcTime, main

agencies = Table(
    "agencies",
    main,
    # Who may receive reads; a row is retired, never removed.
    Column("id", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

releases = Table(
    "releases",
    main,
    # Request, decision, package and receipt; what people wrote only inside `sealed` (R-460.7-c).
    Column("id", String(32), primary_key=True),
    Column("agency", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("asked_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

released = Table(
    "released",
    main,
    # The exact scope by record id; it outlives the reads, for later orders (R-460.7-d).
    Column("release", String(32), primary_key=True),
    Column("read", String(32), primary_key=True),
    Index("released_by_read", "read"),
)

recipient_orders = Table(
    "recipient_orders",
    main,
    # What a recipient must do with records it has; kind and reads only inside `sealed`.
    Column("id", String(32), primary_key=True),
    Column("release", String(32), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

outside_requests = Table(
    "outside_requests",
    main,
    # Requests of anyone but law enforcement (R-460.7-f); who asks for what only inside `sealed`.
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("due_at", UtcTime),
    Column("sealed", LargeBinary, nullable=False),
)

attachments = Table(
    "attachments",
    main,
    # Written requests, receipts and letters as they came, sealed; in the act's own transaction.
    Column("id", String(32), primary_key=True),
    Column("owner", String(32), nullable=False, index=True),
    Column("name", String(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
