"""The drop folder: a supplier's file that is put there becomes the list in use, or is told why not.

``[drop]`` of ``central.toml`` names the folder and which file is which list. A file is taken when
it is whole: unchanged for ``settle_s`` seconds and open for writing in no process of this host;
names that uploaders give to unfinished files (``.part``, ``.tmp`` …) are left alone. It is then
moved out of the way and imported by a process of its own (``alprd-central lists import``), so that
neither its size nor its content is a danger to the server. What became of it stands beside it::

    done/      the list is in use and published
    held/      it looked wrong and waits for a person; the old list is in use
    refused/   it could not be used; the old list is in use

each with ``NAME.report.json`` and, for rejected lines, ``NAME.rejected.csv`` (number and reason,
never the plate). The time at which the supplier made the list is in the file's name where
``time_in_name`` says how, else the file's time of change. Rules: R-460.4.1-b, -b4.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

from alprd.central.storage.config import CentralConfig, DropList
from alprd.central.storage.namedtime import time_in_name
from alprd.errors import InputError, StoreError

log: Final = logging.getLogger("alprd.central.hotlists.dropfolder")
Result = Literal["done", "held", "refused"]
FOLDERS: Final[tuple[Result, ...]] = ("done", "held", "refused")
TAKING: Final = ".taking"
"""A file that is being imported; after a crash it goes back to where it was dropped."""
BY: Final = "drop-folder"
_REJECTED: Final = ".rejected.csv"
_UNFINISHED: Final = (".part", ".partial", ".filepart", ".tmp", ".temp", ".new", ".crdownload", "~")
_HELD: Final = 3
"""Exit code of ``lists import`` for a list that waits for a person."""
_ERROR_BYTES: Final = 4_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    list_id: str
    result: Result
    file: Path
    report: Path


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it looked, and since when (monotonic seconds)."""

    looks: tuple[int, int, int]
    since: float


class DropFolder:
    """Takes the files of one folder; one thread at a time.

    Args:
        home: the agency's folder.
        settings: with ``drop.folder`` set.
    """

    def __init__(self, home: Path, settings: CentralConfig) -> None:
        self._home = home
        self._settings = settings
        self.folder: Final = home / settings.drop.folder
        self._seen: dict[str, _Seen] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    @property
    def waiting(self) -> bool:
        """Whether a file is there that is not taken yet."""
        return bool(self._seen)

    def prepare(self) -> None:
        """Make the folders below it; put back what a crash interrupted.

        Raises:
            StoreError: the folder is not there or cannot be written.
        """
        try:
            for name in (*FOLDERS, TAKING):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            for left in (self.folder / TAKING).iterdir():
                self._put_back(left)
        except OSError as error:
            raise StoreError(
                f"drop folder {self.folder}: {error.strerror}",
                remedy="make the folder and let the account of alprd-central write there, or "
                "empty `folder` in [drop] of central.toml",
            ) from error

    def take(self) -> list[Outcome]:
        """Import every file that is whole by now; what is not is looked at again later.

        Raises:
            StoreError: the folder cannot be read or written.
        """
        outcomes: list[Outcome] = []
        try:
            for path in self._whole():
                if self._stopped:
                    break
                made = self._import(path)
                if made is not None:
                    outcomes.append(made)
            self._forget_old()
        except OSError as error:
            raise StoreError(
                f"drop folder {self.folder}: {error.strerror}",
                remedy="check that it is there, its owner and free disk space",
            ) from error
        return outcomes

    def stop(self) -> None:
        """From another thread: end a running import; its file goes back and is taken next time."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.terminate()

    # --- which files are whole ---------------------------------------------------------------

    def _whole(self) -> Iterator[Path]:
        """Files that have not changed for long enough, oldest first, so that the newest wins."""
        now, seen = time.monotonic(), dict[str, _Seen]()
        found: list[tuple[int, Path]] = []
        for entry in os.scandir(self.folder):
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            try:
                looks = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # taken away meanwhile
                continue
            if not stat.S_ISREG(looks.st_mode):  # a link could name any file of the server
                continue
            mark = (looks.st_ino, looks.st_size, looks.st_mtime_ns)
            before = self._seen.get(entry.name)
            if before is None or before.looks != mark:
                before = _Seen(mark, now)
            seen[entry.name] = before
            if now - before.since >= self._settings.drop.settle_s:
                found.append((looks.st_mtime_ns, Path(entry.path)))
        self._seen = seen
        for _, path in sorted(found):
            if not _being_written(path):
                yield path

    # --- one file ----------------------------------------------------------------------------

    def _import(self, path: Path) -> Outcome | None:
        """Move it out of the way, import it, put it where it belongs; None when stopped."""
        taken = self.folder / TAKING / path.name
        path.rename(taken)
        self._seen.pop(path.name, None)
        expected = self._expected(path.name)
        list_id, wanted = expected if expected else ("", None)
        answer: dict[str, Any] = {}
        supplied_at: datetime | None = None
        try:
            if wanted is None:
                raise InputError(
                    "no list expects a file of this name",
                    remedy="name it in [drop.lists] of central.toml, or import it by hand",
                )
            supplied_at = self._supplied_at(wanted, taken)
            result, answer, error = self._run(taken, list_id, wanted, supplied_at)
        except InputError as refusal:
            result, error = "refused", refusal.diagnostics()
        if self._stopped and result == "refused":
            self._put_back(taken)
            return None
        now = datetime.now(UTC)
        moved = self._free(result, f"{now:%Y%m%dT%H%M%SZ}-{path.name}")
        report = {
            "file": path.name,
            "result": result,
            "list_id": list_id,
            "at": now.isoformat(),
            "supplied_at": supplied_at.isoformat() if supplied_at else None,
            "error": error,
            "import": {name: value for name, value in answer.items() if name != "rejected"},
        }
        told = moved.with_name(moved.name + ".report.json")
        _write(told, json.dumps(report, indent=1).encode() + b"\n")
        rejected = self.folder / _REJECTED
        if rejected.exists():
            if answer.get("rejected_total", 1):
                rejected.rename(moved.with_name(moved.name + ".rejected.csv"))
            else:
                rejected.unlink()
        taken.rename(moved)  # last: what lies in a result folder has its report
        # Never the file's name: a supplier may put anything into it.
        log.warning("drop folder: list %s: %s", list_id or "unknown", result)
        return Outcome(list_id, result, moved, told)

    def _expected(self, name: str) -> tuple[str, DropList] | None:
        for list_id, wanted in self._settings.drop.lists.items():
            if any(fnmatchcase(name, pattern) for pattern in wanted.files):
                return list_id, wanted
        return None

    def _supplied_at(self, wanted: DropList, path: Path) -> datetime:
        if wanted.time_in_name:
            return time_in_name(path.name, wanted.time_in_name, self._settings.zone())
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(microsecond=0)

    def _run(
        self, path: Path, list_id: str, wanted: DropList, supplied_at: datetime
    ) -> tuple[Result, dict[str, Any], str]:
        """The import in a process of its own: (result, its JSON answer, its error)."""
        command = [
            "lists", "import", str(path), "--home", str(self._home), "--list", list_id,
            "--source", wanted.source, "--supplied-at", supplied_at.isoformat(), "--by", BY,
            "--rejected", str(self.folder / _REJECTED), "--json",
        ]  # fmt: skip
        for option, value in (
            ("--layout", wanted.layout),
            ("--code", wanted.code),
            ("--state", wanted.state),
        ):
            command += [option, value] if value else []
        if wanted.mapping:
            command += ["--mapping", str(self._home / wanted.mapping)]
        code, answer, error = self._central(command)
        if code in (-signal.SIGTERM, -signal.SIGINT):  # the service ends, and its processes
            self._stopped = True
        if code == _HELD:
            return "held", answer, ""
        if code != 0:
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            return "refused", answer, error or f"the import {how}"
        code, _, error = self._central(["publish", "--home", str(self._home), "--by", BY, "--json"])
        # The list is in use; the server publishes again by itself within minutes.
        return "done", answer, f"not published yet: {error}" if code else ""

    def _central(self, command: list[str]) -> tuple[int, dict[str, Any], str]:
        with _scratch(self.folder) as out, _scratch(self.folder) as err:
            child = subprocess.Popen(
                [sys.executable, "-m", "alprd.central.cli", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            self._child = child
            if self._stopped:
                child.terminate()
            try:
                code = child.wait()
            finally:
                self._child = None
                child.kill()
            out.seek(0)
            err.seek(0)
            try:
                answer = json.load(out)
            except ValueError:
                answer = {}
            error = err.read(_ERROR_BYTES).decode(errors="replace").strip()
        return code, answer if isinstance(answer, dict) else {}, error.removeprefix("error: ")

    # --- the result folders ------------------------------------------------------------------

    def _free(self, folder: str, name: str) -> Path:
        """A path that no earlier file has: a report is never overwritten."""
        path = self.folder / folder / name
        number = 2
        while path.exists():
            path = self.folder / folder / f"{number}-{name}"
            number += 1
        return path

    def _put_back(self, taken: Path) -> None:
        back = self.folder / taken.name
        if back.exists():  # a newer delivery of the same name came meanwhile
            taken.unlink()
        else:
            taken.rename(back)

    def _forget_old(self) -> None:
        """Lists in clear do not pile up: what is older than ``keep_days`` goes, with its report."""
        limit = datetime.now(UTC) - timedelta(days=self._settings.drop.keep_days)
        for folder in FOLDERS:
            for path in (self.folder / folder).iterdir():
                changed = datetime.fromtimestamp(path.lstat().st_ctime, UTC)
                if changed < limit and path.is_file():
                    path.unlink(missing_ok=True)


def _being_written(path: Path) -> bool:
    """Whether a process of this host has it open for writing: then no read lease is given.

    Where leases cannot be had (another owner's file, a network folder) only the time counts.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return True  # taken away, or not readable yet: looked at again
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _scratch(folder: Path) -> Any:
    """A file without a name, on the disk of the folder: a report may be large."""
    return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
