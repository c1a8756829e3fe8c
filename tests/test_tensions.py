"""The requirements' part 14: each resolved tension has a test, and those that no other room has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from alprd.central.storage.config import CentralConfig, default_policy
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
    # What belongs to the alert in hand (its registration query, "misread") is no stored read.
    paths = {e.path for e in screens.ENTRIES if not e.path.startswith("/alerts/{alert_id}/")}
    words = re.compile(r"read(?!y)|search|history|find|query|stored|browse")
    assert {path for path in paths if words.search(path.lower())} == set()


@pytest.mark.policy("T-21", "R-13.824-2-2")
@pytest.mark.parametrize(
    "more", [{"agency": ["becker", "polk"]}, {"agencies": ["polk"]}, {"pool": "https://x.example"}]
)
def test_the_settings_know_one_agency_and_no_pool(more: dict[str, object]) -> None:
    """T-21: one agency, one host; a second one, or a pool, cannot even be written down."""
    good = {"agency": "becker", "agency_name": "Test", "policy": default_policy("460", "Sheriff")}
    CentralConfig.model_validate(good)
    with pytest.raises(ValidationError):
        CentralConfig.model_validate(good | more)


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
