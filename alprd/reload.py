"""Changes of the configuration while the daemon runs: seen, checked, recorded, then applied.

The package *watchdog* tells of changes to the file and its drop-in folder, also of editors that
write a new file and rename it over the old one. After half a second of quiet the files are read
again. A configuration with a mistake changes nothing: the one in force stays, and the status
names file, line and remedy. Cameras, GPS source, dock and log level are applied at once. Anything
else needs a fresh start, which waits until nobody collects; SIGHUP does not wait.

Every change and every refusal is recorded with the files' owner and SHA-256, never their words
(R-AT-1, R-AT-4), and before it is applied: what cannot be recorded is not done (R-AT-3).
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from alprd.audit import Event, Trail
from alprd.config import Config, examine
from alprd.dropins import Layers, folder_of, read_layers
from alprd.errors import AlprdError, ConfigError, StoreError
from alprd.workers import Beat

log = logging.getLogger(__name__)

LIVE: Final = frozenset({"camera", "gps", "dock", "log"})
"""Tables that can change while the daemon runs."""
QUIET_S: Final = 0.5
"""An editor or installer is given this long to finish ..."""
LONGEST_WAIT_S: Final = 3.0
"""... and no longer than this after its first change."""
_READS: Final = frozenset({"opened", "closed_no_write"})
_SHA: Final = "config-sha256"
_LONGEST_PLACE: Final = 200


class ConfigStore(Trail, Protocol):
    """The trail, and a place for the digest of the configuration that was last in force."""

    def get_meta(self, key: str) -> str | None:
        """A value kept under a name."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a value under a name."""


class Reloader:
    """Watches, checks and applies; :meth:`run` is a worker.

    Args:
        config: in force now, read from ``path``.
        apply: puts the live tables of a configuration in force; may raise, having changed nothing.
        rehearse: raises if a fresh start with this configuration would fail.
        reloading: told with True before and False after files are looked at.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        store: ConfigStore,
        apply: Callable[[Config], None],
        rehearse: Callable[[Config], None] = lambda config: None,
        reloading: Callable[[bool], None] = lambda begun: None,
    ) -> None:
        self._path = path.absolute()
        self._store = store
        self._apply = apply
        self._rehearse = rehearse
        self._reloading = reloading
        self._lock = threading.Lock()
        self._begun_with = config
        self._current = config
        self._seen = ""
        self._touched: tuple[float, float] | None = None
        self.problem = ""
        """Why the files are not in force, with place and remedy; empty if they are."""
        self.restart: tuple[str, ...] = ()
        """Tables that wait for a fresh start."""
        self.at_once = False
        """SIGHUP: the fresh start does not wait until nobody collects."""

    def begin(self) -> None:
        """Record the configuration of this start if it is not that of the last one.

        Raises:
            AuditError: it cannot be recorded.
        """
        try:
            layers = read_layers(self._path)
        except ConfigError:  # changed since it was loaded: the worker will see it
            return
        self._seen = layers.sha256
        if self._store.get_meta(_SHA) != layers.sha256:
            self._changed(layers, (), ())

    # --- the worker ---------------------------------------------------------------------------

    def run(self, beat: Beat) -> None:
        """Look for changes until told to stop."""
        watch = _Watch(self._path, self._touch)
        self._touch()  # what changed before the watch began
        try:
            while not beat.sleep(0.25):
                touched = self._touched
                if touched is None:
                    continue
                first, last = touched
                now = time.monotonic()
                if now - last >= QUIET_S or now - first >= LONGEST_WAIT_S:
                    self._touched = None
                    watch.follow()
                    self.look()
        finally:
            watch.stop()

    def _touch(self) -> None:
        now = time.monotonic()
        touched = self._touched
        self._touched = (touched[0] if touched else now, now)

    def hang_up(self) -> None:
        """SIGHUP: look now, and start afresh at once if that is needed. Safe in a handler."""
        self.at_once = True
        self._touched = (0.0, 0.0)

    @property
    def alarm(self) -> str:
        """What a person should know, "" while the files are in force."""
        if self.problem:
            return f"configuration not taken: {self.problem.splitlines()[0]}"
        if self.restart:
            return f"a new configuration ({', '.join(self.restart)}) waits until nobody collects"
        return ""

    def due(self, *, collecting: bool) -> bool:
        """Whether the fresh start should be made now."""
        return bool(self.restart) and (self.at_once or not collecting) and not self.problem

    # --- one look -----------------------------------------------------------------------------

    def look(self) -> None:
        """Read the files; if they differ from what was seen last, refuse or apply them."""
        with self._lock:
            try:
                layers: Layers | None = read_layers(self._path)
            except ConfigError:
                layers = None  # examine() says why
            if layers is None or layers.sha256 != self._seen or self.problem:
                self._reloading(True)
                try:
                    self._take()
                finally:
                    self._reloading(False)
            self.at_once = self.at_once and bool(self.restart)

    def _take(self) -> None:
        layers: Layers | None = None
        try:
            layers = read_layers(self._path)
            config, layers = examine(self._path)
            live = self._differing(config, self._current) & LIVE
            restart = self._differing(config, self._begun_with) - LIVE
            if restart:
                self._rehearse(config)
            self._changed(layers, sorted(live), sorted(restart))
            if live:
                self._apply(config)
        except AlprdError as error:
            self._refuse(error, layers)
            return
        self._seen = layers.sha256
        self._current = config
        self.restart = tuple(sorted(restart))
        self.problem = ""
        log.info(
            "configuration taken: applied %s; waits for a fresh start: %s",
            ", ".join(sorted(live)) or "nothing",
            ", ".join(self.restart) or "nothing",
        )

    def _refuse(self, error: AlprdError, layers: Layers | None) -> None:
        told = error.diagnostics()
        if layers is not None:
            self._seen = layers.sha256
        if told == self.problem:
            return
        self.problem = told
        log.error("configuration not taken: %s", told)
        detail: dict[str, str | int | bool] = {"place": _places(error)}
        if layers is not None:
            detail |= {"who": layers.owners, "sha256": layers.sha256, "files": len(layers.files)}
        try:
            self._store.record(Event.CONFIG_REFUSED, detail=detail)
        except StoreError as failed:  # nothing was changed, so nothing has to be undone
            log.error("the refusal could not be recorded: %s", failed.diagnostics())

    def _changed(self, layers: Layers, live: tuple[str, ...] | list[str], restart: object) -> None:
        waits = ", ".join(restart) if isinstance(restart, list) else ""
        self._store.record(
            Event.CONFIG_CHANGED,
            detail={
                "who": layers.owners,
                "sha256": layers.sha256,
                "files": len(layers.files),
                "applied": ", ".join(live),
                "restart": waits,
            },
        )
        self._store.set_meta(_SHA, layers.sha256)

    @staticmethod
    def _differing(one: Config, other: Config) -> set[str]:
        return {name for name in Config.model_fields if getattr(one, name) != getattr(other, name)}


def _places(error: AlprdError) -> str:
    """``file:line`` of each problem and nothing else: the rest could quote the file's words."""
    found = [re.match(r"([^:\n]+):(\d+):", line) for line in error.message.splitlines()]
    places = ", ".join(f"{Path(m[1]).name}:{m[2]}" for m in found if m)
    return places[:_LONGEST_PLACE] or type(error).__name__


class _Watch(FileSystemEventHandler):
    """Watches the folder of the file (and of its target, if it is a link) and the drop-ins'."""

    def __init__(self, path: Path, touched: Callable[[], None]) -> None:
        self._path = path
        self._folder = folder_of(path)
        self._touched = touched
        self._inside: tuple[int, ObservedWatch] | None = None
        self._observer = self._start()
        self.follow()

    def _start(self) -> BaseObserver:
        for kind in (Observer, PollingObserver):
            observer: BaseObserver = kind()
            for folder in {self._path.parent, self._path.resolve().parent}:
                observer.schedule(self, str(folder))
            try:
                observer.start()
            except OSError as error:  # the system's number of watches is used up
                log.warning("configuration is looked at by polling: %s", error.strerror or "")
                continue
            return observer
        raise ConfigError(
            f"{self._path.parent} cannot be watched", remedy="let the daemon's user read it"
        )

    def follow(self) -> None:
        """Watch the drop-in folder if there is one now, and that of this very moment."""
        try:
            number = self._folder.stat().st_ino if self._folder.is_dir() else None
        except OSError:
            number = None
        if self._inside is not None and self._inside[0] != number:
            self._observer.unschedule(self._inside[1])
            self._inside = None
        if number is not None and self._inside is None:
            try:
                watch = self._observer.schedule(self, str(self._folder))
            except OSError:  # gone again
                return
            self._inside = (number, watch)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by the observer's thread."""
        if event.event_type in _READS:
            return
        mine = {self._path, self._path.resolve(), self._folder}
        for name in (event.src_path, event.dest_path):
            path = Path(os.fsdecode(name))
            if path in mine or (path.parent == self._folder and path.suffix == ".toml"):
                self._touched()

    def stop(self) -> None:
        """End the observer's threads."""
        self._observer.stop()
        self._observer.join(2.0)
