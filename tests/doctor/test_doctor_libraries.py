"""The doctor looks at every compiled package that the car imports."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from alprd.doctor.system import MODULES

ROOT = Path(__file__).resolve().parent.parent.parent / "alprd"
NOT_IN_A_CAR = {"central", "demo"}
LOADED_ANYWAY = {"pydantic_core"}
"""Without it the configuration is not read, and no check runs at all."""


def imported() -> set[str]:
    """Top-level names that the car's modules import, the standard library's among them."""
    names: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] in NOT_IN_A_CAR:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names


def test_no_compiled_package_is_forgotten() -> None:
    """A car without ``av`` reads no stream; its doctor must say so."""
    compiled = set()
    for name in imported():
        found = importlib.util.find_spec(name)
        if found is None or not found.origin or "site-packages" not in found.origin:
            continue
        folder = Path(found.origin).parent
        if folder.name == name and next(folder.rglob("*.so"), None) is not None:
            compiled.add(name)
    assert {"av", "cv2", "numpy", "onnxruntime"} <= compiled  # the search finds what is there
    assert compiled - set(MODULES) - LOADED_ANYWAY == set()
