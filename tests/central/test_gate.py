"""The sanity gate: a list that looks wrong waits for a named person; the old one stays in use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import storekind
from central_world import PASSWORD, Failed, add_person, everything, make_home, run
from sqlalchemy import select

from alprd.central.hotlists import acceptance, gate
from alprd.central.staff import people
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event, events
from alprd.central.storage.config import CONFIG_FILE
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, RefusedError, StoreError

HEAD = "plate,state,type,category,source,entered,text\n"
REASON = "The supplier confirmed it by telephone today"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agency whose gate holds at a change of 20 % and at least 3 entries."""
    made = make_home(tmp_path_factory.mktemp("gate") / "home")
    settings = made / CONFIG_FILE
    text = settings.read_text()
    assert "size_change_least = 100" in text
    text = text.replace("size_change_least = 100", "size_change_least = 3")
    head, name, tail = text.partition("[lists.test_plates]")
    note, end, rest = tail.partition("\n")
    settings.write_text(head + name + note + end + 'tested = ["TST 001", "NONE"]\n' + rest)
    add_person(made, "dana", "admin_supervisor")
    add_person(made, "ida", "investigator")
    return made


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    storekind.copy_home(template, tmp_path / "home")
    return tmp_path / "home"


def import_plates(
    home: Path, plates: Sequence[str], *, hours: float = 1, name: str = "lpdf"
) -> Any:
    """Import a list of stolen plates; its report, with ``code`` for the exit code."""
    path = home.parent / f"{name}.csv"
    path.write_text(HEAD + "".join(f"{plate},MN,,stolen,LPDF,,\n" for plate in plates))
    supplied = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    return run(
        home, "lists", "import", str(path), "--list", name, "--source", "LPDF",
        "--supplied-at", supplied, "--by", "dana", check=False,
    )  # fmt: skip


def many(number: int, first: int = 0) -> list[str]:
    return [f"GAT{at:03}" for at in range(first, first + number)]


def held(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run(home, "lists", "held")["held"]
    return found


def decide(home: Path, word: str, held_id: str, *, who: str = "dana", reason: str = REASON) -> Any:
    return run(
        home, "lists", word, held_id, "--as", who, "--password-stdin", "--reason", reason,
        stdin=PASSWORD + "\n", check=False,
    )  # fmt: skip


def codes(home: Path) -> list[str]:
    return [finding["code"] for item in held(home) for finding in item["findings"]]


def in_use(home: Path) -> int:
    entries: int = run(home, "status")["lists"][0]["entries"]
    return entries


@pytest.mark.policy("R-460.4.1-b4")
@pytest.mark.parametrize("number", [2, 12], ids=["shrunk", "grown"])
def test_a_list_of_another_size_waits_for_a_person(home: Path, number: int) -> None:
    """R-460.4.1-b4: a size change beyond the set share is refused unless a person accepts it."""
    import_plates(home, many(8), hours=3)
    done = import_plates(home, many(number), hours=2)
    assert isinstance(done, Failed) and done.returncode == 3
    assert codes(home) == ["size"]
    assert in_use(home) == 8, "the old list stays in use"
    waiting = held(home)[0]
    assert (waiting["entries"], waiting["in_use"]) == (number, 8)

    assert decide(home, "accept", waiting["id"], who="ida").returncode == 6, "not her role"
    assert decide(home, "accept", waiting["id"], reason="ok").returncode == 6, "no reason"
    assert in_use(home) == 8
    report = decide(home, "accept", waiting["id"])
    assert report["entries"] == number
    assert in_use(home) == number
    assert held(home) == []
    assert decide(home, "accept", waiting["id"]).returncode == 6, "decided once"

    with Central(home) as central, central.database.read() as tx:
        trail = {event.event: event for event in events(tx)}
    accepted = trail[Event.LIST_ACCEPTED]
    assert (accepted.actor, accepted.role) == ("dana", "admin_supervisor")
    assert accepted.detail["reason"] == REASON
    assert accepted.detail["findings"] == "size"
    assert Event.LIST_HELD in trail


def test_a_usual_change_passes_and_small_lists_may_jump(home: Path) -> None:
    import_plates(home, many(20), hours=5)
    assert import_plates(home, many(24), hours=4)["entries"] == 24  # exactly 20 %
    assert import_plates(home, many(3), hours=4, name="few")["entries"] == 3
    assert import_plates(home, many(1), hours=3, name="few")["entries"] == 1  # two fewer
    assert held(home) == []


@pytest.mark.policy("R-460.4.1-b4")
def test_older_and_ended_lists_wait(home: Path) -> None:
    """R-460.4.1-b4: an older list, or one that no car would match, is not used by itself."""
    import_plates(home, many(8), hours=3)
    import_plates(home, many(8), hours=4)
    assert codes(home) == ["older"]
    import_plates(home, many(8), hours=100)
    assert codes(home) == ["older", "expired"], "a later import supersedes the one that waits"
    texts = [finding["text"] for finding in held(home)[0]["findings"]]
    assert texts[1] == "100 hours old: no car matches a list older than 72 hours"
    typed = run(
        home, "lists", "import", str(home.parent / "lpdf.csv"), "--list", "lpdf", "--source",
        "LDPF", "--supplied-at", datetime.now(UTC).isoformat(), "--by", "dana", check=False,
    )  # fmt: skip
    assert "give one of LPDF, or add" in typed.stderr, "not the additional entries' name"
    assert in_use(home) == 8
    refused = decide(home, "refuse", held(home)[0]["id"])
    assert refused["state"] == "refused"
    assert held(home) == []
    assert list((home / "held").iterdir()) == [], "the files are gone"
    with Central(home) as central, central.database.read() as tx:
        kinds = [event.event for event in events(tx)]
    assert kinds.count(Event.LIST_HELD) == 2
    assert kinds.count(Event.LIST_REFUSED) == 1


@pytest.mark.policy("R-460.4.1-b4")
def test_missing_test_plates_hold_a_list(home: Path) -> None:
    """R-460.4.1-b4: a delivery without the supplier's test plates is not a true one."""
    import_plates(home, [*many(3), "TST-001"], name="tested")
    assert codes(home) == ["test_plates"]
    assert "1 of the supplier's 2" in held(home)[0]["findings"][0]["text"]
    # A test plate counts as seen also in a row that is set aside as no real plate.
    assert import_plates(home, [*many(3), "TST-001", "NONE"], name="tested")["entries"] == 4


def test_acceptance_covers_what_was_shown_and_nothing_else(home: Path) -> None:
    import_plates(home, many(8), hours=6)
    import_plates(home, many(30), hours=5)
    waiting = held(home)[0]["id"]
    import_plates(home, many(9), hours=4)  # meanwhile a newer list has come into use
    done = decide(home, "accept", waiting)
    assert isinstance(done, Failed) and done.returncode == 3, "now it is older too"
    assert codes(home) == ["size", "older"]
    assert held(home)[0]["id"] != waiting
    assert in_use(home) == 9


def test_plates_of_a_held_file_lie_sealed(home: Path) -> None:
    """A held file and its report, whose codes may be plates of shifted columns, lie sealed."""
    import_plates(home, many(8), hours=3)
    path = home.parent / "shifted.csv"
    path.write_text(HEAD + "MN,NRT042,,NRT042,LPDF,,\nNRT043,MN,,NRT043,LPDF,,\n")
    supplied = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    run(
        home, "lists", "import", str(path), "--list", "lpdf", "--source", "LPDF",
        "--supplied-at", supplied, "--by", "dana", check=False,
    )  # fmt: skip
    assert "unmapped" in codes(home)
    shown = run(home, "lists", "show", held(home)[0]["id"])
    assert shown["rejected_lines"] == [{"line": 2, "reason": "unknown state"}]
    for file, data in everything(home):
        assert b"NRT04" not in data, file.name


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 2**21 + 7])
def test_sealed_files_of_any_size_come_back(home: Path, size: int) -> None:
    """Around the chunk size; an altered, cut or lengthened file never opens."""
    source = home.parent / "source.csv"
    source.write_bytes(bytes(range(251)) * (size // 251) + b"x" * (size % 251))
    with Central(home) as central:
        with central.database.write() as tx:
            findings = (gate.Finding(code="older", text="it is older"),)
            held_id = gate.hold(
                central, tx, candidate(), findings, path=source, again={}, actor=CENTRAL
            )
        assert b"".join(gate.file_of(central, held_id)) == source.read_bytes()
        sealed = central.home / gate.FOLDER / held_id
        good = sealed.read_bytes()
        chunk = 2**20 + 28
        fouls = [good[:-1], b"", good + b"\0", good[:-1] + bytes([good[-1] ^ 1]), good * 2]
        if len(good) > chunk:
            fouls.append(good[:chunk])  # cut at a chunk's end
        for foul in fouls:
            sealed.write_bytes(foul)
            with pytest.raises(EnvelopeError):
                list(gate.file_of(central, held_id))
        sealed.unlink()
        with pytest.raises(StoreError):
            list(gate.file_of(central, held_id))


def candidate(**changes: Any) -> gate.Candidate:
    values = {
        "list_id": "lpdf", "source": "LPDF", "layout": "own", "supplied_at": datetime.now(UTC),
        "entries": 1, "rejected": 0, "counts": {"stolen": 1},
    }  # fmt: skip
    return gate.Candidate.model_validate({**values, **changes})


def test_an_end_declared_by_the_supplier_counts(home: Path) -> None:
    now = datetime.now(UTC)
    with Central(home) as central, central.database.read() as tx:
        for end, found in ((now - timedelta(seconds=1), ["expired"]), (now + timedelta(1), [])):
            judged = gate.judge(central, tx, candidate(expires=end))
            assert [finding.code for finding in judged] == found


def test_a_file_that_is_gone_keeps_its_import_waiting(home: Path) -> None:
    import_plates(home, many(8), hours=3)
    import_plates(home, many(20), hours=2)
    waiting = held(home)[0]
    (home / "held" / waiting["id"]).unlink()
    assert "again" in decide(home, "accept", waiting["id"]).stderr
    assert held(home)[0]["state"] == "waiting"
    assert in_use(home) == 8
    with Central(home) as central:
        with central.database.read() as tx:
            ida = people.find(tx, "ida")
        assert ida is not None
        with pytest.raises(RefusedError, match="role"):
            acceptance.refuse(central, ida, waiting["id"], REASON)


@pytest.mark.policy("R-460.4.1-b")
def test_a_list_is_taken_out_of_use_by_a_named_person_with_a_reason(home: Path) -> None:
    import_plates(home, many(9))
    (stored,) = (home / "lists").iterdir()

    def remove(name: str, who: str, reason: str) -> Any:
        return run(
            home, "lists", "remove", "--list", name, "--as", who, "--password-stdin",
            "--reason", reason, stdin=PASSWORD + "\n", check=False,
        )  # fmt: skip

    for name, who, reason in (
        ("none", "dana", REASON),
        ("lpdf", "ida", REASON),
        ("lpdf", "dana", "x"),
    ):
        assert remove(name, who, reason).returncode != 0
    assert in_use(home) == 9
    assert remove("lpdf", "dana", REASON) == {"list_id": "lpdf", "state": "removed"}
    assert run(home, "status")["lists"] == []
    assert not stored.exists()
    run(home, "publish")
    with Central(home) as central, central.database.read() as tx:
        kinds = [event.event for event in events(tx)]
        targets = [row.target for row in tx.execute(select(db.published))]
    assert kinds.count(Event.LIST_REMOVED) == 1
    assert not [name for name in targets if name.startswith("hotlist-")]
