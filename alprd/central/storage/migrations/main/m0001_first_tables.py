"""The tables of the programs before there were migrations; those that are there are left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    op.create_table(
        "additional",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "arrivals",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        "arrivals_by_session", "arrivals", ["vehicle", "session"], unique=False, if_not_exists=True
    )

    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        if_not_exists=True,
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False, if_not_exists=True)
    op.create_index(op.f("ix_audit_event"), "audit", ["event"], unique=False, if_not_exists=True)

    op.create_table(
        "batches",
        sa.Column("header_sha256", sa.String(length=64), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("batch", sa.String(length=32), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("header_sha256"),
        if_not_exists=True,
    )
    op.create_table(
        "car_events",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("enrolment", "seq"),
        if_not_exists=True,
    )
    op.create_table(
        "car_health",
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("vehicle"),
        if_not_exists=True,
    )
    op.create_table(
        "car_orders",
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("serial", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(), nullable=False),
        sa.Column("issued_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hold_until", sa.DateTime(), nullable=True),
        sa.Column("handed_out_at", sa.DateTime(), nullable=True),
        sa.Column("done_at", sa.DateTime(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("vehicle", "number"),
        sa.UniqueConstraint("serial"),
        if_not_exists=True,
    )
    op.create_table(
        "categories",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "code"),
        if_not_exists=True,
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "destructions",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("collection_day", sa.String(length=10), nullable=False),
        sa.Column("classification", sa.String(length=16), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("result", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_table(
        "enrol_codes",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(length=4), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("code_hash"),
        if_not_exists=True,
    )
    op.create_table(
        "exempted",
        sa.Column("exemption", sa.String(length=32), nullable=False),
        sa.Column("read", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("exemption", "read"),
        if_not_exists=True,
    )
    op.create_index("exempted_by_read", "exempted", ["read"], unique=False, if_not_exists=True)

    op.create_table(
        "exemptions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=True),
        sa.Column("ends_at", sa.DateTime(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_exemptions_state"), "exemptions", ["state"], unique=False, if_not_exists=True
    )

    op.create_table(
        "freezes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("referral", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("frozen_at", sa.DateTime(), nullable=False),
        sa.Column("frozen_by", sa.String(length=64), nullable=False),
        sa.Column("lifted_at", sa.DateTime(), nullable=True),
        sa.Column("lifted_by", sa.String(length=64), nullable=True),
        sa.Column("lift_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_freezes_person"), "freezes", ["person"], unique=False, if_not_exists=True
    )

    op.create_table(
        "held_lists",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("list_id", sa.String(length=64), nullable=False),
        sa.Column("held_at", sa.DateTime(), nullable=False),
        sa.Column("held_for", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_held_lists_list_id"), "held_lists", ["list_id"], unique=False, if_not_exists=True
    )

    op.create_table(
        "kill_orders",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=32), nullable=False),
        sa.Column("ordered_at", sa.DateTime(), nullable=False),
        sa.Column("ordered_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("handed_out_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("enrolment"),
        if_not_exists=True,
    )
    op.create_table(
        "list_versions",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_list_versions_target"),
        "list_versions",
        ["target"],
        unique=False,
        if_not_exists=True,
    )

    op.create_table(
        "lists",
        sa.Column("list_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("supplied_at", sa.DateTime(), nullable=False),
        sa.Column("imported_at", sa.DateTime(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("file", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("list_id"),
        if_not_exists=True,
    )
    op.create_table(
        "member_records",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_member_records_person"),
        "member_records",
        ["person"],
        unique=False,
        if_not_exists=True,
    )

    op.create_table(
        "people",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "published",
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("source_mac", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("target"),
        if_not_exists=True,
    )
    op.create_table(
        "quarantine",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("destroy_by", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
        if_not_exists=True,
    )
    op.create_table(
        "reads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("destroy_by", sa.DateTime(), nullable=False),
        sa.Column("classification", sa.String(length=16), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("cell", sa.LargeBinary(), nullable=False),
        sa.Column("digest0", sa.LargeBinary(), nullable=False),
        sa.Column("digest1", sa.LargeBinary(), nullable=False),
        sa.Column("digest2", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_reads_destroy_by"), "reads", ["destroy_by"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_reads_hour"), "reads", ["hour"], unique=False, if_not_exists=True)

    op.create_table(
        "renewals",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("issued_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("enrolment"),
        if_not_exists=True,
    )
    op.create_table(
        "schedule",
        sa.Column("record_type", sa.String(length=32), nullable=False),
        sa.Column("citation", sa.String(length=200), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("record_type"),
        if_not_exists=True,
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_sessions_started"), "sessions", ["started"], unique=False, if_not_exists=True
    )

    op.create_table(
        "sign_on_failures",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_sign_on_failures_person"),
        "sign_on_failures",
        ["person"],
        unique=False,
        if_not_exists=True,
    )

    op.create_table(
        "suppression",
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("part"),
        if_not_exists=True,
    )
    op.create_table(
        "suspensions",
        sa.Column("serial", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("ordered_at", sa.DateTime(), nullable=False),
        sa.Column("ordered_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lifted_at", sa.DateTime(), nullable=True),
        sa.Column("lifted_by", sa.String(length=64), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
        if_not_exists=True,
    )
    op.create_table(
        "totp_steps",
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person"),
        if_not_exists=True,
    )
    op.create_table(
        "vehicles",
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(length=4), nullable=False),
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("batch_key", sa.String(length=128), nullable=False),
        sa.Column("wrap_key", sa.String(length=128), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("permit", sa.Text(), nullable=True),
        sa.Column("last_contact", sa.DateTime(), nullable=True),
        sa.Column("last_dock", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("vehicle"),
        sa.UniqueConstraint("reader"),
        if_not_exists=True,
    )
    op.create_table(
        "web_sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("signed_on", sa.DateTime(), nullable=False),
        sa.Column("last_seen", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash"),
        if_not_exists=True,
    )
    op.create_table(
        "wipes",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("vehicle", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("enrolment"),
        if_not_exists=True,
    )
