"""Signing on: what is recorded, which refusal says what, locks and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import httpx
import pytest

from alprd.audit import Event
from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.security import RateLimit
from alprd.roster import RosterBook
from mdt.streams import events, second
from mdt.world import Car, person, roster

__all__ = ["events", "second"]

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


@pytest.mark.policy("R-460.4-a", "R-460.6-f")
def test_sign_on_is_recorded_with_purpose_unit_and_notice(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    answer = sign_on()
    assert answer.status_code == 200, answer.text
    assert {
        "person": "dep.one",
        "name": "Deputy One",
        "unit": "4712",
    }.items() <= answer.json().items()
    (event,) = served.store.audit_events()
    assert (event.event, event.actor, event.actor_name) == (
        Event.SIGNED_ON,
        "dep.one",
        "Deputy One",
    )
    assert event.detail["purpose"] == "stolen_vehicles"
    assert event.detail["acknowledged"] is True
    assert event.detail["notice"]
    assert served.collecting.told == [("on", "dep.one", "stolen_vehicles", "4712")]
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/session").json()["person"] == "dep.one"
    page = client.get("/", headers=PAGE)
    assert page.status_code == 200
    assert "Deputy One" in page.text


@pytest.mark.policy("R-460.4-d", "R-460.3-1")
@pytest.mark.parametrize(
    ("who", "form", "reason"),
    [
        ("dep.one", {"password": "wrong"}, "wrong_password"),
        ("nobody", {}, "wrong_password"),
        ("dep.untrained", {}, "training_expired"),
        ("dep.one", {"acknowledged": "-"}, "not_acknowledged"),
        ("dep.one", {"purpose": "other"}, "unknown_purpose"),
        ("dep.one", {"unit": "<b>"}, "bad_unit"),
    ],
)
def test_refusals_say_why_and_are_recorded(
    served: Car, client: httpx.Client, sign_on: SignOn, who: str, form: dict[str, str], reason: str
) -> None:
    answer = sign_on(who, **form)
    assert (answer.status_code, answer.json()["error"]) == (403, reason)
    assert client.get("/session").status_code == 401
    assert served.collecting.told == []
    (event,) = served.store.audit_events()
    assert (event.event, event.detail["reason"]) == (Event.SIGN_ON_REFUSED, reason)
    assert event.actor == ("unknown" if who == "nobody" else who)  # typed text is not recorded


def test_refusal_on_the_page_keeps_what_was_typed_but_the_password(
    client: httpx.Client, served: Car
) -> None:
    token = client.get("/sign-on").json()["csrf"]
    form = {"person": "dep.one", "password": "wrong", "unit": "4712", "csrf": token}
    form |= {"purpose": "active_warrants", "acknowledged": "on"}
    answer = client.post("/sign-on", data=form, headers=PAGE)
    assert answer.status_code == 403
    assert 'data-reason="wrong_password"' in answer.text
    assert 'value="dep.one"' in answer.text
    assert "wrong" not in answer.text.replace("wrong_password", "")


@pytest.mark.policy("R-CJIS-3")
def test_lock_is_recorded_once(served: Car, sign_on: SignOn) -> None:
    reasons = [sign_on(password="wrong").json()["error"] for _ in range(6)]
    assert reasons == ["wrong_password"] * 4 + ["locked"] * 2
    assert served.events().count(Event.LOCKED) == 1
    assert served.events().count(Event.SIGN_ON_REFUSED) == 6


def test_sign_on_is_rate_limited_and_needs_its_form(client: httpx.Client, sign_on: SignOn) -> None:
    assert client.post("/sign-on", data={"person": "dep.one"}).json()["error"] == "csrf"
    assert sign_on(csrf="forged").json()["error"] == "csrf"
    codes = [sign_on("nobody", password="x").status_code for _ in range(12)]
    assert codes[0] == 403
    assert codes[-1] == 429


def test_a_car_without_a_roster_does_not_use_up_the_tries(car: Car, sign_on: SignOn) -> None:
    context = dataclasses.replace(car.context, roster_book=RosterBook())
    server = serve_in_thread(create_app(context), "127.0.0.1", 0)
    headers = {"Accept": "application/json"}
    base = f"http://127.0.0.1:{server.port}"
    try:
        with httpx.Client(base_url=base, headers=headers, trust_env=False) as early:
            answers = [sign_on(by=early) for _ in range(15)]
            assert {answer.json()["error"] for answer in answers} == {"no_roster"}
            context.roster_book.load(roster(person("one")))
            assert sign_on(by=early).status_code == 200
    finally:
        server.stop()


def test_rate_limit_refills_and_forgets_old_addresses() -> None:
    now = [0.0]
    limit = RateLimit(burst=2, per_second=1, monotonic=lambda: now[0], addresses=2)
    assert [limit.allow("a") for _ in range(3)] == [True, True, False]
    assert limit.allow("b")
    now[0] += 1
    assert [limit.allow("a"), limit.allow("a")] == [True, False]
    limit.allow("c")
    limit.allow("d")
    assert limit.allow("a")


def test_a_permit_that_lapsed_refuses_and_signs_nobody_on(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    served.collecting.refuse = "permit_lapsed"
    assert sign_on().json()["error"] == "permit_lapsed"
    assert client.get("/session").status_code == 401
    assert served.events() == [Event.SIGNED_ON, Event.SIGNED_OFF, Event.SIGN_ON_REFUSED]
