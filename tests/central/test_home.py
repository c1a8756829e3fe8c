"""The agency's folder: secrets at rest, certificates, complete trail, killed publication."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import (
    PASSWORD,
    Car,
    Server,
    add_person,
    enrol,
    everything,
    fetch_target,
    make_home,
    run,
    search,
)
from cryptography import x509

from alprd import crypto, wire
from alprd.central.storage import audit
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import AlprdError


@pytest.mark.policy("R-460.6-0")
def test_no_private_key_lies_open(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    for path, data in everything(home):
        if path.name == "server.key":
            assert b"ENCRYPTED PRIVATE KEY" in data
        elif path.name != "agency.key":
            assert b"PRIVATE KEY" not in data, path.name
        if path.suffix in {".key", ".db"}:
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_without_the_true_agency_key_nothing_opens(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    other = make_home(tmp_path / "other")
    (home / "keys" / "agency.key").chmod(0o644)
    assert "chmod 600" in run(home, "status", check=False).stderr
    shutil.copy(other / "keys" / "agency.key", home / "keys" / "agency.key")
    (home / "keys" / "agency.key").chmod(0o600)
    with pytest.raises(AlprdError, match="not the one of this keystore"):
        Central(home)
    (home / "keys" / "agency.key").unlink()
    assert "agency key" in run(home, "status", check=False).stderr


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--agency", "Bad Name!", "letters, digits"),
        ("--agency", "", "letters, digits"),
        ("--name", "", "1 to 200 characters"),
        ("--timezone", "Mars/Olympus", "America/Chicago"),
        ("--intake-from", "yesterday", "2026-01-31"),
    ],
)
def test_init_names_the_option_it_cannot_use(
    tmp_path: Path, option: str, value: str, allowed: str
) -> None:
    home = tmp_path / "home"
    given = {"--agency": "becker", "--name": "Becker County (test)", option: value}
    flags = [part for pair in given.items() for part in pair]
    done = run(home, "init", *flags, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {option}: ")
    assert allowed in done.stderr.partition("remedy: ")[2]
    assert "pydantic" not in done.stderr
    assert "http" not in done.stderr
    assert not home.exists()


def test_missing_or_foreign_settings_are_named(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    assert "init" in run(tmp_path / "nowhere", "status", check=False).stderr
    settings = home / "central.toml"
    good = settings.read_text()
    for foul, says in (
        (good + "\nsharing = true\n", "sharing"),
        (good.replace("America/Chicago", "Mars/Olympus"), "timezone"),
        ("agency = [", "central.toml"),
    ):
        settings.write_text(foul)
        done = run(home, "status", check=False)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_server_certificate_follows_the_hosts(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", "--host", "alpr.example")

    def names() -> str:
        made = x509.load_pem_x509_certificate((home / "keys" / "server.crt").read_bytes())
        return str(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)

    assert "alpr.example" in names()
    before = (home / "keys" / "server.crt").read_bytes()
    server = Server(home)
    server.start()
    assert server.stop() == 0
    assert (home / "keys" / "server.crt").read_bytes() == before
    settings = home / "central.toml"
    settings.write_text(settings.read_text().replace("alpr.example", "alpr.invalid"))
    server.start()
    car = enrol(server, tmp_path / "car", "car-1", "1")
    with car.client() as client:
        assert client.get("/v1/hello").status_code == 200
    assert server.stop() == 0
    assert "alpr.invalid" in names()


@pytest.mark.policy("R-AT-1", "R-460.6-e")
def test_every_order_is_in_the_trail(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    server = Server(home)
    server.start()
    try:
        car = enrol(server, tmp_path / "car", "car-1", "1")
        with car.client() as client:
            client.get("/v1/permit")
        add_person(home, "ida", "investigator")
        add_person(home, "ida", "investigator")
        hot = tmp_path / "hot.csv"
        hot.write_text(
            "plate,state,type,category,source,entered,text\nSTL001,MN,,stolen,LPDF,,Stolen\n"
        )
        supplied = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        run(
            home, "lists", "import", str(hot), "--list", "lpdf", "--source", "LPDF",
            "--supplied-at", supplied, "--by", "ida",
        )  # fmt: skip
        requests = tmp_path / "requests.csv"
        requests.write_text("plate,state\nACP817,MN\n")
        run(home, "suppression", "import", str(requests), "--by", "ida")
        run(home, "publish", "--by", "ida")
        now = datetime.now(UTC)
        search(home, since=now - timedelta(hours=1), until=now)
        run(
            home, "search", "--as", "ida", "--password-stdin", "--from", now.isoformat(),
            "--to", now.isoformat(), stdin=PASSWORD + "\n", check=False,
        )  # fmt: skip
        for order in ("suspend", "resume", "revoke"):
            run(home, "vehicles", order, "--vehicle", "car-1", "--by", "ida")
    finally:
        assert server.stop() == 0
    with Central(home) as central, central.database.read() as tx:
        events = list(audit.events(tx))
        audit.verify(tx)
    seen = {event.event for event in events}
    assert seen >= {
        Event.INITIALISED, Event.STARTED, Event.STOPPED, Event.CODE_ISSUED, Event.ENROLLED,
        Event.PERMIT_ISSUED, Event.PERSON_ADDED, Event.PERSON_CHANGED, Event.LIST_IMPORTED,
        Event.REQUESTS_IMPORTED, Event.PUBLISHED, Event.SEARCHED, Event.SEARCH_REFUSED,
        Event.SUSPENDED, Event.RESUMED, Event.REVOKED,
    }  # fmt: skip
    ordered = next(e for e in events if e.event == Event.LIST_IMPORTED)
    assert (ordered.actor, ordered.actor_name) == ("ida", "Ida Example")
    for event in events:  # no count and no plate of a request (R-460.5-b4)
        if event.event == Event.REQUESTS_IMPORTED:
            assert (event.detail, event.subjects) == ({}, ())


def test_killed_publication_leaves_a_whole_repository(tmp_path: Path) -> None:
    """SIGKILL of ``publish`` at random moments: a car always verifies and opens what it gets."""
    home = make_home(tmp_path / "home")
    server = Server(home)
    server.start()
    chance = random.Random(11)
    command = [sys.executable, "-m", "alprd.central.cli", "publish", "--home", str(home)]
    try:
        car = enrol(server, tmp_path / "car", "car-1", "1")
        for number in range(4):
            add_person(home, f"ole{number}", "operator")
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.5, 1.2))
            process.kill()
            process.wait()
            _open_roster(car)
        run(home, "publish")
        people = {person.id for person in _open_roster(car).people}
        assert people == {f"ole{number}" for number in range(4)}
    finally:
        server.stop()


def _open_roster(car: Car) -> wire.Roster:
    wraps = wire.Wraps.model_validate_json(fetch_target(car, "wraps-car-1.json") or b"")
    key = crypto.unwrap_key(wraps.targets[wire.ROSTER], purpose=wire.ROSTER, key=car.wrap_key)
    sealed = fetch_target(car, wire.ROSTER)
    assert sealed is not None
    return wire.Roster.model_validate_json(crypto.decrypt_target(sealed, name=wire.ROSTER, key=key))
