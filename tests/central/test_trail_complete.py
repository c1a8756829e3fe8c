"""Everything is recorded: every command, page and route of the cars has its event (R-AT-1)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click
import pytest
from call_graph import reached, recorded
from starlette.routing import Route
from trail_map import CAR_API, COMMANDS, NOTHING, PAGES_WITHOUT

from alprd.central.cli import main
from alprd.central.pages import inventory
from alprd.central.receiving.carapi import CarApi
from alprd.central.storage.audit import Event

CLOSURES = (
    {"vehicles revoke", "vehicles suspend", "vehicles resume"}
    | {f"bases {name}" for name in ("find", "refuse", "review", "withdraw")}
    | {f"additional {name}" for name in ("approve", "refuse", "review", "revoke")}
)
"""Made by a function from a table, so that the source of each says nothing; driven by tests."""


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its words, with its function."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield " ".join(path), inspect.unwrap(command.callback or (lambda: None))


FOUND = dict(commands(main))


@pytest.mark.policy("R-AT-1")
def test_every_command_says_what_the_trail_gets_of_it() -> None:
    """R-AT-1: a new command without a line in trail_map.py fails here."""
    assert set(COMMANDS).isdisjoint(NOTHING)
    assert set(FOUND) == set(COMMANDS) | set(NOTHING)


@pytest.mark.policy("R-AT-1")
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - CLOSURES))
def test_a_command_reaches_its_event(name: str) -> None:
    """R-AT-1: what the command calls, down to the trail, records one of its events."""
    function = FOUND[name]
    module = function.__module__.rpartition(".")[2]
    wanted = {event.name for event in COMMANDS[name]}
    assert wanted & reached(module, function.__name__), (name, wanted)


@pytest.mark.policy("R-AT-1")
def test_every_page_says_what_the_trail_gets_of_it() -> None:
    """R-AT-1: a page that records nothing has a reason; each form that changes records it."""
    without = {f"{e.method} {e.path}" for e in inventory.ENTRIES if not e.events}
    assert without == set(PAGES_WITHOUT)
    assert not any(name.startswith("POST") for name in without)


@pytest.mark.policy("R-AT-1")
def test_every_route_of_the_cars_says_what_the_trail_gets_of_it() -> None:
    """R-AT-1: the cars' interface."""
    made = CarApi.__new__(CarApi)
    routes = {
        f"{method} {route.path}"
        for route in CarApi.app(made).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes == set(CAR_API)


@pytest.mark.policy("R-AT-1")
def test_every_event_is_recorded_somewhere_and_none_is_only_a_name() -> None:
    """R-AT-1: an event that nothing records would be a promise."""
    unused = {event.name for event in Event} - recorded()
    assert unused == set()


@pytest.mark.policy("R-460.4.1-c3")
def test_nothing_tracks_by_its_nature() -> None:
    """R-460.4.1-c3: no command, page or event follows, replays, predicts or pairs vehicles."""
    words = "replay route-of pattern frequent co-travel cotravel convoy predict follow track watch"
    names = {*FOUND, *CAR_API, *(entry.path for entry in inventory.ENTRIES), *Event}
    found = {name for name in names if any(word in str(name).lower() for word in words.split())}
    assert found == set()
