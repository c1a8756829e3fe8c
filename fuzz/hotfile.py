"""Suppliers' hot files: every layout from its bytes to entries (``hotfile``: all of them in turn).

``hotfile-NAME`` is the fuzzer of one layout. A file is made of invented lines of that layout with
the oddities of real feeds, and damaged in half of the inputs. What comes out must fit the closed
schema of an entry and survive packing; what is rejected must say why and never quote the line.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from random import Random
from typing import Final, cast

from alprd.central.hotlists.categories import CategoryMap
from alprd.central.hotlists.hotfiles import containers, layouts, reading
from alprd.central.hotlists.hotfiles.layouts import LAYOUTS, Layout
from alprd.errors import InputError
from alprd.rows import entry_of, row_of
from alprd.wire import HotlistEntry
from fuzz.mutate import damaged

OUTCOMES: Final = ("nothing", "some", "all")
"""Entries: none (also a refused file), besides rejected lines, or of every line."""
MEMORY_MB: Final = 64
IMPORTERS: Final = tuple(f"hotfile-{name}" for name in (*LAYOUTS, "mapping"))

MAPPING: Final = """\
name = "county"
delimiter = "|"
[fields]
plate = "Tag"
state = 2
code = "Why"
entered = 4
[constants]
type = "passenger"
"""
_PLACE: Final = Path("fuzz")
_MAP: Final = CategoryMap()
_ODD: Final = (
    "", "0", "000", "190", "TEST", "NONE", "0H", "M0", "ZZ", "9999", "99999999", "20261399",
    "\u00c5\u00d6", "\x00", "\ud7ff", "\u200b", "\u0660\u0661", "A" * 300, '"', '"a,b"', "'", ";",
    "|", "A,B", "\u212a", "\ufb01", "\u00df", "\u2028", "2026-02-30", "0001-01-01",
    "9999-12-31T23:59:59-23:59",
    "2026-11-20T10:00:00Z", "-1",
)  # fmt: skip
_CODES: Final = (
    "V",
    "P",
    "W",
    "STOLEN",
    "KOPS",
    "warrant",
    "Stolen  vehicle",
    "?",
    "Q",
    "suspended",
)
_REASON: Final = re.compile(r"[a-z0-9 ,'()-]{4,80}", re.I)
_MINNESOTA: Final = "TYPE,ORI,DATE,LIC,LIS,LIY,LIT,VYR,VMA,VMO,VST,VCO"


def _plate(rng: Random) -> str:
    return "".join(rng.choice("ABCDEHKMNPRTW") for _ in range(3)) + f"{rng.randrange(1000):03d}"


def _value(rng: Random, good: str) -> str:
    return rng.choice(_ODD) if rng.random() < 0.05 else good


def _fields(name: str, rng: Random) -> list[str]:
    """The fields of one line of a delimited layout."""
    plate, code = _value(rng, _plate(rng)), _value(rng, rng.choice(_CODES))
    state = _value(rng, rng.choice(("MN", "WI", "0H", "ND", "")))
    day, kind = _value(rng, "20261120"), _value(rng, rng.choice(("PC", "TK", "MC", "TL", "ZZ")))
    number = f"{code[:1] or 'V'}{rng.randrange(10**9):09d}"
    car = ["2019", _value(rng, "D0DG"), "RAM", "PK", "BLK"]
    return {
        "own": [plate, state, rng.choice(("", "truck", "trailer")), code, "LPDF", day, "Invented"],
        "minnesota": [number, "0H0671200", day, plate, state, "2026", kind, *car],
        "texas-ncic": [number, "TX1010000", day, plate, state, "2026", *car],
        "texas-tcic": [number, plate, state, *car],
        "iowa": [plate, "9999", kind, state, "26-1", code, "IA0070000"],
        "florida": [code, "FL0010000", "AG", "26-1", *[""] * 6, plate, "2026", state, kind, day],
        "genetec": [code, state, plate, "2026-11-20", _value(rng, "2026-12-20"), "Invented"],
        "vigilant": [plate, state, code, "Invented"],
        "rekor": [plate, "Invented", state],
        "mapping": [plate, state, code, day, "Invented"],
    }[name]


def _line(name: str, rng: Random) -> str:
    if name == "ncic":
        head = f"{rng.choice('VPWMFAHX')}{rng.randrange(10**9):09d}MN0030000"
        plate, state = _value(rng, _plate(rng))[:10], _value(rng, "MN")[:2]
        return f"{head}{_value(rng, '20261120'):8.8}{plate:10}{state:2}2026PC2019D0DGRAMPKBLK"
    if name == "california":
        return f"{_value(rng, _plate(rng))[:8]:8}{_value(rng, 'CA')[:2]:2}1920261120"
    delimiter = "|" if name == "mapping" else LAYOUTS[name].delimiter
    fields = _fields(name, rng)
    if rng.random() < 0.2:
        quoted = rng.randrange(len(fields))
        fields[quoted] = '"' + fields[quoted].replace('"', '""') + delimiter + ' x"'
    return delimiter.join(fields)


_HEADS: Final = {
    "own": "plate,state,type,category,source,entered,text",
    "ncic": "NCIC EXTRACT 20261120",
    "minnesota": _MINNESOTA,
    "genetec": "Category;PlateState;PlateNumber;EffectiveDate;ExpiryDate;Remark",
    "vigilant": "Hot Plate,State,Alert,Note",
    "rekor": "Plate Number,Description,State/Province",
    "mapping": "Tag|St|Why|Since|Note",
}


def file_of(name: str, rng: Random) -> bytes:
    """A file of the layout: a few lines, not damaged."""
    lines = [_HEADS[name]] if name in _HEADS else []
    lines += [_line(name, rng) for _ in range(rng.randint(1, 6))]
    end = rng.choice(("\n", "\n", "\r\n"))
    text = end.join(lines) + end
    data = text.encode("utf-8", "replace")
    kind = rng.random()
    if kind < 0.1:
        return b"\xef\xbb\xbf" + data
    if kind < 0.2:
        return text.encode("latin-1", "replace")
    return text.encode("utf-16", "replace") if kind < 0.25 else data


def check(data: bytes, layout: Layout | None) -> str:
    """Read all of a file and hold what comes out against the promises; see :data:`OUTCOMES`."""
    entries = rejected = last = 0
    try:
        stream = cast(io.BufferedReader, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data))))
        lines = containers.lines(stream, _PLACE)
        found, records = reading.read(lines, _PLACE, layout, code="STOLEN")
        for record in records:
            if record.line <= last:
                raise AssertionError("line numbers do not grow")
            last = record.line
            if isinstance(record, reading.Rejected):
                rejected += 1
                if not _REASON.fullmatch(record.reason):
                    raise AssertionError("a reason that quotes")
                continue
            entries += 1
            mapping = _MAP.column(found.name, record.code)
            entry = HotlistEntry.model_validate(
                {
                    "id": f"{record.line:016x}",
                    "plate": record.plate,
                    "state": record.state,
                    "plate_type": record.plate_type,
                    "category": mapping.column if mapping else "other_lpdf",
                    "priority": mapping.priority if mapping else "low",
                    "text": record.text,
                    "expires": record.expires,
                }
            )
            if entry_of(row_of(entry)) != entry:
                raise AssertionError("an entry changes when it is packed")
            if len(record.text) > reading.MAX_TEXT or any(ord(char) < 32 for char in record.text):
                raise AssertionError("text that no alert can show")
    except InputError:
        return "nothing"
    if not entries:
        return "nothing"
    return "some" if rejected else "all"


class Importer:
    """The fuzzer of one layout."""

    OUTCOMES: tuple[str, ...] = OUTCOMES
    MEMORY_MB = MEMORY_MB

    def __init__(self, name: str) -> None:
        self._name = name
        self._layout = layouts.parse_mapping(MAPPING) if name == "mapping" else LAYOUTS[name]

    def make(self, rng: Random) -> bytes:
        """A file of the layout, half of the time damaged."""
        data = file_of(self._name, rng)
        return damaged(data, rng, [file_of(self._name, rng)]) if rng.random() < 0.5 else data

    def run(self, data: bytes) -> str:
        """Reads it as this layout, and as whatever it is taken for."""
        check(data, None)
        return check(data, self._layout)


_ALL: Final = tuple(Importer(name.removeprefix("hotfile-")) for name in IMPORTERS)


def make(rng: Random) -> bytes:
    """A file of any layout; the first byte says which."""
    number = rng.randrange(len(_ALL))
    return bytes((number,)) + _ALL[number].make(rng)


def run(data: bytes) -> str:
    """Gives the file to the importer of the first byte."""
    return _ALL[data[0]].run(data[1:])
