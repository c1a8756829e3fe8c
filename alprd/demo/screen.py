"""The in-car page in a real browser, and when its sounds begin.

A script that is put into the page before its own notes every oscillator that starts: the alert,
the instant at which it was asked for and the instant at which the sound leaves the browser
(``AudioContext.getOutputTimestamp``; the way through loudspeaker and air is not in it). Chromium
and this program read the same monotonic clock of the machine; how the page's own zero lies on it
is measured by asking the page for its time, to within half of the quickest answer.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alprd.demo.chromium import Chromium
from alprd.demo.home import DemoError

_WATCH: Final = """
window.__sounds = [];
const began = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (when = 0) {
  const context = this.context, asked = performance.now();
  const shown = context.getOutputTimestamp();
  const ahead = Math.max(when, context.currentTime) - shown.contextTime;
  const late = (context.baseLatency || 0) + (context.outputLatency || 0);
  const heard = shown.performanceTime > 0
    ? shown.performanceTime + 1000 * ahead
    : asked + 1000 * (Math.max(0, when - context.currentTime) + late);
  const { soundOf, lastSound } = document.body.dataset;
  window.__sounds.push({ of: soundOf ?? "", kind: lastSound ?? "", asked, heard,
    running: context.state === "running" });
  return began.call(this, when);
};
"""
_PROBES: Final = 25


@dataclass(frozen=True, slots=True)
class Sound:
    """The first tone of one alert; instants of ``time.monotonic_ns``."""

    alert: str
    asked_ns: int
    """The page asked for it."""
    heard_ns: int
    """It left the browser."""


class Screen:
    """A browser that is signed on to the in-car page as a further screen of the deputy.

    Args:
        chromium: path of the browser, and ``folder`` for its profile.
        url: base address of the page.
    """

    def __init__(self, chromium: str, folder: Path, url: str) -> None:
        self._url = url.rstrip("/")
        self.browser = Chromium(chromium, folder)
        self._best_ns: tuple[int, int] | None = None

    def sign_on(self, person: str, password: str, *, within_s: float = 60) -> None:
        """Fill in the form as the deputy would, and wait until the page listens.

        Raises:
            DemoError: the sign-on was refused, or the sound is blocked.
        """
        self.browser.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        self.browser.call("Page.navigate", url=f"{self._url}/sign-on")
        self._until("document.querySelector('form [name=acknowledged]') !== null", within_s)
        typed = {"person": person, "password": password, "unit": "501"}
        self.browser.evaluate(
            f"for (const [name, value] of Object.entries({json.dumps(typed)}))"
            " document.querySelector(`form [name=${name}]`).value = value;"
            "document.querySelector('[name=purpose]').value = 'stolen_vehicles';"
            "document.querySelector('[name=acknowledged]').checked = true;"
            "document.querySelector('form .primary').click()"
        )
        self._until("location.pathname === '/' && document.querySelector('.chip') !== null", 60)
        self._until("document.getElementById('muted').hidden", 30)
        self.set_clock()

    def set_clock(self) -> None:
        """Measure where the page's zero lies on this machine's monotonic clock."""
        for _ in range(_PROBES):
            before = time.monotonic_ns()
            page_ms = float(self.browser.evaluate("performance.now()"))
            after = time.monotonic_ns()
            error = (after - before) // 2
            if self._best_ns is None or error < self._best_ns[1]:
                self._best_ns = (before + error - round(page_ms * 1e6), error)

    @property
    def clock_error_ms(self) -> float:
        """By how much instants of this screen may be wrong."""
        return self._best_ns[1] / 1e6 if self._best_ns else float("inf")

    def sounds(self) -> dict[str, Sound]:
        """The first sound of every alert that sounded, by alert.

        Raises:
            DemoError: the page has gone, or sounds were asked for that nobody can have heard.
        """
        self.set_clock()
        zero = self._best_ns[0] if self._best_ns else 0
        found: dict[str, Sound] = {}
        for told in self.browser.evaluate("window.__sounds"):
            if not told["running"]:
                raise DemoError("the browser held the sound back")
            asked, heard = (zero + round(told[key] * 1e6) for key in ("asked", "heard"))
            if told["of"]:
                found.setdefault(told["of"], Sound(told["of"], asked, heard))
        return found

    def close(self) -> None:
        """End the browser."""
        self.browser.close()

    def _until(self, condition: str, within_s: float) -> None:
        end = time.monotonic() + within_s
        while not self.browser.evaluate(condition):
            if time.monotonic() > end:
                said = self.browser.evaluate("document.body.innerText.slice(0, 300)")
                raise DemoError(f"the page in the browser did not come so far: {said}")
            time.sleep(0.1)
