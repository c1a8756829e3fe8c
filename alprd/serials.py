"""O or 0: what the serial says where the picture cannot (ADR 0035).

Many plates are stamped with dies that draw O and 0 alike. A state numbers its plates in a few
orders of letters and digits ("AAA999"), so the other characters mostly say which of the two stands
in a place. `serials.json` holds how often each order was seen on the plates of each state, and how
often a letter was O, a digit 0 (written by `python -m training.serials` from labelled plates,
counts only). I and 1 are left to the picture: most plates draw them apart, and people choose 1 for
I in words, where an order misleads (four validation plates were lost by it and none won).

The decision is Bayes' rule over all spellings of the doubtful places: what the picture gives,
bounded because alike dies are no evidence however sure the network is, times how common the order
is, mixed over the states that the plate may be of. Only how a pair's probability is shared between
its two characters changes: a place stays as sure or unsure as it was of being one of the two.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from alprd.errors import ModelError
from alprd.models import FOLDER
from alprd.ocr import CHARACTERS, Probabilities

FILE: Final = FOLDER / "serials.json"
TWINS: Final = {"O": "0", "0": "O", "I": "1", "1": "I"}
"""Characters that many plates do not tell apart."""
ORDERED: Final = ("O", "0")
"""Those between which the order of the serial has a say."""
_ONE_SHAPE: Final = str.maketrans("OI", "01")
MOST_PLACES: Final = 5
"""Doubtful places weighed against each other; the rest keep what the picture gives."""
PICTURE: Final = 0.98
"""The most that a picture says for one of two twins: 49 to 1."""
_LIKELY: Final = 0.02
"""States less likely than this are not asked."""
_PRIOR_PLATES: Final = 20.0
"""A state's own orders weigh as much as the whole country's once so many plates were seen."""
ISSUED: Final = 0.005
"""Share of the country's plates from which an order counts as one that is issued in series."""
_RARE: Final = 0.2
"""Plates that an order never seen counts for, in the whole country."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Plates by order, and characters by what decides between twins."""

    orders: Mapping[str, float]
    plates: float
    letters: float
    digits: float
    twins: Mapping[str, float]
    """Of the letters those that are O, of the digits those that are 0."""


class Serials:
    """The orders of serials by state.

    Raises:
        ModelError: the table is malformed.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        try:
            states = {
                str(state): _Counts(
                    {str(k): float(v) for k, v in row["orders"].items()},
                    float(sum(row["orders"].values())),
                    float(row["letters"]),
                    float(row["digits"]),
                    {char: float(row[char]) for char in ORDERED},
                )
                for state, row in table.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{FILE.name} is malformed: {error}", remedy="install the package again"
            ) from error
        self._states = states
        self._all = _together(list(states.values()))

    def decide(self, text: str, places: Probabilities, weights: Mapping[str, float]) -> str:
        """``text`` with each O and 0 as the serial and the picture together have it.

        ``places`` (characters, 37) is changed in place: the probability of a pair is shared anew
        between its two characters.

        Args:
            text: the likeliest character of each place.
            places: distributions over the characters.
            weights: probability of each state (USPS code) that the plate may be of; what is
                missing to 1 may be of any.
        """
        doubtful = [n for n, char in enumerate(text) if char in ORDERED]
        if not doubtful:
            return text
        pairs = {n: _pair(text[n], places[n]) for n in doubtful}
        doubtful.sort(key=lambda n: max(pairs[n].values()))
        doubtful = doubtful[:MOST_PLACES]
        states = [(s, w) for s, w in weights.items() if w >= _LIKELY and s in self._states]
        rest = max(0.0, 1.0 - sum(w for _, w in states))
        total = dict.fromkeys(((n, c) for n in doubtful for c in pairs[n]), 0.0)
        for spelling in itertools.product(*(pairs[n] for n in doubtful)):
            chars = list(text)
            seen = 1.0
            for n, char in zip(doubtful, spelling, strict=True):
                chars[n] = char
                seen *= pairs[n][char]
            order = order_of("".join(chars))
            prior = rest * self._prior(self._all, order, spelling)
            prior += sum(w * self._prior(self._states[s], order, spelling) for s, w in states)
            for n, char in zip(doubtful, spelling, strict=True):
                total[n, char] += seen * prior
        decided = list(text)
        for n in doubtful:
            mass = sum(places[n, CHARACTERS.index(char)] for char in pairs[n])
            shares = {char: total[n, char] for char in pairs[n]}
            for char, share in shares.items():
                places[n, CHARACTERS.index(char)] = mass * share / sum(shares.values())
            decided[n] = max(shares, key=lambda char: (shares[char], char == text[n]))
        return "".join(decided)

    def issued(self, text: str) -> bool:
        """Whether plates are numbered in the order of ``text`` somewhere, not by people's choice.

        Letters alone are a word; an order that hardly any plate has is a word with a digit in it.
        Of neither can the order say which of two twins was meant.
        """
        order = order_of(text)
        share = self._all.orders.get(order, 0.0) / max(1.0, self._all.plates)
        return "9" in order and share >= ISSUED

    def _prior(self, counts: _Counts, order: str, spelling: Sequence[str]) -> float:
        """How likely a plate of ``counts`` has this order and these twins in their places."""
        everywhere = self._all
        country = (everywhere.orders.get(order, 0.0) + _RARE) / (everywhere.plates + 1.0)
        here = counts.orders.get(order, 0.0) + _PRIOR_PLATES * country
        prior = here / (counts.plates + _PRIOR_PLATES)
        for char in spelling:
            usual = (everywhere.twins[char] + 0.5) / (_of(everywhere, char) + 1.0)
            prior *= (counts.twins[char] + _PRIOR_PLATES * usual) / (
                _of(counts, char) + _PRIOR_PLATES
            )
        return prior


def order_of(text: str) -> str:
    """The order of letters and digits of a serial: A for a letter, 9 for a digit."""
    return "".join("A" if char.isalpha() else "9" for char in text)


def one_shape(text: str) -> str:
    """``text`` with 0 for O and 1 for I: what a plate that draws them alike shows."""
    return text.translate(_ONE_SHAPE)


def _pair(char: str, row: Probabilities) -> dict[str, float]:
    """What the picture says for ``char`` and for its twin: shares of 1, bounded."""
    twin = TWINS[char]
    mine, other = (float(row[CHARACTERS.index(c)]) for c in (char, twin))
    share = float(np.clip(mine / max(mine + other, 1e-9), 1 - PICTURE, PICTURE))
    return {char: share, twin: 1 - share}


def _of(counts: _Counts, char: str) -> float:
    """All characters of the kind of ``char``."""
    return counts.letters if char.isalpha() else counts.digits


def _together(rows: Sequence[_Counts]) -> _Counts:
    orders: dict[str, float] = {}
    for row in rows:
        for order, count in row.orders.items():
            orders[order] = orders.get(order, 0.0) + count
    return _Counts(
        orders,
        sum(row.plates for row in rows),
        sum(row.letters for row in rows),
        sum(row.digits for row in rows),
        {char: sum(row.twins[char] for row in rows) for char in ORDERED},
    )


@cache
def shipped_serials(file: Path = FILE) -> Serials:
    """The table that ships, read once.

    Raises:
        ModelError: it is missing or malformed.
    """
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file.name} cannot be read: {type(error).__name__}",
            remedy="install the package again",
        ) from error
    if not isinstance(table, dict):
        raise ModelError(f"{file.name} is no table", remedy="install the package again")
    return Serials(table)
