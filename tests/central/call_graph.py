"""Which events of the trail a function of central reaches: its calls, followed through the source.

By names: a function, an imported function, ``module.function``, and methods of the same class. What
is passed as a value is followed too, because a name that is mentioned counts as called.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2] / "alprd" / "central"
ROOMS = frozenset(p.parent.name for p in ROOT.rglob("__init__.py"))
Key = tuple[str, str]


@cache
def _graph() -> tuple[dict[Key, set[str]], dict[Key, set[Key]]]:
    events: dict[Key, set[str]] = defaultdict(set)
    calls: dict[Key, set[Key]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        module = path.stem  # no two modules of central have one name (test_rooms.py)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules: dict[str, str] = {}
        names: dict[str, Key] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("alprd.central"):
                within = (node.module or "").split(".")[-1]
                for one in node.names:
                    called = one.asname or one.name
                    if within not in ROOMS:
                        names[called] = (within, one.name)
                    else:
                        modules[called] = one.name
        local = {node.name for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)}
        for node in ast.walk(tree):
            if not isinstance(node, _FUNCTIONS):
                continue
            key = (module, node.name)
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    if inner.id in local:
                        calls[key].add((module, inner.id))
                    elif inner.id in names:
                        calls[key].add(names[inner.id])
                elif isinstance(inner, ast.Attribute):
                    base = inner.value
                    if isinstance(base, ast.Name) and base.id in {"Event", "E"}:
                        events[key].add(inner.attr)
                    elif isinstance(base, ast.Name) and base.id in modules:
                        calls[key].add((modules[base.id], inner.attr))
                    elif inner.attr in local:
                        calls[key].add((module, inner.attr))
    return events, calls


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def calls_of(module: str, function: str, stops: frozenset[Key] = frozenset()) -> set[Key]:
    """A function and every function of central that it may call, directly or through others.

    Args:
        stops: functions that are not entered.
    """
    calls = _graph()[1]
    seen: set[Key] = set()
    left = [(module, function)]
    while left:
        key = left.pop()
        if key not in seen and key not in stops:
            seen.add(key)
            left += calls.get(key, set())
    return seen


def reached(module: str, function: str) -> set[str]:
    """Names of every event that a function may record, directly or through what it calls."""
    events = _graph()[0]
    return set().union(*(events.get(key, set()) for key in calls_of(module, function)))


def recorded() -> set[str]:
    """Names of every event that some function of central mentions."""
    return set().union(*_graph()[0].values())
