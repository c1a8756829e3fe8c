"""Options that more than one benchmark takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from alprd.errors import InputError


def count(word: str) -> int:
    """A number that must be 1 or more.

    Raises:
        ArgumentTypeError: it is not; ValueError: it is no number.
    """
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def writable(path: Path) -> None:
    """Find out before the minutes of work whether ``--json`` ``path`` can be written.

    Raises:
        InputError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()  # touch says nothing of a folder
    except OSError as error:
        raise InputError(f"--json {path} cannot be written: {error.strerror}") from error
