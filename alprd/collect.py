"""From a pass of a plate to an alert and a committed read, in the order that the law asks for.

Read → match → suppression → only then anything is written, shown or sent (R-460.5-b2). Everything
before that happens in RAM. A covered plate leaves nothing but its bare count; an entry of a
criminal category still alerts (R-460.5-b3) and leaves nothing either. Pictures of a pass that is
not kept are overwritten before their memory is given back.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TextIO

import cv2
from pydantic import ValidationError

from alprd.alerts import AlertBoard
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.crypto import seal_read
from alprd.custody import HeldAlerts
from alprd.disk import DiskGuard
from alprd.errors import InputError, StoreError
from alprd.frames import Image, PassEvent, PlateReading
from alprd.hotlist import Match
from alprd.lives import Lives
from alprd.records import MAX_LIFE, Plate, Read, new_id
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.suppress import Decision, decide
from alprd.targets import TargetSet

log = logging.getLogger(__name__)

PLATE_QUALITY: Final = 88
WIDE_QUALITY: Final = 72
KEY_ALARM: Final = "intake_key"
MOST_ALERTS: Final = 4
"""Cards that one pass may raise: one plate can stand on several lists."""


def encode_jpeg(image: Image, quality: int) -> bytes:
    """BGR picture → JPEG bytes without any embedded metadata (R-460.4.1-a)."""
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:  # only an empty picture does this
        raise ValueError("picture cannot be encoded")
    return data.tobytes()


class Collector:
    """Turns pass events into alerts and committed reads; called by the cameras' threads.

    Args:
        targets: the verified lists, keys and policy in force, or None before the first dock.
        lives: when each read must be gone.
        disk: what is kept while the disk is low, and how long a read waits for it; None in tests
            without one: a commit that fails then raises at once.
        longest_life: this car's own limit, at most the law's; the policy's may be shorter.
        held: where hits wait while nobody is signed on.
        witness: where each committed read is told, as a JSON line of id, sureness and
            instants, never the plate; for the demo's scorecard and the crash bench, which must
            count from outside.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: SessionKeeper,
        board: AlertBoard,
        clock: DisciplinedClock,
        positions: PositionTrack,
        targets: Callable[[], TargetSet | None],
        lives: Lives,
        agency: str,
        vehicle: str,
        disk: DiskGuard | None = None,
        longest_life: timedelta = MAX_LIFE,
        witness: TextIO | None = None,
        held: HeldAlerts | None = None,
    ) -> None:
        self._held = held
        self._disk = disk
        self._longest_life = longest_life
        self._store = store
        self._sessions = sessions
        self._board = board
        self._clock = clock
        self._positions = positions
        self._targets = targets
        self._lives = lives
        self._agency = agency
        self._vehicle = vehicle
        self._witness = witness
        self._covered: set[str] = set()
        """Passes of which any reading was covered: the whole pass is, over-suppression accepted
        (T-10)."""

    def handle(self, event: PassEvent) -> None:
        """Decide one event and act on it.

        Raises:
            StoreError: an alert's event, or without ``disk`` a read, could not be written; nothing
                of it was shown or kept.
        """
        targets = self._targets()
        session = self._sessions.row()
        if targets is None or session is None:
            _wipe(event)
            return
        now, _ = self._clock.now()
        matches: tuple[Match, ...] = ()
        decision = Decision((), keep=False)
        reading = event.reading
        covered = False
        refused: StoreError | None = None
        if reading is not None:
            matches = targets.matcher.match(reading, now)
            covered = targets.suppression.covers(reading) or event.pass_id in self._covered
            decision = decide(covered, matches)
            try:
                self._alert(event, reading, decision, session.id, covered)
            except StoreError as error:  # its event cannot be written; the read may still be kept
                refused = error
        if event.kind == "final":
            if reading is not None and decision.keep:
                self._commit(event, reading, matches, targets)
            else:
                # Counted like a pass that gave no text: a text in the figures would be missing
                # from the queue. Its alert (R-460.5-b3) stands in the trail, so its match is
                # counted too, once nothing in the row tells it from another (R-460.5-b4).
                shown = decision.alerts if reading is not None and reading.sure else ()
                categories = [match.entry.category for match in shown]
                self._sessions.count_pass(None, () if covered else categories)
                if covered:
                    self._sessions.owe_matches(frozenset(categories))
            self._covered.discard(event.pass_id)
        elif covered:
            self._covered.add(event.pass_id)
        if event.kind == "final" and not decision.keep:
            _wipe(event)
        if refused is not None:
            raise refused

    def _alert(
        self,
        event: PassEvent,
        reading: PlateReading,
        decision: Decision,
        session: str,
        covered: bool,
    ) -> None:
        """Raise, correct or withdraw the alerts of a pass; only a sure reading may alarm."""
        matches = decision.alerts[:MOST_ALERTS] if reading.sure else ()
        told = self._board.knows(event.pass_id)
        if not told and not matches:
            return
        if not told and self._held is not None and self._held.holding:
            if event.kind == "final":  # shown to nobody now, so only the last word counts
                self._hold(self._held, event, reading, matches[0], session, covered)
            return
        if told and decision.alerts and not matches:
            return  # an unsure last look does not take back what a sure one said
        pictures = self._pictures(event)
        instant, trusted = self._clock.utc(event.best_mono_ns)
        if told:
            self._board.correct(
                event.pass_id,
                reading,
                matches,
                plate_jpeg=pictures[0] if pictures else None,
                wide_jpeg=pictures[1] if pictures else None,
                instant=instant,
                captured_mono_ns=event.first_mono_ns,
                decided_mono_ns=_decided(event),
                suppressed=covered,
            )
            return
        if pictures is None:
            log.error("a pass of camera %s came without its picture", event.camera)
            return
        for match in matches:
            self._board.raise_alert(
                pass_id=event.pass_id,
                camera=event.camera,
                reading=reading,
                match=match,
                plate_jpeg=pictures[0],
                wide_jpeg=pictures[1],
                instant=instant,
                time_trusted=trusted,
                captured_mono_ns=event.first_mono_ns,
                session=session,
                suppressed=covered,
                decided_mono_ns=_decided(event),
            )

    def _hold(
        self,
        held: HeldAlerts,
        event: PassEvent,
        reading: PlateReading,
        match: Match,
        session: str,
        covered: bool,
    ) -> None:
        """Keep a hit for the next sign-on; its read is committed whether this works or not."""
        pictures, targets = self._pictures(event), self._targets()
        if pictures is None or targets is None:
            return
        instant, trusted = self._clock.utc(event.best_mono_ns)
        try:
            held.hold(
                pass_id=event.pass_id,
                camera=event.camera,
                reading=reading,
                category=match.entry.category,
                plate_jpeg=pictures[0],
                wide_jpeg=pictures[1],
                instant=instant,
                time_trusted=trusted,
                session=session,
                life=timedelta(hours=targets.policy.retention_hours),
                suppressed=covered,
            )
        except StoreError as error:
            log.error("a hit could not be held for the next sign-on: %s", error.message)

    @staticmethod
    def _pictures(event: PassEvent) -> tuple[bytes, bytes | None] | None:
        if event.plate_image is None:
            return None
        wide = event.wide_image
        return (
            encode_jpeg(event.plate_image, PLATE_QUALITY),
            None if wide is None else encode_jpeg(wide, WIDE_QUALITY),
        )

    def _commit(
        self,
        event: PassEvent,
        reading: PlateReading,
        matches: tuple[Match, ...],
        targets: TargetSet,
    ) -> None:
        """Seal the read of a finished pass and commit it to the queue."""
        hit = bool(matches) and reading.sure
        row = self._sessions.count_pass(
            reading.text, (m.entry.category for m in matches if reading.sure)
        )
        pictures = self._pictures(event)
        if row is None or pictures is None:
            return
        instant, trusted = self._clock.utc(event.best_mono_ns)
        try:
            read = self._read(reading, pictures, row.id, instant, trusted, event, targets)
        except ValidationError:
            # The cause quotes plate text, which must not travel into logs.
            raise InputError("a read does not fit the closed schema (R-460.4.1-a)") from None
        key, of_the_day = targets.intake_key(instant.date())
        if of_the_day:
            self._store.alarms.clear(KEY_ALARM)
        else:
            self._store.alarms.raise_alarm(
                KEY_ALARM, "no intake key for this day; reads are sealed to the last one: dock"
            )
        envelope = seal_read(read, agency=self._agency, vehicle=self._vehicle, intake_key=key)

        def write() -> None:
            self._store.commit_read(envelope, hit=hit, session_row=row)

        if self._disk is None:
            write()
        elif not self._disk.commit(write):
            return
        if not trusted:
            age_ns = time.monotonic_ns() - event.best_mono_ns
            self._lives.unsure(read.id, age_ns, self._life(targets))
        if self._witness is not None:
            line = {
                "id": read.id,
                "sure": reading.sure,
                "mono_ns": time.monotonic_ns(),
                # The pass's last frame: between the two instants the read was in RAM alone.
                "last_frame_mono_ns": (event.detail or {}).get("end_mono_ns", event.best_mono_ns),
            }
            self._witness.write(json.dumps(line) + "\n")
            self._witness.flush()

    def _read(
        self,
        reading: PlateReading,
        pictures: tuple[bytes, bytes | None],
        session: str,
        instant: datetime,
        trusted: bool,
        event: PassEvent,
        targets: TargetSet,
    ) -> Read:
        return Read(
            id=new_id(),
            session=session,
            destroy_by=self._lives.end(instant, trusted, self._life(targets)),
            plate=Plate(text=reading.text, stacked=reading.stacked, state=reading.region),
            instant=instant,
            time_trusted=trusted,
            position=self._positions.at(event.best_mono_ns),
            plate_picture=pictures[0],
            wide_picture=pictures[1] if self._disk is None or self._disk.keep_wide else None,
        )

    def _life(self, targets: TargetSet) -> timedelta:
        return min(timedelta(hours=targets.policy.retention_hours), self._longest_life)


def _decided(event: PassEvent) -> int:
    """The last frame of the pass so far: what it showed made the event."""
    return int((event.detail or {}).get("end_mono_ns", event.best_mono_ns))


def _wipe(event: PassEvent) -> None:
    """Overwrite a pass's pictures in place (R-460.5-b2)."""
    for image in (event.plate_image, event.wide_image):
        if image is not None and image.flags.writeable:
            image.fill(0)
