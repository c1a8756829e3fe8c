"""Acts of persons, driven one after another on a running central: each finds its event (R-AT-1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_world import GOOD_SEARCH, PASSWORD, Car, Server, make_read, run, today
from pages_world import STAFF, sign_on, staff
from sqlalchemy import func, select
from test_foreign import line, package
from trail_map import COMMANDS

from alprd.central.pages import inventory
from alprd.central.staff.permissions import TABLE
from alprd.central.storage import audit, db
from alprd.central.storage.store import Central

WORDS = "The van passed the reader on its way from the burgled store."
NOT_DRIVEN = frozenset(
    {
        "audit enter", "audit package", "audit protect-case", "audit public", "audit redact",
        "assessments enter", "subject ask", "subject decide",
        "subject look", "incidents delay", "keys rotate",
        "keys make-replica", "keys promote-replica",
        "audit reported", "audit sample", "audit sign-off", "agencies set", "backup",
        "bases review",
        "bca check", "bca sent", "compliance run", "compliance sign", "db upgrade",
        "fixed court", "fixed leave",
        "fixed place", "fixed show", "fixed withhold", "incidents close", "incidents count",
        "incidents decide", "incidents dispose", "incidents mark", "incidents notified",
        "incidents open", "incidents plates", "incidents report", "additional review", "init",
        "lists accept", "lists refuse", "lists rejected", "publiclog hide-source",
        "publiclog note", "publiclog show-source", "purge", "readers set", "reasons judge",
        "releases approve", "releases ask", "releases look", "releases order-confirmed",
        "releases order-sent", "releases package", "releases receipt", "releases refuse",
        "requests answer", "requests receive", "restore", "restore-drill", "serve",
        "tuf ceremony", "tuf renew-root", "tuf rotate-key", "tuf rotate-root",
        "vehicles page-certificate",
    }
)  # fmt: skip
"""Driven by the tests of their own modules; ``test_trail_complete.py`` follows their calls."""


@dataclass
class Drive:
    """Runs commands and compares what the trail got with what the map says."""

    home: Path
    driven: set[str] = field(default_factory=set)

    def last(self) -> int:
        with Central(self.home) as central, central.database.read() as tx:
            return tx.scalar(select(func.max(db.audit.c.seq))) or 0

    def since(self, seq: int) -> list[Any]:
        with Central(self.home) as central, central.database.read() as tx:
            return [event for event in audit.events(tx) if event.seq > seq]

    def act(self, name: str, *options: str, who: str = "", more: str = "") -> Any:
        """One command; with ``who`` it signs with the password."""
        before = self.last()
        signed = ("--as", who, "--password-stdin") if who else ()
        done = run(self.home, *name.split(), *options, *signed, stdin=f"{PASSWORD}\n{more}")
        found = {event.event for event in self.since(before)}
        wanted = {event.value for event in COMMANDS[name]}
        assert wanted & found, (name, wanted, found)
        self.driven.add(name)
        return done


@pytest.mark.timeout(1200)  # a hundred commands, most with a password to check
@pytest.mark.policy("R-AT-1", "R-AT-2")
def test_every_act_finds_its_event(server: Server, car: Car, tmp_path: Path) -> None:
    """R-AT-1: commands and pages, each compared with the trail; R-AT-2: who and where."""
    staff(server)
    drive = Drive(server.home)
    act = drive.act
    now = datetime.now(UTC)
    reads = [make_read(f"DRV100{number}") for number in range(5)]
    car.send_reads(*reads)
    since, until = (now - timedelta(hours=1)).isoformat(), now.isoformat()
    window = ("--from", since, "--to", until)

    # --- search, legal bases, notices, samples ---
    rows = act("search", *GOOD_SEARCH, *window, "--plate", "DRV1001", who="ida")
    seq = str(rows[0]["search"])
    act("picture", "--search", seq, "--read", reads[1].id, "--out", str(tmp_path / "p"), who="ida")
    plate = ("--case", "26001234", "--plate", "DRV1001")
    act("bases warrant", *plate, "--court", "Seventh District", "--number", "W-26-1",
        "--issued", since, "--expires", (now + timedelta(days=2)).isoformat(),
        "--scope", "Reads of this van for two days.", who="ida")  # fmt: skip
    for decision in ("find", "refuse"):
        basis = act("bases exigency", *plate, "--facts", WORDS, "--at", until, who="ida")["id"]
        act(f"bases {decision}", "--id", basis, "--reason", WORDS, who="dana")
        if decision == "find":
            act("bases withdraw", "--id", basis, "--reason", WORDS, who="ida")
    act("bases list", who="ida")
    notice = act("notices list", who="dana")["notices"][0]["id"]
    act("notices answer", "--id", notice, "--text", "Looked at it.", who="dana")
    month = f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
    act("reasons sample", "--month", month, who="aud")

    # --- links, holds, orders, schedule ---
    def link(read: str) -> str:
        return str(act("cases request", "--case", "26001234", "--relation", WORDS, "--read", read,
                       "--by", "ida")["id"])  # fmt: skip

    kept = link(reads[0].id)
    decide = ("--reason", WORDS, "--by", "dana")
    act("cases approve", "--id", kept, *decide)
    act("cases reads", "--id", kept, "--by", "ida")
    act("cases review", "--id", kept, *decide)
    act("cases list", "--by", "dana")
    act("cases inactive", "--id", kept, "--outcome", "declined", "--by", "dana")
    act("cases keep", "--id", kept, "--citation", "GRS 12", "--until",
        (now + timedelta(days=90)).isoformat(), "--by", "dana")  # fmt: skip
    act("cases release", "--id", kept, *decide)
    act("cases refuse", "--id", link(reads[2].id), *decide)
    request = tmp_path / "request.pdf"
    request.write_bytes(b"Please keep the reads of my client's van.")
    hold = act("holds place", "--requester", "Counsel", "--received", until, "--number",
               "26-CR-0042", "--statement", WORDS, "--plate", "DRV1003", *window,
               "--request", str(request), "--by", "dana")["id"]  # fmt: skip
    act("holds list", "--by", "dana")
    act("holds reads", "--id", hold, "--by", "dana")
    act("holds request", "--id", hold, "--out", str(tmp_path / "out.pdf"), "--by", "dana")
    links = (link(reads[4].id), hold)
    act("cases approve", "--id", links[0], *decide)
    order = ("--vehicle", "car-1", "--reason", "Report 26-1", "--by", "sher")
    frozen = act("orders freeze", *order, *window)
    act("orders thaw", "--order", frozen.get("serial") or frozen["order"], "--reason", "Done.",
        "--by", "sher")  # fmt: skip
    act("orders destroy", *order, *window)
    stopped = act("orders suspend", *order)
    act("orders lift", "--order", stopped.get("serial") or stopped["order"], "--reference",
        "Letter 1", "--by", "sher")  # fmt: skip
    act("schedule set", "--type", "destructions", "--citation", "GRS 11", "--days", "3650",
        "--by", "dana")  # fmt: skip

    # --- lists and additional entries ---
    code = ("--source", "LPDF", "--code", "ZZ")
    act("categories set", *code, "--column", "stolen", "--priority", "high", who="dana")
    act("categories remove", *code, who="dana")
    hot = tmp_path / "hot.csv"
    hot.write_text(
        "plate,state,type,category,source,entered,text\nHOT5500,MN,,stolen,LPDF,,Stolen\n"
    )
    act("lists import", str(hot), "--list", "lpdf", "--source", "LPDF", "--supplied-at",
        until, "--by", "dana")  # fmt: skip
    act("lists remove", "--list", "lpdf", "--reason", WORDS, who="dana")

    def entry(number: int) -> str:
        return str(act("additional request", "--plate", f"ADD100{number}", "--purpose",
                       "suspect_interdiction", "--case", "26001234", "--offence", "burglary",
                       "--relation", WORDS, who="ida")["entries"][0]["id"])  # fmt: skip

    one = entry(1)
    act("additional approve", one, "--reason", WORDS, who="dana")
    act("additional list", who="aud")
    act("additional revoke", one, "--reason", WORDS, who="dana")
    act("additional refuse", entry(2), "--reason", WORDS, who="dana")
    entry(3)
    act("additional close-case", "--case", "26001234", "--reason", WORDS, who="dana")

    # --- people ---
    soon = (now + timedelta(days=90)).date().isoformat()
    act("people add", "--id", "newt", "--name", "New Person", "--role", "investigator",
        "--password-stdin", "--training-expires", soon, "--authorised-until", soon,
        "--by", "dana")  # fmt: skip
    act("people change", "--id", "newt", "--name", "Newer Person", "--by", "dana")
    act("people reset-totp", "--id", "newt", "--by", "dana")
    act("people freeze", "--id", "newt", "--reason", "Referral.", "--referral", "IA-26-1",
        "--by", "sher")  # fmt: skip
    act("people unfreeze", "--id", "newt", "--reason", "Cleared.", "--by", "sher")
    act("people retire", "--id", "newt", "--by", "dana")
    reset = act("people reset-ask", "--id", "dag", "--kind", "totp-off", "--reason", "Lost it.",
                who="dana")["id"]  # fmt: skip
    act("people reset-decide", "--reset", reset, "--refuse", who="adam")
    act("people resets", who="dana")

    # --- imports and address confidentiality ---
    parcel = package(tmp_path / "p.zip", [line(1, "DRV2001", now - timedelta(days=2))])
    act("imports ask-link", str(parcel), "--case", "26001234", "--relation", WORDS, who="dana")
    act("imports take", str(parcel), who="dana")
    act("imports list", who="aud")
    asked = act("confidential enter", "--plate", "DRV3001/MN", "--received", since,
                "--verified-by", "Clerk", "--reference", "AC-1", who="rec")["id"]  # fmt: skip
    this = ("--id", asked)
    act("confidential add", *this, "--plate", "DRV3002", "--reference", "AC-2", who="rec")
    act("confidential released-to", *this, "--recipient", "Example Police", who="rec")
    act("confidential confirm", *this, "--store", "release Example Police", "--how", "Letter.",
        who="rec")  # fmt: skip
    act("confidential review", *this, "--until", soon, "--note", "Still takes part.", who="rec")
    act("confidential list", who="dana")
    act("confidential remove", *this, "--reference", "AC-3", who="rec")
    act("confidential history", who="dana")
    plates = tmp_path / "plates.csv"
    plates.write_text("plate,state\nDRV3003,MN\n")
    act("suppression import", str(plates), "--by", "dana")

    # --- trail, oversight ---
    act("audit search", "--person", "ida", who="aud")
    act("audit table", "--out", str(tmp_path / "t.csv"), who="aud")
    act("audit terms", "--event", seq, who="aud")
    act("audit exceptions", who="aud")
    act("audit export", "--person", "ida", *window, "--out", str(tmp_path / "i.jsonl"),
        "--by", "sher")  # fmt: skip
    act("audit verify")
    drive.driven |= pages(server, drive, links, seq, reads[1].id)
    act("compliance list", "--by", "dana")
    act("incidents list", "--by", "dana")
    act("requests list", "--by", "rec")
    act("releases list", "--by", "dana")
    act("releases orders", "--by", "dana", "--password-stdin")
    act("holds collected", "--id", hold, "--by", "dana")
    act("holds release", "--id", hold, "--reason", WORDS, "--by", "dana")
    act("readers add", "--device", "post-9", "--kind", "fixed", "--what", "A camera on a post",
        "--installed", today().isoformat(), who="dana")  # fmt: skip

    # --- cars, last ---
    act("enrol-code", "--vehicle", "car-9", "--reader", "9", "--by", "dana")
    act("publish", "--by", "dana")
    for last in ("suspend", "resume", "revoke"):
        act(f"vehicles {last}", "--vehicle", "car-1", "--by", "dana")
    act("vehicles kill", "--vehicle", "car-1", "--reason", "Report 26-2", "--by", "dana")
    act("vehicles retire", "--vehicle", "car-1", "--reason", "Burnt.", "--by", "dana")

    assert set(COMMANDS) - drive.driven - NOT_DRIVEN == {"audit anchor"}, "drive it, or say where"
    assert not NOT_DRIVEN & drive.driven
    assert run(server.home, "audit", "verify")["whole"]


def pages(server: Server, drive: Drive, links: tuple[str, str], seq: str, read: str) -> set[str]:
    """Every page that records a look, by somebody who may; the event names person and address."""
    known = {"car": "car-1", "link": links[0], "hold": links[1], "person": "ida"}
    looked = set()
    with httpx.Client(base_url=server.page_url, timeout=30) as client:
        signed = ""
        for entry in inventory.ENTRIES:
            if entry.method != "GET" or entry.public or not entry.events:
                continue
            names = re.findall(r"\{(\w+)\}", entry.path)
            if entry.path in ("/search/{seq}", "/search/{seq}/{read}"):
                path = entry.path.replace("{seq}", seq).replace("{read}", read)
            elif set(names) <= set(known):
                path = entry.path.format(**known)
            else:
                continue
            roles = set().union(*(TABLE[act] for act in entry.acts))
            who = "ida" if "/search/" in path else next(w for w, r in STAFF.items() if r in roles)
            if who != signed:
                sign_on(client, who)
                signed = who
            before = drive.last()
            answer = client.get(path)
            assert answer.status_code == 200, (entry.path, answer.text)
            found = [e for e in drive.since(before) if e.event in {x.value for x in entry.events}]
            assert found, entry.path
            assert (found[0].actor, found[0].address) == (who, "127.0.0.1"), entry.path
            looked.add(entry.path)
    assert len(looked) >= 25, looked
    return set()
