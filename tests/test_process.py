"""One daemon a state folder, no core dumps, a word to systemd; the time mark as text."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.errors import StoreError
from alprd.mark import TimeMark
from alprd.process import lock_state, notify


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
    notify("WATCHDOG=1")  # nobody listens any more: no error
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("WATCHDOG=1")


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
