"""What a person states before a search, and what is refused (R-13.824-7-2, R-460.6-b).

The form is the law's: a case, complaint or incident number of the agency's form, the offence, the
facts and the reasonable suspicion in the searcher's own words, a bounded window, and a place or a
plate. Nothing is saved or filled in beforehand.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from alprd.central.storage.searchlimits import SearchSettings
from alprd.errors import RefusedError
from alprd.records import MAX_LIFE, normalise

MAX_WINDOW: Final = timedelta(hours=24)
MIN_TEXT: Final = 20
MIN_WORDS: Final = 4
MAX_TEXT: Final = 4000
MIN_KNOWN: Final = 2
"""Characters that a partial plate must at least have."""
Purpose = Literal["criminal", "civil", "administrative"]
_PATTERN: Final = re.compile(r"[^A-Z0-9?*]+")
_EARTH_M: Final = 6_371_000.0


@dataclass(frozen=True, slots=True)
class Place:
    """A circle on the ground, WGS 84."""

    lat: float
    lon: float
    radius_m: float

    def holds(self, lat: float, lon: float) -> bool:
        """Whether a point lies in it."""
        return metres((self.lat, self.lon), (lat, lon)) <= self.radius_m


@dataclass(frozen=True, slots=True)
class Request:
    """What a person states before a search."""

    case: str
    offence: str
    facts: str
    suspicion: str
    since: datetime
    until: datetime
    plate: str | None = None
    """A plate, or a part of one: ``?`` for one unknown character, ``*`` for any number."""
    place: Place | None = None
    unplaced: bool = False
    """With a place: show also reads of the window whose place is not known."""
    basis: str = ""
    """Id of the warrant or exigency that the search rests on."""
    purpose: Purpose = "criminal"

    @property
    def number(self) -> str:
        """The case number as kept."""
        return self.case.strip().upper()

    @property
    def pattern(self) -> bool:
        """Whether the plate is a part of one."""
        return self.plate is not None and any(sign in self.plate for sign in "?*")

    @property
    def wanted(self) -> str:
        """The plate as compared, wildcards kept; empty when the search is by place."""
        return _PATTERN.sub("", (self.plate or "").upper())

    @property
    def typed(self) -> str:
        """Plate and place as the trail keeps them, encrypted: ``ABC123 @ 46.81720,-95.84540 200``.

        A place goes with the plate: where a read is known to lie tells of it (R-AT-4, R-AT-5).
        """
        if self.place is None:
            return self.wanted
        place = self.place
        return f"{self.wanted} @ {place.lat:.5f},{place.lon:.5f} {place.radius_m:.0f}".strip()


def plate_of(typed: str) -> str:
    """The plate of what :attr:`Request.typed` gave; empty for a search by place."""
    return typed.partition("@")[0].strip()


def metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Distance of two points (latitude, longitude) on the ground (haversine)."""
    lat1, lat2 = math.radians(one[0]), math.radians(other[0])
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(other[1] - one[1]) / 2) ** 2
    return 2 * _EARTH_M * math.asin(min(1.0, math.sqrt(half)))


def check(request: Request, settings: SearchSettings | None = None) -> None:
    """Refuse a search that is not documented (R-13.824-7-2).

    Raises:
        RefusedError: names the first field that is missing or not enough.
    """
    settings = settings or SearchSettings()
    if request.purpose != "criminal" and not settings.civil_opinion:
        raise RefusedError(
            "the statute ties each access to a criminal investigation; no opinion of the county "
            "attorney allows another purpose here",
            reason="purpose_disabled",
            remedy="name the opinion as civil_opinion in [search] of central.toml (T-3)",
        )
    if not re.search(settings.case_form, request.number):
        raise RefusedError(
            "case, complaint or incident number is missing or not of its form",
            reason="bad_case",
            remedy="give the number of an active criminal investigation, such as 26001234",
        )
    if len(request.offence.strip()) < 3:
        raise RefusedError("offence type is missing", reason="missing_offence")
    for name, text in (("facts", request.facts), ("suspicion", request.suspicion)):
        _own_words(name, text)
    if normalise(request.facts) == normalise(request.suspicion):
        raise RefusedError(
            "suspicion: says the same as the facts",
            reason="same_text",
            remedy="state why these facts make the reads pertinent to the case",
        )
    _check_target(request, settings)
    _check_window(request)


def _own_words(name: str, text: str) -> None:
    words = text.split()
    if len(" ".join(words)) < MIN_TEXT or len({word.lower() for word in words}) < MIN_WORDS:
        raise RefusedError(
            f"{name}: at least {MIN_TEXT} characters and {MIN_WORDS} different words",
            reason=f"short_{name}",
            remedy="state what is known in your own words",
        )
    if len(text) > MAX_TEXT:
        raise RefusedError(f"{name}: longer than {MAX_TEXT} characters", reason=f"long_{name}")


def _check_target(request: Request, settings: SearchSettings) -> None:
    if request.plate is not None:
        known = normalise(request.plate)
        if not known or (request.pattern and len(known) < MIN_KNOWN):
            raise RefusedError(
                "plate is empty, or too little of it is given",
                reason="bad_plate",
                remedy=f"a partial plate has {MIN_KNOWN} known characters; ? is one, * any number",
            )
        if len(request.wanted) > 14:
            raise RefusedError("plate is longer than any plate", reason="bad_plate")
    elif request.place is None:
        raise RefusedError(
            "search names neither a plate nor a place",
            reason="no_target",
            remedy="give a plate, or a point and a radius",
        )
    place = request.place
    if place is None:
        return
    if not (-90 <= place.lat <= 90 and -180 <= place.lon <= 180):
        raise RefusedError("place is no point on the earth", reason="bad_place")
    if not 0 < place.radius_m <= settings.longest_radius_m:
        raise RefusedError(
            f"radius is not within {settings.longest_radius_m} m",
            reason="bad_radius",
            remedy="search a smaller place",
        )


def _check_window(request: Request) -> None:
    if request.until <= request.since:
        raise RefusedError("window ends before it begins", reason="bad_window")
    span = request.until - request.since
    if span > MAX_WINDOW and request.plate is None:
        raise RefusedError(
            "window of a search by place is longer than 24 h",
            reason="window_too_long",
            remedy="search a shorter window",
        )
    if span > MAX_LIFE:
        raise RefusedError("window is longer than 60 days", reason="window_too_long")
