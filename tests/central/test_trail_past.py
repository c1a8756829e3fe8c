"""Forms and commands for what is over: reviews, a week's report, a month's sample."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from central_world import PASSWORD, ZONE, Server, run
from trail_world import OTHER, WORDS, Drive, Forms, begun, drives, ids, sends

from alprd.central.grounds import legalbasis
from alprd.central.grounds.searchform import Request as Search
from alprd.central.hotlists import additional
from alprd.central.hotlists.entry import Exigency
from alprd.central.hotlists.entry import Request as EntryRequest
from alprd.central.oversight import weekly
from alprd.central.searches import search
from alprd.central.staff import people
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.wire import Person

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
NOW = datetime.now(UTC)
FIRST = NOW.astimezone(ZONE).replace(day=1, hour=12).astimezone(UTC)
THEN = min(FIRST - timedelta(days=2), NOW - timedelta(days=16))
"""In last month, with two weeks after it that are over; so are exigent circumstances of then."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A central that begins its service a month after somebody searched and pleaded exigency."""
    home = tmp_path_factory.mktemp("past") / "home"
    begun(home, THEN, ivy="investigator", sue="admin_supervisor")
    with Central(home, lambda: THEN) as central:
        happened(central, THEN, "FRM9001")
        happened(central, THEN, "FRM9002")
    made = Server(home)
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def drive(forms: Forms) -> Drive:
    """Commands on the same central."""
    return Drive(forms.home)


def happened(central: Central, when: datetime, plate: str) -> None:
    """A search, and exigencies of a search and of an entry that nobody has reviewed."""
    ivy, sue = (person(central, who) for who in ("ivy", "sue"))
    search.run(
        central,
        ivy,
        Search("26001234", "burglary", WORDS, OTHER, when - timedelta(hours=1), when, plate),
    )
    asked = legalbasis.ask_exigency(
        central, ivy, case="26001234", plate=plate, facts=WORDS, at=when
    )
    legalbasis.decide(central, sue, asked.id, found=True, reason=WORDS)
    entry = additional.ask(
        central,
        ivy,
        EntryRequest(
            plate=plate, state="MN", kind="monitoring", purpose="suspect_interdiction",
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
    },
    "/bases", "/additional", "/reports", "/reasons",
)  # fmt: skip
def test_forms_of_what_is_over(forms: Forms) -> None:
    [basis, _] = ids(forms.page("dana", "/bases"), "/bases")
    forms.send("dana", "/bases/{basis}", Event.EXIGENCY_REVIEWED, url=f"/bases/{basis}",
               act="review", reason=WORDS)  # fmt: skip
    [entry, _] = ids(forms.page("dana", "/additional"), "/additional")
    forms.send("dana", "/additional/{entry}", Event.ENTRY_REVIEWED, url=f"/additional/{entry}",
               act="review", reason=WORDS)  # fmt: skip
    [week, *_] = ids(forms.page("aud", "/reports"), "/reports")
    forms.send("aud", "/reports/{week}", Event.REPORT_SIGNED, url=f"/reports/{week}",
               note="Every finding was looked at.")  # fmt: skip
    month = f"{THEN.astimezone(ZONE):%Y-%m}"
    [drawn, _] = ids(forms.page("aud", f"/reasons?month={month}"), "/reasons")
    forms.send("aud", "/reasons/{seq}", Event.REASON_JUDGED, url=f"/reasons/{drawn}",
               finding="good", note="Clear and specific.", month=month)  # fmt: skip


@drives("bases review", "additional review", "audit sign-off", "reasons judge")
def test_commands_on_what_is_over(drive: Drive) -> None:
    """Of each another one than the form had."""
    with Central(drive.home) as central, central.database.read() as tx:
        [basis, *_] = [row for row in legalbasis.every(central, tx) if not row.review]
        [entry, *_] = [row for row in additional.entries(central, tx) if not row.review]
        week = next(made.report.week for made in weekly.every(central, tx) if not made.signed_by)
    drive.act("bases review", "--id", basis.id, "--reason", WORDS, who="dana")
    drive.act("additional review", entry.id, "--text", WORDS, who="dana")
    drive.act("audit sign-off", "--week", week, "--note", "Every finding was looked at.", who="aud")
    month = f"{THEN.astimezone(ZONE):%Y-%m}"
    rows = run(drive.home, "reasons", "sample", "--month", month, "--as", "aud",
               "--password-stdin", stdin=f"{PASSWORD}\n")["searches"]  # fmt: skip
    [seq, *_] = [str(row["seq"]) for row in rows if not row["finding"]]
    drive.act("reasons judge", "--search", seq, "--finding", "good", who="aud")
