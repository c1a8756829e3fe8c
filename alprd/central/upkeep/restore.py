"""Restoring a backup, and the drill that proves what cannot be restored (R-460.5-4b).

A restore needs the keystore and the agency key of today, which no backup holds. What was destroyed
since the backup has no key there: its rows and pictures are not brought back. What the backup does
not know is lost, as with every backup: reads, people, revocations and holds of after it.

A restore may be cut off anywhere. From its first change until its rows, links and publication fit
the keystore a note in the home (:mod:`alprd.central.storage.cutoff`) keeps everything else from
opening it: a purge of half of it would destroy the keys of holds that it has not taken up yet
(R-460.5-a). The same command again goes on.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, select

from alprd.audit import Actor
from alprd.central.publication import publish
from alprd.central.records import exemptions
from alprd.central.storage import (
    config,
    cutoff,
    db,
    keeping,
    public_tables,
    replica,
    repository,
    sharing,
    vault,
)
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.engine import Database
from alprd.central.storage.objects import FolderObjects
from alprd.central.storage.store import DATABASE, KEYSTORE, Central
from alprd.central.upkeep import backup, retention
from alprd.errors import ConfigError, EnvelopeError, InputError
from alprd.records import utc_now

_SCRATCH: Final = ".scratch-"
_AHEAD: Final = 1000
"""Versions that a restored repository skips: a car refuses one that it has seen a later one of."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back, and what it left out."""

    made_at: str
    reads: int
    destroyed_since: int
    """Reads whose keys are gone: they were destroyed after the backup was made."""
    without_pictures: int
    adopted: int
    """Links and holds of after the backup: known by their keys only, kept as links to review."""


def restore(
    home: Path,
    folder: Path,
    *,
    replace: bool = False,
    actor: Actor = CENTRAL,
    clock: Callable[[], datetime] = utc_now,
) -> Restored:
    """Bring a backup back into a home whose keystore and agency key are in place.

    Raises:
        InputError: not a whole backup, or of another agency.
        ConfigError: keystore or agency key is missing, the home still has its rows, or a worker
            runs.
        StoreError: a database or folder cannot be written.
    """
    manifest = backup.read_manifest(folder)
    files = folder / "files"
    source = home if (home / config.CONFIG_FILE).exists() else files
    settings = config.load(source)
    if settings.agency != manifest["agency"]:
        raise InputError(
            f"the backup is of {manifest['agency']}, the home of {settings.agency}",
            remedy="name the home of the same agency",
        )
    _need_keys(home, settings)
    place: Path | str = settings.storage.database or home / DATABASE
    begun = cutoff.begun(home)
    if begun is None:
        if not replace:
            _need_room(place)
        sharing.nobody_serves(home)
        bare = not (home / "tuf" / "metadata" / "timestamp.json").exists()
        begun = cutoff.begin(home, folder, clock(), bare=bare)
    elif isinstance(place, Path) and (home / begun.aside).exists():
        replica.wipe(place)  # what the interrupted restore wrote; what was there lies aside
    if isinstance(place, Path):
        _set_aside(place, home / begun.aside)
    _rows(home, folder, place)
    _bring_files(home, files, repository_too=begun.bare)
    with Central(home, clock, mending=True) as central:
        done = _reconcile(central, folder, manifest, actor, ahead=begun.bare)
        cutoff.end(home)
        retention.purge(central)
    return done


def _need_room(place: Path | str) -> None:
    """Refuse a place that has rows, before anything is changed."""
    if isinstance(place, Path):
        if place.exists():
            raise ConfigError(f"{place} exists", remedy="--replace sets it aside")
        return
    target = Database(place, db.main, create=True)
    try:
        with target.read() as tx:
            for table in db.main.sorted_tables:
                if tx.execute(select(table).limit(1)).first() is not None:
                    raise ConfigError(
                        "the database holds an agency", remedy="--replace takes its place"
                    )
    finally:
        target.close()


def _set_aside(place: Path, aside: Path) -> None:
    """Move a SQLite file, which may be damaged, away; its log first, so that none is left alone."""
    for end in ("-wal", "-shm", ""):
        part = place.with_name(place.name + end)
        if part.exists():
            part.replace(aside.with_name(aside.name + end))
    replica.sync_folder(place.parent)


def _rows(home: Path, folder: Path, place: Path | str) -> None:
    """Every row of the backup, in one transaction."""
    target = Database(place, db.main, create=True)
    try:
        with _scratch(home) as scratch:
            copy = backup.opened(folder, scratch)
            try:
                with copy.read() as view, target.write() as tx:
                    hours = tx.scalars(select(db.reads.c.hour).distinct()).all()
                    _empty(tx)
                    target.mark(tx, "reads", hours)  # after it: the marks were emptied as well
                    backup.copy_rows(view, tx)
                    tx.execute(delete(db.published))  # everything is published anew
            finally:
                copy.close()
    finally:
        target.close()


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder for the copy of a backup's rows; what a killed run left of one goes first."""
    for left in home.glob(f"{_SCRATCH}*"):
        # Of another drill that still runs: its owner's process id is in the name.
        if not _alive(left.name.removeprefix(_SCRATCH).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=f"{_SCRATCH}{os.getpid()}-") as made:
        yield Path(made)


def _alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def _need_keys(home: Path, settings: config.CentralConfig) -> None:
    place = settings.storage.keystore or home / KEYSTORE
    if isinstance(place, Path) and not place.exists():
        raise ConfigError(
            f"keystore {place} is missing",
            remedy="bring back its replica: without it no backup can be read, on purpose",
        )


def _empty(tx: Connection) -> None:
    """Remove every row, also those that a person could not."""
    with public_tables.rewriting(tx):
        for table in reversed(db.main.sorted_tables):
            tx.execute(delete(table))


def _bring_files(home: Path, files: Path, *, repository_too: bool) -> None:
    """What is missing in the home; what is there is newer. Each file is there whole or not at all.

    Args:
        repository_too: the home had none when the restore began; parts of two do not fit.
    """
    for name in ("", "keys", "pictures", "quarantine", "tuf", "tuf/metadata", "tuf/targets"):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(files.rglob("*")):
        relative = path.relative_to(files)
        wanted = home / relative
        if not path.is_file() or wanted.exists():
            continue
        if relative.parts[0] == "tuf" and not repository_too:
            continue
        wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = wanted.with_name(f".{wanted.name}.restoring")
        shutil.copyfile(path, part)
        part.chmod(0o600)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(wanted)
        replica.sync_folder(wanted.parent)


def _reconcile(
    central: Central, folder: Path, manifest: dict[str, Any], actor: Actor, *, ahead: bool
) -> Restored:
    now = central.clock()
    with central.database.write() as tx:
        trail = tx.scalar(select(func.max(db.audit.c.seq))) or 0
        rows = tx.execute(select(db.reads)).all()
        found = readable(central, rows, exempt_keys(central))
        gone = [row.id for row in rows if row.id not in found]
        for part in _parts(gone):
            tx.execute(delete(db.reads).where(db.reads.c.id.in_(part)))
            tx.execute(delete(db.exempted).where(db.exempted.c.read.in_(part)))
        _keep_again(central, tx, found)
        foul = set(tx.scalars(select(db.quarantine.c.sha256)))
        for sha256 in foul - set(central.keystore.open_read_keys(foul)):
            tx.execute(delete(db.quarantine).where(db.quarantine.c.sha256 == sha256))
        adopted = _adopt(central, tx, found, now)
    _bring_objects(central, folder, set(found))
    bare = sum(not vault.has_pictures(central.objects, read) for read in found)
    done = Restored(manifest["made_at"], len(found), len(gone), bare, adopted)
    detail: dict[str, str | int | bool] = {**asdict(done), "trail": trail, "alarm": True}
    with central.database.write() as tx:
        central.trail.record(tx, Event.RESTORED, actor, at=now, detail=detail)
    publish.publish(central)
    if ahead:
        with central.database.write() as tx:
            repository.sign(central, publish.files_of(tx), ahead=_AHEAD)
    return done


def _adopt(central: Central, tx: Connection, found: dict[str, bytes], now: datetime) -> int:
    """Give a row to each keeper of the keystore that none has: it was placed after the backup.

    Its documents are lost, what it keeps is not: a held read must not be destroyed because a
    disk died. A person must review it at once.
    """
    known = set(tx.scalars(select(db.exemptions.c.id)))
    with central.keystore.database.read() as view:
        kept = view.execute(select(db.kept_keys.c.keeper, db.kept_keys.c.id)).all()
    number = 0
    for keeper in sorted({row.keeper for row in kept} - known):
        reads = tuple(sorted(row.id for row in kept if row.keeper == keeper and row.id in found))
        if not reads:
            continue
        made = exemptions.Exemption(
            id=keeper,
            kind="case",
            state="active",
            number="restored",
            statement="Placed after the backup that was restored; enter its documents again.",
            opened_by=CENTRAL.id,
            opened_at=now,
            reads=reads,
            due=now,
        )
        exemptions.add(central, tx, made)
        exemptions.take_in(central, tx, keeper, {read: found[read] for read in reads})
        number += 1
    return number


def _keep_again(central: Central, tx: Connection, found: dict[str, bytes]) -> None:
    """A live exemption whose own wrap is gone, though the read is not, gets it again."""
    for exemption, reads in exemptions.live(tx).items():
        have = keeping.open_kept(central.keystore, exemption, reads)
        missing = {read: found[read] for read in reads if read in found and read not in have}
        if missing:
            keeping.keep(central.keystore, exemption, missing)


def _bring_objects(central: Central, folder: Path, reads: set[str]) -> None:
    """Objects of rows that came back; those that still lie in their place stay."""
    with central.database.read() as tx:
        wanted = {kind: set(names) for kind, names in backup.object_names(tx).items()}
    wanted["pictures"] &= reads
    for kind, name, data in backup.objects_of(folder):
        if name in wanted[kind] and central.objects.size(kind, name) is None:
            central.objects.put(kind, {name: data})
    if isinstance(central.objects, FolderObjects):
        for kind in wanted:
            (central.home / kind).mkdir(mode=0o700, exist_ok=True)


def exempt_keys(central: Central) -> dict[str, bytes]:
    """Every read key that any keeper of the keystore opens, by read id."""
    found: dict[str, bytes] = {}
    with central.keystore.database.read() as tx:
        kept = tx.execute(select(db.kept_keys.c.keeper, db.kept_keys.c.id)).all()
    for keeper in {row.keeper for row in kept}:
        names = [row.id for row in kept if row.keeper == keeper]
        found |= keeping.open_kept(central.keystore, keeper, names)
    return found


def readable(
    central: Central, rows: Sequence[Row[Any]], kept: dict[str, bytes]
) -> dict[str, bytes]:
    """Those rows whose cell some key of the keystore opens, with that key, by read id."""
    found: dict[str, bytes] = {}
    hours: dict[datetime, list[str]] = {}
    for row in rows:
        hours.setdefault(row.hour, []).append(row.id)
    for hour, ids in hours.items():
        found |= central.keystore.open_read_keys(ids, [hour])
    opened: dict[str, bytes] = {}
    for row in rows:
        for key in (found.get(row.id), kept.get(row.id)):
            if key is None:
                continue
            try:
                vault.open_cell(row, key)
            except EnvelopeError:
                continue
            opened[row.id] = key
            break
    return opened


def _parts(ids: Iterable[str]) -> Iterable[list[str]]:
    wanted = list(ids)
    return (wanted[i : i + backup.CHUNK] for i in range(0, len(wanted), backup.CHUNK))


@dataclass(frozen=True, slots=True)
class Drill:
    """What a backup gives away, tried with every key there is today."""

    reads: int
    readable: int
    expired: int
    """Past their life without a live exemption; none of them may open."""
    destroyed: int
    """In the backup and no more in the store: destroyed singly, or with their hour."""
    wrongly_readable: tuple[str, ...]
    """Ids of expired or destroyed reads that opened all the same: a failure of destruction."""
    keys_in_backup: bool
    """Whether the agency key or a table of the keystore was found in the backup."""

    @property
    def passed(self) -> bool:
        """Whether destruction reaches this backup."""
        return not self.wrongly_readable and not self.keys_in_backup


def drill(central: Central, folder: Path, *, actor: Actor = CENTRAL) -> Drill:
    """Try to read everything in a backup with the keystore of today; change nothing but the trail.

    Raises:
        InputError: not a whole backup.
    """
    backup.read_manifest(folder)
    now = central.clock()
    with _scratch(central.home) as scratch:
        copy = backup.opened(folder, scratch)
        try:
            with copy.read() as view:
                rows = view.execute(select(db.reads)).all()
        finally:
            copy.close()
    with central.database.read() as tx:
        held = set(tx.scalars(select(db.reads.c.id)))
        live = set().union(*exemptions.live(tx).values())
    opened = readable(central, rows, exempt_keys(central))
    expired = {row.id for row in rows if _past(row, now) and row.id not in live}
    gone = {row.id for row in rows} - held
    done = Drill(
        reads=len(rows),
        readable=len(opened),
        expired=len(expired),
        destroyed=len(gone),
        wrongly_readable=tuple(sorted((expired | gone) & set(opened))),
        keys_in_backup=_holds_keys(central, folder),
    )
    detail: dict[str, str | int | bool] = {
        "reads": done.reads,
        "readable": done.readable,
        "expired": done.expired,
        "destroyed": done.destroyed,
        "wrongly_readable": len(done.wrongly_readable),
        "passed": done.passed,
    }
    if not done.passed:
        detail["alarm"] = True
    with central.database.write() as tx:
        central.trail.record(tx, Event.RESTORE_DRILLED, actor, at=now, detail=detail)
    return done


def _past(row: Row[Any], now: datetime) -> bool:
    return bool(row.destroy_by <= now)


def _holds_keys(central: Central, folder: Path) -> bool:
    keys = central.keystore.agency_keys()
    written = (base64.b64encode(key) for key in keys)
    signs = (*keys, *written, *(f"CREATE TABLE {t}".encode() for t in _KEY_TABLES))
    for path in folder.rglob("*"):
        if path.is_file() and any(sign in path.read_bytes() for sign in signs):
            return True
    return False


_KEY_TABLES: Final = tuple(db.keystore.tables)
