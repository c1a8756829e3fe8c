"""The models: the recorded files, loaded as the daemon loads them, fast enough for the cameras."""

from __future__ import annotations

import statistics
import time
from typing import Final

import numpy as np

from alprd.choice import choose
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.models import check_providers, digest
from alprd.profiles import PROFILES
from alprd.reader import RoadReader
from alprd.selfcheck import load_picture, show

RUNS: Final = 12
FRAME: Final = (720, 1280)
"""Height and width of the picture that is timed."""
WARM: Final = 2
SLOW_SHARE: Final = 0.5
"""Below this share of the wanted frames the tracker loses plates between two looks."""


def check_models(car: Car, sheet: Sheet) -> None:
    """Sums, providers, loading, and milliseconds a frame against what the cameras want."""
    config = car.config
    models = choose(config, fetch=False)
    for name, path in (
        ("detector", models.detector),
        ("ocr", models.ocr),
        ("ocr-config", models.ocr_config),
        ("state", models.state),
    ):
        if path is not None:
            kind = "shipped, as recorded" if path.parent == models.ocr.parent else "pinned or own"
            sheet.ok(name, f"{path.name}: {kind}", sha256=digest(path))
    check_providers(config.reader.providers)
    detector, _ = car.recognition
    sheet.ok(
        "load",
        f"loaded on {', '.join(config.reader.providers)}, {config.reader.threads} thread(s)",
        providers=",".join(config.reader.providers),
        threads=config.reader.threads,
    )
    noise = np.random.default_rng(0).integers(0, 255, (*FRAME, 3), dtype=np.uint8)
    spent = []
    for run in range(WARM + RUNS):
        started = time.perf_counter()
        detector.detect(noise)
        if run >= WARM:
            spent.append(1000 * (time.perf_counter() - started))
    _rate(car, sheet, min(spent), statistics.median(spent))


def _rate(car: Car, sheet: Sheet, best_ms: float, median_ms: float) -> None:
    """What the machine can do against what the cameras want; they share one set of models.

    The best run judges: it is the machine's own speed, the others tell who else was at work.
    """
    able = 1000.0 / best_ms
    wanted = sum(section.fps for section in car.config.camera)
    slow = car.daemon_runs
    sheet.judge(
        "speed",
        f"{best_ms:.1f} ms a frame: about {able:.0f} frames/s; the cameras want "
        f"{wanted:.0f}" + (" (measured beside a running daemon)" if slow else ""),
        # A daemon at work beside the measurement makes it slower than the machine is.
        fail=able < SLOW_SHARE * wanted and not slow,
        warn=able < wanted,
        remedy="lower fps of the cameras, raise [reader] threads, or use an accelerator "
        "([reader] providers)",
        ms_per_frame=round(best_ms, 2),
        median_ms_per_frame=round(median_ms, 2),
        frames_per_s=round(able, 1),
        wanted_per_s=round(wanted, 1),
    )


def check_reading(car: Car, sheet: Sheet) -> None:
    """The daily self-check, now: a rendered plate through detector, tracker, OCR and fusion."""
    image, truth = load_picture()
    detector, ocr = car.recognition
    settings = PROFILES[car.config.reader.profile]
    reader = RoadReader("doctor", detector, ocr, settings)
    outcome, milliseconds = show(reader, image, truth)
    sheet.judge(
        "test-plate",
        f"the rendered test plate: {outcome}, {milliseconds:.0f} ms a frame",
        fail=outcome != "read",
        remedy="install the package again; with models or providers of your own, go back to "
        'model = "shipped" and providers = ["cpu"]',
        outcome=outcome,
        ms_per_frame=round(milliseconds, 1),
    )
