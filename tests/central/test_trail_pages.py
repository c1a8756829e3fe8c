"""Pages of the trail: whole, in order, and of a cost that does not grow with it; both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres import Postgres
from sqlalchemy import event, insert

from alprd.central.storage import db
from alprd.central.storage.engine import Database
from alprd.central.trail import trailpage
from alprd.errors import InputError

START = datetime(2026, 1, 1, 16, tzinfo=UTC)
MANY = 3_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def trail(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Central's events and three cars', many of them of one and the same instant."""
    place: Path | str
    if request.param == "sqlite":
        place = tmp_path_factory.mktemp("trail") / "some.db"
    else:
        running: Postgres = request.getfixturevalue("postgresql")
        place = running.database()
    made = Database(place, db.main, create=True)
    rng = random.Random(7)

    def instant(number: int) -> datetime:
        return START + timedelta(seconds=number // 700 * 60 + rng.choice((0, 0, 1)))

    with made.write() as tx:
        tx.execute(
            insert(db.audit),
            [
                {"seq": n, "at": instant(n), "event": "search.done", "actor": "ida",
                 "digest": "0", "document": f'{{"n": {n}, "who": "{n % 1000}"}}'}
                for n in range(1, MANY + 1)
            ],
        )  # fmt: skip
        tx.execute(
            insert(db.car_events),
            [
                {"enrolment": f"{car}f", "seq": n, "vehicle": f"car-{car}", "digest": "0",
                 "document": f'{{"car": {car}, "n": {n}}}', "at": instant(n)}
                for car in range(3)
                for n in range(1, 400)
            ],
        )  # fmt: skip
    yield made
    made.close()


def look(
    made: Database, word: str, *, most: int = 100, cars: bool = True, since: datetime | None = None
) -> Iterator[trailpage.Page]:
    after: trailpage.Key | None = None
    while True:
        with made.read() as tx:
            found = trailpage.page(
                tx, lambda text: word in text, after=after, most=most, since=since, until=None,
                cars=cars,
            )  # fmt: skip
        yield found
        if found.after is None:
            return
        after = trailpage.key_of(found.after.text())  # as a page's address gives it back
        assert after == found.after


@pytest.mark.policy("R-AT-1")
@pytest.mark.parametrize("most", [1_000, 50, 7])
def test_all_pages_together_are_the_trail_once_and_in_order(trail: Database, most: int) -> None:
    keys = [row.key for page in look(trail, "", most=most) for row in page.rows]
    assert keys == sorted(set(keys), reverse=True)
    assert len(keys) == MANY + 3 * 399
    central = [row for page in look(trail, "", most=500, cars=False) for row in page.rows]
    assert len(central) == MANY and not any(row.vehicle for row in central)
    assert [row.document for row in central] == [
        row.document for page in look(trail, '"who"', most=most) for row in page.rows
    ]


def test_a_page_reads_no_more_than_it_needs(
    trail: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a common filter, nor of one that fits nothing."""
    rows = 0

    def count(*args: object) -> None:
        nonlocal rows
        rows += 500  # a statement gives one chunk at most

    event.listen(trail.engine, "after_cursor_execute", count)
    try:
        first = next(look(trail, "", most=50))
        assert len(first.rows) == 50 and first.looked_back_to is None
        assert rows <= 2_000
        monkeypatch.setattr(trailpage, "LOOK", 600)
        rows = 0
        nothing = next(look(trail, "nobody"))
        assert not nothing.rows and nothing.looked_back_to is not None and nothing.after
        assert rows <= 3_000
    finally:
        event.remove(trail.engine, "after_cursor_execute", count)
    pages = list(look(trail, '"who": "7"'))  # three events of three thousand, page after page
    assert len(pages) >= 6
    assert sum(len(page.rows) for page in pages) == 3


def test_a_window_is_kept(trail: Database) -> None:
    since = START + timedelta(seconds=120)
    rows = [row for page in look(trail, "", since=since) for row in page.rows]
    assert rows and min(row.key.at for row in rows) >= since


@pytest.mark.parametrize("text", ["x", "2026-01-01T00:00:00Z~~", "2026-99-01T00:00:00Z~~1", "~~1"])
def test_a_place_that_no_page_gave_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="go on from"):
        trailpage.key_of(text)
