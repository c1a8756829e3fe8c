"""The shipped plate detector keeps its contract, and its training code does what it says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")
pytest.importorskip("onnx", reason="training needs onnx: pip install alprd[training]")

import onnxruntime as ort  # noqa: E402

from plates import FontPool, random_spec, render  # noqa: E402
from training.detector import __main__ as command  # noqa: E402
from training.detector import augment, evaluate, export, paste, recount, report, store  # noqa: E402
from training.detector.drives import drive_frames  # noqa: E402
from training.detector.loss import Targets, assign, detection_loss  # noqa: E402
from training.detector.network import NetworkConfig, PlateDetector, decode  # noqa: E402
from training.detector.scenes import Batch  # noqa: E402
from training.detector.train import Schedule, optimiser_of, step_loss  # noqa: E402
from training.weights import FOLDER  # noqa: E402

MODELS = Path(__file__).resolve().parents[1] / "alprd" / "models"
MODEL = MODELS / "detector.onnx"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = NetworkConfig(c8=8, c16=8, c32=8, head=8)


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def shipped() -> ort.InferenceSession:
    return _session(MODEL)


def _street(seed: int, height: int = 360, width: int = 640) -> tuple[np.ndarray, list[float]]:
    """The back of a car on a road, with a rendered plate of unused type faces on it."""
    rng = np.random.default_rng(seed)
    sky = np.linspace(200, 150, height)[:, None, None] * np.ones((1, width, 3))
    picture = (sky + rng.normal(0, 4, (height, width, 3))).clip(0, 255).astype(np.uint8)
    picture[height // 2 :] = (picture[height // 2 :] * 0.5).astype(np.uint8)
    x, y = int(rng.integers(150, width - 330)), int(rng.integers(110, 150))
    paint = tuple(int(v) for v in rng.integers(20, 130, 3))
    cv2.rectangle(picture, (x, y), (x + 180, y + 120), paint, -1)
    cv2.rectangle(picture, (x + 25, y - 45), (x + 155, y), (50, 55, 60), -1)
    for side in (x + 4, x + 146):
        cv2.rectangle(picture, (side, y + 25), (side + 30, y + 50), (150, 20, 20), -1)
        cv2.rectangle(picture, (side, y + 115), (side + 30, y + 140), (15, 15, 15), -1)
    spec = random_spec(rng, region="MN")
    plate = render(spec, rng, fonts=FontPool.load("test")).image
    small = cv2.resize(plate, (56, 28), interpolation=cv2.INTER_AREA)
    px, py = x + 62, y + 66
    picture[py : py + 28, px : px + 56] = small
    picture = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(np.uint8)
    return picture, [px, py, px + 56, py + 28]


def test_sheet_matches_the_model_file() -> None:
    sheet = yaml.safe_load((MODELS / "detector.yaml").read_text())
    assert sheet["sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert sheet["classes"] == ["license_plate"]
    for name, (height, width) in report.PROFILES.items():
        profile = sheet["profiles"][name]
        assert (profile["height"], profile["width"]) == (height, width)
        assert export.MIN_SCORE <= profile["threshold"] < 1
    assert MODEL.stat().st_size <= 5_000_000


def test_card_names_every_source_and_has_figures() -> None:
    card = (MODELS / "DETECTOR_CARD.md").read_text()
    for needed in ("CC BY 4.0", "MIT", "Open Images", "Robert Lucian Chiriac", "recall IoU 0.5"):
        assert needed in card


def test_layout_of_input_and_output(shipped: ort.InferenceSession) -> None:
    (images,) = shipped.get_inputs()
    assert (images.name, images.type, images.shape[1]) == ("images", "tensor(float)", 3)
    (rows,) = shipped.get_outputs()
    assert rows.shape[1] == 7


@pytest.mark.parametrize("size", [(384, 640), (64, 96), (416, 416), (640, 480)])
def test_any_multiple_of_32_and_any_batch(
    shipped: ort.InferenceSession, size: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).random((2, 3, *size), np.float32)
    rows = np.asarray(shipped.run(None, {"images": x})[0])
    assert rows.dtype == np.float32
    assert rows.ndim == 2 and rows.shape[1] == 7
    assert all(np.sum(rows[:, 0] == b) <= export.MAX_ROWS for b in (0, 1))
    assert set(rows[:, 0]) <= {0.0, 1.0} and set(rows[:, 5]) <= {0.0}
    assert np.all(rows[:, 6] >= export.MIN_SCORE) and np.all(rows[:, 6] <= 1)


def test_no_plate_in_blank_or_noise(shipped: ort.InferenceSession) -> None:
    sheet = yaml.safe_load((MODELS / "detector.yaml").read_text())
    threshold = sheet["profiles"]["road"]["threshold"]
    rng = np.random.default_rng(3)
    for picture in (
        np.zeros((1, 3, 384, 640), np.float32),
        np.full((1, 3, 384, 640), 114 / 255, np.float32),
        np.ones((1, 3, 384, 640), np.float32),
        rng.random((1, 3, 384, 640), np.float32),
        rng.normal(0.5, 0.1, (1, 3, 384, 640)).astype(np.float32),
    ):
        rows = np.asarray(shipped.run(None, {"images": picture})[0])
        assert not np.any(rows[:, 6] >= threshold)


def test_finds_rendered_plates_on_a_drawn_car() -> None:
    sheet = yaml.safe_load((MODELS / "detector.yaml").read_text())
    threshold = sheet["profiles"]["road"]["threshold"]
    detector = evaluate.OnnxDetector(MODEL, (384, 640))
    found = false = 0
    for seed in range(20):
        picture, box = _street(seed)
        rows = detector(picture)
        rows = rows[rows[:, 4] >= threshold]
        hits = evaluate.iou_matrix(rows[:, :4], np.asarray([box], np.float32))[:, 0] >= 0.5
        found += bool(hits.any())
        false += int((~hits).sum())
    assert found >= 16
    assert false <= 4


def test_export_equals_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = PlateDetector(TINY)
    model.backbone.load_imagenet()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.no_grad():
        # Spread the scores around the graph's own threshold so that rows come and stay apart.
        for head in (model.head8, model.head16):
            head.out.weight.mul_(40)
            assert head.out.bias is not None
            head.out.bias[4] = -2.0
    model.eval()
    path = tmp_path / "m.onnx"
    digest = export.write(export.build(model, half=False), path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    x = torch.rand(2, 3, 96, 160)
    rows = np.asarray(_session(path).run(None, {"images": x.numpy()})[0])
    assert len(rows)
    with torch.no_grad():
        boxes, logits, _ = decode(model(x))
    scores = logits.sigmoid().numpy()
    for row in rows:
        n = int(row[0])
        nearest = np.abs(boxes[n].numpy() - row[1:5]).max(1).argmin()
        np.testing.assert_allclose(boxes[n, nearest].numpy(), row[1:5], atol=1e-2)
        assert scores[n, nearest] == pytest.approx(row[6], abs=1e-4)
    best = scores.max(1)
    for n in (0, 1):
        mine = rows[rows[:, 0] == n]
        assert mine[:, 6].max() == pytest.approx(best[n], abs=1e-4)
        overlap = evaluate.iou_matrix(mine[:, 1:5], mine[:, 1:5])
        assert np.all(overlap[~np.eye(len(mine), dtype=bool)] <= export.NMS_IOU + 1e-4)


def test_quantised_export_finds_what_the_network_finds(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = PlateDetector(TINY)
    model.backbone.load_imagenet()
    model.eval()
    with torch.no_grad():
        for head in (model.head8, model.head16):
            assert head.out.bias is not None
            head.out.bias[4] = 0.0
    rng = np.random.default_rng(7)
    pictures = [cv2.resize(rng.random((6, 10, 3), np.float32), (160, 96)) for _ in range(6)]
    inputs = [np.ascontiguousarray(p.transpose(2, 0, 1)[None]) for p in pictures]
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    export.write(export.build(model, half=False), whole)
    export.write(export.quantised(model, inputs), small)
    assert small.stat().st_size < 0.6 * whole.stat().st_size
    best = []
    for path in (whole, small):
        rows = np.asarray(_session(path).run(None, {"images": inputs[0]})[0])
        best.append(rows[rows[:, 6].argsort()[::-1]][:5])
    assert best[0][:, 6] == pytest.approx(best[1][:, 6], abs=0.1)


def test_assignment_gives_every_plate_a_cell_and_ignores_regions() -> None:
    model = PlateDetector(TINY).eval()
    model.backbone.load_imagenet()
    with torch.no_grad():
        boxes, logits, cells = decode(model(torch.rand(1, 3, 128, 128)))
    # A plate of 10x5 px that contains no cell centre, a large one, and a region to ignore.
    gt = torch.tensor([[[41.0, 41.5, 51.0, 46.5], [60.0, 70.0, 120.0, 100.0], [0.0, 0.0, 30, 30]]])
    targets = Targets(gt, torch.tensor([[1, 1, 2]]))
    owner, goal, ignored = assign(boxes, logits.sigmoid(), cells, targets)
    assert {0, 1} <= set(owner[0].tolist()) and 2 not in owner[0].tolist()
    assert torch.all(goal[0][owner[0] < 0] == 0)
    inside = (cells[:, 0] < 30) & (cells[:, 1] < 30) & (owner[0] < 0)
    assert torch.all(ignored[0][inside])


def test_a_small_network_learns_one_picture() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = PlateDetector(NetworkConfig(c8=16, c16=16, c32=16, head=16)).train()
    model.backbone.load_imagenet()
    picture = np.full((2, 96, 96, 3), 70, np.uint8)
    picture[0, 40:56, 30:62] = 230
    picture[1, 20:36, 50:82] = 230
    boxes = torch.tensor([[[30.0, 40, 62, 56]], [[50.0, 20, 82, 36]]])
    batch = Batch(torch.from_numpy(picture), boxes, torch.ones(2, 1, dtype=torch.long))
    optimiser = optimiser_of(model, Schedule(rate=5e-3))
    for _ in range(60):
        loss, _ = step_loss(model, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        found, logits, cells = decode(model(batch.pixels.permute(0, 3, 1, 2).float() / 255))
    for n in (0, 1):
        best = found[n, logits[n].argmax()][None].numpy()
        assert evaluate.iou_matrix(best, boxes[n].numpy())[0, 0] > 0.6
    losses = detection_loss(found, logits, cells, Targets(boxes, batch.kinds))
    assert losses.positives >= 2


def test_a_run_of_steps_ends_by_steps_whatever_the_clock_says() -> None:
    by_steps = Schedule(minutes=1, steps=40, cooldown=0.5)
    assert by_steps.done(39, spent=500.0) < 1 <= by_steps.done(40, spent=0.0)
    rates = [by_steps.rate_at(step, 500.0) for step in range(40)]
    assert rates[0] < rates[8] == max(rates) == 1.0, "it rises over a fifth of so short a run"
    assert rates[20] > rates[30] > rates[39] > 0
    by_minutes = Schedule(minutes=10)
    assert by_minutes.done(10**6, 9.9) < 1 <= by_minutes.done(0, 10.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), width=st.floats(12, 200))
def test_augmented_boxes_stay_on_the_picture(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (240, 320, 3), np.uint8)
    boxes = np.asarray([[100, 90, 100 + width, 90 + width / 2]], np.float32)
    item = store.Labelled("x", pixels, boxes)
    view, b, k = augment.random_window(item, (160, 224), rng)
    view, b = augment.flip(view, b)
    view, b, k = augment.rotate(view, b, k, float(rng.normal(0, 4)))
    patch = np.full((120, 240, 4), 255, np.uint8)
    b, k = paste.scatter_plates(view, b, k, [patch], rng)
    paste.add_lettering(view, b, rng)
    view = augment.sensor(augment.light(view, rng), rng)
    assert view.shape == (160, 224, 3) and view.dtype == np.uint8
    assert len(b) == len(k)
    assert np.all(b[:, 2] > b[:, 0]) and np.all(b[:, 3] > b[:, 1])
    assert np.all(b[:, :2] >= -1) and np.all(b[:, 2] <= 225) and np.all(b[:, 3] <= 161)


def test_a_plate_set_askew_at_the_border_is_cut_by_it() -> None:
    patch = np.full((120, 240, 4), 255, np.uint8)
    for seed in (126, 127, 128):  # the first one hung two pixels over the edge
        canvas, none = np.zeros((160, 224, 3), np.uint8), np.zeros((0, 4), np.float32)
        b, k = paste.scatter_plates(
            canvas, none, np.zeros(0, np.int64), [patch], np.random.default_rng(seed)
        )
        assert len(b) == len(k) > 0
        assert b.min() >= 0 and b[:, 2].max() <= 224 and b[:, 3].max() <= 160


def test_store_round_trip_and_broken_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [
        store.Labelled(
            f"p{n}", rng.integers(0, 255, (n + 2, 5, 3), np.uint8), np.eye(4, dtype=np.float32)[:n]
        )
        for n in range(3)
    ]
    store.PictureStore(tmp_path / "s").append(iter(items))
    again = store.PictureStore(tmp_path / "s")
    for n, item in enumerate(items):
        assert np.array_equal(again[n].pixels, item.pixels)
        assert np.array_equal(again[n].boxes, item.boxes)
    (tmp_path / "s" / "index.jsonl").write_text("{nonsense\n")
    with pytest.raises(store.TrainingDataError, match=r"index\.jsonl:1"):
        store.PictureStore(tmp_path / "s")


def test_labels_name_the_broken_line(tmp_path: Path) -> None:
    label = tmp_path / "a.txt"
    label.write_text("0 0.5 0.5 0.2 0.1\n0 half 1\n")
    with pytest.raises(store.TrainingDataError, match=r"a\.txt:2"):
        store.read_labels(label, 100, 100)


def test_recall_counts_each_label_once() -> None:
    tally = evaluate.Tally()
    boxes = np.asarray([[0, 0, 20, 10], [50, 50, 90, 70]], np.float32)
    rows = np.asarray(
        [[0, 0, 20, 10, 0.9], [1, 0, 21, 10, 0.8], [50, 50, 66, 70, 0.6], [5, 80, 9, 82, 0.1]],
        np.float32,
    )
    tally.add(boxes, rows)
    assert tally.recall(0.5) == 0.5
    assert tally.recall(0.5, loose=True) == 1.0
    assert tally.recall(0.05, band=(30, 50)) == 0.0
    assert tally.false_rate(0.5) == 2
    assert tally.false_rate(0.5, loose=True) == 1
    assert tally.threshold_for(1.0) == pytest.approx(0.61)


@pytest.mark.skipif(not (DATA / "detect" / "val").is_dir(), reason="../shared/data is not here")
def test_recall_on_photographs() -> None:
    sheet = report.read_sheet(MODELS)
    detectors, tallies = report.measure(DATA, MODELS, peer=False, quiet=True)
    assert set(detectors) == set(report.PROFILES)
    tally = tallies["photo"]
    threshold = float(sheet["profiles"]["photo"]["threshold"])
    assert tally.false_rate(threshold) <= report.FALSE_GOAL + 1e-9
    assert tally.recall(threshold) >= 0.5


def test_optional_boxes_count_neither_way() -> None:
    tally = evaluate.Tally()
    wanted = np.asarray([[0, 0, 40, 20]], np.float32)
    optional = np.asarray([[100, 100, 140, 120]], np.float32)
    rows = np.asarray([[101, 100, 139, 121, 0.9], [200, 10, 240, 30, 0.8]], np.float32)
    tally.add(wanted, rows, optional)
    assert tally.recall(0.1) == 0.0
    assert tally.false_rate(0.1) == 1


def test_a_recount_sets_labels_and_boxes_aside(tmp_path: Path) -> None:
    file = tmp_path / "recount.csv"
    head = "photograph,kind,x0,y0,x1,y1\n"
    file.write_text(
        head + "a.jpg,unlabelled,150,10,190,30\na.jpg,loose,10,10,60,35\na.jpg,loose,20,15,40,25\n"
    )
    boxes = np.asarray([[10, 10, 60, 35], [120, 60, 160, 80]], np.float32)
    pixels = np.full((100, 200, 3), 90, np.uint8)
    pictures = [store.Labelled("a.jpg", pixels, boxes), store.Labelled("b.jpg", pixels, boxes)]
    one, other = recount.set_aside(pictures, recount.read_recount(file))
    assert one.boxes.tolist() == [boxes[1].tolist()]
    assert other is pictures[1]
    tally = evaluate.Tally()
    rows = np.asarray(
        [[151, 10, 190, 30, 0.9], [20, 15, 40, 25, 0.8], [2, 80, 40, 99, 0.7]], np.float32
    )
    tally.add(one.boxes, rows, one.optional)
    assert tally.false_rate(0.1) == 1  # the last one alone: two lie on plates
    first = evaluate.Tally()
    first.add(boxes, rows)
    again = recount.recounted(first, [one])
    assert first.false_rate(0.1) == 3
    assert (again.false50, again.labels) == (tally.false50, tally.labels)
    assert tally.recall(0.1) == 0.0
    for line, place in (
        ("a.jpg,unlabelled,150,10,190\n", ":2"),
        ("a.jpg,signs,1,1,2,2\n", ":2"),
        ("a.jpg,loose,9,9,2,2\n", ":2"),
        ("a.jpg,loose,-1,9,20,20\n", ":2"),
        ("a.jpg,loose,1,1,inf,2\n", ":2"),
        (",loose,1,1,2,2\n", ":2"),
    ):
        file.write_text(head + line)
        with pytest.raises(store.TrainingDataError, match=f"recount.csv{place}"):
            recount.read_recount(file)
    file.write_text("photograph,x0\n")
    with pytest.raises(store.TrainingDataError, match="columns"):
        recount.read_recount(file)
    for broken in (b"\xff\xfe", head.encode() + b"a.jpg,loose," + b"1" * 200_000):
        file.write_bytes(broken)
        with pytest.raises(store.TrainingDataError, match="as a table"):
            recount.read_recount(file)
    with pytest.raises(store.TrainingDataError, match="cannot be read"):
        recount.read_recount(tmp_path / "none.csv")


def test_a_review_without_photographs_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["review", "--work", str(tmp_path)]) != 0
    assert "holds no photograph yet" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_recount_that_ships_is_well_formed() -> None:
    found = recount.read_recount()
    assert sum(kind == "loose" for rows in found.values() for kind, _ in rows) >= 8
    if (DATA / "detect" / "val").is_dir():
        pictures = list(store.read_split(DATA, "val"))
        assert set(found) <= {picture.name for picture in pictures}
        kept = recount.set_aside(pictures, found)
        assert sum(len(p.boxes) for p in pictures) - sum(len(p.boxes) for p in kept) == 8


def test_review_turns_doubtful_labels_into_regions_to_ignore(tmp_path: Path) -> None:
    pixels = np.full((100, 200, 3), 90, np.uint8)
    boxes = np.asarray([[10, 10, 60, 35], [120, 40, 160, 60]], np.float32)
    pictures = store.PictureStore(tmp_path / "photos")
    pictures.append(iter([store.Labelled("a.jpg", pixels, boxes)]))
    aside = tmp_path / "review.json"
    aside.write_text('{"a.jpg": {"ignore": [[80, 80, 100, 90]], "drop": [1]}}')
    pictures.set_aside(aside)
    item = pictures[0]
    assert item.boxes.tolist() == [boxes[0].tolist()]
    assert item.optional.tolist() == [[80, 80, 100, 90], boxes[1].tolist()]
    _, found, kinds = augment.crop_scaled(item, (100, 200), (1.0, 1.0), (0.0, 0.0))
    assert kinds.tolist() == [augment.PLATE, augment.IGNORE, augment.IGNORE]
    assert found[0].tolist() == boxes[0].tolist()
    aside.write_text('{"a.jpg": {}}')
    with pytest.raises(store.TrainingDataError, match=r"review\.json"):
        pictures.set_aside(aside)


def test_finds_every_large_clear_plate_of_a_rendered_drive() -> None:
    sheet = yaml.safe_load((MODELS / "detector.yaml").read_text())
    threshold = sheet["profiles"]["road"]["threshold"]
    detector = evaluate.OnnxDetector(MODEL, (384, 640))
    frames = list(drive_frames(31_337, seconds=12.0, every=1.5))
    tally = evaluate.evaluate(frames, {"road": detector})["road"]
    assert tally.pictures == 16
    assert tally.count((0, 1e9)) >= 5
    assert tally.recall(threshold) >= 0.9
    assert tally.false_rate(threshold) <= 0.25


def test_an_export_that_cannot_be_measured_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A detector in place without its sheet and sums is one that the car refuses."""
    models, train = tmp_path / "models", tmp_path / "data" / "detect" / "train"
    models.mkdir()
    train.mkdir(parents=True)
    cv2.imwrite(str(train / "oi_1.jpg"), np.full((80, 120, 3), 90, np.uint8))
    (train / "oi_1.txt").write_text("")
    (models / "detector.onnx").write_bytes(b"as it was")
    order = ["export", "--float", "--of", str(FOLDER / "detector.pt"), "--models", str(models)]
    assert command.main([*order, "--data", str(tmp_path / "data")]) != 0
    assert "val" in capsys.readouterr().err
    assert [p.name for p in models.iterdir()] == ["detector.onnx"]
    assert (models / "detector.onnx").read_bytes() == b"as it was"
