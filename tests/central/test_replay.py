"""A month of drives: the published log against a recount that knows nothing of the program.

The cars' own queue and session keeper count; sealed reads and reports go through central's real
intake. The drives' passes are written down beside it, and the expected log is reckoned from them
alone: over the change from summer time, power cuts, pauses, plates seen by two cameras, protected
plates, later corrections, and until after every read was destroyed.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from central_world import jpeg
from office_world import AGENCY, Office, local
from sqlalchemy import select

from alprd import crypto
from alprd.audit import DAEMON
from alprd.central.oversight import auditpackage, standalone
from alprd.central.public import publiclog, publicsite, publictrail
from alprd.central.receiving import intake
from alprd.central.storage import db
from alprd.central.upkeep import retention, status
from alprd.records import Category, Plate, Position, Read, destroy_by, new_id
from alprd.session import SAME_PASS_S, SessionKeeper
from alprd.store import Store
from alprd.wire import BatchHeader, BatchItem, Database, Receipt, encode_batch

ZONE = ZoneInfo("America/Chicago")
BEGIN = local("2026-10-12T07:00:00")
DAYS = 31
PLATES = [f"QX{letter}{number:03d}" for letter in "BCDF" for number in range(100, 112)]
PROTECTED = "QXZ999"
PLACE = Position(lat=46.8172354, lon=-95.8453712, accuracy_m=4.0)
PICTURE = jpeg()
LISTED: dict[str, Category] = {
    "QXB101": "stolen",
    "QXC104": "owner_warrant",
    "QXD105": "other_lpdf",
}


@dataclass
class Drive:
    """What happened in one period, written down while it happened."""

    reader: str
    start: datetime
    end: datetime
    reason: str
    session: str = ""
    misread: list[date] = field(default_factory=list)
    """Days on which a match of this period was found wrong after its end."""
    passes: list[tuple[float, str | None]] = field(default_factory=list)
    """Seconds since the start, and the plate; ``None``: none was made out, or it is protected."""

    def expected(self) -> dict[str, str]:
        """The row, by the words of the rule alone: the same plate within 30 s is one pass."""
        counted, matches = 0, Counter[str]()
        last: dict[str, float] = {}
        for at, plate in self.passes:
            again = plate is not None and at - last.get(plate, -99.0) < SAME_PASS_S
            if not again:
                counted += 1
                if plate in LISTED:
                    matches[LISTED[plate]] += 1
            if plate is not None:
                last[plate] = at
        start, end = self.start.astimezone(ZONE), self.end.astimezone(ZONE)
        return {
            "reader": self.reader, "kind": "mobile", "date": start.date().isoformat(),
            "start": start.isoformat(timespec="seconds"), "end": end.isoformat(timespec="seconds"),
            "end_reason": self.reason, "plates_read": str(counted),
            "distinct_plates": str(len(last)), "databases_compared": "LPDF lpdf 7 (2026-10-12)",
            **{name: str(matches[name]) for name in (
                "stolen", "owner_warrant", "owner_suspended_revoked", "active_investigative",
                "other_lpdf",
            )},
            "marked_misread": "0", "fixed_location": "", "correction_of": "",
            "correction_note": "", "time_note": "",
        }  # fmt: skip


class PatrolCar:
    """The counting side of a car on a clock that the test moves."""

    def __init__(self, office: Office, folder: Path, name: str, reader: str) -> None:
        self.office, self.folder, self.name, self.reader = office, folder, name, reader
        self.even = 0.0
        office.car(name, reader)
        self.intake = {
            key.day: crypto.public_from_bytes(base64.urlsafe_b64decode(key.key))
            for key in office.central.keystore.intake_public()
        }
        self.boot()

    def boot(self) -> None:
        """Start the daemon's parts, as after a loss of power."""
        self.store = Store(self.folder, now=lambda: (self.office.now, True), device=self.name)
        self.keeper = SessionKeeper(
            self.store, reader=self.reader, now=lambda: (self.office.now, True),
            elapsed=lambda: self.even,
        )  # fmt: skip
        self.keeper.recover()

    def run(self, seconds: float) -> None:
        self.office.now += timedelta(seconds=seconds)
        self.even += seconds
        self.keeper.heartbeat()

    def drive(self, chance: random.Random, hours: float, ending: str) -> Drive:
        """Collect for a while; every second or so something passes."""
        base = Database(source="LPDF", bundle="lpdf 7", supplied_at=BEGIN)
        session = self.keeper.open(DAEMON, purpose="patrol", policy_version="460", databases=[base])
        done = Drive(self.reader, self.office.now, self.office.now, ending, session)
        began = self.office.now
        while self.office.now - began < timedelta(hours=hours):
            self.run(chance.uniform(3, 240))
            at = (self.office.now - began).total_seconds()
            seen = chance.choice([*PLATES, None, None, PROTECTED])
            for _ in range(chance.choice([1, 1, 2])):  # one camera, or both
                done.passes.append((at, None if seen == PROTECTED else seen))
                self._pass(session, None if seen == PROTECTED else seen)
        self.run(3)
        if ending == "power_lost":
            done.end = self.office.now
            self.store.close()
            self.office.now += timedelta(hours=chance.uniform(0.2, 2))
            self.boot()
        else:
            self.keeper.close("signed_off")
            done.end = self.office.now
        return done

    def _pass(self, session: str, plate: str | None) -> None:
        """As the collector does: count, and commit what may be kept."""
        row = self.keeper.count_pass(plate, [LISTED[plate]] if plate in LISTED else [])
        assert row is not None
        if plate is None or self.office.now.minute % 20:
            return  # a sample of reads is enough to be destroyed later
        now = self.office.now
        made = Read(
            id=new_id(), session=session, destroy_by=destroy_by(now), plate=Plate(text=plate),
            instant=now, time_trusted=True, position=PLACE, plate_picture=PICTURE,
            wide_picture=None,
        )  # fmt: skip
        key = self.intake[now.date().isoformat()]
        sealed = crypto.seal_read(made, agency=AGENCY, vehicle=self.name, intake_key=key)
        self.store.commit_read(sealed, hit=plate in LISTED, session_row=row)

    def find_wrong(self, drive: Drive) -> None:
        """A match of a period that has ended is marked as misread: a correction, never an edit."""
        row = drive.expected()
        if sum(int(row[name]) for name in set(LISTED.values())) <= len(drive.misread):
            return  # it had no match that could be one
        self.keeper.count_misread(drive.session)
        drive.misread.append(self.office.now.astimezone(ZONE).date())

    def dock(self) -> None:
        """Reads, then ended sessions, then the trail, through central's intake."""
        vehicle, key = self.office.cars[self.name]
        trusted = self.office.central.receipt_key().public_key()
        while items := self.store.claim(200, 10**8, 60.0):
            header = BatchHeader(
                agency=AGENCY, vehicle=self.name, batch=new_id(),
                items=tuple(
                    BatchItem(id=i.id, sha256=crypto.sha256_hex(i.envelope), length=len(i.envelope))
                    for i in items
                ),
            )  # fmt: skip
            signed = crypto.sign_document("batch", header, key)
            answer = intake.accept_batch(
                self.office.central, vehicle, encode_batch(signed, [i.envelope for i in items])
            )
            receipt = crypto.verify_document(answer, "receipt", trusted, Receipt)
            assert self.store.destroy_receipted(receipt) == len(items)
        rows = self.store.unsent_sessions()
        if rows:
            self.office.report(self.name, *rows)
            self.store.mark_sessions_sent([row.id for row in rows])
        self.office.tell(self.name, *self.store.audit_events())


@dataclass
class Month:
    """The month once driven."""

    office: Office
    drives: list[Drive]
    reads: int


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    folder = tmp_path_factory.mktemp("month")
    office = Office(folder / "home", BEGIN)
    cars = [PatrolCar(office, folder / f"queue-{n}.db", f"car-{n}", str(n)) for n in (1, 2, 3)]
    chance, drives = random.Random(460), []
    for day in range(DAYS):
        for number, car in enumerate(cars):
            if chance.random() < 0.35 and day != 20:
                continue
            hour = 0.4 if day == 20 else 7 + 4 * number  # the night of 1 November is driven
            start = BEGIN.astimezone(ZONE) + timedelta(days=day)
            wanted = start.replace(hour=int(hour), minute=int(hour % 1 * 60)).astimezone(UTC)
            office.now = max(office.now + timedelta(minutes=10), wanted)
            ending = chance.choice(["signed_off", "signed_off", "power_lost"])
            drives.append(car.drive(chance, 2.3 if day == 20 else chance.uniform(0.3, 2.4), ending))
            if day % 4 == 1:
                car.find_wrong(drives[-1])
        if day % 3 == 0:
            for car in cars:
                car.dock()
    for car in cars:
        car.dock()
    yield Month(office, drives, status.collect(office.central)["reads_held"])
    for car in cars:
        car.store.close()
    office.close()


def published(office: Office) -> list[dict[str, str]]:
    made = publicsite.files(office.central)[publicsite.LOG_CSV].decode()
    return list(csv.DictReader(io.StringIO(made)))


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-a", "R-460.5.1-b1", "R-460.5.1-c1", "T-1")
def test_the_log_recounted_from_the_drives_is_the_published_log(month: Month) -> None:
    """R-460.5.1-0: row for row and column for column; also after every read was destroyed."""
    expected = [drive.expected() for drive in sorted(month.drives, key=lambda one: one.start)]
    assert sessions(month.office) == expected
    assert Counter(corrections(month.office)) == Counter(
        (drive.reader, f"reader {drive.reader}, {drive.expected()['start']}", str(day))
        for drive in month.drives
        for day in drive.misread
    )
    assert len({drive.reader for drive in month.drives}) == 3
    assert len(corrections(month.office)) > 5
    assert month.reads > 50, "there was something to destroy"
    assert {row["end_reason"] for row in expected} == {"signed_off", "power_lost"}
    offsets = {row[part][-6:] for row in expected for part in ("start", "end")}
    assert offsets == {"-05:00", "-06:00"}
    assert any(row["start"][-6:] != row["end"][-6:] for row in expected), "driven over the change"
    before = publiclog.as_csv(publiclog.rows(month.office.central))
    month.office.now += timedelta(days=62)
    assert retention.purge(month.office.central).reads == month.reads
    assert status.collect(month.office.central)["reads_held"] == 0
    assert publiclog.as_csv(publiclog.rows(month.office.central)) == before
    assert sessions(month.office) == expected


def sessions(office: Office) -> list[dict[str, str]]:
    """The rows of periods of use, as published."""
    return [row for row in published(office) if row["kind"] != "correction"]


def corrections(office: Office) -> list[tuple[str, str, str]]:
    """Reader, what is corrected, and the day on which one match of it was found wrong."""
    found = []
    for row in published(office):
        if row["kind"] != "correction":
            continue
        assert row["marked_misread"] == "1"
        assert not any(row[name] for name in ("start", "end", "plates_read", "distinct_plates"))
        day = row["correction_note"].rpartition(" ")[2]
        assert day <= row["date"], "dated when it reached the log"
        found.append((row["reader"], row["correction_of"], day))
    return found


@pytest.mark.policy("R-13.824-6-2", "R-13.824-6-4", "R-460.5.1-0", "R-460.5-b4")
def test_the_months_audit_package_verifies_elsewhere_and_no_public_output_tells_a_plate(
    month: Month, tmp_path: Path
) -> None:
    """R-13.824-6-2: one command, an isolated Python elsewhere, the file and the key alone."""
    office = month.office
    since, until = BEGIN - timedelta(days=1), office.now + timedelta(days=1)
    with office.central.database.read() as tx:
        reads = list(tx.execute(select(db.destructions)))
    content = auditpackage.build(office.central, office.person("auditor"), since, until)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "audit.zip").write_bytes(content)
    key = crypto.public_bytes(office.central.receipt_key()).hex()

    def check(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-m", "alprd.central.cli", "audit", "check", name]
        return subprocess.run(
            [*command, "--key", key, "--json"], cwd=elsewhere, env={}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    done = check("audit.zip")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["whole"] and told["chains"] == 4 and told["days"] >= 25, told
    (elsewhere / "bad.zip").write_bytes(content[:-400] + b"x" + content[-399:])
    assert check("bad.zip").returncode != 0
    for name, code in (("audit.zip", 0), ("bad.zip", 1)):  # nothing installed at all
        bare = [sys.executable, "-I", "-S", str(Path(standalone.__file__)), name, key]
        assert subprocess.run(bare, cwd=elsewhere, env={}, check=False).returncode == code
    assert subprocess.run(
        [sys.executable, "-I", "-S", "audit.zip", key], cwd=elsewhere, env={}, check=False
    ).returncode == 0  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    public = {name: data for name, data in files.items() if name.startswith("public/")}
    assert (
        public[f"public/log/{publicsite.LOG_CSV}"]
        == (publicsite.files(office.central)[publicsite.LOG_CSV])
    )
    ledger = list(csv.DictReader(io.StringIO(public["public/ledger.csv"].decode())))
    assert sum(int(row["collected"]) for row in ledger) == month.reads
    assert sum(int(row["destroyed"]) for row in ledger) == (month.reads if reads else 0)
    publicsite.publish(office.central, tmp_path / "static")
    publictrail.export(
        office.central, office.person("records"), since, until, tmp_path / "trail.csv"
    )
    outputs = public | {
        str(path): path.read_bytes()
        for path in (*(tmp_path / "static").rglob("*"), *tmp_path.glob("trail.csv*"))
        if path.is_file()
    }
    assert len(outputs) > 20
    planted = [*PLATES, PROTECTED, "46.817", "95.845", *(drive.session for drive in month.drives)]
    for name, data in outputs.items():
        for word in planted:
            assert word.encode() not in data, f"{word} in {name}"
    for name, data in files.items():
        for word in (*PLATES, PROTECTED, "46.817"):
            assert word.encode() not in data, f"{word} in {name}"


@pytest.mark.policy("R-460.5.1-0")
def test_totals_of_the_months_are_the_sums_of_their_rows(month: Month) -> None:
    rows: list[dict[str, Any]] = publiclog.rows(month.office.central)
    for name in ("2026-10", "2026-11"):
        mine = [row for row in rows if row["date"].startswith(name)]
        total = publicsite.total(name, mine)
        assert total["plates_read"] == sum(row["plates_read"] or 0 for row in mine)
        assert total["periods"] == sum(row["kind"] != "correction" for row in mine)
        by_day = publicsite.by_day(name, mine)
        assert sum(day["plates_read"] for day in by_day) == total["plates_read"]
