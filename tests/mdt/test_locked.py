"""The sign-on page of a car whose lists are locked: what it tells, and how a sign-on opens it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from alprd import crypto
from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.locks import LockBook
from alprd.roster import RosterBook
from alprd.unlock import ADVICE, CLEAR, Locker
from mdt.conftest import SignOn
from mdt.world import PASSWORD, Car, person, roster

SECRET = b"c" * 32


def locked_car(car: Car, keys: Path, book: RosterBook) -> Locker:
    """Keys that somebody has used, after a start away from the dock."""
    keys.mkdir(mode=0o700)
    crypto.save_private(crypto.generate_key(), keys / CLEAR)
    used = Locker.load(keys)
    used.release("contact", SECRET)
    used.keep(person("one"), PASSWORD)
    again = Locker.load(keys)
    again.on_open = lambda: book.load(roster(person("one"), person("two")))
    return again


@pytest.mark.policy("R-460.6-0", "R-460.5-b4", "R-CJIS-3")
def test_a_sign_on_opens_a_locked_car(car: Car, sign_on: SignOn, tmp_path: Path) -> None:
    book = RosterBook()
    locker = locked_car(car, tmp_path / "keys", book)
    context = dataclasses.replace(
        car.context,
        roster_book=book,
        locker=locker,
        locks=LockBook(car.store, lambda: (datetime.now(UTC), True)),
    )
    server = serve_in_thread(create_app(context), "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.port}"
    headers = {"Accept": "application/json"}
    try:
        page = httpx.get(f"{base}/sign-on", headers={"Accept": "text/html"}, trust_env=False)
        assert ADVICE in page.text
        with httpx.Client(base_url=base, headers=headers, trust_env=False) as deputy:
            for who, password in (("dep.two", PASSWORD), ("dep.one", "wrong"), ("x", "y")):
                refused = sign_on(who, by=deputy, password=password)
                assert (refused.status_code, refused.json()["error"]) == (403, "car_locked")
                assert locker.locked
            assert "dep.one" in (car.store.get_meta("failed-sign-ons") or "")
            assert sign_on("dep.one", by=deputy).status_code == 200
            assert not locker.alarm
            # From now on the roster decides, and who signs on can open the car next time.
            assert not locker.knows("dep.two")
            assert sign_on("dep.two", by=deputy).status_code == 200
            assert locker.knows("dep.two")
        page = httpx.get(f"{base}/sign-on", headers={"Accept": "text/html"}, trust_env=False)
        assert ADVICE not in page.text
    finally:
        server.stop()


@pytest.mark.policy("R-CJIS-3")
def test_guessing_at_a_locked_car_locks_the_name(car: Car, sign_on: SignOn, tmp_path: Path) -> None:
    locker = locked_car(car, tmp_path / "keys", RosterBook())
    context = dataclasses.replace(
        car.context,
        roster_book=RosterBook(),
        locker=locker,
        locks=LockBook(car.store, lambda: (datetime.now(UTC), True)),
    )
    server = serve_in_thread(create_app(context), "127.0.0.1", 0)
    try:
        base = f"http://127.0.0.1:{server.port}"
        with httpx.Client(
            base_url=base, headers={"Accept": "application/json"}, trust_env=False
        ) as thief:
            told = [
                sign_on("dep.one", by=thief, password=f"guess {number}").json()["error"]
                for number in range(5)
            ]
            assert told == ["car_locked"] * 4 + ["locked"]
            assert sign_on("dep.one", by=thief).json()["error"] == "locked"  # the right one, too
        assert locker.locked
    finally:
        server.stop()
