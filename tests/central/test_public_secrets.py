"""Nothing private in what the public gets, and no figure that counts protected plates."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import session_row
from hold_world import START, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from test_collect import reading
from test_suppression_property import CATEGORY, PERSON
from test_suppression_property import World as CarWorld

from alprd.central.hotlists import additional
from alprd.central.hotlists.entry import Request
from alprd.central.oversight import auditpackage
from alprd.central.public import (
    bcanotices,
    fixedplaces,
    logbook,
    noticedoc,
    publiclog,
    publicsite,
    publictrail,
    readers,
    redactions,
)
from alprd.central.records import cases, protected
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL
from alprd.central.storage.audit import events as trail_events
from alprd.central.upkeep import retention, status
from alprd.settling import Settling
from alprd.wire import Person, SessionRow

PLATES = ("QZX101", "QZX102", "QZX103", "QZX104", "QZX105")
PLACE = "Hidden Lane 7 south"
PLANTED = {
    "plate": ("QZX101", "QZX102", "ACP777", "QZX199"),
    "coordinate": ("46.817", "95.845", "46.8172354"),
    "person": ("Petra Planted", "Defence counsel", "Ida Example"),
    "request": ("26-CR-0042", "my client", "confidentiality", "suppress", "acp.csv"),
    "case": ("left the burgled store", "burgled store at noon"),
    "place": (PLACE, "Hidden Lane"),
}


def person(world: World, role: str) -> Person:
    """Somebody of a role who is not among the people of the world."""
    return world.people["ida"].model_copy(
        update={"id": f"{role}-9", "name": "Ruth Official", "roles": (role,)}
    )


def report(world: World, row: SessionRow) -> None:
    """What the intake of a session's row does, without a car's signature."""
    with world.central.database.write() as tx:
        tx.execute(
            db.sessions.insert().values(
                id=row.id, vehicle="car-1", started=row.started, row=row.model_dump_json(),
                received_at=world.now,
            )
        )  # fmt: skip
        logbook.add_session(world.central, tx, row, world.now)
        readers.ensure(world.central, tx, "car-1")


def protect(world: World, folder: Path, *plates: str) -> None:
    """Private requests, as the office imports them."""
    file = folder / "acp.csv"
    file.write_text("plate,state\n" + "".join(f"{plate},MN\n" for plate in plates))
    protected.import_suppression(world.central, file, actor=CENTRAL)
    file.unlink()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    made.close()


def outputs(world: World, folder: Path) -> dict[str, bytes]:
    """Every byte that the public gets."""
    central = world.central
    publicsite.publish(central, folder / "static")
    window = (START - timedelta(days=2), world.now + timedelta(days=1))
    publictrail.export(central, person(world, "records"), *window, folder / "trail.csv")
    with central.database.read() as tx:
        made = {
            "published entry": bcanotices.published_text(central, tx).encode(),
            "fixed rows": json.dumps(
                fixedplaces.public_rows(fixedplaces.listing(central, tx))
            ).encode(),
        }
        duties = bcanotices.duties(central, tx)
    for number, duty in enumerate(duties):
        notice = noticedoc.as_pdf("Becker", duty, START.date())
        parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", notice, re.DOTALL)
        text = b"".join(zlib.decompress(part) for part in parts if part[:1] == b"x")
        assert text, "the text of the PDF is what is looked through"
        made[f"notice {number}.pdf"] = text.decode("latin-1").encode()
        made[f"notice {number}.txt"] = noticedoc.as_text("Becker", duty, START.date()).encode()
    package = auditpackage.build(central, person(world, "auditor"), *window)
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        public = [name for name in archive.namelist() if name.startswith("public/")]
        made |= {f"package {name}": archive.read(name) for name in public}
    made |= {f"live {name}": data for name, data in publicsite.files(central, live=True).items()}
    made |= {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return made


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-e2", "R-AT-5", "R-460.5-b4")
def test_no_public_output_holds_a_plate_coordinate_person_or_request(
    world: World, tmp_path: Path
) -> None:
    """R-460.5.1-0: pages, CSV, static folder, trail export, fixed list, all of it, byte by byte."""
    row = session_row(started=START, ended=START + timedelta(hours=2))
    world.now = START + timedelta(hours=3)
    protect(world, tmp_path, "ACP777")
    ids = [  # each with the position and pictures of central_world.make_read
        world.store(plate, START + timedelta(minutes=5), row.id)
        for plate in ("QZX101", "QZX102", "ACP777")
    ]
    report(world, row)
    found = world.found(START, "QZX101")
    assert len(found) == 1
    link = cases.ask(
        world.central, world.people["ida"], case="26001234",
        relation="The van of Petra Planted left the burgled store", reads=sorted(found),
    )  # fmt: skip
    cases.approve(world.central, world.people["sue"], link.id, "It fits the open burglary case")
    world.hold("QZX102")
    additional.ask(
        world.central, world.people["ida"],
        Request(
            plate="QZX199", state="MN", case="26001234", offence="burglary",
            purpose="suspect_interdiction",
            relation="Petra Planted left the burgled store in this van at noon",
            starts=world.now, ends=world.now + timedelta(days=2),
        ),
    )  # fmt: skip
    place = fixedplaces.place(
        world.central, person(world, "alpr_admin"), device="car-1", kind="fixed", at=PLACE,
        since=START.date().isoformat(),
    )  # fmt: skip
    fixedplaces.withhold(
        world.central, person(world, "sheriff"), place.id,
        reason=f"{PLACE} is the entrance of the safe house of Petra Planted",
        explanation="Knowing the spot would let people tamper with it.",
        review="2026-06-01",
    )  # fmt: skip
    redactions.protect(world.central, world.people["sue"], "26001234", "Minn. Stat. § 13.82")
    made = outputs(world, tmp_path / "out")
    assert len(made) > 15
    for name, data in made.items():
        text = data.decode()
        for kind, planted in PLANTED.items():
            for one in planted:
                if one == "confidentiality" and "index.html" in name:
                    continue
                if kind == "place" and name.startswith("notice"):
                    continue  # the law wants the place told to the BCA; it is no public output
                assert one.casefold() not in text.casefold(), f"{kind} {one!r} in {name}"
        for one in (*ids, *found, row.id, link.id, place.id):
            assert one not in text, f"an id in {name}"
    # The scan can fail: what it looks for does stand in the store, and is found there.
    assert world.found(START, "QZX102") == set(), "under a hold"
    with world.central.database.read() as tx:
        trail = "".join(event.model_dump_json() for event in trail_events(tx))
    assert "26-CR-0042" in trail
    log = made[str(tmp_path / "out" / "static" / publicsite.LOG_CSV)].decode()
    assert "became active investigative data" in log and "withheld as security" in log


# --- subtraction ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Every figure that anybody can see, and everything that says how many there are of it."""

    status: dict[str, Any]
    public: str
    totals: list[dict[str, Any]]
    trail: list[tuple[str, dict[str, Any]]]
    ledger: Counter[tuple[str, str, int]]
    exported: list[dict[str, str]]
    sizes: dict[str, int]


_MOVING = ("sha256", "digest", "request", "size", "terms", "terms_key", "serial", "receipt")


def seen(world: World) -> Seen:
    """All of it; ids, digests and instants left out."""
    central = world.central
    told = status.collect(central)
    for one in told["ledger"]:
        one.pop("session")
    rows = publiclog.rows(central)
    with central.database.read() as tx:
        trail = [
            (
                event.event,
                {k: v for k, v in event.detail.items() if k not in _MOVING}
                | {"subjects": len(event.subjects)},
            )
            for event in trail_events(tx)
        ]
        ledger = Counter(
            (row.collection_day, row.classification, row.count)
            for row in tx.execute(select(db.destructions))
        )
        exported = list(
            publictrail.acts(central, tx, START - timedelta(days=9), START + timedelta(days=999))
        )
        sizes = {
            name: len(list(tx.execute(select(table))))
            for name, table in db.main.tables.items()
            if name not in ("audit", "alembic_version")
        }
    months = sorted({row["date"][:7] for row in rows})
    totals = [
        publicsite.total(m, [row for row in rows if row["date"].startswith(m)]) for m in months
    ]
    return Seen(told, publiclog.as_csv(rows), totals, trail, ledger, exported, sizes)


def lived(covered: tuple[str, ...], passing: list[str]) -> tuple[Seen, Seen]:
    """Two months of one central; as many requests in both, of plates that pass, or do not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = World(folder / "home")
        protect(world, folder, *covered)
        row = session_row(
            started=START, ended=START + timedelta(hours=2), plates_read=9, distinct_plates=5,
            queued=len(passing), id="5" * 32,
        )  # fmt: skip
        for plate in passing:
            world.store(plate, START + timedelta(minutes=5), row.id)
        world.now = START + timedelta(hours=3)
        report(world, row)
        link = cases.ask(
            world.central, world.people["ida"], case="26001234",
            relation="The van left the burgled store at noon", session=row.id,
            bulk_reason="The whole hour around the burglary is needed",
        )  # fmt: skip
        cases.approve(world.central, world.people["sue"], link.id, "It fits the open case well")
        during = seen(world)
        cases.release(world.central, world.people["sue"], link.id, "The case was closed today")
        world.now = START + timedelta(days=62)
        retention.purge(world.central)
        after = seen(world)
        world.close()
    return during, after


@pytest.mark.policy("R-460.5-b4", "T-1")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    passing=st.lists(st.sampled_from(PLATES), min_size=1, max_size=6),
    covered=st.sets(st.sampled_from(PLATES), min_size=1, max_size=4),
)
def test_no_difference_of_figures_tells_how_many_reads_were_suppressed(
    passing: list[str], covered: set[str]
) -> None:
    """R-460.5-b4: the same history with no, some or all plates protected gives the same figures."""
    others = tuple(f"QYY{number:03d}" for number in range(len(covered)))
    assert lived(tuple(sorted(covered)), passing) == lived(others, passing)


@pytest.mark.policy("R-460.5-b4", "R-460.5.1-c5")
def test_misreads_never_outnumber_matches_whatever_is_protected() -> None:
    """R-460.5.1-c5: what the trail tells of alerts and what the log tells of matches agree."""
    with tempfile.TemporaryDirectory() as name:
        car = CarWorld(Path(name))
        try:
            car.edit(frozenset({"STL417"}), frozenset(CATEGORY))
            settling = Settling(car.board, on_misread=car.sessions.count_misread)
            for plate in ("STL417", "WNT238"):
                car.drive_by(("final", reading(plate)))
            for card in car.board.snapshot():
                settling.misread(card.id, PERSON)
            row = car.sessions.row()
            assert row is not None
            assert (row.matches, row.marked_misread) == ({"other_lpdf": 1}, 1), (
                "no second plate can carry it"
            )
            assert "session.corrected" not in {e.event for e in car.store.audit_events()}
        finally:
            car.close()
