"""Several workers of one store: one does the hourly work, another follows it when it dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from central_world import AGENCY, Server, enrol, make_home, make_read, run, wait_until
from postgres import Postgres
from s3server import S3Server
from sqlalchemy import func, select, update

from alprd.central.storage import audit, db, engine, leases
from alprd.central.storage.audit import Event
from alprd.central.storage.engine import Database
from alprd.central.storage.store import Central, count, counter
from alprd.errors import StoreError
from alprd.records import utc_now

LONG, SHORT = timedelta(hours=1), timedelta(seconds=-1)
"""A lease of less than nothing has ended when it is written."""


@pytest.fixture(params=["sqlite", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    place: Path | str = tmp_path / "central.db"
    if request.param == "postgresql":
        running: Postgres = request.getfixturevalue("postgresql")
        place = running.database()
    made = Database(place, db.main, create=True), Database(place, db.main)
    yield made
    for one in made:
        one.close()


def test_one_holds_and_the_other_waits(two: tuple[Database, Database]) -> None:
    one, other = two
    first = leases.take(one, "work", "one", LONG)
    assert first is not None
    assert leases.take(other, "work", "other", LONG) is None
    assert leases.take(other, "other work", "other", LONG) is not None
    assert leases.take(one, "work", "one", LONG) == first  # renewed: the same number
    leases.give_back(one, first)
    second = leases.take(other, "work", "other", LONG)
    assert second is not None
    assert second.token == first.token + 1


def test_who_lost_the_lease_writes_nothing_more(two: tuple[Database, Database]) -> None:
    one, other = two
    late = leases.take(one, "work", "one", SHORT)
    assert late is not None
    now = leases.take(other, "work", "other", LONG)
    assert now is not None
    mark = engine.GUARD.set((one, lambda tx: leases.fence(tx, late)))
    try:
        with pytest.raises(StoreError, match="went to another worker"), one.write() as tx:
            count(tx, "written by the late one")
        with other.write() as tx:  # the guard is of one database only
            count(tx, "written")
    finally:
        engine.GUARD.reset(mark)
    with one.read() as view:
        assert counter(view, "written by the late one") == 0
    with one.write() as tx:  # and of that work only
        count(tx, "written")


def test_an_end_under_a_wrong_clock_stops_nobody(two: tuple[Database, Database]) -> None:
    one, other = two
    assert leases.take(one, "work", "one", timedelta(days=30_000)) is not None
    assert leases.take(other, "work", "other", LONG) is not None


@pytest.mark.policy("R-460.5-4", "R-460.5-2")
def test_a_killed_worker_is_followed_by_another(
    postgresql: Postgres, s3: S3Server, tmp_path: Path
) -> None:
    place, bucket = postgresql.database(), s3.bucket()
    home = make_home(
        tmp_path / "home", "--database", place, "--keystore", place, *bucket.options(tmp_path)
    )
    settings = home / "central.toml"
    text = settings.read_text()
    settings.write_text(text.replace("housekeeping_s = 600", "housekeeping_s = 2"))
    workers = [Server(home), Server(home)]
    for worker in workers:
        worker.start()
    car = enrol(workers[0], tmp_path / "car", "car-1", "1")
    ids = []
    for worker in workers:  # one address: the car does not care whom it reaches
        car.server = worker
        read = make_read("LEA4711")
        body = car.batch([(read.id, car.seal(read))])
        assert [item.outcome for item in car.send(body).items] == ["stored"]
        assert car.send(body).items[0].outcome == "stored"  # the same batch at the same worker
        car.server = workers[1 - workers.index(worker)]
        assert car.send(body).items[0].outcome == "stored"  # and at the other
        ids.append(read.id)
    with Central(home) as central:
        wait_until(lambda: duties(central) != [], 60)
        holder = duties(central)[-1]  # on a busy machine a late one may have lost it before
        killed = next(w for w in workers if w.process is not None and w.process.pid == holder)
        alive = next(w for w in workers if w is not killed)
        assert killed.process is not None
        os.kill(holder, signal.SIGKILL)
        killed.stop()
        with central.database.write() as tx:  # both reads come of age
            tx.execute(update(db.reads).values(destroy_by=utc_now() - timedelta(minutes=1)))
        assert held(central) == 2
        wait_until(lambda: held(central) == 0, 60)
        assert bucket.content() == {}
        assert central.keystore.open_read_keys(ids) == {}
        assert alive.process is not None
        assert duties(central)[-1] == alive.process.pid
        with central.database.read() as tx:
            assert tx.scalar(select(func.sum(db.destructions.c.count))) == 2
        killed.start()  # it comes back, and is no holder
        car.server = killed
        assert car.send_reads(make_read("LEA4712")).items[0].outcome == "stored"
        assert alive.stop() == 0  # gives its lease back
        assert killed.process is not None
        back = killed.process.pid
        wait_until(lambda: duties(central)[-1] == back, 60)
    assert killed.stop() == 0
    assert run(home, "audit", "verify")["whole"]
    assert "Traceback" not in (home / "serve.log").read_text()
    assert AGENCY in settings.read_text()


def test_a_worker_with_another_home_does_not_start(
    postgresql: Postgres, s3: S3Server, tmp_path: Path
) -> None:
    place, bucket = postgresql.database(), s3.bucket()
    home = make_home(
        tmp_path / "home", "--database", place, "--keystore", place, *bucket.options(tmp_path)
    )
    shutil.copytree(home, tmp_path / "copy")
    first, second, copied = Server(home), Server(home), Server(tmp_path / "copy")
    first.start()
    second.start()
    with pytest.raises(AssertionError, match="runs on another home folder"):
        copied.start()
    assert second.stop() == 0
    assert first.stop() == 0
    assert list((home / "workers").iterdir()) == []
    copied.start()  # nobody else runs: now this is the home
    with pytest.raises(AssertionError, match="mount one shared folder"):
        first.start()
    assert copied.process is not None
    copied.process.kill()  # its row stays for its time, and its file with it
    copied.stop()
    copied.start()
    assert copied.stop() == 0


def held(central: Central) -> int:
    with central.database.read() as tx:
        return tx.scalar(select(func.count()).select_from(db.reads)) or 0


def duties(central: Central) -> list[int]:
    """The processes that took the work, in order."""
    with central.database.read() as tx:
        return [
            int(event.detail["process"])
            for event in audit.events(tx)
            if event.event == Event.DUTY_TAKEN
        ]
