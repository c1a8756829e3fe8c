"""What holds for one shift: silenced categories, cleared plates, and how each alert came out.

It belongs to the person who is signed on, ends with the sign-on and is never taken over by
another. A cleared plate is exact: text, stacked letters, state read, list and entry; it does not
alarm again until its expiry, so that one car is not stopped twice for a recalled entry. High
priority is never silenced by category. Pure state: the board (:mod:`alprd.alerts`) locks it,
:mod:`alprd.shiftstore` seals it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, get_args

from pydantic import Field

from alprd.dispositions import Disposition
from alprd.errors import RefusedError
from alprd.frames import PlateReading
from alprd.hotlist import Match
from alprd.records import Category, Closed, Utc

LONGEST: Final = timedelta(hours=12)
"""A cleared plate alarms again after this at the latest, whatever the shift."""
CAMERA: Final = "camera/"
"""Before a camera's name in the summary; no list's id holds a slash."""
COUNTED: Final = ("confirmed", "not_confirmed", "cleared", "not_practicable", "misread")


class Cleared(Closed):
    """One plate that does not alarm again in this shift."""

    text: str
    stacked: str
    state: str | None
    list_id: str
    entry: str
    reason: str
    expires: Utc
    suppressed: bool = False
    """Of a protected plate (R-460.5-b3): never written down, so a restart forgets it."""

    def fits(self, reading: PlateReading, match: Match) -> bool:
        """Whether this very plate is meant: nothing may differ."""
        mine = (self.text, self.stacked, self.state, self.list_id, self.entry)
        return mine == (
            reading.text, reading.stacked, reading.region, match.list_id, match.entry.id,
        )  # fmt: skip


class Outcome(Closed):
    """How one alert came out, by the list it came from and the camera that read the plate."""

    list_id: str
    outcome: str
    camera: str = ""


class Shift(Closed):
    """The state of one shift; replaced whole, never changed in place."""

    person: str = ""
    categories: tuple[str, ...] = ()
    """Silenced until the end of the shift; alerts of high priority sound all the same."""
    cleared: dict[str, Cleared] = Field(default_factory=dict)
    """By the id of the alert that cleared it, so that it can be taken back."""
    outcomes: dict[str, Outcome] = Field(default_factory=dict)
    handed_over: int = 0

    def of(self, person: str) -> Shift:
        """The shift of a person who signs on: theirs goes on, another's does not."""
        return self if self.person == person else Shift(person=person)

    def silence(self, category: str, *, on: bool) -> Shift:
        """Silence a category, or let it sound again.

        Raises:
            RefusedError: ``bad_field``: no such category.
        """
        if category not in get_args(Category):
            raise RefusedError("There is no such category.", reason="bad_field")
        left = tuple(one for one in self.categories if one != category)
        return self.model_copy(update={"categories": (*left, category) if on else left})

    def is_quiet(self, match: Match) -> bool:
        """Whether alerts of this entry come silenced."""
        return match.entry.priority != "high" and match.entry.category in self.categories

    def clear(
        self,
        alert_id: str,
        reading: PlateReading,
        match: Match,
        reason: str,
        now: datetime,
        *,
        suppressed: bool = False,
    ) -> Shift:
        """Let this plate not alarm again; ``suppressed``: it is protected."""
        made = Cleared(
            text=reading.text,
            stacked=reading.stacked,
            state=reading.region,
            list_id=match.list_id,
            entry=match.entry.id,
            reason=reason,
            expires=(now + LONGEST).replace(microsecond=0),
            suppressed=suppressed,
        )
        return self.model_copy(update={"cleared": self.cleared | {alert_id: made}})

    def unclear(self, alert_id: str) -> Shift:
        """Let it alarm again."""
        left = {key: one for key, one in self.cleared.items() if key != alert_id}
        return self.model_copy(update={"cleared": left})

    def writable(self) -> Shift:
        """The shift without what must not reach the disk, even sealed (R-460.5-b3)."""
        left = {key: one for key, one in self.cleared.items() if not one.suppressed}
        return self.model_copy(update={"cleared": left})

    def covers(self, reading: PlateReading, match: Match, now: datetime) -> bool:
        """Whether this hit is of a cleared plate."""
        return any(one.expires > now and one.fits(reading, match) for one in self.cleared.values())

    def count(
        self, alert_id: str, list_id: str, disposition: Disposition, camera: str = ""
    ) -> Shift:
        """Note how an alert stands; a later word on the same alert replaces the earlier."""
        outcome = "misread" if disposition.misread else disposition.result
        if outcome is None:
            return self
        made = Outcome(list_id=list_id, outcome=outcome, camera=camera)
        return self.model_copy(update={"outcomes": self.outcomes | {alert_id: made}})

    def by_list(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of outcomes by list: what a list's own false-hit rate is reckoned from."""
        counts: dict[str, Counter[str]] = {}
        for one in self.outcomes.values():
            counts.setdefault(one.list_id, Counter())[one.outcome] += 1
        return {key: {name: found[name] for name in COUNTED} for key, found in counts.items()}

    def by_camera(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of outcomes by camera: which one reads so that stops go wrong."""
        counts: dict[str, Counter[str]] = {}
        for one in self.outcomes.values():
            if one.camera:
                counts.setdefault(one.camera, Counter())[one.outcome] += 1
        return counts

    def summary(self, unresolved: int) -> dict[str, str | int | bool]:
        """How the alerts came out, list by list, as the trail takes it to central.

        Empty when there was nothing: no alert settled, handed over or left.
        """
        if not self.person or not (self.outcomes or self.handed_over or unresolved):
            return {}
        told: dict[str, str | int | bool] = {
            "person": self.person,
            "handed_over": self.handed_over,
            "unresolved": unresolved,
        }
        for list_id, counts in self.by_list().items():
            told |= {f"{list_id}:{outcome}": count for outcome, count in counts.items()}
        for camera, counts in self.by_camera().items():
            told |= {f"{CAMERA}{camera}:{outcome}": count for outcome, count in counts.items()}
        return told
