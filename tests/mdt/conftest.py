"""A car with its page served on loopback, and a program that signs on to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alprd.alerts import AlertBoard
from alprd.mdt.app import MdtContext, create_app, serve_in_thread
from alprd.mdt.status import CameraState, CarStatus, ListState
from alprd.roster import RosterBook
from alprd.store import Store
from mdt.world import PASSWORD, Car, Collecting, person, roster


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    """A car whose page is not served yet."""
    store = Store(tmp_path / "queue.db", now=lambda: (datetime.now(UTC), True), device="car-1")
    board = AlertBoard(store)
    book = RosterBook()
    book.load(
        roster(
            person("one"),
            person("two"),
            person("limited", clearances=("other_lpdf",)),
            person("untrained", training_expires=datetime.now(UTC) - timedelta(days=1)),
        )
    )
    collecting = Collecting()
    status = CarStatus(
        cameras=(CameraState("front", True, 0.1), CameraState("rear", True, 0.1)),
        gps_fix=True,
        gps_age_s=0.4,
        clock_trusted=True,
        lists=(ListState("state", "MN DPS hot file", 3.0),),
        permit_expires=datetime.now(UTC) + timedelta(hours=19, minutes=12),
        queued=12,
        dock="away",
        session_open=True,
        plates_read=348,
    )
    made = Car(board, book, store, collecting, context=None, status=status)  # type: ignore[arg-type]
    made.context = MdtContext(
        board=board,
        roster_book=book,
        trail=store,
        status=lambda: made.status,
        collection=collecting,
        clock=lambda: (datetime.now(UTC), True),
    )
    yield made
    if made.server is not None:
        made.server.stop()
    store.close()


@pytest.fixture
def served(car: Car) -> Car:
    """The car with its page on a free port of loopback."""
    car.server = serve_in_thread(create_app(car.context), "127.0.0.1", 0)
    return car


@pytest.fixture
def client(served: Car) -> Iterator[httpx.Client]:
    """A program that has not signed on."""
    with httpx.Client(
        base_url=served.address, headers={"Accept": "application/json"}, timeout=10, trust_env=False
    ) as made:
        yield made


SignOn = Callable[..., httpx.Response]


@pytest.fixture
def sign_on(client: httpx.Client) -> SignOn:
    """Sign ``client`` on; keeps its CSRF token as a header."""

    def do(who: str = "dep.one", *, by: httpx.Client | None = None, **form: str) -> httpx.Response:
        by = by or client
        by.headers.pop("X-CSRF-Token", None)
        token = by.get("/sign-on").json()["csrf"]
        values = {
            "person": who,
            "password": PASSWORD,
            "purpose": "stolen_vehicles",
            "unit": "4712",
            "acknowledged": "on",
            "csrf": token,
        }
        values = {k: v for k, v in (values | form).items() if v != "-"}
        answer = by.post("/sign-on", data=values)
        if answer.status_code == 200:
            by.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return answer

    return do
