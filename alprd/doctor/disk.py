"""The disk under the state folder, and who may read what lies on it."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alprd.disk import free_bytes
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet

WRITE_FAIL_S: Final = 2.0
"""A read waits at most this long in RAM, so a commit may not take longer."""
WRITE_WARN_S: Final = 0.25
_BYTES: Final = 100_000
"""A sealed read with its pictures is about as large."""
_TRIES: Final = 5
_LOSE_DATA: Final = frozenset(
    {"tmpfs", "ramfs", "vfat", "exfat", "msdos", "nfs", "nfs4", "cifs", "9p"}
)
"""File systems that forget at power-off, have no owners, or promise nothing about fsync."""
_UNSAFE: Final = frozenset({"nobarrier", "barrier=0", "data=writeback"})


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of ``/proc/self/mountinfo``: what holds a path."""

    device: str
    """major:minor."""
    kind: str
    options: frozenset[str]


def check_disk(car: Car, sheet: Sheet) -> None:
    """Space, file system, options, encryption, and how long a durable write takes."""
    folder = car.state
    if not folder.is_dir():
        sheet.fail(
            "folder",
            f"state folder {folder} is not there",
            f"install -d -m 0700 -o alprd -g alprd {folder}, then enrol the car: alprd enrol",
        )
        return
    total, limits = shutil.disk_usage(folder).total, car.config.storage
    free = free_bytes(folder)
    sheet.judge(
        "space",
        f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB free",
        # The daemon then keeps no wide pictures any more.
        fail=free < limits.no_wide_mb * 1_000_000,
        warn=free < limits.alarm_mb * 1_000_000,
        remedy="dock the car so that its reads are taken over; free or enlarge the partition",
        free_bytes=free,
        total_bytes=total,
    )
    found = mount_of(car, folder)
    if found is None:
        sheet.skip("mount", "the mount of the state folder cannot be told")
    else:
        _mount(car, sheet, found)
    _write(sheet, folder)


def mount_of(car: Car, path: Path) -> Mount | None:
    """The mount that holds ``path``, by its device number; None if it is not listed."""
    number = path.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    found = None
    for line in (car.text("/proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        if len(fields) >= 6 and len(rest) >= 3 and fields[2] == wanted:
            options = {*fields[5].split(","), *rest[2].split(",")}
            found = Mount(wanted, rest[0], frozenset(options))
    return found


def _mount(car: Car, sheet: Sheet, mount: Mount) -> None:
    unsafe = sorted(mount.options & _UNSAFE)
    if mount.kind in _LOSE_DATA:
        sheet.fail(
            "mount",
            f"the state folder lies on {mount.kind}",
            "put it on a local ext4, xfs or btrfs file system: others lose reads at a power cut or "
            "keep no owners",
            kind=mount.kind,
        )
    elif unsafe or "ro" in mount.options:
        what = ", ".join([*unsafe, *(["read-only"] if "ro" in mount.options else [])])
        sheet.fail(
            "mount",
            f"{mount.kind} mounted {what}",
            "mount it read-write without these options: a power cut must not tear what was "
            "written; a file system that turned read-only by itself wants fsck, or a new disk",
            kind=mount.kind,
        )
    else:
        sheet.ok("mount", f"{mount.kind}, journal and barriers as they should be", kind=mount.kind)
    encrypted = is_encrypted(car, mount.device)
    if encrypted:
        sheet.ok("encryption", "on an encrypted device (dm-crypt)", encrypted=True)
    else:
        sheet.warn(
            "encryption",
            "no encryption can be seen under the state folder"
            if encrypted is False
            else "this kernel does not tell what lies under the state folder",
            "put the partition on LUKS (cryptsetup): reads are sealed anyway, the car's keys are "
            "plain files",
            encrypted=encrypted,
        )


def is_encrypted(car: Car, device: str) -> bool | None:
    """Whether a block device, or any it is made of, is dm-crypt; None if it cannot be told."""
    home = car.below(f"/sys/dev/block/{device}")
    if not home.exists():
        return None
    pending, seen = [home.resolve()], set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        try:
            if (node / "dm" / "uuid").read_text().startswith("CRYPT-"):
                return True
        except OSError:
            pass
        slaves = node / "slaves"
        if slaves.is_dir():
            pending += [slave.resolve() for slave in slaves.iterdir()]
    return False


def _write(sheet: Sheet, folder: Path) -> None:
    """Write and fsync a file of a read's size, as the queue does."""
    path = folder / f".doctor-{os.getpid()}"
    slowest = 0.0
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(_TRIES):
                data = os.urandom(_BYTES)
                started = time.perf_counter()
                os.write(handle, data)
                os.fsync(handle)
                slowest = max(slowest, time.perf_counter() - started)
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)
    except OSError as error:
        sheet.fail(
            "write",
            f"{folder} cannot be written: {error.strerror}",
            "run the doctor as the daemon's user (sudo -u alprd alprd doctor); then check "
            "owner, free space and whether the file system turned read-only",
        )
        return
    sheet.judge(
        "write",
        f"a durable write of {_BYTES // 1000} kB took up to {1000 * slowest:.0f} ms",
        fail=slowest > WRITE_FAIL_S,
        warn=slowest > WRITE_WARN_S,
        remedy="the disk is worn or busy: look at its health (smartctl) or fit a faster one",
        milliseconds=round(1000 * slowest, 1),
    )


def check_files(car: Car, sheet: Sheet) -> None:
    """Owner and mode of the state folder with everything in it, and of the configuration."""
    _config_files(car, sheet)
    folder = car.state
    if not folder.is_dir():
        sheet.fail("state", f"state folder {folder} is not there", "enrol the car: alprd enrol")
        return
    owner = folder.stat().st_uid
    number, wrong = 0, 0
    for path, info in _walk(folder):
        number += 1
        inside = path.relative_to(folder)
        if info is None:
            wrong += 1
            sheet.fail(
                f"state/{inside}",
                f"{path} cannot be looked at by this user",
                "run the doctor as the daemon's user: sudo -u alprd alprd doctor",
            )
        elif stat.S_ISLNK(info.st_mode):
            continue  # a link has no mode of its own, and what it points to is walked itself
        elif info.st_mode & 0o077:
            wrong += 1
            right = "700" if stat.S_ISDIR(info.st_mode) else "600"
            sheet.fail(
                f"state/{inside}",
                f"{path} is open to others (mode {info.st_mode & 0o777:04o})",
                f"chmod {right} {path}",
                mode=f"{info.st_mode & 0o777:04o}",
            )
        elif info.st_uid != owner:
            wrong += 1
            sheet.fail(
                f"state/{inside}",
                f"{path} belongs to uid {info.st_uid}, the folder to uid {owner}",
                f"chown {owner} {path}",
            )
    if not wrong:
        sheet.ok("state", f"{number} files and folders, open to their owner only", files=number)
    if os.geteuid() not in (0, owner):
        sheet.warn(
            "user",
            f"the doctor runs as uid {os.geteuid()}, the state folder belongs to uid {owner}",
            "run it as the daemon's user: sudo -u alprd alprd doctor",
        )


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result | None]]:
    """The folder and everything below it, links not followed; files may vanish meanwhile."""
    pending = [folder]
    while pending:
        path = pending.pop()
        try:
            info = path.lstat()
            inside = sorted(path.iterdir()) if stat.S_ISDIR(info.st_mode) else []
        except FileNotFoundError:
            continue
        except OSError:
            yield path, None
            continue
        yield path, info
        pending += inside


def _config_files(car: Car, sheet: Sheet) -> None:
    file = car.config_file
    drop_ins = sorted(file.with_name(file.name + ".d").glob("*.toml"))
    for path in (file, *drop_ins):
        try:
            info = path.stat()
        except OSError as error:
            sheet.fail(
                f"config/{path.name}", f"{path}: {error.strerror}", "check its folder's mode"
            )
            continue
        mode = info.st_mode & 0o777
        foreign = info.st_uid not in (0, os.geteuid())
        sheet.judge(
            f"config/{path.name}",
            f"{path} belongs to uid {info.st_uid}, mode {mode:04o}",
            # It names hosts and devices, and who writes it decides what the daemon opens.
            fail=bool(mode & 0o027) or foreign,
            remedy=f"chown root:alprd {path} and chmod 640 {path}",
            mode=f"{mode:04o}",
        )
