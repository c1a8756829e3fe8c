"""A program at the in-car page: signs on as a deputy would, and hears what the screen hears."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx

from alprd.demo.home import DemoError
from alprd.demo.score import ShownAlert


class PageClient:
    """One browser's worth of the page: cookies, sign-on form, event stream.

    Args:
        url: base address of the page, ``http://127.0.0.1:PORT``.
        patience_s: how long one answer may take. A sign-on computes a slow password verifier.
    """

    def __init__(self, url: str, *, patience_s: float = 10.0) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, timeout=patience_s, trust_env=False,
            headers={"Accept": "application/json"},
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._alerts: dict[str, ShownAlert] = {}
        self._status: dict[str, Any] = {}

    def sign_on(self, person: str, password: str, *, within_s: float = 60) -> None:
        """Sign on, again and again while the car is still fetching its roster and permit.

        Raises:
            DemoError: it was refused to the end; says why.
        """
        end = time.monotonic() + within_s
        while True:
            said = self._try(person, password)
            if said is None:
                return
            if time.monotonic() > end:
                raise DemoError(f"sign-on at the in-car page was refused: {said}")
            time.sleep(1.0)

    def _try(self, person: str, password: str) -> str | None:
        """One sign-on; None when it worked, else what the page said."""
        try:
            form = self._http.get("/sign-on").json()
            answer = self._http.post(
                "/sign-on",
                data={
                    "csrf": form["csrf"],
                    "person": person,
                    "password": password,
                    "purpose": "stolen_vehicles",
                    "unit": "501",
                    "acknowledged": "on",
                },
            )
            said = answer.json()
        except (httpx.HTTPError, json.JSONDecodeError, KeyError) as error:
            return type(error).__name__
        if answer.status_code == 200:
            self._http.headers["X-CSRF-Token"] = said["csrf"]
            return None
        return f"{said.get('error')}: {said.get('message')}"

    def listen(self) -> None:
        """Follow the event stream in a thread."""
        self._thread = threading.Thread(target=self._follow, name="page-client", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        last = ""
        while not self._stop.is_set():
            headers = {"Accept": "text/event-stream"}
            if last:
                headers["Last-Event-ID"] = last
            try:
                with self._http.stream("GET", "/events", headers=headers, timeout=30) as stream:
                    kind, data = "message", ""
                    for line in stream.iter_lines():
                        if self._stop.is_set():
                            return
                        if line.startswith("event:"):
                            kind = line[6:].strip()
                        elif line.startswith("data:"):
                            data += line[5:].strip()
                        elif line.startswith("id:"):
                            last = line[3:].strip()
                        elif not line and data:
                            self._take(kind, json.loads(data))
                            kind, data = "message", ""
            except (httpx.HTTPError, json.JSONDecodeError):
                self._stop.wait(0.5)
            else:
                self._stop.wait(0.5)

    def _take(self, kind: str, event: dict[str, Any]) -> None:
        now = time.monotonic_ns()
        with self._lock:
            if kind == "status":
                self._status = event
            elif kind == "alert" and event.get("plate"):
                # One entry a card and text: a corrected text is another alert that was shown.
                key = f"{event['id']} {event['plate']}"
                delay = (now - int(event["captured_mono_ns"])) / 1e6
                told = ShownAlert(
                    event["id"],
                    event["plate"],
                    event.get("listed", ""),
                    delay,
                    int(event["captured_mono_ns"]),
                    int(event["decided_mono_ns"]),
                )
                self._alerts.setdefault(key, told)

    def alerts(self) -> list[ShownAlert]:
        """Every alert the page was shown so far, at its first showing."""
        with self._lock:
            return list(self._alerts.values())

    def status(self) -> dict[str, Any]:
        """The newest status event."""
        with self._lock:
            return dict(self._status)

    def sign_off(self, within_s: float = 30.0) -> None:
        """Sign off, which ends collecting.

        With alerts left the car's page refuses it (409) while the car moves: a deputy waits until
        it stands, and so does this.
        """
        until = time.monotonic() + within_s
        while True:
            answer = self._http.post("/sign-off", data={"note": "end of the demo"})
            if answer.status_code in (200, 204, 303):
                return
            if answer.status_code != 409 or time.monotonic() > until:
                raise DemoError(f"sign-off was answered {answer.status_code}: {answer.text[:200]}")
            time.sleep(0.5)

    def close(self) -> None:
        """End the stream and the connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        self._http.close()
