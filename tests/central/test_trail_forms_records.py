"""Forms of lists, entries, links, holds and the schedule, sent over HTTP: each finds its event."""

from __future__ import annotations

import pytest
from trail_world import WORDS, Forms, day, ids, local, sends

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]


@sends(
    {
        "/lists/upload": (Event.LIST_IMPORTED, Event.LIST_HELD),
        "/lists/held/{held}": (Event.LIST_REFUSED, Event.LIST_ACCEPTED),
        "/categories": (Event.CATEGORY_MAPPED,),
    },
    "/lists/rejected/{report}",
)
def test_forms_of_lists(forms: Forms) -> None:
    head = "plate,state,type,category,source,entered,text\n"
    given = {"list_id": "lpdf", "source": "LPDF", "supplied": local(-60)}
    lines = "NRT042,MN,,stolen,LPDF,,\nHPJ1000,QQ,,stolen,LPDF,,\n"  # the second is rejected
    good = {"file": ("x.csv", f"{head}{lines}".encode())}
    odd = {"file": ("x.csv", f"{head}KZM905,MN,,Fire Watch,LPDF,,\n".encode())}
    forms.send("dana", "/lists/upload", Event.LIST_IMPORTED, files=good, **given)
    report = ids(forms.page("dana", "/lists"), "/lists/rejected")[0]
    forms.page("dana", f"/lists/rejected/{report}")
    for decision, event in (("refuse", Event.LIST_REFUSED), ("accept", Event.LIST_ACCEPTED)):
        held = forms.send("dana", "/lists/upload", Event.LIST_HELD, files=odd,
                          **given | {"supplied": local(-30)})  # fmt: skip
        if decision == "accept":
            forms.send("dana", "/categories", Event.CATEGORY_MAPPED, source="own",
                       code="Fire Watch", column="other_lpdf", priority="low")  # fmt: skip
        forms.send("dana", "/lists/held/{held}", event, url=held.headers["location"],
                   decision=decision, reason="The state told us of this by letter")  # fmt: skip


@sends(
    {
        "/additional": (Event.ENTRY_REQUESTED,),
        "/additional/{entry}": (Event.ENTRY_APPROVED, Event.ENTRY_REVOKED, Event.ENTRY_REFUSED),
    },
    "/additional",
)
def test_forms_of_entries(forms: Forms) -> None:
    """The review is a form of ``test_trail_past.py``."""
    for act, event in (
        ("approve", Event.ENTRY_APPROVED), ("revoke", Event.ENTRY_REVOKED),
        ("refuse", Event.ENTRY_REFUSED),
    ):  # fmt: skip
        if act != "revoke":
            plate = f"ADD100{len(act)}"
            forms.send("ida", "/additional", Event.ENTRY_REQUESTED, plate=plate, state="MN",
                       case="26001234", offence="burglary", purpose="suspect_interdiction",
                       kind="interdiction", days="7", relation=WORDS)  # fmt: skip
            entry = ids(forms.page("dana", "/additional"), "/additional")[0]
        forms.send("dana", "/additional/{entry}", event, url=f"/additional/{entry}", act=act,
                   reason=WORDS)  # fmt: skip


@sends(
    {
        "/links": (Event.LINK_REQUESTED,),
        "/links/{link}": (
            Event.LINK_APPROVED, Event.LINK_REVIEWED, Event.LINK_INACTIVE, Event.LINK_SCHEDULED,
            Event.EXEMPTION_RELEASED, Event.LINK_REFUSED,
        ),
    },
    "/links", "/links/{link}", "/links/{link}/reads", "/links/{link}/reads/{read}",
)  # fmt: skip
def test_forms_of_links(forms: Forms) -> None:
    link = ""
    for act, event in (
        ("approve", Event.LINK_APPROVED), ("review", Event.LINK_REVIEWED),
        ("inactive", Event.LINK_INACTIVE), ("schedule", Event.LINK_SCHEDULED),
        ("release", Event.EXEMPTION_RELEASED), ("refuse", Event.LINK_REFUSED),
    ):  # fmt: skip
        if act in ("approve", "refuse"):
            read = forms.reads[0 if act == "approve" else 2].id
            made = forms.send("ida", "/links", Event.LINK_REQUESTED, case="26001234",
                              relation=WORDS, reads=read)  # fmt: skip
            link = made.headers["location"].rpartition("/")[2].partition("?")[0]
            forms.page("dana", "/links")
        forms.send("dana", "/links/{link}", event, url=f"/links/{link}", act=act, reason=WORDS,
                   outcome="declined", citation="GRS 12", ends=day(80), confirm="yes",
                   until=day(90))  # fmt: skip
        if act == "approve":
            for page in ("", "/reads", f"/reads/{forms.reads[0].id}"):
                forms.page("ida", f"/links/{link}{page}")


@sends(
    {
        "/holds": (Event.HOLD_PLACED,),
        "/holds/{hold}": (Event.HOLD_COLLECTED, Event.EXEMPTION_RELEASED),
        "/schedule": (Event.SCHEDULE_SET,),
    },
    "/holds", "/holds/{hold}", "/holds/{hold}/reads", "/holds/{hold}/reads/{read}",
    "/holds/{hold}/request",
)  # fmt: skip
def test_forms_of_holds_and_the_schedule(forms: Forms) -> None:
    paper = {"request": ("letter.pdf", b"Please keep them. (invented)", "application/pdf")}
    forms.send("dana", "/holds", Event.HOLD_PLACED, files=paper, requester="Counsel",
               received=local(-5), number="26-CR-0042", statement=WORDS, plates="FRM1003",
               since=local(-60), until=local(1))  # fmt: skip
    hold = ids(forms.page("dana", "/holds"), "/holds")[0]
    for page in ("", "/reads", f"/reads/{forms.reads[3].id}", "/request"):
        forms.page("dana", f"/holds/{hold}{page}")
    for act, event in (
        ("collected", Event.HOLD_COLLECTED), ("release", Event.EXEMPTION_RELEASED)
    ):  # fmt: skip
        forms.send("dana", "/holds/{hold}", event, url=f"/holds/{hold}", act=act, reason=WORDS,
                   confirm="yes")  # fmt: skip
    forms.send("dana", "/schedule", Event.SCHEDULE_SET, type="destructions", citation="GRS 11",
               days="3650")  # fmt: skip
