"""The cameras: do they give pictures, sharp and bright enough, and how large will plates be.

While no daemon runs, every camera is opened for some seconds; a daemon that runs holds them and is
asked instead. No picture is kept unless ``--pictures`` asks for it.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from alprd.capture import Camera, CameraStatus
from alprd.config import CameraSection
from alprd.crypto import write_secret
from alprd.devices import camera_config
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.errors import AlprdError, CameraError
from alprd.frames import Image
from alprd.profiles import PROFILES

SHARP_WIDTH: Final = 640
"""Pictures are brought to this width before their sharpness is measured, which keeps a camera's
noise and its number of pixels out of the figure."""
SHARP: Final = (12.0, 40.0)
"""Variance of the Laplacian (grey levels squared) below which a picture fails, and below which it
is told. docs/doctor.md has the pictures by which they were set."""
DARK: Final = 25.0
BRIGHT: Final = 235.0
FLAT: Final = 4.0
"""A picture whose grey levels vary less shows nothing: a cap, a wall, a dead sensor."""
PLATE_M: Final = 0.3048
"""Width of a US plate, 12 inches."""
DISTANCES_M: Final = (10, 20, 30)
_SLOWEST_SHARE: Final = 0.6
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class View:
    """What a picture is worth; levels 0…255."""

    sharpness: float
    brightness: float
    spread: float


def view(image: Image) -> View:
    """Measure a picture, (H, W, 3) BGR."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    if width > SHARP_WIDTH:
        size = (SHARP_WIDTH, max(1, round(height * SHARP_WIDTH / width)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    return View(
        sharpness=float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        brightness=float(grey.mean()),
        spread=float(grey.std()),
    )


def plate_px(focal_px: float, distance_m: float) -> float:
    """Width of a plate seen straight from behind, by the pinhole model."""
    return focal_px * PLATE_M / distance_m


def focal_px(width_px: float, fov_deg: float) -> float:
    """Focal length in pixels of a lens whose whole picture is so wide."""
    return width_px / (2 * math.tan(math.radians(fov_deg) / 2))


def check_cameras(car: Car, sheet: Sheet) -> None:
    """Every camera of the configuration, all at once."""
    if car.daemon_runs:
        _from_health(car, sheet)
        return
    opened: list[tuple[CameraSection, Camera]] = []
    for section in car.config.camera:
        if section.credential is not None and "CREDENTIALS_DIRECTORY" not in os.environ:
            sheet.skip(
                section.name,
                "systemd gives its password to the service alone: start the service and look again",
            )
            continue
        try:
            settings = camera_config(section, car.config)
        except AlprdError as error:
            sheet.error(section.name, error)
            continue
        camera = Camera(settings)
        camera.start()
        opened.append((section, camera))
    try:
        longest = max((c.config.open_timeout_s for _, c in opened), default=0.0)
        _await_pictures([c for _, c in opened], longest + car.seconds)
        time.sleep(car.seconds if any(c.status().up for _, c in opened) else 0.0)
        for section, camera in opened:
            _camera(car, sheet, section, camera)
    finally:
        for _, camera in opened:
            camera.stop()


def _await_pictures(cameras: list[Camera], longest_s: float) -> None:
    """Until every camera has given a picture or failed to, or time is over."""
    end = time.monotonic() + longest_s
    while time.monotonic() < end:
        if all(c.latest(-1, 0.0) is not None or _failed(c.status()) for c in cameras):
            return
        time.sleep(0.1)


def _failed(status: CameraStatus) -> bool:
    """A file that cannot be played, or a source that was tried in vain more than once."""
    return status.ended or status.restarts >= _ATTEMPTS


def _camera(car: Car, sheet: Sheet, section: CameraSection, camera: Camera) -> None:
    status, frame = camera.status(), camera.latest(-1, 0.0)
    if frame is None:
        sheet.fail(
            section.name,
            f"no picture: {status.last_error or 'nothing arrived in time'}",
            "check [[camera]] source, cable, power, and user with its password; a V4L2 device "
            "also needs its group: usermod -aG video alprd",
        )
        return
    wanted = section.fps
    played = section.source.startswith("file:")
    slow = status.fps < _SLOWEST_SHARE * wanted and not played
    sheet.judge(
        section.name,
        f"{status.width}x{status.height}, {status.fps:.1f} of {wanted:.0f} frames/s",
        fail=not status.up and not status.ended,
        warn=slow,
        remedy="the picture stops or stutters: in the dark a camera lengthens its exposure (limit "
        "it), over a network look at the switch and its bit rate",
        width=status.width,
        height=status.height,
        fps=round(status.fps, 1),
    )
    _judge_view(sheet, section.name, view(frame.image))
    _judge_plates(car, sheet, section, frame.image, status)
    if car.pictures is not None:
        _keep(sheet, section.name, frame.image, car.pictures)


def _judge_view(sheet: Sheet, name: str, seen: View) -> None:
    dark, bright = seen.brightness < DARK, seen.brightness > BRIGHT
    sheet.judge(
        f"{name}-light",
        f"mean level {seen.brightness:.0f} of 255, spread {seen.spread:.0f}",
        fail=seen.spread < FLAT,
        warn=dark or bright,
        remedy="take off the lens cap and clean the glass; if the picture is right but too dark or "
        "too bright, set the exposure",
        brightness=round(seen.brightness, 1),
        spread=round(seen.spread, 1),
    )
    if seen.spread < FLAT:
        return
    sheet.judge(
        f"{name}-sharpness",
        f"{seen.sharpness:.0f} (variance of the Laplacian), at least {SHARP[1]:.0f} is wanted",
        # In the dark an empty road has no edges: that alone is no fault of the lens.
        fail=seen.sharpness < SHARP[0] and not dark,
        warn=seen.sharpness < SHARP[1],
        remedy="focus the lens on something 15 m away, clean the glass, take off the film; aim the "
        "camera at a scene with edges while you check",
        sharpness=round(seen.sharpness, 1),
    )


def _judge_plates(
    car: Car, sheet: Sheet, section: CameraSection, image: Image, status: CameraStatus
) -> None:
    """Pixels of a plate at some distances, from the lens or from a plate at a known one."""
    name, least = f"{section.name}-plates", PROFILES[car.config.reader.profile].min_width
    focal = _focal_of_lens(section, status)
    widest = None
    try:
        detector, _ = car.recognition
        found = [d.box[2] for d in detector.detect(image) if d.score >= 0.4]
        widest = max(found, default=None)
    except AlprdError:
        pass  # told by the check of the models
    if car.plate_at_m is not None and widest is not None:
        focal = widest * car.plate_at_m / PLATE_M
    if focal is None:
        seen = "no plate in the picture" if widest is None else f"a plate {widest:.0f} px wide"
        sheet.skip(
            name,
            f"{seen}; give fov_deg in [[camera]], or park a car 10 m ahead and add --plate-at 10",
            plate_px=None if widest is None else round(widest, 1),
        )
        return
    sizes = {distance: plate_px(focal, distance) for distance in DISTANCES_M}
    sheet.judge(
        name,
        ", ".join(f"{size:.0f} px at {distance} m" for distance, size in sizes.items())
        + f"; the reader wants {least:.0f}",
        fail=sizes[10] < least,
        warn=sizes[20] < least,
        remedy="use a longer lens or a higher resolution, or aim this camera at nearer lanes",
        plate_px=None if widest is None else round(widest, 1),
        **{f"px_at_{distance}_m": round(size, 1) for distance, size in sizes.items()},
    )


def _focal_of_lens(section: CameraSection, status: CameraStatus) -> float | None:
    """Focal length in pixels after the configured lens; of the whole picture, not the region."""
    if section.fov_deg is None:
        return None
    left, top, right, bottom = section.region or (0.0, 0.0, 1.0, 1.0)
    turned = section.rotate in (90, 270)
    whole = status.height / (bottom - top) if turned else status.width / (right - left)
    return focal_px(whole, section.fov_deg)


def _keep(sheet: Sheet, name: str, image: Image, folder: Path) -> None:
    """Write the picture, for its owner only: it may show plates."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise CameraError(f"the picture of {name} cannot be encoded")
    path = folder / f"{name}.jpg"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(path, data.tobytes())
    except OSError as error:
        sheet.fail(
            f"{name}-picture",
            f"{path} cannot be written: {error.strerror}",
            "give --pictures a folder that this user may write",
        )
        return
    sheet.ok(
        f"{name}-picture",
        f"{path}; look at it, then delete it: it may show plates (shred -u {path})",
    )


def _from_health(car: Car, sheet: Sheet) -> None:
    """A daemon at work holds the cameras: its own view of them is the answer."""
    told = (car.health or {}).get("cameras")
    rows = told if isinstance(told, list) else []
    known = {str(row.get("name")): row for row in rows if isinstance(row, dict)}
    for section in car.config.camera:
        row = known.get(section.name)
        if row is None:
            sheet.skip(
                section.name,
                "the daemon holds this camera and cannot be asked; stop it for a look of one's own",
            )
            continue
        age = row.get("age_s")
        words = f"last picture {age:.1f} s ago" if isinstance(age, int | float) else "no picture"
        sheet.judge(
            section.name,
            f"the daemon says: {words}",
            fail=not row.get("up"),
            remedy="check source, cable and power; stop the daemon and run the doctor for details",
            age_s=age if isinstance(age, int | float) else None,
        )
    if car.pictures is not None:
        sheet.skip("pictures", "the daemon holds the cameras; stop it to have pictures written")
