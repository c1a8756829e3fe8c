"""One daemon a state folder, no core dumps, a word to systemd; the time mark as text."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from alprd.cli import main
from alprd.config import load
from alprd.errors import ConfigError, StoreError
from alprd.mark import TimeMark
from alprd.process import close_to_others, footprint, lock_state, notify, refuse_foreign, reloading


def test_two_daemons_cannot_hold_one_state_folder(tmp_path: Path) -> None:
    first = lock_state(tmp_path)
    with pytest.raises(StoreError, match="in use"):
        lock_state(tmp_path)
    first.close()
    lock_state(tmp_path).close()
    with pytest.raises(StoreError, match="No such file"):
        lock_state(tmp_path / "none")


@pytest.mark.policy("R-460.5-b2")
def test_a_hardened_process_dumps_no_core_and_writes_for_its_owner(tmp_path: Path) -> None:
    # In a process of its own, since a lowered limit cannot be raised again.
    program = (
        "import resource, pathlib\n"
        "from alprd.process import harden\n"
        "harden()\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "pathlib.Path('file').write_text('x')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0


def test_systemd_is_told_over_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"
        assert notify("STATUS=2 of 2\ncameras", "WATCHDOG=1")
        assert listener.recv(100) == b"STATUS=2 of 2 cameras\nWATCHDOG=1"
        before = time.monotonic_ns() // 1000
        reloading()
        said, stamp = listener.recv(100).decode().split("\n")
        assert said == "RELOADING=1"
        assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert not notify("WATCHDOG=1")  # nobody listens any more: no error
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("WATCHDOG=1")


def test_a_systemd_that_does_not_listen_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        start = time.monotonic()
        results = [notify("WATCHDOG=1") for _ in range(2000)]
    assert results[0] and not results[-1]
    assert time.monotonic() - start < 5


def test_a_fresh_start_keeps_the_number_and_no_file(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        "from alprd.process import start_again\n"
        "marks = Path(sys.argv[1])\n"
        "first = not marks.exists()\n"
        "with marks.open('a') as out:\n"
        "    print(os.getpid(), sorted(int(p.name) for p in Path('/proc/self/fd').iterdir()),"
        " threading.active_count(), sep='|', file=out)\n"
        "if first:\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "    leaked = os.open('/dev/null', os.O_RDONLY)\n"
        "    os.set_inheritable(leaked, True)\n"
        "    kept = os.dup(leaked)\n"
        "    os.set_inheritable(kept, True)\n"
        "    os.dup2(kept, 40)\n"
        "    start_again(keep=[40])\n"
    )
    marks = tmp_path / "marks"
    subprocess.run([sys.executable, str(program), str(marks)], check=True, timeout=60)
    first, second = (line.split("|") for line in marks.read_text().splitlines())
    assert first[0] == second[0]
    assert second[2] == "1"
    before, after = (set(json.loads(line[1])) for line in (first, second))
    assert after == before | {40}


def test_the_footprint_tells_memory_threads_and_files(tmp_path: Path) -> None:
    before = footprint()
    assert before.resident_bytes > 10_000_000
    assert before.resident_bytes >= before.private_bytes > 1_000_000
    block = bytearray(os.urandom(1)) * 50_000_000
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    with (tmp_path / "file").open("w"):
        after = footprint()
    gate.set()
    thread.join()
    assert after.private_bytes - before.private_bytes > 45_000_000 and block[-1] == block[0]
    assert after.threads == before.threads + 1
    assert after.files == before.files + 1


_times = st.none() | st.datetimes(
    datetime(2025, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)
)


@given(_times, st.timedeltas(timedelta(0), timedelta(days=100)), _times)
def test_the_time_mark_survives_being_kept(
    utc: datetime | None, ran: timedelta, central: datetime | None
) -> None:
    mark = TimeMark(utc, ran, central)
    assert TimeMark.load(mark.dump()) == mark


@pytest.mark.policy("R-460.5-2b")
@pytest.mark.parametrize("text", [None, "", "{}", '{"utc": 5}', "nonsense"])
def test_a_damaged_mark_destroys_nothing(text: str | None) -> None:
    assert TimeMark.load(text).purge_time() is None


@pytest.mark.policy("R-CJIS-1")
def test_what_was_open_to_others_is_closed_and_named(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "keys").mkdir(parents=True, mode=0o700)
    state.chmod(0o755)
    outside.write_text("not of this car")
    outside.chmod(0o644)
    for name, mode in (("queue.db", 0o600), ("keys/tls.key", 0o640), ("keys/run", 0o755)):
        (state / name).write_text("x")
        (state / name).chmod(mode)
    (state / "link").symlink_to(outside)
    assert close_to_others(state) == [".", "keys/run", "keys/tls.key"]
    assert [f"{(state / n).stat().st_mode & 0o777:o}" for n in (".", "keys", "keys/tls.key")] == [
        "700", "700", "600",
    ]  # fmt: skip
    assert outside.stat().st_mode & 0o777 == 0o644
    assert close_to_others(state) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
@pytest.mark.policy("R-CJIS-1")
def test_another_user_is_told_which_user_to_be_and_never_to_empty_anything() -> None:
    """The commonest slip of an installer: a command without ``sudo -u alprd``, or as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, state = Path(name), Path(name) / "state"
        folder.chmod(0o755)
        state.mkdir(mode=0o700)
        config = folder / "alprd.toml"
        config.write_text(
            f'state_dir = "{state}"\n[[camera]]\nname = "a"\nsource = "file:/none.mp4"\n'
            '[gps]\nsource = "/dev/none"\n'
        )
        given = ["--config", str(config)]
        commands = (
            ["status", *given],
            ["audit", "verify", *given],
            ["run", "--check", *given],
            ["retire", *given, "--by", "X", "--yes", "car-1"],
            [
                "doctor",
                *given,
                "--only",
                "enrolment",
                "--only",
                "certificate",
                "--only",
                "queue",
                "--json",
            ],
        )
        for words in commands:  # as root first: what is loaded late is loaded then
            CliRunner().invoke(main, words)
        os.seteuid(65534)
        try:
            told = [CliRunner().invoke(main, words) for words in commands]
        finally:
            os.seteuid(0)
        for words, result in zip(commands[:-1], told[:-1], strict=True):
            assert result.exit_code == 5, (words, result.output)
            assert "Permission denied" in result.output and "daemon's user" in result.output
            assert "empty the state folder" not in result.output
        rows = json.loads(told[-1].output)["rows"]
        assert told[-1].exit_code == 1 and len(rows) == 3
        for row in rows:
            assert row["level"] == "fail" and "sudo -u alprd" in row["remedy"], row
        config.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigError, match="Permission denied") as closed:
                load(config)
        finally:
            os.seteuid(0)
        assert f"chmod 640 {config}" in closed.value.remedy
        os.chown(state, 65534, 65534)
        with pytest.raises(StoreError, match="belongs to user") as caught:
            refuse_foreign(state)
        assert "sudo -u" in caught.value.remedy
        refuse_foreign(folder)
        refuse_foreign(folder / "none")
