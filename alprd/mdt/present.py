"""A card as the page and programs get it: JSON, cut down to the viewer's clearance.

Clearance (R-460.4-e): without it for the entry's category a person gets a sound, the camera, the
time and "Contact dispatch"; no plate, picture, category, source or priority, since each of them
would tell about the list. Confidence and probabilities stay out for everybody (T-4), and so does
whether a plate is suppressed (R-460.5-b4).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from alprd.cards import AlertView
from alprd.hotlist import Match
from alprd.wire import RESTRICTED, Person

CONTACT_DISPATCH: Final = "Contact dispatch"

CATEGORY_LABELS: Final = {
    "stolen": "Stolen vehicle or plate",
    "owner_warrant": "Warrant for the owner",
    "owner_suspended_revoked": "Owner suspended or revoked",
    "active_investigative": "Active investigation",
    "other_lpdf": "Other list entry",
}
KIND_LABELS: Final = {
    "exact": "Exact match",
    "look-alike": "Look-alike match: a character differs",
    "other-state": "Other state: not the listed plate's state",
    "state-unknown": "State not known: check it on the picture",
}


_TURNS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the order of writing: with them a list could show words it does not hold."""


def type_label(match: Match) -> str:
    """What the deputy is told of the plate type; empty where the list does not name one.

    The reader shipped tells none, so the deputy compares it with the picture (ADR 0037).
    """
    listed = match.entry.plate_type
    if listed is None:
        return ""
    if match.type_differs:
        return f"OTHER PLATE TYPE: listed is a {listed} plate"
    return f"Listed is a {listed} plate: compare with the picture"


def is_cleared(view: AlertView, person: Person) -> bool:
    """Whether the person may see entries of this category and file (R-460.4-e)."""
    entry = view.match.entry
    cleared = person.clearances
    return entry.category in cleared and (not entry.restricted or RESTRICTED in cleared)


def read_as_compared(view: AlertView) -> tuple[str, int]:
    """The read characters in the order in which they were compared with the entry.

    Stacked letters may have been put before or after the text; the order is the one whose
    differences from the entry are those the matcher names.

    Returns:
        the characters, and how many stacked letters stand before the text.
    """
    reading, match = view.reading, view.match
    if not match.with_stacked:
        return reading.text, 0
    listed = match.entry.plate
    after, before = reading.text + reading.stacked, reading.stacked + reading.text
    for text, ahead in ((after, 0), (before, len(reading.stacked))):
        if len(text) == len(listed):
            differing = tuple(i for i, c in enumerate(text) if c != listed[i])
            if differing == match.differing:
                return text, ahead
    return after, 0


def open_label(read: str, places: Sequence[int]) -> str:
    """What the deputy is told of places that may be one of two characters; empty without any.

    The text may equal the list's all the same, and the vehicle be another one (ADR 0060).
    """
    found = [n for n in places if n < len(read)]
    pairs = ", ".join(
        f"{one} or {other}"
        for one, other in ("O0", "I1")
        if any(read[n] in (one, other) for n in found)
    )
    if not pairs:
        return ""
    which = f"character{'s' if len(found) > 1 else ''} {', '.join(str(n + 1) for n in found)}"
    return f"Could be {pairs} ({which}): compare with the picture"


def card_json(view: AlertView, person: Person, now: datetime) -> dict[str, object]:
    """The ``alert`` event for one viewer.

    ``read`` and ``listed`` are the plate as read and as listed, aligned character by character;
    ``differing`` are the places where they differ, ``open`` those where they agree and the reader
    does not tell O from 0 or I from 1. ``alarm`` is sent back as ``seen`` with an act.
    """
    base: dict[str, object] = {
        "id": view.id,
        "number": view.number,
        "alarm": view.alarm,
        "state": view.state,
        "camera": view.camera,
        "instant": view.instant.isoformat(),
        "first_instant": view.first_instant.isoformat(),
        "time_trusted": view.time_trusted,
        "captured_mono_ns": view.captured_mono_ns,
        "decided_mono_ns": view.decided_mono_ns,
        "count": view.count,
        "cleared": is_cleared(view, person),
    }
    if not base["cleared"]:
        told = {"settled": view.disposition.settled, "dispatched": view.disposition.dispatch}
        return base | {"priority": "medium", "text": CONTACT_DISPATCH} | told
    match, entry = view.match, view.match.entry
    pictures = {
        name: f"/alerts/{view.id}/{name}.jpg?v={view.picture_version}"
        for name, held in (("plate", view.state != "withdrawn"), ("wide", view.has_wide))
        if held
    }
    read, ahead = read_as_compared(view)
    left_open = [n + ahead for n in view.reading.open if n + ahead not in match.differing]
    age_h = (now - match.supplied_at).total_seconds() / 3600
    return base | {
        "pass_id": view.pass_id,
        "plate": view.reading.text,
        "stacked": view.reading.stacked,
        "read": read,
        "listed": entry.plate,
        "differing": list(match.differing),
        "open": left_open,
        "open_label": open_label(read, left_open),
        "region_read": view.reading.region,
        "region_listed": entry.state,
        "plate_type_listed": entry.plate_type,
        "plate_type_label": type_label(match),
        "kind": match.kind,
        "kind_label": KIND_LABELS[match.kind],
        "category": entry.category,
        "category_label": CATEGORY_LABELS[entry.category],
        "priority": entry.priority,
        "text": _TURNS.sub("", entry.text),
        "source": match.source,
        "list_id": match.list_id,
        "list_version": match.version,
        "list_supplied_at": match.supplied_at.isoformat(),
        "list_age_h": round(max(0.0, age_h), 2),
        "disposition": view.disposition.model_dump(mode="json")
        | {"settled": view.disposition.settled},
        "cleared_until": view.cleared_until.isoformat() if view.cleared_until else None,
        "corrected_from": view.corrected_from,
        "reason": view.reason,
        "pictures": pictures,
    }
