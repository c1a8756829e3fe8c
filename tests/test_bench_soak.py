"""The soak bench's own arithmetic, and its looks at real processes."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from bench.crash_world import BenchError
from bench.soak import Sample, children, look, main, slope, summarise


def run(growth_mb_per_hour: float, *, threads: int = 0, noise_mb: float = 0.5) -> list[Sample]:
    """An hour of samples, every 10 s; ``threads`` more in the second half."""
    rng = np.random.default_rng(1)
    return [
        Sample(
            float(at),
            int(1e6 * (200 + growth_mb_per_hour * at / 3600 + rng.normal(0, noise_mb))),
            int(300e6),
            20 + int(rng.integers(0, 2)) + (threads if at > 1800 else 0),
            30,
            3,
        )
        for at in range(0, 3600, 10)
    ]


def test_the_slope_is_that_of_the_line_and_its_error_is_honest() -> None:
    assert slope([0, 1800, 3600], [5.0, 6.0, 7.0]) == pytest.approx((2.0, 0.0))
    misses = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        times = [float(at) for at in range(0, 600, 10)]
        found, error = slope(times, [3.0 * t / 3600 + rng.normal(0, 1) for t in times])
        misses += abs(found - 3.0) > 2 * error
    assert 1 <= misses <= 25  # 5 % of 200 and some


@pytest.mark.parametrize(
    ("growth", "threads", "ok"), [(0.0, 0, True), (1.5, 0, True), (4.0, 0, False), (0.0, 3, False)]
)
def test_the_verdict_follows_the_goal(growth: float, threads: int, ok: bool) -> None:
    result = summarise(run(growth, threads=threads), 300)
    assert result["ok"] is ok
    assert result["growth_mb_per_hour"] == pytest.approx(growth, abs=0.5)
    assert result["files"] == {"first": 30, "last": 30, "least": 30, "most": 30}


def test_a_run_that_is_all_warm_up_says_nothing() -> None:
    with pytest.raises(BenchError, match="too short"):
        summarise(run(0), 3600)


def test_a_run_too_short_for_its_noise_is_not_judged() -> None:
    """Six minutes with 2 MB of noise: the slope's error is larger than the goal."""
    short = [sample for sample in run(0.0, noise_mb=2.0) if sample.at_s <= 360]
    result = summarise(short, 60)
    assert not result["judged"] and not result["ok"]
    assert 2 * result["growth_error_mb_per_hour"] > 2.0
    assert summarise(run(0.0), 300)["judged"]


@pytest.mark.parametrize("minutes", ["4.9", "0", "nan"])
def test_a_run_of_a_few_minutes_is_refused(
    minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--minutes", minutes]) == 2
    assert "says nothing" in capsys.readouterr().err


def test_children_are_looked_at_too() -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
        "child.communicate()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert children(parent.pid) == [child]
        both = look(parent.pid, time.monotonic())
        alone = look(child, time.monotonic())
        assert (both.processes, alone.processes) == (2, 1)
        assert both.private > alone.private > 0 and both.threads > alone.threads
        parent.communicate("\n", timeout=30)
