"""Backups: rows, encrypted files, published repository and settings, and no key of any read.

A backup is a folder::

    manifest.json    form, agency, when, revision, rows of each table, SHA-256 of the files
    central.db       every table in SQLite, whatever the store's own database is
    files/           settings, CA certificate, lists, repository, receipts
    objects/         pictures, quarantined envelopes, requests of holds (left out: by reference)

The keystore and the agency key are never in it. What is destroyed after the backup was made loses
its key in the keystore, so the copy in the backup opens no more (R-460.5-4b); what of it a restore
would bring back is left out (:mod:`alprd.central.upkeep.restore`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select

from alprd.audit import Actor
from alprd.central.storage import db, migrate, partitions
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.engine import Database
from alprd.central.storage.objects import KINDS, Kind
from alprd.central.storage.store import Central
from alprd.crypto import write_secret
from alprd.errors import EnvelopeError, InputError, StoreError

FORM: Final = "alprd-central-backup-1"
FILES: Final = ("central.toml", "keys/ca.crt", "tuf", "lists", "held", "bca", "anchors")
"""What of a home folder goes into a backup. A list of what may, so that no key slips in."""
LEFT_OUT: Final = frozenset({"web_sessions", "leases", "workers", "row_rewrites"})
"""Tables of what ends with the running program."""
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Report:
    """What a backup holds."""

    rows: int
    objects: int
    missing: int
    """Objects that were destroyed while the backup was made, or are lost."""
    files: int


def make(
    central: Central, folder: Path, *, pictures: bool = True, actor: Actor = CENTRAL
) -> Report:
    """Write a backup; whole when this returns, and not there when it fails.

    Args:
        folder: must not exist.
        pictures: copy encrypted objects; else the backup names them and they stay where they are.

    Raises:
        InputError: the folder exists.
        StoreError: it cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder} exists", remedy="name a new folder for each backup")
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        report = _write(central, part, pictures)
        os.sync()
        part.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(
            f"backup in {folder} cannot be written: {error.strerror}",
            remedy="check free disk space and the folder's owner",
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    detail: dict[str, str | int | bool] = dict(asdict(report))
    with central.database.write() as tx:
        central.trail.record(tx, Event.BACKED_UP, actor, at=central.clock(), detail=detail)
    return report


def _write(central: Central, part: Path, pictures: bool) -> Report:
    now = central.clock()
    copy = Database(part / "central.db", db.main, create=True)
    try:
        with central.database.read() as view, copy.write() as tx:
            rows = copy_rows(view, tx)
        with copy.read() as view:
            names = object_names(view)
        copy.checkpoint()
    finally:
        copy.close()
    for leftover in part.glob("central.db-*"):
        leftover.unlink()
    done = missing = 0
    if pictures:
        for kind, wanted in names.items():
            for name in wanted:
                try:
                    data = central.objects.get(kind, name)
                except EnvelopeError:
                    missing += 1
                    continue
                path = object_path(part, kind, name)
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_bytes(data)
                done += 1
    digests = _copy_files(central.home, part / "files")
    digests["central.db"] = _digest(part / "central.db")
    manifest = {
        "form": FORM,
        "agency": central.config.agency,
        "made_at": now.isoformat(),
        "revision": migrate.revisions("main")[-1],
        "pictures": pictures,
        "rows": rows,
        "objects": {kind: len(wanted) for kind, wanted in names.items()},
        "files": digests,
    }
    write_secret(part / "manifest.json", json.dumps(manifest, indent=1).encode())
    return Report(sum(rows.values()), done, missing, len(digests))


def copy_rows(source: Connection, target: Connection) -> dict[str, int]:
    """Copy every row of the main database's tables; the numbers by table."""
    done = {}
    for table in db.main.sorted_tables:
        if table.name not in LEFT_OUT:
            done[table.name] = sum(_parts(source, target, table))
    return done


def _parts(source: Connection, target: Connection, table: Table) -> Iterator[int]:
    rows = source.execution_options(yield_per=CHUNK).execute(select(table))
    for part in rows.mappings().partitions(CHUNK):
        values: list[dict[str, Any]] = [dict(row) for row in part]
        if table.name in partitions.TABLES:
            partitions.ensure(target, table.name, {row["hour"] for row in values})
        target.execute(insert(table), values)
        yield len(values)


def object_names(view: Connection) -> dict[Kind, list[str]]:
    """The objects that the rows of a database name."""
    exempt = select(db.exemptions.c.id).where(db.exemptions.c.kind == "hold")
    return {
        "pictures": list(view.scalars(select(db.reads.c.id))),
        "quarantine": list(view.scalars(select(db.quarantine.c.sha256))),
        "holds": list(view.scalars(exempt)),
    }


def object_path(folder: Path, kind: Kind, name: str) -> Path:
    """Where an object lies in a backup."""
    return folder / "objects" / kind / name[:2] / name


def _copy_files(home: Path, target: Path) -> dict[str, str]:
    digests = {}
    for name in FILES:
        place = home / name
        found = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        for path in found:
            if not path.is_file() or path.name.startswith("."):
                continue
            relative = path.relative_to(home)
            copy = target / relative
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, copy)
            except FileNotFoundError:
                continue  # replaced meanwhile, as a list may be; the row says which one counts
            digests[f"files/{relative}"] = _digest(copy)
    return digests


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are as they were written.

    Raises:
        InputError: not a backup, damaged, or of a newer program.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a backup", remedy="name a backup's folder") from error
    if manifest.get("form") != FORM or manifest["revision"] not in migrate.revisions("main"):
        raise InputError(
            f"{folder} is a backup of another program", remedy="install the one that made it"
        )
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file() or _digest(path) != digest:
            raise InputError(f"{path} is missing or damaged", remedy="take another backup")
    return manifest


def opened(folder: Path, scratch: Path) -> Database:
    """The database of a backup, copied to ``scratch``: the backup itself is only read."""
    copy = scratch / "backup.db"
    shutil.copyfile(folder / "central.db", copy)
    copy.chmod(0o600)
    return Database(copy, db.main)


def objects_of(folder: Path) -> Iterator[tuple[Kind, str, bytes]]:
    """Every object in a backup."""
    for kind in KINDS:
        for path in sorted((folder / "objects" / kind).rglob("*")):
            if path.is_file():
                yield kind, path.name, path.read_bytes()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
