"""A Chromium that the demo starts and asks, over a pair of pipes: no port, no further package.

``--remote-debugging-pipe`` speaks the DevTools protocol as JSON texts that end in a zero byte; the
browser reads them from file descriptor 3 and answers on 4. So nobody else on the machine can reach
it, as they could over a port.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from alprd.demo.home import DemoError

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_ANSWER_S: Final = 60.0
_LAUNCH: Final = (
    "import fcntl, os, sys\n"
    "taken = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]\n"
    "[os.dup2(fd, to, inheritable=True) for fd, to in zip(taken, (3, 4))]\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)
"""Puts the pipes where the browser looks for them, then becomes the browser."""
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1024,768",
)


def find_chromium() -> str | None:
    """The path of a Chromium on this machine, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One headless browser with one page.

    Args:
        path: of the program.
        folder: for its profile, which is removed with the demo's folder; its log lies there too.
    """

    def __init__(self, path: str, folder: Path) -> None:
        to_browser, self._requests = os.pipe()
        self._answers, from_browser = os.pipe()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}"]
        if os.geteuid() == 0:  # Chromium's sandbox refuses to run for root
            flags.append("--no-sandbox")
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        with (folder / "browser.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser)),
                    *(path, *flags, "about:blank"),
                ],
                pass_fds=(to_browser, from_browser),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=plain,
                start_new_session=True,
            )
        os.close(to_browser)
        os.close(from_browser)
        self._number = 0
        self._session = ""
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, name="browser", daemon=True).start()
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            self.call("Page.enable")
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """One command of the protocol and its result; events in between are of no interest.

        Raises:
            DemoError: the browser ended, refused or kept silent.
        """
        self._number += 1
        asked: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        end = time.monotonic() + _ANSWER_S
        try:
            os.write(self._requests, json.dumps(asked).encode() + b"\0")
            while True:
                told = self._arrived.get(timeout=max(0.0, end - time.monotonic()))
                if told is None:
                    raise DemoError(f"the browser ended while it was asked for {method}")
                if told.get("id") == self._number:
                    break
        except OSError as error:
            raise DemoError(f"the browser cannot be asked for {method}") from error
        except queue.Empty:
            raise DemoError(f"the browser gave no answer to {method}") from None
        if "error" in told:
            raise DemoError(f"the browser refused {method}: {told['error'].get('message')}")
        result = told.get("result")
        return result if isinstance(result, dict) else {}

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited), as JSON."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise DemoError(f"the page failed: {answer['exceptionDetails'].get('text')}")
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser and everything it started."""
        with contextlib.suppress(OSError):
            os.close(self._requests)  # the browser ends when nobody can ask it any more
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):  # its helpers may outlive it by a moment
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    def _listen(self) -> None:
        held = b""
        with os.fdopen(self._answers, "rb", buffering=0) as answers:
            while data := answers.read(65536):
                *whole, held = (held + data).split(b"\0")
                for text in whole:
                    told = json.loads(text)
                    if "id" in told:
                        self._arrived.put(told)
        self._arrived.put(None)
