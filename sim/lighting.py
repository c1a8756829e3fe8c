"""The light of a scene, and how it changes during a drive.

Values live in display space (0..1 after the camera's auto-exposure), because that is what the
number plates, paints and textures are specified in; the renderer multiplies and adds them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """One state of light; every field is interpolated between key states.

    Colours are RGB.  ``sun_azimuth`` is degrees to the right of straight ahead.
    """

    ambient: tuple[float, float, float]
    sun: float
    sun_azimuth: float
    sun_height: float
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    headlights: float
    lamps: float
    windows: float
    clouds: float
    haze: float
    wet: float
    rain: float
    exposure_s: float
    noise: float
    blur: float
    bloom: float

    @property
    def sun_direction(self) -> F32:
        """Unit vector towards the sun, ego frame."""
        a, h = np.radians(self.sun_azimuth), np.radians(self.sun_height)
        return np.array([np.sin(a) * np.cos(h), np.sin(h), np.cos(a) * np.cos(h)], np.float32)

    def mix(self, other: Light, t: float) -> Light:
        """This light blended with ``other``; ``t`` = 0 is this, 1 the other."""
        values: dict[str, object] = {}
        for f in fields(self):
            a, b = getattr(self, f.name), getattr(other, f.name)
            if isinstance(a, tuple):
                values[f.name] = tuple(x + (y - x) * t for x, y in zip(a, b, strict=True))
            else:
                values[f.name] = a + (b - a) * t
        return replace(self, **values)  # type: ignore[arg-type]


DAY = Light(
    ambient=(0.66, 0.69, 0.74), sun=0.72, sun_azimuth=-150.0, sun_height=32.0,
    zenith=(0.30, 0.50, 0.80), horizon=(0.80, 0.87, 0.94), headlights=0.0, lamps=0.12,
    windows=0.0, clouds=0.55, haze=0.0012, wet=0.0, rain=0.0, exposure_s=1 / 800, noise=0.004,
    blur=0.55, bloom=0.10,
)  # fmt: skip
OVERCAST = Light(
    ambient=(0.86, 0.88, 0.91), sun=0.04, sun_azimuth=-150.0, sun_height=35.0,
    zenith=(0.62, 0.66, 0.71), horizon=(0.80, 0.82, 0.85), headlights=0.0, lamps=0.35,
    windows=0.05, clouds=0.8, haze=0.003, wet=0.15, rain=0.0, exposure_s=1 / 500, noise=0.005,
    blur=0.6, bloom=0.10,
)  # fmt: skip
RAIN = Light(
    ambient=(0.74, 0.77, 0.82), sun=0.0, sun_azimuth=-150.0, sun_height=35.0,
    zenith=(0.47, 0.51, 0.57), horizon=(0.66, 0.69, 0.73), headlights=0.06, lamps=0.7,
    windows=0.25, clouds=0.9, haze=0.009, wet=1.0, rain=1.0, exposure_s=1 / 500, noise=0.007,
    blur=0.75, bloom=0.22,
)  # fmt: skip
DUSK = Light(
    ambient=(0.48, 0.49, 0.60), sun=0.12, sun_azimuth=-170.0, sun_height=7.0,
    zenith=(0.13, 0.18, 0.36), horizon=(0.86, 0.56, 0.38), headlights=0.30, lamps=0.9,
    windows=0.7, clouds=0.6, haze=0.003, wet=0.25, rain=0.0, exposure_s=1 / 450, noise=0.009,
    blur=0.65, bloom=0.35,
)  # fmt: skip
NIGHT = Light(
    ambient=(0.13, 0.14, 0.175), sun=0.0, sun_azimuth=-170.0, sun_height=5.0,
    zenith=(0.012, 0.016, 0.032), horizon=(0.06, 0.06, 0.085), headlights=0.85, lamps=1.0,
    windows=1.0, clouds=0.15, haze=0.002, wet=0.1, rain=0.0, exposure_s=1 / 400, noise=0.013,
    blur=0.7, bloom=0.55,
)  # fmt: skip
TUNNEL = Light(
    ambient=(0.60, 0.53, 0.42), sun=0.0, sun_azimuth=-150.0, sun_height=40.0,
    zenith=(0.20, 0.17, 0.13), horizon=(0.55, 0.46, 0.34), headlights=0.35, lamps=0.9,
    windows=0.3, clouds=0.2, haze=0.004, wet=0.1, rain=0.0, exposure_s=1 / 450, noise=0.010,
    blur=0.65, bloom=0.35,
)  # fmt: skip


def sky_radiance(light: Light, directions: F32) -> F32:
    """Luminance (...) that a mirror sees along ``directions`` (..., 3), unit vectors.

    Sky gradient above, a dark band of trees and houses at the horizon, road below: the source of
    the sheen on paint and glass.
    """
    y = directions[..., 1]
    lum = np.array([0.299, 0.587, 0.114], np.float32)
    zen, hor = float(np.dot(light.zenith, lum)), float(np.dot(light.horizon, lum))
    up = np.clip(y, 0.0, 1.0)
    sky = hor + (zen - hor) * np.power(up, 0.55)
    ground = 0.32 * float(np.dot(light.ambient, lum))
    trees = 0.25 * float(np.dot(light.ambient, lum))
    t = np.clip((y - 0.10) / 0.12, 0.0, 1.0)
    above = trees + (sky - trees) * t
    s = np.clip((y + 0.06) / 0.06, 0.0, 1.0)
    out = ground + (above - ground) * s
    if light.sun > 0.02:
        glint = np.clip(directions @ light.sun_direction, 0.0, 1.0) ** 90
        out = out + 3.0 * light.sun * glint
    return np.asarray(out, np.float32)
