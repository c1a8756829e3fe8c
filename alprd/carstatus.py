"""The state of the car at one moment, gathered from its parts: counts and health, never a read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from alprd.audit import Actor
from alprd.clock import DisciplinedClock
from alprd.collecting import Collecting
from alprd.custody import CUSTODIAN_ROLE
from alprd.devices import Devices
from alprd.mdt.status import CameraState, CarStatus, ListState
from alprd.permits import PermitBook
from alprd.process import notify
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.sync import DockSync
from alprd.targets import TargetSet
from alprd.workers import Beat


class StatusBook:
    """Gathers :class:`CarStatus`; any thread.

    Args:
        targets: the verified set in force, if any.
        alarms: what is wrong with the car itself, in words ready to show.
    """

    def __init__(
        self,
        *,
        devices: Devices,
        clock: DisciplinedClock,
        store: Store,
        sessions: SessionKeeper,
        permits: PermitBook,
        dock: DockSync,
        collecting: Collecting,
        targets: Callable[[], TargetSet | None],
        alarms: Callable[[], tuple[str, ...]] = tuple,
        post: Callable[[], bool] = bool,
    ) -> None:
        self._devices = devices
        self._clock = clock
        self._store = store
        self._sessions = sessions
        self._permits = permits
        self._dock = dock
        self._collecting = collecting
        self._targets = targets
        self._alarms = alarms
        self._post = post

    def now(self) -> CarStatus:
        """The state of the car at this moment."""
        now, trusted = self._clock.now()
        gps = self._devices.gps.status()
        targets = self._targets()
        permit = self._permits.permit
        row = self._sessions.row()
        actor = self._collecting.actor
        policy = targets.policy if targets else None
        return CarStatus(
            cameras=tuple(
                CameraState(camera.name, camera.up, camera.age_s, camera.line())
                for camera in (lane.status() for lane in self._devices.lanes)
            ),
            gps_fix=gps.fix,
            gps_age_s=gps.age_s,
            clock_trusted=trusted,
            lists=tuple(
                ListState(item.list_id, item.source, item.age(now) / timedelta(hours=1))
                for item in (targets.matcher.lists() if targets else ())
            ),
            permit_expires=permit.expires if permit and not permit.suspended else None,
            queued=self._store.pending().reads,
            dock=self._dock.status().text,
            session_open=row is not None,
            plates_read=row.plates_read if row else 0,
            person=_who(actor),
            post=self._post(),
            list_warn_hours=policy.list_warn_hours if policy else 24,
            list_stop_hours=policy.list_stop_hours if policy else 72,
            alarms=self._alarms(),
        )

    def tell(self, beat: Beat) -> None:
        """A worker that tells systemd the state in one line."""
        told = ""
        while not beat.sleep(1.0):
            words = line(self.now())
            if words != told:
                notify(f"STATUS={words}")
                told = words


def _who(actor: Actor | None) -> str | None:
    """Who is collecting; the custodian is not at the screen."""
    if actor is None or actor.role != CUSTODIAN_ROLE:
        return actor.name if actor else None
    return f"nobody (custodian {actor.name})"


def line(status: CarStatus) -> str:
    """The state in one line, as systemd shows it; counts only."""
    up = sum(camera.up for camera in status.cameras)
    told = [
        f"{up} of {len(status.cameras)} cameras",
        "GPS fix" if status.gps_fix else "no GPS fix",
        "collecting" if status.session_open else "not collecting",
        f"{status.queued} to go",
    ]
    if status.alarms:
        told.append(f"{len(status.alarms)} alarm{'s' * (len(status.alarms) > 1)}")
    return ", ".join(told)
