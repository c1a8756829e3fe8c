"""The benchmark counts right, and says plainly what it could not measure."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from vision_world import blank, draw_plate, write_detector, write_ocr

from alprd.errors import InputError
from alprd.frames import Image
from alprd.models import FOLDER, ModelSet
from bench import __main__ as table
from bench.accuracy import Texts, match, on_crops, on_photographs, text_at
from bench.data import Crop, frontal_crops, photographs, spread, text_crops
from bench.frames import one_plate_frames
from bench.memory import MemoryFailedError, peak_mb
from bench.ours import Ours
from bench.peer import PACKAGES, Peer, PeerAbsentError
from bench.report import MEASURES, WIDENED, profile_object, ratio
from bench.systems import Plate, Watch
from bench.timing import Sample, follow, interleave, summary

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SHIPPED = all((FOLDER / name).is_file() for name in ("detector.onnx", "ocr.onnx", "ocr.yaml"))
PEER = all(importlib.util.find_spec(name) for name in PACKAGES)
needs_models = pytest.mark.skipif(not SHIPPED, reason="the shipped models are not here")
needs_peer = pytest.mark.skipif(not PEER, reason="fast-alpr is not installed: pip install .[bench]")
needs_shared = pytest.mark.skipif(
    not (SHARED / "peers").is_dir() or not (SHARED / "data" / "detect" / "val").is_dir(),
    reason="../shared is absent: the labelled photographs and the peer's weights are not in "
    "the repository",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    folder = tmp_path_factory.mktemp("tiny")
    model, config = write_ocr(folder)
    return ModelSet(write_detector(folder / "detector.onnx"), model, config)


def picture(text: str) -> Image:
    image = blank()
    draw_plate(image, text, 200, 120, 160)
    return image


# Counting


def test_each_label_is_found_once_and_every_other_box_is_false() -> None:
    labels = [(0.0, 0.0, 100.0, 50.0), (300.0, 0.0, 100.0, 50.0)]
    again = Plate((2, 0, 100, 50), 0.5, "")
    near = Plate((0, 0, 100, 51), 0.9, "")
    half = Plate((360, 0, 100, 50), 0.8, "")  # IoU 40/160
    assert match(labels, [again, near, half]) == (1, 2)
    assert match(labels, []) == (0, 0)
    assert match([], [near]) == (0, 1)


def test_box_of_iou_one_half_counts() -> None:
    label = [(0.0, 0.0, 100.0, 50.0)]
    assert match(label, [Plate((0, 0, 50, 50), 0.9, "")]) == (1, 0)
    assert match(label, [Plate((0, 0, 49, 50), 0.9, "")]) == (0, 1)


def test_text_is_that_of_the_nearest_box_or_none() -> None:
    plates = [Plate((0, 0, 100, 50), 0.9, "NEAR"), Plate((30, 0, 100, 50), 0.99, "OFF")]
    assert text_at(plates, (2.0, 0.0, 100.0, 50.0)) == "NEAR"
    assert text_at(plates, (200.0, 0.0, 100.0, 50.0)) == ""
    assert text_at([Plate((0, 0, 100, 50), 0.9, "X")], (60.0, 0.0, 100.0, 50.0)) == ""
    assert text_at([], (0.0, 0.0, 1.0, 1.0)) == ""


def test_exact_with_and_without_the_letter_o() -> None:
    texts = Texts()
    assert texts.exact is None
    for wanted, read in (("AB0", "AB0"), ("AB0", "ABO"), ("AB0", "AB8"), ("AB0", "")):
        texts.add([wanted], read)
    texts.add(["12", "12X", "X12"], "X12")
    assert (texts.exact, texts.exact_o0) == (2 / 5, 3 / 5)


def test_summary_of_samples() -> None:
    first = Watch(detect_s=0.012, ocr_s=0.006, detect_cpu_s=0.007, ocr_cpu_s=0.002, crops=1)
    second = Watch(detect_s=0.03, ocr_s=0.01, detect_cpu_s=0.02, crops=3, handed=1)
    figures = summary([Sample(0.010, 0.020, 1, first), Sample(0.030, 0.040, 2, second)])
    assert figures["cpu_ms"] == pytest.approx(20)
    assert figures["detect_cpu_ms"] == pytest.approx(13.5)
    assert figures["ocr_cpu_ms"] == pytest.approx(1)
    assert figures["frames_s"] == pytest.approx(1 / 0.03)
    assert figures["rest_ms_p50"] == pytest.approx(1.0)
    assert figures["total_ms_p95"] == pytest.approx(39)
    assert (figures["plates_a_frame"], figures["crops_a_frame"]) == (1.5, 2)
    assert figures["handed"] == 1
    assert "state_ms_p50" not in figures
    watch = Watch(detect_s=0.012, ocr_s=0.004, state_s=0.003, state_cpu_s=0.002, crops=1)
    state = summary([Sample(0.010, 0.020, 1, watch)])
    assert (state["state_ms_p50"], state["state_cpu_ms"]) == (pytest.approx(3), pytest.approx(2))
    assert state["rest_ms_p50"] == pytest.approx(1)


def test_ratio_of_what_was_not_measured_is_none() -> None:
    assert ratio(1.0, 4.0) == 0.25
    assert ratio(0.0, 4.0) == 0
    assert ratio(1.0, None) is None
    assert ratio(None, 1.0) is None
    assert ratio(1.0, 0.0) is None


def test_profile_object_has_every_key_even_without_a_peer() -> None:
    alone = profile_object("road", {"cpu_ms": 10.0}, {}, {})
    both = profile_object("photo", {"cpu_ms": 10.0}, {"cpu_ms": 40.0, "video_cpu_ms": 3.0}, {})
    assert alone.keys() == both.keys()
    keys = {m.key for m in MEASURES}
    assert {*keys, *(f"peer_{key}" for key in keys), "profile"} <= alone.keys()
    assert (alone["peer_cpu_ms"], alone["ratio_cpu"]) == (None, None)
    assert both["ratio_cpu"] == 0.25
    # The photo profile does not run on video: the peer's figure has nothing to stand beside.
    assert both["peer_video_cpu_ms"] is None


# The pipeline under the watch, with tiny models of the real formats


def test_overlooked_plate_is_handed_over_and_still_read(tiny: ModelSet) -> None:
    ours = Ours("road", tiny)
    (plate,) = ours.read(picture("ABC123"), (200.0, 120.0, 160.0, 80.0))
    assert (plate.text, ours.watch.handed, ours.watch.crops) == ("ABC123", 0, 1)
    assert ours.watch.detect_s > 0
    assert ours.watch.ocr_s > 0
    assert len(ours.watch.raw) == 1
    assert ours.read(blank()) == []
    assert ours.watch.crops == 0
    (given,) = ours.read(blank(), (200.0, 120.0, 160.0, 80.0))
    assert (given.box, ours.watch.handed, ours.watch.crops) == ((200, 120, 160, 80), 1, 1)
    assert ours.watch.raw == []


def write_state(folder: Path) -> tuple[Path, Path]:
    """A state classifier of the real format that always answers alike."""
    nodes = [
        helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Reshape", ["zero", "column"], ["zeros"]),
        helper.make_node("Add", ["zeros", "row"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["region"]),
    ]
    const = {
        "axes": np.array([1, 2, 3], np.int64),
        "nothing": np.array(0, np.float32),
        "column": np.array([-1, 1], np.int64),
        "row": np.array([[3, 0]], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "state",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, ["n", 32, 64, 3])],
        [helper.make_tensor_value_info("region", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in const.items()],
    )
    model, config = folder / "state.onnx", folder / "state.yaml"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(model))
    config.write_text("{img_height: 32, img_width: 64, plate_regions: [MN, WI]}")
    return model, config


def test_state_classifier_is_a_stage_of_its_own(tiny: ModelSet, tmp_path: Path) -> None:
    state, config = write_state(tmp_path)
    ours = Ours("photo", replace(tiny, state=state, state_config=config))
    (plate,) = ours.read(picture("ABC123"))
    assert plate.text == "ABC123"
    assert min(ours.watch.state_s, ours.watch.ocr_s) > 0
    ours.watch.reset()
    assert ours.spell(picture("ABC123")[116:204, 192:368]) == "ABC123"
    assert ours.watch.state_s == 0
    assert ours.watch.ocr_s > 0


def test_every_system_meets_every_frame(tiny: ModelSet) -> None:
    frames = one_plate_frames(3)
    systems = [Ours("road", tiny), Ours("photo", tiny)]
    steps: list[int] = []
    samples = interleave(systems, frames, lambda: steps.append(1))
    assert {name: len(s) for name, s in samples.items()} == {"road": 3, "photo": 3}
    assert len(steps) == 3
    for own in samples.values():
        assert all(s.wall >= s.watch.detect_s + s.watch.ocr_s > 0 for s in own)
        assert len({id(s.watch) for s in own}) == 3
    for s in samples["photo"]:
        plates = max(s.plates, s.watch.handed)
        assert s.watch.crops in range(3 * plates, 7 * plates + 1, 4), "3, or 7 where in doubt"


def test_rendered_frames_show_one_plate_in_the_picture() -> None:
    frames = one_plate_frames(3)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image.shape == (720, 1280, 3)
        x, y, w, h = frame.box
        assert 0 <= x < x + w <= 1280
        assert 0 <= y < y + h <= 720
        assert w >= 30
    assert not np.array_equal(frames[0].image, frames[1].image)


def test_daemon_on_video_counts_its_work(tiny: ModelSet) -> None:
    video = ROOT / "fixtures" / "drive" / "left.mp4"
    found = follow([video, video], tiny, None, 5)
    assert found.keys() == {"road"}
    assert found["road"]["video_frames"] == 10
    assert (found["road"]["video_cpu_ms"] or 0) > 0
    assert 0 < (found["road"]["video_detects_a_frame"] or 0) <= 1
    with pytest.raises(InputError, match="cannot be opened"):
        follow([ROOT / "no.mp4"], tiny, None)


def labelled(folder: Path) -> Path:
    """A data folder of drawn plates: one right, one with another text, one without a label."""
    for split, name, text in (("val", "a", "ABC123"), ("val", "b", "ABC128"), ("train", "t", "XY")):
        place = folder / "detect" / split
        place.mkdir(parents=True, exist_ok=True)
        # As large as the photo profile looks, so that the plate's red frame of a pixel stays red.
        drawn = picture(text)[:288, :512]
        assert cv2.imwrite(str(place / f"{name}.jpg"), drawn, [cv2.IMWRITE_JPEG_QUALITY, 100])
    share = (280 / 512, 160 / 288, 160 / 512, 80 / 288)
    line = " ".join(map(str, (0, *share)))
    (folder / "detect" / "val" / "a.txt").write_text(line + "\n")
    (folder / "detect" / "val" / "b.txt").write_text("")
    crops = folder / "us-text"
    crops.mkdir()
    with (crops / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("file,text,state,source,image,split,cx,cy,w,h".split(","))
        writer.writerow(["a_0.jpg", "ABC123", "", "", "a.jpg", "val", *share])
        writer.writerow(["b_0.jpg", "ABC123", "", "", "b.jpg", "val", *share])
        writer.writerow(["t_0.jpg", "XY", "", "", "t.jpg", "train", *share])
    return folder


def test_accuracy_on_labelled_pictures(tiny: ModelSet, tmp_path: Path) -> None:
    pictures = photographs(labelled(tmp_path))
    assert [p.path.name for p in pictures] == ["a.jpg", "b.jpg", "t.jpg"]
    marks = on_photographs(pictures, [Ours("road", tiny), Ours("photo", tiny)], None)
    assert marks.keys() == {"road", "photo"}
    for mark in marks.values():
        figures = mark.figures(told=True)
        assert figures["detect_recall50"] == 1
        assert figures["false_boxes"] == 0.5  # the drawn plate of b has no label
        assert (mark.reported.labels, mark.reported.pictures) == (1, 2)
        assert (figures["exact"], mark.unseen.plates) == (0.5, 2)
        assert (figures["exact_trained_on"], mark.trained_on.plates) == (1, 1)
        assert figures["told_exact"] == 0.5
    assert marks["photo"].figures(told=False)["told_recall50"] is None


def test_crops_are_read_alone(tiny: ModelSet, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "p.png"), picture("ABC123")[116:204, 192:368])
    crops = [Crop(tmp_path / "p.png", text) for text in ("ABC123", "ABC124")]
    assert on_crops(crops, Ours("road", tiny), None)["ours"].exact == 0.5


def test_unusable_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no photograph"):
        photographs(tmp_path)
    folder = labelled(tmp_path)
    (folder / "detect" / "val" / "a.txt").write_text("0 0.5 0.5\n")
    with pytest.raises(InputError, match=r"a\.txt"):
        photographs(folder)
    with pytest.raises(InputError, match="us-crops"):
        frontal_crops(folder)
    assert [c.text for c in text_crops(folder)] == ["ABC123", "ABC123"]


def test_spread_keeps_order_and_number() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(3), 5) == spread(range(3), None) == [0, 1, 2]


@needs_models
def test_memory_is_that_of_a_process_of_its_own(tmp_path: Path) -> None:
    ballast = np.ones(500_000_000, np.uint8)  # would show in the child's ru_maxrss
    mb = peak_mb("road", [blank()], FOLDER, tmp_path)
    assert 50 < mb < 450
    del ballast
    with pytest.raises(MemoryFailedError, match="peer"):
        peak_mb("peer", [blank()], FOLDER, tmp_path / "none")


# The command


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


SMALL = ("--frames", "4", "--photos", "5", "--video-frames", "4")


@pytest.mark.timeout(900)  # half a minute, but not on a machine that trains
@needs_models
def test_without_the_peer_ours_is_measured_and_the_exit_code_tells(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.json"
    done = run("recognition", *SMALL, "--shared", str(tmp_path), "--json", str(path))
    assert done.returncode == 3, done.stderr
    assert "peer: not measured (" in done.stdout
    assert "accuracy: not measured (" in done.stdout
    document: dict[str, Any] = json.loads(path.read_text())
    assert document["peer"]["measured"] is False
    assert document["peer"]["missing"]
    assert [p["profile"] for p in document["profiles"]] == ["road", "photo"]
    for profile in document["profiles"]:
        assert profile["cpu_ms"] > 0
        assert profile["memory_mb"] > 0
        for key in ("detect_recall50", "exact", "exact_o0", "ratio_cpu"):
            assert profile[key] is None
        peers = [value for key, value in profile.items() if key.startswith("peer_")]
        assert peers == [None] * (len(MEASURES) + len(WIDENED))


@pytest.mark.timeout(900)  # half a minute, but not on a machine that trains
@needs_models
@needs_peer
@needs_shared
def test_beside_the_peer_every_figure_has_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    done = run("recognition", *SMALL, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "not measured" not in done.stdout
    document: dict[str, Any] = json.loads(path.read_text())
    assert document["peer"]["package"].startswith("fast-alpr 0.")
    assert document["counts"]["frames"] == 4
    assert document["counts"]["exact_plates"] >= 5
    for profile in document["profiles"]:
        expected = profile["cpu_ms"] / profile["peer_cpu_ms"]
        assert profile["ratio_cpu"] == pytest.approx(expected, abs=1e-4)
        for key in ("detect_recall50", "exact", "exact_o0", "crops_exact", "text_crops_exact"):
            assert 0 <= profile[key] <= 1
            assert 0 <= profile[f"peer_{key}"] <= 1
        for key in WIDENED:
            assert 0 <= profile[f"peer_widened_{key}"] <= 1
    road, photo = document["profiles"]
    assert road["video_ratio_cpu"] > 0
    assert photo["video_cpu_ms"] is None


@needs_peer
def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(PeerAbsentError, match=r"end2end-int8\.onnx") as caught:
        Peer(tmp_path)
    assert caught.value.exit_code == 3


def test_output_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("recognition", "--json", str(tmp_path / "file" / "out.json"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_table_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([]) == 2
    assert "recognition" in capsys.readouterr().err
    assert table.main(["--help"]) == 0
    for name in table.COMMANDS:
        assert callable(importlib.import_module(f"bench.{name}").main)
