"""This reader: the product's own path for one picture, with a watch around its models.

The path is :func:`alprd.still.read_image`, which is ``alprd read --profile …``; nothing of it is
written again here. A ``road`` picture is read as that command reads it: the daemon itself needs
several frames of a pass (:func:`bench.timing.follow`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from alprd.frames import Box, Detection, Image
from alprd.fuse import decode
from alprd.issuer import IssuerReader
from alprd.models import ModelSet
from alprd.ocr import OcrResult, PlateReader
from alprd.profiles import PROFILES, Profile, ReaderSettings
from alprd.reader import load
from alprd.still import PhotoDetector, read_image
from bench.systems import Plate, Watch


class WatchedDetector:
    """The product's detector under a watch; hands over the known plate where it finds none."""

    def __init__(self, inner: PhotoDetector, watch: Watch, threshold: float) -> None:
        self._inner, self._watch, self._threshold = inner, watch, threshold
        self.known: Box | None = None

    def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]:
        wall, cpu = time.perf_counter(), time.process_time()
        found = self._inner.detect(image, shrink)
        self._watch.detect_s += time.perf_counter() - wall
        self._watch.detect_cpu_s += time.process_time() - cpu
        if shrink == 1.0:
            self._watch.raw = found
        if self.known is not None and all(d.score < self._threshold for d in found):
            self._watch.handed = 1
            return [Detection(self.known, 1.0), *found]
        return found


class WatchedOcr:
    """The product's OCR under a watch, and in it the state classifier where there is one."""

    def __init__(self, inner: PlateReader, watch: Watch) -> None:
        self._inner, self._watch = inner, watch
        issuer = inner._issuer
        if issuer is not None:
            inner._issuer = cast(IssuerReader, _WatchedIssuer(issuer, watch))

    @property
    def regions(self) -> tuple[str | None, ...]:
        return self._inner.regions

    def read(
        self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
    ) -> list[OcrResult]:
        watch = self._watch
        state, state_cpu = watch.state_s, watch.state_cpu_s
        wall, cpu = time.perf_counter(), time.process_time()
        results = self._inner.read(crops, issuers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        watch.ocr_s += wall - (watch.state_s - state)
        watch.ocr_cpu_s += cpu - (watch.state_cpu_s - state_cpu)
        watch.crops += len(crops)
        return results


class _WatchedIssuer:
    """The state classifier under a watch."""

    def __init__(self, inner: IssuerReader, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def read(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        if not crops:
            return self._inner.read(crops)
        wall, cpu = time.perf_counter(), time.process_time()
        results = self._inner.read(crops)
        self._watch.state_s += time.perf_counter() - wall
        self._watch.state_cpu_s += time.process_time() - cpu
        return results


class Ours:
    """This reader with the settings of one profile, one thread.

    Raises:
        ModelError: the models cannot be loaded.
    """

    def __init__(self, profile: Profile, models: ModelSet) -> None:
        self.name: str = profile
        self.settings: ReaderSettings = PROFILES[profile]
        self.watch = Watch()
        detector, ocr = load(models, self.settings, threads=1)
        self.detector = WatchedDetector(detector, self.watch, self.settings.high_threshold)
        self.ocr = WatchedOcr(ocr, self.watch)

    def read(self, image: Image, known: Box | None = None) -> list[Plate]:
        self.watch.reset()
        self.detector.known = known
        found = read_image(image, self.detector, self.ocr, self.settings)
        self.detector.known = None
        return [Plate(p.box, p.score, p.reading.text) for p in found]

    def spell(self, crop: Image) -> str:
        return decode(self.ocr.read([crop], [False])[0], 1.0, 0).text
