"""Forms of lists, entries, links, holds and the schedule, sent over HTTP: each finds its event."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_world import ZONE, Car, Server, make_read
from pages_world import sign_on, staff
from sqlalchemy import func, select

from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central

WORDS = "The van passed the reader on its way from the burgled store."
OTHER = "A witness wrote the number of the van down near the school."
pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]


def local(minutes: float = 0) -> str:
    return (datetime.now(ZONE) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M")


@dataclass
class Forms:
    """Sends forms and compares what the trail got."""

    home: Path
    client: httpx.Client
    who: str = ""
    token: str = ""

    def last(self) -> int:
        with Central(self.home) as central, central.database.read() as tx:
            return tx.scalar(select(func.max(db.audit.c.seq))) or 0

    def since(self, seq: int) -> list[Any]:
        with Central(self.home) as central, central.database.read() as tx:
            return [event for event in audit.events(tx) if event.seq > seq]

    def sign(self, who: str) -> None:
        if self.who != who:
            self.token, self.who = sign_on(self.client, who), who

    def send(
        self, who: str, entry: str, wanted: Event, files: Any = None, to: str = "", **data: Any
    ) -> httpx.Response:
        """One form; ``entry`` is the inventory's path, ``to`` the true one."""
        self.sign(who)
        before = self.last()
        answer = self.client.post(to or entry, data={"csrf": self.token, **data}, files=files)
        assert answer.status_code in (200, 303), (entry, data, _said(answer))
        end, found = time.monotonic() + 30, []
        while not found and time.monotonic() < end:  # long work goes on behind its page
            found = [event for event in self.since(before) if event.event == wanted.value]
        assert found, (entry, wanted, [event.event for event in self.since(before)], _said(answer))
        assert (found[-1].actor, found[-1].address) == (who, "127.0.0.1"), entry
        return answer


def _said(answer: httpx.Response) -> str:
    found = re.findall(r"Not done[^<]*|Not allowed[^<]*", answer.text)
    return f"{answer.status_code} {found}"


def ids(page: str, path: str) -> list[str]:
    """The ids that a page links or sends to below a path."""
    return re.findall(rf'"{path}/([^"/?]+)"', page)


@pytest.fixture(scope="module")
def reads(server: Server, car: Car) -> list[Any]:
    """A staffed agency with reads of the last minutes."""
    staff(server)
    made = [make_read(f"FRM100{number}") for number in range(5)]
    car.send_reads(*made)
    return made


@pytest.fixture(scope="module")
def forms(server: Server, reads: list[Any]) -> Iterator[Forms]:
    """One browser for all of them, which remembers what it sent."""
    with httpx.Client(base_url=server.page_url, timeout=60) as client:
        yield Forms(server.home, client)


def test_forms_of_lists(forms: Forms) -> None:
    head = "plate,state,type,category,source,entered,text\n"
    given = {"list_id": "lpdf", "source": "LPDF", "supplied": local(-60)}
    good = {"file": ("x.csv", f"{head}NRT042,MN,,stolen,LPDF,,\n".encode())}
    odd = {"file": ("x.csv", f"{head}KZM905,MN,,Fire Watch,LPDF,,\n".encode())}
    forms.send("dana", "/lists/upload", Event.LIST_IMPORTED, files=good, **given)
    for decision, event in (("refuse", Event.LIST_REFUSED), ("accept", Event.LIST_ACCEPTED)):
        held = forms.send("dana", "/lists/upload", Event.LIST_HELD, files=odd,
                          **given | {"supplied": local(-30)})  # fmt: skip
        if decision == "accept":
            forms.send("dana", "/categories", Event.CATEGORY_MAPPED, source="own",
                       code="Fire Watch", column="other_lpdf", priority="low")  # fmt: skip
        forms.send("dana", "/lists/held/{held}", event, to=held.headers["location"],
                   decision=decision, reason="The state told us of this by letter")  # fmt: skip
    for act, event in (
        ("approve", Event.ENTRY_APPROVED), ("revoke", Event.ENTRY_REVOKED),
        ("refuse", Event.ENTRY_REFUSED),
    ):  # fmt: skip
        if act != "revoke":
            plate = f"ADD100{len(act)}"
            forms.send("ida", "/additional", Event.ENTRY_REQUESTED, plate=plate, state="MN",
                       case="26001234", offence="burglary", purpose="suspect_interdiction",
                       kind="interdiction", days="7", relation=WORDS)  # fmt: skip
            forms.sign("dana")
            entry = ids(forms.client.get("/additional").text, "/additional")[0]
        forms.send("dana", "/additional/{entry}", event, to=f"/additional/{entry}", act=act,
                   reason=WORDS)  # fmt: skip


def test_forms_of_links_and_holds(forms: Forms, reads: list[Any]) -> None:
    acts = (
        ("approve", Event.LINK_APPROVED), ("review", Event.LINK_REVIEWED),
        ("inactive", Event.LINK_INACTIVE), ("release", Event.EXEMPTION_RELEASED),
        ("refuse", Event.LINK_REFUSED),
    )  # fmt: skip
    link = ""
    for act, event in acts:
        if act in ("approve", "refuse"):
            read = reads[0 if act == "approve" else 2].id
            made = forms.send("ida", "/links", Event.LINK_REQUESTED, case="26001234",
                              relation=WORDS, reads=read)  # fmt: skip
            link = made.headers["location"].rpartition("/")[2].partition("?")[0]
            if len(link) < 32:
                forms.sign("dana")
                link = ids(forms.client.get("/links").text, "/links")[0]
        forms.send("dana", "/links/{link}", event, to=f"/links/{link}", act=act, reason=WORDS,
                   outcome="declined", confirm="yes",
                   until=(datetime.now(ZONE) + timedelta(days=90)).date().isoformat())  # fmt: skip
    paper = {"request": ("letter.pdf", b"Please keep them. (invented)", "application/pdf")}
    forms.send("dana", "/holds", Event.HOLD_PLACED, files=paper, requester="Counsel",
               received=local(-5), number="26-CR-0042", statement=WORDS, plates="FRM1003",
               since=local(-60), until=local(1))  # fmt: skip
    hold = ids(forms.client.get("/holds").text, "/holds")[0]
    for act, event in (
        ("collected", Event.HOLD_COLLECTED), ("release", Event.EXEMPTION_RELEASED)
    ):  # fmt: skip
        forms.send("dana", "/holds/{hold}", event, to=f"/holds/{hold}", act=act, reason=WORDS,
                   confirm="yes")  # fmt: skip
    forms.send("dana", "/schedule", Event.SCHEDULE_SET, type="destructions", citation="GRS 11",
               days="3650")  # fmt: skip
