"""Forms for what is over: reviews, a week's report, a month's sample, at a central of then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from central_world import ZONE, Server
from trail_world import OTHER, WORDS, Forms, begun, ids, sends

from alprd.central.grounds import legalbasis
from alprd.central.grounds.searchform import Request as Search
from alprd.central.hotlists import additional
from alprd.central.hotlists.entry import Exigency
from alprd.central.hotlists.entry import Request as EntryRequest
from alprd.central.searches import search
from alprd.central.staff import people
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.wire import Person

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
NOW = datetime.now(UTC)
FIRST = NOW.astimezone(ZONE).replace(day=1, hour=12).astimezone(UTC)
THEN = min(FIRST - timedelta(days=2), NOW - timedelta(days=9))
"""In last month, and in a week that is over; exigent circumstances of then are over as well."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A central that begins its service a month after somebody searched and pleaded exigency."""
    home = tmp_path_factory.mktemp("past") / "home"
    begun(home, THEN, ivy="investigator", sue="admin_supervisor")
    with Central(home, lambda: THEN) as central:
        happened(central, THEN)
    made = Server(home)
    made.start()
    yield made
    assert made.stop() == 0


def happened(central: Central, when: datetime) -> None:
    """A search, and exigencies of a search and of an entry that nobody has reviewed."""
    ivy, sue = (person(central, who) for who in ("ivy", "sue"))
    search.run(
        central,
        ivy,
        Search("26001234", "burglary", WORDS, OTHER, when - timedelta(hours=1), when, "FRM9001"),
    )
    asked = legalbasis.ask_exigency(
        central, ivy, case="26001234", plate="FRM9001", facts=WORDS, at=when
    )
    legalbasis.decide(central, sue, asked.id, found=True, reason=WORDS)
    entry = additional.ask(
        central,
        ivy,
        EntryRequest(
            plate="FRM9001", state="MN", kind="monitoring", purpose="suspect_interdiction",
            case="26001234", offence="burglary", relation=WORDS, starts=when,
            ends=when + timedelta(hours=20),
            exigency=Exigency(facts=OTHER, at=when, approver="sue"),
        ),
    )  # fmt: skip
    additional.approve(central, sue, entry.id, WORDS)


def person(central: Central, who: str) -> Person:
    with central.database.read() as tx:
        found = people.find(tx, who)
    assert found is not None
    return found


@sends(
    {
        "/bases/{basis}": (Event.EXIGENCY_REVIEWED,),
        "/additional/{entry}": (Event.ENTRY_REVIEWED,),
        "/reports/{week}": (Event.REPORT_SIGNED,),
        "/reasons/{seq}": (Event.REASON_JUDGED,),
    }
)
def test_forms_of_what_is_over(forms: Forms) -> None:
    [basis] = ids(forms.page("dana", "/bases"), "/bases")
    forms.send("dana", "/bases/{basis}", Event.EXIGENCY_REVIEWED, url=f"/bases/{basis}",
               act="review", reason=WORDS)  # fmt: skip
    [entry, *_] = ids(forms.page("dana", "/additional"), "/additional")
    forms.send("dana", "/additional/{entry}", Event.ENTRY_REVIEWED, url=f"/additional/{entry}",
               act="review", reason=WORDS)  # fmt: skip
    [week, *_] = ids(forms.page("aud", "/reports"), "/reports")
    forms.send("aud", "/reports/{week}", Event.REPORT_SIGNED, url=f"/reports/{week}",
               note="Every finding was looked at.")  # fmt: skip
    month = f"{THEN.astimezone(ZONE):%Y-%m}"
    [drawn] = ids(forms.page("aud", f"/reasons?month={month}"), "/reasons")
    forms.send("aud", "/reasons/{seq}", Event.REASON_JUDGED, url=f"/reasons/{drawn}",
               finding="good", note="Clear and specific.", month=month)  # fmt: skip
