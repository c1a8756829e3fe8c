"""``alprd read`` on photographs, folders and videos, with tiny models of the real formats."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from vision_world import blank, draw_plate, write_detector, write_ocr

from alprd import models as model_files
from alprd.detect import Detector
from alprd.errors import InputError, ModelError
from alprd.frames import Detection, Image, PlateReading
from alprd.ocr import OcrResult, PlateReader
from alprd.photo import read_command
from alprd.pictureguard import load_picture
from alprd.profiles import PHOTO
from alprd.still import FoundPlate, join_fragments, read_image

SHIPPED = all((model_files.FOLDER / name).is_file() for name in model_files.NAMES)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    write_detector(folder / "detector.onnx")
    write_ocr(folder)
    return folder


def picture(folder: Path, name: str, text: str, stacked: str = "") -> Path:
    image = blank()
    draw_plate(image, text, 200, 120, 160, stacked)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def read(pair: Path, *arguments: Path | str) -> Result:
    return CliRunner().invoke(read_command, ["--models", str(pair), *map(str, arguments)])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_line_is_as_documented(pair: Path, tmp_path: Path) -> None:
    path = picture(tmp_path, "car.png", "ABC123", "X")
    result = read(pair, "--json", path)
    assert result.exit_code == 0, result.output
    (line,) = lines(result)
    assert list(line) == ["image", "plates", "ms"]
    assert line["image"] == "car.png"
    assert line["ms"] > 0
    (plate,) = line["plates"]
    assert list(plate) == ["plate", "stacked", "region", "confidence", "sure", "box"]
    assert (plate["plate"], plate["stacked"], plate["region"]) == ("ABC123", "X", "MN")
    assert plate["sure"] is True
    assert 0.9 <= plate["confidence"] <= 1
    assert np.abs(np.subtract(plate["box"], [200, 120, 160, 80])).max() <= 2
    assert all(isinstance(side, int) for side in plate["box"])


def test_only_a_doubtful_plate_is_cut_again(pair: Path, tmp_path: Path) -> None:
    asked: list[list[bool]] = []

    class Noting(PlateReader):
        def read(
            self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
        ) -> list[OcrResult]:
            asked.append(list(issuers or ()))
            return super().read(crops, issuers)

    image = cv2.imread(str(picture(tmp_path, "car.png", "ABC123")))
    assert image is not None
    detector = Detector(pair / "detector.onnx", input_size=PHOTO.input_size)
    ocr = Noting(pair / "ocr.onnx", pair / "ocr.yaml")
    asked.clear()  # a reader tries itself when it is made
    (plate,) = read_image(np.asarray(image, np.uint8), detector, ocr, PHOTO)
    assert plate.reading.text == "ABC123"
    assert plate.reading.sure
    assert asked == [[True] * 3], "sure by three cuts, each asked for its state"
    asked.clear()
    strict = dataclasses.replace(PHOTO, char_floor=1.01)
    (plate,) = read_image(np.asarray(image, np.uint8), detector, ocr, strict)
    assert plate.reading.text == "ABC123"
    assert asked == [[True] * 3, [False] * 4], "unsure: four more cuts, for the text alone"


def test_folder_is_read_in_order_of_name(pair: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "c/d/e.jpg"):
        picture(tmp_path / "in", name, "ABC123")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    result = read(pair, "--json", tmp_path / "in")
    assert result.exit_code == 0
    assert [line["image"] for line in lines(result)] == ["z.png", "b.png", "e.jpg"]


def test_unreadable_files_are_named_and_the_rest_is_read(pair: Path, tmp_path: Path) -> None:
    good = picture(tmp_path, "good.png", "ABC123")
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    video = tmp_path / "torn.mp4"
    video.write_bytes(b"no video")
    hollow = tmp_path / "hollow"
    hollow.mkdir()
    result = read(pair, "--json", torn, empty, video, hollow, tmp_path / "absent.jpg", good)
    assert result.exit_code == 1
    assert [line["image"] for line in lines(result)] == ["good.png"]
    for name in ("torn.jpg", "empty.png", "torn.mp4", "hollow", "absent.jpg"):
        assert name in result.stderr
    assert "remedy" in result.stderr


def test_table_for_people(pair: Path, tmp_path: Path) -> None:
    result = read(pair, picture(tmp_path, "car.png", "ABC123"))
    assert result.exit_code == 0
    assert "car.png" in result.stdout
    assert "ABC123" in result.stdout
    assert "confidence" in result.stdout


def test_names_that_look_like_markup_are_shown_whole(pair: Path, tmp_path: Path) -> None:
    found = picture(tmp_path, "[red]car.png", "ABC123")
    result = read(pair, found)
    assert result.exit_code == 0
    assert "[red]car.png" in result.stdout
    if not SHIPPED:
        return
    assert cv2.imwrite(str(tmp_path / "[b].png"), blank())
    result = CliRunner().invoke(read_command, [str(tmp_path / "[b].png")])
    assert "[b].png" in result.stdout
    assert "no plate" in result.stdout


def test_annotated_pictures_are_written(pair: Path, tmp_path: Path) -> None:
    path = picture(tmp_path, "car.png", "ABC123")
    before = path.read_bytes()
    assert read(pair, "--draw", tmp_path / "drawn", path).exit_code == 0
    drawn = load_picture(tmp_path / "drawn" / "car.jpg")
    assert drawn.shape == blank().shape
    assert path.read_bytes() == before
    blocked = tmp_path / "file"
    blocked.touch()
    assert isinstance(read(pair, "--draw", blocked / "x", path).exception, InputError)


def test_drawing_never_touches_a_photograph(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "own", "x.jpg", "ABC123")
    before = path.read_bytes()
    monkeypatch.chdir(path.parent)
    for arguments in (["."], ["x.jpg"], [str(path)], [str(tmp_path)]):
        result = read(pair, "--json", "--draw", ".", *arguments)
        assert isinstance(result.exception, InputError)
        assert "x.jpg" in result.exception.message
        assert "--draw" in result.exception.remedy
        assert result.stdout == ""
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "x.jpg").symlink_to(path)
    assert read(pair, "--draw", tmp_path / "drawn", "x.jpg").exit_code == 0
    assert (tmp_path / "drawn" / "x-2.jpg").is_file()
    assert path.read_bytes() == before


def test_drawn_pictures_keep_distinct_names(pair: Path, tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png"):
        picture(tmp_path / "sub", name, "ABC123")
    sub, drawn, flat = tmp_path / "sub", tmp_path / "drawn", tmp_path / "flat"
    assert read(pair, "--draw", drawn, sub).exit_code == 0
    names = sorted(str(p.relative_to(drawn)) for p in drawn.rglob("*.jpg"))
    assert names == ["a/x.jpg", "b/x-2.jpg", "b/x.jpg"]
    assert read(pair, "--draw", flat, sub / "a" / "x.jpg", sub / "b" / "x.jpg").exit_code == 0
    assert sorted(p.name for p in flat.iterdir()) == ["x-2.jpg", "x.jpg"]


def test_exif_orientation_turns_the_boxes_too(pair: Path, tmp_path: Path) -> None:
    upright = blank(512, 288)  # as large as the profile looks: red frames of a pixel stay red
    draw_plate(upright, "ABC123", 200, 120, 160)
    lying = cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    done, data = cv2.imencode(".jpg", lying, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    # APP1 with one TIFF entry: orientation 6, "turn a quarter clockwise to show".
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    body = b"Exif\x00\x00" + tiff
    app1 = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    raw = data.tobytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(raw[:2] + app1 + raw[2:])
    assert load_picture(path).shape == upright.shape
    (line,) = lines(read(pair, "--json", path))
    assert np.abs(np.subtract(line["plates"][0]["box"], [200, 120, 160, 80])).max() <= 4


def test_video_gives_one_line_a_pass(pair: Path, tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 15, (640, 360))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write FFV1 video")
    for i in range(45):
        image = blank()
        draw_plate(image, "ABC123", 100 + 4 * i, 120, 160)
        writer.write(image)
    writer.release()
    result = read(pair, "--json", path)
    assert result.exit_code == 0, result.output
    (line,) = lines(result)
    assert list(line) == [
        "video", "start_s", "end_s", "plate", "stacked", "region", "confidence", "sure",
    ]  # fmt: skip
    assert (line["video"], line["plate"]) == ("drive.avi", "ABC123")
    assert line["start_s"] == pytest.approx(0.0, abs=0.1)
    assert line["end_s"] == pytest.approx(44 / 15, abs=0.1)


def test_a_video_that_is_cut_short_is_read_so_far_and_told(pair: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"FFV1"), 15, (640, 360))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write FFV1 video")
    rng = np.random.default_rng(0)
    for i in range(45):
        image = blank()
        draw_plate(image, "ABC123", 100 + 4 * i, 120, 160)
        grey = rng.integers(0, 255, (160, 640, 1))  # so that each frame is many bytes
        image[200:] = grey
        writer.write(image)
    writer.release()
    result = read(pair, "--json", whole)
    assert result.exit_code == 0
    assert [line["plate"] for line in lines(result)] == ["ABC123"]
    torn = tmp_path / "torn.mkv"
    data = whole.read_bytes()
    torn.write_bytes(data[: len(data) * 7 // 10])
    assert "note" not in result.stderr
    result = read(pair, "--json", torn)
    assert result.exit_code == 0  # it may as well have longer sound
    assert [line["plate"] for line in lines(result)] == ["ABC123"]
    assert "torn.mkv announces 3.0 s and shows 2.1 s" in result.stderr


def test_a_picture_of_too_many_pixels_is_told_so(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    side = 40_000  # black and white, an honest file, too large even for the library alone
    rows = zlib.compress(bytes((side // 8 + 1) * side))
    image = tmp_path / "large.png"
    image.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">II5B", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError, match="too many pixels") as caught:
        load_picture(image)
    assert "134,217,728" in caught.value.remedy


def test_large_plate_is_looked_at_twice(pair: Path) -> None:
    looks: list[float] = []

    class Counting(Detector):
        def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]:
            looks.append(shrink)
            return super().detect(image, shrink)

    detector = Counting(pair / "detector.onnx", input_size=PHOTO.input_size)
    ocr = PlateReader(pair / "ocr.onnx", pair / "ocr.yaml")
    for width, wanted in ((80, [1.0]), (320, [1.0, PHOTO.second_scale])):
        looks.clear()
        image = blank()
        draw_plate(image, "ABC123", 100, 100, width)
        (found,) = read_image(image, detector, ocr, PHOTO)
        assert looks == wanted
        assert found.reading.text == "ABC123"
        assert np.abs(np.subtract(found.box, (100, 100, width, width // 2))).max() <= 4


def test_faint_plate_is_told_where_it_is_alone_and_never_surely(pair: Path) -> None:
    class Dimmed(Detector):
        """The real detector, its scores times ``share``."""

        share = 1.0
        besides: tuple[Detection, ...] = ()

        def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]:
            found = super().detect(image, shrink)
            dim = [Detection(d.box, d.score * self.share) for d in found]
            return sorted([*dim, *self.besides], key=lambda d: -d.score)

    detector = Dimmed(pair / "detector.onnx", input_size=PHOTO.input_size)
    ocr = PlateReader(pair / "ocr.onnx", pair / "ocr.yaml")
    eager = dataclasses.replace(PHOTO, char_floor=0.5)
    image = blank()
    draw_plate(image, "ABC123", 200, 120, 80)
    assert PHOTO.lone_threshold is not None
    for share, settings, wanted in (
        (1.0, eager, [True]),
        (0.40 / 0.9, eager, [False]),
        (0.28 / 0.9, eager, []),
        (0.40 / 0.9, dataclasses.replace(eager, lone_threshold=None), []),
    ):
        detector.share = share
        found = read_image(image, detector, ocr, settings)
        assert [(p.reading.text, p.reading.sure) for p in found] == [
            ("ABC123", sure) for sure in wanted
        ]
    # Beside a plate that is seen well nothing faint is told.
    detector.share = 0.40 / 0.9
    detector.besides = (Detection((400.0, 20.0, 80.0, 40.0), 0.9),)
    (found_one,) = read_image(image, detector, ocr, eager)
    assert found_one.box[0] == 400


@pytest.mark.parametrize(("width", "found"), [(50, 1), (44, 0)])
def test_plate_taller_than_wide_is_one_down_to_a_shape(pair: Path, width: int, found: int) -> None:
    class Turned(Detector):
        """A plate seen from the side, ``width`` by 80 pixels."""

        def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]:
            return [Detection((200.0, 120.0, float(width), 80.0), 0.9)]

    detector = Turned(pair / "detector.onnx", input_size=PHOTO.input_size)
    ocr = PlateReader(pair / "ocr.onnx", pair / "ocr.yaml")
    assert len(read_image(blank(), detector, ocr, PHOTO)) == found


def plate(text: str, x: int, width: int, *, sure: bool = True, prob: float = 0.97) -> FoundPlate:
    return FoundPlate(PlateReading(text, "", (), "WA", 0.9, prob, sure), (x, 50, width, 100), 0.9)


def told(*plates: FoundPlate) -> list[tuple[str, bool]]:
    return [(p.reading.text, p.reading.sure) for p in join_fragments(plates)]


def test_fragments_of_a_plate_are_one_plate_and_never_sure() -> None:
    left, right, whole = plate("AAT58", 0, 120), plate("T5827", 60, 110), plate("AAT5827", 0, 200)
    assert told(left, right) == [("AAT58", False)]
    assert told(left, whole, right) == [("AAT5827", True)]
    # Boxes that share less, but one text holds the other.
    assert told(plate("27", 190, 60), whole) == [("AAT5827", True)]
    # A blurred wider box is no better reading, yet it tells that this may be a part.
    assert told(plate("XXXXXXXX", 0, 200, sure=False, prob=0.2), left) == [("AAT58", False)]
    # A part beside a wider plate, and plates that do not touch.
    assert told(whole, plate("ZZZ111", 190, 100)) == [("AAT5827", True), ("ZZZ111", False)]
    assert told(whole, plate("AAT58", 300, 120)) == [("AAT5827", True), ("AAT58", True)]
    # A loose box around the same text.
    assert told(plate("AAT5827", 10, 180), whole) == [("AAT5827", True)]


def test_profiles_can_be_chosen(pair: Path, tmp_path: Path) -> None:
    path = picture(tmp_path, "car.png", "ABC123")
    for profile in ("road", "photo"):
        assert len(lines(read(pair, "--json", "--profile", profile, path))) == 1
    assert read(pair, "--profile", "fast", path).exit_code == 2


# Shipped models


def test_sums_catch_an_altered_model(tmp_path: Path) -> None:
    for name in model_files.NAMES:
        (tmp_path / name).write_bytes(name.encode())
    model_files.write_sums(tmp_path)
    assert model_files.shipped(tmp_path).detector == tmp_path / "detector.onnx"
    (tmp_path / "ocr.onnx").write_bytes(b"altered")
    with pytest.raises(ModelError, match=r"ocr\.onnx") as caught:
        model_files.shipped(tmp_path)
    assert "python -m alprd.models" in caught.value.remedy
    (tmp_path / "ocr.onnx").write_bytes(b"ocr.onnx")
    (tmp_path / "state.yaml").unlink(missing_ok=True)
    (tmp_path / "state.onnx").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="recorded in SHA256SUMS and missing"):
        model_files.check_sums(tmp_path)
    (tmp_path / "state.onnx").write_bytes(b"half a pair")
    with pytest.raises(ModelError, match=r"only one of state\.onnx and state\.yaml") as caught:
        model_files.shipped(tmp_path)
    assert "put the other beside it" in caught.value.remedy
    (tmp_path / "state.onnx").unlink()
    (tmp_path / model_files.SUMS).write_text("what is this\n")
    with pytest.raises(ModelError, match="line 1"):
        model_files.check_sums(tmp_path)
    (tmp_path / model_files.SUMS).unlink()
    with pytest.raises(ModelError, match="SHA256SUMS"):
        model_files.check_sums(tmp_path)
    (tmp_path / "ocr.yaml").unlink()
    with pytest.raises(ModelError, match=r"ocr\.yaml is missing"):
        model_files.shipped(tmp_path)


@pytest.mark.skipif(not SHIPPED, reason="alprd/models holds no trained pair yet")
def test_shipped_models_are_whole_and_run(tmp_path: Path) -> None:
    model_files.shipped()
    path = tmp_path / "empty-road.png"
    assert cv2.imwrite(str(path), blank(1280, 720))
    result = CliRunner().invoke(read_command, ["--json", str(path)])
    assert result.exit_code == 0, result.output
    (line,) = lines(result)
    assert line["plates"] == []


def test_python_m_alprd_is_the_command() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "alprd", "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("alprd, version")
