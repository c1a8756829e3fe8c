"""A program that listens to the page's live events, and a second program beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mdt.world import Car


class Events:
    """The event stream of a signed-on client, read as it comes."""

    def __init__(self, client: httpx.Client, last: str = "") -> None:
        headers = {"Last-Event-ID": last} if last else {}
        self._stream = client.stream("GET", "/events", headers=headers, timeout=15)
        self.response = self._stream.__enter__()
        self._lines = self.response.iter_lines()
        self.last = last
        self.comments = 0

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        name, data = "", ""
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line.startswith("id: "):
                self.last = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line and name:
                yield name, json.loads(data)
                name = ""

    def next(self, wanted: str) -> Any:
        for name, data in self:
            if name == wanted:
                return data
        raise AssertionError(f"the stream ended without {wanted}")

    def until_status(self) -> list[tuple[str, Any]]:
        """What comes before the next status."""
        found: list[tuple[str, Any]] = []
        for name, data in self:
            if name == "status":
                return found
            found.append((name, data))
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def events(client: httpx.Client) -> Iterator[Callable[..., Events]]:
    opened: list[Events] = []

    def open_stream(*args: Any, by: httpx.Client | None = None) -> Events:
        opened.append(Events(by or client, *args))
        return opened[-1]

    yield open_stream
    for stream in opened:
        stream.close()


@pytest.fixture
def second(served: Car) -> Iterator[httpx.Client]:
    """Another program."""
    headers = {"Accept": "application/json"}
    with httpx.Client(base_url=served.address, headers=headers, trust_env=False) as made:
        yield made
