"""The commands of what the public and the BCA get, as a person types them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from central_world import AGENCY, PASSWORD, Car, Server, add_person, run, session_row
from click.testing import CliRunner

from alprd import wire
from alprd.central.cli import main
from alprd.central.public import publicsite
from alprd.central.storage.store import Central
from alprd.central.upkeep import housekeeping

TODAY = datetime.now(ZoneInfo("America/Chicago")).date()
SIGN = "--password-stdin"


@pytest.fixture(scope="module")
def staffed(server: Server, car: Car) -> Server:
    for who, role in (
        ("dana", "admin_supervisor"), ("adam", "alpr_admin"), ("sher", "sheriff"),
        ("rec", "records"),
    ):  # fmt: skip
        add_person(server.home, who, role)
    return server


def do(server: Server, who: str, *args: str, check: bool = True) -> Any:
    return run(server.home, *args, "--as", who, SIGN, stdin=PASSWORD + "\n", check=check)


@pytest.mark.policy("R-460.4.1-d", "R-460.4.1-d2")
def test_a_notice_from_register_to_proof(staffed: Server, tmp_path: Path) -> None:
    (device,) = run(staffed.home, "readers", "list")["readers"]
    assert (device["device"], device["installed"]) == ("car-1", TODAY.isoformat())
    early = (TODAY - timedelta(days=4)).isoformat()
    do(staffed, "adam", "readers", "set", "--device", "car-1", "--installed", "--day", early)
    do(
        staffed, "adam", "readers", "add", "--device", "trailer-1", "--kind", "added", "--what",
        "camera trailer", "--installed", TODAY.isoformat(),
    )  # fmt: skip
    owed = run(staffed.home, "bca", "list")["notices"]
    assert [(one["device"], one["state"]) for one in owed] == [
        ("car-1", "due"), ("trailer-1", "due"),
    ]  # fmt: skip
    assert owed[0]["due"] == (TODAY + timedelta(days=6)).isoformat()
    for name, begins in (("n.pdf", b"%PDF-"), ("n.txt", b"To: Minnesota")):
        run(staffed.home, "bca", "write", str(tmp_path / name), "--device", "car-1")
        assert (tmp_path / name).read_bytes().startswith(begins)
    (tmp_path / "receipt").write_text("invented")
    sent = (
        "bca", "sent", "--device", "car-1", "--at", datetime.now(UTC).isoformat(), "--sent-by",
        "Adam", "--how", "email", "--receipt", str(tmp_path / "receipt"),
    )  # fmt: skip
    assert "role" in do(staffed, "rec", *sent, check=False).stderr
    do(staffed, "adam", *sent)
    assert run(staffed.home, "bca", "list")["notices"][0]["state"] == "sent"
    (tmp_path / "published").write_text(run(staffed.home, "bca", "published")["text"])
    checked = do(staffed, "adam", "bca", "check", "--published", str(tmp_path / "published"))
    assert checked == {"agrees": True}


@pytest.mark.policy("R-460.5.1-e", "R-460.5.1-e2")
def test_a_place_from_entry_to_court(staffed: Server) -> None:
    made = do(
        staffed, "adam", "fixed", "place", "--device", "car-1", "--at", "Old Mill Bridge",
        "--from", TODAY.isoformat(),
    )  # fmt: skip
    entry = ("--entry", made["entry"])
    withhold = (
        "fixed", "withhold", *entry, "--reason", "Officers enter a safe house beside it",
        "--explanation", "Knowing the spot lets people tamper with it",
        "--review", (TODAY + timedelta(days=90)).isoformat(),
    )  # fmt: skip
    assert "role" in do(staffed, "dana", *withhold, check=False).stderr
    do(staffed, "sher", *withhold)
    (row,) = run(staffed.home, "fixed", "list")["fixed"]
    assert row["place"].startswith("withheld")
    assert "tamper" in run(staffed.home, "fixed", "explain", *entry)["text"]
    assert do(staffed, "sher", "fixed", "court", *entry)["place"] == "Old Mill Bridge"
    do(staffed, "sher", "fixed", "show", *entry)
    do(staffed, "adam", "fixed", "leave", *entry, "--day", TODAY.isoformat())
    (row,) = run(staffed.home, "fixed", "list")["fixed"]
    assert (row["place"], row["to"]) == ("Old Mill Bridge", TODAY.isoformat())


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-b2")
def test_the_log_is_printed_noted_and_verified(staffed: Server, car: Car) -> None:
    row = session_row()
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    printed = CliRunner().invoke(main, ["publiclog", "--home", str(staffed.home)])
    assert printed.exit_code == 0
    assert len(list(csv.DictReader(printed.stdout.splitlines()))) == 1
    note = ("publiclog", "note", "--session", row.id, "--text", "The reader was tested that day.")
    assert "role" in do(staffed, "adam", *note, check=False).stderr
    do(staffed, "dana", *note)
    cite = ("--source", "LPDF", "--citation", "Minn. Stat. § 13.82, subd. 25")
    do(staffed, "dana", "publiclog", "hide-source", *cite)
    rows = run(staffed.home, "publiclog")
    assert rows[1]["correction_note"] == "The reader was tested that day."
    assert rows[0]["databases_compared"].startswith("withheld")
    do(staffed, "dana", "publiclog", "show-source", "--source", "lpdf")
    assert run(staffed.home, "publiclog")[0]["databases_compared"].startswith("LPDF")
    assert run(staffed.home, "publiclog", "verify") == {"rows": 2, "whole": True}


@pytest.mark.policy("R-AT-5")
def test_the_public_trail_is_exported_and_reclassified(staffed: Server, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    window = (
        "--from", (now - timedelta(days=1)).isoformat(), "--to",
        (now + timedelta(days=1)).isoformat(),
    )  # fmt: skip
    ruling = ("--citation", "Minn. Stat. § 13.43, subd. 5", "--reason", "undercover officers")
    redact = ("audit", "redact", "--field", "user", "--treatment", "withheld", *ruling)
    do(staffed, "dana", *redact)
    do(
        staffed, "dana", "audit", "protect-case", "--case", "26001234", "--citation",
        "Minn. Stat. § 13.82, subd. 7",
    )  # fmt: skip
    do(staffed, "dana", "audit", "protect-case", "--case", "26001234", "--end")
    file = tmp_path / "trail.csv"
    done = do(staffed, "rec", "audit", "public", str(file), *window)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert done["rows"] == len(rows) > 0
    assert {row["user"] for row in rows} == {"withheld: Minn. Stat. § 13.43, subd. 5"}
    assert "26001234" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.policy("R-460.5.1-0", "R-460.4.1-d")
def test_housekeeping_keeps_the_folder_fresh(
    staffed: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Central(staffed.home) as central:
        public = central.config.public.model_copy(update={"folder": str(tmp_path / "www")})
        central.config = central.config.model_copy(update={"public": public})
        housekeeping.house(central)
        made = json.loads((tmp_path / "www" / publicsite.MANIFEST).read_text())
        assert set(made["files"]) > {"index.html", "fixed.html", publicsite.LOG_CSV}
        before = (tmp_path / "www" / publicsite.MANIFEST).read_bytes()
        housekeeping.house(central)
        assert (tmp_path / "www" / publicsite.MANIFEST).read_bytes() == before
        (tmp_path / "www" / "index.html").unlink()
        (tmp_path / "www" / "index.html").mkdir()  # a folder in the way, which no write replaces
        (tmp_path / "www" / "index.html" / "x").touch()
        housekeeping.house(central)
    assert "the public pages were not written" in caplog.text
