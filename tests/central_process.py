"""``alprd-central`` as its own process, with one supervisor who may give orders."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from dock_world import AGENCY, CAR, Car

from alprd.central.cli import main
from alprd.orderbook import OrderBook
from alprd.sync import DockSync
from alprd.trust import enrol

COMMAND = (sys.executable, "-m", "alprd.central.cli")
PASSWORD = "correct horse battery"
BY = ("--by", "sup", "--reason", "test")


class CentralProcess:
    """One agency served over real TLS."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None
        self.run("init", "--agency", AGENCY, "--name", "Invented County", "--adopted-by", "Nobody")
        later = (datetime.now(UTC) + timedelta(days=90)).date().isoformat()
        for person, role in (("sup", "admin_supervisor"), ("dep", "operator")):
            self.run(
                "people", "add", "--id", person, "--name", "Invented", "--role", role,
                "--password-stdin", "--training-expires", later, "--authorised-until", later,
                "--by", "test", stdin=PASSWORD + "\n",
            )  # fmt: skip

    def run(self, *arguments: str, stdin: str = "", fails: bool = False) -> Any:
        """JSON answer of a command; its error text where it is to fail."""
        done = CliRunner().invoke(main, [*arguments, "--home", str(self.home), "--json"], stdin)
        assert (done.exit_code != 0) is fails, (done.output, done.exception)
        return done.stderr if fails else json.loads(done.stdout)

    def serve(self) -> str:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--home", str(self.home),
             "--car-port", "0", "--page-port", "0", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["car_url"]
        return str(self.url)

    def stop(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            self.process.stdout.close()

    def code(self, vehicle: str = CAR, reader: str = "7") -> str:
        return str(self.run("enrol-code", "--vehicle", vehicle, "--reader", reader)["code"])

    def car(self, folder: Path) -> Car:
        """A freshly enrolled car."""
        return Car(enrol(self.url, self.code(), CAR, folder))


def book(car: Car) -> OrderBook:
    """The car's orders, as after a start."""
    return OrderBook(car.store, giver="test", now=lambda: (datetime.now(UTC), True))


def dock(car: Car, **options: Any) -> tuple[DockSync, OrderBook]:
    orders = book(car)
    return car.dock(orders=orders, **options), orders
