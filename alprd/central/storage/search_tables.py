"""Tables of searches: what accumulates of one plate, legal bases, notices, reviews of reasons.

No plate stands in any of them: a searched plate appears as a keyed digest that is dropped after
30 days, and what a person wrote lies sealed (R-AT-4).
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, LargeBinary, String, Table

from alprd.central.storage.db import UtcTime, main

searched = Table(
    "searched",
    main,
    # By the number of the search's event in the trail.
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False, index=True),
    Column("person", String(64), nullable=False),
    # Keyed digest of the folded plate or pattern; none for a search by place.
    Column("mark", LargeBinary, index=True),
    Column("pattern", Boolean, nullable=False),
    # Keyed digests of case and texts, so that a text that is used for another case is noticed.
    Column("case_mark", LargeBinary, nullable=False),
    Column("facts_mark", LargeBinary, nullable=False),
    Column("suspicion_mark", LargeBinary, nullable=False),
)

legal_bases = Table(
    "legal_bases",
    main,
    # Warrants and exigencies for searches; court, facts and case only inside `sealed`.
    Column("id", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("entered_at", UtcTime, nullable=False),
    Column("entered_by", String(64), nullable=False),
    Column("ends_at", UtcTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

notices = Table(
    "notices",
    main,
    # What the supervisor must look at; ids and codes only.
    Column("id", String(32), primary_key=True),
    Column("at", UtcTime, nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("about", String(64), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("detail", String(200), nullable=False),
    Column("done_at", UtcTime),
    Column("done_by", String(64)),
    Column("sealed", LargeBinary),
)

reason_reviews = Table(
    "reason_reviews",
    main,
    # The monthly sample of reasons: one row for each drawn search (R-13.824-7-2).
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("month", String(7), nullable=False, index=True),
    Column("person", String(64), nullable=False),
    Column("drawn_at", UtcTime, nullable=False),
    Column("finding", String(8)),
    Column("reviewed_at", UtcTime),
    Column("reviewer", String(64)),
    Column("sealed", LargeBinary),
)
