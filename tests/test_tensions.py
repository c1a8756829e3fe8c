"""The requirements' part 14: each resolved tension has a test, and those that no other room has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from alprd.mdt import inventory as screens

ROOT = Path(__file__).resolve().parent.parent
TENSIONS = frozenset(f"T-{number}" for number in range(1, 24))


def marked(path: Path) -> set[str]:
    """Every id that a ``policy`` mark of a file names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.policy":
            found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def test_every_tension_has_a_marked_test() -> None:
    """T-1 to T-23: a resolution that nothing shows is a promise."""
    found = set().union(*(marked(path) for path in (ROOT / "tests").rglob("test_*.py")))
    assert TENSIONS - found == set()


@pytest.mark.policy("T-14", "R-460.4-e")
def test_the_car_has_no_browser_of_reads() -> None:
    """T-14: collection and live alerts are free; a look at stored reads is gated, at central."""
    paths = {f"{entry.method} {entry.path}" for entry in screens.ENTRIES}
    words = re.compile(r"read(?!y)|search|history|find|query|stored|browse")
    assert {path for path in paths if words.search(path.lower())} == set()


@pytest.mark.policy("T-21", "R-13.824-2-2")
def test_no_table_of_central_knows_a_second_agency() -> None:
    """T-21: one agency, one host; who it is stands in the settings, not in a column."""
    from alprd.central.storage import db, store

    assert store.Central  # its module brings the tables of every room
    own = [
        f"{table.name}.{column.name}"
        for table in (*db.main.tables.values(), *db.keystore.tables.values())
        for column in table.columns
        if column.name in {"agency", "agency_id", "tenant", "owner", "org"}
    ]
    assert own == []


@pytest.mark.policy("T-23")
def test_no_read_is_used_for_training() -> None:
    """T-23: nothing that trains or tunes opens a queue, a store, an envelope or a home."""
    stores = {"alprd.store", "alprd.central", "alprd.sync", "alprd.crypto", "alprd.keeper"}
    for room in ("training", "plates", "sim"):
        for path in (ROOT / room).rglob("*.py"):
            names: set[str] = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {one.name for one in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            used = {n for n in names for store in stores if n == store or n.startswith(f"{store}.")}
            assert used == set(), path.relative_to(ROOT)
