"""Options that more than one benchmark takes."""

from __future__ import annotations

import argparse


def count(word: str) -> int:
    """A number that must be 1 or more.

    Raises:
        ArgumentTypeError: it is not; ValueError: it is no number.
    """
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
