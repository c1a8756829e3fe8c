"""The car's local copy of what central publishes: fetched through TUF, kept whole, swapped as one.

``tuf.ngclient`` verifies signatures, versions, expiry and hashes over mutual TLS. This module adds
the *set*: metadata and files of one publication, made complete beside the active one and put in
its place by one rename, so that a power cut in any phase leaves a whole set. Nothing is opened
here: ``.bin`` files stay encrypted on the disk.

Layout below ``<state>/targets/``::

    metadata/            what ngclient trusts now: protects from rollback, even when a set fails
    sets/<n>/roots/      root metadata as chained from the enrolment's first root
    sets/<n>/            timestamp.json, snapshot.json, targets.json of one verified publication
    sets/<n>/files/      its targets, named by their SHA-256
    active               link to sets/<n>; replaced by rename, so it is the old or the new

A cold boot without contact reads ``active`` again: the same signatures and hashes, without the
expiry dates (TUF's expiry governs acceptance; a list's own age governs its use, R-460.4.1-b4).

What is refused, and by which ``TargetsError.reason``::

    unreachable     no answer, or an HTTP error            unsigned   too few good signatures
    truncated       the connection ended in mid-file       tampered   length or hash differs
    endless         more bytes than announced              expired    metadata past its date
    damaged         metadata that is not TUF               rollback   an older version than trusted,
    clock           system clock disagrees                            or parts of two publications
    missing         a target the car needs is not there    wrong-car  of another vehicle or agency
    undecryptable   wrapped or encrypted for another       schema     does not fit its closed schema
    source          a list the policy does not allow
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from alprd.errors import StoreError, SyncError
from alprd.trust import Trust

Reason = Literal[
    "unreachable", "truncated", "endless", "damaged", "clock", "missing", "undecryptable", "source",
    "unsigned", "tampered", "expired", "rollback", "wrong-car", "schema",
]  # fmt: skip
Needed = Callable[[Mapping[str, TargetFile]], list[str]]
"""Names of the targets a car needs, out of those published."""

_METADATA: Final = ("timestamp.json", "snapshot.json", "targets.json")
_LONGEST_S: Final = 600.0
"""Longest time one file may take: a server that drips bytes must not hold the dock for ever."""
_CHUNK: Final = 65_536
_CONFIG: Final = UpdaterConfig(max_delegations=1)


class TargetsError(SyncError):
    """A publication that the car does not take; the old set stays.

    Args:
        reason: stable code, see the table in the module's docstring.
    """

    def __init__(self, message: str, *, reason: Reason, remedy: str = "") -> None:
        super().__init__(
            f"lists refused ({reason}): {message}",
            remedy=remedy or "the set in use stays; publish again at central",
        )
        self.reason: Final = reason


class CentralFetcher(FetcherInterface):
    """ngclient's downloads over the car's mutually authenticated connection."""

    def __init__(self, client: httpx.Client, *, longest_s: float = _LONGEST_S) -> None:
        self._client = client
        self._longest_s = longest_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        deadline = time.monotonic() + self._longest_s
        try:
            # Identity: the length limits of TUF are those of the file, not of a packed form.
            with self._client.stream("GET", url, headers={"accept-encoding": "identity"}) as reply:
                if reply.status_code >= 400:
                    raise tuf_errors.DownloadHTTPError(
                        f"{url}: HTTP {reply.status_code}", reply.status_code
                    )
                for chunk in reply.iter_raw(_CHUNK):
                    if time.monotonic() > deadline:
                        raise tuf_errors.SlowRetrievalError(f"{url}: over {self._longest_s:.0f} s")
                    yield chunk
        except httpx.RemoteProtocolError as error:
            raise TargetsError(f"{url}: {error}", reason="truncated") from error
        except httpx.HTTPError as error:
            raise tuf_errors.DownloadError(f"{url}: {error}") from error


class Mirror:
    """The local copy; one user at a time (the sync thread)."""

    def __init__(self, trust: Trust, needed: Needed) -> None:
        self._trust = trust
        self._needed = needed
        self._home = trust.state_dir / "targets"
        self._updater: Updater | None = None

    @property
    def active(self) -> Path | None:
        """Folder of the active set; None before the first."""
        link = self._home / "active"
        return link if link.exists() else None

    def refresh(self, client: httpx.Client) -> bool:
        """Bring the trusted metadata up to date; whether it differs from the active set's.

        Raises:
            TargetsError: with the reason.
            StoreError: the disk cannot be written.
        """
        self._updater = None
        with _translated(self._home):
            metadata = self._home / "metadata"
            metadata.mkdir(mode=0o700, parents=True, exist_ok=True)
            updater = Updater(
                str(metadata),
                f"{self._trust.central_url}/tuf/metadata/",
                target_base_url=f"{self._trust.central_url}/tuf/targets/",
                fetcher=CentralFetcher(client),
                config=_CONFIG,
                bootstrap=self._trust.tuf_root,
            )
            updater.refresh()
            self._updater = updater
            # The timestamp is renewed often without news; what is published is in targets.json.
            active = self._home / "active" / "targets.json"
            new = (metadata / "targets.json").read_bytes()
            return not active.exists() or active.read_bytes() != new

    def download(self) -> Path:
        """Make the set that :meth:`refresh` announced complete beside the active one.

        Unchanged files are hard-linked from the active set. Returns a folder that must be given
        to :meth:`activate` or :meth:`discard`.

        Raises:
            TargetsError: with the reason; nothing is left behind.
            StoreError: the disk cannot be written.
        """
        if self._updater is None:
            raise TargetsError("nothing was announced", reason="unreachable")
        with _translated(self._home):
            metadata, sets = self._home / "metadata", self._home / "sets"
            sets.mkdir(mode=0o700, exist_ok=True)
            new = Path(tempfile.mkdtemp(prefix="new-", dir=sets))
            try:
                for folder, files in (
                    (new, [metadata / name for name in _METADATA]),
                    (new / "roots", list((metadata / "root_history").glob("*.root.json"))),
                ):
                    folder.mkdir(exist_ok=True)
                    for file in files:
                        shutil.copyfile(file, folder / file.name)
                        _fsync(folder / file.name)
                (new / "files").mkdir()
                published = _verify_set(self._trust.tuf_root, new).targets
                for name in self._needed(published):
                    self._bring(self._updater, name, new / "files")
                for folder in (new / "files", new / "roots", new):
                    _fsync(folder)
            except BaseException:
                self.discard(new)
                raise
            return new

    def _bring(self, updater: Updater, name: str, folder: Path) -> None:
        info = updater.get_targetinfo(name)
        if info is None:
            raise TargetsError(f"{name} is not published", reason="missing")
        path = folder / _file_name(info)
        kept = self._home / "active" / "files" / path.name
        if kept.exists():
            try:
                info.verify_length_and_hashes(kept.read_bytes())
                os.link(kept, path)
                return
            except tuf_errors.LengthOrHashMismatchError:
                kept.unlink()  # rotten on the disk: fetch it again
        updater.download_target(info, str(path))
        _fsync(path)

    def read(self, folder: Path) -> tuple[str, dict[str, bytes]]:
        """Version and files of a set, verified from the enrolment's root down without contact.

        Raises:
            TargetsError: altered, incomplete, or of different publications.
        """
        with _translated(folder):
            targets = _verify_set(self._trust.tuf_root, folder)
            files: dict[str, bytes] = {}
            for name in self._needed(targets.targets):
                info = targets.targets.get(name)
                if info is None:
                    raise TargetsError(f"{name} is not published", reason="missing")
                data = (folder / "files" / _file_name(info)).read_bytes()
                info.verify_length_and_hashes(data)
                files[name] = data
            return str(targets.version), files

    def activate(self, new: Path) -> None:
        """Make a set the active one: rename, then replace the link, each durable."""
        with _translated(self._home):
            sets = self._home / "sets"
            numbers = [int(path.name) for path in sets.iterdir() if path.name.isdigit()]
            final = sets / str(max(numbers, default=0) + 1)
            new.rename(final)
            _fsync(sets)
            link = self._home / ".active.new"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("sets") / final.name)
            link.replace(self._home / "active")
            _fsync(self._home)
            for other in sets.iterdir():
                if other != final:
                    shutil.rmtree(other, ignore_errors=True)

    @staticmethod
    def discard(new: Path) -> None:
        """Remove a set that is not to become active."""
        shutil.rmtree(new, ignore_errors=True)


# --- pure helpers -------------------------------------------------------------------------------

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


def _verify_set(first_root: bytes, folder: Path) -> Targets:
    """Signatures of a stored set, first root → … → targets, as TUF's client workflow has them.

    Versions and hashes must fit together; expiry is left out on purpose (see the module).
    """
    root = _signed(None, Root, first_root)
    while (path := folder / "roots" / f"{root.version + 1}.root.json").exists():
        data = path.read_bytes()
        following = _signed(root, Root, data)
        if following.version != root.version + 1:
            raise tuf_errors.BadVersionNumberError(f"{path.name} has another version inside")
        root = _signed(following, Root, data)
    timestamp_data, snapshot_data, targets_data = (
        (folder / name).read_bytes() for name in _METADATA
    )
    timestamp = _signed(root, Timestamp, timestamp_data)
    timestamp.snapshot_meta.verify_length_and_hashes(snapshot_data)
    snapshot = _signed(root, Snapshot, snapshot_data)
    meta = snapshot.meta["targets.json"]
    meta.verify_length_and_hashes(targets_data)
    targets = _signed(root, Targets, targets_data)
    if (snapshot.version, targets.version) != (timestamp.snapshot_meta.version, meta.version):
        raise tuf_errors.BadVersionNumberError("stored metadata is of different publications")
    return targets


def _signed(root: Root | None, kind: type[_S], data: bytes) -> _S:
    """Metadata of a kind, after checking who signed it; the first root vouches for itself."""
    metadata = Metadata[_S].from_bytes(data)
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise tuf_errors.RepositoryError(f"metadata is not of type {kind.type}")
    by = root or signed
    if not isinstance(by, Root):
        raise tuf_errors.RepositoryError("metadata without a root")
    by.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    return signed


def _file_name(info: TargetFile) -> str:
    digest = info.hashes.get("sha256", "")
    if len(digest) != 64 or not digest.isalnum():
        raise tuf_errors.RepositoryError(f"{info.path} has no SHA-256")
    return digest


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    """Each way a publication can be wrong gets its own reason."""
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        raise TargetsError(
            str(error), reason=next(r for kind, r in _REASONS if isinstance(error, kind))
        ) from error
    except FileNotFoundError as error:
        raise TargetsError(f"{error.filename} is gone", reason="damaged") from error
    except OSError as error:
        raise StoreError(
            f"{error.filename or place}: {error.strerror}",
            remedy="check free space and owner of the state folder",
        ) from error


_REASONS: Final[tuple[tuple[type[Exception], Reason], ...]] = (
    (tuf_errors.DownloadLengthMismatchError, "endless"),
    (tuf_errors.DownloadError, "unreachable"),
    (tuf_errors.ExpiredMetadataError, "expired"),
    (tuf_errors.UnsignedMetadataError, "unsigned"),
    (tuf_errors.LengthOrHashMismatchError, "tampered"),
    (tuf_errors.BadVersionNumberError, "rollback"),
    (Exception, "damaged"),
)
