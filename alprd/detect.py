"""Finding plates: one picture in, plate-like boxes out.

Runs any ONNX plate detector in the *end-to-end* layout that open-image-models' YOLOv9 exports
have: input ``images`` (1, 3, H, W) float32 RGB 0…1; output rows
``[batch, x0, y0, x1, y1, class, score]`` in input pixels, suppression done inside the graph.
H and W may be fixed (square models) or free multiples of 32 (the shipped model).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from alprd.errors import ModelError
from alprd.frames import Detection, Image, check_image
from alprd.models import check_in_use, check_providers, session_options

STRIDE: Final = 32
"""Free input sides are multiples of this, the coarsest grid of the network."""
PAD_VALUE: Final = 114
"""Grey of the letterbox border, as in the YOLO family's training."""
_AVERAGED: Final = 0.75
"""Pictures that shrink to less of their width than this are averaged, others sampled."""
_MIN_SIDE: Final = 2.0
"""Boxes thinner than this many pixels after clipping are no plates."""


class Detector:
    """A plate detector on ONNX Runtime; safe to share between threads.

    Args:
        model_path: the ONNX file.
        input_size: (height, width) that a picture is fitted into, for models of free size; each
            picture then gets the smallest canvas of multiples of 32 that holds it, so a 16:9
            camera does not pay for a square. Models of fixed size ignore it.
        threads: threads of one inference.
        threshold: rows with a lower score are dropped.
        max_upscale: how far a small picture is enlarged to reach ``input_size``.
        providers: ONNX Runtime execution providers, by preference.

    Raises:
        ModelError: the file is missing, is no ONNX model, or has another layout; or a provider
            is missing or did not start.
    """

    def __init__(
        self,
        model_path: Path | str,
        *,
        input_size: tuple[int, int] = (384, 640),
        threads: int = 1,
        threshold: float = 0.25,
        max_upscale: float = 2.0,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        path = Path(model_path)
        if not path.is_file():
            raise ModelError(
                f"detector model {path} is missing", remedy="check [detector] model in the config"
            )
        try:
            self._session = ort.InferenceSession(
                str(path),
                sess_options=session_options(threads),
                providers=check_providers(providers),
            )
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"detector model {path} cannot be loaded: {type(error).__name__}",
                remedy="use an ONNX export of a plate detector",
            ) from error
        check_in_use(self._session, providers)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._fixed = _fixed_size(self._session, path)
        height, width = self._fixed or input_size
        self.input_size = (height, width) if self._fixed else (_up(height), _up(width))
        self.threshold = threshold
        self.max_upscale = max_upscale
        self._local = threading.local()

    def detect(self, image: Image, shrink: float = 1.0) -> list[Detection]:
        """Plate-like boxes in pixels of ``image``, clipped to it, best score first.

        Args:
            image: (H, W, 3) BGR uint8.
            shrink: share of ``input_size`` to look at it with; models of fixed size ignore it.

        Raises:
            InputError: the picture is not of that shape and type, or empty.
            ModelError: the model failed on this picture.
        """
        check_image(image)
        canvas, scale, left, top = self._letterbox(image, shrink)
        try:
            rows = self._session.run([self._output], {self._input: canvas})[0]
        except Exception as error:
            raise ModelError(f"the detector failed: {type(error).__name__}") from error
        return self._map_back(np.asarray(rows, np.float32).reshape(-1, 7), image, scale, left, top)

    def warm_up(self, height: int = 720, width: int = 1280) -> None:
        """Run once on a grey picture so that the first real frame is not the slow one."""
        self.detect(np.full((height, width, 3), PAD_VALUE, np.uint8))

    def _letterbox(
        self, image: Image, shrink: float = 1.0
    ) -> tuple[NDArray[np.float32], float, int, int]:
        """(1, 3, H, W) canvas, scale, and the left and top border in canvas pixels."""
        height, width = image.shape[:2]
        limit_h, limit_w = self.input_size
        scale = min(limit_h / height, limit_w / width)
        if self._fixed is None:
            scale = min(scale * shrink, self.max_upscale)
        new_h = max(1, min(limit_h, round(height * scale)))
        new_w = max(1, min(limit_w, round(width * scale)))
        shape = (limit_h, limit_w) if self._fixed else (_up(new_h), _up(new_w))
        canvas = self._canvas(shape, (new_h, new_w))
        top, left = (shape[0] - new_h) // 2, (shape[1] - new_w) // 2
        small = _scaled(image, new_w, new_h)
        for channel in range(3):
            np.multiply(
                small[:, :, 2 - channel],
                np.float32(1 / 255.0),
                out=canvas[0, channel, top : top + new_h, left : left + new_w],
                casting="unsafe",
            )
        return canvas, scale, left, top

    def _canvas(self, shape: tuple[int, int], inner: tuple[int, int]) -> NDArray[np.float32]:
        """A buffer reused by its thread: a fresh 3 MB array a frame costs page faults.

        Its border is painted when the geometry changes, which for a camera is once.
        """
        buffer: NDArray[np.float32] | None = getattr(self._local, "canvas", None)
        if buffer is None or self._local.geometry != (shape, inner):
            buffer = np.full((1, 3, *shape), PAD_VALUE / 255.0, np.float32)
            self._local.canvas, self._local.geometry = buffer, (shape, inner)
        return buffer

    def _map_back(
        self, rows: NDArray[np.float32], image: Image, scale: float, left: int, top: int
    ) -> list[Detection]:
        height, width = image.shape[:2]
        keep = (rows[:, 6] >= self.threshold) & (rows[:, 5] == 0) & np.isfinite(rows).all(axis=1)
        found: list[Detection] = []
        for row in rows[keep]:
            x0 = min(max((float(row[1]) - left) / scale, 0.0), float(width))
            y0 = min(max((float(row[2]) - top) / scale, 0.0), float(height))
            x1 = min(max((float(row[3]) - left) / scale, 0.0), float(width))
            y1 = min(max((float(row[4]) - top) / scale, 0.0), float(height))
            if x1 - x0 >= _MIN_SIDE and y1 - y0 >= _MIN_SIDE:
                found.append(Detection((x0, y0, x1 - x0, y1 - y0), min(1.0, float(row[6]))))
        found.sort(key=lambda detection: -detection.score)
        return found


def _scaled(image: Image, width: int, height: int) -> Image:
    """``image`` at another size, thin strokes kept.

    Averaging keeps strokes that bilinear sampling would skip over. By a whole number it is eight
    times as quick as by a fraction (0.5 ms against 4 for a frame of 1280x720), so as much of the
    way as a whole number that divides both sides goes is gone by it.
    """
    most = min(image.shape[1] // width, image.shape[0] // height)
    sides = image.shape[:2]
    whole = next((n for n in range(most, 1, -1) if sides[0] % n == sides[1] % n == 0), 1)
    if whole > 1:
        near = (image.shape[1] // whole, image.shape[0] // whole)
        image = np.asarray(cv2.resize(image, near, interpolation=cv2.INTER_AREA), np.uint8)
    if (width, height) == image.shape[1::-1]:
        return image
    method = cv2.INTER_AREA if width < _AVERAGED * image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _up(side: int) -> int:
    return max(STRIDE, -(-side // STRIDE) * STRIDE)


def _fixed_size(session: ort.InferenceSession, path: Path) -> tuple[int, int] | None:
    """(H, W) of a model of fixed size, None for a free one; refuses any other layout."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    rows = list(outputs[0].shape)
    remedy = (
        "the layout wanted is: input (1, 3, H, W) float32, output rows "
        "[batch, x0, y0, x1, y1, class, score]"
    )
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        raise ModelError(f"detector model {path} has input {shape} {inputs[0].type}", remedy=remedy)
    if len(rows) not in (2, 3) or (isinstance(rows[-1], int) and rows[-1] != 7):
        raise ModelError(f"detector model {path} has output {rows}", remedy=remedy)
    height, width = shape[2], shape[3]
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    return None
