"""The drive simulator: reproducible, truth exact, log and lists honest, the fixture whole."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pynmea2
import pytest

import plates
from sim import drive, lists, nmea
from sim.camera import HEIGHT, WIDTH, patrol_cameras
from sim.frame import FrameRenderer
from sim.scenes import training_frame
from sim.seeds import stream
from sim.truth import LEAST_SECONDS, READ_PX, sights
from sim.wear import LEAST_CONTRAST, contrast_left, plate_picture
from sim.world import FPS, World, build_world, fold

SEED = 41
SECONDS = 21.0
"""The shortest drive that has a tunnel, with a second to spare."""
FIXTURE = drive.FIXTURE_DIR


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, 60.0)


@pytest.fixture(scope="module")
def plan() -> drive.Plan:
    return drive.plan_drive(SEED, SECONDS)


@pytest.fixture(scope="module")
def fixture_truth() -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((FIXTURE / "truth.json").read_text("ascii"))
    return truth


def test_streams_of_training_and_test_differ_for_every_seed() -> None:
    for seed in (0, 7, 2**31, 2**40):
        train = stream("train", seed, "paint", 3).integers(0, 2**63, 4)
        test = stream("test", seed, "paint", 3).integers(0, 2**63, 4)
        assert not np.array_equal(train, test)
        assert np.array_equal(train, stream("train", seed, "paint", 3).integers(0, 2**63, 4))


def test_same_seed_same_truth_and_other_seed_differs(plan: drive.Plan) -> None:
    again = drive.plan_drive(SEED, SECONDS)
    other = drive.plan_drive(SEED + 1, 24.0)
    assert again.truth == plan.truth
    assert again.lists == plan.lists
    assert nmea.log(again.world, again.start) == nmea.log(plan.world, plan.start)
    texts = [{v["plate"] for v in p.truth["vehicles"]} for p in (plan, other)]
    assert len(texts[0] & texts[1]) <= 1
    assert nmea.log(other.world, other.start) != nmea.log(plan.world, plan.start)


def test_same_seed_same_frames_in_any_order(world: World) -> None:
    camera = patrol_cameras()["front"]
    first, second = FrameRenderer(world, camera), FrameRenderer(world, camera)
    frame = first.render(31)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    second.render(600)
    assert np.array_equal(frame, second.render(31))
    other = FrameRenderer(build_world(SEED + 1, 60.0), camera).render(31)
    assert float(np.abs(frame.astype(int) - other).mean()) > 3.0


@pytest.mark.parametrize("name", ["front", "left"])
def test_truth_boxes_lie_where_the_plates_are_drawn(world: World, name: str) -> None:
    """Render with and without plates: all that changes lies inside the boxes, and fills them."""
    camera = patrol_cameras()[name]
    index = max(
        range(20, 240, 11),
        key=lambda i: sum(s.clear and s.width > READ_PX for s in sights(world, camera, i).values()),
    )
    renderer = FrameRenderer(world, camera)
    with_plates = renderer.render(index).astype(int)
    renderer.show_plates = False
    difference = np.abs(with_plates - renderer.render(index)).max(-1)
    seen = sights(world, camera, index)
    clear = [s for s in seen.values() if s.clear and s.width > READ_PX]
    assert clear
    for s in clear:
        inner = np.zeros(difference.shape, np.uint8)
        cv2.fillConvexPoly(inner, np.round(s.quad).astype(np.int32), 1)
        inner = cv2.erode(inner, np.ones((3, 3), np.uint8))
        assert (difference[inner > 0] > 5).mean() > 0.75
        x, y, w, h = (round(k) for k in s.box)
        strong = np.argwhere(difference[y - 12 : y + h + 12, x - 12 : x + w + 12] > 14)
        assert np.abs(strong.min(0) - 12).max() <= 4
        assert np.abs(strong.max(0) - 12 - (h, w)).max() <= 4
    allowed = np.zeros(difference.shape, np.uint8)
    for s in seen.values():
        cv2.fillConvexPoly(allowed, np.round(s.quad).astype(np.int32), 1)
    allowed = cv2.dilate(allowed, np.ones((13, 13), np.uint8))
    assert not (difference[allowed == 0] > 14).any()


def test_a_readable_plate_meets_the_promised_bounds(plan: drive.Plan) -> None:
    cameras = patrol_cameras()
    cars = [v for v in plan.truth["vehicles"] if v["readable"]]
    assert len(cars) >= 8
    for car in cars:
        runs = []
        for p in car["passes"]:
            assert p["t_first"] <= p["t_best"] <= p["t_last"]
            run = best = 0
            for i in range(round(p["t_first"] * FPS), round(p["t_last"] * FPS) + 1):
                s = sights(plan.world, cameras[p["camera"]], i).get(car["id"])
                good = s is not None and s.clear and s.width >= READ_PX and s.angle < 50
                run = run + 1 if good else 0
                best = max(best, run)
            runs.append(best)
            x, y, w, h = p["box_best"]
            assert x >= 0
            assert y >= 0
            assert x + w <= WIDTH
            assert y + h <= HEIGHT
        assert max(runs) >= LEAST_SECONDS * FPS


def test_a_plate_behind_another_car_is_not_clear(world: World) -> None:
    camera = patrol_cameras()["front"]
    covered = [s for i in range(0, 900, 20) for s in sights(world, camera, i).values() if s.covered]
    assert covered
    assert not any(s.clear for s in covered)


def test_drives_use_test_faces_only(world: World) -> None:
    train, test = plates.FontPool.load("train"), plates.FontPool.load("test")
    assert not {f.path for f in train.serial} & {f.path for f in test.serial}
    renderer = FrameRenderer(world, patrol_cameras()["front"])
    assert world.split == "test"
    assert renderer._fonts.families == test.families


def test_a_plate_with_a_lost_character_is_drawn_again() -> None:
    """The wear of this plate would hide a character at first."""
    spec, vehicle = plates.PlateSpec("ABC123", region="MN"), 1289
    fonts = plates.FontPool.load("test")
    new, hidden = (
        plates.render(spec, stream("test", 7, "plate", vehicle), fonts=fonts, wear=wear).image
        for wear in (False, True)
    )
    assert contrast_left(new, hidden) < LEAST_CONTRAST
    shown = plate_picture(spec, "test", 7, vehicle, fonts)
    assert not np.array_equal(shown, hidden)
    assert np.array_equal(shown, plate_picture(spec, "test", 7, vehicle, fonts))
    assert contrast_left(new, np.full_like(new, 120)) == 0.0
    assert contrast_left(new, new) == pytest.approx(1.0)


def test_training_frames_are_reproducible_and_labelled() -> None:
    image, boxes = training_frame(12)
    again, boxes_again = training_frame(12)
    assert image.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(image, again)
    assert boxes == boxes_again
    found = [b for seed in (12, 18, 24, 30) for b in training_frame(seed)[1]]
    assert found
    for x, y, w, h in found:
        assert 0 <= x < x + w <= WIDTH
        assert 0 <= y < y + h <= HEIGHT
        assert 0.8 < w / h < 4.5


def test_positions_interpolate_between_the_log_and_the_truth(plan: drive.Plan) -> None:
    raw = nmea.log(plan.world, plan.start)
    fixes = lost = bad = 0
    talkers = set()
    for line in raw.split(b"\r\n"):
        try:
            msg = pynmea2.parse(line.decode("ascii"), check=True)
        except (UnicodeDecodeError, pynmea2.ParseError):
            bad += bool(line)
            continue
        talkers.add(msg.talker)
        if msg.sentence_type != "RMC":
            continue
        when = datetime.combine(msg.datestamp, msg.timestamp).replace(tzinfo=UTC)
        t = (when - plan.start).total_seconds()
        assert 0 <= t <= plan.world.seconds
        if msg.status == "V":
            assert nmea.in_tunnel(plan.world, t)
            lost += 1
            continue
        assert not nmea.in_tunnel(plan.world, t)
        lat, lon = nmea.position(plan.world, t)
        assert abs(msg.latitude - lat) * nmea.EARTH_M < 3.0
        assert abs(msg.longitude - lon) * nmea.EARTH_M * 0.69 < 3.0
        fixes += 1
    assert talkers == {"GP", "GN"}
    assert fixes > 20
    assert lost >= 4
    assert bad >= 4


def test_checksum_of_a_known_sentence() -> None:
    body = "GPGLL,5057.970,N,00146.110,E,142451,A"
    assert nmea.sentence(body) == b"$GPGLL,5057.970,N,00146.110,E,142451,A*27\r\n"


def test_lists_hold_the_promises(plan: drive.Plan) -> None:
    _check_lists(
        plan.truth,
        list(csv.DictReader(plan.lists.hotlist_csv().splitlines())),
        list(csv.DictReader(plan.lists.suppression_csv().splitlines())),
    )


def _check_lists(
    truth: dict[str, Any], hot: list[dict[str, str]], hidden: list[dict[str, str]]
) -> None:
    assert tuple(hot[0]) == lists.HOTLIST_FIELDS
    assert len(hot) >= lists.DECOYS
    assert {e["category"] for e in hot} == set(lists.CATEGORIES)
    listed = {e["plate"]: e for e in hot}
    assert len(listed) == len(hot)
    cars = truth["vehicles"]
    twins = {v["near_miss_of"] for v in cars if v["near_miss_of"]}
    for car in cars:
        assert car["alert"] == (car["plate"] in listed)
        if car["alert"]:
            assert car["readable"]
            assert listed[car["plate"]]["category"] == car["alert_category"]
            assert listed[car["plate"]]["state"] == car["state"]
        if car["near_miss_of"]:
            twin = car["near_miss_of"]
            assert car["readable"]
            assert twin in listed
            assert twin != car["plate"]
            assert fold(twin) == fold(car["plate"])
            assert sum(a != b for a, b in zip(twin, car["plate"], strict=True)) == 1
            swap = next((a, b) for a, b in zip(twin, car["plate"], strict=True) if a != b)
            assert lists.TWINS[swap[0]] == swap[1]
            assert not car["alert"]
        assert car["suppressed"] == ({"plate": car["plate"], "state": car["state"]} in hidden)
        assert not (car["suppressed"] and car["alert"])
    # Nothing else on the lists could be taken for a plate of the drive.
    own = {v["plate"] for v in cars}
    folded = [fold(p) for p in own]
    for row in [*hot, *hidden]:
        if row["plate"] not in own and row["plate"] not in twins:
            assert min(lists.distance(fold(row["plate"]), f) for f in folded) >= 2


@pytest.mark.parametrize("seconds", [1.0, 4000.0])
def test_an_impossible_length_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(drive.DriveError, match="choose between 2 and 3600"):
        drive.write_drive(tmp_path / "d", SEED, seconds)
    assert not (tmp_path / "d").exists()


def test_command_renders_a_short_drive(tmp_path: Path) -> None:
    out = tmp_path / "drive"
    done = subprocess.run(
        [sys.executable, "-m", "sim", "drive", "--seed", "5", "--out", str(out),
         "--seconds", "2", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["seed"] == 5
    truth = json.loads((out / "truth.json").read_text("ascii"))
    assert truth["reserved_test"] is True
    for camera in truth["cameras"]:
        assert _frames(out / camera["file"]) == 2 * camera["fps"]
        head = (out / camera["file"]).read_bytes()
        assert b"Lavf" not in head
        assert b"x264 - core" not in head


def _frames(path: Path) -> int:
    video = cv2.VideoCapture(str(path))
    count = 0
    while True:
        ok, frame = video.read()
        if not ok:
            break
        assert frame.shape == (HEIGHT, WIDTH, 3)
        count += 1
    video.release()
    return count


def test_fixture_is_whole(fixture_truth: dict[str, Any]) -> None:
    truth = fixture_truth
    cars = truth["vehicles"]
    read = [v for v in cars if v["readable"]]
    assert truth["seed"] == drive.FIXTURE_SEED
    assert len({v["plate"] for v in read}) == len(read) >= 25
    assert len({v["plate"] for v in cars}) == len(cars)
    assert sum(v["alert"] for v in read) >= 3
    assert {"stolen", "owner_warrant"} <= {v["alert_category"] for v in read}
    assert sum(v["suppressed"] for v in read) >= 1
    assert sum(v["near_miss_of"] is not None for v in read) >= 1
    alerts = sorted(v["passes"][0]["t_best"] for v in read if v["alert"])
    assert alerts[0] < 20 < 40 < alerts[-1]
    assert sum(v["state"] == "MN" for v in read) >= 0.5 * len(read)
    assert sum(p.stat().st_size for p in FIXTURE.iterdir()) < 8_000_000


def test_fixture_lists_hold_the_promises(fixture_truth: dict[str, Any]) -> None:
    with (FIXTURE / fixture_truth["hotlist"]).open(encoding="ascii", newline="") as f:
        hot = list(csv.DictReader(f))
    with (FIXTURE / fixture_truth["suppression"]).open(encoding="ascii", newline="") as f:
        hidden = list(csv.DictReader(f))
    _check_lists(fixture_truth, hot, hidden)


def test_fixture_is_what_its_seed_renders(fixture_truth: dict[str, Any]) -> None:
    """Truth, log and lists are rebuilt byte for byte; the videos have every frame."""
    plan = drive.plan_drive(drive.FIXTURE_SEED, drive.FIXTURE_SECONDS)
    assert plan.truth == fixture_truth
    assert nmea.log(plan.world, plan.start) == (FIXTURE / "gps.nmea").read_bytes()
    assert plan.lists.hotlist_csv() == (FIXTURE / "hotlist.csv").read_text("ascii")
    assert plan.lists.suppression_csv() == (FIXTURE / "suppression.csv").read_text("ascii")
    for camera in fixture_truth["cameras"]:
        assert _frames(FIXTURE / camera["file"]) == round(fixture_truth["duration_s"]) * FPS


@pytest.mark.parametrize("name", ["front", "left"])
def test_fixture_video_shows_the_frame_its_seed_renders(name: str) -> None:
    world = build_world(drive.FIXTURE_SEED, drive.FIXTURE_SECONDS)
    renderer = FrameRenderer(world, patrol_cameras()[name])
    video = cv2.VideoCapture(str(FIXTURE / f"{name}.mp4"))
    for index in range(46):
        ok, frame = video.read()
        assert ok
        if index == 45:
            ours = cv2.GaussianBlur(renderer.render(index)[..., ::-1].astype(np.float32), (0, 0), 2)
            theirs = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 2)
            assert float(np.abs(ours - theirs).mean()) < 4.0
    video.release()
