"""Who may do what at central: one table of acts and roles; what it does not name nobody may.

Every page, command and API of central that a person uses asks this table, through
:func:`alprd.central.staff.people.require` (which also asks for live training and authorisation) or,
for what a page shows, :func:`may`. ``docs/permissions.md`` is the approved matrix; a test holds it
equal to this one (R-13.824-7-3).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from alprd.errors import RefusedError
from alprd.wire import Person

ROLES: Final = (
    "sheriff",
    "admin_supervisor",
    "alpr_admin",
    "operator",
    "investigator",
    "auditor",
    "records",
)


class Act(StrEnum):
    """Everything a role can be needed for; the value is its name in the matrix."""

    PAGES = "Sign on at the pages"
    SEARCH = "Search stored reads, with a case and reasons"
    LISTS_SEE = "See lists, held imports and the category map"
    LISTS_WORK = "Import lists; accept or refuse held imports"
    CATEGORY_MAP = "Map codes to columns of the public log"
    ENTRY_ASK = "Ask for an additional entry; revoke one's own"
    ENTRY_APPROVE = "Approve, refuse or revoke an additional entry; close a case"
    ENTRY_REGISTER = "See the whole register of additional entries"
    ENTRY_REVIEW = "Find exigent circumstances, and review them"
    CARS_SEE = "See cars, their health and their orders"
    CAR_MANAGE = "Enrol, revoke or retire a car"
    CAR_KILL = "Order a lost car to destroy its keys"
    CAR_ORDER = "Order cars: freeze, thaw, destroy, suspend, lift"
    LINK_ASK = "Ask for a link of reads to a case"
    LINK_DECIDE = "Approve, review or end a link of reads to a case"
    LINK_READ = "See the reads of an approved link"
    HOLD_PLACE = "Place, apply or release an exculpatory hold, and see its reads"
    EXEMPTIONS_SEE = "See the register of links and holds, and the retention schedule"
    SCHEDULE_SET = "Set the retention schedule"
    PEOPLE_SEE = "See people, their records and open sessions"
    PEOPLE_CHANGE = "Add, change or retire people; reset a password or second factor"
    PEOPLE_RECORD = "Record training, screening and assignments"
    PEOPLE_AUTHORISE = "Sign a written authorisation"
    PERSON_FREEZE = "Freeze a person's access, and lift it"
    SESSION_END = "Sign another person off"
    TRAIL_EXPORT = "Export a person's audit trail"
    COMPLIANCE_SEE = "See the daily compliance reports"
    COMPLIANCE_SIGN = "Sign a daily compliance report"
    INCIDENT_WORK = "Keep the breach file: decide, count, notify, report, close"
    INCIDENT_SEE = "See the breach file"
    AUDIT_PACKAGE = "Build the biennial audit's package"
    AUDIT_SAMPLE = "Draw an audit sample"
    AUDIT_KEEP = "Keep the register of audits and their reports"
    AGENCIES_SET = "Enter agencies that may receive reads"
    RELEASE_PREPARE = "Enter another agency's request for a release"
    RELEASE_DECIDE = "Review exactly the records of a release; approve or refuse it"
    RELEASE_SEND = "Make an approved release's package; record its receipt"
    RELEASE_SEE = "See the register of releases and agencies"
    RECIPIENT_ORDERS = "Send orders about released records to their recipients"
    OUTSIDE_WORK = "Enter and answer requests of others than law enforcement"
    OUTSIDE_SEE = "See the register of requests of others"
    SUBJECT_ASK = "Ask for, and make, a look-up of a data subject's own plate"
    SUBJECT_DECIDE = "Approve a look-up of a data subject's own plate"
    LOG_CORRECT = "Add a dated note to the public log"
    SOURCE_HIDE = "Flag a source whose existence is not public"
    READERS_SEE = "See the register of readers and the notices to the BCA"
    READERS_KEEP = "Keep the register of readers, fixed locations and notices to the BCA"
    PLACE_WITHHOLD = "Withhold a fixed location as security information"
    PLACE_FULL = "Take out a withheld location in full, for a court"
    REDACTION_SET = "Set what the public trail export withholds"
    TRAIL_PUBLIC = "Export the public part of the trail"
    TRAIL_SEE = "Search, export and verify the audit trail"
    TRAIL_TERMS = "Open a typed search term of the trail"
    REPORT_SIGN = "See and sign off the weekly exception report"
    REASONS_REVIEW = "Judge the monthly sample of reasons"
    NOTICES = "See and answer notices to the supervisor"
    BASIS_ENTER = "Enter a warrant, or ask for exigent circumstances, for a search"
    BASIS_DECIDE = "Find exigent circumstances for a search, and review them"
    BASIS_REGISTER = "See the whole register of warrants and exigencies"
    CONFIDENTIALITY = "Work with address-confidentiality requests"
    TRANSFER_IMPORT = "Import reads of another agency"
    TRANSFERS_SEE = "See the register of imports from other agencies"
    CREDENTIAL_DECIDE = "Approve the reset of a supervisor's or the sheriff's credential"


_SUPERVISOR: Final = frozenset({"admin_supervisor"})
_COMMAND: Final = frozenset({"sheriff", "admin_supervisor"})
_DAILY: Final = frozenset({"admin_supervisor", "alpr_admin"})

TABLE: Final[dict[Act, frozenset[str]]] = {
    Act.PAGES: frozenset(ROLES) - {"operator"},
    Act.SEARCH: frozenset({"investigator", "admin_supervisor"}),
    Act.LISTS_SEE: _DAILY | {"auditor"},
    Act.LISTS_WORK: _DAILY,
    Act.CATEGORY_MAP: _SUPERVISOR,
    Act.ENTRY_ASK: _DAILY | {"investigator", "sheriff"},
    Act.ENTRY_APPROVE: _SUPERVISOR,
    Act.ENTRY_REGISTER: _DAILY | {"sheriff", "auditor"},
    Act.ENTRY_REVIEW: _COMMAND,
    Act.CARS_SEE: _DAILY | {"sheriff", "auditor"},
    Act.CAR_MANAGE: _SUPERVISOR,
    Act.CAR_KILL: _COMMAND,
    Act.CAR_ORDER: _COMMAND,
    Act.LINK_ASK: _DAILY | {"investigator"},
    Act.LINK_DECIDE: _SUPERVISOR,
    Act.LINK_READ: frozenset({"investigator", "admin_supervisor"}),
    Act.HOLD_PLACE: _SUPERVISOR,
    Act.EXEMPTIONS_SEE: _DAILY | {"sheriff", "auditor"},
    Act.SCHEDULE_SET: _SUPERVISOR,
    Act.PEOPLE_SEE: _COMMAND | {"auditor"},
    Act.PEOPLE_CHANGE: _SUPERVISOR,
    Act.PEOPLE_RECORD: _SUPERVISOR,
    Act.PEOPLE_AUTHORISE: frozenset({"sheriff"}),
    Act.PERSON_FREEZE: _COMMAND,
    Act.SESSION_END: _COMMAND,
    Act.TRAIL_EXPORT: _COMMAND | {"auditor"},
    Act.LOG_CORRECT: _SUPERVISOR,
    Act.SOURCE_HIDE: _SUPERVISOR,
    Act.READERS_SEE: _DAILY | {"sheriff", "auditor"},
    Act.READERS_KEEP: _DAILY,
    Act.PLACE_WITHHOLD: frozenset({"sheriff"}),
    Act.PLACE_FULL: _COMMAND,
    Act.REDACTION_SET: _SUPERVISOR,
    Act.TRAIL_PUBLIC: frozenset({"admin_supervisor", "records"}),
    Act.TRAIL_SEE: _COMMAND | {"auditor"},
    Act.TRAIL_TERMS: _SUPERVISOR | {"auditor"},
    Act.REPORT_SIGN: _COMMAND | {"auditor"},
    Act.REASONS_REVIEW: _COMMAND | {"auditor"},
    Act.NOTICES: _SUPERVISOR,
    Act.BASIS_ENTER: frozenset({"investigator", "admin_supervisor"}),
    Act.BASIS_DECIDE: _COMMAND,
    Act.BASIS_REGISTER: _COMMAND | {"auditor"},
    Act.CONFIDENTIALITY: _SUPERVISOR | {"records"},
    Act.TRANSFER_IMPORT: _DAILY,
    Act.TRANSFERS_SEE: _DAILY | {"sheriff", "auditor"},
    Act.CREDENTIAL_DECIDE: _COMMAND | _DAILY,
    Act.COMPLIANCE_SEE: _DAILY | {"auditor"},
    Act.COMPLIANCE_SIGN: _COMMAND,
    Act.INCIDENT_WORK: _COMMAND,
    Act.INCIDENT_SEE: frozenset({"auditor"}),
    Act.AUDIT_PACKAGE: _SUPERVISOR | {"auditor"},
    Act.AUDIT_SAMPLE: frozenset({"auditor"}),
    Act.AUDIT_KEEP: _SUPERVISOR,
    Act.AGENCIES_SET: _SUPERVISOR,
    Act.RELEASE_PREPARE: _DAILY | {"investigator"},
    Act.RELEASE_DECIDE: _SUPERVISOR,
    Act.RELEASE_SEND: _DAILY,
    Act.RELEASE_SEE: _DAILY | {"sheriff", "auditor"},
    Act.RECIPIENT_ORDERS: _SUPERVISOR,
    Act.OUTSIDE_WORK: frozenset({"admin_supervisor", "records"}),
    Act.OUTSIDE_SEE: frozenset({"sheriff", "auditor"}),
    Act.SUBJECT_ASK: frozenset({"records"}),
    Act.SUBJECT_DECIDE: _SUPERVISOR,
}


def roles(act: Act) -> frozenset[str]:
    """The roles an act needs one of; none when the table does not name it."""
    return TABLE.get(act, frozenset())


def may(person: Person, *acts: Act) -> bool:
    """Whether one of a person's roles allows one of the acts; says nothing of live training."""
    return any(roles(act) & set(person.roles) for act in acts)


def not_own(requester: str, decider: str, verb: str, *, remedy: str = "") -> None:
    """Refuse whoever decides about what he asked for, or about himself (requirements, part 0).

    Args:
        verb: what the decider would do, such as ``approves a request``.

    Raises:
        RefusedError: both are one person.
    """
    if requester == decider:
        raise RefusedError(f"nobody {verb} of his own", reason="same_person", remedy=remedy)


def matrix() -> str:
    """``docs/permissions.md``: the table as Markdown."""
    head = " | ".join(f"`{role}`" for role in ROLES)
    lines = [
        "# Who may do what at central",
        "",
        "Made by `alprd-central permissions`; a test holds it equal to the code, which allows",
        "nothing that is not in the table (R-13.824-7-3). Each act also needs live training and a",
        "live written authorisation, and `alpr_admin` a live assignment (R-460.3-4). Nobody",
        "approves, signs or records anything for himself, whatever his roles. A change to the",
        "matrix is the administration supervisor's to approve before it is released.",
        "",
        f"| act | {head} |",
        "|---|" + ":-:|" * len(ROLES),
    ]
    for act in Act:
        cells = " | ".join("x" if role in roles(act) else "" for role in ROLES)
        lines.append(f"| {act.value} | {cells} |")
    lines += [
        "",
        "An `operator` works in the car only. A requester sees his own additional entries; the",
        "register is for those who see it whole. Machines (`service`) have no account: a car is",
        "known by its certificate and reaches only its own interface.",
        "",
        "On the command line, commands that ask this table ask for the person's password too:",
        "those with `--as`, and those with `--by` for links, holds, the schedule, releases,",
        "requests, the breach file, compliance and audits. Care of the server itself (people,",
        "cars, lists, keys) is that of whoever holds its account of the operating system: there",
        "`--by` writes the named person into the trail.",
        "",
    ]
    return "\n".join(lines)
