"""The guest's disks: Debian's own packages, its kernel, and this checkout installed as in a car.

The base (a minimal Debian tree, the kernel's modules, an initial RAM disk that mounts the root)
is made once and kept in a cache outside the repository; a root disk is made from it for every
run, with ``make install``'s own program, so that the guest tests what a car gets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
SUITE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = (
    *("systemd", "systemd-sysv", "udev", "kmod", "python3", "busybox-static", "iproute2"),
)
LIBRARIES: Final = (
    # What OpenCV's wheel links to. Unpacked alone: libgl1 would bring Mesa and LLVM.
    *("libgl1", "libglvnd0", "libglx0", "libx11-6", "libxcb1", "libxau6", "libxdmcp6", "libbsd0"),
    *("libmd0", "libglib2.0-0"),
)
MASKED: Final = (
    # What a car's computer may have and this guest need not: an emulated processor is slow.
    *("getty.target", "modprobe@.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
    *("systemd-journal-flush.service", "systemd-update-utmp.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount"),
    *("sys-fs-fuse-connections.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
)
BOOT_MODULES: Final = (
    # ext4 asks for crc32c by name, which no table of dependencies tells.
    *("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "virtio_net", "virtio_rng"),
)
MODULES: Final = ("vivid",)
PYTHON: Final = "3.11"
"""Of the suite's Debian; this checkout's environment must have the same to be copied."""
NEEDED: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "systemd-sysusers": "systemd",
    "systemctl": "systemd",
}

INIT: Final = """\
#!/bin/busybox sh
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
busybox mount -t devtmpfs none /dev
for module in $(busybox cat /modules/order); do busybox insmod /modules/$module; done
busybox mount -t ext4 -o rw,noatime /dev/vda /root || busybox reboot -f
for folder in proc sys dev; do busybox mount --move /$folder /root/$folder; done
exec busybox switch_root /root /lib/systemd/systemd
"""


class GuestError(Exception):
    """The guest cannot be made or does not do what it should."""


@dataclass(frozen=True, slots=True)
class Base:
    """A cached base: Debian tree, kernel, initial RAM disk."""

    tree: Path
    kernel: Path
    initrd: Path


def missing() -> str:
    """What keeps this machine from running the guest, with the remedy; empty when nothing does."""
    packages = sorted({NEEDED[name] for name in NEEDED if shutil.which(name) is None})
    if packages:
        return "apt-get install " + " ".join(packages)
    if os.geteuid() != 0:
        return "the guest's disks are made as root (debootstrap, mke2fs)"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != PYTHON:
        return f"the guest's Python is {PYTHON}, this environment's {version}: use Python {PYTHON}"
    return ""


def cache() -> Path:
    """Where bases are kept: ``ALPRD_GUEST_CACHE``, else the user's cache."""
    given = os.environ.get("ALPRD_GUEST_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(given) if given else Path(home) / "alprd-guest"


def call(*words: str | Path, folder: Path | None = None, good: Sequence[int] = (0,)) -> str:
    """Run a program of the host, whose ``good`` exit codes mean success; its output.

    Raises:
        GuestError: it failed; with what it said.
    """
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in good:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise GuestError(f"{words[0]} failed with {done.returncode}: {said}")
    return done.stdout


def base() -> Base:
    """The cached base, made first where it is not there (some minutes, from Debian's mirror).

    Raises:
        GuestError: a package cannot be fetched or unpacked.
    """
    recipe = repr((SUITE, MIRROR, PACKAGES, LIBRARIES, BOOT_MODULES, MODULES, INIT))
    folder = cache() / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    made = Base(folder / "tree", folder / "vmlinuz", folder / "initrd")
    if not folder.is_dir():
        part = folder.with_suffix(f".part-{os.getpid()}")
        part.mkdir(parents=True, mode=0o700)
        try:
            _make_base(part)
            part.rename(folder)
        finally:
            _release(part)
            shutil.rmtree(part, ignore_errors=True)
    return made


def _release(folder: Path) -> None:
    """Unmount what a debootstrap that was killed left mounted below ``folder``, before it goes.

    Raises:
        GuestError: something cannot be unmounted.
    """
    lines = Path("/proc/self/mounts").read_text().splitlines()
    below = [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
    for place in sorted(below, reverse=True):
        call("umount", place)


def _make_base(folder: Path) -> None:
    tree, debs, unpacked = folder / "tree", folder / "debs", folder / "kernel"
    debs.mkdir()
    include = "--include=" + ",".join(PACKAGES)
    call("debootstrap", "--variant=minbase", include, SUITE, tree, MIRROR)
    names = call("apt-cache", "depends", "linux-image-amd64").split()
    kernel_package = next(name for name in names[1:] if name.startswith("linux-image-"))
    call("apt-get", "download", kernel_package, *LIBRARIES, folder=debs)
    for deb in sorted(debs.iterdir()):
        kernel = deb.name.startswith("linux-image-")
        call("dpkg-deb", "-x", deb, unpacked if kernel else tree)
    version = next((unpacked / "lib" / "modules").iterdir()).name
    shutil.copyfile(unpacked / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    # Dependencies of modules are told by the guest's own depmod; only what is needed is kept.
    full = unpacked / "lib" / "modules" / version
    place = tree / "usr" / "lib" / "modules" / version
    shutil.copytree(full, place)
    call("chroot", tree, "depmod", version)
    depends = _dependencies(place / "modules.dep")
    keep = _closure(depends, (*BOOT_MODULES, *MODULES))
    boot = _closure(depends, BOOT_MODULES)
    _write_initrd(folder / "initrd", tree / "bin" / "busybox", [place / path for path in boot])
    shutil.rmtree(place)
    for path in keep:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(full / path, place / path)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(full / name, place / name)
    call("chroot", tree, "depmod", version)
    shutil.rmtree(unpacked)
    shutil.rmtree(debs)
    shutil.rmtree(tree / "var" / "cache" / "apt", ignore_errors=True)
    shutil.rmtree(tree / "var" / "lib" / "apt" / "lists", ignore_errors=True)


def _dependencies(modules_dep: Path) -> dict[str, list[str]]:
    """``modules.dep``: path of a module → paths it needs, the nearest first."""
    table = {}
    for line in modules_dep.read_text().splitlines():
        path, _, needs = line.partition(":")
        table[path] = needs.split()
    return table


def _closure(depends: dict[str, list[str]], names: Iterable[str]) -> list[str]:
    """Paths of modules and of what they need, in the order in which they can be loaded."""
    by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in depends}
    found: dict[str, None] = {}
    for name in names:
        if name not in by_name:
            continue  # built into the kernel
        path = by_name[name]
        for need in (*reversed(depends[path]), path):
            found.setdefault(need)
    return list(found)


def _write_initrd(place: Path, busybox: Path, modules: Sequence[Path]) -> None:
    """An initial RAM disk in the kernel's ``newc`` cpio format (Documentation/driver-api)."""
    order = "\n".join(path.name for path in modules) + "\n"
    entries: list[tuple[str, int, bytes]] = [
        *((name, 0o040755, b"") for name in ("bin", "modules", "proc", "sys", "dev", "root")),
        ("bin/busybox", 0o100755, busybox.read_bytes()),
        ("init", 0o100755, INIT.encode()),
        ("modules/order", 0o100644, order.encode()),
        *((f"modules/{path.name}", 0o100644, path.read_bytes()) for path in modules),
        ("TRAILER!!!", 0, b""),
    ]
    with place.open("wb") as file:
        for number, (name, mode, data) in enumerate(entries, 1):
            raw = name.encode() + b"\0"
            fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
            file.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))


def root_disk(
    place: Path,
    files: dict[str, str],
    copies: dict[str, Path],
    changes: Sequence[tuple[str, str, str]] = (),
) -> int:
    """Make the root disk of one run: the base, the car installed into it, and the given files.

    Args:
        place: the raw image to make; its folder holds the tree while it is made.
        files: path in the guest → text.
        copies: path in the guest → file of the host.
        changes: a module of the installed package, what stands there once, and what replaces it.

    Returns:
        The number of the user ``alprd`` in the guest.

    Raises:
        GuestError: a step failed.
    """
    tree = place.with_suffix(".tree")
    call("cp", "-a", "--reflink=auto", base().tree, tree)
    try:
        call(sys.executable, ROOT / "tools" / "install.py", "--destdir", tree)
        for path, text in files.items():
            target = tree / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for path, source in copies.items():
            target = tree / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for module, old, new in changes:
            (installed,) = (tree / "opt" / "alprd").rglob(f"site-packages/alprd/{module}")
            text = installed.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise GuestError(f"{old!r} does not stand once in {module}")
            installed.write_text(text.replace(old, new), encoding="utf-8")
        (tree / "etc" / "hostname").write_text("car\n")
        (tree / "etc" / "machine-id").write_text("")
        call("systemd-sysusers", f"--root={tree}")
        units = [path.rpartition("/")[2] for path in files if path.endswith(ENABLED)]
        call("systemctl", f"--root={tree}", "enable", "alprd.service", "systemd-networkd", *units)
        call("systemctl", f"--root={tree}", "set-default", "multi-user.target")
        call("systemctl", f"--root={tree}", "mask", *MASKED)
        make_disk(place, 1800, tree)
        users = (tree / "etc" / "passwd").read_text().splitlines()
        return next(int(line.split(":")[2]) for line in users if line.startswith("alprd:"))
    finally:
        shutil.rmtree(tree, ignore_errors=True)


ENABLED: Final = (".service", ".socket", ".mount")
"""Units among the given files that are switched on, if they have an [Install] section."""


def make_disk(place: Path, megabytes: int, tree: Path) -> None:
    """An ext4 image that holds a folder's contents.

    Raises:
        GuestError: it does not fit.
    """
    call("mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", tree, place, f"{megabytes}M")
