"""PostgreSQL forgets what is destroyed: parts by day, rewritten or dropped, and a fresh log."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from central_world import make_home, wait_until
from postgres import BIN, MISSING, Postgres, postgres
from sqlalchemy import delete, insert, select, text

from alprd.central.storage import db, partitions
from alprd.central.storage.engine import Database
from alprd.central.storage.keys import Keystore
from alprd.central.storage.store import Central
from alprd.errors import ConfigError

pytestmark = [pytest.mark.policy("R-460.5-4b"), pytest.mark.one_store]

HOUR = datetime(2026, 1, 1, 16, tzinfo=UTC)
IDS = tuple(f"{number:032x}" for number in range(40))


@pytest.fixture
def keystore(postgresql: Postgres) -> Iterator[Keystore]:
    made = Keystore(postgresql.database(), b"a" * 32, create=True)
    yield made
    made.close()


def parts(opened: Database, table: str) -> list[str]:
    with opened.read() as view:
        return partitions.names(view, table)


def wraps(keystore: Keystore, ids: tuple[str, ...]) -> list[bytes]:
    keys = db.read_keys
    with keystore.database.read() as view:
        return list(view.scalars(select(keys.c.wrapped).where(keys.c.id.in_(ids))))


def hour_wrap(keystore: Keystore, hour: datetime) -> bytes:
    with keystore.database.read() as view:
        found = view.scalar(select(db.hour_keys.c.wrapped).where(db.hour_keys.c.hour == hour))
    assert found is not None
    return found


def on_disk(server: Postgres) -> bytes:
    """Every file of the server as it lies there now; nothing is asked of the server before."""
    found = []
    for path in sorted((server.folder / "data").rglob("*")):
        with suppress(FileNotFoundError, IsADirectoryError):  # a running server takes files away
            found.append(path.read_bytes())
    return b"".join(found)


def test_each_day_has_a_part_of_its_own(keystore: Keystore) -> None:
    hours = [HOUR, HOUR + timedelta(hours=1), HOUR + timedelta(days=40)]
    keystore.new_read_keys(list(zip(IDS[:3], hours, strict=True)))
    assert parts(keystore.database, "read_keys") == ["read_keys_d20260101", "read_keys_d20260210"]
    assert set(keystore.open_read_keys(IDS)) == set(IDS[:3])
    assert set(keystore.open_read_keys(IDS, [HOUR])) == {IDS[0]}


def test_a_destroyed_hour_is_in_no_file_of_the_server(
    postgresql: Postgres, keystore: Keystore
) -> None:
    later = HOUR + timedelta(hours=1)
    keystore.new_read_keys([(read, HOUR) for read in IDS[:20]])
    keystore.new_read_keys([(read, later) for read in IDS[20:]])
    postgresql.sql("CHECKPOINT")
    gone = [*wraps(keystore, IDS[:20]), hour_wrap(keystore, HOUR)]
    stays = [*wraps(keystore, IDS[20:]), hour_wrap(keystore, later)]
    before = on_disk(postgresql)
    assert all(sign in before for sign in (*gone, *stays))
    keystore.destroy_read_keys(IDS[:20])
    after = on_disk(postgresql)
    assert not any(sign in after for sign in gone)
    postgresql.sql("CHECKPOINT")
    after = on_disk(postgresql)
    assert not any(sign in after for sign in gone)
    assert all(sign in after for sign in stays)
    assert set(keystore.open_read_keys(IDS)) == set(IDS[20:])


def test_a_single_destroyed_read_is_in_no_file_though_its_hour_lives(
    postgresql: Postgres, keystore: Keystore
) -> None:
    keystore.new_read_keys([(read, HOUR) for read in IDS])
    one, again = wraps(keystore, IDS[:1]), wraps(keystore, IDS[1:2])
    keystore.destroy_read_keys(IDS[:1])
    keystore.new_read_keys([(IDS[1], HOUR)])  # as a confidentiality request replaces it
    keystore.database.checkpoint()
    found = on_disk(postgresql)
    assert one[0] not in found
    assert again[0] not in found
    assert set(keystore.open_read_keys(IDS)) == set(IDS[1:])


def test_a_reader_of_before_only_delays_it(postgresql: Postgres, keystore: Keystore) -> None:
    keystore.new_read_keys([(read, HOUR) for read in IDS])
    (gone,) = wraps(keystore, IDS[:1])
    with keystore.database.read() as view:
        assert view.scalar(select(db.read_keys.c.id).limit(1))
        keystore.destroy_read_keys(IDS[:1])  # ends all the same
        assert keystore.database.checkpoint() == 1
        postgresql.sql("CHECKPOINT")
        assert gone in on_disk(postgresql)
    assert keystore.database.checkpoint() == 0
    assert gone not in on_disk(postgresql)


def test_a_crash_before_the_rewrite_forgets_nothing(postgresql: Postgres) -> None:
    place = postgresql.database()
    keystore = Keystore(place, b"a" * 32, create=True)
    keystore.new_read_keys([(read, HOUR) for read in IDS])
    (gone,) = wraps(keystore, IDS[:1])
    with keystore.database.write() as tx:
        tx.execute(delete(db.read_keys).where(db.read_keys.c.id == IDS[0]))
        keystore.database.mark(tx, "read_keys", [HOUR])
    keystore.close()  # here the process died
    postgresql.sql("CHECKPOINT")
    assert gone in on_disk(postgresql)
    keystore = Keystore(place, b"a" * 32)
    assert keystore.database.checkpoint() == 0
    assert gone not in on_disk(postgresql)
    keystore.close()


def test_a_named_secret_and_an_intake_key_are_gone_as_well(
    postgresql: Postgres, keystore: Keystore
) -> None:
    keystore.put_secret("release-1", b"s" * 32)
    keystore.extend_intake(HOUR.date(), HOUR.date() + timedelta(days=3))
    with keystore.database.read() as view:
        gone = [
            view.scalar(select(db.secrets.c.wrapped).where(db.secrets.c.name == "release-1")),
            view.scalar(
                select(db.intake_keys.c.wrapped).where(db.intake_keys.c.day < "2026-01-02")
            ),
        ]
    keystore.forget_secret("release-1")
    assert keystore.destroy_intake_before(HOUR + timedelta(days=61)) == 1
    keystore.database.checkpoint()
    found = on_disk(postgresql)
    assert [sign for sign in gone if sign is None or sign in found] == []


def test_an_old_day_is_dropped_and_what_is_kept_of_a_month_is_one_part(
    postgresql: Postgres,
) -> None:
    opened = Database(postgresql.database(), db.main, create=True)
    hours = [datetime(2026, month, day, 5, tzinfo=UTC) for month in (1, 2) for day in (1, 9, 28)]
    with opened.write() as tx:
        partitions.ensure(tx, "reads", hours)
        for number, hour in enumerate(hours):
            tx.execute(insert(db.reads).values(row(IDS[number], hour)))
    with opened.write() as tx:
        tx.execute(delete(db.reads).where(db.reads.c.id == IDS[1]))
    opened.tidy("reads", date(2026, 2, 10))
    february = ["reads_d20260201", "reads_d20260209", "reads_d20260228"]
    assert parts(opened, "reads") == ["reads_m202601", *february]
    with opened.write() as tx:  # an import of that month goes into what is left of it
        partitions.ensure(tx, "reads", [hours[1]])
        tx.execute(insert(db.reads).values(row(IDS[1], hours[1])))
        opened.mark(tx, "reads", [hours[1]])
        assert tx.scalars(select(db.row_rewrites.c.name)).all() == ["reads_m202601"]
    assert opened.checkpoint() == 0
    with opened.read() as view:
        assert set(view.scalars(select(db.reads.c.id))) == set(IDS[:6])
    with opened.write() as tx:
        tx.execute(delete(db.reads))
    opened.tidy("reads", date(2027, 1, 1))
    assert parts(opened, "reads") == []
    opened.close()


def test_a_table_in_use_is_left_for_later(postgresql: Postgres) -> None:
    opened = Database(postgresql.database(), db.main, create=True)
    with opened.write() as tx:
        partitions.ensure(tx, "reads", [HOUR])
    with opened.read() as view:
        view.execute(select(db.reads)).all()
        opened.tidy("reads", date(2027, 1, 1))
        assert parts(opened, "reads") == ["reads_d20260101"]
    opened.tidy("reads", date(2027, 1, 1))
    assert parts(opened, "reads") == []
    opened.close()


def test_rows_of_before_the_parts_are_brought_into_them(postgresql: Postgres) -> None:
    place = postgresql.database()
    hours = [HOUR, HOUR + timedelta(minutes=420), HOUR + timedelta(days=9)]
    old = Database(place, db.main, create=True)
    with old.write() as tx:  # the tables as revision 0010 had them
        for name in ("reads", "row_rewrites", "workers"):
            tx.execute(text(f"DROP TABLE {name}"))
        tx.execute(text(BEFORE))
        tx.execute(text("CREATE INDEX ix_reads_hour ON reads (hour)"))
        tx.execute(text("CREATE INDEX ix_reads_destroy_by ON reads (destroy_by)"))
        for number, hour in enumerate(hours):
            tx.execute(insert(db.reads).values(row(IDS[number], hour)))
        tx.execute(text("UPDATE revision_of_main SET version_num = '0010'"))
    old.close()
    new = Database(place, db.main, upgrade=True)
    assert parts(new, "reads") == ["reads_d20260101", "reads_d20260110"]
    with new.read() as view:
        kept = {r.id: r.hour for r in view.execute(select(db.reads))}
    assert kept == dict(zip(IDS[:3], hours, strict=True))
    new.close()


BEFORE = """CREATE TABLE reads (
    id VARCHAR(32) NOT NULL, hour TIMESTAMP NOT NULL, destroy_by TIMESTAMP NOT NULL,
    classification VARCHAR(16) NOT NULL, session VARCHAR(32) NOT NULL,
    vehicle VARCHAR(64) NOT NULL, cell BYTEA NOT NULL, digest0 BYTEA NOT NULL,
    digest1 BYTEA NOT NULL, digest2 BYTEA NOT NULL, PRIMARY KEY (id))"""


def row(read: str, hour: datetime) -> dict[str, object]:
    values: dict[str, object] = {"id": read, "hour": hour, "destroy_by": hour + timedelta(days=60)}
    values |= {"classification": "unlinked", "session": "s", "vehicle": "car-1"}
    return values | {name: b"x" * 16 for name in ("cell", "digest0", "digest1", "digest2")}


@pytest.mark.parametrize(
    ("setting", "said"),
    [("wal_recycle=on", "wal_recycle"), ("archive_mode=on", "archive_mode")],
)
def test_a_server_that_keeps_its_log_gets_no_keys(setting: str, said: str) -> None:
    if BIN is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        parent = Path(name)
        parent.chmod(0o755)
        with postgres(parent, f"-c fsync=off -c {setting}") as running:
            opened = Database(running.database(), db.keystore, create=True)
            with pytest.raises(ConfigError, match=said) as caught:
                opened.check()
            assert "docs/storage.md" in caught.value.remedy
            opened.close()


def test_a_user_that_may_not_end_the_log_is_told(postgresql: Postgres, tmp_path: Path) -> None:
    place = postgresql.database()
    role = f"clerk_{place.rpartition('alprd_')[2].partition('?')[0]}"
    postgresql.sql(f"CREATE ROLE {role} LOGIN")
    name = place.partition("@/")[2].partition("?")[0]
    postgresql.sql(f'ALTER DATABASE "{name}" OWNER TO {role}')
    theirs = place.replace("alprd@", f"{role}@", 1)
    opened = Database(theirs, db.keystore, create=True)
    for grant, said in (
        ("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {}", "pg_switch_wal"),
        ("GRANT pg_checkpoint TO {}", "pg_checkpoint"),
    ):
        with pytest.raises(ConfigError, match=said):
            opened.check()
        postgresql.sql(grant.format(role), name)
    opened.check()
    opened.close()
    home = make_home(tmp_path / "home", "--database", theirs, "--keystore", theirs)
    with Central(home) as central:  # an ordinary user suffices for all of it
        central.keystore.new_read_keys([(IDS[0], HOUR)])
        with psycopg.connect(host=str(postgresql.folder), user="alprd", dbname=name):
            # Somebody else's session: whether it may see destroyed rows is hidden from us.
            central.keystore.destroy_read_keys([IDS[0]])
            assert central.keystore.database.checkpoint() > 0
        wait_until(lambda: central.keystore.database.checkpoint() == 0, 30)
    postgresql.drop(place)
    postgresql.sql(f"DROP ROLE {role}")
