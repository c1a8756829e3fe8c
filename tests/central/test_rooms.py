"""The rooms of central: a room imports only from rooms before it, and no name is used twice."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

CENTRAL = Path(__file__).resolve().parents[2] / "alprd" / "central"
ROOMS = (
    "storage",
    "staff",
    "trail",
    "hotlists",
    "public",
    "fleet",
    "grounds",
    "records",
    "publication",
    "receiving",
    "searches",
    "exchange",
    "oversight",
    "upkeep",
    "commands",
    "pages",
)
"""From the ground up. ``server.py`` and ``cli.py`` stand above them all."""
MODULES = sorted(CENTRAL.rglob("*.py"))


def _room(name: str) -> int:
    if name in ROOMS:
        return ROOMS.index(name)
    assert name in {"server", "cli"}, f"alprd/central/{name} is in no room of test_rooms.py"
    return len(ROOMS) + (name == "cli")


def _imported(path: Path) -> set[str]:
    """First names below ``alprd.central`` of all that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {n.split(".")[2] for n in names if n.startswith("alprd.central.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(CENTRAL)))
def test_a_room_imports_only_from_rooms_before_it(path: Path) -> None:
    if path.parent == CENTRAL and path.name == "__init__.py":
        return
    own = path.relative_to(CENTRAL).parts[0].removesuffix(".py")
    for name in _imported(path) - {own}:
        assert _room(name) < _room(own), f"{own} must not import alprd.central.{name}"


def test_no_two_modules_have_one_name() -> None:
    """So that a reader, and the call graph of the tests, know which is meant."""
    ours = [p.stem for p in MODULES if "migrations" not in p.parts and p.stem != "__init__"]
    rooms = [*ROOMS, *ours]
    assert [name for name, times in Counter(rooms).items() if times > 1] == []
