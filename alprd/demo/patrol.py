"""The demo's course: prepare, dock, patrol, dock again, count.

Central and the daemon run as their own processes on loopback, as a user would run them. The
drive plays in real time: its cameras from files, its GPS through a pseudo-terminal. What is
counted comes from three sides that do not know of each other: the drive's truth, the car's
ledger, and central's store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from alprd.demo.chromium import find_chromium
from alprd.demo.gpsfeed import GpsFeed
from alprd.demo.home import (
    DEPUTY,
    INVESTIGATOR,
    DemoError,
    Home,
    central,
    central_json,
    child_environment,
    command,
    enrol_car,
    make_home,
    prepare_central,
    program,
    write_config,
)
from alprd.demo.page import PageClient
from alprd.demo.score import Scorecard, ShownAlert, StoredRead, Truth, load_truth, score
from alprd.demo.screen import Screen
from alprd.errors import InputError

LEAD_S: Final = 9.0
"""The parked car before the drive: the clock needs five agreeing fixes over four seconds."""
TAIL_S: Final = 3.0
"""After the last frame: passes end when their plate has been out of view for a moment."""
START_S: Final = 60.0
DOCK_S: Final = 90.0


class _Child:
    """One of the product's programs, started and stopped by the demo; its log in a file."""

    def __init__(self, name: str, arguments: list[str], log: Path, **options: Any) -> None:
        self.name = name
        self.log = log
        self._out = log.open("ab")
        self._process = subprocess.Popen(
            arguments,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C reaches the demo alone, which stops them in order
            **options,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def check(self) -> None:
        """Raise if it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise DemoError(f"{self.name} ended with {code}:\n{tail}")

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise DemoError(f"{self.name} did not stop within {timeout_s:.0f} s") from None
        finally:
            self._out.close()


class _Witness:
    """Reads what the daemon tells about each committed read: its id and sureness."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.sure: dict[str, bool] = {}
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)

    def start(self) -> None:
        os.close(self.write_end)  # the daemon holds the only one now
        self._thread.start()

    def _listen(self) -> None:
        with os.fdopen(self.read_end) as lines:
            for line in lines:
                told = json.loads(line)
                self.sure[told["id"]] = bool(told["sure"])

    def finish(self) -> None:
        """Wait for the last line, after the daemon has ended."""
        self._thread.join(5)


def _await_file(path: Path, child: _Child, seconds: float) -> dict[str, Any]:
    """The JSON that a program writes once it serves."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        child.check()
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            found = json.loads(path.read_text())
            if isinstance(found, dict):
                return found
        time.sleep(0.1)
    raise DemoError(f"{child.name} did not start within {seconds:.0f} s; see {child.log}")


class Patrol:
    """One demo, from an empty home to the scorecard.

    Args:
        drive: the drive's folder, and ``truth``, what it says.
        home: where everything lives meanwhile.
        console: where people watch.
        open_browser: show both pages in the user's browser.
        keep: leave the daemon running when the counting is done, so that its page stays up.
        listen: let a real browser show the page too, and measure when its sounds begin.
    """

    def __init__(
        self,
        drive: Path,
        truth: Truth,
        home: Home,
        console: Console,
        *,
        open_browser: bool,
        keep: bool,
        listen: bool = True,
    ) -> None:
        self._listen = listen
        self._drive = drive
        self._truth = truth
        self.home = home
        self._console = console
        self._open_browser = open_browser
        self._keep = keep
        self._stack = contextlib.ExitStack()
        self._started = time.monotonic()
        self._zero_utc: datetime | None = None
        self.central_page = ""
        self.car_page = ""
        self.screen: Screen | None = None
        self.shown: list[ShownAlert] = []

    def run(self) -> Scorecard:
        """The whole course; children are left running for :meth:`close`."""
        truth, home = self._truth, self.home
        with self._step("An agency, its people, a hotlist, protected plates"):
            prepare_central(home, self._drive, truth)
        with self._step("Central storage starts"):
            store = self._spawn(
                "central",
                program(
                    "alprd.central.cli",
                    *("serve", "--home", str(home.central)),
                    *("--car-port", "0", "--page-port", "0"),
                ),
            )
            told = _await_file(home.central / "run.json", store, START_S)
            self.central_page = told["page_url"]
        with self._step("The car is enrolled with a one-time code"):
            enrol_car(home, told["car_url"])
            central(home, "publish")
        feed = GpsFeed(self._drive / truth.gps, truth.start_utc)
        self._stack.callback(feed.stop)
        write_config(home, self._drive, truth, feed.device)
        witness = _Witness()
        with self._step("The car's daemon starts, docked, and fetches its lists"):
            daemon = self._spawn(
                "daemon",
                program(
                    "alprd.cli",
                    *("run", "--config", str(home.config)),
                    *("--witness-fd", str(witness.write_end)),
                ),
                pass_fds=(witness.write_end,),
            )
            witness.start()
            told = _await_file(home.page, daemon, START_S)
            self.car_page = f"http://{told['host']}:{told['port']}/"
        page = PageClient(self.car_page)
        self._stack.callback(page.close)
        with self._step("A deputy signs on; the car leaves the dock"):
            page.sign_on(DEPUTY, home.deputy_password, within_s=START_S)
            page.listen()
        self.screen = self._open_screen()
        home.carrier.write_text("0\n")
        self._show_addresses()
        zero_ns, self._zero_utc = feed.start(LEAD_S)
        home.gate.write_text(str(zero_ns))
        self._watch(zero_ns, page, daemon, store)
        self.shown = _with_sounds(page.alerts(), self.screen)
        with self._step("End of shift: the deputy signs off, the car docks"):
            page.sign_off()
            home.carrier.write_text("1\n")
            left = self._await_empty(daemon)
        if not self._keep:
            with self._step("The car's daemon stops"):
                code = daemon.stop()
                witness.finish()
                if code != 0:
                    raise DemoError(f"the daemon ended with {code}; see {daemon.log}")
        with self._step("Counting: the car's ledger, central's store, the truth"):
            car = json.loads(command("alprd.cli", "status", "--config", str(home.config), "--json"))
            held = central_json(home, "status")
            reads = self._search()
        return score(
            truth,
            zero_utc=self._zero_utc,
            reads=reads,
            alerts=self.shown,
            sure=witness.sure,
            committed_ids=witness.sure,
            committed=car["committed"],
            received=held["received_total"],
            left_in_car=max(left, car["pending"]),
            wall_s=time.monotonic() - self._started,
        )

    def _open_screen(self) -> Screen | None:
        """A real browser at the in-car page, where there is one."""
        chromium = find_chromium() if self._listen else None
        if chromium is None:
            return None
        try:
            with self._step("A browser opens the in-car page, to hear its alerts"):
                screen = Screen(chromium, self.home.root / "browser", self.car_page)
                self._stack.callback(screen.close)
                screen.sign_on(DEPUTY, self.home.deputy_password)
        except (DemoError, OSError) as error:  # the patrol itself does not hang on it
            self._console.print(f"[yellow]![/] No sound is measured: {error}")
            return None
        return screen

    def close(self) -> None:
        """Stop whatever still runs."""
        self._stack.close()

    def _spawn(self, name: str, arguments: list[str], **options: Any) -> _Child:
        child = _Child(name, arguments, self.home.root / f"{name}.log", **options)
        self._stack.callback(_stop_quietly, child)
        return child

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        begun = time.monotonic()
        with self._console.status(title + " …"):
            yield
        self._console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - begun:.1f} s[/]")

    def _show_addresses(self) -> None:
        home = self.home
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("In-car page", self.car_page)
        table.add_row("", f"{DEPUTY}  {home.deputy_password}")
        table.add_row("Central", self.central_page)
        table.add_row("", f"{INVESTIGATOR}  {home.staff_password}")
        self._console.print(table)
        self._console.print("[dim]Every plate, person and place in this demo is invented.[/]")
        if self._open_browser:
            for address in (self.car_page, self.central_page):
                webbrowser.open(address)

    def _watch(self, zero_ns: int, page: PageClient, *children: _Child) -> None:
        """Wait for the drive to end, showing what happens."""
        length = LEAD_S + self._truth.duration_s + TAIL_S
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
        )
        told: set[str] = set()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("parked", total=length)
            while (at := time.monotonic() - zero_ns / 1e9) < self._truth.duration_s + TAIL_S:
                for child in children:
                    child.check()
                read = page.status().get("plates_read", 0)
                words = "parked, GPS settles" if at < 0 else f"on patrol, {read} plates read"
                progress.update(task, completed=at + LEAD_S, description=words)
                for alert in page.alerts():
                    if alert.id not in told:
                        told.add(alert.id)
                        progress.console.print(
                            f"[bold red]ALERT[/] {alert.plate}  "
                            f"[dim]{alert.delay_ms:.0f} ms after the frame; UNVERIFIED[/]"
                        )
                time.sleep(0.2)
        self._console.print(
            f"[green]✓[/] The drive: {page.status().get('plates_read', 0)} plates read, "
            f"{len(told)} alerts"
        )

    def _await_empty(self, daemon: _Child) -> int:
        """Wait until the docked car holds no read; how many are left if it does not get there."""
        end = time.monotonic() + DOCK_S
        while True:
            daemon.check()
            car = json.loads(
                command("alprd.cli", "status", "--config", str(self.home.config), "--json")
            )
            if not car["pending"] and not car["sessions_unsent"]:
                return 0
            if time.monotonic() > end:
                return int(car["pending"])
            time.sleep(0.5)

    def _search(self) -> list[StoredRead]:
        """A documented search over the drive, as an investigator makes it (R-13.824-7-2)."""
        zero = self._zero_utc
        if zero is None:
            raise DemoError("the drive has not begun")
        window = (
            zero - timedelta(minutes=5),
            zero + timedelta(seconds=self._truth.duration_s + 60),
        )
        found = central(
            self.home,
            *("search", "--as", INVESTIGATOR, "--password-stdin", "--case", "26001234"),
            *("--offence", "motor vehicle theft"),
            *("--near", "46.82,-95.87", "--radius", "10000", "--unplaced"),
            *(
                "--facts",
                "Demo drive: the scorecard compares the reads of this patrol with its truth.",
            ),
            *("--suspicion", "The invented stolen vehicle of the demo passed this patrol car."),
            *("--from", window[0].isoformat(), "--to", window[1].isoformat(), "--json"),
            secret=self.home.staff_password + "\n",
        )
        rows = [json.loads(line) for line in found.splitlines() if line.strip()]
        return [
            StoredRead(
                row["id"], row["plate"], row["stacked"], datetime.fromisoformat(row["instant"])
            )
            for row in rows
        ]


def _with_sounds(alerts: list[ShownAlert], screen: Screen | None) -> list[ShownAlert]:
    """The alerts with the instants of their sounds; a correction is not its card's first sound."""
    if screen is None:
        return alerts
    sounds = screen.sounds()
    first: set[str] = set()
    told: list[ShownAlert] = []
    for alert in alerts:
        sound = None if alert.id in first else sounds.get(alert.id)
        first.add(alert.id)
        told.append(replace(alert, sound_mono_ns=sound.heard_ns) if sound else alert)
    return told


def _stop_quietly(child: _Child) -> None:
    with contextlib.suppress(DemoError):
        child.stop()


def print_scorecard(card: Scorecard, console: Console) -> None:
    """The scorecard as a table."""
    table = Table(title="Scorecard", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in card.as_json().items():
        table.add_row(name.replace("_", " "), "-" if value is None else str(value))
    console.print(table)
    console.print(
        "[bold green]Every promise held.[/]"
        if card.held
        else f"[bold red]Did not hold:[/] {'; '.join(card.broken())}"
    )


def run_demo(
    drive: Path,
    *,
    json_file: Path | None,
    keep: bool,
    open_browser: bool,
    home_dir: Path | None = None,
    listen: bool = True,
) -> int:
    """Play a drive through the whole system; the exit code.

    Args:
        json_file: where the scorecard is written.
        keep: leave both pages up until Ctrl-C.
        home_dir: keep everything there instead of in a folder that is destroyed at the end.
        listen: measure sounds in a Chromium, where there is one.
    """
    console = Console()
    truth = load_truth(drive)
    if json_file is not None and not json_file.parent.is_dir():
        raise InputError(
            f"--json {json_file}: there is no folder {json_file.parent}", remedy="make it first"
        )
    # A demo that is told to end must take its programs and its throw-away keys with it.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    root = home_dir or Path(tempfile.mkdtemp(prefix="alprd-demo-"))
    patrol: Patrol | None = None
    try:
        home = make_home(root)
        patrol = Patrol(
            drive, truth, home, console, open_browser=open_browser, keep=keep, listen=listen
        )
        card = patrol.run()
        print_scorecard(card, console)
        if json_file is not None:
            json_file.write_text(json.dumps(card.as_json(), indent=2) + "\n")
        if keep:
            console.print(
                f"Both pages stay up until Ctrl-C: {patrol.car_page} and {patrol.central_page}"
            )
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
        return 0 if card.held else 1
    finally:
        if patrol is not None:
            patrol.close()
        if home_dir is None:
            shutil.rmtree(root, ignore_errors=True)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
