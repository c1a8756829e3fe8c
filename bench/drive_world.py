"""Clips of dense test drives on disk: rendered once, read by as many models as one likes.

A clip is ``NAME.mp4``, encoded as a drive's video is, and ``NAME.json``, its truth. The truth is
written last, so a clip with a truth is whole, and rendering goes on where it was broken off.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing as mp
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2

import plates
import sim
from alprd.errors import InputError
from alprd.frames import Box
from sim.convoy import Convoy, ConvoyRenderer, Scene, build_convoy
from sim.drive import encode
from sim.seeds import BENCH_SEEDS
from sim.world import FPS

CAMERAS: Final = ("front", "left")
SCENES: Final = 40
"""Scenes of a clip."""
CLIPS: Final = 1000
"""Most clips of one seed of the benchmark."""


@dataclass(frozen=True, slots=True)
class TruePlate:
    """One plate of a scene, readable or not.

    ``sights`` maps frame numbers to the plate's box where it faces the camera; ``best`` is the
    frame in which it is clear and widest, None if it never is.
    """

    vehicle: int
    text: str
    stacked: str
    state: str
    plate_type: str
    design: str
    face: str
    readable: bool
    best: int | None
    width_px: float
    smear_px: float
    sights: dict[int, Box]


@dataclass(frozen=True, slots=True)
class TrueScene:
    """Frames ``first`` to ``first + frames - 1`` and the plates in them."""

    kind: str
    light: str
    first: int
    frames: int
    plates: tuple[TruePlate, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip and its truth."""

    video: Path
    seed: int
    camera: str
    scenes: tuple[TrueScene, ...]
    source: str
    """Digest of the simulator that rendered it (:func:`source`), empty where none was recorded."""

    @property
    def name(self) -> str:
        """The name of its files."""
        return self.video.stem

    @property
    def readable(self) -> int:
        """Number of readable plates."""
        return sum(p.readable for scene in self.scenes for p in scene.plates)

    @property
    def numbers(self) -> list[int]:
        """The camera's number of each frame of the video; the camera makes ``FPS`` a second."""
        return [s.first + k for s in self.scenes for k in range(s.frames)]


def source() -> str:
    """Digest of the code and tables that draw the pictures: clips of two are not one set."""
    digest = hashlib.sha256()
    for package in (sim, plates):
        root = Path(package.__file__ or "").parent
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.toml")]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


_source = source()
"""Taken as the code is loaded: files that change later do not change what is running."""


def place(
    work: Path, seed: int, number: int, scenes: int, pool: range = BENCH_SEEDS
) -> tuple[Path, int, str]:
    """Truth file, seed and camera of clip ``number`` of the benchmark's ``seed``.

    Args:
        pool: the seeds that clips are drawn from; those of test drives are for measuring only.

    Raises:
        InputError: the seed is outside the range reserved for the benchmark.
    """
    drawn, camera = seed * CLIPS + number, CAMERAS[number % len(CAMERAS)]
    if not 0 <= drawn < len(pool) or number >= CLIPS:
        raise InputError(
            f"seed {seed} has no clip {number}",
            remedy=f"choose a seed from 0 to {len(pool) // CLIPS - 1}, or fewer plates",
        )
    own = pool[drawn]
    return work / f"{own}-{camera}-{scenes}.json", own, camera


def load_clip(truth: Path) -> Clip:
    """A clip by its truth file.

    Raises:
        InputError: the file or its video cannot be read, or is of another version.
    """
    video = truth.with_suffix(".mp4")
    try:
        raw: dict[str, Any] = json.loads(truth.read_text("ascii"))
        scenes = tuple(
            TrueScene(**{**scene, "plates": tuple(_plate(p) for p in scene["plates"])})
            for scene in raw["scenes"]
        )
        clip = Clip(video, raw["seed"], raw["camera"], scenes, raw.get("source", ""))
        with video.open("rb") as part:
            part.read(1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{truth} is no whole clip: {error}", remedy="delete it, and render again"
        ) from error
    return clip


def _plate(raw: dict[str, Any]) -> TruePlate:
    sights = {int(k): (v[0], v[1], v[2], v[3]) for k, v in raw["sights"].items()}
    return TruePlate(**{**raw, "sights": sights})


def frames(clip: Clip) -> Iterator[tuple[int, Any]]:
    """Each frame of a clip's video with the camera's number of it: BGR (720, 1280, 3) uint8.

    Raises:
        InputError: the video does not have the frames of its truth.
    """
    # One thread: the other cores are doing the same with other clips.
    video = cv2.VideoCapture(str(clip.video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        for number in clip.numbers:
            ok, image = video.read()
            if not ok:
                raise InputError(
                    f"{clip.video} ends before frame {number}",
                    remedy="delete the clip, and render again",
                )
            yield number, image
    finally:
        video.release()


def render_clip(truth: Path, seed: int, camera: str, scenes: int, step: Callable[[], None]) -> int:
    """Render, encode and describe one clip; returns its readable plates. ``step`` is called after
    each frame."""
    convoy = build_convoy(seed, camera, scenes)
    renderer = ConvoyRenderer(convoy)
    part = truth.with_name(truth.stem + ".part.mp4")
    pictures = (picture for scene in convoy.scenes for picture in renderer.pictures(scene))
    encode(part, pictures, step)
    part.replace(truth.with_suffix(".mp4"))
    document = {
        "version": 1,
        "seed": seed,
        "camera": camera,
        "fps": FPS,
        "source": _source,
        "scenes": [_scene_document(convoy, scene) for scene in convoy.scenes],
    }
    half = truth.with_suffix(".part.json")
    half.write_text(json.dumps(document) + "\n", encoding="ascii")
    half.replace(truth)
    return sum(scene.readable for scene in convoy.scenes)


def _scene_document(convoy: Convoy, scene: Scene) -> dict[str, Any]:
    rows = []
    for actor in scene.actors:
        v, seen = actor.vehicle, scene.seen.get(actor.vehicle.id, [])
        passed = scene.passes.get(v.id)
        best = round(passed.t_best * FPS) if passed else None
        smear = next((s.smear for i, s in seen if i == best), 0.0)
        row = TruePlate(
            v.id, v.spec.text, v.spec.stacked, v.spec.region, v.spec.plate_type, v.spec.design,
            actor.face, passed is not None and passed.readable, best,
            passed.best_width_px if passed else 0.0, round(smear, 2),
            {i: s.box for i, s in seen},
        )  # fmt: skip
        rows.append(asdict(row))
    return {
        "kind": scene.kind,
        "light": scene.light,
        "first": scene.first,
        "frames": scene.frames,
        "plates": rows,
    }


_ticks: mp.Queue[int] | None = None


def _begin_worker(ticks: mp.Queue[int]) -> None:
    global _ticks
    _ticks = ticks
    cv2.setNumThreads(1)


def _work(truth: Path, seed: int, camera: str, scenes: int) -> int:
    ticks = _ticks
    return render_clip(
        truth, seed, camera, scenes, lambda: ticks.put(1) if ticks is not None else None
    )


def wanted(
    work: Path, seed: int, plates: int, scenes: int, pool: range = BENCH_SEEDS
) -> list[Clip]:
    """The rendered clips of a seed from the first on without a gap, up to ``plates`` plates."""
    found: list[Clip] = []
    while sum(clip.readable for clip in found) < plates:
        truth, _, _ = place(work, seed, len(found), scenes, pool)
        if not truth.is_file():
            break
        found.append(load_clip(truth))
    return found


def render(
    work: Path,
    seed: int,
    plates: int,
    scenes: int,
    jobs: int,
    progress: Callable[[int, int], None],
    pool: range = BENCH_SEEDS,
) -> list[Clip]:
    """Render what is missing of the clips that hold ``plates`` readable plates.

    Args:
        work: folder of the clips; made if need be. Clips found there are kept.
        jobs: processes.
        progress: called with the frames rendered in this run and the plates at hand.
        pool: see :func:`place`.

    Raises:
        InputError: see :func:`place`; the folder cannot be written.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{work}: {error.strerror}", remedy="name another --work") from error
    context = mp.get_context("spawn")
    ticks: mp.Queue[int] = context.Queue()
    known: dict[int, int] = {}
    running: dict[int, Future[int]] = {}
    rendered, following = 0, 0
    with ProcessPoolExecutor(jobs, context, _begin_worker, (ticks,)) as workers:
        while True:
            # A scene gives two plates as a rule: begin no clip that will not be needed.
            expected = sum(known.values()) + 2 * scenes * len(running)
            while len(running) < jobs and expected < plates:
                truth, own, camera = place(work, seed, following, scenes, pool)
                if truth.is_file():
                    known[following] = load_clip(truth).readable
                    expected += known[following]
                else:
                    running[following] = workers.submit(_work, truth, own, camera, scenes)
                    expected += 2 * scenes
                following += 1
            if not running:
                break
            try:
                rendered += ticks.get(timeout=0.5)
                while True:
                    rendered += ticks.get_nowait()
            except queue.Empty:
                progress(rendered, sum(known.values()))
            for number in [n for n, future in running.items() if future.done()]:
                known[number] = running.pop(number).result()
    return wanted(work, seed, plates, scenes, pool)
