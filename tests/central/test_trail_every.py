"""No form and no command is left out: what the trail's tests declare, against what there is.

The sections of ``test_trail_forms_*.py``, ``test_trail_driven_*.py`` and ``test_trail_past.py``
declare what they drive, and fail when they drive anything else, or less; here the declarations are
added up. So a new form, event or command without a driver fails, and this file can run alone.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest
from trail_map import CAR_API, COMMANDS
from trail_world import declared

from alprd.central.pages import inventory

pytestmark = pytest.mark.policy("R-AT-1", "R-AT-2")


def test_every_form_and_every_page_finds_every_one_of_its_events() -> None:
    """A page without an event has its reason in ``trail_map.PAGES_WITHOUT``."""
    prefix = {"GET": "GET ", "POST": ""}
    wanted = {(prefix[e.method] + e.path, event) for e in inventory.ENTRIES for event in e.events}
    assert len(wanted) > 150, "the inventory is read"
    driven = {(path, event) for path, event in declared(tuple) if " /v1/" not in path}
    assert wanted - driven == set(), "drive it in a test_trail_forms_*.py"
    assert driven - wanted == set(), "of a form or page that is no more"


def test_every_route_of_the_cars_finds_every_one_of_its_events() -> None:
    wanted = {
        (route, event)
        for route, told in CAR_API.items()
        for event in (() if isinstance(told, str) else told)
    }
    driven = {(path, event) for path, event in declared(tuple) if " /v1/" in path}
    assert driven == wanted


ELSEWHERE: Final = {
    "db upgrade": "test_migrations.py::test_the_command_upgrades_both_and_says_so",
}
"""Commands that need more than a running central, with the test that runs them."""


def test_every_command_finds_its_event() -> None:
    driven = declared(str)
    assert set(ELSEWHERE).isdisjoint(driven), "driven after all"
    assert driven | set(ELSEWHERE) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(ELSEWHERE))
def test_what_is_driven_elsewhere_is_driven_there(command: str) -> None:
    """The test exists, and its source runs the command and names its event."""
    name, _, test = ELSEWHERE[command].partition("::")
    text = (Path(__file__).parent / name).read_text()
    functions = [one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef)]
    [source] = [ast.unparse(one) for one in functions if one.name == test]
    assert ", ".join(repr(word) for word in command.split()) in source, "it runs the command"
    assert any(repr(event.value) in source for event in COMMANDS[command]), "it finds the event"
