"""Workers on several hosts have one home folder, and a worker with another one does not start.

With PostgreSQL and a bucket every row, key and picture is behind the network. Imported and held
lists, the published repository and its keys' certificates are still files of the home
(docs/storage.md), so every worker must see the same folder. A copy would serve an old list to cars
and nobody would notice; so each worker leaves a file in its home while it runs, and one that
starts looks for the files of all others that the database knows.
"""

from __future__ import annotations

import json
import platform
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from alprd.central.storage import leases
from alprd.central.storage.store import Central
from alprd.central.storage.store_tables import workers
from alprd.errors import ConfigError

FOLDER: Final = "workers"


def nobody_serves(home: Path) -> None:
    """Look whether a worker of this home answers; one would write into rows that are taken away.

    Raises:
        ConfigError: the worker that ``run.json`` names answers.
    """
    try:
        run = json.loads((home / "run.json").read_text(encoding="utf-8"))
        host = str(run["page_url"]).rpartition(":")[0].partition("//")[2]
        port = int(run["page_port"])
        socket.create_connection((host.strip("[]"), port), timeout=2).close()
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or one that was killed and left its note
    raise ConfigError(
        f"a worker serves {home} on port {port}",
        remedy="stop every worker, then repeat it (none runs: remove run.json)",
    )


class Presence:
    """One running worker, as the others see it.

    Args:
        central: the opened store.
        life: how long the worker counts as running when it says nothing more.
    """

    def __init__(self, central: Central, life: timedelta) -> None:
        self._central, self._life = central, life
        self.id = leases.new_holder()
        self._here = central.home / FOLDER / self.id

    def begin(self) -> None:
        """Be there, when every other running worker has the same home.

        Raises:
            ConfigError: another one has another home.
            StoreError: the database is gone.
        """
        database = self._central.database
        if not database.server:
            return  # the database is a file of the home: there is no other home
        with database.write() as tx:
            now = leases.database_now(database, tx)
            tx.execute(delete(workers).where(workers.c.ends_at <= now))
            running = tx.execute(select(workers)).all()
            for row in running:
                if not (self._central.home / FOLDER / row.id).exists():
                    raise ConfigError(
                        f"a worker on {row.host} runs on another home folder than "
                        f"{self._central.home}",
                        remedy="mount one shared folder as the home of every worker "
                        "(docs/storage.md), or wait until that worker's time is over",
                    )
            self._clear({row.id for row in running})
            # Before the row, under the lock: whoever sees the row must find the file.
            self._here.parent.mkdir(mode=0o700, exist_ok=True)
            self._here.touch(mode=0o600)
            host = (platform.node() or "host")[:64]
            tx.execute(insert(workers).values(id=self.id, host=host, ends_at=now + self._life))

    def renew(self) -> None:
        """Go on being there.

        Raises:
            StoreError: the database is gone.
        """
        database = self._central.database
        if not database.server:
            return
        with database.write() as tx:
            ends = leases.database_now(database, tx) + self._life
            if not self._renewed(tx, ends_at=ends):  # it stood still for longer than its life
                host = (platform.node() or "host")[:64]
                tx.execute(insert(workers).values(id=self.id, host=host, ends_at=ends))
            self._here.parent.mkdir(mode=0o700, exist_ok=True)
            self._here.touch(mode=0o600)

    def _renewed(self, tx: Connection, **values: object) -> bool:
        mine = workers.c.id == self.id
        return bool(tx.execute(update(workers).where(mine).values(values)).rowcount)

    def end(self) -> None:
        """Be there no more."""
        if not self._central.database.server:
            return
        with self._central.database.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == self.id))
        with suppress(OSError):
            self._here.unlink()

    def _clear(self, running: set[str]) -> None:
        """Take away what killed workers left."""
        with suppress(OSError):
            for path in (self._central.home / FOLDER).iterdir():
                if path.name not in running:
                    path.unlink()
