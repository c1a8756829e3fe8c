"""What the car brings to central: its trail, ended sessions, and sealed reads against receipts.

A read is destroyed only after a receipt that verifies under central's key, is for this very batch
and names the read's id *and* the SHA-256 of its ciphertext (R-460.5-2). A lost answer costs
nothing: the same envelopes go again and central receipts them again. Whatever fails, what was
claimed is released, and nothing counts as done because central said no.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import httpx
from pydantic import BaseModel, ValidationError

from alprd.audit import Event, Trail
from alprd.crypto import SignedDocument, key_id, sign_document, verify_document
from alprd.errors import SignatureError, SyncError
from alprd.orderbook import OrderBook
from alprd.records import new_id
from alprd.store import Pending, QueuedRead
from alprd.trust import Trust, exchange
from alprd.wire import (
    MAX_BATCH_ITEMS,
    Ack,
    AuditEvent,
    AuditReport,
    BatchHeader,
    BatchItem,
    CarHealth,
    OrderReceipts,
    Receipt,
    SessionReport,
    SessionRow,
    encode_batch,
)

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 2_000_000
"""A second on a dock's Wi-Fi, so that little is sent twice after a cut. A batch is in memory three
times (reads, body, connection), and locked memory that was once taken is kept (alprd.memory)."""
LEASE_S: Final = 300.0
AUDIT_BATCH: Final = 1_000
_TOO_BIG_OR_BAD: Final = (400, 413, 422)
_MOST_SKIPPED: Final = 3
_SECONDS_A_BATCH: Final = 20
"""With a bandwidth limit, so much is sent before the next receipt."""
_REFUSALS: Final = {
    "revoked": (
        "central has revoked this car",
        "nothing is sent or fetched any more; ask the ALPR administrator for a new code",
    ),
    "unknown_vehicle": (
        "central does not know this car's certificate",
        "the car was enrolled anew elsewhere, or central restored; enrol it with a new code",
    ),
}
"""What the deputy is told, by central's code."""


class OutboundStore(Trail, Protocol):
    """What the dock needs of the car's store; :class:`alprd.store.Store` has it."""

    def claim(self, limit: int, max_bytes: int, lease_s: float) -> Sequence[QueuedRead]:
        """Lease reads for sending, hits first."""

    def release(self, ids: Sequence[str]) -> None:
        """Give leased reads back."""

    def destroy_receipted(self, receipt: Receipt) -> int:
        """Destroy reads by id and ciphertext digest; how many."""

    def unsent_sessions(self) -> Sequence[SessionRow]:
        """Ended sessions that central has not acknowledged."""

    def mark_sessions_sent(self, ids: Sequence[str]) -> None:
        """Central holds these sessions."""

    def unsent_audit(self, limit: int) -> Sequence[AuditEvent]:
        """The oldest events that central has not acknowledged."""

    def mark_audit_sent(self, seq: int) -> None:
        """Central holds all events up to ``seq``, and none after it."""

    def central_lost(self, seq: int) -> None:
        """Central holds the trail up to ``seq`` alone: what came after is to be sent again."""

    def pending(self) -> Pending:
        """How much still waits."""


class Beat(Protocol):
    """A worker's sign of life and its request to stop (:class:`alprd.workers.Beat`)."""

    def __call__(self) -> None:
        """I am alive."""

    @property
    def stopping(self) -> bool:
        """Whether to return soon."""

    def sleep(self, seconds: float) -> bool:
        """Wait, beating; True when it should stop."""


class NoBeat:
    """For a single step outside a worker."""

    stopping = False

    def __call__(self) -> None:
        """Nobody listens."""

    def sleep(self, seconds: float) -> bool:
        """Just wait."""
        time.sleep(seconds)
        return False


class UnreachableError(SyncError):
    """Nothing answers at central's address."""


class RefusedByCentralError(SyncError):
    """Central answered with an HTTP error; ``status`` is its code."""

    def __init__(self, path: str, status: int, code: str = "") -> None:
        message, remedy = _REFUSALS.get(
            code,
            (
                f"central refused {path} ({status})",
                "see central's log; the car keeps everything and tries again",
            ),
        )
        super().__init__(message, remedy=remedy)
        self.status: Final = status
        self.code: Final = code
        """Central's own word for it, such as ``revoked``; empty when it gave none."""


class Outbox:
    """Sends; one user at a time (the sync thread)."""

    def __init__(self, trust: Trust, store: OutboundStore) -> None:
        self._trust = trust
        self._store = store
        self.limit_bytes_s: float | None = None
        """Bandwidth limit; batches are made smaller for it."""

    def push_audit(self, client: httpx.Client, beat: Beat) -> None:
        """Send the trail as far as central does not hold it (R-AT-3).

        Central may hold less than it once acknowledged, when a backup of it was restored: then
        its signed answer says from where on, and that is sent again, the sessions of then too.
        """
        back = False
        while not beat.stopping:
            beat()
            events = self._store.unsent_audit(AUDIT_BATCH)
            if not events:
                return
            ack = self._report(
                client,
                "audit",
                AuditReport(
                    agency=self._trust.agency, vehicle=self._trust.vehicle, events=tuple(events)
                ),
            )
            if ack.seq < events[0].seq - 1 and not back:
                back = True
                self._store.central_lost(ack.seq)
                continue
            if ack.seq < events[0].seq:
                raise SyncError("central acknowledged none of the audit events it was sent")
            self._store.mark_audit_sent(min(ack.seq, events[-1].seq))

    def push_sessions(self, client: httpx.Client) -> None:
        """Send ended sessions: rows of the public log (R-460.5.1-0)."""
        rows = self._store.unsent_sessions()
        if not rows:
            return
        ack = self._report(
            client,
            "sessions",
            SessionReport(agency=self._trust.agency, vehicle=self._trust.vehicle, rows=tuple(rows)),
        )
        held = set(ack.ids)
        self._store.mark_sessions_sent([row.id for row in rows if row.id in held])

    def _report(
        self,
        client: httpx.Client,
        kind: Literal["audit", "sessions", "orders", "health"],
        report: BaseModel,
        document_kind: str = "",
    ) -> Ack:
        document = sign_document(document_kind or kind, report, self._trust.batch_key)
        answer = ask_signed(client, "POST", f"/v1/{kind}", document.model_dump_json().encode())
        ack = verify_document(answer, "ack", self._trust.receipt_key, Ack)
        if (ack.agency, ack.vehicle, ack.kind) != (self._trust.agency, self._trust.vehicle, kind):
            raise SignatureError(f"central's acknowledgement is not for this car's {kind}")
        return ack

    def push_receipts(self, client: httpx.Client, book: OrderBook) -> None:
        """Tell central which orders are carried out (design: orders to the car)."""
        items = book.receipts()
        if items:
            receipts = OrderReceipts(
                agency=self._trust.agency,
                vehicle=self._trust.vehicle,
                enrolment=key_id(self._trust.batch_key),
                items=items,
            )
            book.acknowledged(self._report(client, "orders", receipts, "order-receipts").ids)

    def push_health(self, client: httpx.Client, report: CarHealth) -> None:
        """Tell central how the car does."""
        self._report(client, "health", report)

    def push_reads(self, client: httpx.Client, beat: Beat) -> None:
        """Send the queue, hits first, destroying each read upon its receipt (R-460.5-2).

        Raises:
            SyncError: the connection broke, or central refuses reads; they stay in the car.
            SignatureError: a receipt that proves nothing; the reads stay in the car.
        """
        limit, skipped = MAX_BATCH_ITEMS, 0
        while not beat.stopping:
            beat()
            reads = self._store.claim(limit, self._batch_bytes(), LEASE_S)
            if not reads:
                if skipped:
                    raise SyncError(
                        f"central refuses {skipped} reads; they stay in the car",
                        remedy="see central's log",
                    )
                return
            try:
                self._send(client, reads)
                limit = MAX_BATCH_ITEMS
            except RefusedByCentralError as error:
                if error.status not in _TOO_BIG_OR_BAD or skipped >= _MOST_SKIPPED:
                    self._store.release([read.id for read in reads])
                    raise
                # One bad envelope must not hold up the rest: halve until it stands alone, then
                # leave it leased, so that the others come first.
                if len(reads) > 1:
                    self._store.release([read.id for read in reads])
                    limit = max(1, len(reads) // 2)
                else:
                    log.error("central refused read %s (%d)", reads[0].id, error.status)
                    skipped += 1
            except BaseException:
                self._store.release([read.id for read in reads])
                raise

    def _batch_bytes(self) -> int:
        if self.limit_bytes_s is None:
            return BATCH_BYTES
        return min(BATCH_BYTES, int(self.limit_bytes_s * _SECONDS_A_BATCH))

    def _send(self, client: httpx.Client, reads: Sequence[QueuedRead]) -> None:
        header = BatchHeader(
            agency=self._trust.agency,
            vehicle=self._trust.vehicle,
            batch=new_id(),
            items=tuple(
                BatchItem(id=read.id, sha256=read.sha256, length=len(read.envelope))
                for read in reads
            ),
        )
        body = encode_batch(
            sign_document("batch", header, self._trust.batch_key),
            [read.envelope for read in reads],
        )
        answer = ask_signed(client, "POST", "/v1/batches", body, "application/octet-stream")
        receipt = verify_receipt(answer, header, self._trust)
        self._store.record(
            Event.BATCH_SENT, detail={"batch": header.batch, "count": len(header.items)}
        )
        self._store.destroy_receipted(receipt)
        if len(receipt.items) < len(header.items):
            raise SyncError("central's receipt leaves out a read of the batch")


def ask_signed(
    client: httpx.Client,
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "application/json",
) -> SignedDocument:
    """Ask central for a signed document; its signature is the caller's to verify.

    Raises:
        UnreachableError: nobody is there.
        RefusedByCentralError: central answered with an error.
        SyncError: the connection broke, or the answer is not a signed document.
    """
    try:
        status, data = exchange(client, method, path, body=body, content_type=content_type)
    except SyncError as error:
        if _nobody_there(error.__cause__):
            raise UnreachableError(error.message, remedy=error.remedy) from error
        raise
    place = path.partition("?")[0]
    if status != httpx.codes.OK:
        raise RefusedByCentralError(place, status, _code(data))
    try:
        return SignedDocument.model_validate_json(data)
    except ValidationError as error:
        raise SyncError(f"central's answer to {place} is not a signed document") from error


def _code(answer: bytes) -> str:
    """The error code in an answer of central; empty where there is none."""
    try:
        values = json.loads(answer)
    except ValueError:
        return ""
    code = values.get("error") if isinstance(values, dict) else None
    return code if isinstance(code, str) and code.isascii() else ""


def _nobody_there(cause: BaseException | None) -> bool:
    """Whether a connection found nobody; a TLS failure found somebody, and must be told."""
    if not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        return False
    deeper: BaseException | None = cause
    while deeper is not None:
        if isinstance(deeper, ssl.SSLError):
            return False
        deeper = deeper.__cause__ or deeper.__context__
    return True


def verify_receipt(document: SignedDocument, header: BatchHeader, trust: Trust) -> Receipt:
    """A receipt that may destroy: central's signature, this batch, and only what was sent.

    Raises:
        SignatureError: forged, for another car or batch, or naming a read or digest not sent.
    """
    receipt = verify_document(document, "receipt", trust.receipt_key, Receipt)
    mine = (header.agency, header.vehicle, header.batch)
    if (receipt.agency, receipt.vehicle, receipt.batch) != mine:
        raise SignatureError("receipt is for another car or batch")
    sent = {(item.id, item.sha256) for item in header.items}
    if any((item.id, item.sha256) not in sent for item in receipt.items):
        raise SignatureError("receipt names a read or a digest that was not sent")
    return receipt
