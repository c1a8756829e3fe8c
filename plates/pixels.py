"""OpenCV calls with exact types: OpenCV's own annotations lose the element type."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def blur(image: NDArray[T], sigma: float) -> NDArray[T]:
    """Gaussian blur by `sigma` px, of the same type."""
    source: Any = image
    result: Any = cv2.GaussianBlur(source, (0, 0), sigma)
    return np.asarray(result, image.dtype)


def resized(
    image: NDArray[T], width: int, height: int, method: int = cv2.INTER_LINEAR
) -> NDArray[T]:
    """Resize to `width` x `height` by an OpenCV interpolation, of the same type."""
    source: Any = image
    result: Any = cv2.resize(source, (width, height), interpolation=method)
    return np.asarray(result, image.dtype)
