"""What all tests share: the tally that `make test` prints, and no silent skips in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""Data that is not part of the project; tests that use it skip when it is absent."""


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """Training sets the number of threads of the whole process; this sets it back."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--central-store``: on what the tests of central run."""
    parser.addoption(
        "--central-store",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="SQLite and folders, or a real PostgreSQL and a real S3 server",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On servers only what the kind of store can change is run again."""
    if config.getoption("--central-store") == "sqlite":
        return
    left = [item for item in items if item.get_closest_marker("one_store") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = left


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
