"""Which state issued a plate: a classifier of its own beside the OCR.

A state shows in its name, colours and pictures. The OCR sees 64 x 128 pixels, in which a name is
six pixels high; this model sees the same crop larger. It costs as much as the OCR and its answer
changes little from frame to frame, so :class:`alprd.reader.RoadReader` asks it for a few of a
pass's best crops only.

Layout of the file: input ``input`` (N, H, W, 3) uint8 RGB; output ``region`` (N, R), softmax
over the regions that the YAML beside it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
import yaml
from numpy.typing import NDArray

from alprd.errors import ModelError
from alprd.frames import Image, check_image
from alprd.models import check_in_use, check_providers, session_options
from alprd.records import STATES

MAX_BATCH: Final = 8
"""Crops in one inference: bounds the memory that a crowded picture can take."""
_REMEDY: Final = "install the package again, or configure an OCR that tells the region itself"


class IssuerReader:
    """The state classifier on ONNX Runtime; safe to share between threads.

    Args:
        model_path: ONNX file.
        config_path: YAML with ``img_height``, ``img_width`` and ``plate_regions``.
        threads: threads of one inference.
        providers: ONNX Runtime execution providers, by preference.

    Raises:
        ModelError: a file is missing or of another layout.
    """

    regions: tuple[str | None, ...]
    """USPS code for each class; None for "other"."""

    def __init__(
        self,
        model_path: Path | str,
        config_path: Path | str,
        *,
        threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        wanted = check_providers(providers)
        try:
            sheet = yaml.safe_load(Path(config_path).read_text(encoding="utf-8"))
            self._height, self._width = int(sheet["img_height"]), int(sheet["img_width"])
            labels = [str(label) for label in sheet["plate_regions"]]
        except OSError as error:
            raise ModelError(f"{config_path} cannot be read: {error}", remedy=_REMEDY) from error
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{config_path} does not name img_height, img_width and plate_regions",
                remedy=_REMEDY,
            ) from error
        try:
            self._session = ort.InferenceSession(
                str(model_path), sess_options=session_options(threads), providers=wanted
            )
        except Exception as error:
            raise ModelError(
                f"state model {model_path} cannot be loaded: {type(error).__name__}",
                remedy=_REMEDY,
            ) from error
        check_in_use(self._session, wanted)
        self.regions = tuple(label if label in STATES else None for label in labels)
        self._input = self._session.get_inputs()[0].name
        self._check(model_path)

    def read(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Probabilities (N, R) over :attr:`regions` for each crop.

        Args:
            crops: BGR uint8 pictures of one plate each, any size.

        Raises:
            InputError: a crop is no such picture, or empty.
            ModelError: the model failed on these pictures.
        """
        for image in crops:
            check_image(image)
        parts = [
            self._run(np.stack([self._prepare(image) for image in crops[at : at + MAX_BATCH]]))
            for at in range(0, len(crops), MAX_BATCH)
        ]
        if not parts:
            return np.zeros((0, len(self.regions)), np.float32)
        return np.concatenate(parts)

    def _prepare(self, image: Image) -> NDArray[np.uint8]:
        size = (self._width, self._height)
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return np.asarray(self._session.run(["region"], {self._input: batch})[0], np.float32)
        except Exception as error:
            raise ModelError(f"the state model failed: {type(error).__name__}") from error

    def _check(self, model_path: Path | str) -> None:
        """Run once on grey: scores without softmax would be taken for certainty."""
        try:
            found = self.read([np.full((self._height, self._width, 3), 114, np.uint8)])
        except (ModelError, ValueError) as error:
            raise ModelError(
                f"state model {model_path} does not work with pictures of "
                f"{self._height} x {self._width} as its YAML says",
                remedy=_REMEDY,
            ) from error
        if found.shape != (1, len(self.regions)) or abs(float(found.sum()) - 1) > 0.02:
            raise ModelError(
                f"state model {model_path}: the output is not a probability for each of the "
                f"{len(self.regions)} regions of its YAML",
                remedy=_REMEDY,
            )
