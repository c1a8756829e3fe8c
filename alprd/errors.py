"""Errors that tell people what to do.

Hierarchy::

    AlprdError                 exit code 1
    ├── SelfTestError          4   the cryptography does not give its known answers
    ├── ConfigError            2   the configuration names something impossible
    ├── InputError             1   a file, picture, list or line that cannot be used
    ├── EnvelopeError          4   a sealed read that does not open or does not fit
    ├── SignatureError         4   a signature that does not verify
    ├── StoreError             5   the queue or a database cannot be used
    │   └── DiskFullError      5   there is no room for it
    ├── AuditError             5   the trail cannot be written, so the act must fail (R-AT-3)
    ├── RefusedError           6   a rule forbids the act (sign-on, permit, policy, training)
    ├── CameraError            7
    ├── GpsError               7
    ├── ModelError             8   a model file is missing, altered or of the wrong shape
    └── SyncError              9   central cannot be reached or answered wrongly

A message names the place (file, line, field); ``remedy`` says what to do about it. Neither may
ever contain plate text, coordinates or a person's name: both go to logs.
"""

from __future__ import annotations

import errno
from typing import Final


class AlprdError(Exception):
    """Base of every error this product raises on purpose.

    Args:
        message: what is wrong and where.
        remedy: what the reader of the message can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def diagnostics(self) -> str:
        """The message and, on a line of its own, the remedy."""
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


OTHER_USER: Final = (
    "run it as the daemon's user: sudo -u alprd alprd ...; where the daemon itself says this, give "
    "the state folder back to it: chown -R alprd:alprd /var/lib/alprd"
)
"""What to do about a file that this user may not read."""


class ConfigError(AlprdError):
    """The configuration names something impossible, unknown or unlawful."""

    exit_code = 2


class InputError(AlprdError):
    """A file, picture, list or line that cannot be used."""


class EnvelopeError(AlprdError):
    """A sealed read that does not open, or whose parts do not fit together."""

    exit_code = 4


class SelfTestError(AlprdError):
    """The cryptography of this machine does not give its known answers."""

    exit_code = 4


class SignatureError(AlprdError):
    """A signature that does not verify, or was made by an unexpected key."""

    exit_code = 4


class StoreError(AlprdError):
    """The queue or a database cannot be opened, read or written."""

    exit_code = 5


class DiskFullError(StoreError):
    """The file system of the state folder has no room left."""


def no_room(error: BaseException) -> bool:
    """Whether a write failed for want of room, however deep the cause is wrapped."""
    deeper: BaseException | None = error
    while deeper is not None:
        if isinstance(deeper, DiskFullError):
            return True
        if isinstance(deeper, OSError) and deeper.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        deeper = deeper.__cause__
    return False


class AuditError(StoreError):
    """The trail cannot be written or its chain is broken: the act must fail (R-AT-3)."""


class RefusedError(AlprdError):
    """A rule forbids the act.

    Args:
        reason: a stable code for programs and the trail, such as ``training_expired``.
    """

    exit_code = 6

    def __init__(self, message: str, *, reason: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class CameraError(AlprdError):
    """A camera that cannot be opened or gives no picture."""

    exit_code = 7


class GpsError(AlprdError):
    """A GPS source that cannot be opened or read."""

    exit_code = 7


class ModelError(AlprdError):
    """A model file that is missing, altered or of the wrong shape."""

    exit_code = 8


class SyncError(AlprdError):
    """Central cannot be reached, refused, or answered what cannot be verified."""

    exit_code = 9
