"""Why a publication is not taken: a stable code each, and what a person does about it.

Whatever the reason, the set in use stays in use and on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tuf.api import exceptions as tuf_errors

from alprd.errors import StoreError, SyncError

Reason = Literal[
    "unreachable", "truncated", "endless", "slow", "damaged", "clock", "missing", "undecryptable",
    "source", "unsigned", "tampered", "expired", "rollback", "wrong-car", "schema",
    "locked", "mixed", "forbidden",
]  # fmt: skip

_STAYS: Final = "the set in use stays"
REMEDIES: Final[dict[Reason, str]] = {
    "unreachable": f"{_STAYS}; check the dock's network and that central runs",
    "truncated": f"{_STAYS}; the next pass goes on where this one ended",
    "slow": f"{_STAYS}; the next pass goes on where this one ended; look at the dock's network",
    "endless": f"{_STAYS}; somebody answers in central's place, or its disk is damaged: look there",
    "damaged": f"{_STAYS}; something else than central answered, or a disk is damaged",
    "clock": "wait for a GPS fix, or set the system clock",
    "missing": f"{_STAYS}; publish again at central",
    "undecryptable": f"{_STAYS}; publish again at central; if it comes back, enrol the car again",
    "source": f"{_STAYS}; allow the source in the policy at central, or publish without that list",
    "unsigned": f"{_STAYS}; run `alprd-central tuf status` and publish again; if it comes back, "
    "somebody signs without the right keys: report it",
    "tampered": f"{_STAYS}; publish again at central; if it comes back, somebody alters lists on "
    "the way: report it",
    "expired": f"{_STAYS}; publish at central, and check the clocks of car and central",
    "rollback": f"{_STAYS}; central offers something older than it did before: if it was restored "
    "from a backup, publish until its versions are past those; else report it",
    "mixed": f"{_STAYS}; central's files belong to different publications: publish again; if it "
    "comes back, report it",
    "forbidden": f"{_STAYS}; ask the administrator whether this car was revoked",
    "wrong-car": f"{_STAYS}; publish again at central; if it comes back, enrol the car again",
    "locked": "dock the car, or sign on as someone who has used this car",
    "schema": f"{_STAYS}; bring car and central to the same version, and publish again",
}


class TargetsError(SyncError):
    """A publication that the car does not take; the old set stays.

    Args:
        reason: stable code, a key of :data:`REMEDIES`.
    """

    def __init__(self, message: str, *, reason: Reason, remedy: str = "") -> None:
        super().__init__(f"lists refused ({reason}): {message}", remedy=remedy or REMEDIES[reason])
        self.reason: Final = reason


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Each way a publication can be wrong gets its own reason.

    Raises:
        TargetsError: with the reason.
        StoreError: the disk, at ``place`` or where the error says.
    """
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        raise TargetsError(str(error), reason=_reason_of(error)) from error
    except FileNotFoundError as error:
        raise TargetsError(f"{error.filename} is gone", reason="damaged") from error
    except OSError as error:
        raise StoreError(
            f"{error.filename or place}: {error.strerror}",
            remedy="check free space and owner of the state folder",
        ) from error


_REASONS: Final[tuple[tuple[type[Exception], Reason], ...]] = (
    (tuf_errors.DownloadLengthMismatchError, "endless"),
    (tuf_errors.SlowRetrievalError, "slow"),
    (tuf_errors.DownloadError, "unreachable"),
    (tuf_errors.ExpiredMetadataError, "expired"),
    (tuf_errors.UnsignedMetadataError, "unsigned"),
    (tuf_errors.LengthOrHashMismatchError, "tampered"),
    (tuf_errors.BadVersionNumberError, "rollback"),
    (Exception, "damaged"),
)


def _reason_of(error: Exception) -> Reason:
    if isinstance(error, tuf_errors.DownloadHTTPError) and error.status_code in (401, 403):
        return "forbidden"
    # One exception for two things: less than the car has seen ("New … must be >= …"), and not
    # what the file above it names ("Expected … version …, got …").
    if isinstance(error, tuf_errors.BadVersionNumberError) and str(error).startswith("Expected"):
        return "mixed"
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))
