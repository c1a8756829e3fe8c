"""The public log as a book: rows are only added, corrections are dated, sources may be withheld."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import session_row
from office_world import Office, local
from postgres import Postgres
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from alprd.audit import Event as CarEvent
from alprd.central.public import logbook, publiclog, sources
from alprd.central.storage.audit import Event
from alprd.central.storage.public_tables import public_log, rewriting
from alprd.central.storage.store import Central
from alprd.errors import AuditError, InputError, RefusedError
from alprd.wire import Database

NOW = datetime(2026, 11, 28, 18, 0, tzinfo=UTC)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", NOW)
    made.car("car-1", "1")
    yield made
    made.close()


def published(central: Central) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(publiclog.as_csv(publiclog.rows(central)))))


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-b1", "R-460.5.1-c1")
def test_columns_are_the_recommended_ones_in_their_order(office: Office) -> None:
    office.drive("car-1")
    head = publiclog.as_csv(publiclog.rows(office.central)).splitlines()[0]
    assert head == (
        "reader,kind,date,start,end,end_reason,plates_read,distinct_plates,databases_compared,"
        "stolen,owner_warrant,owner_suspended_revoked,active_investigative,other_lpdf,"
        "marked_misread,fixed_location,correction_of,correction_note,time_note"
    )
    (row,) = published(office.central)
    assert (row["plates_read"], row["distinct_plates"], row["stolen"]) == ("41", "37", "1")
    assert (row["kind"], row["fixed_location"]) == ("mobile", "")


CHANGES = (
    ("2026-03-08T01:30:00", "2026-03-08T03:30:00", "-06:00", "-05:00", 1),
    ("2026-11-01T00:30:00", "2026-11-01T03:30:00", "-05:00", "-06:00", 4),
)


@pytest.mark.policy("R-460.5.1-a")
@pytest.mark.parametrize(("start", "end", "before", "after", "hours"), CHANGES)
def test_local_time_and_offset_across_both_changes_of_the_year(
    office: Office, start: str, end: str, before: str, after: str, hours: int
) -> None:
    """R-460.5.1-a: what the clock on the wall said, with its offset, and the true length."""
    office.drive("car-1", started=local(start), ended=local(end), end_reason="power_lost")
    (row,) = published(office.central)
    assert (row["start"], row["end"]) == (start + before, end + after)
    assert row["end_reason"] == "power_lost"
    length = datetime.fromisoformat(row["end"]) - datetime.fromisoformat(row["start"])
    assert length == timedelta(hours=hours)


@pytest.mark.policy("R-460.5.1-0")
def test_a_row_can_be_neither_changed_nor_removed(office: Office, tmp_path: Path) -> None:
    """R-460.5.1-0: the database refuses; who takes the refusal away is found out."""
    office.drive("car-1")
    office.drive("car-1", started=NOW - timedelta(days=2), ended=NOW - timedelta(days=1))
    with office.central.database.read() as tx:
        assert logbook.verify(tx) == 2
    for statement in ("UPDATE public_log SET added_at = added_at", "DELETE FROM public_log"):
        with (
            pytest.raises(DatabaseError, match="only added"),
            office.central.database.write() as tx,
        ):
            tx.execute(text(statement))
    attacks = {
        "altered": "UPDATE public_log SET document = replace(document, '41', '40')",
        "removed": "DELETE FROM public_log WHERE number = 2",
        "missing": "DELETE FROM public_log WHERE number = 1",
        "not what the car": "UPDATE sessions SET row = replace(row, ':41', ':40')",
    }
    office.central.database.checkpoint()
    whole = (tmp_path / "home" / "central.db").read_bytes()
    for says, statement in attacks.items():
        with sqlite3.connect(tmp_path / "home" / "central.db") as raw:
            raw.execute("DROP TRIGGER public_log_keeps_update")
            raw.execute("DROP TRIGGER public_log_keeps_delete")
            raw.execute(statement)
        raw.close()
        with office.central.database.read() as tx, pytest.raises(AuditError, match=says):
            logbook.verify(tx)
        office.central.database.close()
        for side in ("-wal", "-shm"):
            (tmp_path / "home" / f"central.db{side}").unlink(missing_ok=True)
        (tmp_path / "home" / "central.db").write_bytes(whole)


@pytest.mark.policy("R-460.5.1-0")
def test_postgresql_refuses_too(postgresql: Postgres, tmp_path: Path) -> None:
    office = Office(tmp_path / "home", NOW, storage={"database": postgresql.database()})
    office.car("car-1", "1")
    office.drive("car-1")
    for statement in (
        "UPDATE public_log SET kind = kind", "DELETE FROM public_log", "TRUNCATE public_log",
    ):  # fmt: skip
        with (
            pytest.raises(DatabaseError, match="only added"),
            office.central.database.write() as tx,
        ):
            tx.execute(text(statement))
    with office.central.database.write() as tx:  # as a restore does before it copies a backup
        rows = tx.execute(select(public_log)).all()
        with rewriting(tx):
            tx.execute(text("DELETE FROM public_log"))
        tx.execute(public_log.insert(), [dict(row._mapping) for row in rows])
    with office.central.database.read() as tx:
        assert logbook.verify(tx) == 1
    with pytest.raises(DatabaseError, match="only added"), office.central.database.write() as tx:
        tx.execute(text("DELETE FROM public_log"))
    office.close()


@pytest.mark.policy("R-460.5.1-c5", "R-460.5.1-0")
@pytest.mark.parametrize("trail_first", [False, True])
def test_a_late_misread_is_a_dated_correction(office: Office, trail_first: bool) -> None:
    """R-460.5.1-c5: from the car's trail, in whatever order trail and row arrive; once."""
    row = session_row(reader="1")
    said = office.event(
        "car-1", CarEvent.SESSION_CORRECTED, session=row.id, detail={"marked_misread": 1}
    )
    if trail_first:
        office.tell("car-1", said)
        assert published(office.central) == []
        office.report("car-1", row)
    else:
        office.report("car-1", row)
        office.tell("car-1", said)
    office.tell("car-1", said)  # sent again after a lost answer
    office.report("car-1", row)
    first, second = published(office.central)
    assert (first["marked_misread"], first["plates_read"]) == ("0", "41")
    assert (second["kind"], second["date"]) == ("correction", "2026-11-28")
    assert (second["marked_misread"], second["plates_read"]) == ("1", "")
    assert second["correction_of"] == "reader 1, 2026-11-20T12:00:00-06:00"
    assert "marked as misread on 2026-11-28" in second["correction_note"]
    with office.central.database.read() as tx:
        assert logbook.verify(tx) == 2


@pytest.mark.policy("R-460.5-b4", "R-460.5.1-c5")
def test_no_more_misreads_than_matches_are_published(office: Office) -> None:
    """ADR 0055: a misread without its match would tell of the match of a protected plate."""
    row = office.drive("car-1", matches={"stolen": 2}, marked_misread=1)
    said = [
        office.event(
            "car-1", CarEvent.SESSION_CORRECTED, session=row.id, detail={"marked_misread": 1}
        )
        for _ in range(3)
    ]
    for one in said:
        office.tell("car-1", one)
    assert [line["marked_misread"] for line in published(office.central)] == ["1", "1"]


@pytest.mark.policy("R-460.5.1-b2", "T-15")
def test_a_source_is_withheld_only_by_the_supervisor_with_a_citation(office: Office) -> None:
    """R-460.5.1-b2, T-15: all are named but those flagged; the log says that one is withheld."""
    when = datetime(2026, 11, 20, 10, tzinfo=UTC)
    lists = tuple(
        Database(source=name, bundle=f"{name} 7", supplied_at=when)
        for name in ("LPDF", "QUIETSRC", "bolo")
    )
    office.drive("car-1", databases=lists)
    everything = "LPDF LPDF 7 (2026-11-20); QUIETSRC QUIETSRC 7 (2026-11-20); bolo bolo 7"
    assert published(office.central)[0]["databases_compared"].startswith(everything)
    boss = office.person("admin_supervisor")
    for who in ("alpr_admin", "sheriff", "records"):
        with pytest.raises(RefusedError):
            sources.flag(office.central, office.person(who), "QUIETSRC", "Minn. Stat. § 13.82")
    with pytest.raises(InputError, match="citation"):
        sources.flag(office.central, boss, "QUIETSRC", "because")
    sources.flag(office.central, boss, "quietsrc", "Minn. Stat. § 13.82, subd. 25")
    (row,) = published(office.central)
    assert row["databases_compared"] == (
        "LPDF LPDF 7 (2026-11-20); bolo bolo 7 (2026-11-20); "
        "withheld: its existence is not public (Minn. Stat. § 13.82, subd. 25)"
    )
    sources.lift(office.central, boss, "QUIETSRC")
    assert published(office.central)[0]["databases_compared"].startswith(everything)
    told = office.trail(Event.SOURCE_HIDDEN, Event.SOURCE_SHOWN)
    assert [(e.event, e.actor) for e in told] == [
        ("publiclog.source-hidden", boss.id), ("publiclog.source-shown", boss.id),
    ]  # fmt: skip
    assert told[0].detail["citation"] == "Minn. Stat. § 13.82, subd. 25"


def test_sessions_of_an_older_version_enter_the_book_once(office: Office) -> None:
    row = office.drive("car-1")
    with office.central.database.write() as tx:
        tx.execute(
            text(
                "INSERT INTO sessions SELECT :id, vehicle, started, row, received_at FROM sessions"
            ),
            {"id": "0" * 32},
        )
        tx.execute(
            text("UPDATE sessions SET row = replace(row, :old, :new) WHERE id = :new"),
            {"old": row.id, "new": "0" * 32},
        )
    assert logbook.catch_up(office.central) == 1
    assert logbook.catch_up(office.central) == 0
    assert len(published(office.central)) == 2
