"""How a sign-on ends: hand-over, a newer roster, a freeze, idleness, a trail that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import httpx
import pytest

from alprd.audit import Event
from alprd.mdt.signons import SignOns
from mdt.streams import Events, events, second
from mdt.world import PASSWORD, Car, person, roster

__all__ = ["events", "second"]

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


@pytest.mark.policy("R-460.4-0")
def test_hand_over_signs_the_first_person_off(
    served: Car,
    client: httpx.Client,
    second: httpx.Client,
    sign_on: SignOn,
    events: Callable[..., Events],
) -> None:
    sign_on()
    stream = events()
    stream.until_status()
    sign_on("dep.two", by=second)
    stream.next("signed-off")
    assert list(stream) == []  # the stream ends
    assert client.get("/session").status_code == 401
    assert second.get("/session").json()["person"] == "dep.two"
    assert [told[0:2] for told in served.collecting.told] == [
        ("on", "dep.one"),
        ("off", "hand_over"),
        ("on", "dep.two"),
    ]
    off = served.store.audit_events()[1]
    assert (off.event, off.detail["reason"], off.detail["person"]) == (
        Event.SIGNED_OFF,
        "hand_over",
        "dep.one",
    )


def test_two_screens_of_one_person_share_the_sign_on(
    served: Car, client: httpx.Client, second: httpx.Client, sign_on: SignOn
) -> None:
    sign_on()
    sign_on(by=second)
    assert served.collecting.told == [("on", "dep.one", "stolen_vehicles", "4712")]
    assert client.post("/sign-off", headers={"X-CSRF-Token": "forged"}).status_code == 403
    token = client.get("/session").json()["csrf"]
    assert token != second.get("/session").json()["csrf"]
    assert client.post("/sign-off", headers={"X-CSRF-Token": token}).status_code == 204
    assert second.get("/session").status_code == 401
    assert served.collecting.told[-1] == ("off", "signed_off")


def test_signing_on_again_resumes_what_the_car_had_stopped(served: Car, sign_on: SignOn) -> None:
    sign_on()
    served.status = dataclasses.replace(served.status, session_open=False)  # the permit lapsed, say
    sign_on()
    assert [told[:2] for told in served.collecting.told] == [
        ("on", "dep.one"),
        ("off", "renewed"),
        ("on", "dep.one"),
    ]


@pytest.mark.policy("R-460.4-d")
def test_a_newer_roster_ends_a_running_sign_on(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    sign_on()
    served.book.load(roster(person("two")))
    assert client.get("/session").status_code == 401
    assert served.collecting.told[-1] == ("off", "revoked")


@pytest.mark.policy("R-460.6-f")
def test_a_frozen_person_is_signed_off_with_the_next_roster_and_told_why(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    """R-460.6-f: the roster alone ends it, whatever the screens ask for."""
    sign_on()
    frozen = served.book.find("dep.one")
    assert frozen is not None
    served.book.load(roster(frozen.model_copy(update={"frozen": True})))
    assert client.get("/session").status_code == 401
    assert served.collecting.told[-1] == ("off", "frozen")
    answer = sign_on()
    assert (answer.status_code, answer.json()["error"]) == (403, "frozen")
    refused = [one.detail for one in served.store.audit_events() if one.event.endswith("refused")]
    assert refused[-1] == {"reason": "frozen"}


@pytest.mark.policy("R-460.6-f", "R-460.4-d")
def test_silent_screens_keep_nobody_signed_on_who_lost_the_leave(car: Car) -> None:
    """R-460.6-f, R-460.4-d: the clock's look ends it too."""
    signons = SignOns(
        car.book, car.store, car.collecting, car.context.clock,
        on_end=car.board.end_shift, collecting=lambda: True,
    )  # fmt: skip
    signons.sign_on("dep.one", PASSWORD, purpose="stolen_plates", unit="1", acknowledged=True)
    signons.sweep()
    live = signons.live
    assert live is not None
    car.book.load(roster(live.person.model_copy(update={"frozen": True})))
    signons.sweep()
    assert signons.live is None
    assert car.collecting.told[-1] == ("off", "frozen")


@pytest.mark.policy("R-CJIS-3")
def test_idle_and_long_sign_ons_end(car: Car) -> None:
    now = [0.0]
    signons = SignOns(
        car.book,
        car.store,
        car.collecting,
        car.context.clock,
        on_end=car.board.end_shift,
        collecting=lambda: True,
        idle_s=60,
        shift_s=1000,
        monotonic=lambda: now[0],
    )

    def on() -> str:
        return signons.sign_on(
            "dep.one", PASSWORD, purpose="stolen_plates", unit="1", acknowledged=True
        )[0]

    token = on()
    now[0] += 59
    assert signons.check(token)
    now[0] += 59
    signons.sweep()
    assert signons.check(token)
    now[0] += 61
    signons.sweep()
    assert signons.check(token) is None
    assert car.collecting.told[-1] == ("off", "idle")
    token = on()
    for _ in range(20):
        now[0] += 50
        assert signons.check(token)
        signons.sweep()
    now[0] += 50
    signons.sweep()
    assert signons.live is None
    assert car.collecting.told[-1] == ("off", "shift_over")


@pytest.mark.policy("R-AT-3")
def test_without_a_trail_nobody_signs_on(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    served.store.close()
    answer = sign_on()
    assert (answer.status_code, answer.json()["error"]) == (503, "no_trail")
    assert served.collecting.told == []
    assert client.get("/session").status_code == 401


# --- live alerts ------------------------------------------------------------------------------
