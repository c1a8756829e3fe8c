"""Numbers that the options of several trainings take."""

from __future__ import annotations

import argparse
import math


def count(word: str) -> int:
    """A number of an option that must be 1 or more.

    Raises:
        ArgumentTypeError: it is not; ValueError: it is no whole number.
    """
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def amount(word: str) -> float:
    """Minutes, or a rate: more than nothing, and not without end.

    Raises:
        ArgumentTypeError: it is not; ValueError: it is no number.
    """
    number = float(word)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def share(word: str) -> float:
    """A share of a whole.

    Raises:
        ArgumentTypeError: it is not within 0 and 1; ValueError: it is no number.
    """
    number = float(word)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number
