"""One entry of a hotlist as the packed form writes it, and the number that its plate sorts by.

A *key* is the plate's fold as a number to the base 29 (:func:`key_of`), a *mark* says which look-
alike stands at each place, *codes* are plate type, category and priority. A *row* is one entry::

    offset  size  field
    0       8     key, big-endian: rows sort as bytes
    8       1     0: an id of 16 hex digits follows as 8 bytes; 1: the id is in the line
    9       8     the id, or nothing
    …       …     line: JSON array [state, mark, codes, text], then the expiry in ISO form if there
                  is one; with 1 above the id in front

Rules: R-460.4-e (an entry carries just what the alert needs).
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Final, get_args

from pydantic import ValidationError

from alprd.errors import InputError
from alprd.records import Category, PlateType, fold
from alprd.wire import HotlistEntry

CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MAX_ROW: Final = 4_096
MAX_PLATE: Final = 10
_BASE: Final = 29
_DIGITS: Final = "".join(sorted(set(fold(ALPHABET))))
"""The 28 characters that are left after folding; each stands for its place here plus one."""
_VALUE: Final = {char: number + 1 for number, char in enumerate(_DIGITS)}
KEY_LIMIT: Final = _BASE**MAX_PLATE
"""Above every key; below 2**49."""
_LOOKS: Final = {
    char: char + "".join(c for c in ALPHABET if fold(c) == char and c != char) for char in _DIGITS
}
"""What each folded character may have been."""

_HEX_ID: Final = re.compile(r"[0-9a-f]{16}")
_TYPE_CODES: Final = {None: "-"} | {
    name: name[0] if name != "truck" else "k" for name in get_args(PlateType)
}
_CATEGORY_CODES: Final = {name: str(number) for number, name in enumerate(CATEGORIES)}
_PRIORITY_CODES: Final = {"high": "h", "medium": "m", "low": "l"}
_TYPES: Final = {code: name for name, code in _TYPE_CODES.items()}
_PRIORITIES: Final = {code: name for name, code in _PRIORITY_CODES.items()}
_REMEDY: Final = "publish the list again; the car keeps the one before"


def key_of(folded: str) -> int:
    """The number of a folded plate of 1 to 10 characters; below 2**49, no two plates share one.

    Raises:
        KeyError: a character that no folded plate has.
    """
    key = 0
    for char in folded:
        key = key * _BASE + _VALUE[char]
    return key


def folded_of(key: int) -> str:
    """The inverse of :func:`key_of`.

    Raises:
        InputError: no plate has this number.
    """
    found = ""
    while key:
        key, digit = divmod(key, _BASE)
        if not digit or len(found) == MAX_PLATE:
            raise InputError("hotlist holds a key that no plate has", remedy=_REMEDY)
        found = _DIGITS[digit - 1] + found
    return found


def _mark(plate: str, folded: str) -> str:
    """One digit a character, which of its look-alikes stands there; zeros at the end left out."""
    if plate == folded:
        return ""
    places = (_LOOKS[f].index(p) for p, f in zip(plate, folded, strict=True))
    return "".join(map(str, places)).rstrip("0")


def _unmark(folded: str, mark: str) -> str:
    return "".join(
        _LOOKS[char][int(digit)]
        for char, digit in zip(folded, mark.ljust(len(folded), "0"), strict=True)
    )


def row_of(entry: HotlistEntry) -> bytes:
    """An entry as a row: 8 bytes key (big-endian, so that rows sort), id, line.

    Raises:
        InputError: too long, or text that no alert can show (lone surrogates).
    """
    folded = fold(entry.plate)
    priority = _PRIORITY_CODES[entry.priority]
    codes = (
        _TYPE_CODES[entry.plate_type]
        + _CATEGORY_CODES[entry.category]
        + (priority.upper() if entry.restricted else priority)  # from a restricted file: a capital
    )
    fields: list[str | None] = [entry.state, _mark(entry.plate, folded), codes, entry.text]
    if entry.expires is not None:
        fields.append(entry.expires.isoformat())
    if _HEX_ID.fullmatch(entry.id):
        ident = b"\0" + bytes.fromhex(entry.id)
    else:
        ident = b"\1"
        fields.insert(0, entry.id)
    try:
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InputError("an entry's text cannot be written as UTF-8") from None
    row = key_of(folded).to_bytes(8, "big") + ident + line
    if len(row) > MAX_ROW:
        raise InputError(
            f"an entry takes {len(row)} bytes, allowed are {MAX_ROW}", remedy="shorten its text"
        )
    return row


def entry_of(row: bytes) -> HotlistEntry:
    """The inverse of :func:`row_of`.

    Raises:
        InputError: not a row, or it does not fit the closed schema; never quotes it.
    """
    try:
        # As text: json would look for the encoding of bytes first.
        fields = json.loads(str(row[17:] if row[8] == 0 else row[9:], "utf-8"))
        ident = row[9:17].hex() if row[8] == 0 else fields.pop(0)
        state, mark, codes, text, *expires = fields
        plate_type, category, priority = codes
        return HotlistEntry.model_validate(
            {
                "id": ident,
                "plate": _unmark(folded_of(int.from_bytes(row[:8], "big")), mark),
                "state": state,
                "plate_type": _TYPES[plate_type],
                "category": CATEGORIES[int(category)],
                "priority": _PRIORITIES[priority.lower()],
                "restricted": priority.isupper(),
                "text": text,
                "expires": datetime.fromisoformat(expires.pop()) if expires else None,
            }
            | ({"surplus": expires} if expires else {})
        )
    except (ValidationError, ValueError, TypeError, LookupError, AttributeError):
        # The causes quote the entry, which holds a plate: they must not travel into logs.
        raise InputError(
            "an entry of a hotlist does not fit the closed schema", remedy=_REMEDY
        ) from None


def category_of(row: bytes) -> int:
    """Place in CATEGORIES of a row's category, without reading all of it.

    Raises:
        InputError: not a row.
    """
    try:
        fields = json.loads(row[17:] if row[8] == 0 else row[9:])
        return CATEGORIES.index(CATEGORIES[int(fields[2 + row[8]][1])])
    except (ValueError, LookupError, TypeError):
        # The causes quote the entry, which holds a plate: they must not travel into logs.
        raise InputError("a row of a hotlist has no category", remedy=_REMEDY) from None
