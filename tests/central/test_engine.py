"""The two kinds of database keep the same promise; PostgreSQL is a real server."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import BIN, MISSING, Postgres, postgres

from alprd.central.storage import db
from alprd.central.storage.engine import Database, server_url
from alprd.central.storage.store import count, counter
from alprd.errors import ConfigError, StoreError

pytestmark = pytest.mark.policy("R-460.5-4b")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if BIN is None:
        pytest.skip(MISSING)
    # Open to the user postgres, and short: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        parent = Path(name)
        parent.chmod(0o755)
        with postgres(parent) as running:
            yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "sqlite":
        return tmp_path / "central.db"
    running: Postgres = request.getfixturevalue("server")
    return running.database()


def test_writers_wait_for_each_other_and_readers_for_none(place: Path | str) -> None:
    one = Database(place, db.main, create=True)
    two = Database(place, db.main)
    order: list[str] = []

    def second() -> None:
        with two.write() as tx:
            order.append(f"second sees {counter(tx, 'x')}")

    with one.write() as tx:
        count(tx, "x", 2)
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        with two.read() as view:
            assert counter(view, "x") == 0  # nothing is committed yet
        count(tx, "x", 3)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second sees 5"]
    one.close()
    two.close()


def test_main_database_and_keystore_may_be_one(server: Postgres) -> None:
    place = server.database()
    main = Database(place, db.main, create=True)
    keys = Database(place, db.keystore, create=True)
    with main.write() as tx, keys.write():  # as an intake does
        count(tx, "x")
    keys.checkpoint()
    main.close()
    keys.close()


def test_a_server_that_dies_loses_nothing_committed(server: Postgres) -> None:
    opened = Database(server.database(), db.main, create=True)
    with opened.write() as tx:
        count(tx, "x", 7)
    server.stop("immediate")
    try:
        with pytest.raises(StoreError, match="not reachable"), opened.write():
            pass
    finally:
        server.start()
    with opened.read() as view:
        assert counter(view, "x") == 7
    opened.close()


def test_a_database_without_an_agency_is_told(server: Postgres, tmp_path: Path) -> None:
    for place in (server.database(), tmp_path / "none.db"):
        with pytest.raises(StoreError, match=r"holds no agency|does not exist"):
            Database(place, db.main)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://alprd:secret@host/central", "holds a password"),
        ("mysql://alprd@host/central", "not served"),
        ("postgresql://alprd@host", "names no database"),
        ("::", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        server_url(url)
    assert "secret" not in str(caught.value)
