"""From frames to passes, in a world that is read exactly (see ``vision_world``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from vision_world import RedBoxDetector, blank, draw_plate, write_ocr

from alprd.frames import Detection, Frame, Image, PassEvent
from alprd.ocr import OcrResult, PlateReader
from alprd.pictures import MASK_COLOUR, plate_picture, wide_picture
from alprd.profiles import ROAD
from alprd.reader import RoadReader

STEP_NS = 66_666_667


@pytest.fixture(scope="module")
def ocr(tmp_path_factory: pytest.TempPathFactory) -> PlateReader:
    return PlateReader(*write_ocr(tmp_path_factory.mktemp("ocr")))


class Drive:
    """Feeds frames at 15 frames/s to a reader and keeps what it tells."""

    def __init__(self, reader: RoadReader) -> None:
        self.reader = reader
        self.frame = 0
        self.events: list[PassEvent] = []

    def show(self, *plates: tuple[str, int, int], frames: int = 1, width: int = 96) -> None:
        for _ in range(frames):
            image = blank()
            for text, x, y in plates:
                draw_plate(image, text, x, y, width)
            self.send(image)

    def send(self, image: Image) -> None:
        self.frame += 1
        frame = Frame(self.reader.camera, image, self.frame * STEP_NS, self.frame)
        self.events += self.reader.process(frame)

    def end(self) -> list[PassEvent]:
        self.events += self.reader.flush()
        return self.events

    def finals(self) -> list[str | None]:
        return [e.reading.text if e.reading else None for e in self.events if e.kind == "final"]


@pytest.fixture
def drive(ocr: PlateReader) -> Drive:
    return Drive(RoadReader("front", RedBoxDetector(), ocr, ROAD))


def test_moving_plate_is_one_pass(drive: Drive) -> None:
    for i in range(12):
        drive.show(("ABC123", 20 + 25 * i, 100))
    drive.show(frames=40)
    kinds = [event.kind for event in drive.events]
    assert kinds == ["early", "final"]
    early, final = drive.events
    assert early.pass_id == final.pass_id
    assert final.reading is not None
    assert final.reading.text == "ABC123"
    assert final.reading.region == "MN"
    assert final.reading.sure
    assert final.first_mono_ns == STEP_NS
    assert final.camera == "front"
    assert not drive.end()[2:]


def test_early_event_comes_within_two_frames(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=2)
    assert [event.kind for event in drive.events] == ["early"]
    assert drive.events[0].best_mono_ns in (STEP_NS, 2 * STEP_NS)
    assert drive.events[0].plate_image is not None


@pytest.mark.policy("R-460.4-f")
def test_a_text_that_becomes_sure_is_told_in_that_frame(drive: Drive) -> None:
    """An alert waits for a sure text alone: not for another text, nor for the end of the pass."""
    drive.show(("ABC123", 200, 100), frames=30, width=50)  # clear, and too far to be believed
    assert [event.kind for event in drive.events] == ["early"]
    assert not any(event.reading and event.reading.sure for event in drive.events)
    drive.show(("ABC123", 200, 100), frames=1, width=60)
    assert [event.kind for event in drive.events] == ["early", "corrected"]
    sure = drive.events[-1]
    assert sure.reading is not None
    assert (sure.reading.text, sure.reading.sure) == ("ABC123", True)
    assert sure.detail is not None
    assert sure.detail["end_mono_ns"] == 31 * STEP_NS  # the very frame in which it came near
    drive.show(("ABC123", 200, 100), frames=10, width=62)
    assert len(drive.events) == 2  # said once
    drive.end()
    assert drive.finals() == ["ABC123"]


def test_gap_in_a_track_is_stitched(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=6)
    drive.show(frames=15)  # 1 s: the track is lost, a passing lorry hid the plate
    drive.show(("ABC123", 160, 110), frames=6)
    drive.show(frames=40)
    assert drive.finals() == ["ABC123"]
    assert len({event.pass_id for event in drive.events}) == 1


def test_plate_told_already_is_not_told_again_within_seconds(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=6)
    drive.show(frames=36)  # final is out, but the pass is remembered
    assert drive.finals() == ["ABC123"]
    drive.show(("ABC123", 100, 100), frames=6)
    drive.show(frames=80)
    assert drive.finals() == ["ABC123"]


def test_plate_that_returns_later_is_a_new_pass(drive: Drive) -> None:
    for _ in range(2):
        drive.show(("ABC123", 100, 100), frames=6)
        drive.show(frames=90)
    assert drive.finals() == ["ABC123", "ABC123"]
    assert len({event.pass_id for event in drive.events}) == 2


def test_stationary_plate_is_told_once_while_it_stays(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=15 * 20)
    assert drive.finals() == ["ABC123"]
    (final,) = [event for event in drive.events if event.kind == "final"]
    assert final.detail is not None
    in_view = final.detail["end_mono_ns"] - final.detail["start_mono_ns"]
    assert in_view * 1e-9 == pytest.approx(ROAD.max_view_s, abs=0.1)
    drive.end()
    assert drive.finals() == ["ABC123"]


def test_plate_far_ahead_for_long_is_read_when_it_comes_near(drive: Drive) -> None:
    drive.show(("ABC123", 300, 100), frames=15 * 12, width=24)  # too small to read
    assert drive.finals() == []
    for i in range(20):
        drive.show(("ABC123", 300 - i, 100), width=24 + 4 * i)
    drive.show(frames=40)
    assert drive.finals() == ["ABC123"]


def test_stationary_plate_costs_few_readings(ocr: PlateReader) -> None:
    class Counting:
        regions = ocr.regions
        crops = 0

        def read(
            self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
        ) -> list[OcrResult]:
            self.crops += len(crops)
            return ocr.read(crops, issuers)

    counting = Counting()
    drive = Drive(RoadReader("front", RedBoxDetector(), counting, ROAD))
    drive.show(("ABC123", 100, 100), frames=15 * 16)
    assert counting.crops <= ROAD.max_readings + 16 / ROAD.recheck_s


def test_another_vehicle_in_the_same_place_is_another_pass(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=60)
    drive.show(("XYZ789", 100, 100), frames=150)
    drive.end()
    assert drive.finals() == ["ABC123", "XYZ789"]
    by_text = {e.reading.text: e.pass_id for e in drive.events if e.reading}
    assert by_text["ABC123"] != by_text["XYZ789"]


def test_another_vehicle_after_a_stall_of_the_camera_is_not_mixed(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=8)
    drive.frame += 5 * 15  # no frames for five seconds
    drive.show(("XYZ789", 110, 100), frames=8)
    drive.end()
    assert drive.finals() == ["ABC123", "XYZ789"]


def test_two_plates_at_once(drive: Drive) -> None:
    drive.show(("ABC123", 50, 100), ("XYZ789", 400, 200), frames=8)
    drive.end()
    assert sorted(map(str, drive.finals())) == ["ABC123", "XYZ789"]


def test_two_tracks_on_one_plate_text_are_one_pass(drive: Drive) -> None:
    drive.show(("ABC123", 50, 100), ("ABC123", 400, 200), frames=8)
    drive.end()
    assert drive.finals() == ["ABC123"]
    assert len({event.pass_id for event in drive.events}) == 1


def test_corrected_when_the_fused_text_changes(drive: Drive) -> None:
    drive.show(("ABC128", 200, 100), frames=2, width=60)
    for i in range(8):
        drive.show(("ABC123", 200, 100), width=70 + 8 * i)
    drive.end()
    told = [(event.kind, event.reading.text) for event in drive.events if event.reading]
    assert told[0] == ("early", "ABC128")
    assert ("corrected", "ABC123") in told
    assert told[-1] == ("final", "ABC123")
    final = drive.events[-1]
    assert final.first_mono_ns == 3 * STEP_NS
    assert len({event.pass_id for event in drive.events}) == 1


@pytest.mark.policy("R-460.5.1-b1")
def test_unread_pass_only_counts(drive: Drive) -> None:
    drive.show(("A", 100, 100), frames=6)  # no text of a plate's length
    drive.show(frames=40)
    assert drive.finals() == [None]


def test_plate_that_never_came_near_has_not_passed(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=6, width=20)
    drive.show(frames=40)
    assert drive.events == []


def test_flicker_of_the_detector_is_no_pass(drive: Drive) -> None:
    drive.show(("ABC123", 100, 100), frames=1, width=20)
    drive.show(frames=40)
    assert drive.events == []


def test_lettering_of_low_detection_score_is_not_told(ocr: PlateReader) -> None:
    drive = Drive(RoadReader("front", RedBoxDetector(score=ROAD.pass_score - 0.05), ocr))
    drive.show(("HYBRID", 100, 100), frames=8)
    assert drive.end() == []


def test_plate_cut_by_the_border_is_not_read(drive: Drive) -> None:
    for x in (-60, -50, -40, -30):
        drive.show(("ABC123", x, 100))
    drive.end()
    assert drive.finals() in ([], [None])


def test_shape_that_is_no_plate_is_not_tracked(ocr: PlateReader) -> None:
    drive = Drive(RoadReader("front", RedBoxDetector(), ocr, ROAD))
    for _ in range(6):
        image = blank()
        image[50:300, 100:140] = (0, 0, 255)  # a red pillar
        image[10:20, 200:500] = (0, 0, 255)  # a stripe
        drive.send(image)
    assert drive.end() == []


def test_every_pass_has_exactly_one_final(ocr: PlateReader) -> None:
    rng = np.random.default_rng(460)
    drive = Drive(RoadReader("front", RedBoxDetector(), ocr, ROAD))
    names = [f"A{i:02d}X{i:02d}" for i in range(12)]
    for _ in range(90):
        here = rng.random(12) < 0.75
        drive.show(
            *[(n, 10 + 104 * (i % 6), 60 + 120 * (i // 6)) for i, n in enumerate(names) if here[i]]
        )
    drive.end()
    finals = Counter(event.pass_id for event in drive.events if event.kind == "final")
    assert set(finals.values()) == {1}
    assert {event.pass_id for event in drive.events} == set(finals)
    assert set(drive.finals()) == set(names)
    for pass_id in finals:
        kinds = [event.kind for event in drive.events if event.pass_id == pass_id]
        assert kinds[-1] == "final"
        assert kinds.count("early") <= 1


def test_still_empty_scene_is_not_searched_in_every_frame(ocr: PlateReader) -> None:
    detector = RedBoxDetector()
    drive = Drive(RoadReader("front", detector, ocr, ROAD))
    drive.show(frames=45)
    assert detector.calls <= 5
    drive.show(("ABC123", 100, 100), frames=6)
    drive.end()
    assert drive.finals() == ["ABC123"]
    assert drive.events[-1].first_mono_ns == 46 * STEP_NS


def test_memory_of_a_pass_is_bounded(drive: Drive) -> None:
    for i in range(15 * 12):
        drive.show((f"ABC{i % 7}2{i % 3}", 100, 100), width=96 + i % 9)
    (kept,) = drive.reader._passes.values()
    assert len(kept.readings) <= 8
    assert len(kept.first_seen) <= 32
    assert kept.wide_image is None or kept.wide_image.base is None


# Pictures


@pytest.mark.policy("R-460.5-b5")
def test_wide_picture_shows_no_other_plate(drive: Drive) -> None:
    drive.show(("ABC123", 50, 100), ("XYZ789", 300, 120), ("KLM456", 400, 240), frames=8)
    drive.end()
    finals = [event for event in drive.events if event.kind == "final"]
    assert len(finals) == 3
    for event in drive.events:
        assert event.wide_image is not None
        assert event.wide_image.shape[1] <= ROAD.wide_width
        found = RedBoxDetector().detect(event.wide_image)
        assert len(found) == 1, "only the read's own plate is left"


@pytest.mark.policy("R-460.5-b5")
def test_plate_missed_by_the_detector_is_masked_where_it_is_expected(ocr: PlateReader) -> None:
    class Blinking(RedBoxDetector):
        """Misses the right-hand plate in every second frame."""

        def detect(self, image: Image) -> list[Detection]:
            found = super().detect(image)
            return [d for d in found if self.calls % 2 or d.box[0] < 200]

    drive = Drive(RoadReader("front", Blinking(), ocr, ROAD))
    for i in range(10):
        drive.show(("ABC123", 50, 100 + i), ("XYZ789", 300 + 6 * i, 120), width=60 + 8 * i)
    drive.end()
    for event in drive.events:
        assert event.wide_image is not None
        assert len(RedBoxDetector().detect(event.wide_image)) == 1


@pytest.mark.policy("R-460.5-b5")
def test_neighbour_in_the_margin_of_the_plate_picture_is_masked() -> None:
    image = blank()
    draw_plate(image, "ABC123", 100, 100)
    draw_plate(image, "XYZ789", 202, 100)
    own, other = (100.0, 100.0, 96.0, 48.0), (202.0, 100.0, 96.0, 48.0)
    picture = plate_picture(image, own, [own, other], ROAD)
    (found,) = RedBoxDetector().detect(picture)
    assert found.box[2:] == (96, 48)
    assert not np.shares_memory(picture, image)


def test_box_around_the_plate_does_not_hide_it() -> None:
    image = blank(1280, 720)
    draw_plate(image, "ABC123", 500, 400)
    own = (500.0, 400.0, 96.0, 48.0)
    picture = wide_picture(image, own, [own, (300.0, 300.0, 600.0, 300.0)], ROAD)
    assert picture.shape == (360, 640, 3)
    own_part = picture[200:224, 250:298]
    assert not (own_part == MASK_COLOUR).all(axis=2).any()
    assert tuple(picture[170, 200]) == MASK_COLOUR
    assert image[400, 500, 2] == 255, "the frame itself is left alone"
    assert image[400, 500, 2] == 255, "the frame itself is left alone"


def test_a_change_of_resolution_continues_no_track_and_counts_no_plate_twice(drive: Drive) -> None:
    for i in range(4):
        drive.show(("ABC123", 100 + 10 * i, 20), ("XYZ789", 400, 200))
    for i in range(4):  # twice the size; another vehicle stands where the first one was
        image = blank(1280, 720)
        draw_plate(image, "ABC123", 2 * (140 + 10 * i), 40, 192)
        draw_plate(image, "QRS456", 400, 200, 96)
        drive.send(image)
        tracks = drive.reader._tracker.tracks
        assert all(t.frames <= i + 1 for t in tracks)
    drive.end()
    assert sorted(str(t) for t in drive.finals()) == ["ABC123", "QRS456", "XYZ789"]
    assert "corrected" not in {event.kind for event in drive.events}
