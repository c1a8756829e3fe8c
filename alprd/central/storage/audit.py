"""Central's audit trail: same chain as the car's, in the transaction of the act (R-AT-1…-4).

A typed plate is data a person entered: it stands encrypted in the event under a key of its own in
the keystore, so that erasing the key leaves the chain whole and the plate unreadable (R-AT-4,
T-5). What a reader collected appears by record id only.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DatabaseError

import alprd
from alprd.audit import FIRST, Actor, digest, local_offset, verify_chain
from alprd.central.storage import db, trailheads
from alprd.central.storage.keys import Keystore, seal, unseal
from alprd.errors import AuditError
from alprd.records import new_id
from alprd.wire import AuditEvent

CENTRAL: Final = Actor("alprd-central", "central storage", "service")
ADDRESS: Final[ContextVar[str]] = ContextVar("alprd_address", default="")
"""Where the person or car at hand is: a network address, or the account of a command (R-AT-2)."""


class Event(StrEnum):
    """Everything central records."""

    INITIALISED = "central.initialised"
    STARTED = "central.started"
    STOPPED = "central.stopped"
    UPGRADED = "central.upgraded"
    DUTY_TAKEN = "central.duty-taken"
    AGENCY_KEY_ROTATED = "keys.agency-rotated"
    REPLICA_MADE = "keys.replica-made"
    REPLICA_PROMOTED = "keys.replica-promoted"
    REPLICA_BEHIND = "keys.replica-behind"
    BACKED_UP = "central.backed-up"
    RESTORED = "central.restored"
    RESTORE_DRILLED = "central.restore-drilled"
    PERSON_ADDED = "person.added"
    PERSON_CHANGED = "person.changed"
    PERSON_RETIRED = "person.retired"
    PERSON_FROZEN = "person.frozen"
    PERSON_UNFROZEN = "person.unfrozen"
    TRAIL_EXPORTED = "audit.exported"
    TRAINING_RECORDED = "person.training-recorded"
    AUTHORISED = "person.authorised"
    AUTHORISATION_WITHDRAWN = "person.authorisation-withdrawn"
    ASSIGNED = "person.assigned"
    ASSIGNMENT_ENDED = "person.assignment-ended"
    SCREENED = "person.screened"
    PEOPLE_VIEWED = "person.viewed"
    FORCED_OFF = "person.forced-off"
    SIGNED_ON = "person.signed-on"
    SIGN_ON_REFUSED = "person.sign-on-refused"
    SIGNED_OFF = "person.signed-off"
    CODE_ISSUED = "device.code-issued"
    ENROLLED = "device.enrolled"
    ENROL_REFUSED = "device.enrol-refused"
    REVOKED = "device.revoked"
    SUSPENDED = "device.suspended"
    RESUMED = "device.resumed"
    PERMIT_ISSUED = "device.permit-issued"
    KILL_ORDERED = "device.kill-ordered"
    KILL_HANDED_OUT = "device.kill-handed-out"
    ORDER_ISSUED = "device.order-issued"
    ORDER_HANDED_OUT = "device.order-handed-out"
    ORDER_DONE = "device.order-done"
    SUSPENSION_ORDERED = "device.suspension-ordered"
    SUSPENSION_LIFTED = "device.suspension-lifted"
    CERTIFICATE_ISSUED = "device.certificate-issued"
    PAGE_CERTIFICATE_ISSUED = "device.page-certificate-issued"
    CERTIFICATE_RENEWED = "device.certificate-renewed"
    UNLOCK_GIVEN = "device.unlock-given"
    WIPED = "device.wiped"
    RETIRED = "device.retired"
    TRAIL_BROKEN = "device.trail-broken"
    BATCH_RECEIVED = "reads.received"
    BATCH_REFUSED = "reads.refused"
    QUARANTINED = "reads.quarantined"
    SESSIONS_RECEIVED = "sessions.received"
    SESSION_CONFLICT = "sessions.conflict"
    DESTROYED = "reads.destroyed"
    PURGE_FAILED = "reads.purge-failed"
    INTAKE_KEYS_MADE = "keys.intake-made"
    INTAKE_KEYS_DESTROYED = "keys.intake-destroyed"
    LIST_IMPORTED = "list.imported"
    LIST_HELD = "list.held"
    LIST_ACCEPTED = "list.accepted"
    LIST_REFUSED = "list.refused"
    LIST_REMOVED = "list.removed"
    LIST_REJECTED_TAKEN = "list.rejected-taken"
    CATEGORY_MAPPED = "category.mapped"
    ENTRY_REQUESTED = "entry.requested"
    ENTRY_APPROVED = "entry.approved"
    ENTRY_REFUSED = "entry.refused"
    ENTRY_REVOKED = "entry.revoked"
    ENTRY_REVIEWED = "entry.reviewed"
    ENTRIES_VIEWED = "entry.viewed"
    REQUESTS_IMPORTED = "requests.imported"
    PUBLISHED = "targets.published"
    LINK_REQUESTED = "case.link-requested"
    LINK_APPROVED = "case.link-approved"
    LINK_REFUSED = "case.link-refused"
    LINK_REVIEWED = "case.link-reviewed"
    LINK_INACTIVE = "case.inactive"
    LINK_SCHEDULED = "case.scheduled"
    HOLD_PLACED = "hold.placed"
    HOLD_APPLIED = "hold.applied"
    HOLD_COLLECTED = "hold.collected"
    EXEMPTION_RELEASED = "exemption.released"
    EXEMPTION_OVERDUE = "exemption.overdue"
    EXEMPTION_VIEWED = "exemption.viewed"
    EXEMPTIONS_LISTED = "exemption.listed"
    SCHEDULE_SET = "schedule.set"
    TUF_ROOT_ROTATED = "keys.root-rotated"
    TUF_ROOT_RENEWED = "keys.root-renewed"
    TUF_KEY_ROTATED = "keys.role-rotated"
    SEARCHED = "search.done"
    RESULTS_VIEWED = "search.results-viewed"
    SEARCH_REFUSED = "search.refused"
    SEARCH_STOPPED = "search.stopped"
    PICTURE_VIEWED = "read.picture-viewed"
    WARRANT_ENTERED = "basis.warrant-entered"
    EXIGENCY_ASKED = "basis.exigency-asked"
    EXIGENCY_DECIDED = "basis.exigency-decided"
    EXIGENCY_REVIEWED = "basis.exigency-reviewed"
    BASIS_WITHDRAWN = "basis.withdrawn"
    BASES_VIEWED = "basis.viewed"
    NOTICES_VIEWED = "notice.viewed"
    NOTICE_ANSWERED = "notice.answered"
    REASONS_SAMPLED = "reasons.sampled"
    REASONS_VIEWED = "reasons.viewed"
    REASON_JUDGED = "reasons.judged"
    REQUESTS_WORKED = "requests.worked"
    TRANSFER_IMPORTED = "transfer.imported"
    TRANSFER_REFUSED = "transfer.refused"
    TRANSFERS_VIEWED = "transfer.viewed"
    ANCHORED = "audit.anchored"
    ANCHOR_FAILED = "audit.anchor-failed"
    TRAIL_VERIFIED = "audit.verified"
    TRAIL_SEARCHED = "audit.searched"
    TERMS_VIEWED = "audit.terms-viewed"
    REPORT_MADE = "audit.report-made"
    REPORT_VIEWED = "audit.report-viewed"
    REPORT_SIGNED = "audit.report-signed"
    RESET_ASKED = "credential.reset-asked"
    RESET_DECIDED = "credential.reset-decided"
    RESETS_VIEWED = "credential.resets-viewed"
    LOG_ROW_ADDED = "publiclog.row-added"
    LOG_PUBLISHED = "publiclog.published"
    SOURCE_HIDDEN = "publiclog.source-hidden"
    SOURCE_SHOWN = "publiclog.source-shown"
    PLACE_RECORDED = "fixed.recorded"
    PLACE_VIEWED = "fixed.viewed"
    READER_RECORDED = "reader.recorded"
    READERS_VIEWED = "reader.viewed"
    BCA_DUE = "bca.due"
    BCA_OVERDUE = "bca.overdue"
    BCA_SENT = "bca.sent"
    BCA_VIEWED = "bca.viewed"
    BCA_CHECKED = "bca.list-checked"
    REDACTION_SET = "redaction.set"
    CASE_PROTECTED = "redaction.case-protected"
    PUBLIC_TRAIL_EXPORTED = "audit.public-exported"
    STATUS_VIEWED = "status.viewed"
    COMPLIANCE_RUN = "compliance.run"
    COMPLIANCE_VIEWED = "compliance.viewed"
    COMPLIANCE_SIGNED = "compliance.signed"
    AUDIT_PACKAGED = "audit.packaged"
    AUDIT_PACKAGE_TAKEN = "audit.package-taken"
    AUDIT_SAMPLED = "audit.sampled"
    AUDIT_ENTERED = "audit.entered"
    AUDIT_REPORTED = "audit.reported"
    ALARM_RAISED = "alarm.raised"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_REPORTED = "incident.report-made"
    INCIDENT_COUNTED = "incident.counted"
    INCIDENT_PLATES_VIEWED = "incident.plates-viewed"
    INCIDENT_DECIDED = "incident.decided"
    INCIDENT_DELAYED = "incident.delayed"
    INCIDENT_NOTIFIED = "incident.notified"
    INCIDENT_STEP = "incident.step"
    INCIDENT_DISPOSED = "incident.disposed"
    INCIDENT_CLOSED = "incident.closed"
    INCIDENTS_LISTED = "incident.listed"
    ASSESSMENT_FILED = "assessment.filed"
    ASSESSMENT_VIEWED = "assessment.viewed"
    AGENCY_SET = "agency.set"
    RELEASE_ASKED = "release.asked"
    RELEASE_VIEWED = "release.viewed"
    RELEASE_APPROVED = "release.approved"
    RELEASE_REFUSED = "release.refused"
    RELEASE_SENT = "release.sent"
    RELEASE_RECEIPTED = "release.receipted"
    RELEASES_LISTED = "release.listed"
    RECIPIENT_ORDERED = "recipient.ordered"
    RECIPIENT_ORDERS_VIEWED = "recipient.orders-viewed"
    RECIPIENT_ORDER_SENT = "recipient.order-sent"
    RECIPIENT_ORDER_DONE = "recipient.order-confirmed"
    REQUEST_RECEIVED = "request.received"
    REQUEST_ANSWERED = "request.answered"
    REQUESTS_LISTED = "request.listed"
    SUBJECT_ASKED = "subject.asked"
    SUBJECT_APPROVED = "subject.approved"
    SUBJECT_REFUSED = "subject.refused"
    SUBJECT_LOOKED_UP = "subject.looked-up"
    ACCESS_REFUSED = "access.refused"


PRIVATE: Final = frozenset({Event.REQUESTS_IMPORTED.value, Event.REQUESTS_WORKED.value})
"""Events whose content only those see who work with address confidentiality (R-460.5-b4)."""


class CentralTrail:
    """Writes events into the transaction it is given."""

    def __init__(self, keystore: Keystore, device: str, zone: str = "") -> None:
        self._keystore = keystore
        self._device = device
        self._zone = zone

    def record(
        self,
        tx: Connection,
        event: Event,
        actor: Actor = CENTRAL,
        *,
        at: datetime,
        session: str | None = None,
        subjects: Sequence[str] = (),
        detail: Mapping[str, str | int | bool] | None = None,
        terms: str | None = None,
    ) -> int:
        """Add one event; its sequence number.

        Args:
            tx: the write transaction of the act; if it does not commit, neither does the event.
            terms: a plate that a person typed; stored encrypted and erasable.

        Raises:
            AuditError: it cannot be written, so the act must fail (R-AT-3).
        """
        details = dict(detail or {})
        if terms is not None:
            name = f"terms:{new_id()}"
            key = os.urandom(32)
            self._keystore.put_secret(name, key)
            details["terms_key"] = name
            details["terms"] = base64.b64encode(seal(key, terms.encode(), b"terms")).decode()
        try:
            last = tx.execute(
                select(db.audit.c.seq, db.audit.c.digest).order_by(db.audit.c.seq.desc()).limit(1)
            ).one_or_none()
            fields = AuditEvent(
                seq=(last.seq if last else 0) + 1,
                at=at,
                at_trusted=True,
                event=event.value,
                actor=actor.id,
                actor_name=actor.name,
                role=actor.role,
                device=self._device,
                session=session,
                subjects=tuple(subjects),
                detail=details,
                version=alprd.__version__,
                local_offset=local_offset(at, self._zone),
                address=ADDRESS.get(),
                previous=last.digest if last else FIRST,
                digest=FIRST,
            )
            made = fields.model_copy(update={"digest": digest(fields.model_dump(mode="json"))})
            tx.execute(
                insert(db.audit).values(
                    seq=made.seq,
                    at=made.at.astimezone(UTC),
                    event=made.event,
                    actor=made.actor,
                    digest=made.digest,
                    document=made.model_dump_json(),
                )
            )
            trailheads.put(self._keystore, tx, trailheads.CENTRAL_CHAIN, made.seq, made.digest)
        except DatabaseError as error:
            raise AuditError(
                "central's audit trail cannot be written, so the act was not done",
                remedy="check free disk space",
            ) from error
        return made.seq

    def terms(self, event: AuditEvent) -> str | None:
        """The plate a person typed, or ``None`` when there is none or its key is erased."""
        name, sealed = event.detail.get("terms_key"), event.detail.get("terms")
        if not isinstance(name, str) or not isinstance(sealed, str):
            return None
        key = self._keystore.find_secret(name)
        return None if key is None else unseal(key, base64.b64decode(sealed), b"terms").decode()


def events(tx: Connection) -> Iterator[AuditEvent]:
    """The whole trail in order."""
    for document in tx.scalars(select(db.audit.c.document).order_by(db.audit.c.seq)):
        yield AuditEvent.model_validate_json(document)


def verify(tx: Connection) -> int:
    """Check the whole trail; the number of events.

    Raises:
        AuditError: an event was altered, removed, inserted or reordered.
    """
    return verify_chain(events(tx))
