"""The car's health as the office gets it, out of what ``/healthz`` tells (:mod:`alprd.health`).

Nothing is gathered anew here: the document is already free of plates, places and countable reads
(R-460.5-b4). Added are the versions in force, the hour in which the first waiting read must be
destroyed, and the certificate's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from alprd.errors import StoreError
from alprd.renewal import expiry
from alprd.store import Store
from alprd.targets import TargetSet
from alprd.trust import Trust
from alprd.wire import CameraHealth, CarHealth

_MOST = 100
_LONGEST = 300


def car_report(
    document: Mapping[str, Any], *, trust: Trust, store: Store, targets: TargetSet | None
) -> CarHealth:
    """The report for central.

    Args:
        document: of :meth:`alprd.health.Health.report`.
    """
    clock, gps = document["clock"], document["gps"]
    (oldest,) = store.rows("SELECT min(destroy_by) FROM reads")[0]
    try:
        ends: datetime | None = expiry(trust)
    except StoreError:
        ends = None
    return CarHealth(
        agency=trust.agency,
        vehicle=trust.vehicle,
        at=datetime.fromisoformat(clock["utc"]),
        at_trusted=bool(clock["trusted"]),
        version=str(document["version"])[:64],
        uptime_s=document["uptime_s"],
        collecting=document["collecting"],
        problems=_short(document["problems"]),
        warnings=_short(document["warnings"]),
        cameras=tuple(
            CameraHealth(name=one["name"], up=one["up"], age_s=one["age_s"])
            for one in document["cameras"]
        ),
        gps_fix=gps["fix"],
        gps_age_s=gps["age_s"],
        system_error_s=clock["system_error_s"],
        disk_free_bytes_at_least=document["disk"]["free_bytes_at_least"],
        oldest_destroy_by=None if oldest is None else _hour(oldest),
        lists=dict(targets.versions) if targets else {},
        certificate_expires=ends,
    )


def _short(texts: list[str]) -> tuple[str, ...]:
    return tuple(text[:_LONGEST] for text in texts[:_MOST])


def _hour(stamp: str) -> datetime:
    """The hour of a queued destroy-by (UTC text of the store)."""
    found = datetime.fromisoformat(stamp).astimezone(UTC)
    return found.replace(minute=0, second=0, microsecond=0)
