"""Logs: to journald with fields, or as text or JSON lines; never a plate, place, name or secret.

Three walls keep what was read out of the log (R-460.5-b2, R-CJIS-1):

1. Only plain values may be logged: text, numbers, paths, our own errors. A line that carries
   anything else (a reading, a read, a picture, bytes, any document) is withheld, and the log says
   where it was to come from.
2. An exception is told by kind and place. Its words are told only if it is one of ours
   (:class:`~alprd.errors.AlprdError`): a foreign one may quote the very text it choked on.
3. Of a library's line only the pattern is told, never the values put into it, and nothing at all
   of one that was composed beforehand but its place.

The native protocol is a datagram of ``FIELD=value`` lines; a value with line breaks is sent as
the field's name, a line break, its length as 64-bit little-endian number, and the bytes
(systemd.io, "Native Journal Protocol").
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path, PurePath
from types import TracebackType
from typing import Final, Literal, TextIO

from alprd.errors import AlprdError
from alprd.workers import describe

Form = Literal["auto", "text", "json"]
Level = Literal["debug", "info", "warning", "error"]

SOCKET: Final = Path("/run/systemd/journal/socket")
LONGEST: Final = 4000
"""Characters of one message; a datagram must fit the socket."""
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4))
_PLAIN: Final = (str, int, float, bool, type(None), PurePath, AlprdError)
_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class NoPlates(logging.Filter):
    """Rewrites every line so that nothing of a read can be in it; drops none without a word."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the record harmless; True always."""
        words = _words(record)
        if record.exc_info and record.exc_info[1] is not None:
            words = f"{words}: {describe(record.exc_info[1])}"
        record.msg = words[:LONGEST]
        record.args = None
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
        for name in [name for name in vars(record) if name not in _KNOWN]:
            if not isinstance(getattr(record, name), (int, float)):
                delattr(record, name)  # fields of one's own are numbers: no text can hide there
        return True


def _words(record: logging.LogRecord) -> str:
    place = f"{Path(record.pathname).name}:{record.lineno}"
    if record.name == "py.warnings":  # "/path/file.py:12: Category: words"
        where, kind, *_ = [*record.getMessage().split(": "), ""]
        return f"{kind} at {Path(where).name}"
    if record.name.split(".")[0] != "alprd":
        if record.args and isinstance(record.msg, str):
            return f"{place}: {record.msg}"
        return f"{place} (a library's line; its words are not kept)"
    carried = record.args.values() if isinstance(record.args, dict) else (record.args or ())
    for value in (record.msg, *carried):
        if not isinstance(value, _PLAIN) and not isinstance(value, BaseException):
            kind = type(value).__name__
            return f"a line of {place} was withheld: it carried a {kind}, which may hold a plate"
    if isinstance(record.args, tuple):
        record.args = tuple(
            describe(value) if isinstance(value, BaseException) else value for value in record.args
        )
    if isinstance(record.msg, BaseException):
        return describe(record.msg)
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"a line of {place} does not fit its values"


class TextForm(logging.Formatter):
    """One line for people."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")


class JsonForm(logging.Formatter):
    """One JSON object a line: time, level, logger, thread, place, message, further numbers."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "place": f"{record.filename}:{record.lineno}",
            "message": record.getMessage(),
        }
        return json.dumps(line | _fields(record), ensure_ascii=False)


class JournalHandler(logging.Handler):
    """Sends lines to journald by its native protocol; standard error when it does not listen."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; a journal that is full or gone never holds the daemon up."""
        fields: dict[str, object] = {
            "MESSAGE": record.getMessage(),
            "PRIORITY": _priority(record.levelno),
            "SYSLOG_IDENTIFIER": "alprd",
            "LOGGER": record.name,
            "THREAD_NAME": record.threadName or "",
            "CODE_FILE": record.filename,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
        }
        fields |= {f"ALPRD_{name.upper()}": value for name, value in _fields(record).items()}
        data = b"".join(_field(name, str(value)) for name, value in fields.items())
        try:
            self._out.sendto(data, self._path)
        except OSError:
            sys.stderr.write(f"<{_priority(record.levelno)}>{record.name}: {record.msg}\n")

    def close(self) -> None:
        """Give the socket back."""
        self._out.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    raw = value.encode("utf-8", "replace")
    if b"\n" not in raw:
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _KNOWN}


def _priority(level: int) -> int:
    return next((number for bound, number in _PRIORITIES if level >= bound), 7 - (level >= 20))


def under_journal(stream: TextIO | None = None) -> bool:
    """Whether a stream (default: standard error) is systemd's connection to the journal.

    ``JOURNAL_STREAM`` holds its device and inode; a terminal that inherited the variable has
    others (systemd.exec(5)).
    """
    told = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat((stream or sys.stderr).fileno())
    except (OSError, ValueError):
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def set_up(form: Form = "auto", level: Level = "info") -> None:
    """Send all logs, warnings and uncaught exceptions of this process through the walls.

    Args:
        form: ``auto`` is the journal when systemd started us, else text; ``text`` and ``json``
            write lines to standard error.
    """
    handler: logging.Handler
    if form == "auto" and under_journal() and SOCKET.exists():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonForm() if form == "json" else TextForm())
    handler.addFilter(NoPlates())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    # Libraries below log addresses and queries at lower levels.
    root.setLevel(logging.WARNING)
    set_level(level)
    logging.raiseExceptions = False  # its report of a failed line quotes the line
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda told: _tell("ignored", told.exc_value)
    threading.excepthook = lambda told: _tell("uncaught", told.exc_value)


def set_level(level: Level) -> None:
    """Which of the daemon's own lines are told; a library's are from ``warning`` on."""
    logging.getLogger("alprd").setLevel(level.upper())


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del kind, trace
    _tell("the program ends by", error)


def _tell(what: str, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        logging.getLogger("alprd").critical("%s: %s", what, describe(error))
