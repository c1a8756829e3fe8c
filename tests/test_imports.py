"""The import rules of the design: layers only import downwards."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"alarms", "carve", "memory", "errors", "tomlplaces"}),
    frozenset(
        {
            "records",
            "dropins",
            "addresses",
            "instants",
            "refusals",
            "targetfile",
            "totp",
            "verifiers",
            "pagename",
        }
    ),
    frozenset(
        {
            "crypto",
            "distinct",
            "config",
            "workers",
            "process",
            "shred",
            "post",
            "timing",
            "pace",
            "downloads",
            "signedset",
        }
    ),
    frozenset({"wire", "selftest", "dispositions", "verification"}),
    frozenset(
        {
            "audit",
            "frames",
            "place",
            "journal",
            "models",
            "profiles",
            "rows",
            "deltatarget",
            "unlock",
        }
    ),
    frozenset({"salvage", "disk", "orderbook", "packed", "pictureguard", "recorded"}),
    frozenset({"rescue", "damage", "rotten", "unpack"}),
    frozenset(
        {
            "clock",
            "sources",
            "detect",
            "issuer",
            "loadedlist",
            "hub",
            "roster",
            "trust",
            "database",
            "delta",
        }
    ),
    frozenset({"ocr", "nmea", "choice", "feed", "v4l", "patching", "hotlist"}),
    frozenset({"serials"}),
    frozenset(
        {
            "streams",
            "store",
            "mark",
            "nmealog",
            "fuse",
            "pictures",
            "suppress",
            "track",
            "mirror",
            "views",
            "shift",
        }
    ),
    frozenset({"gps", "eye", "passes", "targets", "cards", "outbound", "session", "lives"}),
    frozenset({"board"}),
    frozenset({"shiftboard"}),
    frozenset({"alerts", "ignition"}),
    frozenset({"settling", "shiftstore"}),
    frozenset(
        {"capture", "reader", "permits", "orders", "renewal", "custody", "lastwords", "trail"}
    ),
    frozenset({"sync", "still", "footage", "collect", "selfcheck", "wipe"}),
    frozenset({"mdt", "lanes", "photo", "retire", "pagecert", "ledger"}),
    frozenset({"devices"}),
    frozenset({"doctor"}),
    frozenset({"collecting"}),
    frozenset({"reload", "keeper", "carreport", "carstatus"}),
    frozenset({"health", "rehearsal"}),
    frozenset({"healthserver"}),
    frozenset({"daemon"}),
    frozenset({"demo"}),
    frozenset({"cli"}),
)
SHARED_WITH_CENTRAL = frozenset(
    {
        "carve",
        "deltatarget",
        "errors",
        "records",
        "crypto",
        "wire",
        "audit",
        "totp",
        "verifiers",
        "pagename",
        "targetfile",
        "rows",
        "packed",
        "unpack",
        "delta",
    }
)
OUTSIDE = frozenset({"training", "sim", "plates", "bench", "fuzz"})


def _imports(path: Path) -> set[str]:
    """Dotted names of everything a module imports, also inside functions."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def _room(path: Path) -> str:
    """Layer name of a vehicle module: its file, or its folder under ``alprd``."""
    return path.relative_to(ROOT / "alprd").parts[0].removesuffix(".py")


VEHICLE = sorted(
    path
    for path in (ROOT / "alprd").rglob("*.py")
    if _room(path) not in {"central", "__init__", "__main__"}
)


def _level(room: str) -> int:
    for level, rooms in enumerate(LAYERS):
        if room in rooms:
            return level
    pytest.fail(f"alprd/{room} has no layer: place it in LAYERS")


@pytest.mark.parametrize("path", VEHICLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_vehicle_modules_import_only_downwards(path: Path) -> None:
    own = _room(path)
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in OUTSIDE, f"{path.name} imports {name}"
        if parts[0] != "alprd" or len(parts) < 2 or parts[1] in {own, "__version__"}:
            continue
        assert parts[1] != "central", f"{path.name} imports {name}: the car knows no central code"
        assert _level(parts[1]) < _level(own), f"alprd/{own} must not import alprd.{parts[1]}"


def test_central_uses_only_the_shared_vocabulary() -> None:
    for path in (ROOT / "alprd" / "central").rglob("*.py"):
        for name in _imports(path):
            parts = name.split(".")
            assert parts[0] not in OUTSIDE, f"{path.name} imports {name}"
            if parts[0] == "alprd" and len(parts) > 1:
                allowed = SHARED_WITH_CENTRAL | {"central", "__version__"}
                assert parts[1] in allowed, f"central/{path.name} imports {name}"


def test_training_and_simulator_do_not_import_each_other() -> None:
    for package, forbidden in (("sim", "training"), ("plates", "training"), ("plates", "sim")):
        for path in (ROOT / package).rglob("*.py"):
            assert not any(name.split(".")[0] == forbidden for name in _imports(path)), path
