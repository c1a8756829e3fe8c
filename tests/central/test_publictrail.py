"""The public part of the trail: classified field by field, a citation in each withheld cell."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import everything
from office_world import Office
from sqlalchemy import text

from alprd.audit import Actor
from alprd.audit import Event as CarEvent
from alprd.central.public import publictrail, redactions
from alprd.central.staff.people import actor
from alprd.central.storage.audit import Event
from alprd.central.storage.audit import events as trail_events
from alprd.errors import AuditError, InputError, RefusedError

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
FROM, TO = NOW - timedelta(days=1), NOW + timedelta(days=1)
FACTS = "A grey van of Petra Planted was seen at the burgled store"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", NOW)
    made.car("car-1", "1")
    yield made
    made.close()


def searched(office: Office, case: str = "26001234", plate: str | None = "QWX739") -> None:
    """What a search leaves in the trail."""
    office.now += timedelta(minutes=1)
    with office.central.database.write() as tx:
        office.central.trail.record(
            tx, Event.SEARCHED, actor(office.person("investigator", "ida")), at=office.now,
            subjects=["a" * 32, "b" * 32],
            detail={
                "case": case, "offence": "burglary", "facts": FACTS,
                "suspicion": "It passed the reader on its way", "results": 2,
                "from": "2026-11-20T12:00:00+00:00", "to": "2026-11-20T14:00:00+00:00",
                "near": "46.81, -95.84", "radius_m": 500,
            },
            terms=plate,
        )  # fmt: skip


def exported(office: Office, folder: Path, name: str = "trail.csv") -> list[dict[str, str]]:
    publictrail.export(office.central, office.person("records"), FROM, TO, folder / name)
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.policy("R-AT-5")
def test_each_cell_is_public_or_withheld_with_its_citation(office: Office, tmp_path: Path) -> None:
    """R-AT-5: the columns of the requirement; plate and filters there, withheld with citation."""
    searched(office)
    (row,) = [row for row in exported(office, tmp_path) if row["action"] == "search.done"]
    assert row == {
        "date": "2026-11-20", "time": "12:01:00-06:00", "user": "ida", "action": "search.done",
        "purpose": "criminal investigation", "case_number": "26001234",
        "stated_reason": "burglary", "result_count": "2",
        "searched": "stored reads of this agency", "time_from": "2026-11-20T12:00:00+00:00",
        "time_to": "2026-11-20T14:00:00+00:00",
        "plate": "withheld: Minn. Stat. § 13.824, subd. 2(b)",
        "filters": "withheld: Minn. Stat. § 13.824, subd. 2(b)",
        "statement": "withheld: Minn. Stat. § 13.82, subd. 7",
    }  # fmt: skip
    text = (tmp_path / "trail.csv").read_text()
    for planted in ("QWX739", "46.81", "Petra", "grey van", "a" * 32, "near", "terms"):
        assert planted not in text, planted
    fields = list(csv.DictReader((tmp_path / "trail.csv.fields.csv").read_text().splitlines()))
    assert [field["field"] for field in fields] == list(row)
    assert all(field["citation"].startswith("Minn. Stat.") for field in fields)
    (said,) = office.trail(Event.PUBLIC_TRAIL_EXPORTED)
    assert said.detail["rows"] == 1
    with pytest.raises(InputError, match="exists"):
        exported(office, tmp_path)
    for role in ("investigator", "alpr_admin", "auditor", "operator"):
        with pytest.raises(RefusedError):
            publictrail.export(
                office.central, office.person(role), FROM, TO, tmp_path / f"{role}.csv"
            )


@pytest.mark.policy("R-AT-5", "T-7")
def test_a_ruling_changes_data_and_no_code(office: Office, tmp_path: Path) -> None:
    """R-AT-5, T-7: a field is opened or closed by the supervisor, with citation, on record."""
    searched(office)
    boss = office.person("admin_supervisor")
    ruling = ("Advisory opinion of 18 May 2026", "the commissioner's opinion on searched plates")
    with pytest.raises(RefusedError):
        redactions.put(office.central, office.person("records"), "plate", "public", *ruling)
    for wrong in (("colour", "public"), ("plate", "secret")):
        with pytest.raises(InputError):
            redactions.put(office.central, boss, *wrong, *ruling)
    redactions.put(office.central, boss, "plate", "public", *ruling)
    redactions.put(office.central, boss, "user", "withheld", "Minn. Stat. § 13.43, subd. 5",
                   "undercover officers are among the users")  # fmt: skip
    row = next(r for r in exported(office, tmp_path) if r["action"] == "search.done")
    assert (row["plate"], row["user"]) == ("QWX739", "withheld: Minn. Stat. § 13.43, subd. 5")
    redactions.put(office.central, boss, "plate", "withheld", *ruling)
    row = next(r for r in exported(office, tmp_path, "b.csv") if r["action"] == "search.done")
    assert row["plate"] == f"withheld: {ruling[0]}"
    told = office.trail(Event.REDACTION_SET)
    assert [(e.detail["field"], e.detail["before"], e.detail["treatment"]) for e in told] == [
        ("plate", "withheld", "public"), ("user", "public", "withheld"),
        ("plate", "public", "withheld"),
    ]  # fmt: skip


@pytest.mark.policy("R-AT-5", "R-460.5-b4")
def test_an_opened_plate_field_opens_plates_of_searches_alone(
    office: Office, tmp_path: Path
) -> None:
    """No plate of an entry, no place, and no word for a term that a private request erased."""
    searched(office, "26000001")
    searched(office, "26000002", "@ 46.81720,-95.84540 10000")
    searched(office, "26000003", "QWX740")
    ida = actor(office.person("investigator", "ida"))
    with office.central.database.write() as tx:
        office.central.trail.record(
            tx, Event.ENTRY_REQUESTED, ida, at=office.now, subjects=["c" * 32],
            detail={"case": "26000004"}, terms="QWX741",
        )  # fmt: skip
        gone = next(e for e in trail_events(tx) if e.detail.get("case") == "26000003")
    office.central.keystore.forget_secret(str(gone.detail["terms_key"]))
    redactions.put(office.central, office.person("admin_supervisor"), "plate", "public",
                   "Advisory opinion of 18 May 2026", "searched plates are public")  # fmt: skip
    withheld = "withheld: Minn. Stat. § 13.824, subd. 2(b)"
    told = {r["case_number"]: r["plate"] for r in exported(office, tmp_path) if r["case_number"]}
    assert told == {
        "26000001": "QWX739", "26000002": "", "26000003": withheld, "26000004": withheld,
    }  # fmt: skip


@pytest.mark.policy("R-AT-5")
def test_a_protected_case_number_is_withheld_however_it_is_written(
    office: Office, tmp_path: Path
) -> None:
    searched(office, "26-0077-X")
    searched(office, "26001234")
    boss = office.person("admin_supervisor")
    redactions.protect(office.central, boss, "26 0077x", "Minn. Stat. § 13.82, subd. 17")
    numbers = [r["case_number"] for r in exported(office, tmp_path) if r["case_number"]]
    assert numbers == ["withheld: Minn. Stat. § 13.82, subd. 17", "26001234"]
    redactions.unprotect(office.central, boss, "26-0077-X")
    assert "26-0077-X" in {r["case_number"] for r in exported(office, tmp_path, "b.csv")}
    with pytest.raises(InputError, match="not protected"):
        redactions.unprotect(office.central, boss, "26-0077-X")
    for path, data in everything(tmp_path / "home"):
        assert b"26 0077x" not in data, path


@pytest.mark.policy("R-AT-5", "R-460.5-b4")
def test_private_requests_alerts_and_machines_are_no_rows(office: Office, tmp_path: Path) -> None:
    """R-460.5-b4: nothing from which a private request, or its absence, could be counted."""
    deputy = Actor("pat", "Pat Pretend", "operator")
    office.tell(
        "car-1",
        office.event("car-1", CarEvent.ALERT_SHOWN, deputy, subjects=("c" * 32,)),
        office.event("car-1", CarEvent.ALERT_MISREAD, deputy, subjects=("c" * 32,)),
        office.event("car-1", CarEvent.SHIFT_ENDED, deputy, detail={"lpdf:misread": 1}),
        office.event("car-1", CarEvent.SIGNED_ON, deputy),
    )
    with office.central.database.write() as tx:
        for event in (Event.REQUESTS_IMPORTED, Event.HOLD_PLACED, Event.BATCH_RECEIVED):
            office.central.trail.record(
                tx, event, actor(office.person("admin_supervisor")), at=office.now
            )
    rows = exported(office, tmp_path)
    assert [(row["user"], row["action"]) for row in rows] == [("pat", CarEvent.SIGNED_ON.value)]
    assert not publictrail.is_shown("something-new.done"), "deny until it is classified"
    assert publictrail.SHOWN.isdisjoint(publictrail.LEFT_OUT)
    families = {event.value.partition(".")[0] for event in (*Event, *CarEvent)}
    assert families <= publictrail.SHOWN | set(publictrail.LEFT_OUT), "each is classified"


def test_a_broken_chain_is_not_exported(office: Office, tmp_path: Path) -> None:
    searched(office)
    with office.central.database.write() as tx:
        tx.execute(text("UPDATE audit SET document = replace(document, 'burglary', 'robbery')"))
    with pytest.raises(AuditError, match="altered"):
        exported(office, tmp_path)
    assert list(tmp_path.glob("*.csv")) == []
