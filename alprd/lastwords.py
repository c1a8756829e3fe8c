"""What a car that is being wiped still says to central, for a bounded time.

Its trail, sessions and sealed reads, and at last the certificate; see :mod:`alprd.wipe` for the
order of the acts. No failure here stops a wipe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import httpx

from alprd.audit import DAEMON, Event
from alprd.crypto import SignedDocument, verify_document
from alprd.errors import AlprdError
from alprd.outbound import Outbox, UnreachableError, ask_signed
from alprd.store import Store
from alprd.trust import Trust
from alprd.wire import Ack

log = logging.getLogger(__name__)

UNKNOWN: Final[Mapping[str, object]] = MappingProxyType(
    dict.fromkeys(
        (
            *("reads_lost", "sessions_lost", "events_lost"),
            *("reads_committed", "audit_seq", "audit_digest"),
        )
    )
)
"""The counts of a queue that cannot be read."""
_RESCUE_S: Final = 0.5


class Deadline:
    """A beat that asks to stop once its time is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self) -> None:
        """Nobody listens."""

    @property
    def stopping(self) -> bool:
        return time.monotonic() >= self._end

    def sleep(self, seconds: float) -> bool:
        time.sleep(max(0.0, min(seconds, self._end - time.monotonic())))
        return self.stopping


def bring_home(
    store: Store, trust: Trust, *, kind: str, order: str | None, keys: Sequence[str], seconds: float
) -> None:
    """Trail, sessions and reads to central as far as the time allows; failure changes nothing.

    Args:
        kind, order, keys: why, by which order, and which keys are destroyed already.
        seconds: longest time for talking; 0 only records.
    """
    try:
        for row in store.open_sessions():
            store.close_session(row.model_copy(update={"end_reason": "power_lost"}))
        store.record(
            Event.KEYS_DESTROYED,
            DAEMON,
            subjects=() if order is None else (order,),
            detail={"kind": kind, "keys": ", ".join(keys)},
        )
    except AlprdError as error:
        log.error("the wipe cannot be recorded in the trail: %s", error.message)
    if seconds <= 0:
        return
    beat, outbox = Deadline(seconds), Outbox(trust, store)
    try:
        while not beat.stopping and store.rescue_step(_RESCUE_S):
            pass  # reads of a damaged queue come too, as far as they can be saved
        with trust.client(seconds) as client:
            parts: tuple[Callable[[], None], ...] = (
                lambda: outbox.push_audit(client, beat),
                lambda: outbox.push_sessions(client),
                lambda: outbox.push_reads(client, beat),
                lambda: outbox.push_audit(client, beat),
            )
            for part in parts:
                if beat.stopping:
                    return
                try:
                    part()
                except UnreachableError:
                    raise
                except AlprdError as error:  # one part that is refused holds up no other
                    log.warning("not everything reached central: %s", error.message)
    except AlprdError as error:
        log.warning("not everything reached central: %s", error.message)


def count_lost(store: Store) -> dict[str, object]:
    """What dies with the queue, by the certificate's names."""
    try:
        pending, ledger = store.pending(), store.ledger()
        last = store.last_audit_event()
    except AlprdError as error:
        log.error("what is lost cannot be counted: %s", error.message)
        return dict(UNKNOWN)
    return {
        "reads_lost": pending.reads,
        "sessions_lost": pending.sessions,
        "events_lost": pending.audit,
        "reads_committed": ledger.committed,
        "audit_seq": last.seq if last else 0,
        "audit_digest": last.digest if last else None,
    }


def send_certificate(document: SignedDocument, trust: Trust, seconds: float) -> bool:
    """Send the certificate once; whether central said that it holds it."""
    try:
        with trust.client(seconds) as client:
            answer = ask_signed(client, "POST", "/v1/wipe", document.model_dump_json().encode())
        ack = verify_document(answer, "ack", trust.receipt_key, Ack)
    except (AlprdError, httpx.HTTPError) as error:
        log.warning("central could not be told of the wipe: %s", type(error).__name__)
        return False
    return (ack.agency, ack.vehicle, ack.kind) == (trust.agency, trust.vehicle, "wipe")
