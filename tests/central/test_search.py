"""Who may search, under what statement, and what the trail then says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import (
    GOOD_SEARCH,
    PASSWORD,
    Failed,
    add_person,
    everything,
    make_home,
    run,
    search,
)
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from alprd.central.searches import search as searching
from alprd.central.storage import audit, db
from alprd.central.storage.store import Central
from alprd.errors import AuditError, RefusedError

SINCE = datetime(2026, 11, 20, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = make_home(tmp_path_factory.mktemp("search") / "home")
    add_person(made, "ida", "investigator")
    add_person(made, "dana", "admin_supervisor")
    add_person(made, "ole", "operator")
    add_person(made, "aud", "auditor")
    add_person(made, "late", "investigator", **{"training-expires": "2026-01-01"})
    add_person(made, "gone", "investigator", **{"authorised-until": "2026-01-01"})
    yield made


def refused(
    home: Path, options: dict[str, str], *, who: str = "ida", password: str = PASSWORD
) -> Failed:
    flags = dict(zip(GOOD_SEARCH[::2], GOOD_SEARCH[1::2], strict=True))
    flags |= {"--from": SINCE.isoformat(), "--to": UNTIL.isoformat(), **options}
    words = [word for pair in flags.items() for word in pair]
    done = run(
        home, "search", "--as", who, "--password-stdin", *words, stdin=password + "\n", check=False
    )
    assert isinstance(done, Failed), done
    assert done.returncode in (1, 6)
    return done


@pytest.mark.policy("R-13.824-7-2")
@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--case", "", "case"),
        ("--case", "12", "case"),
        ("--case", "ask Bob", "case"),
        ("--offence", " ", "offence"),
        ("--facts", "", "facts"),
        ("--facts", "because", "facts"),
        ("--facts", "test test test test test test", "facts"),
        ("--suspicion", "a hunch", "suspicion"),
        ("--from", "", "window"),
        ("--to", "", "window"),
        ("--to", (SINCE + timedelta(hours=24, seconds=1)).isoformat(), "24 h"),
        ("--to", (SINCE - timedelta(hours=1)).isoformat(), "before"),
        ("--to", "tomorrow", "ISO"),
        ("--to", "2026-11-20T13:00:00", "zone"),
        ("--plate", " - ", "plate"),
    ],
)
def test_search_without_its_basis_is_refused(
    home: Path, option: str, value: str, says: str
) -> None:
    assert says in refused(home, {option: value}).stderr


@pytest.mark.policy("R-13.824-7-1", "R-13.824-7-3")
@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("ole", "role"),
        ("aud", "role"),
        ("late", "training"),
        ("gone", "authorisation"),
        ("nobody", "wrong"),
    ],
)
def test_search_by_the_wrong_person_is_refused(home: Path, who: str, says: str) -> None:
    assert says in refused(home, {}, who=who).stderr


def test_both_roles_may_search(home: Path) -> None:
    assert search(home, since=SINCE, until=UNTIL) == []
    assert search(home, since=SINCE, until=UNTIL, who="dana") == []


@pytest.mark.policy("R-CJIS-3")
def test_five_failures_lock_the_account(home: Path) -> None:
    add_person(home, "lock", "investigator")
    for _ in range(5):
        assert "wrong" in refused(home, {}, who="lock", password="not this one").stderr
    assert "locked" in refused(home, {}, who="lock").stderr


def trail(home: Path) -> list[Any]:
    with Central(home) as central, central.database.read() as tx:
        return list(audit.events(tx))


@pytest.mark.policy("R-AT-1", "R-AT-2", "R-AT-4")
def test_search_is_in_the_trail_with_the_plate_erasable(home: Path) -> None:
    flags = list(GOOD_SEARCH)
    flags[5] = "The van with plate TRL 5521 or trl-5521 was seen at the burgled store."
    run(
        home, "search", "--as", "ida", "--password-stdin", *flags, "--from", SINCE.isoformat(),
        "--to", UNTIL.isoformat(), "--plate", "TRL5521", stdin=PASSWORD + "\n",
    )  # fmt: skip
    event = next(e for e in reversed(trail(home)) if e.event == audit.Event.SEARCHED)
    assert (event.actor, event.actor_name, event.role) == ("ida", "Ida Example", "investigator")
    assert event.detail["case"] == "26001234"
    assert event.detail["results"] == 0
    assert event.detail["facts"].count("[plate]") == 2
    for path, data in everything(home):
        assert b"TRL5521" not in data.upper().replace(b" ", b"").replace(b"-", b""), path.name
    with Central(home) as central:
        assert (central.trail.terms(event) or "").startswith("TRL5521 @ 46.81720,-95.84540")
        central.keystore.forget_secret(str(event.detail["terms_key"]))
        assert central.trail.terms(event) is None
    run(home, "audit", "verify")


@pytest.mark.policy("R-AT-3")
@pytest.mark.parametrize("fault", ["edit", "remove", "insert"])
def test_any_change_of_the_trail_is_detected(home: Path, tmp_path: Path, fault: str) -> None:
    with Central(home) as central:
        with central.database.read() as tx:
            assert audit.verify(tx) > 5
        with central.database.engine.connect() as tx:
            row = tx.execute(select(db.audit).where(db.audit.c.seq == 3)).one()
            if fault == "edit":
                document = json.loads(row.document) | {"actor": "someone-else"}
                change = update(db.audit).where(db.audit.c.seq == 3)
                tx.execute(change.values(document=json.dumps(document)))
            elif fault == "remove":
                tx.execute(db.audit.delete().where(db.audit.c.seq == 3))
            else:
                last = tx.scalar(select(db.audit.c.seq).order_by(db.audit.c.seq.desc())) or 0
                values = row._asdict() | {"seq": last + 1}
                tx.execute(db.audit.insert().values(values))
            with pytest.raises(AuditError):
                audit.verify(tx)
            tx.rollback()


@given(text=st.text(max_size=60))
def test_statements_never_crash_the_check(text: str) -> None:
    request = searching.Request(text, text, text, text, SINCE, UNTIL, text or None)
    try:
        searching.check(request)
    except RefusedError as error:
        assert error.reason
