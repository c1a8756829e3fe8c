"""Destruction on time, also from backups and free pages."""

from __future__ import annotations

import base64
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import storekind
from central_world import AGENCY, everything, make_read, run
from sqlalchemy import select

from alprd import crypto, wire
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.publication import publish
from alprd.central.receiving import intake
from alprd.central.records import protected
from alprd.central.searches import search
from alprd.central.staff import people
from alprd.central.storage import audit, config, db
from alprd.central.storage.store import Central, initialise
from alprd.central.upkeep import retention
from alprd.errors import ConfigError
from alprd.records import new_id

COLLECTED = datetime(2026, 1, 1, 16, 0, tzinfo=UTC)
GONE_BY = datetime(2026, 3, 2, 16, 0, tzinfo=UTC)


class World:
    """A central with a clock of its own and a car beside it, in one process."""

    def __init__(self, home: Path, now: datetime, retention_hours: int = 1440) -> None:
        self.home = home
        self.now = now
        policy = config.default_policy("460", "Sheriff", now)
        settings = config.CentralConfig(
            agency=AGENCY,
            agency_name="Test",
            policy=policy.model_copy(update={"retention_hours": retention_hours}),
            storage=storekind.storage(home),
        )
        initialise(home, settings, intake_from=date(2025, 12, 1), clock=lambda: self.now)
        self.central = Central(home, lambda: self.now)
        publish.create_repository(self.central)
        self.batch_key = crypto.generate_key()
        self.vehicle = Vehicle(
            "car-1", "1", new_id(), self.batch_key.public_key(), self.batch_key.public_key(), False
        )
        self.person = people.add(
            self.central,
            person_id="ida",
            name="Ida Example",
            roles=["investigator"],
            password="correct horse battery",
            training_expires=now + timedelta(days=400),
            authorised_until=now + timedelta(days=400),
            clearances=[],
            by=people.named_actor(self.central, "sheriff"),
        )

    def store(self, text: str, at: datetime) -> str:
        read = make_read(text, at=at)
        day = at.date().isoformat()
        point = next(k.key for k in self.central.keystore.intake_public() if k.day == day)
        key = crypto.public_from_bytes(base64.urlsafe_b64decode(point))
        envelope = crypto.seal_read(read, agency=AGENCY, vehicle="car-1", intake_key=key)
        item = wire.BatchItem(id=read.id, sha256=crypto.sha256_hex(envelope), length=len(envelope))
        header = wire.BatchHeader(agency=AGENCY, vehicle="car-1", batch=new_id(), items=(item,))
        signed = crypto.sign_document("batch", header, self.batch_key)
        intake.accept_batch(self.central, self.vehicle, wire.encode_batch(signed, [envelope]))
        return read.id

    def find(self, around: datetime, plate: str | None = None) -> list[str]:
        request = search.Request(
            case="26001234",
            offence="burglary",
            facts="A grey van was seen at the burgled store at noon.",
            suspicion="The van passed the reader on its way from the store.",
            since=around - timedelta(hours=1),
            until=around + timedelta(hours=1),
            plate=plate,
            place=search.Place(46.8172, -95.8454, 5000),
            unplaced=True,
        )
        return [found.id for found in search.run(self.central, self.person, request)]

    def rows(self) -> list[str]:
        with self.central.database.read() as tx:
            return list(tx.scalars(select(db.reads.c.id)))


@pytest.mark.one_store  # looks at the files of SQLite and of the folder
@pytest.mark.policy("R-460.5-4", "R-460.5-4b", "T-19")
def test_vector_collected_on_new_year_is_gone_by_the_second_of_march(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED + timedelta(minutes=30))
    with world.central:
        old = world.store("VEC7741", COLLECTED)
        world.now = COLLECTED + timedelta(days=30)
        young = world.store("VEC7742", world.now - timedelta(minutes=1))
        # A backup as the agency would take it: everything but the keystore.
        world.central.database.checkpoint()
        backup = tmp_path / "central-backup.db"
        shutil.copy(world.home / "central.db", backup)
        picture = picture_path(world.home, old)
        kept_picture = picture.read_bytes()

        world.now = GONE_BY - timedelta(seconds=1)
        retention.purge(world.central)
        assert world.find(COLLECTED) == [old]

        world.now = GONE_BY
        assert world.find(COLLECTED) == []  # at once, before any purge
        cell_before = _cell(world, old)
        assert retention.purge(world.central).reads == 1
        assert world.rows() == [young]
        assert not picture.exists()
        assert old not in world.central.keystore.open_read_keys([old])
        hour = COLLECTED.replace(minute=0)
        assert world.central.keystore.hour_key(hour) is None
        for path, data in everything(world.home):
            assert cell_before not in data, f"carved from {path.name}"
            assert kept_picture not in data, f"carved from {path.name}"
        # The backup, put back, holds the row; nothing is left that opens it.
        world.central.database.close()
        shutil.copy(backup, world.home / "central.db")
        world.now = GONE_BY - timedelta(hours=2)
        assert old in world.rows()
        assert world.find(COLLECTED) == []
        with world.central.database.read() as tx:
            assert tx.scalar(select(db.destructions.c.count)) is None  # restored from before


def picture_path(home: Path, read: str) -> Path:
    return home / "pictures" / read[:2] / read


def _cell(world: World, read: str) -> bytes:
    with world.central.database.read() as tx:
        cell = tx.scalar(select(db.reads.c.cell).where(db.reads.c.id == read))
    assert isinstance(cell, bytes)
    return cell


def test_destruction_ledger_names_day_class_and_count_only(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        for number in range(3):
            world.store(f"LDG77{number}", COLLECTED - timedelta(minutes=number))
        world.now = GONE_BY + timedelta(hours=1)
        retention.purge(world.central)
        with world.central.database.read() as tx:
            rows = tx.execute(select(db.destructions)).all()
        assert [tuple(row)[2:] for row in rows] == [("2026-01-01", "private", 3, "destroyed")]
        assert retention.purge(world.central).reads == 0


@pytest.mark.policy("R-460.5-4b")
def test_intake_private_keys_die_sixty_days_after_their_day(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        store = world.central.keystore

        def days() -> list[str]:
            return [key.day for key in store.intake_public()]

        world.now = datetime(2026, 3, 2, 23, 59, tzinfo=UTC)
        retention.purge(world.central)
        assert days()[0] == "2026-01-01"
        world.now = datetime(2026, 3, 3, 0, 0, tzinfo=UTC)  # the day's end and 60 x 24 h
        retention.purge(world.central)
        assert days()[0] == "2026-01-02"


@pytest.mark.one_store  # looks at the files of SQLite and of the folder
@pytest.mark.policy("R-460.5-b")
def test_request_destroys_what_is_held_and_shows_no_difference(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        target = world.store("ACP817", COLLECTED - timedelta(minutes=3))
        other = world.store("HJK220", COLLECTED - timedelta(minutes=2))
        path = picture_path(world.home, target)
        before, cell = path.stat(), _cell(world, target)
        request = tmp_path / "request.csv"
        request.write_text("plate,state\nacp 8l7,\nACP817,MN\n,MN\nX1,QQ\n")
        actor = people.named_actor(world.central, "supervisor")
        report = protected.import_suppression(world.central, request, actor=actor)
        assert [line for line, _ in report.rejected] == [4, 5]
        assert world.find(COLLECTED) == [other]
        assert sorted(world.rows()) == sorted([target, other])
        assert _cell(world, target) != cell
        assert len(_cell(world, target)) == len(cell)
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        for file, data in everything(world.home):
            assert cell not in data, f"carved from {file.name}"


def test_unlawful_retention_stops_the_program(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    world.central.close()
    path = tmp_path / "home" / "central.toml"
    path.write_text(path.read_text().replace("retention_hours = 1440", "retention_hours = 1441"))
    with pytest.raises(ConfigError, match="retention_hours"):
        Central(tmp_path / "home")
    assert run(tmp_path / "home", "status", check=False).returncode == 2


def test_shorter_life_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED, retention_hours=48)
    with world.central:
        world.store("SHT4821", COLLECTED)
        world.now = COLLECTED + timedelta(hours=48)
        assert world.find(COLLECTED) == []
        assert retention.purge(world.central).reads == 1


def test_leftovers_of_an_interrupted_intake_are_swept(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        kept = world.store("SWP1001", COLLECTED)
        orphan, stray = new_id(), new_id()
        world.central.keystore.new_read_keys([(orphan, COLLECTED)])
        world.central.objects.put("pictures", {orphan: b"sealed", stray: b"of no intake"})
        torn = world.home / "pictures" / kept[:2] / f".{kept}.77.new"
        torn.parent.mkdir(parents=True, exist_ok=True)
        torn.write_bytes(b"half a picture")
        objects, here = world.central.objects, not storekind.on_servers()
        # An hour's round looks at the keys that are new; what no intake explains waits a day.
        assert retention.purge(world.central, whole=False).orphans == 1
        assert objects.size("pictures", orphan) is None
        assert objects.size("pictures", stray) is not None
        assert world.central.keystore.fresh_ids() == set()
        assert world.central.keystore.read_key_ids() == {kept}
        assert retention.purge(world.central).orphans == 1 + here
        assert objects.size("pictures", stray) is None
        assert torn.exists() != here
        assert objects.size("pictures", kept) is not None
        assert not retention.whole_due(world.central)
        world.now += timedelta(hours=24)
        assert retention.whole_due(world.central)
        world.now -= timedelta(days=3)
        assert retention.whole_due(world.central)  # a clock that went back delays nothing
        world.now += timedelta(days=2)
        assert world.find(COLLECTED) == [kept]


def test_damaged_row_does_not_hide_the_others(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        foul = world.store("DMG1001", COLLECTED)
        good = world.store("DMG1002", COLLECTED)
        with world.central.database.write() as tx:
            tx.execute(db.reads.update().where(db.reads.c.id == foul).values(cell=b"x" * 540))
        assert world.find(COLLECTED) == [good]


def test_second_home_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    world.central.close()
    again = run(tmp_path / "home", "init", "--agency", "otter", "--name", "Other", check=False)
    assert (again.returncode, "already holds an agency" in again.stderr) == (2, True)


@pytest.mark.one_store  # what cannot be removed is made in the folder
@pytest.mark.policy("R-460.5-4")
def test_failing_purge_alarms_and_is_ended_by_the_next(tmp_path: Path) -> None:
    world = World(tmp_path / "home", COLLECTED)
    with world.central:
        read = world.store("FAI1001", COLLECTED)
        path = picture_path(world.home, read)
        path.rename(tmp_path / "aside")
        path.mkdir()  # what stands there cannot be removed as a file
        world.now = GONE_BY
        with pytest.raises(OSError, match=read):
            retention.purge(world.central)
        with world.central.database.read() as tx:
            last = list(audit.events(tx))[-1]
        assert (last.event, last.detail["alarm"]) == (audit.Event.PURGE_FAILED, True)
        assert world.find(COLLECTED) == []
        assert world.central.keystore.open_read_keys([read]) == {}  # keys go first
        path.rmdir()
        assert retention.purge(world.central).reads == 1
        assert world.rows() == []
