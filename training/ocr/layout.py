"""Shapes and alphabet of the reader; apart from PyTorch, so that data and tests need none."""

from __future__ import annotations

HEIGHT, WIDTH = 64, 128
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
PAD = ALPHABET.index("_")
PLATE_SLOTS = 9
STACKED_SLOTS = 3
