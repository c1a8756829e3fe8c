"""What stands on one plate: `PlateSpec`, and random ones after each jurisdiction's formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plates.designs import (
    PLATE_TYPES,
    Design,
    designs,
    designs_of,
    fill,
    format_regex,
    parse_format,
    stacked_place,
    states,
)

STACKED_PLACES = ("", "left", "right", "middle")
# Shares of the ordinary mix: mostly passenger plates, as on the road.
_TYPE_SHARE = {"passenger": 0.86, "truck": 0.07, "trailer": 0.04, "motorcycle": 0.03}
_FREE_FORMATS = (
    "@@@###", "###@@@", "@@@####", "####@@", "@@####", "#@@###", "@##@@@", "##@@@#", "@@@@##",
    "######", "#####", "####", "###", "@#####", "@@#####", "#@#####", "@@@@@@", "@@@@@@@", "@@@",
    "@@##", "#@@@###", "@@###@@", "#####@", "#######", "@###@@", "@@@@", "##@##", "@@@@@###", "##",
    "<@@>####", "<@@>#####", "####<@@>", "#####<@@>", "@<@@>####", "##<@@>###", "<@#>####",
    "<@@@>###", "###<@@@>", "<##>@@@##", "@@@###<##>", "<@>#####", "#####<@>",
)  # fmt: skip
_CONSONANTS = "BCDFGHJKLMNPRSTVWXYZ"
_VOWELS = "AEIOU"


@dataclass(frozen=True)
class PlateSpec:
    """The number and design of one plate.

    `text` are the full-size characters without separators (2-8 of A-Z, 0-9); `stacked` the small
    stacked or side letters (up to 3) that stand at `stacked_pos` ("left", "right", "middle", or ""
    where there are none); `region` a USPS code of the 50 states or DC; `plate_type` one of
    `PLATE_TYPES`; `design` an id of `designs/*.toml`, or `<region>-any` for a random style.
    An empty `design` means the first design of the region and type.
    """

    text: str
    stacked: str = ""
    stacked_pos: str = ""
    region: str = "MN"
    plate_type: str = "passenger"
    design: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.text) <= 9 or not _is_serial(self.text):
            raise ValueError("plate text must be 1-9 characters of A-Z and 0-9")
        if len(self.stacked) > 3 or (self.stacked and not _is_serial(self.stacked)):
            raise ValueError("stacked part must be at most 3 characters of A-Z and 0-9")
        if self.stacked_pos not in STACKED_PLACES or bool(self.stacked) != bool(self.stacked_pos):
            raise ValueError("stacked_pos must be left, right or middle exactly if stacked is set")
        if self.region not in states():
            raise ValueError(f"region {self.region!r} is none of the 50 states or DC")
        if self.plate_type not in PLATE_TYPES:
            raise ValueError(f"plate_type {self.plate_type!r} is none of {PLATE_TYPES}")
        if not self.design:
            object.__setattr__(self, "design", _default_design(self.region, self.plate_type))
        elif self.design not in designs() and self.design != f"{self.region.lower()}-any":
            raise ValueError(f"design {self.design!r} is unknown: see plates/designs/")


def _is_serial(text: str) -> bool:
    return text.isascii() and text.isalnum() and text == text.upper()


def _default_design(region: str, plate_type: str) -> str:
    for design in designs().values():
        if design.region == region and design.plate_type == plate_type:
            return design.id
    return f"{region.lower()}-any"


def format_of(spec: PlateSpec) -> str:
    """The format that `spec` was written in, so that separators can be set; "" for a vanity plate
    or one in a format its design does not have."""
    design = designs().get(spec.design)
    if design is None:
        return ""
    skip = states()[spec.region].skip
    for text in design.formats:
        if stacked_place(text) == spec.stacked_pos and format_regex(text, skip).fullmatch(
            spec.text
        ):
            return text
    return ""


def vanity(rng: np.random.Generator) -> str:
    """An invented personal plate of 2-8 characters: syllables, sometimes with digits."""
    length = int(rng.choice([2, 3, 4, 5, 6, 7, 8], p=[0.04, 0.08, 0.14, 0.2, 0.24, 0.26, 0.04]))
    out = ""
    while len(out) < length:
        kind = rng.random()
        if kind < 0.12:
            out += str(rng.integers(10))
        elif kind < 0.3:
            out += _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
        elif kind < 0.38:
            out += _VOWELS[int(rng.integers(5))]
        else:
            out += _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
            out += _VOWELS[int(rng.integers(5))]
            if rng.random() < 0.3:
                out += _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
    return out[:length]


def _from_format(
    text: str, skip: str, rng: np.random.Generator, region: str, plate_type: str, design: str
) -> PlateSpec:
    tokens = parse_format(text)
    chars = "".join(fill(t.pattern, skip, rng) for t in tokens if t.kind == "char")
    stacked = "".join(fill(t.pattern, skip, rng) for t in tokens if t.kind == "stacked")
    return PlateSpec(chars, stacked, stacked_place(text), region, plate_type, design)


def _pick_design(found: list[Design], rng: np.random.Generator) -> Design:
    weights = np.array([design.weight for design in found])
    return found[int(rng.choice(len(found), p=weights / weights.sum()))]


def random_spec(
    rng: np.random.Generator,
    *,
    region: str | None = None,
    region_weights: Mapping[str, float] | None = None,
    any_share: float = 0.0,
    vanity_share: float = 0.07,
    old_share: float | None = None,
) -> PlateSpec:
    """A random plate in a format and design of its jurisdiction.

    Args:
        rng: the only source of chance.
        region: USPS code; None draws one.
        region_weights: relative weights by USPS code for that draw; None: all alike.
        any_share: share of plates in a random style and often a free format (for training).
        vanity_share: share of personal plates.
        old_share: share of plates that only collections still have (era "old"); None: 0.3 where
            `any_share` asks for training variety, else 0.03, as in traffic.
    """
    if region is None:
        codes = sorted(region_weights) if region_weights else sorted(states())
        weights = np.array([region_weights[c] if region_weights else 1.0 for c in codes])
        region = codes[int(rng.choice(len(codes), p=weights / weights.sum()))]
    if region not in states():
        raise ValueError(f"region {region!r} is none of the 50 states or DC")
    skip = states()[region].skip
    if old_share is None:
        old_share = 0.3 if any_share > 0 else 0.03
    era = "old" if rng.random() < old_share else "road"
    own = [d for d in designs_of(region) if d.era == era] or list(designs_of(region))
    types = [t for t in PLATE_TYPES if any(d.plate_type == t for d in own)]
    shares = np.array([_TYPE_SHARE[t] for t in types])
    plate_type = types[int(rng.choice(len(types), p=shares / shares.sum()))]
    design = _pick_design([d for d in own if d.plate_type == plate_type], rng)
    is_vanity = rng.random() < vanity_share
    if rng.random() < any_share:
        any_id = f"{region.lower()}-any"
        if is_vanity:
            return PlateSpec(vanity(rng), region=region, design=any_id)
        if rng.random() < 0.6:
            text = _FREE_FORMATS[int(rng.integers(len(_FREE_FORMATS)))]
            return _from_format(text, "", rng, region, "passenger", any_id)
        text = design.formats[int(rng.integers(len(design.formats)))]
        return _from_format(text, skip, rng, region, "passenger", any_id)
    if is_vanity and plate_type == "passenger":
        return PlateSpec(vanity(rng), region=region, design=design.id)
    text = design.formats[int(rng.integers(len(design.formats)))]
    return _from_format(text, skip, rng, region, plate_type, design.id)
