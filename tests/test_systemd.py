"""The units as they are shipped: how little they may do, and that nothing of a read gets out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
SERVICES = sorted(path.name for path in SYSTEMD.glob("*.service"))
MOST_EXPOSED = {"alprd.service": 2.5, "alprd-doctor.service": 2.5}
"""What cameras, a serial line and the network need; the others are held to less."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: install systemd"
)


def settings(unit: str) -> dict[str, list[str]]:
    """Every ``Key=Value`` of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@needs_systemd
@pytest.mark.policy("R-460.6-0")
@pytest.mark.parametrize("name", SERVICES)
def test_exposure_is_low(name: str, tmp_path: Path) -> None:
    """R-460.6-0: least privilege; systemd's own measure, 0 (none) to 10."""
    unit = tmp_path / name
    unit.write_text((SYSTEMD / name).read_text())
    most = MOST_EXPOSED.get(name, 1.5)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager",
         f"--threshold={most * 10:.0f}", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert told is not None, done.stdout + done.stderr
    assert float(told[1]) <= most
    assert done.returncode == 0


@pytest.mark.policy("R-460.6-0")
@pytest.mark.parametrize("name", SERVICES)
def test_memory_with_plates_never_reaches_a_disk(name: str) -> None:
    """R-460.6-0: no core dump, no swap, no file that others can read, no way to more rights."""
    unit = settings(name)
    assert unit["LimitCORE"] == ["0"]
    assert unit["MemorySwapMax"] == ["0"]
    assert unit["UMask"] == ["0077"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert unit["User"][0].startswith("alprd")
    assert unit.get("StateDirectoryMode") == ["0700"]


def test_the_daemon_is_tried_again_for_good() -> None:
    unit = settings("alprd.service")
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["Type"] == ["notify"] and int(unit["WatchdogSec"][0]) <= 60
    assert unit["TimeoutStartSec"] == ["15min"]  # a queue of gigabytes is looked through first


def test_every_timer_has_its_service() -> None:
    timers = sorted(path.stem for path in SYSTEMD.glob("*.timer"))
    assert timers == ["alprd-central-public", "alprd-central-purge", "alprd-doctor"]
    for name in timers:
        assert f"{name}.service" in SERVICES
        assert "Install" in (SYSTEMD / f"{name}.timer").read_text()


@pytest.mark.policy("R-CJIS-1")
def test_passwords_come_encrypted_and_are_named_in_no_unit() -> None:
    """R-CJIS-1: nothing secret in units, environments or command lines."""
    text = (SYSTEMD / "credentials.conf").read_text()
    assert re.search(r"^LoadCredentialEncrypted=camera-left:/etc/credstore", text, re.MULTILINE)
    for name in SERVICES:
        assert not {"Environment", "EnvironmentFile", "SetCredential"} & set(settings(name))


def test_no_rule_of_tmpfiles_removes_by_age() -> None:
    """Destroying is the daemon's alone, because it must be documented (R-460.5-4)."""
    for path in SYSTEMD.glob("*.tmpfiles"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                kind, _, _, _, _, age = line.split()[:6]
                assert kind in {"d", "z"} and age == "-", line


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or shutil.which("systemd-tmpfiles") is None,
    reason="systemd-sysusers is missing: install systemd",
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: users and owners are made")
@pytest.mark.parametrize("name", ["alprd", "alprd-central"])
def test_user_and_folders_are_made(name: str, tmp_path: Path) -> None:
    for folder in ("etc/alprd", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "var/lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/alprd/alprd.toml").write_text("")
    (tmp_path / f"usr/lib/sysusers.d/{name}.conf").write_text(
        (SYSTEMD / f"{name}.sysusers").read_text()
    )
    (tmp_path / f"usr/lib/tmpfiles.d/{name}.conf").write_text(
        (SYSTEMD / f"{name}.tmpfiles").read_text()
    )
    for command in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        done = subprocess.run(
            [*command, f"--root={tmp_path}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    users = {
        line.split(":")[0]: line for line in (tmp_path / "etc/passwd").read_text().splitlines()
    }
    assert users[name].endswith("nologin")
    home = tmp_path / "var/lib" / name
    assert home.stat().st_mode & 0o777 == 0o700
    assert f":{home.stat().st_uid}:" in users[name]
    if name == "alprd":
        groups = (tmp_path / "etc/group").read_text()
        assert re.search(r"^video:.*\balprd\b", groups, re.MULTILINE)
        assert re.search(r"^dialout:.*\balprd\b", groups, re.MULTILINE)
        assert (tmp_path / "etc/alprd/alprd.toml").stat().st_mode & 0o777 == 0o640
