"""The machine: libraries, packages, processor, heat, the service, and what could leak memory."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from alprd import __version__
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet

UNIT: Final = "alprd.service"
MODULES: Final = ("av", "cv2", "onnxruntime", "cryptography", "numpy", "serial", "yaml")
"""What is built on libraries of the system, or brings its own."""
HOT: Final = (85.0, 97.0)
"""Degrees Celsius from which a processor is told, and from which it is failed."""
_PACKAGES: Final = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libsqlite3.so.0": "libsqlite3-0",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libX11.so.6": "libx11-6",
    "libxcb.so.1": "libxcb1",
}
"""Debian's packages of libraries that are known to be missing on small systems."""
_TOGETHER: Final = ("opencv-python", "opencv-python-headless")
_CHILD_S: Final = 30.0


def check_libraries(car: Car, sheet: Sheet) -> None:
    """Each native module: does it load, and which libraries of the system does it miss."""
    del car
    for module in MODULES:
        found = importlib.util.find_spec(module)
        if found is None:
            sheet.fail(module, f"Python package {module} is not installed", "pip install alprd")
            continue
        missing = missing_libraries(Path(found.origin).parent) if found.origin else []
        # In a child: a library that crashes must not end the doctor.
        try:
            done = subprocess.run(
                [sys.executable, "-c", f"import {module}"],
                capture_output=True,
                timeout=_CHILD_S,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = -1
        wanted = sorted({_PACKAGES.get(name, name) for name in missing})
        told = f"{module} misses {', '.join(missing)}" if missing else f"{module} does not load"
        sheet.judge(
            module,
            told if code or missing else f"{module} loads, no library is missing",
            fail=code != 0,
            warn=bool(missing),
            remedy=f"apt-get install {' '.join(wanted)}"
            if missing
            else f"see why: {sys.executable} -c 'import {module}'; then install the package again",
            missing=",".join(missing),
        )


def missing_libraries(folder: Path) -> list[str]:
    """Names of shared libraries that no ``.so`` below ``folder`` can find, as ``ldd`` says."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    files = [str(path) for path in sorted(folder.rglob("*.so*")) if path.is_file()]
    if not files:
        return []
    done = subprocess.run(
        [ldd, *files], capture_output=True, text=True, timeout=_CHILD_S, check=False
    )
    names = re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)
    bundled = {Path(name).name for name in files}
    return sorted(set(names) - bundled)


def check_packages(car: Car, sheet: Sheet) -> None:
    """Python, alprd and what it needs, as installed."""
    del car
    sheet.ok(
        "python",
        f"alprd {__version__} on Python {platform.python_version()}, {platform.machine()}",
        alprd=__version__,
        python=platform.python_version(),
        machine=platform.machine(),
    )
    versions: dict[str, str | None] = {}
    try:
        required = importlib.metadata.requires("alprd") or []
    except importlib.metadata.PackageNotFoundError:
        sheet.fail("packages", "alprd itself is not installed as a package", "pip install alprd")
        return
    for line in required:
        if "extra ==" in line:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    absent = sorted(name for name, version in versions.items() if version is None)
    sheet.judge(
        "packages",
        f"not installed: {', '.join(absent)}" if absent else f"{len(versions)} packages installed",
        fail=bool(absent),
        remedy=f"pip install {' '.join(absent)}",
        versions=", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    )
    twins = {versions.get(name) for name in _TOGETHER}
    sheet.judge(
        "opencv",
        "both OpenCV packages are of one version" if len(twins) == 1 else "two versions of OpenCV",
        fail=len(twins) > 1,
        remedy="install equal versions: both packages write into one folder, cv2",
    )


def check_machine(car: Car, sheet: Sheet) -> None:
    """Cores against threads, load, memory, heat."""
    cores = len(os.sched_getaffinity(0))
    threads = car.config.reader.threads
    sheet.judge(
        "cores",
        f"{cores} core(s), [reader] threads = {threads}, load {os.getloadavg()[0]:.1f}",
        fail=False,
        warn=threads > cores,
        remedy=f"lower [reader] threads to {cores}: more only wait for one another",
        cores=cores,
        threads=threads,
        load=round(os.getloadavg()[0], 2),
    )
    told = re.search(r"^MemAvailable:\s+(\d+) kB", car.text("/proc/meminfo") or "", re.MULTILINE)
    if told is not None:
        free = int(told[1]) * 1024
        sheet.judge(
            "memory",
            f"{free / 1e9:.1f} GB of memory to be had",
            fail=False,
            warn=free < 500_000_000 and not car.daemon_runs,
            remedy="end other programs: the daemon may use up to 900 MB",
            available_bytes=free,
        )
    zones = []
    for zone in sorted(car.below("/sys/class/thermal").glob("thermal_zone*")):
        try:
            zones.append(int((zone / "temp").read_text()) / 1000)
        except (OSError, ValueError):
            continue
    if not zones:
        sheet.skip("heat", "this machine tells no temperature")
        return
    sheet.judge(
        "heat",
        f"{max(zones):.0f} degrees Celsius at the hottest of {len(zones)} place(s)",
        fail=max(zones) >= HOT[1],
        warn=max(zones) >= HOT[0],
        remedy="give the computer air: a hot processor slows down and reads fewer frames",
        celsius=round(max(zones), 1),
    )


def check_service(car: Car, sheet: Sheet) -> None:
    """The systemd unit: loaded, enabled, active, watched over, not restarting all the time."""
    runs = car.daemon_runs
    if not car.below("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        words = "runs" if runs else "does not run"
        sheet.skip("unit", f"no systemd here; the daemon {words}", running=runs)
        return
    told = unit_properties()
    if told.get("LoadState") != "loaded":
        sheet.fail(
            "unit",
            f"{UNIT} is {told.get('LoadState', 'unknown')}",
            f"install it (make install), then: systemctl enable --now {UNIT}",
        )
        return
    active, enabled = told.get("ActiveState", ""), told.get("UnitFileState", "")
    sheet.judge(
        "unit",
        f"{active} ({told.get('SubState', '')}), {enabled or 'not enabled'}",
        fail=active == "failed" or enabled not in ("enabled", "static", "enabled-runtime"),
        warn=active != "active",
        remedy=f"systemctl enable --now {UNIT}; if it fails, see why: journalctl -u {UNIT} -n 50",
        active=active,
        enabled=enabled,
        running=runs,
    )
    watchdog = told.get("WatchdogUSec", "0")
    sheet.judge(
        "watchdog",
        f"systemd restarts a daemon that is silent for {watchdog}"
        if watchdog not in ("0", "infinity", "")
        else "no watchdog is set",
        fail=watchdog in ("0", "infinity", ""),
        remedy=f"put WatchdogSec=30 back into {UNIT}, or remove the drop-in that took it away",
        watchdog=watchdog,
    )
    restarts = int(told["NRestarts"]) if told.get("NRestarts", "").isdigit() else 0
    sheet.judge(
        "restarts",
        f"{restarts} restart(s) since the unit was started by hand or at boot",
        fail=False,
        warn=restarts > 3,
        remedy=f"see why it ends: journalctl -u {UNIT} -p warning -n 50",
        restarts=restarts,
    )


def unit_properties() -> dict[str, str]:
    """What ``systemctl show`` tells of the unit."""
    wanted = "LoadState,ActiveState,SubState,UnitFileState,WatchdogUSec,NRestarts,MemorySwapMax"
    done = subprocess.run(
        [shutil.which("systemctl") or "systemctl", "show", UNIT, f"--property={wanted}"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def check_leaks(car: Car, sheet: Sheet) -> None:
    """Core dumps, swap, suspend to disk: memory holds plates (R-460.5-b2)."""
    kept = _no_dumps()
    sheet.judge(
        "core-dumps",
        "the daemon makes itself unreadable to core dumps and debuggers"
        if kept
        else "this kernel does not let the daemon forbid core dumps of itself",
        fail=not kept,
        remedy="echo 'kernel.core_pattern=|/bin/false' > /etc/sysctl.d/60-alprd.conf && "
        "sysctl --system, and report it to the makers of alprd",
        pattern=car.text("/proc/sys/kernel/core_pattern"),
    )
    # Locked pages and the unit's limits do not bind suspend to disk: it writes all memory.
    resume = car.text("/sys/power/resume") or "0:0"
    sheet.judge(
        "hibernation",
        "no device is set for suspend to disk"
        if resume == "0:0"
        else f"suspend to disk would write all memory to device {resume}",
        fail=resume != "0:0",
        remedy="systemctl mask hibernate.target hybrid-sleep.target, take resume= off the kernel's "
        "command line, and boot again",
        resume=resume,
    )
    swaps = [line.split()[0] for line in (car.text("/proc/swaps") or "").splitlines()[1:] if line]
    plain = [name for name in swaps if not _safe_swap(car, name)]
    guarded = False
    if plain and car.below("/run/systemd/system").is_dir() and shutil.which("systemctl"):
        guarded = unit_properties().get("MemorySwapMax") == "0"
    sheet.judge(
        "swap",
        f"swap on {', '.join(plain)}, kept from the daemon by the unit"
        if plain and guarded
        else f"swap on {', '.join(plain)}"
        if plain
        else "no swap that could hold plates",
        fail=bool(plain) and not guarded,
        remedy="swapoff -a and take swap out of /etc/fstab, or keep MemorySwapMax=0 in the unit",
        swaps=len(swaps),
    )


def _no_dumps() -> bool:
    """Whether a process of this user can do what the daemon does at start (alprd.memory)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from alprd.memory import protect; print(protect().no_dumps)"],
            capture_output=True,
            text=True,
            timeout=_CHILD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == "True"


def _safe_swap(car: Car, name: str) -> bool:
    """Swap in compressed RAM, or on dm-crypt."""
    if "/zram" in name:
        return True
    real = car.below(name)
    block = car.below(f"/sys/class/block/{real.resolve().name}/dm/uuid")
    try:
        return block.read_text().startswith("CRYPT-")
    except OSError:
        return False
