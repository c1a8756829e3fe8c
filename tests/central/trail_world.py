"""Drivers of the trail's tests: forms over HTTP, and commands; each looks what the trail got.

A section of a test file declares what it drives (:func:`drives`) and must fulfil exactly that, also
when it runs alone. ``test_trail_every.py`` adds the declarations up without running anything.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import httpx
import storekind
from central_world import AGENCY, PASSWORD, ZONE, Car, Server, make_home, make_read, run
from pages_world import sign_on, staff
from sqlalchemy import func, select
from trail_map import COMMANDS

from alprd.audit import Actor
from alprd.central.pages import inventory
from alprd.central.publication import publish
from alprd.central.staff import people
from alprd.central.storage import audit, config, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central, initialise
from alprd.errors import AlprdError
from alprd.records import Read
from alprd.wire import AuditEvent

P = ParamSpec("P")
WORDS: Final = "The van passed the reader on its way from the burgled store."
OTHER: Final = "A witness wrote the number of the van down near the school."
DECLARED: Final[dict[str, frozenset[object]]] = {}
"""What every imported section drives: forms and looks as (path, event), commands by their words."""


def local(minutes: float = 0) -> str:
    """A local time, as a person types it into a form."""
    return (datetime.now(ZONE) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M")


def day(days: int = 0) -> str:
    """A local date, as a person types it."""
    return (datetime.now(ZONE).date() + timedelta(days=days)).isoformat()


def approved(folder: Path) -> Iterator[Server]:
    """A running central whose county attorney has approved access of data subjects."""
    home = make_home(folder / "home")
    with (home / "central.toml").open("a") as settings:
        settings.write('\n[release]\ndata_subject_opinion = "CA 26-9 (invented)"\n')
    made = Server(home)
    made.start()
    yield made
    assert made.stop() == 0


@dataclass
class Driver:
    """A home whose trail is read before and after an act."""

    home: Path
    driven: set[object] = field(default_factory=set)

    def last(self) -> int:
        """The number of the newest event."""
        with Central(self.home) as central, central.database.read() as tx:
            return tx.scalar(select(func.max(db.audit.c.seq))) or 0

    def since(self, seq: int) -> list[AuditEvent]:
        """The events after one."""
        with Central(self.home) as central, central.database.read() as tx:
            return [event for event in audit.events(tx) if event.seq > seq]


@dataclass
class Forms(Driver):
    """Sends forms as signed-on people."""

    client: httpx.Client = field(default_factory=httpx.Client)
    reads: list[Read] = field(default_factory=list)
    who: str = ""
    token: str = ""

    def sign(self, who: str) -> None:
        """Be this person from here on."""
        if self.who != who:
            self.token, self.who = sign_on(self.client, who), who

    def page(self, who: str, url: str) -> str:
        """A page as this person sees it; where it records looks, the event of this one is found."""
        self.sign(who)
        before, answer = self.last(), self.client.get(url)
        assert answer.status_code == 200, (url, _said(answer))
        entry = inventory.find("GET", url.partition("?")[0])
        assert entry is not None, url
        for event in entry.events:
            found = [one for one in self.since(before) if one.event == event.value]
            assert found, (entry.path, event)
            assert (found[-1].actor, found[-1].address) == (who, "127.0.0.1"), entry.path
            self.driven.add((f"GET {entry.path}", event))
        return answer.text

    def send(
        self, who: str, entry: str, wanted: Event, /, files: Any = None, url: str = "",
        status: int = 0, **data: Any,
    ) -> httpx.Response:  # fmt: skip
        """One form; ``entry`` is the inventory's path, ``url`` the true one.

        ``status`` is the answer's where it is no success. The event must name who sent it, and
        from where (R-AT-2).
        """
        self.sign(who)
        before = self.last()
        answer = self.client.post(url or entry, data={"csrf": self.token, **data}, files=files)
        good = {status} if status else {200, 303}
        assert answer.status_code in good, (entry, data, _said(answer))
        end, found = time.monotonic() + 30, []
        while not found and time.monotonic() < end:  # long work goes on behind its page
            found = [event for event in self.since(before) if event.event == wanted.value]
        assert found, (entry, wanted, [event.event for event in self.since(before)], _said(answer))
        assert (found[-1].actor, found[-1].address) == (who, "127.0.0.1"), entry
        self.driven.add((entry, wanted))
        return answer


def _said(answer: httpx.Response) -> str:
    found = re.findall(r"Not done[^<]*|Not allowed[^<]*", answer.text)
    return f"{answer.status_code} {found}"


@dataclass
class Drive(Driver):
    """Runs commands and compares what the trail got with what the map says.

    The event must name who was named by the command, and the account that gave it (R-AT-2).
    """

    server: Server | None = None
    reads: list[Read] = field(default_factory=list)

    def act(self, name: str, *options: str, who: str = "", more: str = "") -> Any:
        """One command; with ``who`` it signs with the password."""
        signed = ("--as", who, "--password-stdin") if who else ()
        return self._done(name, *options, *signed, stdin=f"{PASSWORD}\n{more}")

    def by(self, who: str, name: str, *options: str) -> Any:
        """One command that takes ``--by`` and a password."""
        signed = ("--by", who, "--password-stdin")
        return self._done(name, *options, *signed, stdin=f"{PASSWORD}\n")

    def typed(self, stdin: str, name: str, *options: str) -> Any:
        """One command that asks for something else than a password."""
        return self._done(name, *options, stdin=stdin)

    def _done(self, name: str, *options: str, stdin: str) -> Any:
        try:
            before = self.last()
        except AlprdError:  # there is no store yet, or no keystore any more
            before = 0
        done = run(self.home, *name.split(), *options, stdin=stdin)
        wanted = {event.value for event in COMMANDS[name]}
        found = [event for event in self.since(before) if event.event in wanted]
        assert found, (name, wanted, [event.event for event in self.since(before)])
        named = [options[at + 1] for at, one in enumerate(options) if one in ("--as", "--by")]
        assert [found[-1].actor] == (named or [audit.CENTRAL.id]), name
        assert found[-1].address.startswith("command line of "), name
        self.driven.add(name)
        return done


def drives(*told: object) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Declare what a test drives; it fails when it drove anything else, or less."""
    wanted = frozenset(told)
    assert len(wanted) == len(told), "declared twice"

    def declare(test: Callable[P, None]) -> Callable[P, None]:
        assert test.__name__.startswith("test_"), "nothing would run it"
        DECLARED[f"{test.__module__}::{test.__name__}"] = wanted

        @wraps(test)
        def driven(*args: P.args, **kwargs: P.kwargs) -> None:
            [driver] = [one for one in kwargs.values() if isinstance(one, Driver)]
            driver.driven.clear()
            test(*args, **kwargs)
            assert driver.driven == wanted, "it declares something else than it drives"

        return driven

    return declare


def sends(
    forms: Mapping[str, tuple[Event, ...]], *pages: str
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Declare the forms that a test sends, by path with their events, and the pages it looks at."""
    looks = {f"GET {e.path}": e.events for e in inventory.ENTRIES if e.method == "GET"}
    told = {**forms, **{f"GET {path}": looks[f"GET {path}"] for path in pages}}
    return drives(*((path, event) for path, events in told.items() for event in events))


def declared(kind: type) -> set[Any]:
    """What the sections of all files declare, whether or not they run: tuples, or commands."""
    names = {path.stem for path in Path(__file__).parent.glob("test_trail_*.py")}
    for name in sorted(names):
        importlib.import_module(name)
    found = [told for place, told in DECLARED.items() if place.partition("::")[0] in names]
    return {one for told in found for one in told if isinstance(one, kind)}


def ids(page: str, path: str) -> list[str]:
    """The ids that a page links or sends to below a path."""
    return re.findall(rf'"{path}/([^"/?]+)"', page)


@contextmanager
def sending(server: Server, car: Car) -> Iterator[Forms]:
    """A staffed agency with reads of the last minutes, and one browser for all of its people."""
    staff(server)
    reads = [make_read(f"FRM100{number}") for number in range(5)]
    car.send_reads(*reads)
    with httpx.Client(base_url=server.page_url, timeout=60) as client:
        yield Forms(server.home, client=client, reads=reads)


def driving(server: Server, car: Car) -> Drive:
    """A staffed agency with reads of the last minutes, for commands."""
    staff(server)
    reads = [make_read(f"DRV100{number}") for number in range(5)]
    car.send_reads(*reads)
    return Drive(server.home, server=server, reads=reads)


def begun(home: Path, when: datetime, **roles: str) -> None:
    """An agency that began at some past time, with a few people of then."""
    settings = config.CentralConfig(
        agency=AGENCY,
        agency_name="Becker County Sheriff's Office (test)",
        policy=config.default_policy("460", "Sheriff", when),
        storage=storekind.storage(home),
    )
    initialise(home, settings, clock=lambda: when)
    with Central(home, lambda: when) as central:
        publish.create_repository(central)
        for name, role in roles.items():
            people.add(
                central, person_id=name, name=name, roles=[role], password=PASSWORD,
                training_expires=when + timedelta(days=300),
                authorised_until=when + timedelta(days=300), clearances=[],
                by=Actor("sheriff", "sheriff", "sheriff"),
            )  # fmt: skip
