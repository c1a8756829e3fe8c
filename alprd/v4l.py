"""A V4L2 camera by its device path, through OpenCV.

OpenCV reports a missing device as opened, and stays "opened" when the device is pulled: what
counts is a decoded picture, nothing else. A driver may also hang for good in the kernel, which is
why cameras are read in a process of their own (:mod:`alprd.feed`).
"""

from __future__ import annotations

import os
from typing import Final

os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")  # read when a device is opened

import cv2
import cv2.utils.logging as cv2_logging
import numpy as np

from alprd.errors import CameraError
from alprd.frames import Image
from alprd.sources import CameraConfig

MANUAL_EXPOSURE: Final = 1
"""``V4L2_EXPOSURE_MANUAL``."""


class DeviceSource:
    """An opened V4L2 device.

    Args:
        config: of kind ``device``; what it wishes is asked of the driver, which may refuse.

    Raises:
        CameraError: the device is missing or cannot be opened.
    """

    def __init__(self, config: CameraConfig) -> None:
        cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)
        if not config.path.exists():
            raise CameraError(f"no device {config.path}", remedy="plug the camera in")
        self._capture = cv2.VideoCapture(str(config.path), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(
                f"{config.path} cannot be opened: in use, or no camera",
                remedy="end the other program, or name the device that takes pictures (index0)",
            )
        self.refused = [
            name
            for name, prop, value in wishes(config)
            if not self._capture.set(prop, value) and name
        ]
        """Names of the settings that the driver does not take."""
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= 240 else None

    @property
    def stamp_ns(self) -> int | None:
        """A device gives no presentation time."""
        return None

    def grab(self) -> bool:
        """Wait for the next picture; False when none comes any more."""
        return self._capture.grab()

    def retrieve(self) -> Image | None:
        """The picture, (H, W, 3) BGR; None if it cannot be decoded."""
        ok, picture = self._capture.retrieve()
        if not ok or picture is None or picture.dtype != np.uint8 or picture.size == 0:
            return None
        if picture.ndim == 2 or picture.shape[2] == 1:  # an infrared camera
            picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
        return np.asarray(picture, dtype=np.uint8) if picture.shape[2] == 3 else None

    def release(self) -> None:
        """Give the device back."""
        self._capture.release()


def wishes(config: CameraConfig) -> list[tuple[str, int, float]]:
    """What to ask of the driver, in order: key of the configuration, OpenCV property, value.

    Switches and hints that no key of the configuration names have an empty one. Pixel format and
    size come first, because the rates and times a driver offers depend on them.
    """
    asked: list[tuple[str, int, float]] = [
        # Uncompressed pictures of this size do not fit through USB 2 at a useful rate.
        ("", cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
    ]
    for name, prop, value in (
        ("width", cv2.CAP_PROP_FRAME_WIDTH, config.width),
        ("height", cv2.CAP_PROP_FRAME_HEIGHT, config.height),
        ("", cv2.CAP_PROP_FPS, config.fps),  # a hint: a faster camera's frames are thinned out
    ):
        if value is not None:
            asked.append((name, prop, value))
    asked.append(("", cv2.CAP_PROP_BUFFERSIZE, 1))  # older pictures are worth nothing
    if config.exposure is not None:
        asked.append(("", cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL_EXPOSURE))
        asked.append(("exposure", cv2.CAP_PROP_EXPOSURE, config.exposure))
    if config.gain is not None:
        asked.append(("gain", cv2.CAP_PROP_GAIN, config.gain))
    if config.focus is not None:
        asked.append(("", cv2.CAP_PROP_AUTOFOCUS, 0))
        asked.append(("focus", cv2.CAP_PROP_FOCUS, config.focus))
    return asked
