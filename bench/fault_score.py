"""What became of the reads of each fault, once everything has been docked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from alprd.place import CONFIRM_JUMP
from bench.crash_world import LAT, Told
from bench.fault_rows import AWAY, LIES, Row
from bench.fault_world import FaultWorld

TRUE_TIME: Final = timedelta(seconds=10)
"""A read's instant is that of its best frame, at most the longest view (8 s) before its last."""
TRUE_PLACE: Final = 0.5
"""Degrees of latitude from the road that the receiver truly drives."""
HELD_S: Final = 2.0
"""A position is held for so long after its fix."""
CONFIRM_S: Final = CONFIRM_JUMP[1] / 1e9
"""A place out of reach is believed only once it was told for so long; until then there is none."""


def judge(world: FaultWorld, rows: Iterable[Row]) -> None:
    """Fill in the losses and untruths of every row, from a search at central."""
    minute = timedelta(minutes=1)
    window = world.began - minute, datetime.now(UTC) + minute
    found = world.central.search(*window) + world.central.search(*window, lat=LAT + AWAY)
    count(rows, world.told, {row["id"]: row for row in found}, world.spoiled)


def count(
    rows: Iterable[Row],
    told: Mapping[str, Told],
    stored: Mapping[str, Mapping[str, Any]],
    spoiled: Iterable[str],
) -> None:
    """Give every read to the row in which its last frame was seen, and judge it there.

    Args:
        told: every commit that the witness heard.
        stored: rows of central's search by read id: ``instant``, ``lat``.
        spoiled: reads that the bench itself destroyed.
    """
    order = sorted((row for row in rows if row.since), key=lambda row: row.since)
    gone = set(spoiled)
    believed = 0
    for name, line in told.items():
        seen = line.last_frame_mono_ns / 1e9
        row = next((row for row in reversed(order) if row.since <= seen), None)
        if row is None or name in gone:
            continue
        there = stored.get(name)
        if there is None:
            row.lost += 1
            continue
        off = abs(datetime.fromisoformat(str(there["instant"])) - utc_of(line.last_frame_mono_ns))
        far = there["lat"] is not None and abs(there["lat"] - LAT) > TRUE_PLACE
        lying = row.fault == LIES and row.since + CONFIRM_S <= seen <= row.until + HELD_S
        believed += far and lying
        if off > TRUE_TIME or (far and not lying):
            row.untrue += 1
    for row in order:
        if row.fault == LIES:
            row.note = (
                f"{believed} reads carry the place that the receiver told while it lied for longer "
                f"than the {CONFIRM_S:g} s that confirm a new one"
            )


def utc_of(mono_ns: int) -> datetime:
    """UTC of a monotonic instant, by this machine's clock."""
    ago = time.monotonic_ns() - mono_ns
    return datetime.now(UTC) - timedelta(microseconds=ago // 1000)
