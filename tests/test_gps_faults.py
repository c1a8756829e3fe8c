"""What a receiver does wrong: plugs, rates, restarts, lost rollovers, leap seconds."""

from __future__ import annotations

import os
import socket
import termios
import threading
import time
import tty
from datetime import timedelta
from pathlib import Path

import pytest
from nmea_lines import LAT, LON, NOON, drive, gga, rmc, sentence, wait_for

from alprd import gps
from alprd.clock import SECOND, DisciplinedClock, to_ns
from alprd.gps import GpsConfig, GpsReceiver
from alprd.mark import PurgeClock, TimeMark
from alprd.place import PositionTrack


class Bench:
    """A receiver that is fed by hand, on a monotonic clock of our own, at ``NOON`` by true time."""

    def __init__(self, mark: TimeMark | None = None) -> None:
        self.mono = 100 * SECOND
        self.slept = 0
        self.clock = DisciplinedClock(
            system_ns=lambda: to_ns(NOON),
            monotonic_ns=lambda: self.mono,
            suspended_ns=lambda: self.slept,
        )
        self.track = PositionTrack(suspended_ns=lambda: self.slept)
        self.receiver = GpsReceiver(GpsConfig("/dev/null"), self.clock, self.track)
        self.purge = PurgeClock(self.clock, mark, running_ns=lambda: self.mono + self.slept)

    def second(self, *lines: bytes) -> None:
        self.mono += SECOND
        for line in lines:
            self.receiver.feed(line, self.mono)


@pytest.mark.policy("R-460.4.1-a2")
def test_a_lost_rollover_is_believed_only_where_certain_time_leaves_one_date() -> None:
    lost = timedelta(weeks=1024)
    alone, vouched = Bench(), Bench(TimeMark().by_central(NOON - timedelta(days=50)))
    for bench in (alone, vouched):
        for second in range(60):
            bench.second(rmc(NOON + timedelta(seconds=second) - lost))
        assert bench.receiver.status().rollover
    assert not alone.clock.now()[1] and alone.clock.status().disbelieved == 60
    utc, trusted = vouched.clock.now()
    assert trusted and utc == NOON + timedelta(seconds=59)


@pytest.mark.policy("R-460.4.1-a2")
@pytest.mark.parametrize("year", [2015, 2006, 2035])
def test_a_date_that_is_made_up_is_never_time(year: int) -> None:
    """2015 with 1024 weeks added lies in 2034: certain time has no room for it."""
    bench = Bench(TimeMark().by_central(NOON - timedelta(days=50)))
    for second in range(60):
        bench.second(rmc(NOON.replace(year=year) + timedelta(seconds=second)))
    assert not bench.clock.now()[1] and bench.clock.status().disbelieved == 60
    assert bench.purge.tick().lower_bound() == pytest.approx(
        NOON - timedelta(days=50) + timedelta(seconds=60), abs=timedelta(seconds=1)
    )
    assert bench.track.at(bench.mono) is not None  # the place is measured, whatever the date


def test_a_leap_second_costs_neither_trust_nor_order() -> None:
    """23:59:60, and the offset of UTC one second less from there on."""
    bench = Bench()
    before = NOON.replace(month=12, day=31, hour=23, minute=59, second=30)
    told = []
    for second in range(150):
        at = before + timedelta(seconds=second if second < 30 else second - 1)
        line = rmc(at)
        if second == 30:
            body = line.decode().partition("*")[0][1:].replace(f"{at:%H%M%S}", "235960", 1)
            line = sentence(body)
        bench.second(line)
        if second > 5:
            utc, trusted = bench.clock.now()
            assert trusted and abs(utc - at) <= timedelta(seconds=1.01)
            assert bench.track.at(bench.mono) is not None
            told.append(utc)
    assert told == sorted(told)
    assert abs(told[-1] - at) < timedelta(milliseconds=5)


def test_a_receiver_without_the_leap_seconds_yet_is_followed_when_it_has_them() -> None:
    bench = Bench()
    told = []
    for second in range(600):
        ahead = timedelta(seconds=18 if second < 60 else 0)
        bench.second(rmc(NOON + timedelta(seconds=second) + ahead))
        told.append(bench.clock.now()[0])
    assert told[10:] == sorted(told[10:])
    assert bench.clock.now()[1]
    assert abs(told[-1] - (NOON + timedelta(seconds=599))) < timedelta(milliseconds=5)


def test_the_receivers_own_estimate_of_its_error_counts() -> None:
    bench = Bench()

    def accuracy() -> float | None:
        place = bench.track.at(bench.mono)
        assert place is not None
        return place.accuracy_m

    bench.second(gga(NOON, hdop=0.9))
    assert accuracy() == pytest.approx(4.5)
    estimate = sentence("GPGST,120001.00,9.0,,,,30.0,40.0,60.0")
    bench.second(estimate, gga(NOON + timedelta(seconds=1)))
    assert accuracy() == pytest.approx(50.0)
    for second in range(2, 9):  # it is not sent any more
        bench.second(gga(NOON + timedelta(seconds=second), hdop=0.9))
    assert accuracy() == pytest.approx(4.5)


@pytest.mark.policy("R-460.4.1-a2")
def test_no_position_over_a_sleep_of_the_machine() -> None:
    bench = Bench()
    bench.second(rmc(NOON))
    before = bench.mono
    bench.slept += 3600 * SECOND  # towed away meanwhile; the monotonic clock stood still
    assert bench.track.at(before + SECOND // 2) is None
    bench.second(rmc(NOON + timedelta(seconds=3601), LAT + 0.5, LON))
    assert bench.track.at(before) is not None
    between = bench.track.at(before + SECOND // 2)
    assert between is None or between.lat == pytest.approx(LAT)  # held, not drawn towards it
    after = bench.track.at(bench.mono)
    assert after is not None and after.lat == pytest.approx(LAT + 0.5, abs=1e-5)
    assert not bench.clock.utc(before)[1]  # frames from before the sleep have no time any more


@pytest.mark.policy("R-460.4.1-a2")
def heard(receiver: GpsReceiver, master: int) -> int:
    """Sentences heard once the receiver listens: opening a port throws away what came before."""
    for _ in range(100):
        os.write(master, rmc(NOON, LAT, LON))
        if wait_for(lambda: receiver.status().sentences > 0, 0.1):
            time.sleep(0.2)
            return receiver.status().sentences
    raise AssertionError("the receiver hears nothing")


def test_a_place_that_jumps_is_no_position_until_it_is_confirmed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a pty, four epochs a second: one outlier, then a place 111 km away for good."""
    master, slave = os.openpty()
    tty.setraw(slave)
    track = PositionTrack()
    receiver = GpsReceiver(GpsConfig(os.ttyname(slave)), DisciplinedClock(), track)
    receiver.start()
    sent = heard(receiver, master)

    def tell(lat: float) -> float | None:
        """The place right after one more epoch."""
        nonlocal sent
        os.write(master, rmc(NOON + timedelta(seconds=sent / 4), lat, LON))
        sent += 1
        assert wait_for(lambda: receiver.status().sentences == sent)
        place = track.at(time.monotonic_ns())
        time.sleep(0.25)
        return None if place is None else place.lat

    try:
        for _ in range(3):
            assert tell(LAT) == pytest.approx(LAT, abs=1e-5)
        assert tell(LAT + 1) is None
        assert receiver.status().fix  # the receiver has one; it is not believed
        assert tell(LAT) == pytest.approx(LAT, abs=1e-5)
        assert receiver.status().dropped == 1
        begun, place = time.monotonic(), tell(LAT + 1)
        while place is None:
            assert time.monotonic() - begun < 10
            place = tell(LAT + 1)
        assert time.monotonic() - begun >= 2.0
        assert place == pytest.approx(LAT + 1, abs=1e-5)
        assert receiver.status().dropped == 1
        told = " ".join(caplog.messages)
        assert not any(f"{lat:.2f}" in told for lat in (LAT, LAT + 1))
    finally:
        receiver.stop()
        os.close(master)
        os.close(slave)


def test_interleaved_talkers_and_cut_lines_lose_only_what_was_cut() -> None:
    bench = Bench()
    for second in range(10):
        at = NOON + timedelta(seconds=second)
        cut = rmc(at, talker="GL")[:30]
        bench.second(b"\xb5\x62\x01\x07", cut, gga(at, talker="GN")[:9], gga(at, talker="GN")[9:])
        bench.mono += 1
        bench.receiver.feed(rmc(at, talker="GN")[:-1], bench.mono)  # without its last byte
    status = bench.receiver.status()
    # The carriage return ends a line; each cut GLRMC is given up at the next '$'.
    assert (status.talker, status.sentences, status.rejected) == ("GN", 20, 10)
    assert bench.clock.now()[1]


def test_the_rate_of_a_serial_receiver_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gps, "TRY_S", 0.5)
    master, slave = os.openpty()
    tty.setraw(slave)
    done = threading.Event()

    def talk() -> None:
        second = 0
        while not done.wait(0.1):
            right = termios.tcgetattr(slave)[5] == termios.B38400
            second += 1
            os.write(master, rmc(NOON + timedelta(seconds=second)) if right else os.urandom(60))

    talker = threading.Thread(target=talk)
    talker.start()
    receiver = GpsReceiver(
        GpsConfig(os.ttyname(slave), baud=0), *(DisciplinedClock(), PositionTrack())
    )
    receiver.start()
    try:
        assert wait_for(lambda: receiver.status().sentences > 3, 20)
        status = receiver.status()
        assert (status.baud, status.restarts, status.last_error) == (38400, 0, "")
        assert status.source == os.ttyname(slave)
    finally:
        receiver.stop()
        done.set()
        talker.join()
        os.close(master)
        os.close(slave)


def test_a_router_that_restarts_is_heard_again_within_ten_seconds() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    receiver = GpsReceiver(
        GpsConfig(f"socket://127.0.0.1:{address[1]}"), DisciplinedClock(), PositionTrack()
    )
    receiver.start()
    try:
        first, _ = server.accept()
        time.sleep(0.2)
        first.sendall(drive(2))
        assert wait_for(lambda: receiver.status().sentences == 4)
        server.close()
        first.close()
        assert wait_for(lambda: "refused" in receiver.status().last_error.lower(), 10)
        time.sleep(3.0)  # so that the pauses have grown
        begun = time.monotonic()
        server = socket.create_server(address)
        again, _ = server.accept()
        with again:
            time.sleep(0.2)
            again.sendall(drive(2))
            assert wait_for(lambda: receiver.status().fix)
        assert time.monotonic() - begun < 10
        assert receiver.status().last_error == ""
    finally:
        receiver.stop()
        server.close()


def test_a_flood_of_noise_is_bounded_and_what_follows_is_heard(tmp_path: Path) -> None:
    device = tmp_path / "gps"
    master, slave = os.openpty()
    tty.setraw(slave)
    device.symlink_to(os.ttyname(slave))
    receiver = GpsReceiver(GpsConfig(str(device)), DisciplinedClock(), PositionTrack())
    receiver.start()
    try:
        before = heard(receiver, master)
        for _ in range(200):
            os.write(master, b"$" + b"A" * 3000)
        assert wait_for(lambda: receiver.status().rejected >= 200)
        assert len(receiver._framer._partial) <= 160
        os.write(master, b"\r\n" + drive(2))
        assert wait_for(lambda: receiver.status().sentences == before + 4)
    finally:
        receiver.stop()
        os.close(master)
        os.close(slave)
