"""Writing a drive: two videos, NMEA log, lists and the truth.

The fixture's seed is fixed here; ``python -m sim fixtures`` rebuilds ``fixtures/drive``.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import queue
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray

from sim import nmea
from sim.camera import HEIGHT, WIDTH, Camera, patrol_cameras
from sim.frame import FrameRenderer
from sim.lists import Lists, build_lists
from sim.seeds import stream
from sim.truth import Pass, passes
from sim.world import FPS, World, build_world

FIXTURE_SEED = 20261122
FIXTURE_SECONDS = 60.0
FIXTURE_DIR = Path(__file__).resolve().parent.parent / "fixtures" / "drive"
DRIVE_CRF, FIXTURE_CRF = 26, 31
"""x264 quality: a drive as a good camera sends it; the fixture small enough for the repository."""
LEAST_READABLE = 25
"""Readable plates that a drive of a minute must have."""
U8 = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
"""Called with (task, done, total)."""

_X264 = {
    "preset": "medium", "threads": "1",
    "x264-params": "keyint=150:aq-mode=1:psy-rd=0.4,0:deblock=1,1",
}  # fmt: skip


class DriveError(RuntimeError):
    """The asked-for drive cannot be made; the message says what to change."""


@dataclass(frozen=True)
class Plan:
    """A drive before it is rendered."""

    world: World
    start: datetime
    passes: dict[int, list[Pass]]
    lists: Lists
    truth: dict[str, Any]


def start_instant(seed: int) -> datetime:
    """The instant at which a drive's clocks begin: an invented November afternoon of 2026."""
    rng = stream("test", seed, "start")
    day = datetime(2026, 11, 2, 22, 20, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 18)))
    return day + timedelta(seconds=int(rng.integers(0, 1500)))


def plan_drive(seed: int, seconds: float, progress: Progress | None = None) -> Plan:
    """Lay out a drive and compute its truth.

    Raises:
        DriveError: the drive is shorter than 2 s, or a minute of it has too few readable plates.
    """
    if not 2.0 <= seconds <= 3600.0:
        raise DriveError(f"seconds is {seconds:g}: choose between 2 and 3600")
    world = build_world(seed, seconds)
    start = start_instant(seed)
    cams = patrol_cameras()
    total, done = world.frames * len(cams), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("truth", done, total)

    found = passes(world, cams, lambda t: nmea.position(world, t), step)
    readable = {
        vid: next(p.t_best for p in ps if p.readable)
        for vid, ps in found.items()
        if any(p.readable for p in ps)
    }
    if seconds >= 60 and len(readable) < LEAST_READABLE:
        raise DriveError(
            f"seed {seed} gives only {len(readable)} readable plates in {seconds:g} s: "
            "choose another seed"
        )
    lists = build_lists(world, readable, start)
    return Plan(world, start, found, lists, _truth(world, start, found, lists))


def _truth(
    world: World, start: datetime, found: dict[int, list[Pass]], lists: Lists
) -> dict[str, Any]:
    cars = []
    for v in world.vehicles:
        ps = found[v.id]
        cars.append({
            "id": v.id,
            "plate": v.spec.text,
            "stacked": v.spec.stacked,
            "state": v.spec.region,
            "type": v.spec.plate_type,
            "readable": any(p.readable for p in ps),
            "suppressed": v.id in lists.suppressed,
            "alert": v.id in lists.alerts,
            "alert_category": lists.alerts.get(v.id),
            "near_miss_of": lists.near_miss.get(v.id),
            "passes": [p.document() for p in ps],
        })  # fmt: skip
    return {
        "version": 1,
        "seed": world.seed,
        "reserved_test": True,
        "start_utc": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_s": float(world.seconds),
        "timezone": "America/Chicago",
        "cameras": [
            {"id": c, "file": f"{c}.mp4", "fps": FPS, "width": WIDTH, "height": HEIGHT}
            for c in patrol_cameras()
        ],
        "gps": "gps.nmea",
        "hotlist": "hotlist.csv",
        "suppression": "suppression.csv",
        "vehicles": cars,
    }


def write_video(
    path: Path, world: World, cam: Camera, step: Callable[[], None], crf: int = DRIVE_CRF
) -> None:
    """Render and encode one camera's video (H.264, yuv420p, no metadata)."""
    renderer = FrameRenderer(world, cam)
    encode(path, map(renderer.render, range(world.frames)), step, crf)


def encode(
    path: Path, pictures: Iterable[U8], step: Callable[[], None], crf: int = DRIVE_CRF
) -> None:
    """Write RGB pictures (HEIGHT, WIDTH, 3) as consecutive frames of a drive's video."""
    with av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as out:
        video = out.add_stream("libx264", rate=FPS, options=_X264 | {"crf": str(crf)})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.flags |= 0x800000  # AV_CODEC_FLAG_BITEXACT
        # Supplemental information (NAL type 6) would name the encoder and all its settings.
        bare = BitStreamFilterContext("filter_units=remove_types=6", in_stream=video)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            for packet in video.encode(frame):
                out.mux(bare.filter(packet))
            step()
        for packet in video.encode(None):
            out.mux(bare.filter(packet))
        out.mux(bare.filter(None))


def _render_camera(
    seed: int, seconds: float, name: str, path: Path, crf: int, ticks: mp.Queue[tuple[str, str]]
) -> None:
    cv2.setNumThreads(1)
    try:
        write_video(path, build_world(seed, seconds), patrol_cameras()[name],
                    lambda: ticks.put((name, "")), crf)  # fmt: skip
    except Exception as e:  # noqa: BLE001 - handed to the parent, which raises it
        ticks.put((name, f"{type(e).__name__}: {e}"))


def write_drive(
    out: Path,
    seed: int,
    seconds: float = 60.0,
    progress: Progress | None = None,
    crf: int = DRIVE_CRF,
) -> Plan:
    """Render a whole drive into folder ``out``, one process a camera.

    Raises:
        DriveError: see ``plan_drive``; or a camera's process failed.
    """
    plan = plan_drive(seed, seconds, progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / "gps.nmea").write_bytes(nmea.log(plan.world, plan.start))
    (out / "hotlist.csv").write_text(plan.lists.hotlist_csv(), encoding="ascii")
    (out / "suppression.csv").write_text(plan.lists.suppression_csv(), encoding="ascii")
    ctx = mp.get_context("spawn")
    ticks: mp.Queue[tuple[str, str]] = ctx.Queue()
    names = list(patrol_cameras())
    workers = {
        n: ctx.Process(target=_render_camera, args=(seed, seconds, n, out / f"{n}.mp4", crf, ticks))
        for n in names
    }
    for w in workers.values():
        w.start()
    done = dict.fromkeys(names, 0)
    try:
        while min(done.values()) < plan.world.frames:
            try:
                name, error = ticks.get(timeout=2.0)
            except queue.Empty:
                dead = [n for n, w in workers.items() if not w.is_alive() and w.exitcode]
                if dead:
                    raise DriveError(f"the renderer of camera {dead[0]} died") from None
                continue
            if error:
                raise DriveError(f"camera {name}: {error}")
            done[name] += 1
            if progress is not None:
                progress(name, done[name], plan.world.frames)
        for w in workers.values():
            w.join(60)
    finally:
        for w in workers.values():
            if w.is_alive():
                w.terminate()
    # The truth is written last: a folder with a truth file is a whole drive.
    (out / "truth.json").write_text(json.dumps(plan.truth, indent=1) + "\n", encoding="ascii")
    return plan


def summary(plan: Plan) -> dict[str, Any]:
    """Counts of a drive."""
    cars = plan.truth["vehicles"]
    read = [c for c in cars if c["readable"]]
    return {
        "seed": plan.world.seed,
        "seconds": plan.world.seconds,
        "vehicles": len(cars),
        "readable": len(read),
        "minnesota": sum(c["state"] == "MN" for c in read),
        "alerts": sum(c["alert"] for c in cars),
        "suppressed": sum(c["suppressed"] for c in cars),
        "near_misses": sum(c["near_miss_of"] is not None for c in cars),
        "passes": int(np.sum([len(c["passes"]) for c in cars])),
    }
