"""The list of fixed locations: it only grows, moves are history, places may be withheld."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from central_world import everything
from office_world import Office, local
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from alprd.central.public import fixedplaces, publiclog, publicsite, readers
from alprd.central.storage.audit import Event
from alprd.errors import InputError, RefusedError

NOW = local("2026-06-10T09:00:00")
WHY = "The pole is next to the safe house entrance that officers use."
TOLD = "Knowing the spot would let people tamper with the equipment there."


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", NOW)
    made.car("car-1", "1")
    with made.central.database.write() as tx:
        readers.ensure_all(made.central, tx)
    yield made
    made.close()


def place(office: Office, at: str, since: str, device: str = "car-1") -> fixedplaces.Entry:
    return fixedplaces.place(
        office.central, office.person("alpr_admin"), device=device, kind="fixed", at=at, since=since
    )


def public(office: Office) -> list[dict[str, str]]:
    made = publicsite.files(office.central)[publicsite.FIXED_CSV].decode()
    return list(csv.DictReader(io.StringIO(made)))


@pytest.mark.policy("R-460.5.1-e")
def test_the_empty_list_is_published_and_says_so(office: Office) -> None:
    made = publicsite.files(office.central)
    assert made[publicsite.FIXED_CSV] == (
        b"device,kind,place,from,to,withheld_under,determined_on\r\n"
    )
    assert b"No fixed readers" in made["fixed.html"]


@pytest.mark.policy("R-460.5.1-e")
def test_a_move_ends_one_entry_and_begins_another_and_nothing_goes(office: Office) -> None:
    place(office, "Old Bridge", "2026-06-01")
    place(office, "New Bridge", "2026-06-05")
    last = place(office, "Town Hall", "2026-06-08")
    fixedplaces.leave(office.central, office.person("alpr_admin"), last.id, "2026-06-09")
    assert [(row["place"], row["from"], row["to"]) for row in public(office)] == [
        ("Old Bridge", "2026-06-01", "2026-06-05"), ("New Bridge", "2026-06-05", "2026-06-08"),
        ("Town Hall", "2026-06-08", "2026-06-09"),
    ]  # fmt: skip
    for statement in ("DELETE FROM fixed_events", "UPDATE fixed_events SET device = 'x'"):
        with (
            pytest.raises(DatabaseError, match="only added"),
            office.central.database.write() as tx,
        ):
            tx.execute(text(statement))
    steps = [e.detail["step"] for e in office.trail(Event.PLACE_RECORDED)]
    assert steps == ["from", "to", "from", "to", "from", "to"]


def test_what_cannot_be_is_refused(office: Office) -> None:
    kept = place(office, "Old Bridge", "2026-06-05")
    for at, since, device, says in (
        ("X", "2026-06-06", "car-1", "place"), ("A place", "2026-06-11", "car-1", "future"),
        ("A place", "2026-06-06", "nobody", "register"), ("A place", "soon", "car-1", "date"),
        ("A place", "2026-06-04", "car-1", "elsewhere"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            place(office, at, since, device)
    with pytest.raises(RefusedError):
        fixedplaces.leave(office.central, office.person("sheriff"), kept.id, "2026-06-09")
    with pytest.raises(InputError, match="began later"):
        fixedplaces.leave(office.central, office.person("alpr_admin"), kept.id, "2026-06-01")


@pytest.mark.policy("R-460.5.1-e2", "R-460.5.1-d")
def test_a_place_is_withheld_by_the_sheriff_and_nowhere_in_public(
    office: Office, tmp_path: Path
) -> None:
    """R-460.5.1-e2: determination, public list, explanation, court; R-460.5.1-d: the log too."""
    secret = "Elm Street 14, north pole"
    entry = place(office, secret, "2026-06-01")
    office.drive(
        "car-1", kind="fixed", fixed_location="46.80001, -95.84002",
        started=NOW - timedelta(hours=5), ended=NOW - timedelta(hours=1),
    )  # fmt: skip
    assert publiclog.rows(office.central)[0]["fixed_location"] == secret
    sheriff = office.person("sheriff")
    given = {"reason": WHY, "explanation": TOLD, "review": "2027-01-31"}
    with pytest.raises(RefusedError):
        fixedplaces.withhold(office.central, office.person("admin_supervisor"), entry.id, **given)
    for wrong, says in (
        ({"reason": "no"}, "reason"), ({"explanation": ""}, "explanation"),
        ({"review": "2026-06-10"}, "review"), ({"review": "2028-01-01"}, "review"),
        ({"section": "secret"}, "citation"),
        ({"explanation": f"{secret} would be tampered with"}, "names the place"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            fixedplaces.withhold(office.central, sheriff, entry.id, **(given | wrong))
    fixedplaces.withhold(office.central, sheriff, entry.id, **given)
    (row,) = public(office)
    assert row["place"] == "withheld as security information (Minn. Stat. § 13.37, subd. 1(a))"
    assert (row["from"], row["withheld_under"], row["determined_on"]) == (
        "2026-06-01", fixedplaces.SECTION, "2026-06-10",
    )  # fmt: skip
    for name, data in publicsite.files(office.central).items():
        for hidden in (b"Elm Street", b"46.8000", b"safe house"):
            assert hidden not in data, name
    told = fixedplaces.explanation(office.central, entry.id)
    assert TOLD in told and "2027-01-31" in told and fixedplaces.SECTION in told
    assert "Elm" not in told and WHY not in told
    with pytest.raises(RefusedError):
        fixedplaces.for_court(office.central, office.person("records"), entry.id)
    full = fixedplaces.for_court(office.central, sheriff, entry.id)
    assert full["place"] == secret
    assert (full["withheld"]["reason"], full["withheld"]["by"]) == (WHY, sheriff.id)
    assert [e.actor for e in office.trail(Event.PLACE_VIEWED)] == [sheriff.id]
    with office.central.database.read() as tx:
        assert fixedplaces.overdue(office.central, tx, NOW.date()) == []
        assert fixedplaces.overdue(office.central, tx, NOW.date().replace(year=2027)) != []
    office.central.database.checkpoint()
    for path, data in everything(tmp_path / "home"):
        assert b"Elm Street" not in data, path
    fixedplaces.show(office.central, sheriff, entry.id)
    assert public(office)[0]["place"] == secret


@pytest.mark.policy("R-460.5.1-d", "R-460.5.1-e")
def test_a_post_that_a_car_declared_is_in_log_and_list_unless_its_place_is_entered(
    office: Office,
) -> None:
    """R-460.5.1-d, -e: from the car's own row; a place of the list stands for it, once entered."""
    post = "46.8172, -95.8454"
    began = NOW - timedelta(days=2)
    for hours in (0, 6):  # two fixed periods of one day, and a mobile one
        office.drive(
            "car-1", kind="fixed", fixed_location=post, started=began + timedelta(hours=hours),
            ended=began + timedelta(hours=hours + 2),
        )  # fmt: skip
    office.drive("car-1", started=began + timedelta(hours=3), ended=began + timedelta(hours=4))
    day = began.astimezone(office.central.config.zone()).date().isoformat()
    [row] = public(office)
    assert (row["device"], row["kind"], row["place"]) == ("car-1", fixedplaces.POST, post)
    assert (row["from"], row["to"]) == (day, day)
    page = publicsite.files(office.central)["fixed.html"].decode()
    assert post in page and "No fixed readers" not in page
    told = [(one["kind"], one["fixed_location"]) for one in publiclog.rows(office.central)]
    assert told.count(("fixed", post)) == 2 and ("mobile", "") in told
    entry = place(office, "Elm Street 14", day)
    fixedplaces.withhold(
        office.central, office.person("sheriff"), entry.id, reason=WHY, explanation=TOLD,
        review="2027-01-31",
    )  # fmt: skip
    everything = b"".join(publicsite.files(office.central).values())
    assert post.encode() not in everything and b"Elm Street" not in everything
    assert [one["kind"] for one in public(office)] == ["fixed reader"]
