"""The dock: what the car brings to central, what it fetches, and how it tells the deputy.

One pass (:meth:`DockSync.step`), apart from the loop that repeats it::

    docked? (carrier file)  → orders → signed time → unlock → trail → ended sessions
    → reads, hits first → permit → lists, keys, roster, suppression → health → trail again

Away from the dock, where ``[dock] permit_over = "any"`` allows it, a small pass goes over whatever
route reaches central, such as the car's modem: orders and their receipts, time and permit, some
20 kB (R-13.824-6-6). No read, trail or list goes that way.

What is sent is :mod:`alprd.outbound`'s. An error ends the pass at the latest at its end; the next
comes after a capped, jittered backoff, for as long as the car is docked.
"""

from __future__ import annotations

import base64
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import httpx

from alprd import renewal
from alprd.audit import Event
from alprd.crypto import SignedDocument, key_id, verify_document
from alprd.errors import AlprdError, InputError, RefusedError, SignatureError
from alprd.mirror import TargetsError
from alprd.orderbook import OrderBook
from alprd.orders import ask_orders
from alprd.outbound import (
    Beat,
    NoBeat,
    OutboundStore,
    Outbox,
    RefusedByCentralError,
    UnreachableError,
    ask_signed,
)
from alprd.pace import TokenBucket
from alprd.targets import TargetClient, TargetSet
from alprd.trust import Trust
from alprd.wire import CarHealth, CentralTime, Unlock

log = logging.getLogger(__name__)

LISTS_EVERY_S: Final = 60.0
HEALTH_EVERY_S: Final = 60.0
PERMIT_EVERY_S: Final = 900.0
"""Away from the dock; four times an hour reach a suspension well before a permit lapses."""
FAR_TIMEOUT_S: Final = 10.0
PermitRoute = Literal["dock", "any"]
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 60.0
CLOCK_TOLERANCE_S: Final = 60.0
_SLOWEST_HELLO_S: Final = 10.0
"""A signed time that took longer says too little about now."""

_NOT_LISTS: Final = ("unreachable", "truncated", "slow", "clock", "locked")
"""Reasons that tell of the way or the car and not of what is published."""

DockState = Literal["away", "busy", "done", "error"]


@dataclass(frozen=True, slots=True)
class DockStatus:
    """For the MDT: ``text`` is ready to show."""

    state: DockState
    text: str
    pending: int
    """Reads and sessions that central does not hold yet."""


class DockSync:
    """Keeps car and central in step while the car is docked.

    Args:
        carrier_file: holds ``1`` while the dock's network is there; without it, reachability of
            central alone decides.
        interval_s: time between passes while docked and between looks for the dock.
        clock_agrees: whether system clock and disciplined clock agree; None while unknown.
        on_time: takes central's signed time and the monotonic instant (ns) it belongs to.
        on_permit: takes the signed permit; raises if it does not accept it.
        on_targets: takes each newly activated set.
        on_kill: takes the serial of central's order to destroy everything; the pass ends then.
        orders: carries out all other orders; without it they wait at central.
        health: how the car does, for the office.
        permit_over: ``any`` asks for permit and orders also away from the dock.
        limit_kbit_s: bandwidth limit of everything sent and fetched; None: no limit.
    """

    def __init__(
        self,
        trust: Trust,
        store: OutboundStore,
        *,
        targets: TargetClient | None = None,
        carrier_file: Path | None = None,
        interval_s: float = 10.0,
        clock_agrees: Callable[[], bool | None] = lambda: None,
        on_time: Callable[[datetime, int], object] = lambda utc, mono_ns: None,
        on_permit: Callable[[SignedDocument], object] = lambda document: None,
        on_targets: Callable[[TargetSet], object] = lambda found: None,
        on_kill: Callable[[str], object] | None = None,
        orders: OrderBook | None = None,
        health: Callable[[], CarHealth] | None = None,
        permit_over: PermitRoute = "dock",
        limit_kbit_s: float | None = None,
    ) -> None:
        self._trust = trust
        self._store = store
        self._outbox = Outbox(trust, store)
        self.targets: Final = targets or TargetClient(trust)
        self._carrier_file = carrier_file
        self._interval_s = interval_s
        self._clock_agrees = clock_agrees
        self._on_time = on_time
        self._on_permit = on_permit
        self._on_targets = on_targets
        self._on_kill = on_kill
        self._orders = orders
        self._health = health
        self._permit_over = permit_over
        self._limit_kbit_s = limit_kbit_s
        self._health_due = 0.0
        self._permit_due = 0.0
        self._bad_orders = ""
        self._lock = threading.Lock()
        self._state: DockState = "away"
        self._problem = ""
        self._failures = 0
        self._lists_due = 0.0
        self._refused = ""
        self._undelivered: TargetSet | None = None
        """Active on the disk, but the trail or the daemon has not taken it yet."""

    def retune(
        self,
        *,
        carrier_file: Path | None,
        interval_s: float,
        permit_over: PermitRoute = "dock",
        limit_kbit_s: float | None = None,
    ) -> None:
        """Another dock from the next look on."""
        self._carrier_file, self._interval_s = carrier_file, interval_s
        self._permit_over, self._limit_kbit_s = permit_over, limit_kbit_s

    # --- the loop and its step --------------------------------------------------------------

    def run(self, beat: Beat) -> None:
        """Repeat :meth:`step` until asked to stop."""
        while not beat.stopping:
            if beat.sleep(self.step(beat)):
                return

    def step(self, beat: Beat | None = None) -> float:
        """One pass; seconds to wait before the next."""
        beat = beat or NoBeat()
        if not self._carrier():
            self._settle("away")
            self._failures = 0
            self._lists_due = 0.0  # the next dock fetches at once
            self._ask_from_afar()
            return self._interval_s
        try:
            with self._trust.client(bucket=self._bucket(beat)) as client:
                self._pass(client, beat)
        except UnreachableError:
            # Without a carrier file nothing but central tells whether the car is docked.
            if self._carrier_file is None:
                self._settle("away")
            else:
                self._settle("error", "central cannot be reached")
            return self._backoff()
        except AlprdError as error:
            refused = isinstance(error, RefusedByCentralError) and error.code == "unknown_vehicle"
            if refused and renewal.adopt_waiting(self._trust):
                return FIRST_BACKOFF_S  # a renewal that a power cut left half done
            log.warning("dock: %s", error.diagnostics())
            self._settle("error", error.message)
            return self._backoff()
        self._failures = 0
        self._settle("done")
        return self._interval_s * random.uniform(0.9, 1.1)

    def status(self) -> DockStatus:
        """What the MDT shows."""
        with self._lock:
            state, problem = self._state, self._problem
        waiting = self._store.pending()
        left = waiting.reads + waiting.sessions
        text = {
            "away": "not docked",
            "busy": f"docked, {left} to go",
            "done": f"docked, {left} to go" if left else "docked, all sent",
            "error": f"dock error, {left} to go: {problem}",
        }[state]
        return DockStatus(state, text, left)

    def _settle(self, state: DockState, problem: str = "") -> None:
        with self._lock:
            self._state, self._problem = state, problem

    def _backoff(self) -> float:
        delay = min(FIRST_BACKOFF_S * 2.0**self._failures, LONGEST_BACKOFF_S)
        self._failures = min(self._failures + 1, 16)
        return delay * random.uniform(0.5, 1.0)

    def _carrier(self) -> bool:
        if self._carrier_file is None:
            return True
        try:
            return self._carrier_file.read_text(encoding="ascii").strip() == "1"
        except (OSError, UnicodeDecodeError):
            return False  # a network device that is down cannot be read at all

    def _pass(self, client: httpx.Client, beat: Beat) -> None:
        if self._ordered(client):
            return
        agrees = self._observe_time(client)
        self._settle("busy")
        first: AlprdError | None = None
        parts: tuple[Callable[[], None], ...] = (
            lambda: self._unlock(client),
            lambda: self._outbox.push_audit(client, beat),
            lambda: self._outbox.push_sessions(client),
            lambda: self._outbox.push_reads(client, beat),
            lambda: self._pull_permit(client, agrees),
            lambda: self._pull_lists(client, beat, agrees),
            lambda: self._push_health(client),
            lambda: self._look_after_certificate(client, agrees),
            lambda: self._outbox.push_audit(client, beat),
        )
        for part in parts:
            if beat.stopping:
                return
            try:
                part()
            except (RefusedByCentralError, SignatureError, TargetsError) as error:
                # A part that central refuses, or whose answer is not to be trusted, must not
                # hold up the others: reads may not wait for a roster.
                first = first or error
        if first is not None:
            raise first

    def _bucket(self, beat: Beat) -> TokenBucket | None:
        limit = self._limit_kbit_s
        self._outbox.limit_bytes_s = None if limit is None else limit * 1000 / 8
        return None if limit is None else TokenBucket(limit * 1000 / 8, beat.sleep)

    def _ask_from_afar(self) -> None:
        """Permit and orders over any route, now and then; that it fails is no news."""
        if self._permit_over != "any" or time.monotonic() < self._permit_due:
            return
        self._permit_due = time.monotonic() + PERMIT_EVERY_S
        try:
            with self._trust.client(FAR_TIMEOUT_S) as client:
                if not self._ordered(client):
                    self._unlock(client)
                    self._pull_permit(client, self._observe_time(client))
        except AlprdError as error:
            log.info("permit from afar: %s", error.message)

    def _push_health(self, client: httpx.Client) -> None:
        if self._health is not None and time.monotonic() >= self._health_due:
            self._outbox.push_health(client, self._health())
            self._health_due = time.monotonic() + HEALTH_EVERY_S

    def _look_after_certificate(self, client: httpx.Client, agrees: bool) -> None:
        if agrees:  # a certificate lives by the clock
            renewal.renew(self._trust, client, self._store)

    # --- from central -----------------------------------------------------------------------

    def _ordered(self, client: httpx.Client) -> bool:
        """Ask for orders before anything else, and obey; whether the car destroys itself.

        An answer that is not a true order changes nothing and holds up nothing (R-CJIS-5).
        """
        if self._on_kill is None and self._orders is None:
            return False
        try:
            orders = ask_orders(client, self._trust)
        except SignatureError as error:
            if error.message != self._bad_orders:  # told once, not at every pass
                self._bad_orders = error.message
                log.error("orders refused: %s", error.message)
                self._store.record(Event.ORDER_REFUSED, detail={"reason": error.message})
            return False
        except RefusedByCentralError:
            return False
        if orders is None:
            return False
        if orders.kill is not None and self._on_kill is not None:
            self._on_kill(orders.kill)
            return True
        if self._orders is not None:
            self._orders.obey(orders.orders)
            try:
                self._outbox.push_receipts(client, self._orders)
            except (RefusedByCentralError, SignatureError) as error:
                log.error("receipts for orders: %s", error.message)  # they go again
        return False

    def _unlock(self, client: httpx.Client) -> None:
        """Once a start: central's part of the key that opens the lists (:mod:`alprd.unlock`)."""
        trust = self._trust
        if trust.locker.settled:
            return
        try:
            document = ask_signed(client, "GET", "/v1/unlock")
        except RefusedByCentralError:
            if trust.locker.locked:
                raise
            return  # a central of an earlier version; the key is at hand
        said = verify_document(document, "unlock", trust.receipt_key, Unlock)
        mine = (trust.agency, trust.vehicle, key_id(trust.batch_key))
        if (said.agency, said.vehicle, said.enrolment) != mine:
            raise SignatureError("central's unlock secret is another car's")
        try:
            trust.locker.release("contact", base64.urlsafe_b64decode(said.secret))
        except (RefusedError, InputError, ValueError) as error:
            raise SignatureError(
                "central's unlock secret does not open this car's keys",
                remedy="sign on as someone who has used this car, or enrol it with a new code",
            ) from error

    def _observe_time(self, client: httpx.Client) -> bool:
        """Central's signed time; whether the system clock agrees with it and with GPS."""
        nonce = secrets.token_hex(16)
        asked = time.monotonic_ns()
        document = ask_signed(client, "GET", f"/v1/hello?nonce={nonce}")
        answered, system = time.monotonic_ns(), datetime.now(UTC)
        said = verify_document(document, "hello", self._trust.receipt_key, CentralTime)
        if said.nonce != nonce or said.agency != self._trust.agency:
            raise SignatureError("central's time is not the answer to this question (replay)")
        if answered - asked <= _SLOWEST_HELLO_S * 1e9:
            self._on_time(said.time, (asked + answered) // 2)
        near = abs((system - said.time).total_seconds()) <= CLOCK_TOLERANCE_S
        return near and self._clock_agrees() is not False

    def _pull_permit(self, client: httpx.Client, agrees: bool) -> None:
        if agrees:  # a permit lives by the clock, so it is not judged while clocks disagree
            self._on_permit(ask_signed(client, "GET", "/v1/permit"))

    def _pull_lists(self, client: httpx.Client, beat: Beat, agrees: bool) -> None:
        if time.monotonic() < self._lists_due:
            return
        beat()
        try:
            found = self.targets.refresh(client, clock_agrees=agrees, pace=lambda size: beat())
        except TargetsError as error:
            if error.reason not in _NOT_LISTS and error.message != self._refused:
                self._store.record(Event.LIST_REFUSED, detail={"reason": error.reason})
                self._refused = error.message  # told once, not at every pass
            raise
        self._refused = ""
        self._undelivered = found or self._undelivered
        if self._undelivered is not None:
            self._store.record(Event.LIST_ACTIVATED, detail=dict(self._undelivered.versions))
            self._on_targets(self._undelivered)
            self._undelivered = None
        self._lists_due = time.monotonic() + LISTS_EVERY_S
