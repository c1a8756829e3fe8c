"""A car for the page: real roster, board and SQLite trail; invented people, plates, pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from argon2 import PasswordHasher

from alprd.alerts import AlertBoard
from alprd.errors import RefusedError
from alprd.frames import Character, PlateReading
from alprd.hotlist import Match
from alprd.mdt.app import MdtContext, ServerHandle
from alprd.mdt.status import CarStatus
from alprd.records import new_id
from alprd.roster import RosterBook
from alprd.store import Store
from alprd.wire import HotlistEntry, Person, Roster

PASSWORD = "a long invented phrase"
_VERIFIER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def person(number: str = "one", **changes: object) -> Person:
    """An operator with current training."""
    now = datetime.now(UTC)
    fields: dict[str, object] = {
        "id": f"dep.{number}",
        "name": f"Deputy {number.capitalize()}",
        "roles": ("operator",),
        "verifier": _VERIFIER,
        "training_expires": now + timedelta(days=30),
        "authorised_until": now + timedelta(days=30),
        "clearances": ("stolen", "owner_warrant", "owner_suspended_revoked", "other_lpdf"),
    }
    return Person.model_validate(fields | changes)


def roster(*people: Person) -> Roster:
    """A roster issued an hour ago."""
    now = datetime.now(UTC)
    return Roster(
        agency="becker",
        issued=now - timedelta(hours=1),
        expires=now + timedelta(days=3),
        people=people,
    )


def plate_picture(text: str, *, width: int = 420, state: str = "MINNESOTA") -> bytes:
    """A drawn plate: dark characters on a pale field, a little blurred and noisy."""
    height = width // 2
    picture = np.full((height, width, 3), (225, 232, 236), np.uint8)
    picture[: height // 5] = (168, 120, 60)
    cv2.rectangle(picture, (3, 3), (width - 4, height - 4), (60, 40, 20), 3)
    cv2.putText(
        picture, state, (width // 4, height // 6), cv2.FONT_HERSHEY_DUPLEX, 0.8, (255,) * 3, 2
    )
    scale = 3.1 * width / 420
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 7)
    at = ((width - wide) // 2, height * 6 // 10 + high // 2)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, (90, 40, 20), 7, cv2.LINE_AA)
    noise = np.random.default_rng(7).normal(0, 6, picture.shape)
    soft = cv2.GaussianBlur(picture, (3, 3), 0) + noise
    return _jpeg(np.clip(soft, 0, 255).astype(np.uint8))


def wide_picture(text: str, *, night: bool = False) -> bytes:
    """A drawn car from behind on a road, carrying the plate."""
    sky, road, body = (
        ((30, 22, 18), (40, 40, 42), (70, 30, 20))
        if night
        else ((220, 190, 160), (105, 105, 110), (150, 70, 40))
    )
    picture = np.full((480, 640, 3), sky, np.uint8)
    cv2.fillPoly(picture, [np.array([[0, 480], [640, 480], [400, 190], [240, 190]])], road)
    cv2.rectangle(picture, (190, 210), (450, 400), body, -1)
    cv2.fillPoly(
        picture, [np.array([[225, 210], [415, 210], [385, 140], [255, 140]])], (60, 50, 45)
    )
    for x in (205, 405):
        cv2.rectangle(picture, (x, 270), (x + 32, 300), (40, 40, 220), -1)
    for x in (205, 385):
        cv2.rectangle(picture, (x, 395), (x + 50, 440), (20, 20, 20), -1)
    small = cv2.imdecode(np.frombuffer(plate_picture(text), np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    picture[318:368, 270:370] = cv2.resize(small, (100, 50), interpolation=cv2.INTER_AREA)
    return _jpeg(cv2.GaussianBlur(picture, (5, 5), 0))


def _jpeg(picture: Any) -> bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return data.tobytes()


@dataclass
class Collecting:
    """The daemon's side of a sign-on: notes what it was told."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    refuse: str = ""

    def signed_on(self, person: Person, purpose: str, unit: str) -> None:
        if self.refuse:
            raise RefusedError("The permit has lapsed.", reason=self.refuse, remedy="dock the car")
        self.told.append(("on", person.id, purpose, unit))

    def signed_off(self, reason: str) -> None:
        self.told.append(("off", reason))


@dataclass
class Car:
    """Everything behind one page, and ways to make things happen in it."""

    board: AlertBoard
    book: RosterBook
    store: Store
    collecting: Collecting
    context: MdtContext
    status: CarStatus
    server: ServerHandle | None = None
    passes: int = 0

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}"

    def events(self) -> list[str]:
        """The trail so far, event names only."""
        return [event.event for event in self.store.audit_events()]

    def alert(self, text: str = "ZQX417", **changes: Any) -> tuple[str, str]:
        """Raise a hit on a plate; ids of pass and alert."""
        self.passes += 1
        of = changes.pop("pass_id", f"pass-{self.passes}")
        listed = changes.pop("listed", text)
        region = changes.pop("region", "MN")
        stacked = changes.pop("stacked", "")
        left_open = changes.pop("open", ())
        wide = changes.pop("wide", True)
        instant = changes.pop("instant", datetime.now(UTC))
        trusted = changes.pop("time_trusted", True)
        values: dict[str, Any] = {
            "pass_id": of,
            "camera": "front",
            "reading": reading(text, region=region, stacked=stacked, left_open=left_open),
            "match": match(text, listed, stacked=stacked, region=region, **changes),
            "plate_jpeg": plate_picture(text),
            "wide_jpeg": wide_picture(text) if wide else None,
            "instant": instant,
            "time_trusted": trusted,
            "captured_mono_ns": 123,
            "session": new_id(),
        }
        return of, self.board.raise_alert(**values)


def reading(
    text: str, *, region: str | None = "MN", stacked: str = "", left_open: tuple[int, ...] = ()
) -> PlateReading:
    """A sure reading; ``left_open``: the places where it does not tell O from 0 or I from 1."""
    sure = tuple(Character(c, 0.99) for c in text)
    return PlateReading(text, stacked, sure, region, 0.95, 0.99, sure=True, open=left_open)


def match(
    text: str,
    listed: str | None = None,
    *,
    stacked: str = "",
    region: str | None = "MN",
    entry: str = "",
    category: str = "stolen",
    priority: str = "high",
    words: str = "Stolen 2024-05-02, invented blue sedan",
    state: str | None = "MN",
    hours: float = 3,
    plate_type: str | None = None,
    type_differs: bool = False,
) -> Match:
    """A match as the matcher makes it; ``entry`` empty: one entry a listed plate."""
    listed = listed or text
    both = stacked + text if listed == stacked + text else text + stacked
    compared = both if stacked and len(listed) > len(text) else text
    differing = tuple(i for i, c in enumerate(compared) if i < len(listed) and c != listed[i])
    if region and state and region != state:
        kind = "other-state"
    else:
        kind = "look-alike" if differing else "exact" if region and state else "state-unknown"
    made = HotlistEntry.model_validate(
        {
            "id": entry or f"E-{listed}",
            "plate": listed,
            "state": state,
            "plate_type": plate_type,
            "category": category,
            "priority": priority,
            "text": words,
        }
    )
    return Match(
        entry=made,
        list_id="state",
        source="MN DPS hot file",
        version="7",
        supplied_at=datetime.now(UTC) - timedelta(hours=hours),
        kind=kind,  # type: ignore[arg-type]
        differing=differing,
        with_stacked=compared != text,
        type_differs=type_differs,
    )
