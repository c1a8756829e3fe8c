"""NMEA framing and parsing, replay, and the receiver on a real pty, socket and file."""

from __future__ import annotations

import os
import socket
import threading
import time
import tty
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nmea_lines import LAT, NOON, drive, gga, rmc, sentence, wait_for

from alprd import nmea
from alprd.clock import SECOND, DisciplinedClock, PositionTrack
from alprd.errors import ConfigError, GpsError
from alprd.gps import GpsConfig, GpsReceiver
from alprd.nmealog import replay


@given(st.integers(1, 40), st.integers(1, 255), st.sampled_from(["rmc", "gga"]))
def test_no_position_from_a_bad_checksum(at: int, flip: int, kind: str) -> None:
    good = rmc(NOON) if kind == "rmc" else gga(NOON)
    bad = bytearray(good)
    bad[at] ^= flip
    clock, track = DisciplinedClock(), PositionTrack()
    receiver = GpsReceiver(GpsConfig("/dev/null"), clock, track)
    receiver.feed(bytes(bad), SECOND)
    told = [nmea.parse(line) for line in nmea.Framer().feed(bytes(bad))]
    # Only a letter's case in the checksum itself could still be the same sentence.
    assert all(s is None for s in told)
    assert track.at(SECOND) is None and receiver.status().sentences == 0


# --- replay


def test_replay_groups_epochs_and_lets_corrupt_lines_ride_along(tmp_path: Path) -> None:
    log = tmp_path / "drive.nmea"
    corrupt = rmc(NOON + timedelta(seconds=90))[:-4] + b"00\r\n"
    parts = [
        b"\xffboot noise\n" + gga(NOON) + rmc(NOON) + corrupt,
        gga(NOON + timedelta(seconds=1)) + rmc(NOON - timedelta(seconds=30)),  # rides along
        rmc(NOON + timedelta(seconds=1.5), status="V"),
        rmc(NOON + timedelta(hours=3)),  # a pause of the recording
    ]
    log.write_bytes(b"".join(parts))
    assert list(replay(log)) == list(zip([0.0, 1.0, 1.5, 2.5], parts, strict=True))


def test_replay_goes_on_over_midnight(tmp_path: Path) -> None:
    log = tmp_path / "night.nmea"
    late = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    log.write_bytes(drive(3, late))
    assert [at for at, _ in replay(log)] == [0.0, 1.0, 2.0]


def test_replay_of_nothing_usable_is_a_clear_error(tmp_path: Path) -> None:
    log = tmp_path / "noise.nmea"
    log.write_bytes(os.urandom(20_000))
    with pytest.raises(GpsError, match="no sentence with a valid time"):
        list(replay(log))
    with pytest.raises(GpsError, match="cannot be read"):
        list(replay(tmp_path / "absent.nmea"))


@given(data=st.binary(max_size=400))
def test_replay_keeps_every_byte(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    log = tmp_path_factory.mktemp("replay") / "log.nmea"
    log.write_bytes(data + b"\n" + drive(2) + data)
    epochs = list(replay(log))
    assert b"".join(raw for _, raw in epochs) == log.read_bytes()
    assert [at for at, _ in epochs] == sorted(at for at, _ in epochs)


# --- the receiver


@pytest.fixture
def parts() -> tuple[DisciplinedClock, PositionTrack]:
    return DisciplinedClock(), PositionTrack()


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    for descriptor in (master, slave):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test pulled the plug


Parts = tuple[DisciplinedClock, PositionTrack]


def test_pty_in_real_time_disciplines_clock_and_place(parts: Parts, pty: tuple[int, str]) -> None:
    clock, track = parts
    master, name = pty
    receiver = GpsReceiver(GpsConfig(name), clock, track)
    receiver.start()
    begun = time.monotonic_ns()
    for tenth in range(0, 60, 5):  # 2 Hz for 6 s
        at = NOON + timedelta(seconds=tenth / 10)
        line = gga(at)[:20] + b"\xb5\x62" if tenth == 10 else gga(at)
        data = line + rmc(at)
        os.write(master, data[:37])
        os.write(master, data[37:])
        time.sleep(max(0.0, (begun + (tenth + 5) * SECOND // 10 - time.monotonic_ns()) / SECOND))
    try:
        asked = begun + 2 * SECOND
        assert wait_for(lambda: clock.utc(asked)[1])
        assert abs(clock.utc(asked)[0] - (NOON + timedelta(seconds=2))) < timedelta(seconds=0.3)
        place = track.at(asked)
        assert place is not None and place.lat == pytest.approx(LAT, abs=1e-5)
        status = receiver.status()
        assert status.up and status.fix and status.satellites == 9 and status.rejected >= 1
        assert status.age_s is not None and status.age_s < 2
        os.write(master, rmc(NOON + timedelta(seconds=6), status="V"))
        assert wait_for(lambda: not receiver.status().fix)
    finally:
        receiver.stop()


def test_plug_pulled_and_put_back(parts: Parts, tmp_path: Path) -> None:
    device = tmp_path / "gps"
    master, slave = os.openpty()
    tty.setraw(slave)
    device.symlink_to(os.ttyname(slave))
    receiver = GpsReceiver(GpsConfig(str(device)), *parts)
    receiver.start()
    try:
        assert wait_for(lambda: bool(os.write(master, drive(1))) and receiver.status().fix)
        os.close(master)
        os.close(slave)
        device.unlink()
        assert wait_for(lambda: receiver.status().last_error != "")
        assert not receiver.status().fix
        master, slave = os.openpty()
        tty.setraw(slave)
        device.symlink_to(os.ttyname(slave))

        def heard() -> bool:
            os.write(master, drive(1, NOON + timedelta(minutes=1)))
            time.sleep(0.1)
            return receiver.status().fix

        assert wait_for(heard, 10)
        assert receiver.status().restarts >= 1 and receiver.status().last_error == ""
    finally:
        receiver.stop()
        os.close(master)
        os.close(slave)


def test_silence_is_noticed_and_the_source_opened_again(parts: Parts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"socket://127.0.0.1:{server.getsockname()[1]}"
        receiver = GpsReceiver(GpsConfig(source, silence_s=0.5), *parts)
        receiver.start()
        try:
            silent, _ = server.accept()
            with silent:
                again, _ = server.accept()
            with again:
                time.sleep(0.2)
                again.sendall(drive(3))
                assert wait_for(lambda: receiver.status().sentences == 6)
                assert receiver.status().fix
        finally:
            receiver.stop()


def _heard(receiver: GpsReceiver, sentences: int) -> bool:
    return receiver.status().sentences == sentences


def test_tcp_server_that_hangs_up_is_called_again(parts: Parts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        receiver = GpsReceiver(GpsConfig(f"socket://127.0.0.1:{port}"), *parts)
        receiver.start()
        try:
            for round_ in range(2):
                connection, _ = server.accept()
                with connection:
                    time.sleep(0.2)  # pyserial throws away what came before it was ready
                    for second in range(3):
                        at = NOON + timedelta(seconds=10 * round_ + second)
                        connection.sendall(rmc(at)[:11])
                        connection.sendall(rmc(at)[11:])
                    expected = 3 * (round_ + 1)
                    assert wait_for(partial(_heard, receiver, expected))
        finally:
            receiver.stop()
    assert receiver.status().restarts >= 1


def test_file_is_played_at_its_own_pace_from_a_shared_start(parts: Parts, tmp_path: Path) -> None:
    clock, track = parts
    log = tmp_path / "drive.nmea"
    log.write_bytes(drive(6))
    receiver = GpsReceiver(GpsConfig(f"file:{log}"), clock, track)
    start = time.monotonic_ns() - 4 * SECOND  # the drive began 4 s ago
    receiver.start(start)
    assert wait_for(lambda: receiver.status().ended, 4)
    assert time.monotonic_ns() - start >= 5 * SECOND
    assert clock.utc(start + 3 * SECOND) == (NOON + timedelta(seconds=3), True)
    place = track.at(start + 5 * SECOND)
    assert place is not None and place.accuracy_m == pytest.approx(4.5)
    receiver.stop()


def test_file_waits_for_its_gate(parts: Parts, tmp_path: Path) -> None:
    log, gate = tmp_path / "drive.nmea", tmp_path / "go"
    log.write_bytes(drive(1))
    receiver = GpsReceiver(GpsConfig(f"file:{log}", start_gate=gate), *parts)
    receiver.start()
    time.sleep(0.2)
    assert receiver.status().sentences == 0
    gate.write_text(str(time.monotonic_ns()))
    assert wait_for(lambda: receiver.status().ended)
    receiver.stop()


def test_broken_file_ends_with_an_error(parts: Parts, tmp_path: Path) -> None:
    receiver = GpsReceiver(GpsConfig(f"file:{tmp_path / 'absent'}"), *parts)
    receiver.start()
    assert wait_for(lambda: receiver.status().ended)
    assert "cannot be read" in receiver.status().last_error
    receiver.stop()


@pytest.mark.policy("R-460.4.1-a2")
def test_void_epoch_adds_neither_time_nor_place(parts: Parts) -> None:
    clock, track = parts
    receiver = GpsReceiver(GpsConfig("/dev/null"), clock, track)
    for second in range(60):
        at = NOON + timedelta(seconds=second)
        zda = sentence(f"GPZDA,{at:%H%M%S}.00,20,11,2026,00,00")
        receiver.feed(rmc(at, status="V") + gga(at) + zda, second * SECOND)
        assert track.at(second * SECOND) is None
    assert not clock.status().trusted and clock.status().rejected == 0


def test_stop_is_prompt_while_nobody_answers(parts: Parts, pty: tuple[int, str]) -> None:
    receiver = GpsReceiver(GpsConfig(pty[1]), *parts)
    receiver.start()
    time.sleep(0.1)
    begun = time.monotonic()
    receiver.stop()
    assert time.monotonic() - begun < 1.5
    assert not [t for t in threading.enumerate() if t.name == "gps"]


@pytest.mark.parametrize("source", ["COM3", "tcp://x:1", ""])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="unknown kind of source"):
        GpsConfig(source)
    with pytest.raises(ConfigError, match="not a serial rate"):
        GpsConfig("/dev/gps", baud=1234)
