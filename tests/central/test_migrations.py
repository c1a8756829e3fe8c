"""The revisions of both databases: one head, the tables of today, and no row lost on the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from central_world import make_home, run
from postgres import Postgres
from sqlalchemy import MetaData, Table, create_engine, inspect, text

from alprd.central.storage import audit, db, migrate
from alprd.central.storage.engine import Database, server_url
from alprd.central.storage.store import Central
from alprd.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]
TREES = (db.main, db.keystore)
NAMES = ("main", "keystore")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "sqlite":
        return tmp_path / "some.db"
    running: Postgres = request.getfixturevalue("postgresql")
    return running.database()


@contextmanager
def raw(place: Path | str) -> Iterator[Any]:
    """A connection that knows nothing of the product."""
    url = f"sqlite:///{place}" if isinstance(place, Path) else server_url(place)
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def example(column: Any) -> Any:
    kind = column.type.python_type
    values = {str: "x", bytes: b"\x01", int: 7, bool: True}
    return values.get(kind, datetime(2026, 1, 1, 16, tzinfo=UTC).replace(tzinfo=None))


@pytest.mark.parametrize("metadata", TREES, ids=NAMES)
def test_one_line_of_revisions(metadata: MetaData) -> None:
    scripts = ScriptDirectory.from_config(migrate.configure(metadata))
    assert len(scripts.get_heads()) == 1, "make migration after a rebase, see docs/storage.md"
    line = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(line)) == migrate.revisions(migrate.tree_of(metadata))


@pytest.mark.parametrize("metadata", TREES, ids=NAMES)
def test_the_revisions_give_the_tables_of_today(metadata: MetaData, place: Path | str) -> None:
    Database(place, metadata, create=True).close()
    with raw(place) as connection:
        options = {
            "version_table": migrate.version_table(metadata),
            "compare_type": True,
            "include_object": lambda item, name, kind, reflected, other: migrate.is_ours(
                metadata, item, kind, reflected
            ),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("metadata", TREES, ids=NAMES)
def test_an_upgrade_from_the_first_revision_keeps_every_row(
    metadata: MetaData, place: Path | str
) -> None:
    with raw(place) as connection:
        migrate.upgrade(connection, metadata, migrate.FIRST)
        first = MetaData()
        first.reflect(connection)
        first.remove(first.tables[migrate.version_table(metadata)])
        for table in first.sorted_tables:
            connection.execute(table.insert().values({c.name: example(c) for c in table.columns}))
        rows = {
            table.name: [tuple(row) for row in connection.execute(table.select())]
            for table in first.sorted_tables
        }
    if not isinstance(place, Path) and len(migrate.revisions(migrate.tree_of(metadata))) > 1:
        with pytest.raises(StoreError, match="older program"):
            Database(place, metadata)
    Database(place, metadata, upgrade=True).close()
    with raw(place) as connection:
        for name, before in rows.items():
            table = first.tables[name]
            assert [tuple(r) for r in connection.execute(table.select())] == before, name


def test_a_store_of_before_the_migrations_is_taken_as_it_is(place: Path | str) -> None:
    with raw(place) as connection:
        migrate.upgrade(connection, db.main, migrate.FIRST)
        connection.execute(text("INSERT INTO counters (name, value) VALUES ('x', 3)"))
        connection.execute(text("DROP TABLE revision_of_main"))
        connection.execute(text("DROP TABLE kill_orders"))  # an older program did not have it
    opened = Database(place, db.main, upgrade=True)
    with opened.read() as view:
        assert inspect(view).has_table("kill_orders")
        assert view.scalar(text("SELECT value FROM counters")) == 3
    opened.close()


def test_a_database_of_a_newer_program_is_refused(place: Path | str) -> None:
    Database(place, db.main, create=True).close()
    with raw(place) as connection:
        connection.execute(text("UPDATE revision_of_main SET version_num = '9999'"))
    for upgrade in (False, True):
        with pytest.raises(StoreError, match="revision 9999") as caught:
            Database(place, db.main, upgrade=upgrade)
        assert "backup" in caught.value.remedy


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Gives the program one revision more in both trees, with this step."""

    def add(step: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(migrate.FOLDER, folder)
        for name in NAMES:
            head = migrate.revisions(name)[-1]
            (folder / name / "m9998_next.py").write_text(
                "from alembic import op\nimport sqlalchemy as sa\n"
                f"revision, down_revision = '9998', {head!r}\n"
                "def upgrade():\n"
                f"    op.create_table('next_{name}', sa.Column('x', sa.Integer()))\n{step}"
            )
        monkeypatch.setattr(migrate, "FOLDER", folder)
        migrate.revisions.cache_clear()

    yield add
    monkeypatch.undo()
    migrate.revisions.cache_clear()


def test_an_upgrade_that_fails_changes_nothing(
    place: Path | str, newer: Callable[[str], None]
) -> None:
    Database(place, db.main, create=True).close()
    head = migrate.revisions("main")[-1]
    newer("    op.drop_table('nothing')\n")
    with pytest.raises(StoreError):
        Database(place, db.main, upgrade=True)
    with raw(place) as connection:
        assert not inspect(connection).has_table("next_main")
        assert migrate.revision(connection, db.main) == head


def test_the_command_upgrades_both_and_says_so(
    postgresql: Postgres, tmp_path: Path, newer: Callable[[str], None]
) -> None:
    place = postgresql.database()
    home = make_home(tmp_path / "home", "--database", place, "--keystore", place)
    head = {name: migrate.revisions(name)[-1] for name in NAMES}
    assert run(home, "db", "upgrade") == {"before": head, "after": head}
    newer("")
    refused = run(home, "status", check=False)
    assert "older program" in refused.stderr, refused
    assert "alprd-central db upgrade" in refused.stderr
    after = dict.fromkeys(NAMES, "9998")
    assert run(home, "db", "upgrade") == {"before": head, "after": after}
    run(home, "status")
    assert run(home, "audit", "verify")["whole"]
    with Central(home) as central, central.database.read() as tx:
        assert [event.event for event in audit.events(tx)].count("central.upgraded") == 1


@pytest.mark.one_store  # a server's database is upgraded by the command alone
def test_a_file_is_upgraded_at_its_opening(tmp_path: Path, newer: Callable[[str], None]) -> None:
    home = make_home(tmp_path / "home")
    newer("")
    run(home, "status")
    with raw(home / "central.db") as connection:
        assert inspect(connection).has_table("next_main")


def test_make_migration_has_nothing_to_write() -> None:
    """`make migration` on unchanged tables writes nothing; on changed ones it is the test above."""
    done = subprocess.run(
        [sys.executable, "tools/migration.py", "nothing"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "already give the tables" in done.stderr


def test_every_table_is_in_one_of_the_trees() -> None:
    tables: list[Table] = [*db.main.tables.values(), *db.keystore.tables.values()]
    assert len({table.name for table in tables}) == len(tables)
