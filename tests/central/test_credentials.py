"""No one person resets the credentials of the sheriff or of a supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import PASSWORD, add_person, make_home, run
from hold_world import START, World

from alprd.central.staff import accounts, credentials, notices, people
from alprd.central.storage import audit
from alprd.central.storage.audit import Event
from alprd.errors import InputError, RefusedError
from alprd.wire import Person

NEW = "another horse battery"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    for name, role in (("she", "sheriff"), ("adm", "alpr_admin")):
        add(made, name, role)
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def add(world: World, name: str, role: str) -> Person:
    made = people.add(
        world.central, person_id=name, name=name, roles=[role], password=PASSWORD,
        training_expires=START + timedelta(days=700),
        authorised_until=START + timedelta(days=700), clearances=[], by=audit.CENTRAL,
        screening="S-1",
    )  # fmt: skip
    world.people[name] = made
    return made


@pytest.mark.policy("R-CJIS-2", "R-460.6-0")
@pytest.mark.parametrize("who", ["she", "sam"])
def test_one_person_alone_resets_neither_sheriff_nor_supervisor(world: World, who: str) -> None:
    central, by = world.central, people.actor(world.people["sue"])
    acts: tuple[Any, ...] = (
        lambda: accounts.change(central, who, by=by, password=NEW),
        lambda: accounts.change(central, who, by=by, roles=["operator"]),
        lambda: accounts.reset_totp(central, who, by),
        lambda: accounts.reset_totp(central, who, by, off=True),
        lambda: accounts.retire(central, who, by),
        lambda: add(world, who, "sheriff"),
    )
    before = world.people[who]
    for act in acts:
        with pytest.raises(RefusedError, match="two persons") as refused:
            act()
        assert refused.value.reason == "second_person"
    with central.database.read() as tx:
        assert people.find(tx, who) == before
    accounts.change(central, "ida", by=by, password=NEW)  # an investigator's is one person's work


@pytest.mark.policy("R-CJIS-2", "R-460.6-0")
def test_a_second_person_who_is_not_concerned_approves(world: World) -> None:
    central, sue, sam = world.central, world.people["sue"], world.people["sam"]
    made, _ = credentials.ask(central, sue, "she", "password", "Forgotten.", password=NEW)
    assert made.verifier and "verifier" not in made.shown()
    for name in ("sue", "she"):
        with pytest.raises(RefusedError, match="of his own"):
            credentials.decide(central, world.people[name], made.id, approve=True)
    with pytest.raises(RefusedError, match="role"):
        credentials.decide(central, world.people["ida"], made.id, approve=True)
    with central.database.read() as tx:
        assert people.find(tx, "she") == world.people["she"]
    waiting = notices.waiting(central, sam)
    assert [(n["kind"], n["subject"]) for n in waiting] == [("credential_reset", made.id)]
    credentials.decide(central, sam, made.id, approve=True)
    assert people.authenticate(central, "she", NEW).id == "she"
    with pytest.raises(RefusedError, match="wrong"):
        people.authenticate(central, "she", PASSWORD)
    with pytest.raises(RefusedError, match="approved"):
        credentials.decide(central, sam, made.id, approve=True)
    (row,) = credentials.listing(central, sam)
    assert (row.verifier, row.secret) == ("", "")
    with central.database.read() as tx:
        found = [e for e in audit.events(tx) if e.event == Event.RESET_DECIDED]
    assert (found[0].actor, found[0].detail["asked_by"]) == ("sam", "sue")
    assert not any(row.verifier in str(e) for e in found if row.verifier)


@pytest.mark.policy("R-CJIS-2")
def test_second_factor_roles_and_end_go_the_same_way(world: World) -> None:
    central, sue, adm = world.central, world.people["sue"], world.people["adm"]
    made, uri = credentials.ask(central, sue, "sam", "totp", "A new telephone.")
    assert uri.startswith("otpauth://")
    credentials.decide(central, adm, made.id, approve=True)
    with central.database.read() as tx:
        sam = people.find(tx, "sam")
    assert sam is not None and sam.totp and sam.totp in uri
    made, _ = credentials.ask(central, sue, "sam", "totp-off", "The telephone is lost.")
    credentials.decide(central, adm, made.id, approve=False)
    with central.database.read() as tx:
        assert people.find(tx, "sam") == sam
    made, _ = credentials.ask(central, sue, "sam", "roles", "Moved.", roles=["operator"])
    credentials.decide(central, adm, made.id, approve=True)
    accounts.retire(central, "sam", people.actor(sue))  # no supervisor any more
    made, _ = credentials.ask(central, sue, "she", "retire", "Term ended.")
    credentials.decide(central, adm, made.id, approve=True)
    with central.database.read() as tx:
        assert people.find(tx, "she") is None


def test_a_request_lapses_after_a_day_and_says_what_it_lacks(world: World) -> None:
    central, sue = world.central, world.people["sue"]
    wrong: tuple[tuple[dict[str, str], str], ...] = (
        ({"reason": ""}, "reason"),
        ({"password": "short"}, "shorter"),
        ({"about": "nobody"}, "nobody"),
        ({"kind": "roles"}, "roles"),
    )
    for changes, says in wrong:
        values: dict[str, Any] = {"about": "she", "kind": "password", "reason": "Forgotten.",
                                  "password": NEW, **changes}  # fmt: skip
        with pytest.raises(InputError, match=says):
            credentials.ask(central, sue, values.pop("about"), values.pop("kind"),
                            values.pop("reason"), **values)  # fmt: skip
    with pytest.raises(RefusedError, match="one supervisor"):
        credentials.ask(central, sue, "ida", "totp-off", "Lost it.")
    made, _ = credentials.ask(central, sue, "she", "password", "Forgotten.", password=NEW)
    world.now += timedelta(hours=24)
    with pytest.raises(RefusedError, match="lapsed"):
        credentials.decide(central, world.people["sam"], made.id, approve=True)


def test_the_commands_ask_both_persons_for_their_passwords(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    for name, role in (
        ("she", "sheriff"),
        ("sue", "admin_supervisor"),
        ("sam", "admin_supervisor"),
    ):
        add_person(home, name, role)
    refused = run(home, "people", "change", "--id", "she", "--password-stdin", "--by", "sue",
                  stdin=NEW + "\n", check=False)  # fmt: skip
    assert "two persons" in refused.stderr
    asked = run(home, "people", "reset-ask", "--id", "she", "--kind", "password", "--reason",
                "Forgotten.", "--as", "sue", "--password-stdin",
                stdin=f"{PASSWORD}\n{NEW}\n")  # fmt: skip
    decide = ("people", "reset-decide", "--reset", asked["id"], "--approve", "--password-stdin")
    assert (
        "of his own" in run(home, *decide, "--as", "sue", stdin=PASSWORD + "\n", check=False).stderr
    )
    assert run(home, *decide, "--as", "sam", stdin=PASSWORD + "\n")["state"] == "approved"
    rows = run(home, "people", "resets", "--as", "she", "--password-stdin", stdin=NEW + "\n")
    assert [row["state"] for row in rows["resets"]] == ["approved"]
