"""Every route of the pages: who may ask, what it does, what the trail gets.

Deny by default (R-460.6-a, R-13.824-7-3): a route that does not stand here is refused when the
application is made, and a request for it is answered like one for a page that does not exist. Every
handler asks the permission table again for the single act. ``docs/central-routes.md`` and the
OpenAPI schema of the tests are made from this table: ``alprd-central routes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from re import Pattern
from typing import Any, Final, Literal

from starlette.routing import compile_path

from alprd.central.staff.permissions import Act
from alprd.central.storage.audit import Event

Method = Literal["GET", "POST"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One route.

    ``acts``: one of them is needed. ``fields`` are those of the form, ``name`` for text and
    ``name=a|b`` for a choice. ``public``: shows no data about anybody and asks for no sign-on.
    """

    method: Method
    path: str
    what: str
    acts: tuple[Act, ...] = (Act.PAGES,)
    events: tuple[Event, ...] = ()
    fields: str = ""
    public: bool = False


_RELEASE: Final = (Act.RELEASE_SEE, Act.RELEASE_PREPARE)
_OUTSIDE: Final = (Act.OUTSIDE_WORK, Act.OUTSIDE_SEE)
_INCIDENT: Final = (Act.INCIDENT_WORK, Act.INCIDENT_SEE)
_AUDIT: Final = (
    Act.AUDIT_KEEP, Act.AUDIT_PACKAGE, Act.AUDIT_SAMPLE, Act.COMPLIANCE_SEE, Act.COMPLIANCE_SIGN,
)  # fmt: skip
_LINK_SEE: Final = (Act.EXEMPTIONS_SEE, Act.LINK_ASK, Act.LINK_DECIDE)
_ENTRY: Final = (Act.ENTRY_ASK, Act.ENTRY_REGISTER)
_PERSON: Final = (Act.PEOPLE_CHANGE, Act.PEOPLE_RECORD, Act.PEOPLE_AUTHORISE)

ENTRIES: Final = (
    # --- open to everybody ---
    Entry("GET", "/sign-on", "the form of the sign-on", public=True),
    Entry(
        "POST", "/sign-on", "sign on", events=(Event.SIGNED_ON, Event.SIGN_ON_REFUSED),
        fields="person password code", public=True,
    ),
    Entry("GET", "/public", "to the first public page", public=True),
    Entry(
        "GET", "/public/{name}", "public log of use and fixed locations, as pages and files",
        public=True,
    ),
    # --- today ---
    Entry("GET", "/", "what needs a person today, and counts", events=(Event.STATUS_VIEWED,)),
    Entry("POST", "/sign-off", "end the session", events=(Event.SIGNED_OFF,)),
    Entry(
        "POST", "/jobs", "destroy what is past its life, or publish, now", (Act.LISTS_WORK,),
        (Event.DESTROYED, Event.PUBLISHED), "kind=purge|publish",
    ),
    Entry("GET", "/jobs/{job}", "how far long work is"),
    # --- cars ---
    Entry("GET", "/cars", "every car", (Act.CARS_SEE,), (Event.STATUS_VIEWED,)),
    Entry(
        "POST", "/cars", "make a one-time code that enrols a car", (Act.CAR_MANAGE,),
        (Event.CODE_ISSUED,), "vehicle reader",
    ),
    Entry(
        "GET", "/cars/{car}", "one car with health, permit, orders and certificates",
        (Act.CARS_SEE,), (Event.STATUS_VIEWED,),
    ),
    Entry(
        "POST", "/cars/{car}", "suspend, lift, freeze, thaw, revoke, destroy its keys, retire",
        (Act.CAR_ORDER, Act.CAR_MANAGE, Act.CAR_KILL),
        (Event.SUSPENSION_ORDERED, Event.SUSPENSION_LIFTED, Event.ORDER_ISSUED, Event.REVOKED,
         Event.KILL_ORDERED, Event.RETIRED, Event.WIPED, Event.PUBLISHED),
        "act=suspend|lift|freeze|thaw reason reference serial since until confirm certificate",
    ),
    # --- readers, fixed locations, suspension ---
    Entry(
        "GET", "/readers", "register of readers, notices to the BCA", (Act.READERS_SEE,),
        (Event.READERS_VIEWED,),
    ),
    Entry(
        "POST", "/readers", "keep the register; record a notice; compare the published entry",
        (Act.READERS_KEEP,), (Event.READER_RECORDED, Event.BCA_SENT, Event.BCA_CHECKED),
        "act=add|day|sent|check device kind what which day duty at sent_by how reference receipt "
        "published note",
    ),
    Entry("GET", "/readers/document", "a notice to the BCA as a file", (Act.READERS_SEE,)),
    Entry(
        "GET", "/readers/receipts/{notice}", "the proof that a notice was sent",
        (Act.READERS_SEE,), (Event.BCA_VIEWED,),
    ),
    Entry(
        "GET", "/fixed-locations", "fixed locations, current and previous", (Act.READERS_SEE,),
        (Event.READERS_VIEWED,),
    ),
    Entry(
        "POST", "/fixed-locations", "enter, end, withhold or show a fixed location",
        (Act.READERS_KEEP, Act.PLACE_WITHHOLD), (Event.PLACE_RECORDED,),
        "act=place|leave|withhold|show device kind at since entry day reason explanation review "
        "section",
    ),
    Entry(
        "GET", "/fixed-locations/{entry}/explanation", "short explanation of a withheld place",
        (Act.READERS_SEE,),
    ),
    Entry(
        "GET", "/fixed-locations/{entry}/court", "a withheld place in full, for a court",
        (Act.PLACE_FULL,), (Event.PLACE_VIEWED,),
    ),
    Entry(
        "GET", "/openness", "what the public log and the public trail leave out",
        (Act.SOURCE_HIDE, Act.REDACTION_SET, Act.TRAIL_PUBLIC),
    ),
    Entry(
        "POST", "/openness", "flag a source, classify a field, protect a case, export the trail",
        (Act.SOURCE_HIDE, Act.REDACTION_SET, Act.TRAIL_PUBLIC),
        (Event.SOURCE_HIDDEN, Event.SOURCE_SHOWN, Event.REDACTION_SET, Event.CASE_PROTECTED,
         Event.PUBLIC_TRAIL_EXPORTED),
        "act=hide|show|redact|protect|unprotect|export source citation field treatment reason "
        "case since until",
    ),
    Entry("GET", "/openness/fields.csv", "the fields of the trail with their classification",
          (Act.SOURCE_HIDE, Act.REDACTION_SET, Act.TRAIL_PUBLIC)),
    Entry("GET", "/suspension", "whether all readers are suspended", (Act.CAR_ORDER,)),
    Entry(
        "POST", "/suspension", "suspend all readers, or lift it", (Act.CAR_ORDER,),
        (Event.SUSPENSION_ORDERED, Event.SUSPENSION_LIFTED, Event.ORDER_ISSUED),
        "act=suspend|lift reason confirm serial reference",
    ),
    # --- lists ---
    Entry("GET", "/lists", "lists in use and held imports", (Act.LISTS_SEE,)),
    Entry(
        "POST", "/lists/upload", "take in a list", (Act.LISTS_WORK,),
        (Event.LIST_IMPORTED, Event.LIST_HELD),
        "list_id source supplied file layout mapping code state",
    ),
    Entry(
        "GET", "/lists/rejected/{report}", "every rejected line of an import", (Act.LISTS_SEE,),
        (Event.LIST_REJECTED_TAKEN,),
    ),
    Entry("GET", "/lists/held/{held}", "a held import with its report", (Act.LISTS_SEE,)),
    Entry(
        "POST", "/lists/held/{held}", "accept or refuse a held import", (Act.LISTS_WORK,),
        (Event.LIST_ACCEPTED, Event.LIST_REFUSED), "decision=accept|refuse reason",
    ),
    Entry("GET", "/categories", "the category map", (Act.LISTS_SEE,)),
    Entry(
        "POST", "/categories", "set a row of the category map", (Act.CATEGORY_MAP,),
        (Event.CATEGORY_MAPPED,),
        "source code column=stolen|other_lpdf priority=high|medium|low restricted=yes",
    ),
    Entry("GET", "/additional", "additional entries", _ENTRY, (Event.ENTRIES_VIEWED,)),
    Entry(
        "POST", "/additional", "ask for an additional entry", (Act.ENTRY_ASK,),
        (Event.ENTRY_REQUESTED,),
        "plate state case offence purpose kind=interdiction|monitoring days alert relation",
    ),
    Entry(
        "POST", "/additional/{entry}", "approve, refuse, revoke or review an entry",
        (Act.ENTRY_ASK, Act.ENTRY_APPROVE, Act.ENTRY_REVIEW),
        (Event.ENTRY_APPROVED, Event.ENTRY_REFUSED, Event.ENTRY_REVOKED, Event.ENTRY_REVIEWED),
        "act=approve|refuse|revoke|review reason",
    ),
    # --- search, legal bases, notices ---
    Entry("GET", "/search", "the form of a documented search", (Act.SEARCH,)),
    Entry(
        "POST", "/search", "search, record, go to the results", (Act.SEARCH,),
        (Event.SEARCHED, Event.SEARCH_STOPPED, Event.SEARCH_REFUSED),
        "case offence purpose=criminal|civil facts suspicion since until plate lat lon radius "
        "unplaced=yes basis",
    ),
    Entry(
        "GET", "/search/{seq}", "results of one's own search, page by page", (Act.SEARCH,),
        (Event.RESULTS_VIEWED,),
    ),
    Entry(
        "GET", "/search/{seq}/{read}", "pictures of one result", (Act.SEARCH,),
        (Event.PICTURE_VIEWED,),
    ),
    Entry(
        "GET", "/links/{link}/reads/{read}", "pictures of a read that a link keeps",
        (Act.LINK_READ,), (Event.PICTURE_VIEWED,),
    ),
    Entry(
        "GET", "/holds/{hold}/reads/{read}", "pictures of a read that a hold keeps",
        (Act.HOLD_PLACE,), (Event.PICTURE_VIEWED,),
    ),
    Entry(
        "GET", "/bases", "warrants and exigent circumstances",
        (Act.BASIS_REGISTER, Act.BASIS_ENTER), (Event.BASES_VIEWED,),
    ),
    Entry(
        "POST", "/bases", "enter a warrant, or ask for exigent circumstances", (Act.BASIS_ENTER,),
        (Event.WARRANT_ENTERED, Event.EXIGENCY_ASKED),
        "kind=warrant|exigency case plate court number issued expires scope facts at",
    ),
    Entry(
        "POST", "/bases/{basis}", "find, refuse, review or withdraw a legal basis",
        (Act.BASIS_DECIDE, Act.BASIS_ENTER),
        (Event.EXIGENCY_DECIDED, Event.EXIGENCY_REVIEWED, Event.BASIS_WITHDRAWN),
        "act=find|refuse|review|withdraw reason",
    ),
    Entry("GET", "/notices", "notices to the supervisor", (Act.NOTICES,), (Event.NOTICES_VIEWED,)),
    Entry(
        "POST", "/notices/{notice}", "answer a notice", (Act.NOTICES,), (Event.NOTICE_ANSWERED,),
        "answer",
    ),
    # --- audit trail ---
    Entry("GET", "/trail", "the audit trail, filtered", (Act.TRAIL_SEE,), (Event.TRAIL_SEARCHED,)),
    Entry(
        "POST", "/trail/verify", "check every chain and anchor", (Act.TRAIL_SEE,),
        (Event.TRAIL_VERIFIED,),
    ),
    Entry(
        "POST", "/trail/export", "export what fits as a file", (Act.TRAIL_SEE,),
        (Event.TRAIL_EXPORTED,), "person event since until record cars=yes",
    ),
    Entry(
        "POST", "/trail/{seq}/term", "open a typed search term", (Act.TRAIL_TERMS,),
        (Event.TERMS_VIEWED,),
    ),
    Entry(
        "GET", "/reports", "weekly exception reports", (Act.REPORT_SIGN,), (Event.REPORT_VIEWED,)
    ),
    Entry(
        "POST", "/reports/{week}", "sign a weekly report off", (Act.REPORT_SIGN,),
        (Event.REPORT_SIGNED,), "note",
    ),
    Entry(
        "GET", "/reasons", "the monthly sample of reasons", (Act.REASONS_REVIEW,),
        (Event.REASONS_VIEWED,),
    ),
    Entry(
        "POST", "/reasons/{seq}", "judge the reason of a drawn search", (Act.REASONS_REVIEW,),
        (Event.REASON_JUDGED,), "finding=good|poor note month",
    ),
    # --- links, holds, retention schedule ---
    Entry("GET", "/links", "case links, page by page", _LINK_SEE, (Event.EXEMPTIONS_LISTED,)),
    Entry(
        "POST", "/links", "ask for a link of reads to a case", (Act.LINK_ASK,),
        (Event.LINK_REQUESTED,), "case relation reads session bulk_reason",
    ),
    Entry("GET", "/links/{link}", "one link", _LINK_SEE, (Event.EXEMPTION_VIEWED,)),
    Entry(
        "POST", "/links/{link}", "approve, refuse, review, end or release a link",
        (Act.LINK_DECIDE,),
        (Event.LINK_APPROVED, Event.LINK_REFUSED, Event.LINK_REVIEWED, Event.LINK_INACTIVE,
         Event.LINK_SCHEDULED, Event.EXEMPTION_RELEASED),
        "act=approve|refuse|review|inactive|schedule|release reason until outcome citation ends "
        "confirm=yes",
    ),
    Entry(
        "GET", "/links/{link}/reads", "the reads that a link keeps", (Act.LINK_READ,),
        (Event.EXEMPTION_VIEWED,),
    ),
    Entry(
        "GET", "/holds", "holds, page by page", (Act.EXEMPTIONS_SEE,), (Event.EXEMPTIONS_LISTED,)
    ),
    Entry(
        "POST", "/holds", "place a hold", (Act.HOLD_PLACE,), (Event.HOLD_PLACED,),
        "requester number received statement plates since until request",
    ),
    Entry("GET", "/holds/{hold}", "one hold", (Act.EXEMPTIONS_SEE,), (Event.EXEMPTION_VIEWED,)),
    Entry(
        "POST", "/holds/{hold}", "say that every car has uploaded, or release a hold",
        (Act.HOLD_PLACE,), (Event.HOLD_COLLECTED, Event.EXEMPTION_RELEASED),
        "act=collected|release reason confirm=yes",
    ),
    Entry(
        "GET", "/holds/{hold}/reads", "the reads that a hold keeps", (Act.HOLD_PLACE,),
        (Event.EXEMPTION_VIEWED,),
    ),
    Entry(
        "GET", "/holds/{hold}/request", "the written request as a file", (Act.HOLD_PLACE,),
        (Event.EXEMPTION_VIEWED,),
    ),
    Entry("GET", "/schedule", "the retention schedule", (Act.EXEMPTIONS_SEE,)),
    Entry(
        "POST", "/schedule", "set an item of the retention schedule", (Act.SCHEDULE_SET,),
        (Event.SCHEDULE_SET,), "type=destructions|list_versions citation days",
    ),
    # --- imports, address confidentiality ---
    Entry(
        "GET", "/imports", "imports of another agency", (Act.TRANSFERS_SEE,),
        (Event.TRANSFERS_VIEWED,),
    ),
    Entry(
        "POST", "/imports", "take a package in, or ask for the link of its older reads",
        (Act.TRANSFER_IMPORT,), (Event.TRANSFER_IMPORTED, Event.LINK_REQUESTED),
        "act=take|link file link case relation",
    ),
    Entry(
        "GET", "/confidentiality", "address-confidentiality requests", (Act.CONFIDENTIALITY,),
        (Event.REQUESTS_WORKED,),
    ),
    Entry(
        "POST", "/confidentiality", "enter a request: destroy and suppress",
        (Act.CONFIDENTIALITY,), (Event.REQUESTS_WORKED,),
        "plates received verified_by reference review",
    ),
    Entry(
        "GET", "/confidentiality/history", "who did what with the requests",
        (Act.CONFIDENTIALITY,), (Event.REQUESTS_WORKED,),
    ),
    Entry(
        "POST", "/confidentiality/{asked}", "add, remove, end, review, confirm a store",
        (Act.CONFIDENTIALITY,), (Event.REQUESTS_WORKED,),
        "act=add|remove|review|released|confirm plates said until store confirm=yes",
    ),
    # --- people ---
    Entry(
        "GET", "/people", "people, and who is signed on", (Act.PEOPLE_SEE,), (Event.PEOPLE_VIEWED,)
    ),
    Entry(
        "POST", "/people", "add a person", (Act.PEOPLE_CHANGE,), (Event.PERSON_ADDED,),
        "id name password screening roles=records|auditor|investigator",
    ),
    Entry(
        "GET", "/people/{person}", "one person with the record", (Act.PEOPLE_SEE,),
        (Event.PEOPLE_VIEWED,),
    ),
    Entry(
        "POST", "/people/{person}", "change an account or record", _PERSON,
        (Event.PERSON_CHANGED, Event.PERSON_RETIRED, Event.TRAINING_RECORDED, Event.SCREENED,
         Event.ASSIGNED, Event.ASSIGNMENT_ENDED, Event.AUTHORISED,
         Event.AUTHORISATION_WITHDRAWN),
        "act=change|train|screen|assign|authorise|withdraw name roles=records clearances course "
        "completed expires evidence screened_by scope until purposes designation reason confirm",
    ),
    Entry(
        "GET", "/resets", "resets of the sheriff and the supervisors, by two persons",
        (Act.CREDENTIAL_DECIDE,), (Event.RESETS_VIEWED,),
    ),
    Entry(
        "POST", "/resets", "ask for a reset that another person decides", (Act.PEOPLE_CHANGE,),
        (Event.RESET_ASKED,),
        "person kind=password|totp|roles|retire reason password roles=records",
    ),
    Entry(
        "POST", "/resets/{reset}", "approve or refuse a reset", (Act.CREDENTIAL_DECIDE,),
        (Event.RESET_DECIDED,), "decision=approve|refuse",
    ),
    Entry(
        "POST", "/sign-off/{ref}", "end another person's session", (Act.SESSION_END,),
        (Event.FORCED_OFF,),
    ),
    # --- releases, requests of others ---
    Entry("GET", "/releases", "releases to other agencies", _RELEASE, (Event.RELEASES_LISTED,)),
    Entry(
        "POST", "/releases", "enter another agency's written request", (Act.RELEASE_PREPARE,),
        (Event.RELEASE_ASKED,),
        "agency requester contact purpose facts number no_number statement head title authorised "
        "received citation opinion reads paper",
    ),
    Entry("GET", "/releases/{release}", "one release", _RELEASE, (Event.RELEASES_LISTED,)),
    Entry(
        "POST", "/releases/{release}", "approve, refuse, or record the receipt",
        (Act.RELEASE_DECIDE, Act.RELEASE_SEND),
        (Event.RELEASE_APPROVED, Event.RELEASE_REFUSED, Event.RELEASE_RECEIPTED),
        "act=approve|refuse|receipt reason scope received_by paper",
    ),
    Entry(
        "GET", "/releases/{release}/records", "exactly the records that would go out",
        (Act.RELEASE_DECIDE,), (Event.RELEASE_VIEWED,),
    ),
    Entry(
        "GET", "/releases/{release}/request", "the written request as a file",
        (Act.RELEASE_SEE, Act.RELEASE_DECIDE), (Event.RELEASE_VIEWED,),
    ),
    Entry(
        "POST", "/releases/{release}/package", "make the encrypted package", (Act.RELEASE_SEND,),
        (Event.RELEASE_SENT,),
    ),
    Entry("GET", "/agencies", "agencies that may receive reads", _RELEASE),
    Entry(
        "POST", "/agencies", "enter an agency or change its row", (Act.AGENCIES_SET,),
        (Event.AGENCY_SET,), "id name kind ori contact verified certificate retired=yes",
    ),
    Entry(
        "GET", "/recipient-orders", "orders to recipients", (Act.RECIPIENT_ORDERS,),
        (Event.RECIPIENT_ORDERS_VIEWED,),
    ),
    Entry(
        "POST", "/recipient-orders/{order}", "record that an order went out or was done",
        (Act.RECIPIENT_ORDERS,), (Event.RECIPIENT_ORDER_SENT, Event.RECIPIENT_ORDER_DONE),
        "act=sent|confirmed said",
    ),
    Entry("GET", "/requests", "requests of others", _OUTSIDE, (Event.REQUESTS_LISTED,)),
    Entry(
        "POST", "/requests", "enter a request of others", (Act.OUTSIDE_WORK,),
        (Event.REQUEST_RECEIVED,), "kind requester contact what received returns paper",
    ),
    Entry("GET", "/requests/{asked}", "one request of others", _OUTSIDE, (Event.REQUESTS_LISTED,)),
    Entry(
        "POST", "/requests/{asked}", "record the answer", (Act.OUTSIDE_WORK,),
        (Event.REQUEST_ANSWERED,), "outcome answer",
    ),
    Entry(
        "GET", "/requests/{asked}/lookup", "a data subject's look-up of the own plate",
        _OUTSIDE, (Event.REQUESTS_LISTED,),
    ),
    Entry(
        "POST", "/requests/{asked}/lookup", "ask for the look-up, decide, look",
        (Act.SUBJECT_ASK, Act.SUBJECT_DECIDE),
        (Event.SUBJECT_ASKED, Event.SUBJECT_APPROVED, Event.SUBJECT_REFUSED,
         Event.SUBJECT_LOOKED_UP),
        "act=ask|approve|refuse|look plate state identity ownership reason",
    ),
    # --- audits, security assessments ---
    Entry("GET", "/audits", "biennial audits: due dates, register, package, samples", _AUDIT),
    Entry(
        "POST", "/audits", "enter a completed audit; its report went out", (Act.AUDIT_KEEP,),
        (Event.AUDIT_ENTERED, Event.AUDIT_REPORTED),
        "act=enter|reported auditor_name reference since until completed results audit day to",
    ),
    Entry(
        "POST", "/audits/package", "build the audit's package", (Act.AUDIT_PACKAGE,),
        (Event.AUDIT_PACKAGED,), "since until",
    ),
    Entry(
        "GET", "/audits/package/{package}", "fetch a package that one built", (Act.AUDIT_PACKAGE,),
        (Event.AUDIT_PACKAGE_TAKEN,),
    ),
    Entry(
        "POST", "/audits/sample", "draw a sample", (Act.AUDIT_SAMPLE,), (Event.AUDIT_SAMPLED,),
        "kind=ledger|searches|releases|users seed size since until",
    ),
    Entry("GET", "/audits/{audit}/results", "the results of an audit, which are public", _AUDIT),
    Entry("GET", "/assessments", "yearly security assessments: due date and register", _INCIDENT),
    Entry(
        "POST", "/assessments", "enter a security assessment", (Act.INCIDENT_WORK,),
        (Event.ASSESSMENT_FILED,), "done paper",
    ),
    Entry(
        "GET", "/assessments/{assessment}", "the paper of an assessment", _INCIDENT,
        (Event.ASSESSMENT_VIEWED,),
    ),
    # --- breach file, compliance ---
    Entry("GET", "/incidents", "the breach file", _INCIDENT, (Event.INCIDENTS_LISTED,)),
    Entry(
        "POST", "/incidents", "begin an incident", (Act.INCIDENT_WORK,), (Event.INCIDENT_OPENED,),
        "kind what discovered",
    ),
    Entry("GET", "/incidents/{incident}", "one incident", _INCIDENT, (Event.INCIDENTS_LISTED,)),
    Entry(
        "POST", "/incidents/{incident}",
        "count, decide, delay, notify, mark, dispose or close an incident", (Act.INCIDENT_WORK,),
        (Event.INCIDENT_COUNTED, Event.INCIDENT_DECIDED, Event.INCIDENT_DELAYED,
         Event.INCIDENT_NOTIFIED, Event.INCIDENT_STEP, Event.INCIDENT_DISPOSED,
         Event.INCIDENT_CLOSED),
        "act=count|decide|delay|notified|mark|dispose|close reason since until person acquired=yes "
        "not_public=yes compromised=yes good_faith=yes review people how step reference results "
        "disposition responsible",
    ),
    Entry(
        "GET", "/incidents/{incident}/plates", "plates whose owners are to be told",
        (Act.INCIDENT_WORK,), (Event.INCIDENT_PLATES_VIEWED,),
    ),
    Entry(
        "GET", "/incidents/{incident}/report", "the report for affected people", _INCIDENT,
        (Event.INCIDENT_REPORTED,),
    ),
    Entry(
        "GET", "/compliance", "daily compliance reports, and audits",
        (Act.COMPLIANCE_SEE, Act.COMPLIANCE_SIGN), (Event.COMPLIANCE_VIEWED,),
    ),
    Entry(
        "POST", "/compliance", "sign a daily report", (Act.COMPLIANCE_SIGN,),
        (Event.COMPLIANCE_SIGNED,), "day note",
    ),
)  # fmt: skip


@cache
def _compiled() -> tuple[tuple[Pattern[str], Entry], ...]:
    return tuple((compile_path(entry.path)[0], entry) for entry in ENTRIES)


def find(method: str, path: str) -> Entry | None:
    """The entry that a request falls under; ``None``: there is no such page."""
    method = "GET" if method == "HEAD" else method
    for pattern, entry in _compiled():
        if entry.method == method and pattern.match(path):
            return entry
    return None


def listed(method: str, template: str) -> bool:
    """Whether a route, by its template, stands in the table."""
    return any((entry.method, entry.path) == (method, template) for entry in ENTRIES)


def table() -> str:
    """``docs/central-routes.md``."""
    lines = [
        "# Routes of central's pages",
        "",
        "Made from `alprd/central/pages/inventory.py` by `alprd-central routes`; a test holds both",
        "together. A route that is not in the table does not exist (R-460.6-a). Whoever asks",
        "without a live sign-on is sent to the sign-on, but for the routes open to everybody,",
        "which show nothing about a person or a read; whoever has none of the acts named is",
        "refused, and the refusal stands in the trail (`access.refused`). Each handler asks",
        "[the table of permissions](permissions.md) again for what it does. Files of `/static/`",
        "(style, icon) are open. The cars' interface is another server with certificates.",
        "",
        "| method | path | what | needs one of | trail |",
        "|---|---|---|---|---|",
    ]
    for one in ENTRIES:
        needs = "open to everybody" if one.public else "; ".join(act.value for act in one.acts)
        events = ", ".join(f"`{event.value}`" for event in one.events) or "none"
        lines.append(f"| {one.method} | `{one.path}` | {one.what} | {needs} | {events} |")
    return "\n".join(lines) + "\n"


def openapi() -> dict[str, Any]:
    """The routes as an OpenAPI 3.1 document, for tests; nothing serves it."""
    paths: dict[str, Any] = {}
    for number, one in enumerate(ENTRIES):
        made: dict[str, Any] = {
            "operationId": f"{one.method.lower()}_{number}",
            "responses": {"default": {"description": one.what}},
        }
        names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
        if names:
            made["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ]
        if one.method == "POST":
            made["requestBody"] = {
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {"type": "object", "properties": _properties(one.fields)}
                    }
                }
            }
        paths.setdefault(one.path, {})[one.method.lower()] = made
    return {"openapi": "3.1.0", "info": {"title": "central", "version": "1"}, "paths": paths}


def _properties(fields: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field in fields.split():
        name, _, values = field.partition("=")
        made[name] = {"type": "string"} | ({"enum": values.split("|")} if values else {})
    return made
