"""What all tests share: the tally that `make test` prints, and no silent skips in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""Data that is not part of the project; tests that use it skip when it is absent."""


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print the tally, and every reason to skip."""
    del config, exitstatus
    stats = terminalreporter.stats
    counts = {name: len(stats.get(name, ())) for name in ("passed", "failed", "skipped", "error")}
    counts |= {name: len(stats.get(name, ())) for name in ("deselected", "xfailed", "xpassed")}
    collected = terminalreporter._numcollected
    terminalreporter.write_line(
        f"tally: {collected} collected, "
        + ", ".join(f"{count} {name}" for name, count in counts.items())
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a test skipped for want of something is a failure: CI has everything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") == "true" and skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
