"""The car's local copy of what central publishes: fetched through TUF, kept whole, swapped as one.

``tuf.ngclient`` verifies signatures, versions, expiry and hashes over mutual TLS. This module adds
the *set*: metadata and files of one publication, made complete beside the active one and put in
its place by one rename, so that a power cut in any phase leaves a whole set. Nothing is opened
here: ``.bin`` files stay encrypted on the disk.

Layout below ``<state>/targets/``::

    downloads/           files on their way (:mod:`alprd.downloads`)
    metadata/            what ngclient trusts now: protects from rollback, even when a set fails
    sets/<n>/roots/      root metadata as chained from the enrolment's first root
    sets/<n>/            timestamp.json, snapshot.json, targets.json of one verified publication
    sets/<n>/files/      its targets, named by their SHA-256
    active               link to sets/<n>; replaced by rename, so it is the old or the new

A cold boot without contact reads ``active`` again: the same signatures and hashes, without the
expiry dates (TUF's expiry governs acceptance; a list's own age governs its use, R-460.4.1-b4).

What is refused, and why, is told by :mod:`alprd.refusals`. Downloads go on where they broke off
(:mod:`alprd.downloads`). A list may come as a delta to the one in use (:mod:`alprd.patching`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from alprd.crypto import write_secret
from alprd.downloads import CentralFetcher, Downloads, Pace, fits, fsync, verify
from alprd.refusals import Reason, TargetsError, translated
from alprd.signedset import METADATA, verify_set
from alprd.trust import Trust

__all__ = ["CentralFetcher", "Mirror", "Reason", "SetFile", "TargetsError"]

_CONFIG: Final = UpdaterConfig(max_delegations=1)


@dataclass(frozen=True, slots=True)
class SetFile:
    """A target of a set, as the signed metadata names it."""

    name: str
    path: Path
    info: TargetFile

    @property
    def sha256(self) -> str:
        """Digest of the file, hex."""
        return file_name(self.info)

    def read(self) -> bytes:
        """The bytes of a small target, verified.

        Raises:
            tuf.api.exceptions.LengthOrHashMismatchError: altered on the disk.
        """
        data = self.path.read_bytes()
        self.info.verify_length_and_hashes(data)
        return data


Needed = Callable[[Mapping[str, TargetFile]], list[str]]
"""Names of the targets a car needs, out of those published; what others are opened with first."""
Fetch = Callable[[str], bytes | None]
"""Brings another published, small target; None when it is not published."""
Rebuild = Callable[[SetFile, Path, Mapping[str, SetFile], Mapping[str, SetFile], Fetch], bool]
"""Tries to make a target (first) at a path (second) out of the active set (third), the files of the
new set that are there (fourth) and a delta; whether it did. The result is verified afterwards."""


class Mirror:
    """The local copy; one user at a time (the sync thread)."""

    def __init__(self, trust: Trust, needed: Needed, rebuild: Rebuild | None = None) -> None:
        self._trust = trust
        self._needed = needed
        self._rebuild = rebuild
        self._home = trust.state_dir / "targets"
        self._downloads = Downloads(self._home / "downloads")
        self._updater: Updater | None = None
        self._fetcher: CentralFetcher | None = None
        self.rebuilt: tuple[str, ...] = ()
        """Targets that the last download made out of deltas."""

    @property
    def active(self) -> Path | None:
        """Folder of the active set; None before the first."""
        link = self._home / "active"
        return link if link.exists() else None

    def refresh(self, client: httpx.Client, pace: Pace = lambda size: None) -> bool:
        """Bring the trusted metadata up to date; whether it differs from the active set's.

        Args:
            pace: limits the rate of the downloads that follow.

        Raises:
            TargetsError: with the reason.
            StoreError: the disk cannot be written.
        """
        self._updater = None
        with translated(self._home):
            metadata = self._home / "metadata"
            metadata.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remember(metadata)
            self._fetcher = CentralFetcher(client, pace=pace)
            updater = Updater(
                str(metadata),
                f"{self._trust.central_url}/tuf/metadata/",
                fetcher=self._fetcher,
                config=_CONFIG,
                bootstrap=self._trust.tuf_root,
            )
            updater.refresh()
            self._updater = updater
            # The timestamp is renewed often without news; what is published is in targets.json.
            active = self._home / "active" / "targets.json"
            new = (metadata / "targets.json").read_bytes()
            return not active.exists() or active.read_bytes() != new

    def _remember(self, metadata: Path) -> None:
        """Give ngclient back what a power cut took from it, so that no older version passes.

        ngclient replaces its files by rename but does not sync them, and it takes a damaged one for
        none. The active set is synced; what it holds was verified and is never to be undercut.
        """
        active = self._home / "active"
        for name in METADATA:
            if not (active / name).exists():
                continue
            known = (active / name).read_bytes()
            try:
                present = Metadata.from_bytes((metadata / name).read_bytes())
                if present.signed.version >= Metadata.from_bytes(known).signed.version:
                    continue
            except (OSError, tuf_errors.RepositoryError):
                pass
            write_secret(metadata / name, known)

    def download(self) -> Path:
        """Make the set that :meth:`refresh` announced complete beside the active one.

        Unchanged files are hard-linked from the active set. Returns a folder that must be given
        to :meth:`activate` or :meth:`discard`. What was fetched is kept in any case, for the next
        time.

        Raises:
            TargetsError: with the reason; the set is not there.
            StoreError: the disk cannot be written.
        """
        if self._updater is None or self._fetcher is None:
            raise TargetsError("nothing was announced", reason="unreachable")
        with translated(self._home):
            metadata, sets = self._home / "metadata", self._home / "sets"
            sets.mkdir(mode=0o700, exist_ok=True)
            for left in sets.glob("new-*"):  # of a power cut
                shutil.rmtree(left, ignore_errors=True)
            new = Path(tempfile.mkdtemp(prefix="new-", dir=sets))
            try:
                for folder, files in (
                    (new, [metadata / name for name in METADATA]),
                    (new / "roots", list((metadata / "root_history").glob("*.root.json"))),
                ):
                    folder.mkdir(exist_ok=True)
                    for file in files:
                        shutil.copyfile(file, folder / file.name)
                        fsync(folder / file.name)
                (new / "files").mkdir()
                self._fill(verify_set(self._trust.tuf_root, new).targets, new / "files")
                for folder in (new / "files", new / "roots", new):
                    fsync(folder)
            except BaseException:
                self.discard(new)
                raise
            return new

    def _fill(self, published: Mapping[str, TargetFile], folder: Path) -> None:
        """Bring every needed target into a folder."""
        wanted = [_set_file(name, published, folder) for name in self._needed(published)]
        self._downloads.keep_only(
            {file.sha256 for file in wanted} | {_digest(info) for info in published.values()}
        )
        active = self._active_files()
        made: dict[str, SetFile] = {}
        rebuilt: list[str] = []
        for file in wanted:
            if not self._at_hand(file):
                if self._patched(file, active, made, published):
                    rebuilt.append(file.name)
                else:
                    os.link(self._fetch(file.name, file.info), file.path)
            made[file.name] = file
        self.rebuilt = tuple(rebuilt)

    def _at_hand(self, file: SetFile) -> bool:
        """Take a file that lies in the active set, or that an earlier pass brought."""
        if file.path.exists():
            return True
        kept = self._home / "active" / "files" / file.path.name
        if kept.exists():
            if fits(file.info, kept):
                os.link(kept, file.path)
                return True
            kept.unlink()  # rotten on the disk: fetch it again
        brought = self._downloads.find(file.info, file.sha256)
        if brought is not None:
            os.link(brought, file.path)
        return brought is not None

    def _patched(
        self,
        file: SetFile,
        active: Mapping[str, SetFile],
        made: Mapping[str, SetFile],
        published: Mapping[str, TargetFile],
    ) -> bool:
        """Whether the target could be made out of the old one and a delta."""

        def fetch(name: str) -> bytes | None:
            info = published.get(name)
            if info is None:
                return None
            return self._fetch(name, info).read_bytes()

        part = self._downloads.part(file.sha256)
        if self._rebuild is None or part.exists():  # the whole one is on its way already
            return False
        try:
            if not self._rebuild(file, part, active, made, fetch):
                part.unlink(missing_ok=True)
                return False
            os.link(self._downloads.settle(file.info, file.sha256), file.path)
        except tuf_errors.LengthOrHashMismatchError:
            return False
        except BaseException:
            part.unlink(missing_ok=True)  # no beginning of a download
            raise
        return True

    def _fetch(self, name: str, info: TargetFile) -> Path:
        """A published target, brought by this or an earlier pass."""
        if self._fetcher is None:
            raise TargetsError("nothing was announced", reason="unreachable")
        digest = _digest(info)
        found = self._downloads.find(info, digest)
        if found is not None:
            return found
        url = f"{self._trust.central_url}/tuf/targets/{digest}.{name}"
        return self._downloads.bring(self._fetcher, url, info, digest)

    def _active_files(self) -> dict[str, SetFile]:
        """The targets of the active set; none when it cannot be read."""
        active = self._home / "active"
        try:
            data = (active / "targets.json").read_bytes()
            published = Metadata[Targets].from_bytes(data).signed.targets
            return {name: _set_file(name, published, active / "files") for name in published}
        except (OSError, tuf_errors.RepositoryError):
            return {}

    def read(self, folder: Path) -> tuple[str, dict[str, SetFile]]:
        """Version and files of a set, verified from the enrolment's root down without contact.

        Raises:
            TargetsError: altered, incomplete, or of different publications.
        """
        with translated(folder):
            targets = verify_set(self._trust.tuf_root, folder)
            files = {
                name: _set_file(name, targets.targets, folder / "files")
                for name in self._needed(targets.targets)
            }
            for file in files.values():
                verify(file.info, file.path)
            return str(targets.version), files

    def activate(self, new: Path) -> None:
        """Make a set the active one: rename, then replace the link, each durable."""
        with translated(self._home):
            sets = self._home / "sets"
            numbers = [int(path.name) for path in sets.iterdir() if path.name.isdigit()]
            final = sets / str(max(numbers, default=0) + 1)
            new.rename(final)
            fsync(sets)
            link = self._home / ".active.new"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("sets") / final.name)
            link.replace(self._home / "active")
            fsync(self._home)
            for other in sets.iterdir():
                if other != final:
                    shutil.rmtree(other, ignore_errors=True)
            self._downloads.keep_only(())

    @staticmethod
    def discard(new: Path) -> None:
        """Remove a set that is not to become active."""
        shutil.rmtree(new, ignore_errors=True)


def file_name(info: TargetFile) -> str:
    """Name of a target's file in a set: its SHA-256.

    Raises:
        tuf.api.exceptions.RepositoryError: the metadata names none.
    """
    digest = _digest(info)
    if len(digest) != 64 or not digest.isalnum():
        raise tuf_errors.RepositoryError(f"{info.path} has no SHA-256")
    return digest


def _digest(info: TargetFile) -> str:
    return info.hashes.get("sha256", "")


def _set_file(name: str, published: Mapping[str, TargetFile], folder: Path) -> SetFile:
    info = published.get(name)
    if info is None:
        raise TargetsError(f"{name} is not published", reason="missing")
    return SetFile(name, folder / file_name(info), info)
