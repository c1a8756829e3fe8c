"""What an additional entry must state, and a row of its register.

An entry needs an active criminal investigation (R-460.4.1-b2): case number, offence, relation in
the requester's own words, an end within the longest life. A *monitoring* entry needs exactly one
legal basis that is in force: a search warrant or exigent circumstances (R-460.4.1-c).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from alprd.central.hotlists.hotfiles.reading import no_plate
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.errors import RefusedError
from alprd.records import STATES, Closed, Name, PlateText, PlateType, Utc
from alprd.wire import Person

PURPOSES: Final = (
    "stolen_vehicles",
    "stolen_plates",
    "missing_persons",
    "active_warrants",
    "homeland_security",
    "electronic_surveillance",
    "suspect_interdiction",
    "stolen_property",
)
"""The closed list of Policy 460.3, as ``alprd.roster.PURPOSES`` has it (R-460.3-1)."""
MIN_TEXT: Final = 20
MIN_WORDS: Final = 4
MAX_ALERT: Final = 120
_TOLERANCE: Final = timedelta(minutes=10)
_CASE: Final = re.compile(r"^(?=(?:.*\d){4})[0-9A-Z][0-9A-Z-]{3,19}$")

Kind = Literal["interdiction", "monitoring"]
State = Literal["requested", "approved", "refused", "revoked"]
Text = Annotated[str, Field(max_length=2000)]


class Warrant(Closed):
    """A search warrant that allows monitoring."""

    court: Annotated[str, Field(min_length=3, max_length=200)]
    number: Annotated[str, Field(min_length=3, max_length=64)]
    issued: Utc
    expires: Utc
    scope: Annotated[str, Field(min_length=5, max_length=500)]


class Exigency(Closed):
    """Exigent circumstances; they carry an entry for 24 h at most and need a review after."""

    facts: Text
    at: Utc
    approver: Name
    """Id of the person who found them, not the requester."""


class Request(Closed):
    """What a requester states."""

    plate: PlateText
    state: str | None = None
    plate_type: PlateType | None = None
    kind: Kind = "interdiction"
    purpose: str
    case: str
    offence: str
    relation: Text
    alert: Annotated[str, Field(max_length=MAX_ALERT)] = ""
    """What the deputy is to do or know."""
    starts: Utc
    ends: Utc
    warrant: Warrant | None = None
    exigency: Exigency | None = None


class Entry(Closed):
    """A row of the register."""

    id: str
    state: State
    request: Request
    effective_end: Utc
    requested_by: str
    requested_at: Utc
    decided_by: str = ""
    decided_at: Utc | None = None
    decision: str = ""
    """Why it was approved or refused."""
    revoked_by: str = ""
    revoked_at: Utc | None = None
    revocation: str = ""
    reviewed_by: str = ""
    reviewed_at: Utc | None = None
    review: str = ""

    def stands(self, now: datetime) -> str:
        """``requested``, ``approved`` …, and for an approved one whether it is in force."""
        if self.state == "approved":
            if now >= self.effective_end:
                return "ended"
            return "in force" if now >= self.request.starts else "approved"
        if self.state == "requested" and now >= self.effective_end:
            return "lapsed"
        return self.state

    def review_due(self, now: datetime) -> bool:
        """Whether its exigent circumstances still lack the written review after them."""
        if self.request.exigency is None or self.review or self.decided_at is None:
            return False
        return self.state in {"approved", "revoked"} and self.stands(now) != "in force"


def check(central: Central, person: Person, request: Request, now: datetime) -> None:
    """Refuse a request that lacks what the policy asks for (R-460.4.1-b2, -c).

    Raises:
        RefusedError: names the first statement that is missing or not enough.
    """
    if no_plate(request.plate):
        raise RefusedError("plate is missing or no real plate", reason="bad_plate")
    if request.state is not None and request.state not in STATES:
        raise RefusedError("state is not a USPS code", reason="bad_state")
    if request.purpose not in PURPOSES:
        raise RefusedError(
            "purpose is not one of the policy's", reason="bad_purpose", remedy=", ".join(PURPOSES)
        )
    if not _CASE.match(request.case):
        raise RefusedError(
            "case number is missing or not of its form",
            reason="bad_case",
            remedy="give the number of an active criminal investigation, such as 26001234",
        )
    if len(request.offence.strip()) < 3:
        raise RefusedError(
            "offence is missing: an entry needs a criminal investigation", reason="missing_offence"
        )
    in_own_words("relation", request.relation)
    settings = central.config.additional
    if request.starts < now - _TOLERANCE:
        raise RefusedError("start lies in the past", reason="bad_start")
    if request.ends <= request.starts:
        raise RefusedError("end is not after the start", reason="bad_end")
    if request.ends - request.starts > timedelta(days=settings.longest_days):
        raise RefusedError(
            f"longer than {settings.longest_days} days",
            reason="too_long",
            remedy="shorten it; it can be asked for anew with fresh approval (R-460.4.1-b2)",
        )
    if request.starts > now + timedelta(days=settings.longest_days):
        raise RefusedError("start lies too far ahead", reason="bad_start")
    if request.kind == "monitoring":
        _check_basis(central, person, request, now)
    elif request.warrant is not None or request.exigency is not None:
        raise RefusedError(
            "warrant or exigency belongs to a monitoring entry", reason="basis_not_needed"
        )


def _check_basis(central: Central, person: Person, request: Request, now: datetime) -> None:
    """Warrant or exigent circumstances, exactly one, live now (R-460.4.1-c)."""
    warrant, exigency = request.warrant, request.exigency
    if (warrant is None) == (exigency is None):
        raise RefusedError(
            "monitoring needs a search warrant or exigent circumstances, and one of them only",
            reason="no_legal_basis",
            remedy="give court, number, issue, expiry and scope of the warrant, or facts, time and "
            "approver of the exigency (R-460.4.1-c)",
        )
    if warrant is not None and not warrant.issued <= now < warrant.expires:
        raise RefusedError("the warrant is not in force", reason="warrant_not_in_force")
    if exigency is None:
        return
    in_own_words("exigency facts", exigency.facts)
    life = timedelta(hours=central.config.additional.exigency_hours)
    if not now - life < exigency.at <= now + _TOLERANCE:
        raise RefusedError(
            f"exigent circumstances carry {life} from their time", reason="exigency_over"
        )
    with central.database.read() as tx:
        approver = people.find(tx, exigency.approver)
    if approver is None or approver.id == person.id:
        raise RefusedError(
            "exigency: the approver is not a known person other than the requester",
            reason="bad_approver",
        )
    people.require(approver, Act.ENTRY_REVIEW, now)


def effective_end(central: Central, request: Request) -> datetime:
    """When it stops matching: its end, or that of its warrant or exigent circumstances."""
    ends = [request.ends]
    if request.warrant is not None:
        ends.append(request.warrant.expires)
    if request.exigency is not None:
        life = timedelta(hours=central.config.additional.exigency_hours)
        ends.append(request.exigency.at + life)
    return min(ends)


def in_own_words(name: str, text: str) -> None:
    """Refuse a text that says too little.

    Raises:
        RefusedError: fewer than :data:`MIN_TEXT` characters or :data:`MIN_WORDS` words.
    """
    words = text.split()
    if len(" ".join(words)) < MIN_TEXT or len({word.lower() for word in words}) < MIN_WORDS:
        raise RefusedError(
            f"{name}: at least {MIN_TEXT} characters and {MIN_WORDS} different words",
            reason=f"short_{name.replace(' ', '_')}",
            remedy="state it in your own words",
        )
