"""``[search]`` of ``central.toml``: the limits of a documented search (R-13.824-7-2)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from alprd.records import Closed

CASE_FORM: Final = r"^(?=(?:.*\d){4})[0-9A-Z][0-9A-Z-]{3,19}$"


def _expression(value: str) -> str:
    try:
        form = re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if form.match(""):
        raise ValueError("it would let an empty case number pass")
    return value


class SearchSettings(Closed):
    """``[search]`` of ``central.toml``."""

    case_form: Annotated[str, AfterValidator(_expression)] = CASE_FORM
    """Form of a case, complaint or incident number, in capitals."""
    longest_radius_m: Annotated[int, Field(ge=10, le=50_000)] = 10_000
    same_place_m: Annotated[int, Field(ge=10, le=5_000)] = 500
    """Reads of one plate further apart than this are at more than one place (R-460.4.1-c2)."""
    stop_at: Annotated[int, Field(ge=1, le=3)] = 3
    """The search of one plate in 30 days, by anyone, that stops (T-20): the third at the latest."""
    civil_opinion: Annotated[str, Field(max_length=200)] = ""
    """The county attorney's opinion that allows other purposes; empty: none does (T-3)."""
