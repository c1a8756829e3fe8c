"""Migrations: which revision a database has, and how it is brought to this program's.

Two trees, ``migrations/main`` and ``migrations/keystore``, as there are two databases; each
counts in a table of its own, so that both may be one PostgreSQL database. A revision only goes
forward. One transaction holds a whole upgrade, on SQLite too: it is done, or nothing was.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, inspect, text

from alprd.errors import StoreError

FOLDER: Final = Path(__file__).with_name("migrations")
FIRST: Final = "0001"
"""The tables of the programs before there were migrations."""
UPGRADE: Final = "alprd-central db upgrade"


def tree_of(metadata: MetaData) -> str:
    """``main`` or ``keystore``."""
    return str(metadata.info["tree"])


def version_table(metadata: MetaData) -> str:
    """The table that holds the revision."""
    return f"revision_of_{tree_of(metadata)}"


def configure(metadata: MetaData, connection: Connection | None = None) -> Any:
    """Alembic's settings for one tree."""
    from alembic.config import Config  # only a migration needs alembic: it costs start-up time

    made = Config()
    # Alembic's settings are an INI file's: a percent sign in the path would begin a variable.
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    made.set_main_option("path_separator", "newline")
    made.set_main_option("version_locations", str(FOLDER / tree_of(metadata)).replace("%", "%%"))
    made.set_main_option("file_template", "m%%(rev)s_%%(slug)s")
    made.attributes.update(
        connection=connection, metadata=metadata, version_table=version_table(metadata)
    )
    return made


@cache
def revisions(tree: str) -> tuple[str, ...]:
    """Every revision of a tree, oldest first, by the names of its files: they are numbered."""
    return tuple(sorted(p.name[1:5] for p in (FOLDER / tree).glob("m[0-9][0-9][0-9][0-9]_*.py")))


def revision(tx: Connection, metadata: MetaData) -> str | None:
    """The revision of an opened database; ``None`` when it has none.

    A database of the programs before there were migrations has :data:`FIRST` at most: it is told
    from an empty one by its first table.
    """
    seen = inspect(tx)
    name = version_table(metadata)
    if seen.has_table(name):
        found = tx.scalar(text(f'SELECT version_num FROM "{name}"'))  # noqa: S608 - our own name
        return None if found is None else str(found)
    return "" if seen.has_table(next(iter(metadata.tables))) else None


def behind(tx: Connection, metadata: MetaData, name: str) -> bool:
    """Whether the database needs an upgrade.

    Raises:
        StoreError: it holds no agency, or is of a newer program.
    """
    found = revision(tx, metadata)
    known = revisions(tree_of(metadata))
    if found is None:
        raise StoreError(f"database {name} holds no agency", remedy="run alprd-central init")
    if found and found not in known:
        raise StoreError(
            f"database {name} is of revision {found}, which this program does not know",
            remedy="install the program that wrote it, or restore the backup from before",
        )
    return found != known[-1]


def is_ours(metadata: MetaData, item: Any, kind: str, reflected: bool) -> bool:
    """Whether a comparison concerns this tree.

    The other tree's tables, those of alembic, and partitions may stand in the same database.
    """
    table = item if kind == "table" else item.table
    return not reflected or table.name in metadata.tables


def upgrade(tx: Connection, metadata: MetaData, to: str = "head") -> None:
    """Bring the database of this write transaction to a revision.

    A database without revisions gets the first one's missing tables and then the rest.
    """
    from alembic import command

    command.upgrade(configure(metadata, tx), to)
