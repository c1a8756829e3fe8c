"""Downloads of targets that go on where they broke off, also after a power cut.

A target's address holds its SHA-256, so the bytes behind an address never change, and a piece that
was fetched yesterday fits the piece of today (what ``If-Range`` would ask). Nothing is believed
before the whole file has the length and the digest that the signed metadata names::

    downloads/<sha256>.part      as far as it came; synced every 4 MB and when it breaks off
    downloads/<sha256>           whole and verified, waiting for the rest of its set

A piece that turns out to be wrong (a sector that a power cut left empty, a server that lied) is
thrown away, and the file is fetched once more from its first byte.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface

from alprd.errors import no_room
from alprd.refusals import TargetsError

Pace = Callable[[int], object]
"""Called with the number of bytes that just came. It sleeps to limit the rate, or raises to break
off; what came so far is kept."""

LONGEST_S: Final = 600.0
"""Longest time one file may take at a stretch: a server that drips bytes must not hold the dock for
ever. The next pass goes on from there, so a slow line is no obstacle."""
_CHUNK: Final = 65_536
_SYNC_EVERY: Final = 4_000_000
_RANGE: Final = re.compile(r"bytes (\d+)-")


class CentralFetcher(FetcherInterface):
    """Downloads over the car's mutually authenticated connection.

    Args:
        pace: limits the rate of targets; metadata is small and is not slowed down.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        longest_s: float = LONGEST_S,
        pace: Pace = lambda size: None,
    ) -> None:
        self._client = client
        self._longest_s = longest_s
        self._pace = pace

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Whole files, for ngclient's metadata."""
        for _, chunk in self._stream(url, 0):
            yield chunk

    def append(self, url: str, part: Path, length: int) -> int:
        """Bring ``part`` towards ``length`` bytes; where it began (0: from the first byte).

        Raises:
            TargetsError: the connection ended early.
            tuf.api.exceptions.DownloadError: no answer, an HTTP error, too slow, or too long.
            OSError: the disk refuses.
        """
        begun = at = part.stat().st_size if part.exists() else 0
        unsynced = 0
        with part.open("ab") as file:
            try:
                for start, chunk in self._stream(url, begun):
                    if start != at:  # the server sent all of it
                        file.truncate(0)
                        begun = at = 0
                    at += len(chunk)
                    if at > length:
                        raise tuf_errors.DownloadLengthMismatchError(
                            f"{url} is longer than the {length} bytes announced"
                        )
                    file.write(chunk)
                    unsynced += len(chunk)
                    if unsynced > _SYNC_EVERY:
                        _sync(file.fileno(), file.flush)
                        unsynced = 0
                    self._pace(len(chunk))
            finally:
                _sync(file.fileno(), file.flush)
        return begun

    def _stream(self, url: str, start: int) -> Iterator[tuple[int, bytes]]:
        """Chunks with the offset each belongs to."""
        deadline = time.monotonic() + self._longest_s
        # Identity: the length limits of TUF are those of the file, not of a packed form.
        headers = {"accept-encoding": "identity"}
        at = came = start
        if start:
            headers["range"] = f"bytes={start}-"
        try:
            with self._client.stream("GET", url, headers=headers) as reply:
                if reply.status_code >= 400:
                    raise tuf_errors.DownloadHTTPError(
                        f"{url}: HTTP {reply.status_code}", reply.status_code
                    )
                said = _RANGE.match(reply.headers.get("content-range", ""))
                at = int(said[1]) if reply.status_code == 206 and said else 0
                if at not in (0, start):
                    raise tuf_errors.DownloadError(f"{url}: another range than asked for")
                for chunk in reply.iter_raw(_CHUNK):
                    if time.monotonic() > deadline:
                        raise tuf_errors.SlowRetrievalError(f"{url}: over {self._longest_s:.0f} s")
                    came += len(chunk)
                    yield at, chunk
                    at += len(chunk)
        except httpx.HTTPError as error:
            if came > start or isinstance(error, httpx.RemoteProtocolError):
                raise TargetsError(f"{url}: {error}", reason="truncated") from error
            raise tuf_errors.DownloadError(f"{url}: {error}") from error


class Downloads:
    """The folder of files on their way; one user at a time (the sync thread)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove everything else: it belongs to a publication that is over."""
        wanted = set(digests)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if path.name.removesuffix(".part") not in wanted:
                path.unlink(missing_ok=True)

    def find(self, info: TargetFile, digest: str) -> Path | None:
        """A file that was brought whole before; verified again."""
        path = self._folder / digest
        if not path.exists():
            return None
        if fits(info, path):
            return path
        path.unlink()
        return None

    def part(self, digest: str) -> Path:
        """Where a file grows."""
        return self._folder / f"{digest}.part"

    def settle(self, info: TargetFile, digest: str) -> Path:
        """Verify a grown file and give it its name; durable when this returns.

        Raises:
            tuf.api.exceptions.LengthOrHashMismatchError: it is thrown away.
        """
        part, done = self.part(digest), self._folder / digest
        try:
            verify(info, part)
        except tuf_errors.LengthOrHashMismatchError:
            part.unlink()
            raise
        fsync(part)
        part.replace(done)
        fsync(self._folder)
        return done

    def bring(self, fetcher: CentralFetcher, url: str, info: TargetFile, digest: str) -> Path:
        """Fetch a file, or the rest of it.

        Raises:
            TargetsError: ``truncated``.
            tuf.api.exceptions.DownloadError: see :meth:`CentralFetcher.append`.
            tuf.api.exceptions.LengthOrHashMismatchError: wrong from its first byte on.
            OSError: the disk refuses.
        """
        part = self.part(digest)
        while True:
            if part.exists() and part.stat().st_size > info.length:
                part.unlink()
            begun = part.stat().st_size if part.exists() else 0
            try:
                if begun < info.length or not part.exists():
                    begun = fetcher.append(url, part, info.length)
            except tuf_errors.DownloadLengthMismatchError:
                part.unlink()
                raise
            except OSError as error:
                if no_room(error):  # reads need the room more than lists do
                    part.unlink(missing_ok=True)
                raise
            if part.stat().st_size < info.length:
                raise TargetsError(f"{url} is shorter than announced", reason="truncated")
            try:
                return self.settle(info, digest)
            except tuf_errors.LengthOrHashMismatchError:
                if begun == 0:
                    raise


def verify(info: TargetFile, path: Path) -> None:
    """Compare a file with the signed length and digest, piece by piece.

    Raises:
        tuf.api.exceptions.LengthOrHashMismatchError: another file.
    """
    with path.open("rb") as file:
        info.verify_length_and_hashes(file)


def fits(info: TargetFile, path: Path) -> bool:
    """Whether :func:`verify` accepts the file."""
    try:
        verify(info, path)
    except tuf_errors.LengthOrHashMismatchError:
        return False
    return True


def fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(handle: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(handle)
