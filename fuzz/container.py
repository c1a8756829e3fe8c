"""Containers, encodings and mapping files of suppliers' lists.

The first byte of an input says which: a list in a plain file, gzip, zip or UTF-16, or the TOML
text of a mapping file, which is then used.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path
from random import Random
from typing import Final

from alprd.central.hotlists.hotfiles import containers, layouts
from alprd.errors import InputError
from fuzz import hotfile
from fuzz.mutate import damaged

OUTCOMES: Final = ("refused", "read")
MEMORY_MB: Final = 96
_KINDS: Final = ("plain", "gzip", "zip", "twice", "mapping")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_MAPPINGS: Final = (
    hotfile.MAPPING.encode(),
    b'name = "wide"\nheader = false\n[fields]\nplate = "1-8"\nstate = "9-10"\n'
    b'[constants]\ncode = "STOLEN"\ntext = ["11-"]\n',
)


def _zip(data: bytes, rng: Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice(_METHODS)) as archive:
        stamp = (2026, 11, 20, 6, 0, 0)
        archive.writestr(zipfile.ZipInfo("list.csv", stamp), data)
        if rng.random() < 0.1:
            archive.writestr(zipfile.ZipInfo("__MACOSX/x", stamp), b"x")
        if rng.random() < 0.1:
            archive.writestr(zipfile.ZipInfo("more.csv", stamp), data)
    return out.getvalue()


def _packed(kind: str, data: bytes, rng: Random) -> bytes:
    if kind == "zip":
        return _zip(data, rng)
    if kind in {"gzip", "twice"}:
        data = gzip.compress(data, mtime=0)
    return gzip.compress(data, mtime=0) if kind == "twice" else data


def make(rng: Random) -> bytes:
    """One container or mapping, damaged three times out of four."""
    number = rng.randrange(len(_KINDS))
    if _KINDS[number] == "mapping":
        data = rng.choice(_MAPPINGS)
    else:
        names = [name.removeprefix("hotfile-") for name in hotfile.IMPORTERS]
        data = _packed(_KINDS[number], hotfile.file_of(rng.choice(names), rng), rng)
    return bytes((number,)) + (damaged(data, rng) if rng.random() < 0.75 else data)


def run(data: bytes) -> str:
    """Reads every line; only the product's own refusal may come out."""
    try:
        if _KINDS[data[0]] == "mapping":
            layout = layouts.parse_mapping(data[1:].decode("utf-8", "replace"))
            hotfile.check(b"Tag|St|Why|Since|Note\nKZM905|MN|STOLEN|20261120|x\n", layout)
            return "read"
        handle = os.memfd_create("list")
        try:
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(data[1:])
            path = Path(f"/proc/self/fd/{handle}")
            with containers.opened(path) as (stream, _):
                for _, line in containers.lines(stream, path):
                    if line == containers.OVERLONG:  # what stands for a line that is too long
                        continue
                    if len(line) > containers.MAX_LINE or "\n" in line:
                        raise AssertionError("more than a line")
        finally:
            os.close(handle)
    except InputError:
        return "refused"
    return "read"
