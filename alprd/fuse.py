"""From several readings of one plate to one text that says how sure it is.

The readings of a track are distributions over characters for every place
(:class:`alprd.ocr.OcrResult`). They are fused by voting on the number of characters, then by
summing weighted log-probabilities place by place over the readings of that length: the product
rule for conditionally independent observations, tempered, because frames of one plate share its
dirt, its design and the network's habits (measured: the untempered product called nearly every
fused text certain, the wrong ones too). Between O and 0 the state's order of letters and digits
has a say (:mod:`alprd.serials`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.frames import Character, PlateReading
from alprd.ocr import ALPHABET, CHARACTERS, PAD, OcrResult, Probabilities
from alprd.profiles import ReaderSettings
from alprd.serials import ORDERED, TWINS, one_shape, shipped_serials

ALTERNATIVE: Final = 0.01
"""Other characters above this probability are told with the fused one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One OCR of one crop of a track."""

    places: Probabilities
    """(slots, 37), inner empty places closed up."""
    stacked: Probabilities | None
    region: Probabilities | None
    text: str
    confidence: float
    """Lowest probability among the characters and the empty place that ends them."""
    weight: float
    """Quality of the crop: size, sharpness, detection score; above 0."""
    mono_ns: int
    """The frame; readings of one frame agree only as one."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A fused reading and the evidence behind it."""

    reading: PlateReading
    agreeing: int
    """Frames whose own text is the fused text, O and 0, I and 1 taken as one."""
    usable: bool
    """Enough evidence to tell anyone: two agreeing frames or one very sure one."""
    frames: int
    """Frames read, whatever the text."""
    share: float
    """Share of the readings' weight that agrees on the number of characters."""
    end: float
    """Probability that no further character follows."""


def decode(result: OcrResult, weight: float, mono_ns: int) -> Reading:
    """The reading of one crop, its text being the likeliest character of each place.

    A place that the network left empty between characters is closed up (a space, a symbol).
    """
    best = result.plate.argmax(axis=1)
    filled = np.flatnonzero(best != PAD)
    empty = np.flatnonzero(best == PAD)
    places = result.plate[np.concatenate([filled, empty])]
    text = "".join(ALPHABET[i] for i in best[filled])
    ends = places[: len(filled) + 1]
    confidence = float(ends.max(axis=1).min()) if len(filled) else 0.0
    return Reading(
        places, result.stacked, result.region, text, confidence, max(weight, 1e-6), mono_ns
    )


def fuse(
    readings: Sequence[Reading], regions: Sequence[str | None], settings: ReaderSettings
) -> Fused | None:
    """The fused reading, or None where no reading has a text of a plate's length."""
    shortest, longest = settings.text_length
    spelled = [r for r in readings if shortest <= len(r.text) <= longest]
    if not spelled:
        return None
    votes: dict[int, float] = {}
    for reading in spelled:
        vote = reading.weight * max(reading.confidence, 0.05)
        votes[len(reading.text)] = votes.get(len(reading.text), 0.0) + vote
    # On a tie the shorter: the one character too many is a sticker or a bolt.
    length = max(votes, key=lambda n: (votes[n], -n))
    share = votes[length] / sum(votes.values())
    chosen = [r for r in spelled if len(r.text) == length]
    weights = [r.weight for r in chosen]

    fused = _product([r.places[:length] for r in chosen], weights, settings)
    end = 1.0
    slots = chosen[0].places.shape[0]
    if length < slots:
        end = float(
            _product([r.places[length : length + 1] for r in chosen], weights, settings)[0, PAD]
        )
    stacked = _stacked(chosen, weights, settings)
    issuers = _issuers(chosen, weights, settings)
    region, region_prob = _region(issuers, regions, settings)
    text = "".join(CHARACTERS[i] for i in fused[:, :PAD].argmax(axis=1))
    states = _by_state(issuers, regions)
    open_places: set[int] = set()
    if settings.serials and _american(states, issuers):
        seen = fused.copy()
        text = shipped_serials().decide(text, fused, states)
        if not shipped_serials().issued(text):
            open_places = _undecided(text, seen, settings.chosen_twin_floor)
    characters = tuple(_character(row, char) for row, char in zip(fused, text, strict=True))
    confidence = min(min(c.prob for c in characters), end)

    same = [r for r in chosen if one_shape(r.text) == one_shape(text)]
    agreeing = len({r.mono_ns for r in same})
    alone = max((r.confidence for r in same), default=0.0)
    enough = agreeing >= settings.agree or alone >= settings.very_sure
    usable = enough and confidence >= settings.read_floor
    sure = (
        usable
        and agreeing >= settings.agree
        and share >= settings.length_share
        and _above_floors(characters, end, settings)
    )
    told = PlateReading(
        text, stacked, characters, region, region_prob, confidence, sure,
        tuple(
            n
            for n, c in enumerate(characters)
            if n in open_places or (c.char in TWINS and c.prob < settings.twin_floor)
        ),
    )  # fmt: skip
    return Fused(told, agreeing, usable, len({r.mono_ns for r in spelled}), share, end)


def differing(a: str, b: str) -> int:
    """Levenshtein distance of two plate texts."""
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, cb in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (ca != cb))
    return row[-1]


def _product(
    matrices: Sequence[Probabilities], weights: Sequence[float], settings: ReaderSettings
) -> Probabilities:
    """Tempered, weighted product of distributions along the last axis.

    With weights w scaled to a largest of 1 the exponent sum is (sum w) ** temper, so one reading
    alone keeps its own probabilities and n equal ones count as n ** temper independent ones.
    """
    scaled = np.asarray(weights, np.float64) / max(weights)
    total = float(scaled.sum())
    classes = matrices[0].shape[-1]
    smoothing = settings.smoothing if len(matrices) > 1 else 0.0
    logs = np.zeros(matrices[0].shape, np.float64)
    for matrix, weight in zip(matrices, scaled, strict=True):
        logs += weight * np.log((1 - smoothing) * matrix + smoothing / classes + 1e-12)
    logs *= total**settings.temper / total
    logs -= logs.max(axis=-1, keepdims=True)
    product = np.exp(logs)
    product /= product.sum(axis=-1, keepdims=True)
    return product.astype(np.float32)


def _character(row: Probabilities, char: str) -> Character:
    order = np.argsort(-row[:PAD], kind="stable")
    first = CHARACTERS.index(char)
    others = tuple(
        (CHARACTERS[i], float(row[i]))
        for i in map(int, order)
        if i != first and row[i] >= ALTERNATIVE
    )
    return Character(char, float(row[first]), others)


def _stacked(chosen: Sequence[Reading], weights: Sequence[float], settings: ReaderSettings) -> str:
    """The stacked letters, up to the first that is empty or below its floor."""
    pairs = [(r.stacked, w) for r, w in zip(chosen, weights, strict=True) if r.stacked is not None]
    if not pairs:
        return ""
    fused = _product([m for m, _ in pairs], [w for _, w in pairs], settings)
    letters = ""
    for row in fused:
        best = int(row.argmax())
        if best == PAD or row[best] < settings.stacked_floor:
            break
        letters += ALPHABET[best]
    return letters[:4]


def _issuers(
    chosen: Sequence[Reading], weights: Sequence[float], settings: ReaderSettings
) -> Probabilities | None:
    """The fused distribution over the regions, None where no reading has one."""
    pairs = [(r.region, w) for r, w in zip(chosen, weights, strict=True) if r.region is not None]
    return _product([m for m, _ in pairs], [w for _, w in pairs], settings) if pairs else None


def _region(
    issuers: Probabilities | None, regions: Sequence[str | None], settings: ReaderSettings
) -> tuple[str | None, float]:
    if issuers is None or not regions:
        return None, 0.0
    best = int(issuers.argmax())
    prob = float(issuers[best])
    return (regions[best] if prob >= settings.region_floor else None), prob


def _by_state(issuers: Probabilities | None, regions: Sequence[str | None]) -> dict[str, float]:
    """Probability by USPS code; what is missing to 1 is of another issuer, or unknown."""
    if issuers is None:
        return {}
    return {r: float(p) for r, p in zip(regions, issuers, strict=False) if r is not None}


def _american(states: dict[str, float], issuers: Probabilities | None) -> bool:
    """Whether the plate is likelier of a state than of another country, or nobody was asked."""
    return issuers is None or sum(states.values()) >= 0.5


def _undecided(text: str, seen: Probabilities, floor: float) -> set[int]:
    """Places of an O or 0 that the picture alone gives less than ``floor`` of the pair."""
    found = set()
    for n, char in enumerate(text):
        if char in ORDERED:
            mine, twin = (seen[n, CHARACTERS.index(c)] for c in (char, TWINS[char]))
            if mine < floor * (mine + twin):
                found.add(n)
    return found


def _above_floors(characters: Sequence[Character], end: float, settings: ReaderSettings) -> bool:
    """Whether every character, and the end of the text, is above its floor.

    O and 0, I and 1 count together: many plates do not tell them apart, a listed one and a read
    one match as look-alikes whichever was meant, and the card says so.
    """
    return end >= settings.char_floor and all(
        c.prob + dict(c.alternatives).get(TWINS.get(c.char, ""), 0.0) >= settings.char_floor
        for c in characters
    )
