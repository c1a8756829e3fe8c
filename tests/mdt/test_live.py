"""Live cards over a real socket: kinds, clearances, replay, bursts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from alprd.audit import Event
from mdt.streams import Events, events, second
from mdt.world import Car, match, plate_picture, reading

__all__ = ["events", "second"]

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


@pytest.mark.policy("R-460.4-f", "R-13.824-7-5")
def test_alert_arrives_live_and_is_recorded_as_shown(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    stream = events()
    stream.next("status")
    before = time.monotonic()
    pass_id, alert = served.alert(hours=5)
    card = stream.next("alert")
    assert time.monotonic() - before < 1.0
    assert card["pass_id"] == pass_id
    expected = {
        "id": alert,
        "state": "new",
        "plate": "ZQX417",
        "region_read": "MN",
        "region_listed": "MN",
        "kind": "exact",
        "category": "stolen",
        "priority": "high",
        "source": "MN DPS hot file",
        "captured_mono_ns": 123,
        "cleared": True,
    }
    assert expected.items() <= card.items()
    assert card["list_age_h"] == pytest.approx(5, abs=0.1)
    assert not any("prob" in name or "confidence" in name for name in card)
    shown = served.store.audit_events()[-1]
    assert (shown.event, shown.actor, shown.subjects) == (Event.ALERT_SHOWN, "dep.one", (alert,))
    assert stream.comments >= 1


def test_kinds_are_told_apart(served: Car, sign_on: SignOn, events: Callable[..., Events]) -> None:
    sign_on()
    stream = events()
    served.alert("ZOX417", listed="ZQX417")
    card = stream.next("alert")
    assert (card["kind"], card["differing"], card["read"], card["listed"]) == (
        "look-alike",
        [1],
        "ZOX417",
        "ZQX417",
    )
    served.alert("ABC123", region=None)
    card = stream.next("alert")
    assert (card["kind"], card["plate_type_label"]) == ("state-unknown", "")
    served.alert("ABF123", plate_type="trailer", type_differs=True)
    label = stream.next("alert")["plate_type_label"]
    assert label == "OTHER PLATE TYPE: listed is a trailer plate"
    served.alert("ABD123", region="WI")
    assert stream.next("alert")["kind"] == "other-state"
    served.alert("1234", listed="1234YT", stacked="YT")
    card = stream.next("alert")
    assert (card["plate"], card["stacked"], card["read"]) == ("1234", "YT", "1234YT")


@pytest.mark.policy("R-460.4-f")
def test_places_that_may_be_one_of_two_are_named(
    served: Car, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    """ADR 0060: the text may equal the list's and the plate be another one all the same."""
    sign_on()
    stream = events()
    served.alert("ZQX417")
    card = stream.next("alert")
    assert (card["open"], card["open_label"]) == ([], "")
    served.alert("L0ON1", open=(1, 2, 4))
    card = stream.next("alert")
    assert (card["kind"], card["open"]) == ("exact", [1, 2, 4])
    assert card["open_label"] == (
        "Could be O or 0, I or 1 (characters 2, 3, 5): compare with the picture"
    )
    served.alert("BEMOX", listed="BEM0X", open=(3,))  # the row of characters shows that one
    card = stream.next("alert")
    assert (card["kind"], card["open"], card["open_label"]) == ("look-alike", [], "")
    # Minnesota's stacked letters may stand before the text, which moves its places.
    served.alert("1204", listed="YT1204", stacked="YT", open=(2,))
    card = stream.next("alert")
    assert (card["read"], card["open"]) == ("YT1204", [4])


@pytest.mark.policy("R-460.4-e")
def test_without_clearance_only_contact_dispatch(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on("dep.limited")
    _, alert = served.alert()
    card = events().next("alert")
    assert card["text"] == "Contact dispatch"
    assert set(card) == {
        "id", "number", "alarm", "state", "camera", "instant", "first_instant", "time_trusted",
        "captured_mono_ns", "decided_mono_ns", "count", "cleared", "priority", "text", "settled",
        "dispatched",
    }  # fmt: skip
    assert card["priority"] == "medium"
    assert client.get(f"/alerts/{alert}/plate.jpg").status_code == 404
    assert client.get(f"/alerts/{alert}/wide.jpg").status_code == 404
    assert Event.PICTURE_VIEWED not in served.events()
    assert served.store.audit_events()[-1].detail["cleared"] is False


@pytest.mark.policy("R-460.4-e", "R-460.4-f")
def test_without_clearance_an_alert_is_settled_by_dispatch(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    """R-460.4-e, -f: one answer, recorded; who may see the alert has to verify it."""
    sign_on("dep.limited")
    _, alert = served.alert()
    stream = events()
    assert stream.next("alert")["settled"] is False
    way = f"/alerts/{alert}/dispatch"
    assert client.post(way, data={"dispatched": "perhaps"}).status_code == 400
    assert client.post(way, data={"dispatched": "yes"}).status_code == 204
    card = stream.next("alert")
    assert (card["state"], card["settled"], card["dispatched"]) == ("acknowledged", True, True)
    assert served.board.unresolved() == []
    (event,) = [one for one in served.store.audit_events() if one.event == Event.ALERT_DISPATCHED]
    assert (event.actor, event.detail["dispatched"]) == ("dep.limited", True)
    _, other = served.alert("ABD452")
    sign_on("dep.one")
    answer = client.post(f"/alerts/{other}/dispatch", data={"dispatched": "no"})
    assert (answer.status_code, answer.json()["error"]) == (409, "out_of_order")
    assert client.post(f"/alerts/{other}/compare", data={"agrees": "yes"}).status_code == 204
    sign_on("dep.limited")
    answer = client.post(f"/alerts/{other}/dispatch", data={"dispatched": "no"})
    assert (answer.status_code, answer.json()["error"]) == (409, "out_of_order")


def test_pictures_are_given_and_recorded(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    sign_on()
    _, alert = served.alert(wide=False)
    answer = client.get(f"/alerts/{alert}/plate.jpg")
    assert answer.content == plate_picture("ZQX417")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert client.get(f"/alerts/{alert}/wide.jpg").status_code == 404
    assert client.get(f"/alerts/{'0' * 32}/plate.jpg").status_code == 404
    assert served.events().count(Event.PICTURE_VIEWED) == 1


def test_acts(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    pass_id, alert = served.alert()
    stream = events()
    alarm = stream.next("alert")["alarm"]
    for act, state in (
        ("silence", "silenced"),
        ("unsilence", "new"),
        ("silence", "silenced"),
        ("acknowledge", "acknowledged"),
    ):
        assert client.post(f"/alerts/{alert}/{act}", data={"seen": str(alarm)}).status_code == 204
        assert stream.next("alert")["state"] == state
    served.board.correct(pass_id, reading("ZOX417"), match("ZOX417", "ZQX417"))
    card = stream.next("alert")
    assert (card["state"], card["corrected_from"], card["plate"]) == ("new", "ZQX417", "ZOX417")
    late = client.post(f"/alerts/{alert}/acknowledge", data={"seen": str(alarm)})
    assert (late.status_code, late.json()["error"]) == (409, "changed")
    served.board.withdraw(pass_id, "It was read again.")
    assert stream.next("alert")["state"] == "withdrawn"
    assert client.post(f"/alerts/{alert}/acknowledge").status_code == 204
    assert stream.next("gone") == {"id": alert}
    assert client.post(f"/alerts/{alert}/acknowledge").status_code == 404
    assert client.post(f"/alerts/{alert}/acknowledge", data={"seen": "x"}).status_code == 400


def test_acts_need_the_token_and_come_from_the_page(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    sign_on()
    _, alert = served.alert()
    url = f"/alerts/{alert}/acknowledge"
    assert client.post(url, headers={"X-CSRF-Token": ""}).status_code == 403
    assert client.post(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post(url, content=b"x" * 20_000).status_code == 413
    assert client.post(url, content=iter([b"x"])).status_code == 411
    token = client.headers.pop("X-CSRF-Token")
    assert client.post(url, data={"csrf": "forged"}).status_code == 403
    assert client.get(url).status_code == 405
    view = served.board.view(alert)
    assert view is not None
    assert view.state == "new"
    assert client.post(url, data={"csrf": token}).status_code == 204


def test_replay_after_a_break(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    _, first = served.alert("AAA111")
    stream = events()
    assert [name for name, _ in stream.until_status()] == ["reset", "alert"]
    last = stream.last
    stream.close()
    _, missed = served.alert("BBB222")
    client.post(f"/alerts/{first}/silence")
    again = events(last)
    told = again.until_status()
    assert [(name, data["id"]) for name, data in told] == [("alert", missed), ("alert", first)]
    stranger = events("ffffffff-3").until_status()  # of a daemon that is no more
    assert [name for name, _ in stranger] == ["reset", "alert", "alert"]


@pytest.mark.policy("R-AT-3")
def test_without_a_trail_no_alert_is_shown_but_said_so(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    stream = events()
    stream.until_status()
    served.store.close()
    served.alert()
    for name, data in stream:
        assert name != "alert"
        if name == "trouble":
            assert "audit trail" in data["message"]
            break


@pytest.mark.policy("R-460.5-b4")
def test_a_suppressed_alert_looks_like_any_other(
    served: Car, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    cards = []
    for suppressed in (False, True):
        text = "SUP111" if suppressed else "ORD111"
        served.board.raise_alert(
            pass_id=f"pass-{text}",
            camera="front",
            reading=reading(text),
            match=match(text),
            plate_jpeg=b"p",
            wide_jpeg=None,
            instant=datetime.now(UTC),
            time_trusted=True,
            captured_mono_ns=1,
            session="",
            suppressed=suppressed,
        )
    stream = events()
    cards = [stream.next("alert"), stream.next("alert")]
    assert set(cards[0]) == set(cards[1])
    assert "suppress" not in json.dumps(cards)


def test_sixty_alerts_in_a_burst_all_arrive(
    served: Car, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    stream = events()
    stream.until_status()

    def burst() -> None:
        for i in range(60):
            served.board.raise_alert(
                pass_id=f"b{i}",
                camera="front",
                reading=reading(f"B{i:04}"),
                match=match(f"B{i:04}"),
                plate_jpeg=b"p",
                wide_jpeg=None,
                instant=datetime.now(UTC),
                time_trusted=True,
                captured_mono_ns=i,
                session="",
            )

    thread = threading.Thread(target=burst)
    thread.start()
    got = {stream.next("alert")["plate"] for _ in range(60)}
    thread.join()
    assert got == {f"B{i:04}" for i in range(60)}


# --- anything at all --------------------------------------------------------------------------
