"""Encrypted files of the store: in the home folder by default, in an S3 bucket by configuration.

An object has a kind and a random name (a read's id, an envelope's digest, a hold's id), so that
neither its name nor its length says anything of a plate, a place or an instant. Its content is
ciphertext whose key is in the keystore; the keystore forgets first, so an object that could not be
removed at once is already unreadable (R-460.5-4b).

``put`` returns when the object is durable: a receipt may follow it, and a car may then destroy its
own copy (R-460.5-2).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, Protocol

from alprd.crypto import write_secret
from alprd.errors import EnvelopeError, StoreError

Kind = Literal["pictures", "quarantine", "holds", "bca"]
KINDS: Final[tuple[Kind, ...]] = ("pictures", "quarantine", "holds", "bca")


class Objects(Protocol):
    """Where encrypted files lie."""

    def put(self, kind: Kind, objects: Mapping[str, bytes]) -> None:
        """Store objects by name, in place of older ones; all are durable when this returns.

        Raises:
            StoreError: full or not reachable; some may have been stored.
        """

    def replace(self, kind: Kind, name: str, data: bytes, beside: Iterable[str]) -> None:
        """Store another content of the same length so that nobody can tell which one changed.

        Args:
            beside: names of the same hour; where times of change cannot be kept, they change too.
        """

    def get(self, kind: Kind, name: str) -> bytes:
        """The content.

        Raises:
            EnvelopeError: there is none.
            StoreError: not reachable.
        """

    def size(self, kind: Kind, name: str) -> int | None:
        """Length in bytes; ``None`` when there is none."""

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """Remove objects; those already gone are no error.

        Raises:
            StoreError: not reachable; some may be left, the next purge finds them.
        """

    def names(self, kind: Kind) -> Iterator[str]:
        """The names of all objects of a kind, also of half-written ones."""

    def check(self) -> None:
        """Whether what is removed here is gone.

        Raises:
            ConfigError: the place keeps older versions.
            StoreError: it cannot be used.
        """


class FolderObjects:
    """Objects as files below the home folder: ``pictures/ab/<id>``, ``quarantine/…``, ``holds/…``.

    Args:
        home: the agency's folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def path(self, kind: Kind, name: str) -> Path:
        """The file of an object."""
        folder = self.home / kind
        # What a crash left half written is `.<name>.<process>.new` beside its place.
        return folder / name.lstrip(".")[:2] / name if kind == "pictures" else folder / name

    def put(self, kind: Kind, objects: Mapping[str, bytes]) -> None:
        """See :class:`Objects`."""
        for name, data in objects.items():
            write_file(self.path(kind, name), data)

    def replace(self, kind: Kind, name: str, data: bytes, beside: Iterable[str]) -> None:
        """See :class:`Objects`; the file and its folder keep their times."""
        del beside
        path = self.path(kind, name)
        before = {place: place.stat() for place in (path, path.parent) if place.exists()}
        self.put(kind, {name: data})
        for place, times in before.items():
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))

    def get(self, kind: Kind, name: str) -> bytes:
        """See :class:`Objects`."""
        try:
            return self.path(kind, name).read_bytes()
        except OSError as error:
            raise EnvelopeError(f"{kind} of {name}: {error.strerror}") from error

    def size(self, kind: Kind, name: str) -> int | None:
        """See :class:`Objects`."""
        try:
            return self.path(kind, name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """See :class:`Objects`."""
        for name in names:
            self.path(kind, name).unlink(missing_ok=True)

    def names(self, kind: Kind) -> Iterator[str]:
        """See :class:`Objects`; a file that a crash left half written bears a name of its own."""
        for path in (self.home / kind).rglob("*"):
            if path.is_file():
                yield path.name

    def check(self) -> None:
        """A folder keeps no versions of its own."""


def write_file(path: Path, sealed: bytes) -> None:
    """Put an encrypted file on disk; durable when this returns.

    Raises:
        StoreError: the disk is full or the folder cannot be used; nothing was stored.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(path.parent.parent)  # else a power cut could take the folder away
        write_secret(path, sealed)
    except OSError as error:
        raise StoreError(
            f"file in {path.parent} cannot be written: {error.strerror}",
            remedy="check free disk space and the folder's owner",
        ) from error


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
