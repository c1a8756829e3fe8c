"""Pinhole cameras on the patrol car.

Frame of the patrol car ("ego frame"): x to the right, y up, z forward, metres, origin on the road
under the camera.  Image: u to the right, v down, pixels, pixel centres at integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

WIDTH, HEIGHT = 1280, 720
MARGIN = 8
"""Pixels rendered beyond each edge, so that camera shake can move the cut-out."""
NEAR = 0.6
"""Nearest depth that is drawn, metres."""


@dataclass(frozen=True)
class Camera:
    """A fixed camera: intrinsics in pixels, pose in the ego frame.

    ``yaw`` is positive to the right, ``pitch`` positive upwards, both radians.
    """

    name: str
    focal: float
    yaw: float
    pitch: float
    height: float

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of the rendered canvas, margins included."""
        return WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point on the canvas."""
        w, h = self.canvas
        return (w - 1) / 2.0, (h - 1) / 2.0

    def to_camera(self, points: F32) -> F32:
        """Ego-frame points (..., 3) to camera axes (x right, y up, z along the optical axis)."""
        p = np.asarray(points, np.float32)
        cy, sy = math.cos(self.yaw), math.sin(self.yaw)
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        x = cy * p[..., 0] - sy * p[..., 2]
        zf = sy * p[..., 0] + cy * p[..., 2]
        yf = p[..., 1] - self.height
        y = cp * yf - sp * zf
        z = sp * yf + cp * zf
        return np.stack([x, y, z], axis=-1).astype(np.float32)

    def project(self, points: F32) -> tuple[F32, F32]:
        """Ego-frame points (..., 3) to canvas pixels (..., 2) and depths (...)."""
        c = self.to_camera(points)
        cx, cy = self.centre
        z = np.maximum(c[..., 2], 1e-3)
        uv = np.stack([cx + self.focal * c[..., 0] / z, cy - self.focal * c[..., 1] / z], axis=-1)
        return uv.astype(np.float32), c[..., 2]

    def rays(self, step: int = 1) -> F32:
        """Viewing directions (h, w, 3) of the canvas pixels in the ego frame, not normalised."""
        w, h = self.canvas
        cx, cy = self.centre
        u, v = np.meshgrid(
            np.arange(0, w, step, dtype=np.float32), np.arange(0, h, step, dtype=np.float32)
        )
        x = (u - cx) / self.focal
        y = (cy - v) / self.focal
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        up = cp * y + sp
        fwd = cp - sp * y
        cyaw, syaw = math.cos(self.yaw), math.sin(self.yaw)
        return np.stack([cyaw * x + syaw * fwd, up, cyaw * fwd - syaw * x], -1).astype(np.float32)

    @property
    def position(self) -> F32:
        """Where the lens is, ego frame."""
        return np.array([0.0, self.height, 0.0], np.float32)


def patrol_cameras() -> dict[str, Camera]:
    """The two cameras of a drive.

    Plates are about 60 pixels wide at 12 m.
    """
    return {
        "front": Camera("front", 2300.0, math.radians(10.2), math.radians(-3.3), 1.5),
        "left": Camera("left", 2650.0, math.radians(-24.0), math.radians(-3.6), 1.5),
    }
