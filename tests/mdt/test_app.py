"""The page over a real socket: who gets in, what goes out, what is recorded."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route

from alprd.audit import Event
from alprd.errors import ConfigError
from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.inventory import ENTRIES
from alprd.mdt.security import RateLimit
from alprd.mdt.signons import SignOns
from alprd.mdt.status import CameraState, CarStatus, ListState
from alprd.roster import RosterBook
from mdt.world import PASSWORD, Car, match, person, plate_picture, reading, roster

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


class Events:
    """The event stream of a signed-on client, read as it comes."""

    def __init__(self, client: httpx.Client, last: str = "") -> None:
        headers = {"Last-Event-ID": last} if last else {}
        self._stream = client.stream("GET", "/events", headers=headers, timeout=15)
        self.response = self._stream.__enter__()
        self._lines = self.response.iter_lines()
        self.last = last
        self.comments = 0

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        name, data = "", ""
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line.startswith("id: "):
                self.last = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line and name:
                yield name, json.loads(data)
                name = ""

    def next(self, wanted: str) -> Any:
        for name, data in self:
            if name == wanted:
                return data
        raise AssertionError(f"the stream ended without {wanted}")

    def until_status(self) -> list[tuple[str, Any]]:
        """What comes before the next status."""
        found: list[tuple[str, Any]] = []
        for name, data in self:
            if name == "status":
                return found
            found.append((name, data))
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def events(client: httpx.Client) -> Iterator[Callable[..., Events]]:
    opened: list[Events] = []

    def open_stream(*args: Any, by: httpx.Client | None = None) -> Events:
        opened.append(Events(by or client, *args))
        return opened[-1]

    yield open_stream
    for stream in opened:
        stream.close()


@pytest.fixture
def second(served: Car) -> Iterator[httpx.Client]:
    """Another program."""
    headers = {"Accept": "application/json"}
    with httpx.Client(base_url=served.address, headers=headers, trust_env=False) as made:
        yield made


# --- deny by default --------------------------------------------------------------------------


@pytest.mark.policy("R-460.6-a", "R-460.6-a2")
def test_every_route_is_closed_without_a_sign_on(client: httpx.Client, served: Car) -> None:
    _, alert = served.alert()
    open_routes = {entry.key for entry in ENTRIES if entry.who == "anybody"}
    assert open_routes == {("GET", "/sign-on"), ("POST", "/sign-on"), ("GET", "/healthz")}
    inventory: set[tuple[str, str]] = set()
    for route in create_app(served.context).routes:
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        assert isinstance(route, Route)
        inventory |= {(method, route.path) for method in (route.methods or ()) if method != "HEAD"}
    assert inventory == {entry.key for entry in ENTRIES}
    words = {word for _, path in inventory for word in path.split("/")}
    assert words.isdisjoint({"reads", "search", "map"})
    for method, path in [*sorted(inventory - open_routes), ("GET", "/nowhere"), ("PUT", "/")]:
        url = path.replace("{alert_id}", alert)
        for cookie in ("", "alprd_session=guess"):
            headers = {"Cookie": cookie} if cookie else {}
            answer = client.request(method, url, headers=headers)
            assert answer.status_code == 401, path
            assert answer.json() == {"error": "not_signed_on", "message": "Sign on first."}
            shown = client.request(method, url, headers=headers | PAGE)
            assert (shown.status_code, shown.headers.get("location")) == (
                (303, "/sign-on") if method == "GET" else (401, None)
            )
    assert served.events() == []


def test_healthz_and_static_are_open_and_tell_nothing(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/static/page.js").status_code == 200
    assert client.get("/static/../app.py").status_code in (401, 404)
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_headers_forbid_everything_foreign(client: httpx.Client, sign_on: SignOn) -> None:
    sign_on()
    for path in ("/", "/sign-on", "/healthz", "/nowhere", "/static/mdt.css"):
        headers = client.get(path, headers=PAGE).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        assert "server" not in headers


def test_templates_have_no_inline_script_style_or_foreign_address() -> None:
    root = Path(__file__).resolve().parents[2] / "alprd" / "mdt"
    for path in [*(root / "templates").iterdir(), *(root / "static").iterdir()]:
        text = path.read_text()
        assert " style=" not in text, path
        assert "onclick" not in text, path
        assert "https://" not in text, path
        assert text.count("<script") == text.count('<script type="module" src="/static/'), path


# --- sign-on ----------------------------------------------------------------------------------


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

PATHS = st.sampled_from(
    ["/", "/sign-on", "/sign-off", "/session", "/healthz", "/static/mdt.css"]
    + [f"/alerts/{'a' * 32}/{tail}" for tail in ("plate.jpg", "silence", "acknowledge")]
) | st.text("/ab%.20", max_size=12).map(lambda text: "/" + text.lstrip("/"))
FORMS = st.dictionaries(
    st.sampled_from(["person", "password", "purpose", "unit", "acknowledged", "csrf", "seen"]),
    st.text(max_size=40).filter(lambda text: text.isprintable()),
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]),
    path=PATHS,
    form=FORMS,
    page=st.booleans(),
    on=st.booleans(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_makes_the_server_fail(
    client: httpx.Client,
    sign_on: SignOn,
    method: str,
    path: str,
    form: dict[str, str],
    page: bool,
    on: bool,
) -> None:
    if on and client.get("/session").status_code == 401:
        sign_on()
    headers = {"Accept": "text/html"} if page else {}
    body = form if method in ("POST", "PUT") else None
    cookies = None if on else {"alprd_session": form.get("csrf", "")[:20].encode().hex()}
    request = client.build_request(method, path, data=body, headers=headers, cookies=cookies)
    assert client.send(request).status_code < 500


# --- server and status ------------------------------------------------------------------------


def test_server_stops_with_open_streams_and_starts_again(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    stream = events()
    stream.until_status()
    assert served.server is not None
    port = served.server.port
    before = time.monotonic()
    served.server.stop()
    assert not served.server.alive
    assert time.monotonic() - before < 4
    with pytest.raises(httpx.ConnectError):
        client.get("/healthz")
    served.server = serve_in_thread(create_app(served.context), "127.0.0.1", port)
    assert client.get("/session").status_code == 401  # sign-ons live in RAM only


def test_an_address_in_use_is_a_clear_error(served: Car) -> None:
    assert served.server is not None
    with pytest.raises(ConfigError, match=str(served.server.port)):
        serve_in_thread(create_app(served.context), "127.0.0.1", served.server.port)


def test_beyond_this_computer_only_with_tls(car: Car) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::", "carlaptop"):  # noqa: S104
        with pytest.raises(ConfigError, match="without TLS"):
            serve_in_thread(create_app(car.context), host, 0)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "car-1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(secret, hashes.SHA256())
    )
    certificate, key = folder / "mdt.pem", folder / "mdt.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


def test_tls_serves_a_separate_laptop_with_secure_cookies(
    car: Car, sign_on: SignOn, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    server = serve_in_thread(
        create_app(car.context), "127.0.0.1", 0, certificate=certificate, key=key
    )
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{server.port}",
            headers={"Accept": "application/json"},
            verify=ssl.create_default_context(cafile=certificate),
            trust_env=False,
        ) as laptop:
            answer = sign_on(by=laptop)
            assert answer.status_code == 200
            assert "secure" in answer.headers["set-cookie"].lower()
            assert laptop.get("/session").json()["person"] == "dep.one"
    finally:
        server.stop()


@pytest.mark.policy("R-460.4.1-b4", "R-13.824-6-6")
def test_status_lights() -> None:
    now = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)

    def lists(*hours: float) -> CarStatus:
        return CarStatus(lists=tuple(ListState("state", "LPDF", age) for age in hours))

    assert [lists(*h).list_light() for h in ((), (23,), (1, 25), (80, 1))] == [
        "stop", "ok", "warn", "stop",
    ]  # fmt: skip
    left = [timedelta(hours=h) for h in (5, 3, 0)]
    assert [CarStatus(permit_expires=now + t).permit_light(now) for t in left] == [
        "ok", "warn", "stop",
    ]  # fmt: skip
    assert CarStatus().permit_light(now) == "stop"
    cameras = (
        CameraState("a", True, 0.2),
        CameraState("b", True, 9.0),  # up by its handle, but its last frame is old
        CameraState("c", False, None),
    )
    told: Any = CarStatus(cameras=cameras, permit_expires=now + left[1]).as_json(now)
    assert [one["light"] for one in told["cameras"]] == ["ok", "stop", "stop"]
    assert told["permit"] == {"light": "warn", "left_s": 3 * 3600}
