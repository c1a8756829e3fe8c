"""A bandwidth limit round everything a client sends and fetches: a token bucket.

Wrapped round the connection and not round single callers, so that batches, lists and whatever
comes later all count against one limit (``[dock] limit_kbit_s``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from alprd.errors import SyncError

PIECE: Final = 16_384
"""Bytes given on at a time."""
BURST_S: Final = 0.25
"""How much of the limit may go at once after a rest."""

Wait = Callable[[float], bool]
"""Waits so many seconds; True when the work is to stop."""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class TokenBucket:
    """Lets through so many bytes a second on the average; one user at a time.

    Args:
        bytes_s: the limit.
        wait: waits and may ask to stop.
    """

    def __init__(self, bytes_s: float, wait: Wait = _sleep) -> None:
        self._rate = bytes_s
        self._wait = wait
        self._debt_until = time.monotonic()

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may go.

        Raises:
            SyncError: the work was asked to stop meanwhile.
        """
        now = time.monotonic()
        self._debt_until = max(self._debt_until, now - BURST_S) + count / self._rate
        delay = self._debt_until - now
        if delay > 0 and self._wait(delay):
            raise SyncError("sending ends here: the program stops; it goes on from here next time")


class _Paced(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, bucket: TokenBucket) -> None:
        self._inner = inner
        self._bucket = bucket

    def __iter__(self) -> Iterator[bytes]:
        for part in self._inner:
            for start in range(0, len(part), PIECE):
                piece = part[start : start + PIECE]
                self._bucket.take(len(piece))
                yield piece

    def close(self) -> None:
        self._inner.close()


class PacedTransport(httpx.BaseTransport):
    """Bodies of both directions through one bucket; closes the transport it wraps."""

    def __init__(self, inner: httpx.BaseTransport, bucket: TokenBucket) -> None:
        self._inner = inner
        self._bucket = bucket

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Hand one request on, its body and the answer's paced."""
        if isinstance(request.stream, httpx.SyncByteStream):
            request.stream = _Paced(request.stream, self._bucket)
        response = self._inner.handle_request(request)
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Paced(response.stream, self._bucket)
        return response

    def close(self) -> None:
        """Close the wrapped transport."""
        self._inner.close()
