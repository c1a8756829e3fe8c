"""A running central and an enrolled car for the tests of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import storekind
from central_world import Car, Server, enrol, make_home
from postgres import BIN, MISSING, Postgres, postgres
from s3server import S3Server, s3_server
from trail_world import Drive, Forms, driving, sending


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests; each takes databases of its own."""
    if BIN is None:
        pytest.skip(MISSING)
    # Open to the user postgres, and short: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        parent = Path(name)
        parent.chmod(0o755)
        # A test's crash is a process's, not a power cut: the server need not wait for the disk.
        with postgres(parent, "-c fsync=off") as running:
            yield running


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One S3 server for all tests; each takes buckets of its own."""
    with s3_server() as running:
        yield running


@pytest.fixture(scope="session")
def _servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[storekind.Servers | None]:
    if request.config.getoption("--central-store") == "sqlite":
        yield None
        return
    running: Postgres = request.getfixturevalue("postgresql")
    bucket = request.getfixturevalue("s3").bucket()
    credentials = bucket.credentials(tmp_path_factory.mktemp("credentials"))
    made = storekind.Servers(running, bucket, credentials)
    storekind.use(made)
    yield made
    storekind.use(None)


@pytest.fixture(scope="module", autouse=True)
def _kind_of_store(_servers: storekind.Servers | None) -> Iterator[None]:
    """Every home of a module on the chosen kind of store; its databases are dropped at the end."""
    yield
    if _servers is not None:
        _servers.forget()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running central for the tests of a module."""
    made = Server(make_home(tmp_path_factory.mktemp("central") / "home"))
    made.start()
    yield made
    if made.process is not None:
        assert made.stop() == 0
    log = (made.home / "serve.log").read_text()
    assert "Traceback" not in log, log
    assert "unexpected" not in log, log


@pytest.fixture(scope="module")
def car(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Car:
    """An enrolled car of that central."""
    return enrol(server, tmp_path_factory.mktemp("car-1"), "car-1", "1")


@pytest.fixture(scope="module")
def forms(server: Server, car: Car) -> Iterator[Forms]:
    """One browser for the people of that central."""
    with sending(server, car) as made:
        yield made


@pytest.fixture(scope="module")
def drive(server: Server, car: Car) -> Drive:
    """Commands on that central."""
    return driving(server, car)
