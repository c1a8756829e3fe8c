"""Dense test drives: the renderer, light and type faces of a drive without its empty road.

A convoy is a row of short *scenes* before one camera. In each, some vehicles pass or stand as they
do in traffic (a car ahead, a parked row, oncoming cars, cars that overtake) so that plates are
readable, as ``sim.truth`` defines it, for as many frames as a scene has. Between two scenes the
camera sees nothing for some seconds; those frames are never rendered. Which vehicles a scene has
is decided by geometry alone, never by a reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import plates
from sim.camera import Camera, patrol_cameras
from sim.frame import FAR_M, FrameRenderer, Kit
from sim.lighting import DAY, DUSK, NIGHT, OVERCAST, RAIN, Light
from sim.mesh import Body, build_body
from sim.paint import paint_body
from sim.raster import Texture
from sim.scenery import CHUNK_M, props_of_chunk
from sim.seeds import stream
from sim.truth import SEEN_PX, Pass, Sight, judge, sights
from sim.wear import plate_picture
from sim.world import (
    FPS,
    REAR_ONLY,
    STEP,
    STYLES,
    Path,
    Vehicle,
    World,
    draw_spec,
    draw_style,
)

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

SLOT_S = 6.0
"""From one scene to the next: longer than a reader remembers a plate that went by."""
BODIES = 12
"""Bodies with their paint that the vehicles of a convoy share; plates are never shared."""
FRAMES = (10, 12)
"""Fewest and most frames of a scene."""
_TRIES = 8
_LIGHTS: tuple[tuple[str, Light, Light, float], ...] = (
    ("day", DAY, OVERCAST, 0.26),
    ("overcast", OVERCAST, RAIN, 0.16),
    ("rain", RAIN, OVERCAST, 0.20),
    ("dusk", DUSK, NIGHT, 0.18),
    ("night", NIGHT, DUSK, 0.20),
)
"""Name, light, the light that it may be turning into, share of the scenes under the open sky."""


@dataclass(frozen=True)
class Actor:
    """A vehicle of a scene, the number of its body and the type face of its plate."""

    vehicle: Vehicle
    body: int
    face: str


@dataclass(frozen=True)
class Scene:
    """Some frames on end: the first one's number, how many, and who is in them.

    ``light`` is the name of its weather or light, ``passes`` what could be read, by vehicle.
    """

    kind: str
    light: str
    first: int
    frames: int
    actors: tuple[Actor, ...]
    passes: dict[int, Pass]
    seen: dict[int, list[tuple[int, Sight]]]
    """Every sight of every plate, clear or not, by vehicle, with the frame's number."""

    @property
    def readable(self) -> int:
        """Number of readable plates."""
        return sum(p.readable for p in self.passes.values())


@dataclass(frozen=True)
class Convoy:
    """All scenes of one seed and camera; ``world`` has no vehicles of its own."""

    world: World
    camera: Camera
    bodies: tuple[Body, ...]
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class _Part:
    """How one vehicle moves: lateral position, distance of its plate when nearest, speed along the
    road (all metres and seconds), which end it shows, and whether it is parked."""

    x: float
    near: float
    speed: float
    tail: bool = True
    parked: bool = False


_KINDS: dict[str, tuple[tuple[str, float, tuple[float, float]], ...]] = {
    "front": (("queue", 0.2, (0, 0)), ("following", 0.5, (3.5, 7)), ("passed", 0.3, (3.5, 7))),
    "left": (("waiting", 0.15, (0, 0)), ("oncoming", 0.6, (1.5, 4)), ("overtaken", 0.25, (1.5, 4))),
}
"""Kinds of scenes of a camera: name, share, slowest and fastest speed of the patrol car."""


def _draw_kind(rng: np.random.Generator, camera: str) -> tuple[str, float]:
    """A scene's kind and the patrol car's speed."""
    kinds = _KINDS[camera]
    name, _, speeds = kinds[int(rng.choice(len(kinds), p=[share for _, share, _ in kinds]))]
    return name, float(rng.uniform(*speeds))


def _draw_parts(rng: np.random.Generator, kind: str, ego: float) -> list[_Part]:
    """The vehicles of a scene; a third of the time with one more behind the outer one."""
    near, parked = rng.uniform(6.5, 7.3), 2.98 + rng.uniform(-0.12, 0.14)
    kerb = _Part(rng.uniform(-5.35, -5.05), rng.uniform(7.2, 7.8), 0.0, rng.random() < 0.2, True)
    ahead = _Part(rng.uniform(-0.15, 0.25), rng.uniform(6.3, 9.6), ego + rng.uniform(-1.8, 1.5))
    stream_x = rng.uniform(-3.0, -2.7)
    if kind == "following":
        parts = [ahead, _Part(parked, near, 0.0, parked=True)]
    elif kind == "passed":
        parts = [ahead, _Part(3.05, near, ego + rng.uniform(1.5, 4) * rng.choice([-1, 1]))]
    elif kind == "queue":
        still = replace(ahead, speed=rng.choice([0.0, 0.0, 0.7]))
        crawl = rng.choice([0.0, 0.0, 1.0])
        parts = [still, _Part(3.05 + rng.uniform(-0.1, 0.2), near + rng.uniform(0, 2), crawl)]
    elif kind == "oncoming":
        moving = _Part(stream_x, rng.uniform(5.6, 6.8), -rng.uniform(1.5, 4.5), tail=False)
        parts = [moving, kerb]
    elif kind == "overtaken":
        parts = [_Part(stream_x, rng.uniform(5.3, 6.2), ego + rng.uniform(2, 5)), kerb]
    else:
        moving = _Part(stream_x, rng.uniform(5.8, 9.5), -rng.uniform(0, 2), tail=False)
        parts = [moving, replace(kerb, near=kerb.near + rng.uniform(0, 1.6))]
    if rng.random() < 0.33:
        outer = parts[1]
        parts.append(replace(outer, near=outer.near + rng.uniform(8.5, 12.5)))
    return parts


def _light(rng: np.random.Generator) -> tuple[str, Light]:
    shares = np.array([share for *_, share in _LIGHTS])
    name, light, other, _ = _LIGHTS[int(rng.choice(len(_LIGHTS), p=shares / shares.sum()))]
    return name, light.mix(other, float(rng.uniform(0, 0.4)))


def _begin(number: int) -> float:
    return 2.0 + SLOT_S * number


def _road(speeds: list[float]) -> tuple[F64, F64]:
    """Times and distance of the patrol car, which drives each scene at its speed."""
    knots, values = [0.0], [speeds[0]]
    for k, speed in enumerate(speeds):
        knots += [_begin(k) - 0.8, _begin(k) + 1.6]
        values += [speed, speed]
    t = np.arange(0, _begin(len(speeds)) + STEP, STEP)
    v = np.interp(t, knots, values)
    return t, np.concatenate([[0.0], np.cumsum((v[1:] + v[:-1]) / 2 * STEP)])


def build_convoy(seed: int, camera: str, scenes: int) -> Convoy:
    """Plan the scenes of a camera ("front" or "left").  Equal arguments give an equal convoy."""
    rng = stream("test", seed, "convoy", camera)
    drawn = [_draw_kind(rng, camera) for _ in range(scenes)]
    lights = [_light(rng) for _ in range(scenes)]
    t, ego = _road([speed for _, speed in drawn])
    keys = [(_begin(k) + dt, lights[k][1]) for k in range(scenes) for dt in (-1.5, SLOT_S - 1.6)]
    tunnel, covered = (1e6, 1e6 + 1), scenes // 6
    if covered:
        enter = float(np.interp(_begin(scenes - covered), t, ego)) + float(rng.uniform(-6, 4))
        tunnel = (enter, float(ego[-1]) + 90.0)
    world = World("test", seed, float(t[-1]), ego, tunnel, tuple(keys), ())
    bodies = tuple(
        build_body(STYLES[k % len(STYLES)], stream("test", seed, "body", camera, k))
        for k in range(BODIES)
    )
    faces = sorted({face.family for face in plates.FontPool.load("test").serial})
    taken: set[str] = set()
    out = []
    for k, (kind, speed) in enumerate(drawn):
        tries: list[Scene] = []
        while len(tries) < _TRIES and not (tries and tries[-1].readable >= 2):
            own = stream("test", seed, "scene", camera, k, len(tries))
            parts = _draw_parts(own, kind, speed)
            actors = _cast(own, parts, t, ego, k, bodies, faces, taken)
            frames = int(own.integers(FRAMES[0], FRAMES[1] + 1))
            tries.append(_scene(kind, lights[k][0], k, frames, actors, world, camera))
        out.append(max(tries, key=lambda scene: scene.readable))
    return Convoy(world, patrol_cameras()[camera], bodies, tuple(out))


def _cast(
    rng: np.random.Generator, parts: list[_Part], t: F64, ego: F64, number: int,
    bodies: tuple[Body, ...], faces: list[str], taken: set[str],
) -> tuple[Actor, ...]:  # fmt: skip
    """Vehicles with plates for the parts of a scene."""
    begin, end = _begin(number), _begin(number) + (FRAMES[1] - 1) / FPS
    actors = []
    for k, part in enumerate(parts):
        spec = draw_spec(rng, taken, part.tail)
        style = draw_style(rng, spec.plate_type)
        body = int(rng.choice([i for i, b in enumerate(bodies) if b.style == style]))
        at = [float(np.interp(x, t, ego)) for x in (begin, end)]
        closing = (at[1] - at[0]) - part.speed * (end - begin)
        first = part.near + max(0.0, closing) + bodies[body].plan.length / 2
        s = at[0] + first + part.speed * (t - begin)
        path = Path(np.full(len(t), part.x), s, 0.0 if part.tail else math.pi)
        ends = ("tail",) if spec.region in REAR_ONLY else ("tail", "nose")
        vehicle = Vehicle(10 * number + k + 1, bodies[body], spec, path, ends, part.parked)
        actors.append(Actor(vehicle, body, str(rng.choice(faces))))
    return tuple(actors)


def _scene(
    kind: str, light: str, number: int, frames: int, actors: tuple[Actor, ...], world: World,
    camera: str,
) -> Scene:  # fmt: skip
    """A scene with its truth."""
    cam, first = patrol_cameras()[camera], round(_begin(number) * FPS)
    world = replace(world, vehicles=tuple(a.vehicle for a in actors))
    seen: dict[int, list[tuple[int, Sight]]] = {}
    for index in range(first, first + frames):
        for vid, sight in sights(world, cam, index).items():
            seen.setdefault(vid, []).append((index, sight))
    passes = {}
    for vid, rows in seen.items():
        clear = [(i, s) for i, s in rows if s.clear and s.width >= SEEN_PX]
        if clear:
            passes[vid] = judge(cam, clear, lambda _: (0.0, 0.0))
    name = "tunnel" if world.inside((first + frames / 2) / FPS) > 0.5 else light
    return Scene(kind, name, first, frames, actors, passes, seen)


class ConvoyRenderer:
    """Renders the scenes of a convoy with the drive's own renderer."""

    def __init__(self, convoy: Convoy) -> None:
        self._convoy = convoy
        self._renderer = FrameRenderer(convoy.world, convoy.camera)
        self._paints: dict[int, Texture] = {}
        self._fonts = plates.FontPool.load("test")

    def pictures(self, scene: Scene) -> Iterator[U8]:
        """The frames (720, 1280, 3) uint8 RGB of a scene, in order."""
        world = replace(self._convoy.world, vehicles=tuple(a.vehicle for a in scene.actors))
        self._renderer.world = world
        self._renderer.kits = {a.vehicle.id: self._kit(a) for a in scene.actors}
        for stretch in range(*self._stretches(scene)):
            # A post beside the row at the left kerb would be drawn over the car that hides it,
            # which the truth does not know.
            found = props_of_chunk("test", world.seed, stretch)
            self._renderer.props[stretch] = [p for p in found if not (p.near and p.x < 0)]
        for index in range(scene.first, scene.first + scene.frames):
            yield self._renderer.render(index)

    def _stretches(self, scene: Scene) -> tuple[int, int]:
        """First stretch of scenery within sight, and the one after the last."""
        world, last = self._convoy.world, scene.first + scene.frames
        begin, end = world.ego_s(scene.first / FPS), world.ego_s(last / FPS) + FAR_M
        return int(begin // CHUNK_M), int(end // CHUNK_M) + 1

    def _kit(self, actor: Actor) -> Kit:
        seed, camera = self._convoy.world.seed, self._convoy.camera.name
        if actor.body not in self._paints:
            rng = stream("test", seed, "paint", camera, actor.body)
            self._paints[actor.body] = paint_body(self._convoy.bodies[actor.body], rng)
        serial = tuple(f for f in self._fonts.serial if f.family == actor.face)
        fonts = replace(self._fonts, serial=serial)
        v = actor.vehicle
        picture = plate_picture(v.spec, "test", seed, v.id, fonts)
        return Kit(self._paints[actor.body], picture)
