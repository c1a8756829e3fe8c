"""Models of the public hubs by their names: whose file it is, and one pinned copy of it on disk.

The names and addresses are those of the installed ``fast-plate-ocr`` (OCR) and, where it is
installed, ``open-image-models`` (detectors). The fetching is ours: theirs waits without end,
draws a progress bar into the journal and checks nothing. A file counts only if its SHA-256 is the
pinned one, so an altered release, a proxy's error page and a torn transfer are all refused; the
sum is part of the file's name, so a new pin never collides with the file of an old one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import httpx

from alprd.errors import ModelError
from alprd.models import digest

log = logging.getLogger(__name__)

MAX_BYTES: Final = 300_000_000
"""No plate model is near this size: what is longer is not one."""
SILENCE_S: Final = 20.0
"""Longest wait for a connection or for the next bytes."""
DEADLINE_S: Final = 600.0
"""Longest time for one file, however steadily it trickles in."""


def ocr_hub() -> dict[str, tuple[str, str]]:
    """For each OCR name of fast-plate-ocr the addresses of its ONNX file and its YAML."""
    from fast_plate_ocr.inference.hub import AVAILABLE_ONNX_MODELS

    return {str(name): addresses for name, addresses in AVAILABLE_ONNX_MODELS.items()}


def detector_hub() -> dict[str, str]:
    """For each plate detector of open-image-models the address of its ONNX file.

    Raises:
        ModelError: open-image-models is not installed, or is too old to have the table.
    """
    try:
        from open_image_models.detection.core.hub import DETECTION_MODELS
    except ImportError as error:
        raise ModelError(
            "[detector] model: a hub name needs the package open-image-models 0.6 or newer, "
            "which is not installed",
            remedy="install alprd with its extra 'hub': pip install 'alprd[hub]'; or give "
            "[detector] model the path of an ONNX file",
        ) from error
    # The hub has detectors of eighty kinds of things too, in another layout.
    return {name: spec.url for name, spec in DETECTION_MODELS.items() if spec.backend == "yolo_v9"}


def place(address: str, folder: Path, sha256: str) -> Path:
    """Where the file of ``address`` with this sum lies in ``folder``, fetched or not."""
    name = PurePosixPath(urlsplit(address).path)
    return folder / f"{name.stem}-{sha256[:16]}{name.suffix}"


def obtain(address: str, folder: Path, sha256: str, *, key: str, fetch: bool = True) -> Path:
    """The file of ``address`` with the SHA-256 ``sha256``: the copy in ``folder``, else fetched.

    The copy is verified every time; a damaged one is deleted and fetched again.

    Args:
        address: http(s) address of the file; redirections are followed.
        folder: made if it is missing.
        sha256: 64 hex digits that the file must have.
        key: what in the configuration asks for it, for messages.
        fetch: False only looks, and changes nothing.

    Raises:
        ModelError: it is not there and cannot be fetched, or is not the pinned file.
    """
    path = place(address, folder, sha256)
    remedy = (
        f"fetch {address} on a machine with internet, compare its sum, and copy it to {path}; "
        'or set model = "shipped"'
    )
    try:
        if path.is_file():
            if digest(path) == sha256:
                return path
            if not fetch:
                raise ModelError(f"{key}: {path} is damaged", remedy="start alprd, or: " + remedy)
            log.warning("%s: %s is damaged, and deleted", key, path.name)
            path.unlink()
        elif not fetch:
            raise ModelError(
                f"{key}: {path} has not been fetched yet",
                remedy="run 'alprd models --config FILE' where there is internet; or " + remedy,
            )
        for missing in [part for part in (folder, *folder.parents) if not part.exists()][::-1]:
            missing.mkdir(mode=0o700, exist_ok=True)  # of the state folder, which is nobody else's
        temporary = path.with_name(f".{path.name}.part")
        try:
            got = _download(address, temporary, key=key)
            if got != sha256:
                raise ModelError(
                    f"{key}: what {address} gives has SHA-256 {got}, but {sha256} is pinned; "
                    "it was deleted",
                    remedy="find out why before pinning another sum: the file was changed, or "
                    "something on the way answered in its place",
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelError(
            f"{key}: {address} cannot be fetched: {_reason(error)}", remedy=remedy
        ) from error
    except OSError as error:
        raise ModelError(
            f"{key}: {path}: {error.strerror}",
            remedy="give the user that runs alprd the folder, and room on the disk",
        ) from error
    log.info("%s: fetched %s", key, path.name)
    return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _download(address: str, temporary: Path, *, key: str) -> str:
    """Write what ``address`` gives to ``temporary``; its SHA-256."""
    began = time.monotonic()
    running = hashlib.sha256()
    size = 0
    with (
        httpx.stream("GET", address, follow_redirects=True, timeout=SILENCE_S) as answer,
        open(temporary, "wb", opener=_private) as out,
    ):
        answer.raise_for_status()
        for part in answer.iter_bytes():
            size += len(part)
            if size > MAX_BYTES or time.monotonic() - began > DEADLINE_S:
                raise ModelError(
                    f"{key}: {address} gives more than {MAX_BYTES // 10**6} MB"
                    if size > MAX_BYTES
                    else f"{key}: {address} did not come within {DEADLINE_S:.0f} s",
                    remedy="fetch it elsewhere and give the path of the file as model",
                )
            running.update(part)
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    return running.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answers {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {SILENCE_S:.0f} s"
    return f"{error or type(error).__name__}"
