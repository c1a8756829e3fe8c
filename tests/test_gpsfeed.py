"""The demo's GPS feed: sentences moved in time keep their place and get right checksums."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pynmea2
from hypothesis import given
from hypothesis import strategies as st

from alprd.demo.gpsfeed import GpsFeed, checksum, parked, shift_sentence

DAY = datetime(2026, 7, 14, tzinfo=UTC)


def sentence(body: str) -> bytes:
    return f"${body}*{checksum(body)}\r\n".encode()


RMC = sentence("GNRMC,235959.50,A,4649.0260,N,09550.7180,W,25.0,90.0,140726,,,A")
GGA = sentence("GPGGA,235959.50,4649.0260,N,09550.7180,W,1,09,0.9,400.0,M,-28.0,M,,")


@given(st.integers(-(10**7), 10**7))
def test_a_moved_sentence_parses_and_stands_where_it_stood(seconds: int) -> None:
    delta = timedelta(seconds=seconds)
    moved = pynmea2.parse(shift_sentence(RMC, delta, DAY).decode(), check=True)
    wanted = datetime(2026, 7, 14, 23, 59, 59, 500_000, tzinfo=UTC) + delta
    assert datetime.combine(moved.datestamp, moved.timestamp) == wanted
    before = pynmea2.parse(RMC.decode())
    assert (moved.latitude, moved.longitude) == (before.latitude, before.longitude)
    time_only = pynmea2.parse(shift_sentence(GGA, delta, DAY).decode(), check=True)
    assert time_only.timestamp.replace(tzinfo=None) == wanted.time()


@given(st.binary(max_size=90))
def test_corrupt_sentences_pass_as_they_are(data: bytes) -> None:
    for line in (data, RMC[:-4] + b"00\r\n", RMC[: len(RMC) // 2], b"$GPRMC,*FF\r\n"):
        assert shift_sentence(line, timedelta(days=1), DAY) == line


def test_the_parked_car_stands_at_the_first_fix_earlier() -> None:
    first = pynmea2.parse(parked(RMC, 5, DAY).decode())
    assert first.timestamp.strftime("%H%M%S") == "235954"
    assert first.datestamp.strftime("%d%m%y") == "140726"


def test_the_feed_plays_into_its_line_with_times_that_are_now(tmp_path: Path) -> None:
    log = tmp_path / "gps.nmea"
    start = datetime(2026, 7, 14, 15, 0, tzinfo=UTC)
    log.write_bytes(
        b"".join(
            sentence(
                f"GPRMC,{start + timedelta(seconds=s):%H%M%S}.00,A,4649.0,N,09550.7,W,0.0,0.0,"
                f"140726,,,A"
            )
            for s in range(3)
        )
    )
    feed = GpsFeed(log, start)
    line = os.open(feed.device, os.O_RDONLY | os.O_NOCTTY)
    try:
        zero_ns, zero_utc = feed.start(2.0)
        assert abs((zero_utc - datetime.now(UTC)).total_seconds() - 2.0) < 1.0
        assert abs(zero_ns / 1e9 - time.monotonic() - 2.0) < 1.0
        got = b""
        while got.count(b"\n") < 4:
            got += os.read(line, 4096)
        times = [pynmea2.parse(text.decode()).datetime for text in got.split()]
        assert all(b - a == timedelta(seconds=1) for a, b in pairwise(times))
        assert times[0] <= zero_utc <= times[-1] + timedelta(seconds=1)
    finally:
        os.close(line)
        feed.stop()
