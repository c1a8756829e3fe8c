"""fast-alpr, the reader to beat, with weights that lie in a folder: nothing is fetched.

The pipeline is ``fast_alpr.ALPR`` itself with its own OCR class and open-image-models' detector
class, given the files by path. Their packages are not needed to import this module.
"""

from __future__ import annotations

import importlib
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from alprd.errors import AlprdError
from alprd.frames import Box, Detection, Image
from alprd.models import session_options
from bench.systems import Plate, Watch

PACKAGES: Final = ("fast_alpr", "open_image_models", "fast_plate_ocr")
DETECTOR: Final = "yolo-v9-t-416-license-plates-end2end-int8.onnx"
OCR: Final = "cct_xs_v2_global.onnx"
OCR_CONFIG: Final = "cct_xs_v2_global_plate_config.yaml"
THRESHOLD: Final = 0.4
"""``detector_conf_thresh`` that fast-alpr 0.4 takes where nobody says otherwise."""
WIDENING: Final = 0.10
"""Growth a side of the crop in the figures called ``widened``."""
_PROVIDERS: Final = ["CPUExecutionProvider"]


class PeerAbsentError(AlprdError):
    """The peer cannot be measured here: a package or a weight is missing or unusable."""

    exit_code = 3


class Peer:
    """fast-alpr on one thread.

    Args:
        folder: holds the three files of the weights.
        threshold: of its detector.

    Raises:
        PeerAbsentError: what is missing, and how to get it.
    """

    name = "peer"

    def __init__(self, folder: Path, threshold: float = THRESHOLD) -> None:
        self.watch = Watch()
        self.threshold = threshold
        fast_alpr, *_ = [_package(name) for name in PACKAGES]
        files = [folder / name for name in (DETECTOR, OCR, OCR_CONFIG)]
        gone = [path for path in files if not path.is_file()]
        if gone:
            raise PeerAbsentError(
                f"weights {gone[0]} are missing", remedy="put them there; they are not fetched"
            )
        core = importlib.import_module("open_image_models.detection.core.base")
        yolo = importlib.import_module("open_image_models.detection.core.yolo_v9.inference")
        default = importlib.import_module("fast_alpr.default_ocr")
        try:
            detector = yolo.YoloV9Detector(
                files[0],
                ["License Plate"],
                conf_thresh=threshold,
                providers=_PROVIDERS,
                sess_options=session_options(1),
            )
            ocr = default.DefaultOCR(
                model_path=files[1],
                config_path=files[2],
                providers=_PROVIDERS,
                sess_options=session_options(1),
            )
        except Exception as error:
            raise PeerAbsentError(
                f"weights in {folder} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        self._detector = _WatchedDetector(detector, self.watch, core)
        self._ocr = _WatchedOcr(ocr, self.watch)
        self._alpr = fast_alpr.ALPR(detector=self._detector, ocr=self._ocr)

    @property
    def package(self) -> str:
        """Name and version of the package."""
        return f"fast-alpr {version('fast-alpr')}"

    def read(self, image: Image, known: Box | None = None) -> list[Plate]:
        """As it ships; see :class:`bench.systems.System`."""
        self.watch.reset()
        self._detector.known = known
        results = self._alpr.predict(image)
        self._detector.known = None
        return [
            Plate(
                _box(r.detection.bounding_box),
                float(r.detection.confidence),
                r.ocr.text if r.ocr is not None else "",
            )
            for r in results
        ]

    def widened(self, image: Image, plates: list[Plate]) -> list[Plate]:
        """``plates`` read again from crops grown by :data:`WIDENING` a side."""
        from alprd.ocr import crop  # not above: it loads much that is not the peer's

        return [Plate(p.box, p.score, self.spell(crop(image, p.box, WIDENING))) for p in plates]

    def spell(self, crop: Image) -> str:
        """The text of a picture that is one plate."""
        result = self._ocr.predict(crop)
        return result.text if result is not None else ""


class _WatchedDetector:
    """What ``ALPR`` needs of a detector, under a watch."""

    def __init__(self, inner: Any, watch: Watch, core: Any) -> None:
        self._inner, self._watch, self._core = inner, watch, core
        self.known: Box | None = None

    def predict(self, frame: Image) -> list[Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        found: list[Any] = self._inner.predict(frame)
        self._watch.detect_s += time.perf_counter() - wall
        self._watch.detect_cpu_s += time.process_time() - cpu
        self._watch.raw = [Detection(_box(d.bounding_box), float(d.confidence)) for d in found]
        if self.known is not None and not found:
            x, y, w, h = self.known
            box = self._core.BoundingBox(x1=int(x), y1=int(y), x2=int(x + w), y2=int(y + h))
            self._watch.handed = 1
            return [
                self._core.DetectionResult(label="License Plate", confidence=1.0, bounding_box=box)
            ]
        return found


class _WatchedOcr:
    """What ``ALPR`` needs of an OCR, under a watch."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def predict(self, cropped: Image) -> Any:
        if cropped.size == 0:
            return None  # a box without area: its resize would end the run
        wall, cpu = time.perf_counter(), time.process_time()
        result = self._inner.predict(cropped)
        self._watch.ocr_s += time.perf_counter() - wall
        self._watch.ocr_cpu_s += time.process_time() - cpu
        self._watch.crops += 1
        return result


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PeerAbsentError(
            f"package {name} is not installed",
            remedy="make bench-recognition installs it (optional dependencies `bench`)",
        ) from error


def _box(box: Any) -> Box:
    return float(box.x1), float(box.y1), float(box.x2 - box.x1), float(box.y2 - box.y1)
