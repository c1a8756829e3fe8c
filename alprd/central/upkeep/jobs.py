"""Long work that a page starts: a row with how far it is, work in a thread of this process.

Every kind of work that is run here can be interrupted at any instant and done again (publication,
purge, import): a job row is news for a person, never a promise. A row whose process is gone says
so at the next start of a worker on that machine.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import insert, select, update

from alprd.audit import Actor
from alprd.central.publication import publish
from alprd.central.storage.jobs_tables import jobs as table
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, InputError
from alprd.records import new_id

log: Final = logging.getLogger("alprd.central.upkeep.jobs")
_EVERY_S: Final = 1.0
"""The row is written no oftener than this."""
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job ended with: a sentence without any plate, and the page to go on with."""

    text: str
    link: str


Report = Callable[[int, int], None]
"""Tells how far it is: done and total, in any unit."""
Work = Callable[[Report], Outcome]


def start(central: Central, kind: str, actor: Actor, work: Work) -> str:
    """Begin work in a thread; the id of its row.

    Args:
        kind: a few words for the page, such as ``publication to the cars``.
    """
    job, now = new_id(), central.clock()
    with central.database.write() as tx:
        tx.execute(
            insert(table).values(
                id=job,
                kind=kind,
                state="running",
                done=0,
                total=0,
                started_at=now,
                started_by=actor.id,
                worker=_worker(),
                text="",
                link="",
            )
        )
    # With the caller's context: what the work records says from where it was ordered (R-AT-2).
    run = partial(copy_context().run, _run, central, job, work)
    threading.Thread(target=run, name=f"job {kind}").start()
    return job


def start_publication(central: Central, actor: Actor, *, fresh_keys: bool = False) -> str:
    """Publish to the cars as a job; its id."""

    def work(report: Report) -> Outcome:
        made = publish.publish(central, actor, fresh_keys=fresh_keys)
        changed = len(made.changed)
        return Outcome(f"version {made.version} is published, {changed} targets changed", "/cars")

    return start(central, "publication to the cars", actor, work)


def find(central: Central, job: str) -> dict[str, Any]:
    """A job's row for a page.

    Raises:
        InputError: there is none with this id.
    """
    with central.database.read() as tx:
        row = tx.execute(select(table).where(table.c.id == job)).one_or_none()
    if row is None:
        raise InputError("there is no such work")
    return {
        **row._asdict(),
        "started_at": row.started_at.isoformat(),
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "percent": min(100, 100 * row.done // row.total) if row.total else None,
    }


def wait(central: Central, job: str, seconds: float) -> dict[str, Any]:
    """The row of a job when it has ended, or after some seconds as it is then.

    Raises:
        InputError: there is none with this id.
    """
    end = time.monotonic() + seconds
    while (row := find(central, job))["state"] == "running" and time.monotonic() < end:
        time.sleep(_LOOK_S)
    return row


def recent(central: Central, most: int = 10) -> list[dict[str, Any]]:
    """The newest jobs, for the first page of whoever works with them."""
    with central.database.read() as tx:
        ids = tx.scalars(select(table.c.id).order_by(table.c.started_at.desc()).limit(most)).all()
    return [find(central, job) for job in ids]


def forget_interrupted(central: Central) -> int:
    """Tell of the jobs of this machine whose process is gone; how many. At the start of serving."""
    gone = 0
    with central.database.write() as tx:
        for row in tx.execute(select(table.c.id, table.c.worker).where(table.c.state == "running")):
            node, _, pid = row.worker.rpartition(" ")
            if node != platform.node() or (_alive(int(pid)) and int(pid) != os.getpid()):
                continue
            tx.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(
                    state="interrupted",
                    ended_at=central.clock(),
                    text="the server stopped meanwhile; nothing is half done, begin it again",
                )
            )
            gone += 1
    return gone


def _run(central: Central, job: str, work: Work) -> None:
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last < _EVERY_S:
            return
        last = time.monotonic()
        _write(central, job, done=done, total=total)

    try:
        outcome = work(report)
    except AlprdError as error:
        text = f"{error.message} ({error.remedy})" if error.remedy else error.message
        _end(central, job, "failed", text, "")
    except Exception as error:  # noqa: BLE001 - else the row would say "running" for ever
        log.error("ALARM: a job failed (%s)", type(error).__name__)
        _end(central, job, "failed", f"it failed: {type(error).__name__}", "")
    else:
        _end(central, job, "done", outcome.text, outcome.link)


def _end(central: Central, job: str, state: str, text: str, link: str) -> None:
    _write(central, job, state=state, text=text[:2000], link=link, ended_at=central.clock())


def _write(central: Central, job: str, **values: Any) -> None:
    try:
        with central.database.write() as tx:
            tx.execute(update(table).where(table.c.id == job).values(**values))
    except AlprdError as error:  # the work itself goes on; its row tells less
        log.error("a job's row could not be written (%s)", type(error).__name__)


def _worker() -> str:
    return f"{platform.node()} {os.getpid()}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
