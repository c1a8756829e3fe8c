"""An incident, and what follows from it: the decision table, texts and checklist (§ 13.055).

Pure values and rules; :mod:`alprd.central.oversight.breach` keeps them. A breach is an unauthorised
acquisition of not public data that compromises their security and classification. Viewing counts.
Use by one of our own for a purpose outside the written procedures counts as unauthorised, and data
that a contractor holds for us are ours (R-13.055-1).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from alprd.records import Closed, Id, Utc

Kind = Literal["insider", "lost_device", "intrusion", "contractor", "misdirected", "other"]
State = Literal["open", "no_breach", "breach", "notified", "closed"]
KINDS: Final[dict[Kind, str]] = {
    "insider": "Misuse by one of our own",
    "lost_device": "Lost or stolen car computer or device",
    "intrusion": "Intrusion from outside",
    "contractor": "At a contractor",
    "misdirected": "Sent to the wrong place",
    "other": "Something else",
}
MANY: Final = 1000
"""Beyond so many people at once consumer reporting agencies are told (§ 13.055 subd. 5)."""
_Text = Annotated[str, Field(max_length=4000)]


class Elements(Closed):
    """The questions of the decision table; a person answers each."""

    acquired: bool
    """Somebody without authority obtained, accessed or viewed the data, or one of our own did for a
    purpose outside the written procedures."""
    not_public: bool
    """The data are not public, and we (or a contractor for us) hold them."""
    compromised: bool
    """Their security and classification are compromised."""
    good_faith: bool
    """It was one of our own, in good faith and for our purposes, and it went no further."""

    @property
    def breach(self) -> bool:
        """Whether it is a breach of the security of the data."""
        return self.acquired and self.not_public and self.compromised and not self.good_faith


class Step(Closed):
    """A step of the checklist that was done."""

    item: str
    at: Utc
    by: str
    reference: Annotated[str, Field(max_length=200)] = ""


class Delay(Closed):
    """Why the notice waits: it would impede an active criminal investigation (R-13.055-3)."""

    reason: _Text
    decided_by: str
    decided_at: Utc
    review: Utc


class Affected(Closed):
    """How many records an incident touches; the plates themselves lie under a key of their own."""

    records: int
    identified: int
    """Records that still exist, so that the plate is known."""
    plates: int
    since: Utc
    until: Utc
    actor: str = ""
    device: str = ""


class Incident(Closed):
    """A row of the breach file."""

    id: Id
    state: State
    kind: Kind
    what: _Text
    discovered: Utc
    opened_by: str
    opened_at: Utc
    elements: Elements | None = None
    decision: _Text = ""
    decided_by: str = ""
    decided_at: Utc | None = None
    affected: Affected | None = None
    delay: Delay | None = None
    steps: tuple[Step, ...] = ()
    notified_at: Utc | None = None
    notified: int = 0
    """People who were told."""
    how: Annotated[str, Field(max_length=200)] = ""
    disposition: _Text = ""
    """The final disposition of discipline, where one of our own did it."""
    disposed_at: Utc | None = None
    responsible: tuple[str, ...] = ()
    """Names, only once discipline is final."""
    results: _Text = ""
    """Facts and results of the investigation."""
    closed_by: str = ""
    closed_at: Utc | None = None

    def checklist(self) -> tuple[tuple[str, str], ...]:
        """The steps that this incident needs, as (item, text)."""
        steps = [
            (
                "contain",
                "Stop it: freeze accounts, kill a lost car's keys, revoke certificates",
            ),
            ("preserve", "Export the trail of the time and the people concerned"),
            ("cjis", "Report the incident to the state's CJIS office at the BCA"),
        ]
        if self.kind == "insider":
            steps.append(("referral", "Refer the misuse: discipline, and prosecution (§ 13.09)"))
        if self.kind == "contractor":
            steps.append(("contractor", "Obtain the contractor's account of what happened"))
        if self.state in ("breach", "notified", "closed") and self.elements is not None:
            steps += [
                ("owners", "Look the owners of the plates up through the lawful channel"),
                ("notice", "Notify each affected person in writing, without unreasonable delay"),
            ]
            if max(self.notified, self.affected.plates if self.affected else 0) > MANY:
                steps.append(("agencies", "Tell the consumer reporting agencies (over 1,000)"))
            steps.append(("report", "Make the report on facts and results available"))
        return tuple(steps)

    def undone(self) -> tuple[str, ...]:
        """Items of the checklist that nobody has marked as done."""
        done = {step.item for step in self.steps}
        return tuple(item for item, _ in self.checklist() if item not in done)


def notice_text(agency: str, incident: Incident, contact: str, seen: datetime | None) -> str:
    """The written notice to one affected person (R-13.055-2).

    Args:
        seen: local time of the record, where it is one; the plate is put in by hand.
    """
    when = f" on {seen:%B %d, %Y}" if seen else ""
    return (
        f"{agency}\n\n"
        "NOTICE OF A BREACH OF THE SECURITY OF DATA\n(Minn. Stat. section 13.055)\n\n"
        "An automated license plate reader of this agency recorded your vehicle's plate"
        f"{when}. The record was obtained, accessed or viewed without authority. We learned of it "
        f"on {incident.discovered:%B %d, %Y}.\n\n"
        "We are investigating. When the investigation is complete a report on the facts and "
        "results will be prepared. You may obtain it from us, and we will deliver it to you by "
        f"mail or email if you ask for it:\n\n{contact}\n"
    )


def report_text(agency: str, incident: Incident) -> str:
    """The report after the investigation and final disposition (R-13.055-4)."""
    affected = incident.affected
    lines = [
        agency,
        "",
        "REPORT ON A BREACH OF THE SECURITY OF DATA",
        "(Minn. Stat. section 13.055, subdivision 2, paragraph (b))",
        "",
        f"Incident {incident.id[:8]}, {KINDS[incident.kind].lower()}, discovered "
        f"{incident.discovered:%B %d, %Y}.",
        "",
        "Facts and results of the investigation:",
        incident.results,
        "",
        "Type of data: automated license plate reader data (plate, time, place, pictures).",
        f"Individuals whose data was improperly accessed or acquired: "
        f"{max(incident.notified, affected.plates if affected else 0)}",
    ]
    if incident.kind == "insider":
        named = ", ".join(incident.responsible) or "none named: no discipline was imposed"
        lines += [
            "",
            f"Employees determined to be responsible, discipline being final: {named}",
            f"Final disposition of disciplinary action: {incident.disposition}",
        ]
    return "\n".join(lines) + "\n"
