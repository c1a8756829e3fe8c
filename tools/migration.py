"""Write a new revision from the difference between the migrations and the tables of today.

Used by ``make migration NAME=…``: a scratch SQLite file is brought to the newest revision of each
tree and compared with :mod:`alprd.central.storage.db` and the tables beside it. Look through what
it wrote: a renamed column looks like one taken away and one added.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

import alprd.central.storage.store  # noqa: F401 - its imports make the metadata whole
from alprd.central.storage import db, migrate
from alprd.central.storage.engine import Database


def _ours(metadata: MetaData, item: Any, name: Any, kind: str, reflected: bool, _: Any) -> bool:
    del name
    return migrate.is_ours(metadata, item, kind, reflected)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="what the revision does, in a few words")
    name = parser.parse_args().name.strip().lower()
    from alembic import autogenerate, command
    from alembic.migration import MigrationContext

    written = 0
    for metadata in (db.main, db.keystore):
        tree = migrate.tree_of(metadata)
        with tempfile.TemporaryDirectory() as folder:
            database = Database(Path(folder) / "scratch.db", metadata, create=True)
            with database.write() as tx:
                options = {
                    "version_table": migrate.version_table(metadata),
                    "compare_type": True,
                    "include_object": partial(_ours, metadata),
                }
                context = MigrationContext.configure(tx, opts=options)
                if autogenerate.compare_metadata(context, metadata):
                    number = f"{int(migrate.revisions(tree)[-1]) + 1:04d}"
                    settings = migrate.configure(metadata, tx)
                    script = command.revision(settings, name, autogenerate=True, rev_id=number)
                    print(getattr(script, "path", script))
                    written += 1
            database.close()
    if not written:
        print("the migrations already give the tables of today", file=sys.stderr)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
