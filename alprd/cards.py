"""What stands on the alert board: sightings of a plate, folded into cards, and views of them.

RAM only. A :class:`Sighting` is one pass that matched one entry, a :class:`Card` the sightings a
person deals with as one; :class:`alprd.views.AlertView` freezes one. The board
(:mod:`alprd.alerts`) owns and locks them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from alprd.audit import Event
from alprd.dispositions import Disposition
from alprd.frames import PlateReading
from alprd.hotlist import Match
from alprd.records import new_id
from alprd.views import AlertView, Change, Picture, State

__all__ = ["AlertView", "Card", "Change", "Deck", "Note", "Picture", "Sighting", "State"]

PRIORITY: Final[Mapping[str, int]] = {"high": 0, "medium": 1, "low": 2}
"""Order of priorities, gravest first."""

LINGER_S: Final = 10 * 60.0
"""How long a settled card stays; an unsettled one stays, so that nothing is forgotten."""
MAX_AGE_S: Final = 12 * 3600.0
"""How long any card stays: a long shift."""
QUIET_HIGH_S: Final = 60.0
QUIET_S: Final = 10 * 60.0
"""Time after an act (or alarm) in which a repeat of the same plate and entry makes no sound."""
MAX_CARDS: Final = 100
_KEPT_SIGHTINGS: Final = 4
_TOMBSTONES: Final = 512


@dataclass(slots=True, eq=False)
class Sighting:
    """One pass of a plate that matched one entry, with pictures that can be overwritten."""

    pass_id: str
    camera: str
    reading: PlateReading
    match: Match
    plate: bytearray
    wide: bytearray | None
    instant: datetime
    time_trusted: bool
    captured_mono_ns: int
    session: str
    suppressed: bool
    decided_mono_ns: int = 0

    def key(self) -> tuple[str, str, str, bool]:
        """What folds: list, entry, text; another state is another vehicle."""
        match = self.match
        return match.list_id, match.entry.id, self.reading.text, match.kind == "other-state"

    def says(self) -> tuple[object, ...]:
        """Everything a person is told; a later reading that says the same is no correction."""
        reading, match = self.reading, self.match
        how = match.kind, match.differing, match.type_differs
        return reading.text, reading.stacked, reading.region, *how

    def copy(self, match: Match) -> Sighting:
        """The same sighting for another match, with pictures of its own."""
        wide = None if self.wide is None else bytearray(self.wide)
        return replace(self, match=match, plate=bytearray(self.plate), wide=wide)

    def wipe(self) -> None:
        """Overwrite the pictures (R-460.5-b3)."""
        for picture in (self.plate, self.wide):
            if picture is not None:
                picture[:] = bytes(len(picture))


@dataclass(slots=True, eq=False)
class Card:
    """Sightings of one plate and entry, and what has been done about them."""

    id: str
    sightings: list[Sighting]
    first_instant: datetime
    born: float
    acted: float
    """Monotonic second of the last act or alarm."""
    state: State = "new"
    number: int = 0
    alarm: int = 0
    count: int = 1
    corrected_from: str = ""
    reason: str = ""
    picture_version: int = 0
    disposition: Disposition = field(default_factory=Disposition)
    cleared_until: datetime | None = None
    eager: bool = False
    """The person asked to hear the next pass, however soon after an act it comes."""
    shown: set[tuple[str, int]] = field(default_factory=set)
    """Persons told, each with the alarm they were told of."""

    @property
    def current(self) -> Sighting:
        """The sighting that the card shows: the latest."""
        return self.sightings[-1]

    def rank(self) -> tuple[int, int, int]:
        """Order on screen: open, then acknowledged, then settled; high before low, newest first."""
        done = 0 if self.state != "acknowledged" else 2 if self.disposition.settled else 1
        return done, PRIORITY[self.current.match.entry.priority], -self.alarm

    def view(self) -> AlertView:
        """The card as it is now."""
        now = self.current
        return AlertView(
            id=self.id,
            number=self.number,
            alarm=self.alarm,
            state=self.state,
            reading=now.reading,
            match=now.match,
            camera=now.camera,
            pass_id=now.pass_id,
            session=now.session,
            instant=now.instant,
            first_instant=self.first_instant,
            time_trusted=now.time_trusted,
            captured_mono_ns=now.captured_mono_ns,
            decided_mono_ns=now.decided_mono_ns,
            count=self.count,
            corrected_from=self.corrected_from,
            reason=self.reason,
            has_wide=now.wide is not None,
            picture_version=self.picture_version,
            suppressed=now.suppressed,
            disposition=self.disposition,
            cleared_until=self.cleared_until,
        )


Note = tuple[Event, str, str]
"""For the trail: what happened, to which card, in which session."""


class Deck:
    """The cards and how they fold, change and end. Not thread-safe: the board locks it.

    Args:
        monotonic: seconds; times quiet and lingering.
        max_cards: most cards kept; the least important gives way.
    """

    def __init__(self, monotonic: Callable[[], float], max_cards: int) -> None:
        self._monotonic = monotonic
        self._max_cards = max_cards
        self.cards: dict[str, Card] = {}
        self.number = 0
        self.gone: deque[tuple[int, str]] = deque(maxlen=_TOMBSTONES)
        """Cards that left, with the number of that change."""
        self.forgotten = 0
        """Departures up to this number are no longer in ``gone``."""
        self.is_quiet: Callable[[Match], bool] = lambda match: False
        self.is_cleared: Callable[[Sighting], bool] = lambda sighting: False

    def _next(self) -> int:
        self.number += 1
        return self.number

    def touch(self, card: Card, *, loud: bool = False) -> None:
        """Number a change of a card; a loud one makes pages sound."""
        card.number = self._next()
        if loud:
            card.alarm = card.number
            card.acted = self._monotonic()

    def of_pass(self, pass_id: str) -> list[tuple[Card, Sighting]]:
        """The standing cards that rest on a pass, each with its sighting."""
        return [
            (card, sighting)
            for card in self.cards.values()
            if card.state != "withdrawn"
            for sighting in card.sightings
            if sighting.pass_id == pass_id
        ]

    def correct(
        self, base: Sighting, matches: Sequence[Match], notes: list[Note]
    ) -> tuple[str, ...]:
        """Bring the cards of a pass to a new reading and its matches; the cards that stand.

        Args:
            base: the sighting as it now is, its ``match`` of no meaning; wiped before return.
            notes: gets what has to be recorded.
        """
        left = list(matches)
        ids: list[str] = []
        for card, old in self.of_pass(base.pass_id):
            found = next((m for m in left if _same_entry(m, old.match)), None)
            if found is None:
                self.retract(card, old, "The plate was read again and does not match.")
                notes.append((Event.ALERT_WITHDRAWN, card.id, old.session))
            else:
                left.remove(found)
                ids.append(self._amend(card, old, base.copy(found), notes))
        ids += filter(None, [self.place(base.copy(match)) for match in left])
        base.wipe()
        return tuple(ids)

    def place(self, sighting: Sighting) -> str:
        """Fold a sighting into its card, or begin one; the card's id, or "" if it is cleared."""
        if self.is_cleared(sighting):
            sighting.wipe()
            return ""
        key = sighting.key()
        for card in self.cards.values():
            if card.state == "withdrawn" or card.current.key() != key:
                continue
            for at, known in enumerate(card.sightings):
                if known.pass_id == sighting.pass_id:
                    return self._renew(card, at, sighting)
            return self._repeat(card, sighting)
        now = self._monotonic()
        card = Card(new_id(), [sighting], sighting.instant, born=now, acted=now)
        if self.is_quiet(sighting.match):
            card.state = "silenced"
        self.cards[card.id] = card
        self.touch(card, loud=True)
        while len(self.cards) > self._max_cards:
            self.end(max(self.cards.values(), key=Card.rank))
        return card.id

    def put_back(self, view: AlertView, plate: bytes, wide: bytes | None, age_s: float) -> None:
        """Put a card of an earlier start on the deck: as it was, with the latest sighting alone."""
        now = self._monotonic()
        sighting = Sighting(
            view.pass_id, view.camera, view.reading, view.match, bytearray(plate),
            None if wide is None else bytearray(wide), view.instant, view.time_trusted,
            view.captured_mono_ns, view.session, view.suppressed,
        )  # fmt: skip
        card = Card(view.id, [sighting], view.first_instant, born=now - age_s, acted=now)
        card.state, card.count = view.state, view.count
        card.corrected_from, card.reason = view.corrected_from, view.reason
        card.disposition, card.cleared_until = view.disposition, view.cleared_until
        self.cards[card.id] = card
        self.touch(card, loud=True)

    def _renew(self, card: Card, at: int, sighting: Sighting) -> str:
        card.sightings[at].wipe()
        card.sightings[at] = sighting
        card.picture_version += 1
        self.touch(card)
        return card.id

    def _repeat(self, card: Card, sighting: Sighting) -> str:
        high = sighting.match.entry.priority == "high"
        quiet_s = QUIET_HIGH_S if high else QUIET_S
        over = card.eager or self._monotonic() - card.acted > quiet_s
        graver = (
            PRIORITY[sighting.match.entry.priority] < PRIORITY[card.current.match.entry.priority]
        )
        over = (over or graver) and not self.is_quiet(sighting.match)
        card.sightings.append(sighting)
        for old in card.sightings[:-_KEPT_SIGHTINGS]:
            old.wipe()
        del card.sightings[:-_KEPT_SIGHTINGS]
        card.count += 1
        card.picture_version += 1
        if over:
            self._afresh(card)
        self.touch(card, loud=over)
        return card.id

    @staticmethod
    def _afresh(card: Card) -> None:
        """A card that sounds again: what was settled before is in the trail, not on the card."""
        card.state = "new"
        card.cleared_until = None
        card.eager = False
        if card.disposition.settled:
            card.disposition = Disposition()

    def _amend(
        self,
        card: Card,
        old: Sighting,
        new: Sighting,
        notes: list[Note],
    ) -> str:
        at = card.sightings.index(old)
        if new.says() == old.says():
            return self._renew(card, at, new)
        taken = any(
            other is not card and other.state != "withdrawn" and other.current.key() == new.key()
            for other in self.cards.values()
        )
        if len(card.sightings) > 1 or taken:  # other passes stand behind one of the two cards
            self.retract(card, old, "The plate was read again, differently: see the other card.")
            notes.append((Event.ALERT_WITHDRAWN, card.id, old.session))
            return self.place(new)
        card.corrected_from = old.reading.text
        card.state = "new"
        card.disposition = Disposition()  # what was found out was about another reading
        card.cleared_until = None
        self._renew(card, at, new)
        self.touch(card, loud=True)
        notes.append((Event.ALERT_CORRECTED, card.id, new.session))
        return card.id

    def retract(self, card: Card, sighting: Sighting, reason: str) -> None:
        """Take one pass off a card; the last one withdraws it."""
        if len(card.sightings) > 1:
            card.sightings.remove(sighting)
            sighting.wipe()
            card.count -= 1
            card.reason = f"One sighting was taken back. {reason} The others stand."
            card.picture_version += 1
            card.state = "new"
        else:
            # Its pictures go, whatever the cause: a covered plate's must (R-460.5-b2), and a
            # difference between withdrawn cards would tell which those are (R-460.5-b4).
            sighting.wipe()
            sighting.plate, sighting.wide = bytearray(), None
            card.picture_version += 1
            card.state = "withdrawn"
            card.reason = reason
        self.touch(card, loud=True)

    def expire(self) -> None:
        """End the cards whose time is over."""
        now = self._monotonic()
        for card in list(self.cards.values()):
            done = card.state == "acknowledged" and card.disposition.settled
            lingered = done and now - card.acted > LINGER_S
            if lingered or now - card.born > MAX_AGE_S:
                self.end(card)

    def end(self, card: Card) -> None:
        """Take a card off, its pictures overwritten."""
        for sighting in card.sightings:
            sighting.wipe()
        del self.cards[card.id]
        if len(self.gone) == self.gone.maxlen:
            self.forgotten = self.gone[0][0]
        self.gone.append((self._next(), card.id))


def _same_entry(one: Match, other: Match) -> bool:
    return (one.list_id, one.entry.id) == (other.list_id, other.entry.id)
