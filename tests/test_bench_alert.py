"""The bench of the alert's way says where the time went, and its drive lists every plate."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from alprd.demo.chromium import Chromium, find_chromium
from alprd.demo.score import ShownAlert, load_truth
from bench.alert_latency import DRIVE, cpu_s, list_everything, spread, stages

MS = 1_000_000


def test_every_readable_plate_is_listed_and_expected(tmp_path: Path) -> None:
    listed = list_everything(DRIVE, tmp_path / "drive")
    truth = load_truth(listed)
    plates = {v.plate for v in truth.vehicles if v.readable and not v.suppressed}
    assert len(plates) > 25
    assert {v.plate for v in truth.vehicles if v.alert} == plates
    with (listed / truth.hotlist).open() as rows:
        held = [row["plate"] for row in csv.DictReader(rows)]
    assert all(held.count(plate) == 1 for plate in plates)
    hidden = {v.plate for v in truth.vehicles if v.suppressed}
    assert hidden
    assert not any(v.alert for v in truth.vehicles if v.plate in hidden) or hidden & set(held)


def test_stages_add_up_and_silent_alerts_are_left_out() -> None:
    alerts = [
        ShownAlert("a", "AAA111", "AAA111", 180.0, 1000 * MS, 1070 * MS, 1200 * MS),
        ShownAlert("b", "BBB222", "BBB222", 400.0, 2000 * MS, 2300 * MS, 2450 * MS),
        ShownAlert("c", "CCC333", "CCC333", 50.0, 3000 * MS, 3010 * MS),
    ]
    found = stages(alerts)
    assert found["captured to sounded"] == {
        "n": 2, "p50_ms": 325.0, "p95_ms": 450.0, "max_ms": 450.0,
    }  # fmt: skip
    assert found["decided to sounded"]["p50_ms"] == 140.0
    assert found["captured to decided"]["max_ms"] == 300.0
    assert found["decided to a client"]["max_ms"] == 110.0
    assert found["client to sounded"]["max_ms"] == 50.0


def test_spread_of_nothing_says_so() -> None:
    assert spread([]) == {"n": 0, "p50_ms": None, "p95_ms": None, "max_ms": None}
    assert spread([5.0])["p95_ms"] == 5.0


def test_processor_time_of_gone_processes_counts_nothing() -> None:
    assert cpu_s([2**22 + 1]) == 0.0


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium")
def test_the_demos_browser_answers_and_ends_whole(tmp_path: Path) -> None:
    path = find_chromium()
    assert path is not None
    made = Chromium(path, tmp_path / "browser")
    try:
        assert made.evaluate("1 + 1") == 2
        assert made.evaluate("Promise.resolve(document.visibilityState)") == "visible"
        assert json.loads(made.evaluate("JSON.stringify({a: [1]})")) == {"a": [1]}
    finally:
        made.close()
    assert made.process.returncode is not None
