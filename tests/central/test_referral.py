"""A misuse referral: frozen at central and in the car, and the trail exported with its proof."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Server, add_person, audit_events, make_home, run
from sqlalchemy import insert, select

from alprd.audit import digest
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import audit, db
from alprd.central.storage.store import Central
from alprd.errors import RefusedError

pytestmark = pytest.mark.policy("R-460.6-f")
WINDOW = ("--from", "2026-01-01", "--to", (datetime.now(UTC) + timedelta(days=2)).isoformat())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    made = make_home(tmp_path / "home")
    for person, role in (("boss", "admin_supervisor"), ("sher", "sheriff"), ("ida", "alpr_admin")):
        add_person(made, person, role)
    yield made


def freeze(home: Path, who: str = "ida", by: str = "boss", check: bool = True) -> object:
    return run(
        home, "people", "freeze", "--id", who, "--reason", "looked up a neighbour",
        "--referral", "IA-26-7", "--by", by, check=check,
    )  # fmt: skip


def sign_on(client: httpx.Client, who: str) -> int:
    page = client.get("/sign-on").text
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    form = {"csrf": csrf, "person": who, "password": PASSWORD}
    return client.post("/sign-on", data=form, follow_redirects=False).status_code


def test_a_frozen_person_is_out_at_once_and_stays_out(home: Path) -> None:
    """R-460.6-f: open pages end, no sign-on, and no way around by a new entry."""
    server = Server(home)
    server.start()
    with httpx.Client(base_url=server.page_url) as client:
        assert sign_on(client, "ida") == 303
        assert client.get("/", follow_redirects=False).status_code == 200
        freeze(home)
        assert client.get("/", follow_redirects=False).status_code == 303
        assert sign_on(client, "ida") == 403
        add_person(home, "ida", "alpr_admin")
        assert sign_on(client, "ida") == 403
        run(home, "people", "change", "--id", "ida", "--name", "Ida Other", "--by", "sher")
        assert sign_on(client, "ida") == 403
        run(home, "people", "retire", "--id", "ida", "--by", "sher")
        add_person(home, "ida", "alpr_admin")
        assert sign_on(client, "ida") == 403
        with Central(home) as central, central.database.read() as tx:
            (roster_entry,) = [one for one in people.everyone(tx) if one.id == "ida"]
        assert roster_entry.frozen
        run(home, "people", "unfreeze", "--id", "ida", "--reason", "no misuse", "--by", "sher")
        assert sign_on(client, "ida") == 303
        with Central(home) as central, central.database.read() as tx:
            audit.verify(tx)
            names = list(tx.scalars(select(db.audit.c.event)))
            kept = tx.execute(select(db.freezes)).one()
        assert names.count("person.frozen") == names.count("person.unfrozen") == 1
        assert (kept.frozen_by, kept.lifted_by, kept.lift_reason) == ("boss", "sher", "no misuse")
    assert server.stop() == 0


def test_a_freeze_is_published_to_the_cars_at_once(home: Path) -> None:
    published = set((home / "tuf" / "targets").glob("*.roster.bin"))
    freeze(home)
    assert set((home / "tuf" / "targets").glob("*.roster.bin")) - published


@pytest.mark.parametrize(
    ("who", "by", "says"),
    [
        ("ida", "ida", "role"),
        ("boss", "boss", "of his own"),
        ("ida", "nobody", "known person"),
        ("olav", "boss", "nobody has the id"),
    ],
)
def test_only_supervisor_and_sheriff_freeze_and_not_themselves(
    home: Path, who: str, by: str, says: str
) -> None:
    done = freeze(home, who, by, check=False)
    assert says in getattr(done, "stderr", "")


def test_a_frozen_supervisor_freezes_nobody(home: Path) -> None:
    freeze(home, "boss", "sher")
    assert "frozen" in getattr(freeze(home, "ida", "boss", check=False), "stderr", "")
    with Central(home) as central, pytest.raises(RefusedError) as caught:
        person = people.authenticate(central, "boss", PASSWORD)
        people.require(person, Act.PAGES, central.clock())
    assert caught.value.reason == "frozen"


def export(home: Path, out: Path, check: bool = True) -> dict[str, object]:
    done: dict[str, object] = run(
        home, "audit", "export", "--person", "ida", *WINDOW, "--out", str(out), "--by", "boss",
        check=check,
    )  # fmt: skip
    return done


def with_car(home: Path) -> int:
    """A car's trail of six events at central; ida acted in the last two."""
    events = audit_events(4)
    for event in audit_events(2, first=5, previous=events[-1].digest):
        named = event.model_copy(update={"actor": "ida", "previous": events[-1].digest})
        events.append(named.model_copy(update={"digest": digest(named.model_dump(mode="json"))}))
    with Central(home) as central, central.database.write() as tx:
        tx.execute(
            insert(db.car_events),
            [
                {
                    "enrolment": "e1", "seq": one.seq, "vehicle": "car-1", "digest": one.digest,
                    "document": one.model_dump_json(), "at": one.at,
                }
                for one in events
            ],
        )  # fmt: skip
    return len(events)


def test_the_trail_is_exported_with_the_proof_of_its_chains(home: Path, tmp_path: Path) -> None:
    length = with_car(home)
    freeze(home)
    out = tmp_path / "ida.jsonl"
    done = export(home, out)
    data = out.read_bytes()
    assert hashlib.sha256(data).hexdigest() == done["sha256"]
    assert out.stat().st_mode & 0o077 == 0
    lines = [json.loads(line) for line in data.splitlines()]
    body = data[: data.rstrip(b"\n").rindex(b"\n") + 1]
    assert lines[-1] == {"sha256_of_all_before": hashlib.sha256(body).hexdigest()}
    chains = {one["chain"]: one for one in lines[0]["chains"]}
    assert chains["car:car-1:e1"]["events"] == length
    events = lines[1:-1]
    assert len(events) == done["events"]
    for line in events:  # each is reckoned again from the file alone
        assert digest(line["event"]) == line["event"]["digest"]
    last = [line["event"] for line in events if line["chain"] == "car:car-1:e1"]
    assert [one["seq"] for one in last] == [length - 1, length]
    assert last[-1]["digest"] == chains["car:car-1:e1"]["last_digest"]
    told = {line["event"]["event"] for line in events}
    assert {"person.added", "person.frozen"} <= told
    with Central(home) as central, central.database.read() as tx:
        last_event = list(audit.events(tx))[-1]
    assert last_event.event == "audit.exported"
    assert last_event.detail["sha256"] == done["sha256"]


def test_an_export_replaces_no_file_and_takes_no_broken_chain(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "ida.csv"
    done = export(home, out)
    proof = json.loads((tmp_path / "ida.csv.proof.json").read_text())
    assert proof["sha256"] == done["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    with out.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == done["events"]
    before = out.read_bytes()
    assert "exists" in getattr(export(home, out, check=False), "stderr", "")
    assert out.read_bytes() == before
    with_car(home)
    with Central(home) as central, central.database.write() as tx:
        tx.execute(db.car_events.update().where(db.car_events.c.seq == 3).values(seq=30))
        altered = tx.scalar(select(db.car_events.c.document).where(db.car_events.c.seq == 5))
        tx.execute(
            db.car_events.update()
            .where(db.car_events.c.seq == 5)
            .values(document=str(altered).replace('"ida"', '"eve"'))
        )
    other = tmp_path / "other.jsonl"
    assert "audit event" in getattr(export(home, other, check=False), "stderr", "")
    assert not other.exists()
