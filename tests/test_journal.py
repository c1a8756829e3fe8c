"""Logs: structured, to a journal or a stream, and nothing of a read in any of them."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from factories import read
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alprd.errors import InputError, StoreError
from alprd.frames import PlateReading
from alprd.journal import JournalHandler, JsonForm, NoPlates, TextForm, under_journal
from alprd.records import Plate

PLATE = "QZX417"


class Journal:
    """A journald of our own: its socket, and a parser written from the protocol's description."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        data, fields = self.socket.recv(1 << 16), {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if equals:
                data = rest
            else:
                (length,) = struct.unpack_from("<Q", rest)
                value, data = rest[8 : 8 + length], rest[8 + length :]
                assert data[:1] == b"\n"
                data = data[1:]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "socket")
    yield opened
    opened.socket.close()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("alprd.test-of-logs")
    made.propagate = False
    made.setLevel(logging.DEBUG)
    yield made
    for handler in list(made.handlers):
        made.removeHandler(handler)
        handler.close()


def lines(logger: logging.Logger, form: logging.Formatter, tmp_path: Path) -> Path:
    path = tmp_path / "log"
    handler = logging.FileHandler(path)
    handler.setFormatter(form)
    handler.addFilter(NoPlates())
    logger.addHandler(handler)
    return path


def to_journal(logger: logging.Logger, journal: Journal) -> None:
    handler = JournalHandler(journal.path)
    handler.addFilter(NoPlates())
    logger.addHandler(handler)


def test_the_journal_gets_fields(logger: logging.Logger, journal: Journal) -> None:
    to_journal(logger, journal)
    logger.warning("camera %s: %d pictures\nin two lines", "front", 7, extra={"pictures": 7})
    entry = journal.entry()
    assert entry["MESSAGE"] == "camera front: 7 pictures\nin two lines"
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "alprd"
    assert entry["LOGGER"] == "alprd.test-of-logs"
    assert entry["CODE_FILE"] == "test_journal.py"
    assert entry["ALPRD_PICTURES"] == "7"
    for level, priority in ((10, "7"), (20, "6"), (40, "3"), (50, "2")):
        logger.log(level, "level")
        assert journal.entry()["PRIORITY"] == priority


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text_comes_whole_through_the_protocol(text: str) -> None:
    import tempfile

    logger = logging.getLogger("alprd.test-of-any-text")
    logger.propagate = False
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "s")
        to_journal(logger, journal)
        logger.error("%s", text)
        assert journal.entry()["MESSAGE"] == text
        handler = logger.handlers[0]
        logger.removeHandler(handler)
        handler.close()
        journal.socket.close()


def test_a_journal_that_is_full_or_gone_holds_nothing_up(
    logger: logging.Logger, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    to_journal(logger, journal)
    for number in range(2000):  # nobody reads
        logger.info("line %d", number)
    assert "<6>alprd.test-of-logs: line 1999" in capfd.readouterr().err
    assert journal.entry()["MESSAGE"] == "line 0"
    journal.path.unlink()
    logger.error("still told")
    assert "<3>alprd.test-of-logs: still told" in capfd.readouterr().err


def test_json_lines_hold_time_level_place_and_numbers(
    logger: logging.Logger, tmp_path: Path
) -> None:
    path = lines(logger, JsonForm(), tmp_path)
    logger.info("started: %d camera(s)", 2, extra={"cameras": 2})
    told = json.loads(path.read_text())
    assert told["message"] == "started: 2 camera(s)" and told["level"] == "info"
    assert told["cameras"] == 2 and told["place"].startswith("test_journal.py:")
    assert told["time"].endswith("+00:00")


@pytest.mark.policy("R-460.5-b2", "R-CJIS-1")
@pytest.mark.parametrize(
    "value",
    [
        PlateReading(PLATE, "", (), "MN", 1.0, 1.0, True),
        Plate(text=PLATE, state="MN"),
        read(plate=Plate(text=PLATE)),
        PLATE.encode(),
        {"plate": PLATE},
        [PLATE],
        (PLATE,),
        np.frombuffer(PLATE.encode(), np.uint8),
        type("Holder", (), {"__str__": lambda self: PLATE})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_line_that_carries_what_may_hold_a_plate_is_withheld(
    value: object, logger: logging.Logger, tmp_path: Path
) -> None:
    path = lines(logger, TextForm(), tmp_path)
    logger.info("seen: %s and %s", "front", value)
    logger.info(value)
    logger.info("with a field", extra={"plate": value})
    text = path.read_text()
    assert PLATE not in text
    assert text.count("was withheld") == 2 and "test_journal.py:" in text


@pytest.mark.policy("R-460.5-b2")
def test_a_foreign_error_is_told_without_its_words(logger: logging.Logger, tmp_path: Path) -> None:
    path = lines(logger, JsonForm(), tmp_path)
    try:
        Plate.model_validate({"text": PLATE, "stacked": "", "state": PLATE})
    except ValidationError as error:
        assert PLATE in str(error)  # so it would be told
        logger.exception("not valid")
        logger.error("not valid: %s", error)
        logger.error(error)
    try:
        int(PLATE)
    except ValueError as error:
        try:
            raise InputError("line 3 cannot be used", remedy="mend it") from error
        except InputError as ours:
            logger.exception("import: %s", ours)
    text = path.read_text()
    assert PLATE not in text
    assert text.count("ValidationError at main.py:") == 3
    assert "line 3 cannot be used" in text and "mend it" in text


@pytest.mark.policy("R-460.5-b2")
def test_of_a_librarys_line_only_the_pattern_is_told(tmp_path: Path) -> None:
    other = logging.getLogger("somelibrary.client")
    other.propagate = False
    path = lines(other, TextForm(), tmp_path)
    other.warning("request for %s failed after %d tries", PLATE, 3)
    other.error(f"request for {PLATE} failed")
    other.handlers[0].close()
    other.handlers.clear()
    told = path.read_text().splitlines()
    assert "request for %s failed after %d tries" in told[0]
    assert "its words are not kept" in told[1]
    assert PLATE not in "".join(told)


def test_a_line_that_does_not_fit_its_values_is_told_as_such() -> None:
    # Not by a logger: pytest's own handler raises at such a line.
    record = logging.LogRecord("alprd.x", 20, "x.py", 7, "two %s %d", (PLATE, "x"), None)
    assert NoPlates().filter(record)
    assert record.getMessage() == "a line of x.py:7 does not fit its values"


PROGRAM = f"""
import logging, sys, threading, warnings
from alprd import journal
journal.set_up(sys.argv[1], "debug")
log = logging.getLogger("alprd.x")
log.debug("one")
logging.getLogger("library").warning("two %s", "{PLATE}")
logging.getLogger("library").info("never")
warnings.warn("three {PLATE}", UserWarning)
def fail(): raise ValueError("four {PLATE}")
thread = threading.Thread(target=fail)
thread.start(); thread.join()
class Bad:
    def __del__(self): raise ValueError("five {PLATE}")
bad = Bad(); del bad
raise ValueError("six {PLATE}")
"""


@pytest.mark.policy("R-460.5-b2")
@pytest.mark.parametrize("form", ["json", "text", "auto"])
def test_no_way_out_of_a_process_quotes_an_error(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"},
    )
    assert done.returncode == 1
    assert PLATE not in done.stdout + done.stderr
    words = ("one", "two %s", "UserWarning at", "uncaught: ValueError", "ignored: ValueError")
    for word in (*words, "the program ends by: ValueError"):
        assert word in done.stderr, done.stderr
    assert "never" not in done.stderr
    if form == "json":
        assert all(json.loads(line)["message"] for line in done.stderr.splitlines())


def test_the_journal_is_known_by_the_inode_of_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert under_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not under_journal(stream)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not under_journal(stream)


def test_our_own_errors_keep_their_words(logger: logging.Logger, tmp_path: Path) -> None:
    path = lines(logger, TextForm(), tmp_path)
    logger.error("purge: %s", StoreError("the disk is full", remedy="make room"))
    assert "the disk is full" in path.read_text() and "make room" in path.read_text()
