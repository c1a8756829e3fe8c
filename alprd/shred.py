"""Destroying files: overwritten, brought to the disk, truncated, unlinked (R-CJIS-5).

On an SSD the overwriting may go to other cells than the data lay in; ``docs/secrets.md`` says what
a remnant of each kind is worth.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from alprd.errors import StoreError

METHOD: Final = "overwritten with random bytes, synced, truncated, unlinked; folder synced"
_BLOCK: Final = 1 << 20


def destroy(path: Path) -> None:
    """Overwrite, sync, truncate and unlink a file; a folder with all that is in it.

    Links are unlinked and never followed. Nothing happens when it is not there.

    Raises:
        StoreError: it cannot be written or unlinked.
    """
    try:
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            for inner in sorted(path.iterdir()):
                destroy(inner)
            path.rmdir()
        elif path.exists():
            _overwrite(path)
            path.unlink()
        else:
            return
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be destroyed: {error.strerror}",
            remedy="make the disk writable and start alprd again, or destroy the disk",
        ) from error


def _overwrite(path: Path) -> None:
    with contextlib.suppress(PermissionError):
        path.chmod(0o600)
    with path.open("r+b", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            written = file.write(os.urandom(min(left, _BLOCK)))
            left -= written or 0
        os.fsync(file.fileno())
        file.truncate(0)
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
