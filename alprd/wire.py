"""Documents that car and central exchange, each a closed record (R-460.4.1-a).

Every document travels signed (:class:`alprd.crypto.SignedDocument`): those of the car under its
batch key, those of central under its receipt key. Targets travel through TUF.

Upload body of a batch (``POST /v1/batches``)::

    b"ALRB" | version 1 (u8) | u32 length | SignedDocument JSON of a BatchHeader | envelopes,
    back to back, in the order and with the lengths of the header

Car API of central (mutual TLS; only ``/v1/ca`` and ``/v1/enrol`` answer without a client
certificate; the car checks the CA against the pin in its one-time code)::

    GET  /v1/ca                                 -> PEM of central's CA
    POST /v1/enrol      EnrolRequest            -> EnrolReply
    GET  /v1/hello                              -> SignedDocument "hello" (CentralTime)
    GET  /v1/permit                             -> SignedDocument "permit" (Permit)
    GET  /v1/orders                             -> SignedDocument "orders" (Orders)
    POST /v1/orders     SignedDocument "order-receipts" (OrderReceipts) -> "ack" (Ack)
    POST /v1/health     SignedDocument "health" (CarHealth)       -> "ack" (Ack)
    POST /v1/renew      SignedDocument "renew" (RenewRequest)     -> "renewal" (Renewal)
    POST /v1/wipe       SignedDocument "wipe" (WipeCertificate)   -> "ack" (Ack)
    POST /v1/batches    batch body              -> SignedDocument "receipt" (Receipt)
    POST /v1/sessions   SignedDocument "sessions" (SessionReport) -> "ack" (Ack)
    POST /v1/audit      SignedDocument "audit" (AuditReport)      -> "ack" (Ack)
    GET  /tuf/metadata/<name>   GET /tuf/targets/<name>

Errors are JSON ``{"error": code, "message": text}`` with a 4xx/5xx status.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, model_validator

from alprd.crypto import MAX_ENVELOPE, SignedDocument
from alprd.errors import InputError
from alprd.records import Category, Closed, Digest, Id, Name, PlateText, PlateType, Utc

BATCH_MAGIC: Final = b"ALRB"
MAX_BATCH_ITEMS: Final = 256
MAX_BATCH_BYTES: Final = 64_000_000
MAX_ORDER_IDS: Final = 500

# --- enrolment ------------------------------------------------------------------------------


class EnrolRequest(Closed):
    """What a new car sends with its one-time code.

    ``batch_key`` and ``wrap_key`` are uncompressed P-256 points in base64url; ``csr`` is PEM.
    """

    vehicle: Name
    code: str
    csr: str
    batch_key: str
    wrap_key: str


class EnrolReply(Closed):
    """Certificate and trust anchors: the only unsigned answer, protected by the pinned CA."""

    agency: Name
    vehicle: Name
    reader: Annotated[str, Field(pattern=r"^[0-9]{1,4}$")]
    """Neutral number of the reader in the public log."""
    certificate: str
    ca: str
    receipt_key: str
    tuf_root: str
    """First TUF root metadata, JSON text."""
    unlock: str = ""
    """As in :class:`Unlock`, so that the wrap key is never on the car's disk in clear."""


# --- batches and receipts -------------------------------------------------------------------


class BatchItem(Closed):
    """One envelope of a batch."""

    id: Id
    sha256: Digest
    length: Annotated[int, Field(gt=0, le=MAX_ENVELOPE)]


class BatchHeader(Closed):
    """What the car signs: who, which batch, which envelopes by digest (R-460.5-2)."""

    agency: Name
    vehicle: Name
    batch: Id
    items: Annotated[tuple[BatchItem, ...], Field(min_length=1, max_length=MAX_BATCH_ITEMS)]


class ReceiptItem(Closed):
    """Central holds this ciphertext durably (or it was past its life): the car may destroy it.

    A suppressed read is answered ``stored`` like any other, so that no difference betrays a
    request (R-460.5-b4).
    """

    id: Id
    sha256: Digest
    outcome: Literal["stored", "quarantined", "expired"]


class Receipt(Closed):
    """Signed by central only after durable, classified storage (R-460.5-2)."""

    agency: Name
    vehicle: Name
    batch: Id
    received_at: Utc
    items: tuple[ReceiptItem, ...]


def encode_batch(header: SignedDocument, envelopes: list[bytes]) -> bytes:
    """The upload body of a batch."""
    document = header.model_dump_json().encode()
    return b"".join((BATCH_MAGIC, b"\x01", struct.pack(">I", len(document)), document, *envelopes))


def split_batch(body: bytes) -> tuple[SignedDocument, memoryview]:
    """The signed header of an upload body, and the rest: the envelopes back to back.

    Raises:
        InputError: not a batch, or cut short.
    """
    if len(body) < 9 or body[:4] != BATCH_MAGIC or body[4] != 1:
        raise InputError("not a batch of version 1")
    (length,) = struct.unpack(">I", body[5:9])
    if length > 1_000_000 or len(body) < 9 + length:
        raise InputError("batch is cut short")
    try:
        document = SignedDocument.model_validate_json(body[9 : 9 + length])
    except ValidationError as error:
        raise InputError("header of the batch does not fit its schema") from error
    return document, memoryview(body)[9 + length :]


# --- time, permit, acknowledgements ---------------------------------------------------------


class CentralTime(Closed):
    """Central's clock, signed: repairs a poisoned high-water mark. ``nonce`` echoes the query."""

    agency: Name
    time: Utc
    nonce: str


class Permit(Closed):
    """Leave to collect, short-lived, so that a suspension reaches an offline car (R-13.824-6-6)."""

    agency: Name
    vehicle: Name
    serial: Id
    not_before: Utc
    expires: Utc
    suspended: bool = False
    reason: Literal["", "order", "notice"] = ""
    """Why it is suspended: by order, or because no notice to the BCA is on record."""


class Ack(Closed):
    """Central holds these sessions or these audit events (``ids``, or all up to ``seq``)."""

    agency: Name
    vehicle: Name
    kind: Literal["sessions", "audit", "wipe", "orders", "health"]
    ids: tuple[Id, ...] = ()
    seq: int = 0


# --- orders and their execution -------------------------------------------------------------

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""What names an enrolment to both sides: ``alprd.crypto.key_id`` of the car's batch key."""


class Order(Closed):
    """One order about reads or collecting (design: orders to the car); never names a plate.

    ``reads``, ``sessions`` and the window ``since``…``until`` say which reads are meant: those ids,
    all of those sessions, and all of every session that overlaps the window, because a sealed read
    tells nobody its instant. Numbers count up for each vehicle.

    - ``freeze``: no purge before ``hold_until`` or the upload (R-460.5-a);
    - ``thaw``: the freeze ``ends`` is over, every read has its own destroy-by again;
    - ``destroy``: destroy now, unsent (R-460.5-b);
    - ``suspend``: stop collecting; ``lift``: the suspension ``ends`` is over (R-13.824-6-6).
    """

    number: Annotated[int, Field(ge=1)]
    serial: Id
    kind: Literal["freeze", "thaw", "destroy", "suspend", "lift"]
    issued: Utc
    reads: Annotated[tuple[Id, ...], Field(max_length=MAX_ORDER_IDS)] = ()
    sessions: Annotated[tuple[Id, ...], Field(max_length=MAX_ORDER_IDS)] = ()
    since: Utc | None = None
    until: Utc | None = None
    hold_until: Utc | None = None
    ends: Id | None = None


class OrderDone(Closed):
    """What became of one order in the car; ``count`` reads were frozen, thawed or destroyed."""

    number: Annotated[int, Field(ge=1)]
    serial: Id
    count: Annotated[int, Field(ge=0)]
    at: Utc
    at_trusted: bool


class OrderReceipts(Closed):
    """The car's receipts for orders it has carried out; signed by its batch key."""

    agency: Name
    vehicle: Name
    enrolment: KeyId
    items: Annotated[tuple[OrderDone, ...], Field(min_length=1)]


class Orders(Closed):
    """What central orders this very car to do, signed (R-CJIS-5).

    ``nonce`` echoes the question and ``enrolment`` names the keys, so that an order can neither
    be played to another car nor to the same car after it was enrolled again.
    """

    agency: Name
    vehicle: Name
    enrolment: KeyId
    nonce: str
    kill: Id | None = None
    """Serial of the order to destroy all keys and data, if there is one."""
    ordered: Utc | None = None
    orders: tuple[Order, ...] = ()
    """Every order not yet receipted, and every freeze in force, by number."""


class WipeCertificate(Closed):
    """The car's own statement of what it destroyed; signed by its batch key before that dies.

    Counts are ``None`` where the queue could not be read any more. ``keys_last`` are destroyed
    after the report, which needs them.
    """

    agency: Name
    vehicle: Name
    reader: str
    enrolment: KeyId
    serial: Id
    kind: Literal["retired", "killed"]
    order: Id | None
    by: str
    reason: str
    at: Utc
    at_trusted: bool
    keys_destroyed: tuple[str, ...]
    keys_last: tuple[str, ...]
    reads_lost: int | None
    sessions_lost: int | None
    events_lost: int | None
    reads_committed: int | None
    audit_seq: int | None
    audit_digest: Digest | None
    method: str
    version: str


class RenewRequest(Closed):
    """A car asks for a new certificate for a new TLS key; signed by its batch key."""

    agency: Name
    vehicle: Name
    enrolment: KeyId
    csr: str


class Unlock(Closed):
    """Signed kind ``unlock``: central's part of what opens the car's wrap key (R-460.6-0)."""

    agency: Name
    vehicle: Name
    enrolment: KeyId
    secret: str
    """32 bytes or more, base64url; of this enrolment."""


class Renewal(Closed):
    """The new certificate (PEM); the old one holds until this one has been used."""

    agency: Name
    vehicle: Name
    enrolment: KeyId
    certificate: str


class CameraHealth(Closed):
    """One camera of a car."""

    name: Name
    up: bool
    age_s: float | None


class CarHealth(Closed):
    """How a car does, for the office: no plate, place or person, and no count of reads."""

    agency: Name
    vehicle: Name
    at: Utc
    at_trusted: bool
    version: Annotated[str, Field(max_length=64)]
    uptime_s: float
    collecting: bool
    problems: Annotated[tuple[str, ...], Field(max_length=100)]
    warnings: Annotated[tuple[str, ...], Field(max_length=100)]
    cameras: Annotated[tuple[CameraHealth, ...], Field(max_length=64)]
    gps_fix: bool
    gps_age_s: float | None
    system_error_s: float | None
    """System clock against the disciplined clock; None while unknown."""
    disk_free_bytes_at_least: int
    oldest_destroy_by: Utc | None
    """Hour in which the first read waiting in the car must be destroyed; None without any."""
    lists: dict[str, str | int | bool]
    """Version of each target in force."""
    certificate_expires: Utc | None = None


# --- sessions: the rows of the public log ---------------------------------------------------

EndReason = Literal[
    "signed_off", "paused", "stopped", "power_lost", "gap", "permit_lapsed", "suspended",
    "no_camera", "disk_full", "clock_untrusted", "error",
]  # fmt: skip


class Database(Closed):
    """A list compared with during a session, as loaded (R-460.5.1-b2)."""

    source: str
    bundle: str
    supplied_at: Utc


class SessionRow(Closed):
    """One period of active use, from counters kept as reads happen (R-460.5.1-0…-c5).

    ``plates_read`` counts every pass, also those not queued for any reason; ``queued`` is the
    number of sealed reads and never published.
    """

    id: Id
    reader: str
    kind: Literal["mobile", "fixed"] = "mobile"
    purpose: str
    policy_version: str
    started: Utc
    ended: Utc
    end_reason: EndReason
    plates_read: Annotated[int, Field(ge=0)]
    distinct_plates: Annotated[int, Field(ge=0)]
    queued: Annotated[int, Field(ge=0)]
    matches: dict[Category, int]
    marked_misread: Annotated[int, Field(ge=0)] = 0
    databases: tuple[Database, ...] = ()
    time_trusted: bool = True
    """Whether GPS or central vouched for the times at any moment of the session."""
    fixed_location: Annotated[str, Field(max_length=64)] = ""
    """Of a fixed session alone: latitude, longitude in degrees (R-460.5.1-d)."""

    @model_validator(mode="after")
    def _placed(self) -> SessionRow:
        if self.fixed_location and self.kind != "fixed":
            raise ValueError("a mobile session has no place")
        return self


class SessionReport(Closed):
    """Ended sessions of one car."""

    agency: Name
    vehicle: Name
    rows: tuple[SessionRow, ...]


class AuditEvent(Closed):
    """One event of the car's trail, hash-chained; never plate text (R-AT-2, R-AT-4)."""

    seq: Annotated[int, Field(ge=1)]
    at: Utc
    at_trusted: bool
    event: Name
    actor: str
    actor_name: str
    role: str
    device: str
    session: Id | None
    subjects: tuple[str, ...]
    detail: dict[str, str | int | bool]
    version: str
    local_offset: Annotated[str, Field(pattern=r"^([+-]\d\d:\d\d)?$")] = ""
    """Local time minus UTC at ``at``; empty before the agency's zone is known, and in old events,
    which the digest takes as they were written."""
    address: Annotated[str, Field(max_length=128)] = ""
    """At central: the network address or the account of whoever did it; empty in a car."""
    previous: Digest
    digest: Digest


class AuditReport(Closed):
    """Consecutive events of one car's trail."""

    agency: Name
    vehicle: Name
    events: tuple[AuditEvent, ...]


# --- targets --------------------------------------------------------------------------------

INTAKE_KEYS: Final = "intake-keys.json"
POLICY: Final = "policy.json"
ROSTER: Final = "roster.bin"
SUPPRESSION: Final = "suppression.bin"
HOTLIST_PREFIX: Final = "hotlist-"
"""``hotlist-<list id>.bin``"""


def wraps_target(vehicle: str) -> str:
    """Name of the target that holds one car's key wraps."""
    return f"wraps-{vehicle}.json"


class IntakeKey(Closed):
    """Public key (uncompressed point, base64url) that seals the reads of one UTC day."""

    day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    key: str


class IntakeKeys(Closed):
    """A forward series of intake keys, ``intake-keys.json``, in clear."""

    agency: Name
    keys: tuple[IntakeKey, ...]


class Policy(Closed):
    """The signed device configuration, ``policy.json``, in clear (R-460.1-1, R-13.824-X-1)."""

    agency: Name
    agency_name: str
    version: str
    sha256: Digest
    adopted_by: str
    effective: Utc
    retention_hours: Annotated[int, Field(ge=0, le=60 * 24)] = 60 * 24
    unattended: bool = False
    """Whether cars may collect while nobody is signed on (default off; R-460.4-a, T-25)."""
    custodian: str = ""
    """Id of the person in the roster under whom a car then collects."""
    custodians: dict[Name, str] = Field(default_factory=dict)
    """The same for single cars, by the vehicle's name."""
    unattended_purpose: str = ""
    """Official purpose of such a session: a code of ``alprd.roster.PURPOSES``."""
    list_warn_hours: Annotated[int, Field(gt=0, le=24)] = 24
    list_stop_hours: Annotated[int, Field(gt=0, le=72)] = 72
    sources: tuple[str, ...] = ("LPDF",)
    timezone: str = "America/Chicago"


Clearance = Literal[Category, "restricted_files"]
RESTRICTED: Final = "restricted_files"
"""Clearance for files that are handled like criminal history; needed besides the category's."""


class Person(Closed):
    """One member in the roster (R-460.4-d)."""

    id: Name
    name: str
    roles: tuple[str, ...]
    verifier: str
    """Of the password: Argon2id or PBKDF2-HMAC-SHA-512 (:mod:`alprd.verifiers`)."""
    totp: Annotated[str, Field(pattern=r"^[A-Z2-7]{0,128}$")] = ""
    """Base32 secret of the second factor (:mod:`alprd.totp`); empty: none is asked for."""
    training_expires: Utc
    authorised_until: Utc
    clearances: tuple[Clearance, ...]
    frozen: bool = False
    """A misuse referral is open: the person signs on nowhere (R-460.6-f)."""


class Roster(Closed):
    """Who may sign on in the car; ``roster.bin``, encrypted."""

    agency: Name
    issued: Utc
    expires: Utc
    people: tuple[Person, ...]


class HotlistEntry(Closed):
    """One entry, with just what the alert needs (R-460.4-e)."""

    id: str
    plate: PlateText
    state: str | None
    plate_type: PlateType | None
    category: Category
    priority: Literal["high", "medium", "low"]
    text: str
    expires: Utc | None = None
    restricted: bool = False
    """From a restricted file: a person needs :data:`RESTRICTED` too to see the alert."""


class Hotlist(Closed):
    """Header line of ``hotlist-<list>.bin``: gzip of JSON lines, this first, then the entries."""

    list_id: Name
    source: str
    version: str
    supplied_at: Utc
    entries: Annotated[int, Field(ge=0)]
    counts: dict[Category, int]


class Suppression(Closed):
    """``suppression.bin``: sorted keyed digests of folded plates, padded to a fixed size.

    ``HMAC-SHA-256(suppression key, fold(plate))[:16]`` as hex; the padding is random digests, so
    that neither size nor count tells how many requests there are (R-460.5-b4).
    """

    digests: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")], ...]


class Wraps(Closed):
    """``wraps-<vehicle>.json``: content keys by target name, wrapped for one car.

    ``alprd.crypto.wrap_key(secret, purpose=<target name>)``; the suppression key has the purpose
    ``suppression-key``.
    """

    vehicle: Name
    targets: dict[str, str]
    suppression_key: str
