"""After a start of the daemon: the trail says who is signed on no longer, the page says why."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from test_mdt_tls import certificates

from alprd.alarms import AlarmBook
from alprd.audit import Event
from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.certificate import ALARM, TELL_DAYS, PageCertificate
from alprd.mdt.leftopen import close_left_open
from alprd.mdt.pages import ENDED, NOT_KEPT, RESTARTED
from mdt.conftest import SignOn
from mdt.world import Car

PAGE = {"Accept": "text/html"}


@pytest.mark.policy("R-460.6-f", "R-AT-1")
def test_a_sign_on_that_a_power_cut_ended_ends_in_the_trail(served: Car, sign_on: SignOn) -> None:
    assert not close_left_open(served.store)  # nobody has ever signed on
    sign_on()
    assert close_left_open(served.store)
    last = served.store.last_audit_event()
    assert last is not None
    assert (last.event, last.role) == (Event.SIGNED_OFF, "service")
    assert last.detail == {"reason": "restarted", "person": "dep.one", "unit": "4712"}
    assert not close_left_open(served.store)
    assert served.events().count(Event.SIGNED_OFF) == 1


@pytest.mark.parametrize("lasting", [True, False])
def test_the_page_says_why_the_sign_on_is_over(
    served: Car, sign_on: SignOn, client: httpx.Client, lasting: bool
) -> None:
    def said() -> str:
        return client.get("/sign-on?ended=1", headers=PAGE).text

    assert RESTARTED not in client.get("/sign-on", headers=PAGE).text
    sign_on()
    client.post("/sign-off")
    assert ENDED["signed_off"] in said()
    sign_on()
    sign_on("dep.two")
    assert ENDED["hand_over"] in said()
    assert served.server is not None
    served.server.stop()
    context = dataclasses.replace(served.context, lasting=lasting)
    served.server = serve_in_thread(create_app(context), "127.0.0.1", served.server.port)
    assert RESTARTED in said()
    assert (NOT_KEPT in said()) is not lasting
    assert NOT_KEPT not in client.get("/sign-on", headers=PAGE).text


@pytest.mark.policy("R-CJIS-1")
def test_a_certificate_that_is_about_to_end_is_told(car: Car, tmp_path: Path) -> None:
    _, leaf, key = certificates(tmp_path)  # good for a day
    server = serve_in_thread(create_app(car.context), "127.0.0.1", 0, certificate=leaf, key=key)
    try:
        assert server.tls is not None
        alarms, days = AlarmBook(), [0]
        follow = PageCertificate(
            server.tls,
            leaf,
            key,
            alarms,
            now=lambda: datetime.now(UTC) + timedelta(days=days[0]),
        )
        follow.look()
        assert [alarm.code for alarm in alarms.now()] == [ALARM]
        assert "ends in 0 day(s)" in alarms.now()[0].text
        days[0] = 2
        follow.look()
        assert "has ended" in alarms.now()[0].text
        days[0] = -TELL_DAYS
        follow.look()
        assert alarms.now() == ()
        leaf.unlink()  # gone, or in the middle of being replaced
        follow.look()
        assert "cannot be read" in alarms.now()[0].text
    finally:
        server.stop()
