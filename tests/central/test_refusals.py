"""Whoever is refused for role or standing is in the trail by name, by page and by command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Server, add_person, make_home, run, today

from alprd.central.storage import audit
from alprd.central.storage.store import Central

pytestmark = [pytest.mark.policy("R-AT-1", "R-13.824-7-3"), pytest.mark.both_stores]


def events(home: Path) -> list[tuple[str, str, object, object]]:
    with Central(home) as central, central.database.read() as tx:
        return [
            (one.event, one.actor, one.detail.get("reason"), one.detail.get("route"))
            for one in audit.events(tx)
        ]


def test_a_person_without_training_is_refused_by_name(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    over = (today() - timedelta(days=2)).isoformat()
    add_person(home, "ida", "investigator", **{"training-expires": over})
    server = Server(home)
    server.start()
    try:
        with httpx.Client(base_url=server.page_url) as client:
            form = client.get("/sign-on")
            token = form.text.split('name="csrf" value="')[1].split('"')[0]
            said = {"csrf": token, "person": "ida", "password": PASSWORD}
            answer = client.post("/sign-on", data=said)
        assert answer.status_code == 403
        assert "training" in answer.text
    finally:
        server.stop()
    assert ("person.sign-on-refused", "ida", "training_expired", None) in events(home)


def test_a_command_that_is_refused_is_recorded(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    add_person(home, "ida", "investigator")
    refused = run(home, "holds", "list", "--by", "ida", stdin=f"{PASSWORD}\n", check=False)
    assert "role" in refused.stderr
    found = events(home)
    [(reason, route)] = [(r, p) for event, who, r, p in found if event == "access.refused"
                         and who == "ida"]  # fmt: skip
    assert reason == "wrong_role"
    assert str(route).endswith("holds list")
    # A wrong password is one event, that of the sign-on.
    run(home, "holds", "list", "--by", "ida", stdin="wrong\n", check=False)
    assert [event for event, *_ in events(home)].count("access.refused") == 1


@pytest.mark.policy("R-460.5-b4")
def test_what_a_request_is_tells_no_refusal(tmp_path: Path) -> None:
    """A refusal about a confidentiality request must not tell that there is one."""
    home = make_home(tmp_path / "home")
    add_person(home, "rec", "records")
    signed = ("--as", "rec", "--password-stdin")
    made = run(
        home, "confidential", "enter", "--plate", "SAH4410/MN", "--received",
        today().isoformat(), "--verified-by", "Clerk", "--reference", "AC-1", *signed,
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    ending = ("confidential", "remove", "--id", made["id"], "--reference", "AC-2", *signed)
    run(home, *ending, stdin=f"{PASSWORD}\n")
    refused = run(home, *ending, stdin=f"{PASSWORD}\n", check=False)
    assert "ended in writing" in refused.stderr
    assert "access.refused" not in [event for event, *_ in events(home)]
