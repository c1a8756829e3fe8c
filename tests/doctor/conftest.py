"""One enrolled car for all tests of the doctor; each test breaks a copy of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dock_world import World
from doctor_world import Copy, enrolled, scene, video


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Central and the car."""
    before = os.umask(0o077)  # as the unit sets it
    found = enrolled(tmp_path_factory.mktemp("doctor"))
    os.umask(before)
    yield found
    found.stop()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of a camera in focus."""
    return video(tmp_path_factory.mktemp("clip") / "front.mp4", scene())


@pytest.fixture
def car(world: World, tmp_path: Path) -> Iterator[Copy]:
    """The copy."""
    found = Copy(world, tmp_path)
    with found.stack:
        yield found
