"""Drawing textured meshes and number plates with numpy and OpenCV.

A body is drawn in two steps: OpenCV fills face numbers from far to near (painter's order), then
each pixel evaluates its face's affine texture coordinates and light, and one ``remap`` fetches
paint from a mip level of the atlas.  Layers are premultiplied RGBA, so that motion blur and soft
edges stay correct when they are laid over the canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.bodies import ATLAS
from sim.camera import NEAR, Camera
from sim.lighting import Light, sky_radiance
from sim.mesh import Mesh

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

RETRO = 2.3
"""How much brighter a retroreflective plate answers one's own headlights than paint does."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Texture:
    """A vehicle's atlas as mip levels: ``paint`` RGB + gloss (uint8), ``glow`` emission (uint8)."""

    paint: list[U8]
    glow: list[U8]


@dataclass(frozen=True)
class Pose:
    """Where a body stands in the ego frame: position of its middle on the road and heading."""

    x: float
    z: float
    yaw: float = 0.0

    def place(self, points: F32) -> F32:
        """Local points (..., 3) to the ego frame."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        p = np.asarray(points, np.float32)
        return np.stack(
            [c * p[..., 0] + s * p[..., 2] + self.x, p[..., 1],
             -s * p[..., 0] + c * p[..., 2] + self.z], -1).astype(np.float32)  # fmt: skip

    def turn(self, vectors: F32) -> F32:
        """Local directions to the ego frame."""
        return self.place(vectors) - np.array([self.x, 0.0, self.z], np.float32)


@dataclass
class Layer:
    """Premultiplied RGBA (h, w, 4) float32 in 0..255 with its canvas position."""

    x0: int
    y0: int
    rgba: F32


def headlight(points: F32, light: Light) -> F32:
    """Illumination by the patrol car's own lamps at ego-frame points (..., 3), facing them."""
    d = np.sqrt(points[..., 0] ** 2 + (points[..., 1] - 0.7) ** 2 + points[..., 2] ** 2)
    angle = np.arctan2(np.abs(points[..., 0]), np.maximum(points[..., 2], 0.1))
    spread = np.exp(-((angle / math.radians(44)) ** 2))
    reach = np.minimum(1.15, (11.0 / np.maximum(d, 2.0)) ** 1.25)
    cut = np.clip(1.35 - points[..., 1] * 0.42, 0.25, 1.0)
    return np.asarray(light.headlights * spread * reach * cut, np.float32)


def _shade(cam: Camera, mesh: Mesh, pts: F32, nrm: F32, light: Light, dim: float) -> F32:
    """Per vertex: diffuse light and mirrored radiance, (N, 2)."""
    view = cam.position - pts
    view /= np.maximum(np.linalg.norm(view, axis=-1, keepdims=True), 1e-6)
    nv = (nrm * view).sum(-1)
    amb = float(np.dot(light.ambient, LUMA)) * dim
    diffuse = amb * mesh.ao * (0.72 + 0.36 * nrm[:, 1])
    diffuse += light.sun * dim * np.clip(nrm @ light.sun_direction, 0, 1) * np.sqrt(mesh.ao)
    lamp = np.array([0.0, 0.7, 0.0], np.float32) - pts
    lamp /= np.maximum(np.linalg.norm(lamp, axis=-1, keepdims=True), 1e-6)
    diffuse += headlight(pts, light) * np.clip((nrm * lamp).sum(-1), 0, 1)
    mirror = 2 * nv[:, None] * nrm - view
    fresnel = 0.07 + 0.93 * np.clip(1 - np.abs(nv), 0, 1) ** 5
    shine = sky_radiance(light, mirror.astype(np.float32)) * fresnel * dim
    shine *= np.clip(mesh.ao * 1.1, 0, 1)
    return np.stack([diffuse, shine], -1).astype(np.float32)


def _face_table(q: F32, attrs: F32) -> F32:
    """Affine coefficients (F, 3 A) of attributes (F, 4, A) over screen quads (F, 4, 2)."""
    d1, d2 = q[:, 2] - q[:, 0], q[:, 3] - q[:, 1]
    det = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    safe = np.abs(det) > 0.35
    inv = np.where(safe, 1.0 / np.where(safe, det, 1.0), 0.0)[:, None]
    e1, e2 = attrs[:, 2] - attrs[:, 0], attrs[:, 3] - attrs[:, 1]
    gx = (e1 * d2[:, 1:2] - e2 * d1[:, 1:2]) * inv
    gy = (e2 * d1[:, 0:1] - e1 * d2[:, 0:1]) * inv
    mid = q.mean(1)
    c = attrs.mean(1) - gx * mid[:, 0:1] - gy * mid[:, 1:2]
    return np.concatenate([c, gx, gy], 1).astype(np.float32)


def draw_body(
    cam: Camera,
    mesh: Mesh,
    texture: Texture,
    pose: Pose,
    light: Light,
    *,
    dim: float = 1.0,
    brake: float = 0.0,
) -> Layer | None:
    """Render a body; None when it is out of view.  ``dim`` scales daylight (tunnel, shade)."""
    pts = pose.place(mesh.verts)
    uv, depth = cam.project(pts)
    if float(depth.min()) < NEAR:
        return None
    w, h = cam.canvas
    x0, y0 = (int(np.floor(k)) - 3 for k in uv.min(0))
    x1, y1 = (int(np.ceil(k)) + 4 for k in uv.max(0))
    if x1 - x0 < 8:
        return None
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    ss = 2 if (x1 - x0) < 260 else 1
    nrm = pose.turn(mesh.normals)
    facing = (nrm * (cam.position - pts)).sum(-1)[mesh.quads].mean(1) > -0.05
    faces = np.flatnonzero(facing)
    dist = depth[mesh.quads[faces]].mean(1)
    faces = faces[np.argsort(-dist, kind="stable")]
    quads = mesh.quads[faces]
    q = (uv[quads] - np.array([x0, y0], np.float32) + 0.5) * ss - 0.5
    ids = np.zeros(((y1 - y0) * ss, (x1 - x0) * ss), np.int32)
    fixed = np.round(q * 16).astype(np.int32)
    for i in range(len(faces)):
        cv2.fillConvexPoly(ids, fixed[i], i + 1, lineType=cv2.LINE_8, shift=4)
    shade = _shade(cam, mesh, pts, nrm, light, dim)
    texel = ATLAS.scale / (cam.focal * ss / float(depth.mean()))
    level = int(np.clip(round(math.log2(max(texel, 1e-3)) + 0.1), 0, len(texture.paint) - 1))
    attrs = np.concatenate([mesh.uv[faces] / 2.0**level, shade[quads]], -1)
    table = np.zeros((len(faces) + 1, 12), np.float32)
    table[1:] = _face_table(q, attrs)
    rgba = _resolve(ids, table, texture, level, light, dim, brake)
    if ss == 2:
        small = cv2.resize(rgba, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        rgba = np.asarray(small, np.float32)
    return Layer(x0, y0, rgba)


def _resolve(
    ids: NDArray[np.int32],
    table: F32,
    texture: Texture,
    level: int,
    light: Light,
    dim: float,
    brake: float,
) -> F32:
    """Evaluate every pixel of a face-number image: premultiplied RGBA float32."""
    h, w = ids.shape
    xs = np.arange(w, dtype=np.float32)[None, :]
    ys = np.arange(h, dtype=np.float32)[:, None]
    t = [np.ascontiguousarray(table[:, k]).take(ids) for k in (0, 1, 4, 5, 8, 9)]
    mu = t[0] + t[2] * xs + t[4] * ys
    mv = t[1] + t[3] * xs + t[5] * ys
    mask = (ids > 0).astype(np.float32)
    diffuse, shine = _shading(ids, table[:, [2, 3, 6, 7, 10, 11]])
    paint = cv2.remap(
        texture.paint[level], mu, mv, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    amb = np.asarray(light.ambient, np.float32)
    tint = 0.35 + 0.65 * amb / max(float(amb @ LUMA), 1e-3)
    hor = np.asarray(light.horizon, np.float32)
    env = 0.3 + 0.7 * hor / max(float(hor @ LUMA), 1e-3)
    *colours, gloss = cv2.split(paint)
    shine *= gloss
    lit = light.lamps * (0.55 + 0.9 * brake) * (1.6 / 255.0)
    lamp: F32 | None = None
    if lit > 0:
        glow = cv2.remap(
            texture.glow[level], mu, mv, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        lamp = glow * np.float32(lit)
    planes = []
    for c in range(3):
        gain = diffuse * np.float32(tint[c])
        if lamp is not None:
            gain += lamp
        gain *= colours[c]
        gain += shine * np.float32(env[c])
        planes.append(np.minimum(gain, 255.0, out=gain) * mask)
    return np.asarray(cv2.merge([*planes, mask * np.float32(255.0)]), np.float32)


def _shading(ids: NDArray[np.int32], table: F32) -> tuple[F32, F32]:
    """Diffuse light and mirrored radiance a pixel (h, w): they vary slowly, so they are worked out
    for every fourth pixel and enlarged, weighted so that the outside does not bleed in."""
    h, w = ids.shape
    few = np.ascontiguousarray(ids[::2, ::2])
    xs = (np.arange(few.shape[1], dtype=np.float32) * 2)[None, :]
    ys = (np.arange(few.shape[0], dtype=np.float32) * 2)[:, None]
    inside = (few > 0).astype(np.float32)
    c = [np.ascontiguousarray(column).take(few) for column in table.T]
    a = (np.clip(c[k] + c[k + 2] * xs + c[k + 4] * ys, 0.0, 2.4) * inside for k in (0, 1))
    packed = cv2.merge([*a, inside])
    big = cv2.resize(packed, (w, h), interpolation=cv2.INTER_LINEAR)
    diffuse, shine, share = cv2.split(big)
    weight = 1.0 / np.maximum(share, 0.1)
    return np.asarray(diffuse * weight, np.float32), np.asarray(shine * weight, np.float32)


def plate_light(points: F32, normal: F32, light: Light, dim: float) -> tuple[float, float]:
    """Daylight and headlight on a plate: (matte part, retroreflected part)."""
    centre = points.mean(0)
    amb = float(np.dot(light.ambient, LUMA))
    day = dim * (amb * 1.02 + light.sun * 0.75 * max(0.0, float(normal @ light.sun_direction)))
    own = float(headlight(centre, light)) * RETRO / (1.0 + 1.5 * amb)
    return day, own


def draw_plate(layer: Layer, quad: F32, image: U8, gain: float) -> None:
    """Map a plate picture (RGB) on canvas corners TL TR BR BL (4, 2), into a body's layer.

    The picture is reduced with an area filter to about twice its size on the canvas, warped at
    that size, and reduced again: no aliasing at any distance.
    """
    h, w = layer.rgba.shape[:2]
    q = quad - np.array([layer.x0, layer.y0], np.float32)
    lo = np.floor(q.min(0)).astype(int) - 2
    hi = np.ceil(q.max(0)).astype(int) + 3
    lo = np.maximum(lo, 0)
    hi = np.minimum(hi, [w, h])
    if (hi - lo).min() < 2:
        return
    span = max(float(np.linalg.norm(q[1] - q[0])), 1.0)
    tall = max(float(np.linalg.norm(q[3] - q[0])), 1.0)
    tw = int(min(image.shape[1], max(8, round(2.4 * span))))
    th = int(min(image.shape[0], max(6, round(2.4 * tall))))
    src = cv2.resize(image, (tw, th), interpolation=cv2.INTER_AREA).astype(np.float32)
    src = np.dstack([src, np.full((th, tw), 255.0, np.float32)])
    corners = np.array([[0, 0], [tw, 0], [tw, th], [0, th]], np.float32) - 0.5
    dst = (q - lo.astype(np.float32) + 0.5) * 2 - 0.5
    m = cv2.getPerspectiveTransform(corners, dst.astype(np.float32))
    size = (int(hi[0] - lo[0]) * 2, int(hi[1] - lo[1]) * 2)
    big = cv2.warpPerspective(src, m, size, flags=cv2.INTER_LINEAR)
    small = cv2.resize(big, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
    small[..., :3] = np.minimum(small[..., :3] * gain, 255.0)
    part = layer.rgba[lo[1] : hi[1], lo[0] : hi[0]]
    part[...] = small + part * (1.0 - small[..., 3:4] / 255.0)


def motion_kernel(dx: float, dy: float) -> F32:
    """A soft line of the length of a movement in pixels (never shorter than a lens blur)."""
    length = math.hypot(dx, dy)
    size = 2 * math.ceil(length / 2 + 1) + 1
    k = np.zeros((size, size), np.float32)
    c = size // 2
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32) - c
    if length < 0.05:
        d2 = xx**2 + yy**2
    else:
        ux, uy = dx / length, dy / length
        along = np.clip(xx * ux + yy * uy, -length / 2, length / 2)
        d2 = (xx - along * ux) ** 2 + (yy - along * uy) ** 2
    k = np.exp(-d2 / (2 * 0.48**2)).astype(np.float32)
    return np.asarray(k / k.sum(), np.float32)


def lay_over(canvas: U8, layer: Layer, haze: float, haze_rgb: F32) -> None:
    """Lay a layer over the canvas; ``haze`` 0..1 mixes in the colour of the air."""
    h, w = layer.rgba.shape[:2]
    part = canvas[layer.y0 : layer.y0 + h, layer.x0 : layer.x0 + w]
    # Plane by plane: numpy is several times slower over a last axis of three.
    *colours, alpha = cv2.split(layer.rgba)
    alpha = alpha * (1.0 / 255.0)
    clear = 1.0 - alpha
    air = haze * alpha if haze > 0.004 else None
    planes = []
    for c, below in enumerate(cv2.split(part)):
        plane = colours[c]
        if air is not None:
            plane = plane * (1 - haze) + haze_rgb[c] * air
        plane = plane + below * clear
        planes.append(np.clip(plane, 0, 255, out=plane).astype(np.uint8))
    part[...] = cv2.merge(planes)


def ground_shadow(canvas: U8, cam: Camera, outline: F32, strength: float, soft_m: float) -> None:
    """Darken the road inside ``outline`` (N, 3 points on the road), with a soft edge."""
    uv, depth = cam.project(outline)
    if float(depth.min()) < NEAR or strength <= 0.01:
        return
    hull = cv2.convexHull(uv.astype(np.float32))[:, 0]
    soft = max(1.0, soft_m * cam.focal / float(depth.mean()))
    pad = int(soft * 1.5) + 2
    w, h = cam.canvas
    x0, y0 = np.maximum(np.floor(hull.min(0)).astype(int) - pad, 0)
    x1, y1 = np.minimum(np.ceil(hull.max(0)).astype(int) + pad, [w, h])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    k = 4 if (x1 - x0) > 200 else 2
    small = np.zeros((max(1, (y1 - y0) // k), max(1, (x1 - x0) // k)), np.uint8)
    cv2.fillConvexPoly(
        small, np.round((hull - [x0, y0]) * 16 / k).astype(np.int32), 255, cv2.LINE_AA, 4
    )
    kx = max(1, int(soft / k)) | 1
    ky = max(1, int(soft / k * 0.35)) | 1
    small = cv2.blur(cv2.blur(small, (kx, ky)), (kx, ky))
    mask = cv2.resize(small, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_LINEAR)
    part = canvas[y0:y1, x0:x1]
    factor = 1.0 - mask.astype(np.float32) * (strength / 255.0)
    part[...] = cv2.merge([(plane * factor).astype(np.uint8) for plane in cv2.split(part)])
