"""NMEA: framing of a noisy stream, and what sentences tell."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nmea_lines import LAT, LON, NOON, gga, rmc, sentence

from alprd import nmea


def parse_one(data: bytes) -> nmea.Sentence | None:
    lines = nmea.Framer().feed(data)
    assert len(lines) == 1
    return nmea.parse(lines[0])


# --- sentences


@pytest.mark.parametrize("talker", ["GP", "GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "GI"])
def test_every_talker_tells_time_and_place(talker: str) -> None:
    told = parse_one(rmc(NOON, talker=talker))
    assert told is not None and told.fix and told.utc == NOON
    assert told.lat == pytest.approx(LAT, abs=1e-6) and told.lon == pytest.approx(LON, abs=1e-6)
    fix = parse_one(gga(NOON, talker=talker))
    assert fix is not None and fix.fix and fix.hdop == 0.9 and fix.satellites == 9
    assert told.talker == fix.talker == talker and not told.corrected


def test_published_sentences() -> None:
    # As in receivers' manuals, with years of today.
    told = parse_one(sentence("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230326,003.1,W"))
    assert told is not None and told.utc == datetime(2026, 3, 23, 12, 35, 19, tzinfo=UTC)
    assert told.lat == pytest.approx(48.1173) and told.lon == pytest.approx(11.516667)
    zda = parse_one(sentence("GPZDA,160012.71,11,03,2026,-1,00"))
    assert zda is not None and zda.utc == datetime(2026, 3, 11, 16, 0, 12, 710000, tzinfo=UTC)
    gsa = nmea.parse("$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39")
    assert gsa is not None and gsa.hdop == 1.3
    # The GST of Trimble's and NovAtel's manuals.
    gst = nmea.parse("$GPGST,172814.0,0.006,0.023,0.020,273.6,0.023,0.020,0.031*6A")
    assert gst is not None and gst.sigma_m == pytest.approx(0.0305, abs=1e-4)
    assert (gsa.talker, gst.talker, gst.fix) == ("GP", "GP", None)


@pytest.mark.parametrize(
    "body",
    [
        "GPRMC,123519,V,4807.038,N,01131.000,E,,,230326,,",  # void
        "GPRMC,123519,A,4807.038,N,01131.000,E,,,230326,,,E",  # dead reckoning
        "GPRMC,123519,A,4867.038,N,01131.000,E,,,230326,,",  # 67 minutes
        "GPRMC,123519,A,9107.038,N,01131.000,E,,,230326,,",  # beyond the pole
        "GPRMC,123519,A,4807.038,X,01131.000,E,,,230326,,",  # no such hemisphere
        "GPRMC,123519,A,,,,,,,230326,,",
        "GPRMC,123519,A",
        "GPGGA,123519,4807.038,N,01131.000,E,0,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,123519,4807.038,N,01131.000,E,8,08,0.9,545.4,M,46.9,M,,",  # simulator
        "GPGGA,123519,4807.038,N,01131.000,E,1,08,99.99,545.4,M,46.9,M,,",
    ],
)
def test_what_is_not_a_measured_place_gives_none(body: str) -> None:
    told = parse_one(sentence(body))
    assert told is not None
    assert (told.fix, told.lat, told.lon, told.utc) == (False, None, None, None)


@pytest.mark.parametrize("stamp", ["123460", "240000", "1234", "ab", "-11111", "12 519"])
def test_impossible_times_give_none(stamp: str) -> None:
    told = parse_one(sentence(f"GPRMC,{stamp},A,4807.038,N,01131.000,E,,,230326,,"))
    assert told is not None and told.time_of_day is None and told.utc is None


def test_a_lost_week_rollover_is_recognised() -> None:
    today = date(2026, 11, 20)
    lost = today - timedelta(weeks=1024)
    assert nmea.resolve_date(lost.year, lost.month, lost.day) == (today, True)
    assert nmea.resolve_date(lost.year % 100, lost.month, lost.day) == (today, True)
    assert nmea.resolve_date(26, 11, 20) == (today, False)
    told = parse_one(rmc(NOON - timedelta(weeks=1024)))
    assert told is not None and told.corrected and told.utc == NOON
    assert nmea.resolve_date(80, 1, 6) is None  # what a receiver says that knows no date
    assert nmea.resolve_date(0, 0, 0) is None
    assert nmea.resolve_date(26, 2, 30) is None


def test_accuracy_follows_hdop() -> None:
    assert nmea.accuracy_m(2.0) == 10.0
    assert nmea.accuracy_m(2.0, aided=True) == 5.0
    assert nmea.accuracy_m(0.1) == nmea.UERE_AIDED_M
    assert nmea.accuracy_m(None) == nmea.UNKNOWN_ACCURACY_M


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=6))
def test_framing_does_not_depend_on_how_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    whole, pieces = nmea.Framer(), nmea.Framer()
    lines = whole.feed(data)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    cut_lines = [line for a, b in itertools.pairwise(edges) for line in pieces.feed(data[a:b])]
    assert cut_lines == lines and pieces.dropped == whole.dropped
    for line in lines:
        assert line.startswith("$") and len(line) <= nmea.MAX_SENTENCE and line.isascii()
        nmea.parse(line)


@given(st.lists(st.sampled_from([rmc(NOON), gga(NOON), b"\xb5\x62\x01$", b"$GPRMC,12", b"\x00"])))
def test_whole_sentences_survive_noise_between_them(pieces: list[bytes]) -> None:
    told = [nmea.parse(line) for line in nmea.Framer().feed(b"".join(pieces))]
    assert sum(s is not None for s in told) == sum(p.endswith(b"\r\n") for p in pieces)


_field = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="$*,"))


@given(st.sampled_from(["RMC", "GGA", "GSA", "GST", "ZDA"]), st.lists(_field, max_size=20))
def test_any_fields_with_a_right_checksum_never_raise(kind: str, fields: list[str]) -> None:
    body = f"GN{kind}," + ",".join(fields)
    for line in nmea.Framer().feed(sentence(body)):
        told = nmea.parse(line)
        assert told is not None
        if told.lat is not None and told.lon is not None:
            assert abs(told.lat) <= 90 and abs(told.lon) <= 180
