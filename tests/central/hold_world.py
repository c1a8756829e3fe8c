"""A central in this process, with a clock of its own, people, and a car that sends envelopes."""

from __future__ import annotations

import base64
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import storekind
from central_world import AGENCY, make_read
from sqlalchemy import delete, insert, select

from alprd import crypto, wire
from alprd.audit import Actor
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.publication import publish
from alprd.central.receiving import intake
from alprd.central.records import exemptions, holds
from alprd.central.searches import search
from alprd.central.staff import people
from alprd.central.storage import config, db, keeping, public_tables
from alprd.central.storage.store import Central, initialise
from alprd.central.upkeep import restore
from alprd.records import Read, new_id

START = datetime(2026, 1, 1, 16, 0, tzinfo=UTC)
LIFE = timedelta(hours=1440)
WORDS = "The van passed the reader on its way from the burgled store."
_BATCH_KEY = crypto.generate_key()
_POINT = base64.urlsafe_b64encode(crypto.public_bytes(_BATCH_KEY)).decode()


def template(home: Path, storage: config.StorageSettings | None = None) -> Path:
    """A home with the people that links and holds need, to be copied for each world."""
    settings = config.CentralConfig(
        agency=AGENCY,
        agency_name="Test",
        policy=config.default_policy("460", "Sheriff", START),
        storage=storage or storekind.storage(home),
    )
    initialise(home, settings, intake_from=date(2025, 10, 1), clock=lambda: START)
    with Central(home, lambda: START) as central:
        publish.create_repository(central)
        for name, role in (("ida", "investigator"), ("sue", "admin_supervisor"),
                           ("sam", "admin_supervisor"), ("olf", "operator")):  # fmt: skip
            people.add(
                central,
                person_id=name,
                name=name,
                roles=[role],
                password="correct horse battery",
                training_expires=START + timedelta(days=700),
                authorised_until=START + timedelta(days=700),
                clearances=[],
                by=Actor("sheriff", "sheriff", "sheriff"),
            )
        with central.database.write() as tx:
            tx.execute(
                insert(db.vehicles).values(
                    vehicle="car-1",
                    reader="1",
                    enrolment=new_id(),
                    serial="1",
                    batch_key=_POINT,
                    wrap_key=_POINT,
                    enrolled_at=START,
                    suspended=False,
                )
            )
        central.database.checkpoint()
        central.keystore.database.checkpoint()
    return home


class World:
    """One central to act in."""

    def __init__(
        self,
        home: Path,
        source: Path | None = None,
        storage: config.StorageSettings | None = None,
    ) -> None:
        if source is None:
            template(home, storage)
        else:
            storekind.copy_home(source, home)
        self.home = home
        self.now = START
        self.central = Central(home, lambda: self.now)
        self.vehicle = Vehicle(
            "car-1", "1", new_id(), _BATCH_KEY.public_key(), _BATCH_KEY.public_key(), False
        )
        with self.central.database.read() as tx:
            self.people = {person.id: person for person in people.everyone(tx)}

    def envelope(self, text: str, at: datetime, session: str | None = None) -> tuple[Read, bytes]:
        """A read as the car seals it."""
        read = make_read(text, at=at)
        if session is not None:
            read = read.model_copy(update={"session": session})
        day = at.date().isoformat()
        point = next(k.key for k in self.central.keystore.intake_public() if k.day == day)
        key = crypto.public_from_bytes(base64.urlsafe_b64decode(point))
        return read, crypto.seal_read(read, agency=AGENCY, vehicle="car-1", intake_key=key)

    def send(self, read: Read, envelope: bytes) -> str:
        """Give it to central; the outcome."""
        item = wire.BatchItem(id=read.id, sha256=crypto.sha256_hex(envelope), length=len(envelope))
        header = wire.BatchHeader(agency=AGENCY, vehicle="car-1", batch=new_id(), items=(item,))
        signed = crypto.sign_document("batch", header, _BATCH_KEY)
        intake.accept_batch(self.central, self.vehicle, wire.encode_batch(signed, [envelope]))
        with self.central.database.read() as tx:
            return str(tx.scalar(select(db.arrivals.c.outcome).where(db.arrivals.c.id == read.id)))

    def store(self, text: str, at: datetime | None = None, session: str | None = None) -> str:
        """Collect and upload a read; its id."""
        read, envelope = self.envelope(text, at or self.now, session)
        assert self.send(read, envelope) == "stored"
        return read.id

    def found(self, around: datetime, plate: str | None = None) -> set[str]:
        """What an ordinary search shows."""
        request = search.Request(
            case="26001234",
            offence="burglary",
            facts="A grey van was seen at the burgled store at noon.",
            suspicion=WORDS,
            since=around - timedelta(hours=1),
            until=around + timedelta(hours=1),
            plate=plate,
            place=search.Place(46.8172, -95.8454, 5000),
            unplaced=True,
        )
        return {read.id for read in search.run(self.central, self.people["ida"], request)}

    def hold(
        self, *plates: str, received: datetime | None = None, span: timedelta = timedelta(days=1)
    ) -> exemptions.Exemption:
        """Place a hold on plates read within ``span`` around :data:`START`."""
        asked = holds.Asked(
            requester="Defence counsel",
            received=received or self.now,
            number="26-CR-0042",
            statement="The reads show that my client was elsewhere that evening.",
            plates=plates,
            since=START - span,
            until=START + span,
            request=b"Please keep the reads of my client's van.",
        )
        return holds.place(self.central, self.people["sue"], asked)[0]

    def kept(self, row: exemptions.Exemption) -> dict[str, str]:
        """Plate texts by id of what a live exemption shows."""
        _, reads = exemptions.open_reads(self.central, self.people["sue"], row.id, row.kind)
        return {read.id: read.cell.plate.text for read in reads}

    def traces(self, read: str) -> list[str]:
        """Where anything of a read is left: row, key of its hour, kept key, picture."""
        left = []
        with self.central.database.read() as tx:
            if tx.scalar(select(db.reads.c.id).where(db.reads.c.id == read)):
                left.append("row")
        if self.central.keystore.open_read_keys([read]):
            left.append("hour")
        with self.central.keystore.database.read() as tx:
            if tx.scalar(select(db.kept_keys.c.id).where(db.kept_keys.c.id == read)):
                left.append("kept")
        if self.central.objects.size("pictures", read) is not None:
            left.append("picture")
        return left

    def opened(self, row: exemptions.Exemption, read: str) -> bool:
        """Whether the exemption's own key of a read exists."""
        return read in keeping.open_kept(self.central.keystore, row.id, [read])

    def lose(self) -> None:
        """A disk dies: rows, pictures and all files are lost, keystore and agency key are not."""
        if self.central.database.server:
            with self.central.database.write() as tx, public_tables.rewriting(tx):
                for table in reversed(db.main.sorted_tables):
                    tx.execute(delete(table))
        objects = self.central.objects
        objects.remove("pictures", list(objects.names("pictures")))
        self.central.close()
        for path in sorted(self.home.rglob("*"), reverse=True):
            if path.is_file() and path.name not in {"keystore.db", "agency.key"}:
                path.unlink()
            elif path.is_dir() and path.name != "keys":
                path.rmdir()

    def restore(self, folder: Path) -> restore.Restored:
        """Bring a backup back and open what it gives."""
        done = restore.restore(self.home, folder, clock=lambda: self.now)
        self.central = Central(self.home, lambda: self.now)
        return done

    def close(self) -> None:
        """Release the files and remove them."""
        self.central.close()
        shutil.rmtree(self.home)
