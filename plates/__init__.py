"""Rendered US licence plates: specs, designs, type faces, rasteriser.

Used by `training/` and `sim/`; the runtime (`alprd/`) never imports it.
"""

from plates.designs import PLATE_TYPES, Design, designs, states
from plates.fonts import FontPool
from plates.render import RenderedPlate, render
from plates.spec import PlateSpec, format_of, random_spec

__all__ = [
    "PLATE_TYPES",
    "Design",
    "FontPool",
    "PlateSpec",
    "RenderedPlate",
    "designs",
    "format_of",
    "random_spec",
    "render",
    "states",
]
