"""Lines of a supplier's file, out of whatever container and encoding it came in.

Plain, gzip, or a zip with one file in it. Text is UTF-8 (with or without byte order mark) and,
line by line where it is not, Latin-1; UTF-16 with a byte order mark is known too. Nothing is
unpacked to the disk, and a file that unpacks without end is refused.
"""

from __future__ import annotations

import codecs
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

from alprd.errors import InputError

MAX_BYTES: Final = 8 << 30
"""Unpacked. Five million lines of 300 bytes are 1.5 GB."""
MAX_LINE: Final = 8_192
OVERLONG: Final = "\n"
"""Comes in the place of a line that is longer: no line holds its own end."""
Stream = BufferedReader | gzip.GzipFile | zipfile.ZipExtFile
"""Something that can be looked into before it is read, line by line."""
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_EMPTY_ZIP: Final = b"PK\x05\x06"
_BROKEN: Final = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)
_IGNORED: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Stream, BinaryIO]]:
    """The unpacked bytes as a stream, and the file itself (its position tells the progress).

    Raises:
        InputError: unreadable, or a container that cannot be opened.
    """
    with ExitStack() as stack:
        try:
            raw = cast(BufferedReader, stack.enter_context(path.open("rb", buffering=1 << 20)))
            head = raw.read(4)
            raw.seek(0)
            if head.startswith(_GZIP):
                yield stack.enter_context(gzip.GzipFile(fileobj=raw)), raw
            elif head in (_ZIP, _EMPTY_ZIP):
                try:
                    member = stack.enter_context(_member(path, raw, stack))
                except NotImplementedError as error:
                    raise InputError(
                        f"list {path}: the zip's version or compression is not known",
                        remedy="unpack it, and import the list itself",
                    ) from error
                except (ValueError, IndexError, RuntimeError, struct.error) as error:
                    # What zipfile raises for a damaged directory, besides its own error.
                    raise _damaged(path, "archive") from error
                yield member, raw
            else:
                yield raw, raw
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile):
                raise _damaged(path, "gzip") from error
            raise InputError(
                f"list {path}: {error.strerror or 'cannot be read'}", remedy="check the path"
            ) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError) as error:
            raise _damaged(path, "archive") from error


def _damaged(path: Path, kind: str) -> InputError:
    return InputError(
        f"list {path}: the {kind} is damaged or cut short",
        remedy="fetch the file again; the list in use stays",
    )


def _member(path: Path, raw: BinaryIO, stack: ExitStack) -> zipfile.ZipExtFile:
    archive = stack.enter_context(zipfile.ZipFile(raw))
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith(_IGNORED[0])
        and not info.filename.endswith(_IGNORED[1:])
    ]  # fmt: skip
    if len(members) != 1:
        raise InputError(
            f"list {path}: the zip holds {len(members)} files", remedy="give a zip with one list"
        )
    if members[0].flag_bits & 1:
        raise InputError(
            f"list {path}: the zip is encrypted",
            remedy="unpack it with the supplier's password in a private folder, import the list "
            "from there and shred it",
        )
    return cast(zipfile.ZipExtFile, archive.open(members[0]))


def lines(stream: Stream, path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its end) of each line; :data:`OVERLONG` for one too long.

    Raises:
        InputError: endless, or cut short in its container.
    """
    try:
        mark = stream.peek(4)[:4]
    except _BROKEN as error:
        raise _damaged(path, "archive") from error
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from _utf16(stream, path)
        return
    if mark.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    total = number = 0
    try:
        while line := stream.readline(MAX_LINE):
            number += 1
            total += len(line)
            whole = line.endswith(b"\n")
            if not whole and len(line) == MAX_LINE:
                while rest := stream.readline(MAX_LINE):
                    total += len(rest)
                    _check(total, path)
                    if rest.endswith(b"\n"):
                        break
                _check(total, path)
                yield number, OVERLONG
                continue
            _check(total, path)
            yield number, _text(line.rstrip(b"\r\n\x1a"))
    except _BROKEN as error:
        raise _damaged(path, "archive") from error


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _utf16(stream: Stream, path: Path) -> Iterator[tuple[int, str]]:
    text = codecs.getreader("utf-16")(stream, "replace")
    total = number = 0
    while line := text.readline(MAX_LINE, keepends=True):
        number += 1
        total += 2 * len(line)
        if not line.endswith("\n") and len(line) == MAX_LINE:
            while rest := text.readline(MAX_LINE, keepends=True):
                total += 2 * len(rest)
                _check(total, path)
                if rest.endswith("\n"):
                    break
            _check(total, path)
            yield number, OVERLONG
            continue
        _check(total, path)
        yield number, line.rstrip("\r\n\x1a")


def _check(total: int, path: Path) -> None:
    if total > MAX_BYTES:
        raise InputError(
            f"list {path} unpacks to more than {MAX_BYTES >> 30} GB",
            remedy="no list is that long; ask the supplier",
        )
