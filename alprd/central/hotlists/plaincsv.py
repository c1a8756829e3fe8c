"""The agency's own small CSV files, such as that of protected plates: strict, and read whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from alprd.errors import InputError


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, fields) of a CSV file with exactly these columns first in its header.

    Raises:
        InputError: unreadable, not UTF-8, or another header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"list {path}: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"list {path} is not UTF-8", remedy="save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=False)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if tuple(header[: len(columns)]) != columns:
            raise InputError(
                f"list {path}: line 1 is not the header of this format",
                remedy=f"begin the file with {','.join(columns)} (see docs/hotlist-format.md)",
            )
        for values in reader:
            if values:
                padded = [*values, *("" for _ in range(len(columns) - len(values)))]
                yield reader.line_num, dict(zip(columns, padded, strict=False))
    except csv.Error as error:
        raise InputError(f"list {path}: line {reader.line_num}: {error}") from error
