"""Reading plates: crops in, a probability for every character of every place out.

Models are what ``fast_plate_ocr.LicensePlateRecognizer`` loads (ONNX with uint8 NHWC input and a
YAML plate configuration). That class turns the output into one string; here the probabilities
themselves are needed, to fuse several frames of a track, so its session is asked directly.

Outputs used: the plate head (N, slots, classes), and where the model has them ``region``
(N, regions) and ``stacked`` (N, places, classes). A state classifier (:mod:`alprd.issuer`), where
there is one, is asked for the region instead. Probabilities are brought to one alphabet,
:data:`ALPHABET`, whatever the order in the model.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from fast_plate_ocr import LicensePlateRecognizer
from fast_plate_ocr.core.process import resize_image
from numpy.typing import NDArray

from alprd.errors import ModelError
from alprd.frames import Box, Image, check_image
from alprd.issuer import IssuerReader
from alprd.models import check_in_use, check_providers, session_options
from alprd.records import STATES

CHARACTERS: Final = string.digits + string.ascii_uppercase
ALPHABET: Final = CHARACTERS + "_"
"""Order of the classes in every matrix of this package; the last is the empty place."""
PAD: Final = len(CHARACTERS)
MAX_BATCH: Final = 8
"""Crops in one inference: bounds the memory that a crowded picture can take."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OcrResult:
    """What the network said about one crop.

    ``plate`` (slots, 37) and ``stacked`` (places, 37) are distributions over :data:`ALPHABET`,
    left to right, empty places last. ``region`` is a distribution over ``PlateReader.regions``,
    None where nobody was asked.
    """

    plate: Probabilities
    stacked: Probabilities | None
    region: Probabilities | None


class PlateReader:
    """A plate OCR on ONNX Runtime; safe to share between threads.

    Args:
        model_path: ONNX file.
        config_path: its fast-plate-ocr plate configuration (YAML).
        threads: threads of one inference.
        providers: ONNX Runtime execution providers, by preference.
        issuer: tells the region in place of the OCR.

    Raises:
        ModelError: a file is missing or unusable, the outputs are not probabilities, or a
            provider is missing or did not start.
    """

    regions: tuple[str | None, ...]
    """USPS code for each region class; None for "other" and for issuers outside the states."""

    def __init__(
        self,
        model_path: Path | str,
        config_path: Path | str,
        *,
        threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        issuer: IssuerReader | None = None,
    ) -> None:
        wanted = check_providers(providers)
        try:
            recognizer = LicensePlateRecognizer(
                onnx_model_path=Path(model_path),
                plate_config_path=Path(config_path),
                providers=wanted,
                sess_options=session_options(threads),
            )
        except FileNotFoundError as error:
            raise ModelError(
                f"OCR model {model_path} or its configuration {config_path} is missing",
                remedy="check [ocr] model and config in the config",
            ) from error
        except Exception as error:
            raise ModelError(
                f"OCR model {model_path} cannot be loaded: {type(error).__name__}",
                remedy="use an ONNX model and YAML that fast-plate-ocr loads",
            ) from error
        self.config = recognizer.config
        self._session = recognizer.model
        check_in_use(self._session, wanted)
        self._input = self._session.get_inputs()[0].name
        self._plate_output = recognizer.plate_output_name
        self._outputs = [self._plate_output]
        self._issuer = issuer
        if recognizer.has_region_head and issuer is None:
            self._outputs.append("region")
        if "stacked" in recognizer.output_names:
            self._outputs.append("stacked")
        self._order = _class_order(self.config.alphabet, self.config.pad_char, config_path)
        self.regions = tuple(
            label if label in STATES else None for label in self.config.plate_regions or ()
        )
        if issuer is not None:
            self.regions = issuer.regions
        self._check(model_path)

    def read(
        self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
    ) -> list[OcrResult]:
        """Probabilities for each crop, in order.

        Args:
            crops: BGR uint8 pictures of one plate each, any size; see :func:`crop`.
            issuers: for which of them to ask the state classifier (None: all). Without one every
                crop's region comes with its text.

        Raises:
            InputError: a crop is no such picture, or empty.
            ModelError: the model failed on these pictures.
        """
        for image in crops:
            check_image(image)
        results: list[OcrResult] = []
        for start in range(0, len(crops), MAX_BATCH):
            batch = np.stack([self._prepare(image) for image in crops[start : start + MAX_BATCH]])
            results.extend(self._run(batch))
        if self._issuer is None:
            return results
        asked = [n for n in range(len(crops)) if issuers is None or issuers[n]]
        for n, region in zip(asked, self._issuer.read([crops[n] for n in asked]), strict=True):
            results[n] = replace(results[n], region=region)
        return results

    def _prepare(self, image: Image) -> NDArray[np.uint8]:
        config = self.config
        code = cv2.COLOR_BGR2RGB if config.image_color_mode == "rgb" else cv2.COLOR_BGR2GRAY
        prepared: NDArray[np.uint8] = resize_image(
            cv2.cvtColor(image, code),
            config.img_height,
            config.img_width,
            image_color_mode=config.image_color_mode,
            keep_aspect_ratio=config.keep_aspect_ratio,
            interpolation_method=config.interpolation,
            padding_color=config.padding_color,
        )
        return prepared if prepared.ndim == 3 else prepared[:, :, np.newaxis]

    def _run(self, batch: NDArray[np.uint8]) -> list[OcrResult]:
        try:
            raw = self._session.run(self._outputs, {self._input: batch})
        except Exception as error:
            raise ModelError(f"the OCR failed: {type(error).__name__}") from error
        named = dict(zip(self._outputs, raw, strict=True))
        count = len(batch)
        plate = self._to_alphabet(named[self._plate_output].reshape(count, -1, len(self._order)))
        stacked = named.get("stacked")
        if stacked is not None:
            stacked = self._to_alphabet(stacked.reshape(count, -1, len(self._order)))
        region = named.get("region")
        return [
            OcrResult(
                plate[i],
                None if stacked is None else stacked[i],
                None if region is None else np.asarray(region[i], np.float32),
            )
            for i in range(count)
        ]

    def _to_alphabet(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        matrix = np.zeros((*raw.shape[:2], len(ALPHABET)), np.float32)
        matrix[:, :, self._order] = raw
        return matrix

    def _check(self, model_path: Path | str) -> None:
        """Run once on grey: a head without its softmax would fuse into nonsense silently."""
        grey = np.full((self.config.img_height, self.config.img_width, 3), 114, np.uint8)
        try:
            result = self.read([grey])[0]
        except (ModelError, ValueError) as error:
            raise ModelError(
                f"OCR model {model_path} does not work with pictures of "
                f"{self.config.img_height} x {self.config.img_width} as its YAML says",
                remedy="use the YAML that belongs to the model, or install the package again",
            ) from error
        sums = result.plate.sum(axis=1)
        if result.plate.shape[0] != self.config.max_plate_slots or np.abs(sums - 1).max() > 0.02:
            raise ModelError(
                f"OCR model {model_path}: the plate output is not a probability for each of "
                f"{self.config.max_plate_slots} places",
                remedy="export the model with its softmax, and with the slots its YAML names",
            )


def crop(image: Image, box: Box, widen: float) -> Image:
    """The part of ``image`` inside ``box`` grown by ``widen`` of its width and height a side.

    A view, not a copy; clipped to the picture, at least one pixel.
    """
    x, y, w, h = box
    height, width = image.shape[:2]
    x0 = min(max(round(x - widen * w), 0), width - 1)
    y0 = min(max(round(y - widen * h), 0), height - 1)
    x1 = min(max(round(x + w + widen * w), x0 + 1), width)
    y1 = min(max(round(y + h + widen * h), y0 + 1), height)
    return image[y0:y1, x0:x1]


def _class_order(alphabet: str, pad: str, config_path: Path | str) -> list[int]:
    """For each class of the model its index in :data:`ALPHABET`."""
    ours = {char: index for index, char in enumerate(CHARACTERS)} | {pad: PAD}
    unknown = sorted(set(alphabet) - set(ours))
    if unknown or pad not in alphabet or len(set(alphabet)) != len(alphabet):
        raise ModelError(
            f"{config_path}: alphabet is not A-Z, 0-9 and the pad, each once",
            remedy="use a model for Latin plates",
        )
    return [ours[char] for char in alphabet]
