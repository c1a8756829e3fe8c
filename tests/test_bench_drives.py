"""The drives benchmark: clips that keep the simulator's promises, figures that count right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import drives
from bench.drive_score import Case, Report, Tally, confusions, groups, judge
from bench.drive_world import Clip, TruePlate, TrueScene, frames, load_clip, place, wanted
from sim.camera import HEIGHT, WIDTH, patrol_cameras
from sim.convoy import Convoy, ConvoyRenderer, build_convoy
from sim.drive import FIXTURE_SEED
from sim.seeds import BENCH_SEEDS, TUNING_SEEDS
from sim.truth import LEAST_SECONDS, READ_PX, sights
from sim.world import FPS

SEED = 999
"""Of the benchmark; its figures are never quoted."""


@pytest.fixture(scope="module", params=["front", "left"])
def convoy(request: pytest.FixtureRequest) -> Convoy:
    return build_convoy(BENCH_SEEDS[-1], request.param, 8)


def test_bench_seeds_are_used_nowhere_else() -> None:
    root = Path(__file__).resolve().parent.parent
    assert FIXTURE_SEED not in BENCH_SEEDS
    assert TUNING_SEEDS.stop <= BENCH_SEEDS.start or BENCH_SEEDS.stop <= TUNING_SEEDS.start
    for path in [*(root / "training").rglob("*.py"), *(root / "tests").rglob("*.py")]:
        if path != Path(__file__):
            assert not any(s in path.read_text() for s in ("BENCH_SEEDS", "770_", "770000")), path


def test_every_readable_plate_keeps_the_bounds_of_the_truth(convoy: Convoy) -> None:
    readable = 0
    for scene in convoy.scenes:
        world = replace(convoy.world, vehicles=tuple(a.vehicle for a in scene.actors))
        assert 8 <= scene.frames <= 12
        for actor in scene.actors:
            run = longest = 0
            for index in range(scene.first, scene.first + scene.frames):
                s = sights(world, convoy.camera, index).get(actor.vehicle.id)
                run = run + 1 if s and s.clear and s.width >= READ_PX else 0
                longest = max(longest, run)
            passed = scene.passes.get(actor.vehicle.id)
            assert (longest >= LEAST_SECONDS * FPS) == (passed is not None and passed.readable)
            readable += passed is not None and passed.readable
    assert readable == sum(scene.readable for scene in convoy.scenes) >= 12


def test_a_convoy_is_its_seed_and_its_plates_differ(convoy: Convoy) -> None:
    again = build_convoy(convoy.world.seed, convoy.camera.name, 8)
    other = build_convoy(convoy.world.seed - 1, convoy.camera.name, 8)

    def texts(of: Convoy) -> list[str]:
        return [a.vehicle.spec.text for s in of.scenes for a in s.actors]

    assert texts(again) == texts(convoy)
    assert [s.passes for s in again.scenes] == [s.passes for s in convoy.scenes]
    assert len(set(texts(convoy))) == len(texts(convoy))
    assert len(set(texts(convoy)) & set(texts(other))) <= 1
    assert len({s.light for s in convoy.scenes}) >= 2


def test_scenes_are_drawn_alike_and_with_the_face_they_name() -> None:
    convoy = build_convoy(BENCH_SEEDS[-1], "front", 2)
    scene = replace(convoy.scenes[1], frames=1)
    one, two = (next(ConvoyRenderer(convoy).pictures(scene)) for _ in range(2))
    assert one.shape == (HEIGHT, WIDTH, 3)
    assert (one == two).all()
    faces = {face: replace(scene.actors[0], face=face) for face in ("overpass", "fjalla-one")}
    drawn = [
        next(ConvoyRenderer(convoy).pictures(replace(scene, actors=(actor, *scene.actors[1:]))))
        for actor in faces.values()
    ]
    assert (drawn[0] != drawn[1]).any()
    assert convoy.camera == patrol_cameras()["front"]


def _plate(vehicle: int, text: str, x: float, *, readable: bool = True) -> TruePlate:
    box = {i: (x, 100.0, 80.0, 40.0) for i in range(30, 40)}
    return TruePlate(
        vehicle, text, "", "MN", "passenger", "mn", "overpass", readable, 35, 84.0, 0.4, box
    )  # fmt: skip


@pytest.fixture
def clip() -> Clip:
    found = (_plate(1, "ABC123", 100), _plate(2, "XYZ789", 500), _plate(3, "LMN456", 800),
             _plate(4, "QQQ111", 1100, readable=False))  # fmt: skip
    scene = TrueScene("following", "day", 30, 10, found)
    return Clip(Path("clip.mp4"), 1, "front", (scene,), "")


def _report(text: str | None, x: float, *, sure: bool = True, final: bool = True) -> Report:
    return Report(final, text, "", "MN", sure, 0.97, 36, (x, 101.0, 84.0, 44.0))


def _outcomes(cases: list[Case]) -> dict[str, str]:
    return {case.expected: case.outcome for case in cases}


def test_exact_unsure_and_missed(clip: Clip) -> None:
    cases = judge(clip, [_report("ABC123", 98), _report("XYZ789", 503, sure=False)])
    assert _outcomes(cases) == {"ABC123": "exact", "XYZ789": "unsure", "LMN456": "missed"}
    tally = Tally.of(cases)
    assert (tally.plates, tally.count("exact"), tally.count("wrong_sure")) == (3, 1, 0)
    assert tally.share("exact") == pytest.approx(1 / 3)


def test_a_right_text_in_the_wrong_place_is_wrong(clip: Clip) -> None:
    cases = judge(clip, [_report("ABC123", 500)])
    assert _outcomes(cases) == {"ABC123": "missed", "XYZ789": "wrong_sure", "LMN456": "missed"}


def test_a_place_left_open_excuses_its_twin_and_nothing_else(clip: Clip) -> None:
    def said(text: str, *places: int) -> str:
        report = replace(_report(text, 100), open=places or (2, 3))
        return _outcomes(judge(twin, [report]))["ABO123"]

    scene = replace(clip.scenes[0], plates=(_plate(1, "ABO123", 100),))
    twin = replace(clip, scenes=(scene,))
    assert said("ABO123") == "unsure"
    assert said("AB0123") == said("ABOI23") == "wrong"
    assert said("AB0123", 2) == "wrong"
    assert said("A8O123") == said("AB0123", 3) == said("AB0I23", 2) == "wrong_sure"
    assert _outcomes(judge(twin, [_report("AB0123", 100)]))["ABO123"] == "wrong_sure"


def test_one_wrong_and_sure_report_spoils_a_plate_read_twice(clip: Clip) -> None:
    cases = judge(clip, [_report("ABC123", 100), _report("A8C123", 100)])
    assert _outcomes(cases)["ABC123"] == "wrong_sure"
    assert confusions(cases) == {("B", "8"): 1}


def test_a_corrected_text_counts_only_as_told(clip: Clip) -> None:
    cases = judge(clip, [_report("A8C123", 100, final=False), _report("ABC123", 100)])
    tally = Tally.of(cases)
    assert (tally.count("exact"), tally.count("wrong_sure"), tally.count("told_wrong")) == (1, 0, 1)


def test_sure_reports_of_no_plate_and_of_unreadable_plates_count_as_wrong(clip: Clip) -> None:
    reports = [_report("LAKER", 300), _report("QQQ777", 1100), _report("QQQ111", 1100),
               _report("SHOP", 320, sure=False)]  # fmt: skip
    tally = Tally.of(judge(clip, reports))
    assert tally.plates == 3
    assert tally.count("wrong_sure") == 2
    assert (tally.count("no_plate"), tally.count("unreadable_wrong_sure")) == (1, 1)


def test_o_and_zero_are_one_where_said(clip: Clip) -> None:
    plates = (_plate(1, "AO0123", 100),)
    clip = replace(clip, scenes=(replace(clip.scenes[0], plates=plates),))
    tally = Tally.of(judge(clip, [_report("A00123", 100)]))
    assert (tally.count("wrong_sure"), tally.count("wrong_sure_o0")) == (1, 0)
    assert (tally.count("exact"), tally.count("exact_o0")) == (0, 1)


def test_groups_add_up_and_strays_are_in_none(clip: Clip) -> None:
    cases = judge(clip, [_report("ABC123", 98), _report("LAKER", 300)])
    for rows in groups(cases).values():
        assert sum(tally.plates for tally in rows.values()) == 3
        assert sum(tally.count("wrong_sure") for tally in rows.values()) == 0
    assert list(groups(cases)["width"]) == ["80 to 90 px"]


def test_interval_is_wilsons() -> None:
    # Values of the Wilson score interval for 9 of 10 and 0 of 10.
    low, high = Tally(10, {"exact": 9}).interval("exact") or (0, 0)
    assert (low, high) == (pytest.approx(0.5958, abs=1e-3), pytest.approx(0.9821, abs=1e-3))
    assert Tally(10, {}).interval("exact") == (0.0, pytest.approx(0.2775, abs=1e-3))
    assert Tally(0, {}).interval("exact") is None


def test_a_seed_outside_the_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drives.main(["--seed", "1000", "--work", str(tmp_path)]) != 0
    assert "choose a seed from 0 to 999" in capsys.readouterr().err


def test_reading_without_clips_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drives.main(["read", "--work", str(tmp_path)]) != 0
    assert "render first" in capsys.readouterr().err


def test_clips_are_rendered_once_and_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, out, pictures = tmp_path / "clips", tmp_path / "a.json", tmp_path / "errors"
    words = ["--work", str(work), "--seed", str(SEED), "--plates", "2", "--scenes", "2"]
    assert drives.main(["render", *words]) == 0
    truth, seed, camera = place(work, SEED, 0, 2)
    made = truth.with_suffix(".mp4").stat().st_mtime_ns
    clip = load_clip(truth)
    assert (clip.seed, clip.camera) == (seed, camera)
    assert [number for number, _ in frames(clip)] == clip.numbers
    assert all(image.shape == (HEIGHT, WIDTH, 3) for _, image in frames(clip))
    assert len(wanted(work, SEED, 2, 2)) == 1
    assert drives.main([*words, "--json", str(out), "--save-errors", str(pictures)]) == 0
    assert truth.with_suffix(".mp4").stat().st_mtime_ns == made
    document = json.loads(out.read_text())
    assert document["plates"] == clip.readable >= 2
    outcomes = ("exact", "unsure", "wrong", "unread", "missed")
    told = sum(document[name] for name in outcomes) + document["wrong_sure"]
    assert (
        told - document["wrong_sure_no_plate"] - document["wrong_sure_unreadable"]
        == (document["plates"])
    )
    assert document["exact"] >= 1
    assert len(list(pictures.glob("*.png"))) == len(document["failures"])
    assert "read exactly and sure" in capsys.readouterr().out
    # A clip whose truth was never written is no clip.
    truth.unlink()
    assert wanted(work, SEED, 2, 2) == []
