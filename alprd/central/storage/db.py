"""Tables of the main database and of the keystore, in SQLAlchemy Core.

Two databases on purpose: ``central.db`` holds ciphertext and goes into backups; ``keystore.db``
holds wrapped keys and never does, so that a key destroyed here is destroyed everywhere
(R-460.5-4b). In clear stand only ids, hour bucket, destroy-by, class, session and vehicle.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from alprd.central.storage import rewriting


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC instant, stored without zone so that it orders alike on every database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware to stored."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Stored to aware."""
        return None if value is None else value.replace(tzinfo=UTC)


main = MetaData(info={"tree": "main"})

# reads and read_keys are held in parts by day on PostgreSQL (storage.partitions); there the hour is
# part of the primary key, which the migrations make.
reads = Table(
    "reads",
    main,
    Column("id", String(32), primary_key=True),
    Column("hour", UtcTime, nullable=False, index=True),
    Column("destroy_by", UtcTime, nullable=False, index=True),
    Column("classification", String(16), nullable=False),
    Column("session", String(32), nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("cell", LargeBinary, nullable=False),
    # Keyed digests of the folded plate: text, text+stacked, stacked+text. Always three, random
    # where there is no stacked part, so that their number says nothing.
    Column("digest0", LargeBinary, nullable=False),
    Column("digest1", LargeBinary, nullable=False),
    Column("digest2", LargeBinary, nullable=False),
)

arrivals = Table(
    "arrivals",
    main,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("session", String(32)),
    Column("outcome", String(16), nullable=False),
    Index("arrivals_by_session", "vehicle", "session"),
)

batches = Table(
    "batches",
    main,
    Column("header_sha256", String(64), primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("batch", String(32), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("items", Text, nullable=False),
)

quarantine = Table(
    "quarantine",
    main,
    Column("sha256", String(64), primary_key=True),
    Column("id", String(32), nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("hour", UtcTime, nullable=False),
    Column("destroy_by", UtcTime, nullable=False),
)

vehicles = Table(
    "vehicles",
    main,
    Column("vehicle", String(64), primary_key=True),
    Column("reader", String(4), nullable=False, unique=True),
    Column("enrolment", String(32), nullable=False),
    Column("serial", String(40), nullable=False),
    Column("batch_key", String(128), nullable=False),
    Column("wrap_key", String(128), nullable=False),
    Column("enrolled_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("suspended", Boolean, nullable=False, default=False),
    Column("permit", Text),
    Column("last_contact", UtcTime),
    Column("last_dock", UtcTime),
)

kill_orders = Table(
    "kill_orders",
    main,
    # By enrolment, so that an order dies with the keys that it is to destroy.
    Column("enrolment", String(32), primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("serial", String(32), nullable=False),
    Column("ordered_at", UtcTime, nullable=False),
    Column("ordered_by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("handed_out_at", UtcTime),
)

wipes = Table(
    "wipes",
    main,
    Column("enrolment", String(32), primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("certificate", Text),
)

car_orders = Table(
    "car_orders",
    main,
    # By vehicle, so that a new enrolment of the same car still gets what it has not done.
    Column("vehicle", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("serial", String(32), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("document", Text, nullable=False),
    Column("issued_at", UtcTime, nullable=False),
    Column("issued_by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("hold_until", UtcTime),
    Column("handed_out_at", UtcTime),
    Column("done_at", UtcTime),
    Column("count", Integer),
    Column("ended_at", UtcTime),
)

suspensions = Table(
    "suspensions",
    main,
    Column("serial", String(32), primary_key=True),
    # Empty: every car of the agency.
    Column("vehicle", String(64), nullable=False),
    Column("ordered_at", UtcTime, nullable=False),
    Column("ordered_by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_at", UtcTime),
    Column("lifted_by", String(64)),
    Column("reference", Text),
)

car_health = Table(
    "car_health",
    main,
    Column("vehicle", String(64), primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("document", Text, nullable=False),
)

renewals = Table(
    "renewals",
    main,
    # The certificate that an enrolment may use next; it becomes the only one when it is used.
    Column("enrolment", String(32), primary_key=True),
    Column("serial", String(40), nullable=False),
    Column("issued_at", UtcTime, nullable=False),
)

enrol_codes = Table(
    "enrol_codes",
    main,
    Column("code_hash", String(64), primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("reader", String(4), nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("used_at", UtcTime),
)

sessions = Table(
    "sessions",
    main,
    Column("id", String(32), primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("started", UtcTime, nullable=False, index=True),
    Column("row", Text, nullable=False),
    Column("received_at", UtcTime, nullable=False),
)

car_events = Table(
    "car_events",
    main,
    Column("enrolment", String(32), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("vehicle", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("at", UtcTime, nullable=False, index=True),
)

audit = Table(
    "audit",
    main,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False, index=True),
    Column("event", String(64), nullable=False, index=True),
    Column("actor", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
)

people = Table(
    "people",
    main,
    Column("id", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("added_by", String(64), nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

freezes = Table(
    "freezes",
    main,
    Column("id", String(32), primary_key=True),
    Column("person", String(64), nullable=False, index=True),
    Column("referral", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("frozen_at", UtcTime, nullable=False),
    Column("frozen_by", String(64), nullable=False),
    Column("lifted_at", UtcTime, nullable=True),
    Column("lifted_by", String(64), nullable=True),
    Column("lift_reason", Text, nullable=True),
)

member_records = Table(
    "member_records",
    main,
    # Training, authorisations, assignments and screening; rows are only added.
    Column("id", String(32), primary_key=True),
    Column("person", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("document", Text, nullable=False),
)

totp_steps = Table(
    "totp_steps",
    main,
    # The last step of a second factor that was used: it and all before it are refused.
    Column("person", String(64), primary_key=True),
    Column("step", Integer, nullable=False),
)

sign_on_failures = Table(
    "sign_on_failures",
    main,
    Column("number", Integer, primary_key=True),
    Column("person", String(64), nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
)

web_sessions = Table(
    "web_sessions",
    main,
    Column("token_hash", String(64), primary_key=True),
    Column("person", String(64), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("signed_on", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
)

lists = Table(
    "lists",
    main,
    Column("list_id", String(64), primary_key=True),
    Column("source", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("supplied_at", UtcTime, nullable=False),
    Column("imported_at", UtcTime, nullable=False),
    Column("entries", Integer, nullable=False),
    # Name of the sealed file in <home>/lists; its key is in the keystore.
    Column("file", String(32), nullable=False),
)

categories = Table(
    "categories",
    main,
    Column("source", String(64), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("category", String(32), nullable=False),
    Column("priority", String(8), nullable=False),
    Column("restricted", Boolean, nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", UtcTime, nullable=False),
)

held_lists = Table(
    "held_lists",
    main,
    # One import that waits for a person; the file lies sealed in <home>/held/<id>.
    Column("id", String(32), primary_key=True),
    Column("list_id", String(64), nullable=False, index=True),
    Column("held_at", UtcTime, nullable=False),
    Column("held_for", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("decided_at", UtcTime),
    Column("decided_by", String(64)),
    Column("reason", Text),
)

additional = Table(
    "additional",
    main,
    # The register of additional entries; plate, case and texts only inside the sealed document.
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("requested_by", String(64), nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

suppression = Table(
    "suppression",
    main,
    Column("part", String(16), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

published = Table(
    "published",
    main,
    Column("target", String(128), primary_key=True),
    Column("source_mac", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("length", Integer, nullable=False),
    Column("published_at", UtcTime, nullable=False),
)

list_versions = Table(
    "list_versions",
    main,
    Column("number", Integer, primary_key=True),
    Column("target", String(128), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),
    Column("published_at", UtcTime, nullable=False),
)

exemptions = Table(
    "exemptions",
    main,
    # Case links and exculpatory holds; number, statement, plates and names only inside `sealed`.
    Column("id", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("opened_at", UtcTime, nullable=False),
    # When a person must act next, and when the exemption ends by itself.
    Column("due_at", UtcTime),
    Column("ends_at", UtcTime),
    Column("sealed", LargeBinary, nullable=False),
)

exempted = Table(
    "exempted",
    main,
    # Reads that a live exemption keeps; a row is taken out when its exemption ends.
    Column("exemption", String(32), primary_key=True),
    Column("read", String(32), primary_key=True),
    Index("exempted_by_read", "read"),
)

schedule = Table(
    "schedule",
    main,
    # The retention schedule by record type; a type without a row is kept (R-460.5-6).
    Column("record_type", String(32), primary_key=True),
    Column("citation", String(200), nullable=False),
    Column("days", Integer, nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", UtcTime, nullable=False),
)

destructions = Table(
    "destructions",
    main,
    Column("number", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("collection_day", String(10), nullable=False),
    Column("classification", String(16), nullable=False),
    Column("count", Integer, nullable=False),
    Column("result", String(32), nullable=False),
)

counters = Table(
    "counters",
    main,
    Column("name", String(64), primary_key=True),
    Column("value", Integer, nullable=False),
)

keystore = MetaData(info={"tree": "keystore"})

secrets = Table(
    "secrets",
    keystore,
    Column("name", String(128), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

intake_keys = Table(
    "intake_keys",
    keystore,
    Column("day", String(10), primary_key=True),
    Column("key_id", String(16), nullable=False, unique=True),
    Column("public", String(128), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)

hour_keys = Table(
    "hour_keys",
    keystore,
    Column("hour", UtcTime, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

read_keys = Table(
    "read_keys",
    keystore,
    Column("id", String(64), primary_key=True),
    Column("hour", UtcTime, nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
)

keepers = Table(
    "keepers",
    keystore,
    # The key of a case link or hold; it outlives the hours of the reads that it keeps.
    Column("id", String(32), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

kept_keys = Table(
    "kept_keys",
    keystore,
    Column("keeper", String(32), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

fresh_keys = Table(
    "fresh_keys",
    keystore,
    # Keys made since the last sweep: an intake that died before its commit left some of them.
    Column("id", String(64), primary_key=True),
    Column("hour", UtcTime, nullable=False),
)

row_rewrites = rewriting.marks(main, "row_rewrites")
key_rewrites = rewriting.marks(keystore, "key_rewrites")
