"""Every route of the in-car page: who may ask, what it does, what the trail gets.

The application is built from this table and from nothing else, so a route that does not stand here
does not exist; whoever is not named may not ask (R-460.6-a). ``docs/mdt-routes.md`` and the OpenAPI
schema are made from it: ``python -m alprd.mdt.inventory``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from alprd.audit import Event
from alprd.dispositions import ACTIONS, CLEARED_REASONS, REASONS, RESULTS

Who = Literal["anybody", "signed on"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One route.

    ``fields`` are the form's: name to its values, or to ``()`` for text. ``moving`` tells whether
    it may be asked while the car moves: everything that needs reading or typing may not.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    what: str
    who: Who = "signed on"
    events: tuple[Event, ...] = ()
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    moving: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one of its kind."""
        return self.method, self.path


_SEEN: Final = (("seen", ()),)
_A: Final = "/alerts/{alert_id}/"

ENTRIES: Final = (
    Entry("GET", "/", "main", "the page; cards come through /events"),
    Entry("GET", "/sign-on", "sign_on_form", "the form", "anybody"),
    Entry(
        "POST", "/sign-on", "sign_on", "sign on", "anybody",
        (Event.SIGNED_ON, Event.SIGN_ON_REFUSED, Event.LOCKED),
        (("person", ()), ("password", ()), ("code", ()), ("purpose", ()), ("unit", ()),
         ("acknowledged", ("on",)), ("csrf", ())),
    ),
    Entry(
        "POST", "/sign-off", "sign_off", "sign off; what is unresolved needs a note",
        events=(Event.SIGNED_OFF, Event.ALERT_HANDED_OVER, Event.SHIFT_ENDED),
        fields=(("note", ()),),
    ),
    Entry("GET", "/session", "session", "who is signed on at this screen"),
    Entry("GET", "/shift", "shift", "end of the shift: outcomes, what is unresolved", moving=False),
    Entry(
        "POST", "/shift/silence", "silence_category",
        "silence a category until the end of the shift (never high priority), or undo it",
        events=(Event.CATEGORY_SILENCED, Event.CATEGORY_UNSILENCED),
        fields=(("category", ()), ("on", ("yes", "no"))),
    ),
    Entry(
        "POST", "/collection/pause", "pause", "rest from collecting",
        events=(Event.COLLECTION_PAUSED,),
    ),
    Entry(
        "POST", "/collection/resume", "resume", "collect again",
        events=(Event.COLLECTION_RESUMED,),
    ),
    Entry(
        "POST", "/collection/canvass", "canvass",
        "a session of its own for an incident; without a number: end it",
        events=(Event.CANVASS_BEGUN, Event.CANVASS_ENDED), fields=(("incident", ()),),
        moving=False,
    ),
    Entry(
        "POST", "/collection/post", "declare_post", "declare this place a stationary post",
        events=(Event.POST_DECLARED,), moving=False,
    ),
    Entry("GET", "/events", "events", "live cards and status", events=(Event.ALERT_SHOWN,)),
    Entry("GET", _A + "plate.jpg", "plate_picture", "the plate", events=(Event.PICTURE_VIEWED,)),
    Entry("GET", _A + "wide.jpg", "wide_picture", "the car", events=(Event.PICTURE_VIEWED,)),
    Entry(
        "POST", _A + "silence", "silence", "stop this card's sound",
        events=(Event.ALERT_SILENCED,), fields=_SEEN,
    ),
    Entry(
        "POST", _A + "unsilence", "unsilence", "let it sound again",
        events=(Event.ALERT_UNSILENCED,), fields=_SEEN,
    ),
    Entry(
        "POST", _A + "acknowledge", "acknowledge", "take note",
        events=(Event.ALERT_ACKNOWLEDGED,), fields=_SEEN,
    ),
    Entry(
        "POST", _A + "misread", "misread", "the plate was misread",
        events=(Event.ALERT_MISREAD,), fields=_SEEN,
    ),
    Entry(
        "POST", _A + "compare", "compare", "plate and state agree with the picture, or not",
        events=(Event.ALERT_COMPARED, Event.ALERT_MISREAD),
        fields=(("agrees", ("yes", "no")), *_SEEN), moving=False,
    ),
    Entry(
        "POST", _A + "verify", "verify", "the answer of MNJIS/NLETS, or why there is none",
        events=(Event.ALERT_VERIFIED,),
        fields=(("result", tuple(RESULTS)), ("reason", ("", *REASONS, *CLEARED_REASONS)),
                ("reference", ()), *_SEEN), moving=False,
    ),
    Entry(
        "POST", _A + "action", "action", "what was done; only after a result",
        events=(Event.ALERT_ACTION_TAKEN,), fields=(("action", tuple(ACTIONS)), *_SEEN),
        moving=False,
    ),
    Entry(
        "POST", _A + "dispatch", "dispatch", "without clearance: dispatch was told, or not",
        events=(Event.ALERT_DISPATCHED,),
        fields=(("dispatched", ("yes", "no")), *_SEEN), moving=False,
    ),
    Entry(
        "POST", _A + "unclear", "unclear", "let a cleared plate alarm again",
        events=(Event.ALERT_UNCLEARED,), fields=_SEEN, moving=False,
    ),
    Entry(
        "POST", _A + "copied", "copied", "the plate was copied to the clipboard",
        events=(Event.ALERT_PLATE_COPIED,), fields=_SEEN, moving=False,
    ),
    Entry(
        "POST", _A + "query", "query", "ask the agency's gateway, where one is configured",
        events=(Event.ALERT_QUERIED,), fields=_SEEN, moving=False,
    ),
    Entry("GET", "/healthz", "healthz", "that the page is served, and nothing else", "anybody"),
)  # fmt: skip


def table() -> str:
    """``docs/mdt-routes.md``."""
    lines = [
        "# Routes of the in-car page",
        "",
        "Made from `alprd/mdt/inventory.py` by `python -m alprd.mdt.inventory`; a test holds both",
        "together. Every route asks for a live sign-on but those for anybody, which show no data.",
        "Files of `/static/` (script, style, icon) are open too. There is no other route: nothing",
        "lists, searches or maps reads (R-460.6-a2).",
        "",
        "| method | path | anybody | operator, signed on | while moving | what | trail |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in ENTRIES:
        open_ = "yes" if one.who == "anybody" else "no"
        events = ", ".join(f"`{event.value}`" for event in one.events) or "none"
        lines.append(
            f"| {one.method} | `{one.path}` | {open_} | yes | {'yes' if one.moving else 'no'} "
            f"| {one.what} | {events} |"
        )
    return "\n".join(lines) + "\n"


def openapi() -> dict[str, Any]:
    """The routes as an OpenAPI 3.1 document, for tests; nothing serves it."""
    paths: dict[str, Any] = {}
    for one in ENTRIES:
        if one.name == "events":  # a stream has no end to wait for
            continue
        made: dict[str, Any] = {
            "operationId": f"{one.method.lower()}_{one.name}",
            "responses": {"default": {"description": one.what}},
        }
        if "{alert_id}" in one.path:
            made["parameters"] = [
                {"name": "alert_id", "in": "path", "required": True, "schema": {"type": "string"}}
            ]
        if one.method == "POST":
            fields = {
                name: {"type": "string"} | ({"enum": list(values)} if values else {})
                for name, values in one.fields
            }
            made["requestBody"] = {
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {"type": "object", "properties": fields}
                    }
                }
            }
        paths.setdefault(one.path, {})[one.method.lower()] = made
    return {"openapi": "3.1.0", "info": {"title": "in-car page", "version": "1"}, "paths": paths}


if __name__ == "__main__":
    print(table(), end="")
