"""Vehicle bodies as textured quad meshes.

A body is lofted: cross-sections along the vehicle follow a profile of the roof line and are drawn
in at nose and tail; both ends close with a bowed fascia that carries lamps, grille, window and the
number plate.  Local frame: x right, y up, z forward, origin on the road under the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.bodies import (
    PLANS,
    PLATE_H,
    PLATE_W,
    SOLID_DARK,
    SOLID_GLASS,
    SOLID_PAINT,
    SOLID_RUBBER,
    BodyPlan,
    Style,
    end_px,
    side_px,
)

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """Quads with a normal a vertex and texture coordinates a corner.

    ``verts``/``normals`` (N, 3), ``quads`` (F, 4) vertex indices, ``uv`` (F, 4, 2) atlas pixels,
    ``ao`` (N,) how much of the sky a vertex sees (0..1).
    """

    verts: F32
    normals: F32
    quads: I32
    uv: F32
    ao: F32


@dataclass(frozen=True)
class Body:
    """A vehicle's shape: mesh, plan, and where its plates hang (corners (4, 3): TL TR BR BL)."""

    style: Style
    plan: BodyPlan
    mesh: Mesh
    plate_rear: F32
    plate_front: F32
    lamps_rear: F32
    lamps_front: F32


def _profile(points: tuple[tuple[float, float], ...], z: F32) -> F32:
    p = np.asarray(points, np.float32)
    # Smooth the polyline a little: corners of sheet metal have radii.
    fine = np.linspace(p[0, 0], p[-1, 0], 240, dtype=np.float32)
    y = np.interp(fine, p[:, 0], p[:, 1]).astype(np.float32)
    kernel = np.hanning(13)
    kernel /= kernel.sum()
    y = np.convolve(np.pad(y, 6, mode="edge"), kernel, mode="valid").astype(np.float32)
    return np.interp(z, fine, y).astype(np.float32)


def _bow(plan: BodyPlan, x: F32, y: F32, tail: bool) -> F32:
    """How far the fascia stands back (m) at lateral x and height y: round in plan, bumper out."""
    half = plan.width / 2
    back = 0.16 * np.abs(x / half) ** 3.0
    bumper = plan.bottom + 0.28
    lean = 0.16 if tail else 0.20
    above = np.clip((y - bumper) / 0.55, 0.0, 1.0)
    below = np.clip((bumper - y) / 0.30, 0.0, 1.0)
    step = 0.05 * np.clip((y - bumper - 0.06) / 0.05, 0.0, 1.0)
    return np.asarray(back + lean * 0.5 * above**1.5 + step + 0.05 * below**2, np.float32)


def _grid_normals(p: F32) -> F32:
    du = np.gradient(p, axis=0)
    dv = np.gradient(p, axis=1)
    n = np.cross(du, dv)
    return np.asarray(n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9), np.float32)


class _Builder:
    def __init__(self) -> None:
        self.verts: list[F32] = []
        self.normals: list[F32] = []
        self.quads: list[I32] = []
        self.uv: list[F32] = []
        self.count = 0

    def add(self, verts: F32, normals: F32, quads: I32, uv: F32) -> None:
        self.verts.append(verts.reshape(-1, 3).astype(np.float32))
        self.normals.append(normals.reshape(-1, 3).astype(np.float32))
        self.quads.append((quads + self.count).astype(np.int32))
        self.uv.append(uv.astype(np.float32))
        self.count += len(self.verts[-1])

    def grid(self, p: F32, n: F32, plan: BodyPlan, dark_bed: bool = False) -> None:
        r, c = p.shape[:2]
        i, j = np.meshgrid(np.arange(r - 1), np.arange(c - 1), indexing="ij")
        base = i * c + j
        quads = np.stack([base, base + 1, base + c + 1, base + c], -1).reshape(-1, 4)
        flat_p, flat_n = p.reshape(-1, 3), n.reshape(-1, 3)
        self.add(p, n, quads, _planar_uv(flat_p[quads], flat_n[quads].mean(1), plan, dark_bed))

    def mesh(self) -> Mesh:
        verts = np.concatenate(self.verts)
        ao = np.clip(0.42 + 0.75 * verts[:, 1], 0.35, 1.0).astype(np.float32)
        return Mesh(
            verts, np.concatenate(self.normals), np.concatenate(self.quads),
            np.concatenate(self.uv), ao,
        )  # fmt: skip


def _planar_uv(corners: F32, normal: F32, plan: BodyPlan, dark_bed: bool) -> F32:
    x, y, z = corners[..., 0], corners[..., 1], corners[..., 2]
    nx, ny, nz = (normal[:, None, k] for k in range(3))
    uv = side_px(z, y, plan.length)
    tail = (nz < -0.18) & (np.abs(nx) < 0.88)
    nose = (nz > 0.18) & (np.abs(nx) < 0.88)
    uv = np.where(tail[..., None], end_px(x, y, True), uv)
    uv = np.where(nose[..., None], end_px(x, y, False), uv)
    flat = (ny > 0.72) & ~tail & ~nose
    uv = np.where(flat[..., None], np.asarray(SOLID_PAINT, np.float32), uv)
    if dark_bed:
        bed = flat & (z.mean(1, keepdims=True) < -plan.length / 2 + 1.95)
        uv = np.where(bed[..., None], np.asarray(SOLID_DARK, np.float32), uv)
    under = ny < -0.8
    uv = np.where(under[..., None], np.asarray(SOLID_RUBBER, np.float32), uv)
    return uv.astype(np.float32)


def _loft(plan: BodyPlan) -> tuple[F32, F32]:
    """Cross-sections (K, M, 3), from tail to nose and from left sill over the roof to the right."""
    zs = np.unique(
        np.concatenate(
            [np.linspace(0, plan.length, 44), [0.04, 0.10, plan.length - 0.04, plan.length - 0.1]]
        )
    ).astype(np.float32)
    top = _profile(plan.roof, zs)
    sh = np.minimum(_profile(plan.shoulder, zs), top - 0.03)
    half = plan.width / 2
    end = np.minimum(zs, plan.length - zs)
    taper = 1.0 - 0.07 * np.clip(1 - end / 0.9, 0, 1) ** 2
    w = half * taper
    yb = plan.bottom + 0.05 * np.clip(1 - end / 0.5, 0, 1)
    roof_w = w * (1 - plan.tumble * np.clip(top - sh - 0.05, 0, 0.8) * 0.75) * 0.93
    span = sh - yb
    rows_x = [w * 0.90, w * 0.975, w, w * 0.998, w * 0.985, w * 0.955]
    rows_y = [yb, yb + 0.07, yb + 0.30 * span, yb + 0.62 * span, sh - 0.05, sh]
    for t in (0.33, 0.66, 0.94):
        rows_x.append(w * 0.955 + (roof_w - w * 0.955) * t)
        rows_y.append(sh + (top - sh) * t)
    for fx, drop in ((0.93, 0.008), (0.80, -0.012), (0.5, -0.032), (0.0, -0.04)):
        rows_x.append(roof_w * fx)
        rows_y.append(top - drop)
    x = np.stack(rows_x, 1)
    y = np.stack(rows_y, 1)
    x = np.concatenate([-x, x[:, -2::-1]], 1)
    y = np.concatenate([y, y[:, -2::-1]], 1)
    z = np.repeat(zs[:, None], x.shape[1], 1)
    # Ends follow the bowed fascia; the influence dies out within 0.7 m.
    for tail in (True, False):
        dist = z if tail else plan.length - z
        pull = np.clip(1 - dist / 0.7, 0, 1) ** 1.3
        shift = _bow(plan, x, y, tail) * pull
        z = z + shift if tail else z - shift
    p = np.stack([x, y, z - plan.length / 2], -1).astype(np.float32)
    return p, _grid_normals(p)


def _cap(plan: BodyPlan, tail: bool) -> tuple[F32, F32]:
    """The fascia that closes an end: rows from sill to the edge of lid or bonnet, (R, C, 3)."""
    z_end = np.array([0.0 if tail else plan.length], np.float32)
    top = float(_profile(plan.roof, z_end)[0])
    half = plan.width / 2 * 0.93
    yb = plan.bottom + 0.05
    rows, cols = 15, 17
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    s = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    edge = top + 0.035 - 0.075 * np.abs(s) ** 4
    y = np.asarray(yb + (edge - yb) * t, np.float32)
    squeeze = 1 - 0.09 * np.clip(0.12 - t, 0, 1) / 0.12 - 0.02 * np.clip(t - 0.9, 0, 1) / 0.1
    x = np.asarray(s * half * squeeze + 0 * t, np.float32)
    back = _bow(plan, x, y, tail)
    z = back if tail else plan.length - back
    p = np.stack([x, y, z - plan.length / 2], -1).astype(np.float32)
    n = _grid_normals(p)
    if (n[rows // 2, cols // 2, 2] > 0) == tail:
        n = -n
    return p, n


def _wheel(b: _Builder, plan: BodyPlan, side: int, axle: float) -> None:
    """A wheel: a drum of rubber, and its outer face with the rim of the side view."""
    n, radius, z = 18, plan.wheel, axle - plan.length / 2
    x_in, x_out = side * (plan.width / 2 - 0.27), side * (plan.width / 2 - 0.03)
    a = np.linspace(0, 2 * np.pi, n + 1, dtype=np.float32)
    ring_y, ring_z = radius + np.cos(a) * radius, z + np.sin(a) * radius
    p = np.stack([np.column_stack([np.full(n + 1, x), ring_y, ring_z]) for x in (x_in, x_out)], 0)
    normals = np.stack([np.column_stack([np.zeros(n + 1), np.cos(a), np.sin(a)])] * 2, 0)
    base = np.arange(n)
    quads = np.stack([base, base + 1, base + n + 2, base + n + 1], -1)
    uv = np.broadcast_to(np.asarray(SOLID_RUBBER, np.float32), (n, 4, 2))
    b.add(p.astype(np.float32), normals.astype(np.float32), quads.astype(np.int32), uv)
    face = np.concatenate([[[x_out, radius, z]], p[1]]).astype(np.float32)
    fan = np.array([[0, k + 1, k + 2, k + 2] for k in range(n)], np.int32)
    out = np.broadcast_to(np.array([side, 0, 0], np.float32), face.shape)
    b.add(face, out, fan, side_px(face[fan][..., 2], face[fan][..., 1], plan.length))


def _axle(b: _Builder, plan: BodyPlan, axle: float, tail: bool) -> None:
    """What one sees between the wheels under the bumper: axle, tank, spare wheel, all dark."""
    z, x = axle - plan.length / 2, plan.width / 2 - 0.27
    top, low = plan.bottom + 0.12, plan.wheel * 0.62
    out = np.array([0, 0, -1.0 if tail else 1.0], np.float32)
    for x0, x1, y0 in ((-x, x, low), (-0.16, 0.16, low - 0.07), (x * 0.3, x * 0.8, low - 0.03)):
        p = np.array([[x0, top, z], [x1, top, z], [x1, y0, z], [x0, y0, z]], np.float32)
        uv = np.broadcast_to(np.asarray(SOLID_RUBBER, np.float32), (1, 4, 2))
        normal = np.broadcast_to(out, p.shape)
        b.add(p, normal, np.array([[0, 1, 2, 3]], np.int32), uv)


def _mirror(b: _Builder, plan: BodyPlan, side: int) -> None:
    """A door mirror as a rounded box ahead of the front door."""
    z0 = plan.axles[1] - 0.75 - plan.length / 2
    y0 = float(_profile(plan.shoulder, np.array([plan.axles[1] - 0.75], np.float32))[0]) + 0.08
    x0 = side * (plan.width / 2 + 0.10)
    a = np.linspace(0, 2 * np.pi, 13, dtype=np.float32)
    rings, norms = [], []
    for dz, k in ((-0.07, 0.86), (-0.05, 1.0), (0.03, 0.95), (0.09, 0.45)):
        c, s = np.cos(a), np.sin(a)
        ex = np.sign(c) * np.abs(c) ** 0.6 * 0.12 * k
        ey = np.sign(s) * np.abs(s) ** 0.6 * 0.08 * k
        rings.append(np.column_stack([x0 + ex, y0 + ey, np.full(13, z0 + dz)]))
        norms.append(np.column_stack([c, s, np.full(13, 4 * dz)]))
    p, n = np.stack(rings, 0), np.stack(norms, 0)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    i, j = np.meshgrid(np.arange(3), np.arange(12), indexing="ij")
    base = i * 13 + j
    quads = np.stack([base, base + 1, base + 14, base + 13], -1).reshape(-1, 4)
    uv = np.broadcast_to(np.asarray(SOLID_PAINT, np.float32), (len(quads), 4, 2))
    b.add(p.astype(np.float32), n.astype(np.float32), quads.astype(np.int32), uv)
    back = np.concatenate([[[x0, y0, z0 - 0.07]], rings[0]]).astype(np.float32)
    fan = np.array([[0, k + 1, k + 2, k + 2] for k in range(12)], np.int32)
    normal = np.broadcast_to(np.array([0, 0, -1], np.float32), back.shape)
    uv = np.broadcast_to(np.asarray(SOLID_GLASS, np.float32), (12, 4, 2))
    b.add(back, normal, fan, uv)


def _plate(plan: BodyPlan, tail: bool, tilt: float, roll: float) -> F32:
    """Corners TL, TR, BR, BL (seen from outside) of a mounted plate."""
    y = plan.plate_rear if tail else plan.plate_front
    ys = np.array([y - PLATE_H / 2, y, y + PLATE_H / 2], np.float32)
    back = float(_bow(plan, np.zeros(3, np.float32), ys, tail).min()) - 0.02
    z = -plan.length / 2 + back if tail else plan.length / 2 - back
    right = np.array([1.0 if tail else -1.0, 0, 0], np.float32)
    out = np.array([0, 0, -1.0 if tail else 1.0], np.float32)
    up = np.array([0, np.cos(tilt), 0], np.float32) - out * np.sin(tilt)
    r = right * np.cos(roll) + up * np.sin(roll)
    u = up * np.cos(roll) - right * np.sin(roll)
    c = np.array([0, y, z], np.float32)
    hw, hh = PLATE_W / 2, PLATE_H / 2
    return np.stack([c - r * hw + u * hh, c + r * hw + u * hh, c + r * hw - u * hh,
                     c - r * hw - u * hh]).astype(np.float32)  # fmt: skip


def build_body(style: Style, rng: np.random.Generator) -> Body:
    """A body of a style, with measures varied a few per cent and plates hung a little askew."""
    base = PLANS[style]
    k = 1 + rng.uniform(-0.03, 0.03)
    h = 1 + rng.uniform(-0.03, 0.03)
    plan = BodyPlan(
        base.length * k, base.width * (1 + rng.uniform(-0.02, 0.02)),
        tuple((z * k, y * h) for z, y in base.roof),
        tuple((z * k, y * h) for z, y in base.shoulder),
        base.bottom, base.tumble, base.wheel, (base.axles[0] * k, base.axles[1] * k),
        base.plate_rear * h + rng.uniform(-0.02, 0.02),
        base.plate_front * h + rng.uniform(-0.03, 0.02),
    )  # fmt: skip
    b = _Builder()
    for k, z in enumerate(plan.axles):
        _axle(b, plan, z, tail=k == 0)
        for side in (-1, 1):
            _wheel(b, plan, side, z)
    p, n = _loft(plan)
    b.grid(p, n, plan, dark_bed=style == "pickup")
    for tail in (True, False):
        p, n = _cap(plan, tail)
        b.grid(p, n, plan)
    for side in (-1, 1):
        _mirror(b, plan, side)
    half = plan.width / 2
    lamp_y = {"sedan": 0.72, "hatch": 0.74, "suv": 0.84, "pickup": 0.95, "van": 0.76}[style] * h
    tail_y = {"sedan": 0.86, "hatch": 0.88, "suv": 0.96, "pickup": 0.92, "van": 1.0}[style] * h
    zf = plan.length / 2 - 0.12
    lamps_f = np.array([[s * half * 0.74, lamp_y, zf] for s in (-1, 1)], np.float32)
    lamps_r = np.array([[s * half * 0.80, tail_y, -zf] for s in (-1, 1)], np.float32)
    return Body(
        style, plan, b.mesh(),
        _plate(plan, True, rng.normal(0.02, 0.03), rng.normal(0, 0.008)),
        _plate(plan, False, rng.normal(0.03, 0.03), rng.normal(0, 0.008)),
        lamps_r, lamps_f,
    )  # fmt: skip
