"""What kind of store the tests of central make: SQLite and folders, or PostgreSQL and a bucket.

``pytest --central-store=postgresql tests/central`` runs every test of central on a real PostgreSQL
server and a real S3 server; the tests themselves do not know. A home is an ordinary home whose
settings name a database and a prefix of the bucket of its own; databases are cloned from one that
has the tables already.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from postgres import Postgres
from s3server import REGION, Bucket

from alprd.central.storage import config, db
from alprd.central.storage.config import StorageSettings
from alprd.central.storage.engine import Database


@dataclass
class Servers:
    """The running servers and what was made on them."""

    postgres: Postgres
    bucket: Bucket
    credentials: Path
    template: str = ""
    homes: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = self.postgres.database()
        for metadata in (db.main, db.keystore):
            Database(place, metadata, create=True).close()
        self.template = place

    def storage(self, home: Path, source: str = "") -> StorageSettings:
        """A database, cloned, and a prefix for a new home."""
        place = self.postgres.clone(source or self.template)
        self.homes[home] = place
        name = place.partition("@/")[2].partition("?")[0]
        return StorageSettings(
            database=place,
            keystore=place,
            pictures=f"s3://{self.bucket.name}/{name}",
            endpoint=self.bucket.endpoint,
            region=REGION,
            credentials=str(self.credentials),
        )

    def forget(self) -> None:
        """Drop every database that was made for a home."""
        for place in self.homes.values():
            self.postgres.drop(place)
        self.homes.clear()


_running: list[Servers] = []


def use(servers: Servers | None) -> None:
    """Set what homes are made on from now on; ``None``: SQLite and folders."""
    _running.clear()
    if servers is not None:
        _running.append(servers)


def on_servers() -> bool:
    """Whether homes are made on PostgreSQL and S3."""
    return bool(_running)


def storage(home: Path) -> StorageSettings:
    """Settings for a home that a test makes itself."""
    return _running[0].storage(home) if _running else StorageSettings()


def options(home: Path) -> list[str]:
    """The same as options of ``alprd-central init``."""
    given = storage(home).model_dump(exclude_defaults=True)
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def copy_home(source: Path, home: Path) -> None:
    """A home with everything of another one that nobody has open."""
    shutil.copytree(source, home)
    if not _running:
        return
    settings = config.load(home)
    fresh = _running[0].storage(home, source=settings.storage.database)
    text = config.render(settings.model_copy(update={"storage": fresh}))
    (home / config.CONFIG_FILE).write_text(text)


def elsewhere(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Files and objects of a home that do not lie in its folder."""
    for path in database_files(home):
        with suppress(FileNotFoundError):  # a running server takes files away
            yield path, path.read_bytes()
    settings = _settings(home)
    if settings is not None and settings.pictures:
        prefix = settings.pictures.rpartition("/")[2]
        for name, data in _running[0].bucket.content(f"{prefix}/").items():
            yield Path(name), data


def database_files(home: Path) -> list[Path]:
    """The files of the main database, and PostgreSQL's log, which holds what was written last."""
    settings = _settings(home)
    if settings is None or not settings.database:
        return sorted(home.glob("central.db*"))
    return _running[0].postgres.files(settings.database)


def database_bytes(home: Path) -> bytes:
    """All of :func:`database_files`."""
    return b"".join(path.read_bytes() for path in database_files(home) if path.exists())


def _settings(home: Path) -> StorageSettings | None:
    if not _running:
        return None
    text = (home / config.CONFIG_FILE).read_text(encoding="utf-8")
    return StorageSettings.model_validate(tomllib.loads(text)["storage"])
