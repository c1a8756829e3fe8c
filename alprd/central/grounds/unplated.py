"""Leave a plate out of what a person wrote, so that the trail keeps it erasable only (R-AT-4)."""

from __future__ import annotations

import re

from alprd.records import normalise


def without_plate(text: str, plate: str | None) -> str:
    """The text with the plate left out, however it is spaced."""
    letters = normalise(plate or "")
    if len(letters) < 2:
        return text
    spaced = r"[\W_]*".join(re.escape(letter) for letter in letters)
    return re.sub(spaced, "[plate]", text, flags=re.IGNORECASE)
