"""``make bench-purge``: what the destruction of one hour costs among a million reads.

A store of sixty days is filled with invented rows, as long as true ones: the same number of reads
in each hour, a key for each. Then the oldest hour comes of age and the product's own purge runs,
on SQLite and on a PostgreSQL server of its own. Only the hour that goes has pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from alprd.central.publication import publish
from alprd.central.storage import config, db, partitions
from alprd.central.storage.config import CentralConfig, StorageSettings
from alprd.central.storage.store import Central, initialise
from alprd.central.upkeep import retention

NOW: Final = datetime(2026, 3, 2, 16, 30, tzinfo=UTC)
HOURS: Final = 1440
LIFE: Final = timedelta(hours=HOURS)
PICTURE: Final = 20_000
CELL: Final = 540
BIN: Final = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
LEAST: Final = {"purge_s": 60.0, "written_mb": 500.0}
"""Seconds and megabytes that one hour may cost at most."""


def fill(central: Central, reads: int) -> int:
    """Rows and keys for so many reads, as many in each hour; how many are due at :data:`NOW`."""
    each, due = -(-reads // HOURS), 0
    cell, digest = secrets.token_bytes(CELL), secrets.token_bytes(16)
    for first in range(0, HOURS, 24):
        hours = [NOW.replace(minute=0) - LIFE + timedelta(hours=first + n) for n in range(24)]
        ids = {hour: [secrets.token_hex(16) for _ in range(each)] for hour in hours}
        wrapped = secrets.token_bytes(60)  # as long as a sealed key
        with central.keystore.database.write() as tx:
            partitions.ensure(tx, "read_keys", hours)
            tx.execute(db.hour_keys.insert(), [{"hour": h, "wrapped": wrapped} for h in hours])
            keys = [{"id": i, "hour": h, "wrapped": wrapped} for h in hours for i in ids[h]]
            tx.execute(db.read_keys.insert(), keys)
        row: dict[str, Any] = {
            "classification": "unlinked",
            "session": ids[hours[0]][0],
            "vehicle": "car-1",
        }
        row |= {"cell": cell, "digest0": digest, "digest1": digest, "digest2": digest}
        with central.database.write() as tx:
            partitions.ensure(tx, "reads", hours)
            for hour in hours:
                mine = {**row, "hour": hour, "destroy_by": hour + LIFE}
                tx.execute(db.reads.insert(), [{"id": read, **mine} for read in ids[hour]])
        for hour in hours:
            if hour + LIFE <= NOW:
                due += each
                pictures = {i: secrets.token_bytes(PICTURE) for i in ids[hour]}
                central.objects.put("pictures", pictures)
    return due


def written(pids: list[int]) -> dict[int, int]:
    """Bytes that each process has sent to the disk so far."""
    found = {}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
        except OSError:
            continue  # it ended meanwhile
        found[pid] = int(dict(line.split(": ") for line in lines)["write_bytes"])
    return found


def measure(home: Path, storage: StorageSettings, reads: int, server: int) -> dict[str, Any]:
    """Fill a store and destroy its oldest hour."""
    settings = CentralConfig(
        agency="bench",
        agency_name="Bench",
        policy=config.default_policy("460", "Sheriff", NOW),
        storage=storage,
    )
    initialise(home, settings, intake_from=NOW.date(), clock=lambda: NOW - timedelta(hours=1))
    # The purge is that of a worker that compared everything within the day.
    now = NOW - timedelta(hours=1)
    with Central(home, lambda: now) as central:
        publish.create_repository(central)
        retention.purge(central)
        began = time.monotonic()
        due = fill(central, reads)
        filled = time.monotonic() - began
        if server:
            with central.database.engine.connect() as raw:
                raw.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
        central.database.checkpoint()
        now = NOW
        pids = [os.getpid(), *_children(server)]
        before, began = written(pids), time.monotonic()
        done = retention.purge(central, whole=retention.whole_due(central))
        took = time.monotonic() - began
        after = written([os.getpid(), *_children(server)])
        began = time.monotonic()
        again = retention.purge(central, whole=False)
        idle = time.monotonic() - began
        whole = 0.0
        if server:
            began = time.monotonic()
            with central.database.engine.connect() as raw:
                auto = raw.execution_options(isolation_level="AUTOCOMMIT")
                auto.exec_driver_sql("VACUUM (FULL) read_keys")
            whole = time.monotonic() - began
    if (done.reads, again.reads) != (due, 0):
        raise SystemExit(f"{done.reads} reads were destroyed, {due} were due")
    return {
        "reads": reads,
        "destroyed": done.reads,
        "purge_s": round(took, 2),
        "nothing_due_s": round(idle, 2),
        "written_mb": round(sum(after[p] - before.get(p, 0) for p in after) / 1e6, 1),
        "all_keys_rewritten_s": round(whole, 2),
        "filled_s": round(filled, 1),
    }


def _children(server: int) -> list[int]:
    if not server:
        return []
    path = Path(f"/proc/{server}/task/{server}/children")
    return [server, *(int(word) for word in path.read_text(encoding="ascii").split())]


@contextmanager
def postgresql(folder: Path) -> Iterator[tuple[str, int]]:
    """A server with the settings of docs/storage.md; the URL of a database and its process."""
    if BIN is None:
        raise SystemExit("needs PostgreSQL 15 or newer: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *words: str) -> None:
        subprocess.run(
            [str(BIN / program), *words],
            check=True, capture_output=True, cwd="/", user=user if os.geteuid() == 0 else None,
        )  # fmt: skip

    data = folder / "data"
    run("initdb", "-D", str(data), "-A", "trust", "-U", "alprd")
    options = f"-k {folder} -c listen_addresses= -c wal_recycle=off -c max_wal_size=128MB"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        run("createdb", "-h", str(folder), "-U", "alprd", "central")
        process = int((data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        yield f"postgresql://alprd@/central?host={folder}", process
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


def main(argv: list[str] | None = None) -> int:
    """Run it; 0 when both databases destroy an hour within :data:`LEAST`."""
    parser = argparse.ArgumentParser(prog="python -m bench purge", description=__doc__)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="alprd-bench-", dir="/var/tmp") as name:
        parent = Path(name)
        parent.chmod(0o755)
        if options.only != "postgresql":
            home = parent / "sqlite"
            found["sqlite"] = measure(home, StorageSettings(), options.reads, 0)
            print(json.dumps(found), file=sys.stderr)  # a fault in the other must not lose it
            shutil.rmtree(home)
        if options.only != "sqlite":
            with postgresql(parent / "pg") as (place, process):
                storage = StorageSettings(database=place, keystore=place)
                found["postgresql"] = measure(parent / "home", storage, options.reads, process)
    text = json.dumps(found, indent=1)
    Console(file=sys.stdout, highlight=False).print_json(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    kept = all(row[key] <= most for row in found.values() for key, most in LEAST.items())
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
