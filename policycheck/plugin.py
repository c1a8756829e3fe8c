"""A pytest plugin that writes down, rule by rule, which tests ran and how they ended.

``python -m pytest -p policycheck.plugin --policy-results FILE`` writes
``{"R-…": {"tests/…::test_…": "passed"}}``; a test that fails in its set-up or tear-down has failed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

# The worse of two phases of a test counts.
_RANK: Final = {"skipped": 1, "passed": 0, "failed": 2}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The file to write, and the one rule to run."""
    parser.addoption(
        "--policy-results", type=Path, default=None, help="write outcomes by rule to this file"
    )
    parser.addoption(
        "--policy-id", action="append", default=[], help="run only the tests of this rule"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of other rules when one was asked for."""
    wanted = set(config.getoption("--policy-id"))
    if not wanted:
        return
    kept = [
        item
        for item in items
        if any(wanted.intersection(mark.args) for mark in item.iter_markers("policy"))
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    """Begin to write down when a file was named."""
    target = config.getoption("--policy-results")
    if target is not None:
        config.pluginmanager.register(_Recorder(target), "policy-recorder")


class _Recorder:
    def __init__(self, target: Path) -> None:
        self._target = target
        self._rules: dict[str, set[str]] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            ids = {name for mark in item.iter_markers("policy") for name in mark.args}
            if ids:
                self._rules[item.nodeid] = ids

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self._rules:
            return
        before = self._outcomes.get(report.nodeid, "passed")
        if report.when == "call" or report.outcome != "passed":
            worse = max(before, report.outcome, key=_RANK.__getitem__)
            self._outcomes[report.nodeid] = worse

    def pytest_sessionfinish(self) -> None:
        results: dict[str, dict[str, str]] = defaultdict(dict)
        for test, ids in sorted(self._rules.items()):
            for name in sorted(ids):
                results[name][test] = self._outcomes.get(test, "not run")
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._target.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
