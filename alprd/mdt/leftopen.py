"""The end of a sign-on that a stop, a crash or a power cut took with it.

Sign-ons live in RAM, so none outlives the process. Without this the trail would say until the next
sign-on that somebody was signed on in a car that stood in a garage (R-460.6-f, R-AT-1).
"""

from __future__ import annotations

from alprd.audit import DAEMON, Event
from alprd.store import Store
from alprd.wire import AuditEvent

REASON = "restarted"


def close_left_open(store: Store) -> bool:
    """Record that the last sign-on is over, if the trail does not say so; whether it did not.

    Called at the start, before anybody can sign on. The event's own instant is that of the start:
    when the former process ended, the session's last heartbeat tells.

    Raises:
        AuditError: it cannot be recorded.
    """
    rows = store.rows(
        "SELECT event FROM audit WHERE json_extract(event, '$.event') IN (?, ?)"
        " ORDER BY seq DESC LIMIT 1",
        (Event.SIGNED_ON, Event.SIGNED_OFF),
    )
    if not rows:
        return False
    last = AuditEvent.model_validate_json(rows[0][0])
    if last.event != Event.SIGNED_ON:
        return False
    store.record(
        Event.SIGNED_OFF,
        DAEMON,
        detail={"reason": REASON, "person": last.actor, "unit": str(last.detail.get("unit", ""))},
    )
    return True
