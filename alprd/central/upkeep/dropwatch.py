"""Watches the drop folder while ``alprd-central serve`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from alprd.central.hotlists.dropfolder import DropFolder
from alprd.central.storage.store import Central
from alprd.central.upkeep.housekeeping import Housekeeping

log: Final = logging.getLogger("alprd.central.upkeep.dropwatch")
LOOK_S: Final = 60.0
"""Looks as often without being told: network folders tell nothing, and the watch may be lost."""
_TELLING: Final = (
    EVENT_TYPE_CREATED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    EVENT_TYPE_CLOSED,
)


class _Bell(FileSystemEventHandler):
    """Rings when something in the folder may have become a whole file."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rung: asyncio.Event) -> None:
        self._loop = loop
        self._rung = rung

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called in the observer's thread."""
        if event.event_type in _TELLING:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._rung.set)


async def watch(central: Central, stopping: asyncio.Event, duty: Housekeeping) -> None:
    """Take what is dropped until ``stopping``; without a folder in the settings, do nothing.

    Of several workers only the one that holds the lease of housekeeping takes files.

    A folder that cannot be used is told in the log and tried again: the server goes on.
    """
    settings = central.config
    if not settings.drop.folder:
        return
    drop, rung = DropFolder(central.home, settings), asyncio.Event()
    watcher: BaseObserver | None = None
    ender = asyncio.create_task(_end(drop, rung, stopping))
    try:
        while not stopping.is_set():
            rung.clear()
            try:
                if watcher is None or not watcher.is_alive():
                    await asyncio.to_thread(drop.prepare)
                    watcher = _observe(drop.folder, rung)
                if duty.mine:
                    await asyncio.to_thread(drop.take)
            except Exception as error:  # noqa: BLE001 - a strange file must not end the server
                log.error("ALARM: drop folder (%s), tried again", type(error).__name__)
                _end_watch(watcher)
                watcher = None
            soon = drop.waiting or not duty.mine
            pause = settings.drop.settle_s if soon else LOOK_S
            if stopping.is_set():
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), min(pause, LOOK_S))
                # An upload rings many times a second; one look a second is enough.
                await asyncio.wait_for(stopping.wait(), min(1.0, settings.drop.settle_s))
    finally:
        ender.cancel()
        drop.stop()
        _end_watch(watcher)


async def _end(drop: DropFolder, rung: asyncio.Event, stopping: asyncio.Event) -> None:
    """Ends a running import when the server is to stop; its file goes back."""
    await stopping.wait()
    drop.stop()
    rung.set()


def _observe(folder: Path, rung: asyncio.Event) -> BaseObserver:
    observer = Observer()
    observer.schedule(_Bell(asyncio.get_running_loop(), rung), str(folder), recursive=False)
    observer.daemon = True
    observer.start()
    return observer


def _end_watch(watcher: BaseObserver | None) -> None:
    if watcher is not None:
        watcher.stop()
