"""A GPS receiver on a TCP socket that can be told to fail, as routers in cars serve NMEA.

It tells the machine's own time and an invented, slowly moving place. What it does wrong is set
while it runs: fall silent, talk rubbish, jump in place, jump in time, hang up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from alprd.demo.gpsfeed import checksum

Mode = Literal["steady", "silent", "garbage"]

_LAT, _LON = 46.82, -95.87
_STEP: Final = 0.0001
"""Degrees of latitude a second: 11 m/s."""
_TURN_S: Final = 600.0
"""The car turns back after so long, 6.7 km out: a documented search reaches at most 10 km, and a
long run must find every read with one."""


def north(seconds: float) -> float:
    """Degrees of latitude from the start of the road, so long after the beginning."""
    return _STEP * (_TURN_S - abs(seconds % (2 * _TURN_S) - _TURN_S))


class GpsServer:
    """Serves until :meth:`stop`; attributes may be changed at any time.

    ``source`` is what ``[gps] source`` is to be; ``shift`` is added to the time that is told,
    ``away`` to the latitude.
    """

    def __init__(self) -> None:
        self.mode: Mode = "steady"
        self.shift = timedelta(0)
        self.away = 0.0
        self._stop = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.2)
        self.source = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._accept, name="gps-server", daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            talk = threading.Thread(target=self._talk, args=(client,), daemon=True)
            talk.start()

    def _talk(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            while not self._stop.is_set():
                if self.mode == "steady":
                    client.sendall(self._epoch())
                elif self.mode == "garbage":
                    client.sendall(os.urandom(200))
                self._stop.wait(1.0 - time.time() % 1.0)  # on the whole second, as receivers do

    def _epoch(self) -> bytes:
        now = datetime.now(UTC) + self.shift
        lat = _LAT + self.away + north(time.monotonic() - self._began)
        clock, date = now.strftime("%H%M%S.%f")[:9], now.strftime("%d%m%y")
        place = f"{_angle(lat, 2)},N,{_angle(-_LON, 3)},W"
        bodies = (
            f"GPRMC,{clock},A,{place},21.6,0.0,{date},,,A",
            f"GPGGA,{clock},{place},1,09,0.9,400.0,M,-28.0,M,,",
        )
        return "".join(f"${body}*{checksum(body)}\r\n" for body in bodies).encode("ascii")

    def stop(self) -> None:
        """End the server and its connections."""
        self._stop.set()
        self._server.close()
        self._threads[0].join(2)


def _angle(degrees: float, digits: int) -> str:
    """Degrees → NMEA's ``ddmm.mmmmm``."""
    whole = int(degrees)
    return f"{whole:0{digits}d}{(degrees - whole) * 60:08.5f}"
