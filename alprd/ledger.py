"""The car's own count of its reads, looked up beside a running daemon without disturbing it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alprd.errors import StoreError
from alprd.wipe import MARKER, read_marker


def look(state_dir: Path) -> dict[str, int]:
    """Counts from the queue's database, opened read-only; no key and no read is touched.

    Returns:
        ``committed, receipted, expired, lost`` of the ledger (lost: taken by damage); ``pending``
        rows in the queue;
        ``sessions_open, sessions_unsent, audit_events``.

    Raises:
        StoreError: there is no database, or it cannot be read; or the car was wiped.
    """
    path = state_dir / "queue.db"
    if not path.exists():
        enrolled = (state_dir / "trust" / "identity.json").exists()  # perhaps anew, after a wipe
        if not enrolled and (marker := read_marker(state_dir)) is not None:
            raise StoreError(
                f"{marker.vehicle} was wiped on {marker.began:%Y-%m-%d %H:%M} UTC: "
                f"nothing is left but the certificate, {state_dir / MARKER}",
                remedy="to use this computer again, enrol it with a new code: alprd enrol",
            )
        raise StoreError(f"{path} is not there", remedy="start the daemon once: alprd run")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            row = connection.execute(
                "SELECT coalesce(sum(committed), 0), coalesce(sum(receipted), 0), "
                "coalesce(sum(expired), 0), coalesce(sum(lost), 0), "
                "(SELECT count(*) FROM reads), "
                "(SELECT count(*) FROM sessions WHERE open = 1), "
                "(SELECT count(*) FROM sessions WHERE open = 0 AND sent = 0), "
                "(SELECT count(*) FROM audit) FROM ledger"
            ).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}", remedy="run alprd doctor") from error
    names = ("committed", "receipted", "expired", "lost", "pending")
    more = ("sessions_open", "sessions_unsent", "audit_events")
    return dict(zip((*names, *more), map(int, row), strict=True))
