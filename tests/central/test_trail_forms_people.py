"""Forms of people, sessions and resets, sent over HTTP: each finds its event."""

from __future__ import annotations

import re

import httpx
import pytest
from central_world import add_person
from pages_world import sign_on
from trail_world import Forms, day, ids, sends

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]


@sends({"/sign-on": (Event.SIGNED_ON, Event.SIGN_ON_REFUSED), "/sign-off": (Event.SIGNED_OFF,)})
def test_forms_of_the_sign_on(forms: Forms) -> None:
    """The form of the sign-on has a token of its own, before anybody is signed on."""
    before = forms.last()
    with httpx.Client(base_url=forms.client.base_url, timeout=60) as other:
        form = re.search(r'name="csrf" value="([^"]+)"', other.get("/sign-on").text)
        assert form
        wrong = {"csrf": form[1], "person": "rec", "password": "not the password"}
        assert other.post("/sign-on", data=wrong).status_code != 303
        sign_on(other, "rec")
    found = [event for event in forms.since(before) if "rec" in (event.actor, *event.subjects)]
    told = {event.event: event.address for event in found}
    for event in (Event.SIGN_ON_REFUSED, Event.SIGNED_ON):
        assert told[event.value] == "127.0.0.1"
        forms.driven.add(("/sign-on", event))
    forms.send("dana", "/sign-off", Event.SIGNED_OFF)
    forms.who = ""


@sends(
    {
        "/people": (Event.PERSON_ADDED,),
        "/people/{person}": (
            Event.PERSON_CHANGED, Event.TRAINING_RECORDED, Event.SCREENED, Event.ASSIGNED,
            Event.ASSIGNMENT_ENDED, Event.AUTHORISED, Event.AUTHORISATION_WITHDRAWN,
            Event.PERSON_RETIRED,
        ),
    },
    "/people/{person}",
)  # fmt: skip
def test_forms_of_people(forms: Forms) -> None:
    forms.send("dana", "/people", Event.PERSON_ADDED, id="fresh", name="New Person",
               password="a long one for the test", screening="S-26-9", roles="records")  # fmt: skip
    values = {
        "name": "Newer Person", "roles": "records", "course": "ALPR 1", "completed": day(),
        "expires": day(90), "evidence": "Certificate 7", "screened_by": "BCA",
        "scope": "All records", "until": day(90), "purposes": "All", "designation": "",
        "reason": "Letter of today.", "confirm": "fresh",
    }  # fmt: skip
    for who, act, event in (
        ("dana", "change", Event.PERSON_CHANGED), ("dana", "train", Event.TRAINING_RECORDED),
        ("dana", "screen", Event.SCREENED),
        ("sher", "authorise", Event.AUTHORISED),
        ("sher", "withdraw", Event.AUTHORISATION_WITHDRAWN),
        ("dana", "retire", Event.PERSON_RETIRED),
    ):  # fmt: skip
        forms.send(who, "/people/{person}", event, url="/people/fresh", act=act, **values)
    forms.page("dana", "/people/ida")
    add_person(forms.home, "ann", "alpr_admin")
    for until, event in ((day(90), Event.ASSIGNED), (day(), Event.ASSIGNMENT_ENDED)):
        forms.send("dana", "/people/{person}", event, url="/people/ann", act="assign",
                   **values | {"until": until})  # fmt: skip


@sends(
    {
        "/resets": (Event.RESET_ASKED,),
        "/resets/{reset}": (Event.RESET_DECIDED,),
        "/sign-off/{ref}": (Event.FORCED_OFF,),
    },
    "/resets", "/people",
)  # fmt: skip
def test_forms_of_resets_and_of_others_sessions(forms: Forms) -> None:
    for decision in ("refuse", "approve"):
        forms.send("dana", "/resets", Event.RESET_ASKED, person="dag", kind="totp",
                   reason="Lost the telephone.")  # fmt: skip
        reset = ids(forms.page("adam", "/resets"), "/resets")[0]
        forms.send("adam", "/resets/{reset}", Event.RESET_DECIDED, url=f"/resets/{reset}",
                   decision=decision)  # fmt: skip
    add_person(forms.home, "newt", "records")
    with httpx.Client(base_url=forms.client.base_url, timeout=60) as other:
        sign_on(other, "newt")
        page = forms.page("dana", "/people")
        row = next(part for part in page.split("<tr") if "newt" in part and "/sign-off/" in part)
        [ref] = ids(row, "/sign-off")
        forms.send("dana", "/sign-off/{ref}", Event.FORCED_OFF, url=f"/sign-off/{ref}")
        assert other.get("/").status_code == 303, "the session is over"
