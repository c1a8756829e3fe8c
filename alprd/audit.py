"""The car's audit trail: enum of events, hash chain, written in the act's own transaction.

Who, when, where, what, on which records, with what result (R-AT-1, -2); never plate text, only
record ids (R-AT-4). An event that cannot be written raises, so the act fails (R-AT-3).

The digest of event *n* is SHA-256 of the canonical JSON of all its other fields, which include
the digest of event *n-1*; the first event's ``previous`` is 64 zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alprd import __version__
from alprd.crypto import canonical, sha256_hex
from alprd.errors import AuditError
from alprd.wire import AuditEvent

FIRST: Final = "0" * 64
_LATER: Final = frozenset({"local_offset", "address"})
"""Fields that older events do not have; their digests are reckoned without them."""


class Event(StrEnum):
    """Everything the car records."""

    STARTED = "daemon.started"
    STOPPED = "daemon.stopped"
    SIGNED_ON = "person.signed-on"
    SIGN_ON_REFUSED = "person.sign-on-refused"
    SIGNED_OFF = "person.signed-off"
    LOCKED = "person.locked"
    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    COLLECTION_REFUSED = "session.refused"
    SESSION_CORRECTED = "session.corrected"
    ALERT_SHOWN = "alert.shown"
    ALERT_CORRECTED = "alert.corrected"
    ALERT_WITHDRAWN = "alert.withdrawn"
    ALERT_SILENCED = "alert.silenced"
    ALERT_UNSILENCED = "alert.unsilenced"
    ALERT_ACKNOWLEDGED = "alert.acknowledged"
    ALERT_COMPARED = "alert.compared"
    ALERT_MISREAD = "alert.misread"
    ALERT_VERIFIED = "alert.verified"
    ALERT_ACTION_TAKEN = "alert.action-taken"
    ALERT_DISPATCHED = "alert.dispatched"
    ALERT_HANDED_OVER = "alert.handed-over"
    ALERT_PLATE_COPIED = "alert.plate-copied"
    ALERT_CLEARED_PASSED = "alert.cleared-passed"
    ALERT_UNCLEARED = "alert.uncleared"
    ALERT_QUERIED = "alert.queried"
    CATEGORY_SILENCED = "shift.category-silenced"
    CATEGORY_UNSILENCED = "shift.category-unsilenced"
    SHIFT_ENDED = "shift.ended"
    COLLECTION_PAUSED = "session.paused"
    COLLECTION_RESUMED = "session.resumed"
    CANVASS_BEGUN = "session.canvass-begun"
    CANVASS_ENDED = "session.canvass-ended"
    POST_LEFT = "session.post-left"
    POST_DECLARED = "session.post-declared"
    PICTURE_VIEWED = "alert.picture-viewed"
    LIST_ACTIVATED = "list.activated"
    LIST_REFUSED = "list.refused"
    PERMIT_RENEWED = "permit.renewed"
    BATCH_SENT = "reads.sent"
    READS_DESTROYED = "reads.destroyed"
    READS_EXPIRED = "reads.expired"
    CONFIG_CHANGED = "config.changed"
    CONFIG_REFUSED = "config.refused"
    QUEUE_QUARANTINED = "queue.quarantined"
    ALERT_HELD = "alert.held"
    ALERT_RELEASED = "alert.released"
    ALERT_HELD_ENDED = "alert.held-ended"
    KILL_ORDERED = "device.kill-ordered"
    ORDER_REFUSED = "device.order-refused"
    ORDER_DONE = "device.order-done"
    ENROLLED = "device.enrolled"
    CERTIFICATE_RENEWED = "device.certificate-renewed"
    RETIRE_ORDERED = "device.retire-ordered"
    KEYS_DESTROYED = "device.keys-destroyed"
    SELF_CHECKED = "daemon.self-checked"
    QUEUE_SALVAGED = "queue.salvaged"
    QUARANTINE_DESTROYED = "queue.quarantine-destroyed"
    PURGE_FAILED = "reads.purge-failed"
    READS_LOST = "reads.lost"
    READS_ROTTEN = "reads.rotten"
    DISK_LOW = "disk.low"
    DISK_ENOUGH = "disk.enough"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a named person, or the daemon itself."""

    id: str
    name: str
    role: str


DAEMON: Final = Actor("alprd", "vehicle daemon", "service")


class Trail(Protocol):
    """Where events go; the store implements it."""

    def record(
        self,
        event: Event,
        actor: Actor = DAEMON,
        *,
        session: str | None = None,
        subjects: Sequence[str] = (),
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        """Write one event durably, or raise :class:`~alprd.errors.AuditError`."""


def digest(fields: Mapping[str, object]) -> str:
    """Digest of an event's fields, ``digest`` itself left out, and offset or address not told."""
    told = {k: v for k, v in fields.items() if k != "digest" and (k not in _LATER or v)}
    return sha256_hex(canonical(told))


def local_offset(at: datetime, zone: str) -> str:
    """``+HH:MM`` of local time in an IANA zone at an instant; empty when the zone is unknown."""
    try:
        return at.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")[16:] if zone else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ""


def next_event(
    before: AuditEvent | None,
    event: Event,
    actor: Actor,
    *,
    at: datetime,
    at_trusted: bool,
    zone: str,
    device: str,
    session: str | None,
    subjects: Sequence[str],
    detail: Mapping[str, str | int | bool],
) -> AuditEvent:
    """The event that follows ``before`` in the chain: who, when, where, what (R-AT-2).

    Args:
        zone: IANA name of the agency's zone, empty when unknown.
        device: the vehicle, recorded as *where*.
    """
    made = AuditEvent(
        seq=before.seq + 1 if before else 1,
        at=at,
        at_trusted=at_trusted,
        event=event.value,
        actor=actor.id,
        actor_name=actor.name,
        role=actor.role,
        device=device,
        session=session,
        subjects=tuple(subjects),
        detail=dict(detail),
        version=__version__,
        local_offset=local_offset(at, zone),
        previous=before.digest if before else FIRST,
        digest=FIRST,
    )
    return made.model_copy(update={"digest": digest(made.model_dump(mode="json"))})


def verify_chain(events: Iterable[AuditEvent], *, previous: str = FIRST, seq: int = 0) -> int:
    """Check consecutive events against each other; the last sequence number.

    Args:
        previous: digest of the event before the first one given.
        seq: its sequence number.

    Raises:
        AuditError: an event was altered, removed, inserted or reordered; names its number.
    """
    for event in events:
        if event.seq != seq + 1:
            raise AuditError(f"audit event {seq + 1} is missing (found {event.seq})")
        if event.previous != previous:
            raise AuditError(f"audit event {event.seq} does not follow event {seq}")
        if digest(event.model_dump(mode="json")) != event.digest:
            raise AuditError(f"audit event {event.seq} was altered")
        previous, seq = event.digest, event.seq
    return seq
