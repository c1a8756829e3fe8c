"""The scorecard counts what happened, also what must not happen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alprd.demo.score import Scorecard, ShownAlert, StoredRead, Truth, load_truth, score
from alprd.errors import InputError

ZERO = datetime(2026, 7, 14, 15, 0, tzinfo=UTC)


def truth() -> Truth:
    passing = [{"camera": "front", "t_first": 10.0, "t_last": 12.0}]
    return Truth.model_validate(
        {
            "start_utc": ZERO,
            "duration_s": 60.0,
            "cameras": [],
            "gps": "gps.nmea",
            "hotlist": "hotlist.csv",
            "suppression": "suppression.csv",
            "vehicles": [
                {"id": 1, "plate": "AAA111", "alert": True, "passes": passing},
                {"id": 2, "plate": "BBB222", "passes": passing},
                {"id": 3, "plate": "CCC333", "suppressed": True, "passes": passing},
                {"id": 4, "plate": "DDD444", "readable": False, "passes": passing},
            ],
        }
    )


def read(number: int, plate: str, at: float = 11.0, stacked: str = "") -> StoredRead:
    return StoredRead(f"{number:032x}", plate, stacked, ZERO + timedelta(seconds=at))


GOOD = [read(1, "AAA111"), read(2, "BBB222")]
ALERT = ShownAlert("a", "AAA111", "AAA111", 120.0)


def card(**changes: Any) -> Scorecard:
    values: dict[str, Any] = {
        "reads": GOOD,
        "alerts": [ALERT],
        "sure": {},
        "committed_ids": [r.id for r in GOOD],
        "committed": 2,
        "received": 2,
        "left_in_car": 0,
        "wall_s": 70.0,
    }
    return score(truth(), zero_utc=ZERO, **(values | changes))


def test_a_good_drive_holds() -> None:
    result = card()
    assert result.held
    assert (result.truth_plates, result.read_exact, result.missed) == (2, 2, 0)
    assert result.capture_to_alert_ms_p50 == result.capture_to_alert_ms_p95 == 120.0


@pytest.mark.parametrize(
    ("changes", "figure", "value"),
    [
        ({"alerts": []}, "alerts_right", 0),
        ({"alerts": [ALERT, ShownAlert("b", "BBB222", "BBB222", 1.0)]}, "alerts_false", 1),
        ({"reads": GOOD[:1], "received": 1}, "lost", 1),
        ({"received": 1}, "lost", 1),
        ({"committed_ids": [*(r.id for r in GOOD), "f" * 32]}, "lost", 1),
        ({"reads": [*GOOD, GOOD[0]], "received": 3}, "duplicated", 2),
        ({"left_in_car": 1}, "left_in_car", 1),
        ({"reads": [*GOOD, read(3, "CCC333", 50)]}, "suppressed_leaked", 1),
        ({"reads": [*GOOD, read(3, "CCC338")]}, "suppressed_leaked", 1),
        ({"reads": [*GOOD, read(3, "CCC33")]}, "suppressed_leaked", 1),
    ],
)
def test_every_broken_promise_is_seen(changes: dict[str, Any], figure: str, value: int) -> None:
    result = card(**changes)
    assert getattr(result, figure) == value
    assert not result.held


def test_what_did_not_hold_is_said() -> None:
    assert card().broken() == []
    assert card(alerts=[]).broken() == ["0 of 1 expected alerts came"]
    assert card(received=1).broken() == ["lost is 1, not 0"]


@pytest.mark.parametrize("missing", ["front.mp4", "gps.nmea", "hotlist.csv", "truth.json"])
def test_a_drive_that_is_not_whole_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    plain = truth().model_dump(mode="json")
    plain["cameras"] = [{"id": "front", "file": "front.mp4", "fps": 15}]
    for name in ("front.mp4", "gps.nmea", "hotlist.csv", "suppression.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "truth.json").write_text(json.dumps(plain))
    assert load_truth(tmp_path).cameras[0].file == "front.mp4"
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=missing):
        load_truth(tmp_path)


def test_wrong_reads_and_their_sureness() -> None:
    wrong = [read(3, "XXX999"), read(4, "YYY888"), read(5, "DDD444"), read(6, "11", stacked="AAA1")]
    result = card(reads=[*GOOD, *wrong], sure={wrong[0].id: True})
    assert (result.read_wrong, result.read_wrong_sure) == (2, 1)


def test_a_drive_without_expected_alerts_cannot_hold() -> None:
    calm = truth().model_copy(update={"vehicles": truth().vehicles[1:]})
    result = score(
        calm,
        zero_utc=ZERO,
        reads=[],
        alerts=[],
        sure={},
        committed_ids=[],
        committed=0,
        received=0,
        left_in_car=0,
        wall_s=1.0,
    )
    assert not result.held
    assert result.capture_to_alert_ms_p50 is None
