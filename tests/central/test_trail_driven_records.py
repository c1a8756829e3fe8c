"""Commands of searches, links, holds, orders, lists and entries: each finds its event (R-AT-1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import GOOD_SEARCH, run
from trail_world import WORDS, Drive, drives

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(900)]


def window() -> tuple[str, ...]:
    """The last hour."""
    now = datetime.now(UTC)
    return ("--from", (now - timedelta(hours=1)).isoformat(), "--to", now.isoformat())


@drives(
    "search", "picture", "bases warrant", "bases exigency", "bases find", "bases refuse",
    "bases withdraw", "bases list", "notices list", "notices answer", "reasons sample",
    "audit search", "audit table", "audit terms", "audit exceptions", "audit export",
    "audit verify",
)  # fmt: skip
def test_commands_of_searches_and_the_trail(drive: Drive, tmp_path: Path) -> None:
    act, now = drive.act, datetime.now(UTC)
    rows = act("search", *GOOD_SEARCH, *window(), "--plate", "DRV1001", who="ida")
    seq = str(rows[0]["search"])
    act("picture", "--search", seq, "--read", drive.reads[1].id, "--out", str(tmp_path / "p"),
        who="ida")  # fmt: skip
    plate = ("--case", "26001234", "--plate", "DRV1001")
    act("bases warrant", *plate, "--court", "Seventh District", "--number", "W-26-1",
        "--issued", (now - timedelta(hours=1)).isoformat(),
        "--expires", (now + timedelta(days=2)).isoformat(),
        "--scope", "Reads of this van for two days.", who="ida")  # fmt: skip
    for decision in ("find", "refuse"):
        basis = act("bases exigency", *plate, "--facts", WORDS, "--at", now.isoformat(),
                    who="ida")["id"]  # fmt: skip
        act(f"bases {decision}", "--id", basis, "--reason", WORDS, who="dana")
        if decision == "find":
            act("bases withdraw", "--id", basis, "--reason", WORDS, who="ida")
    act("bases list", who="ida")
    notice = act("notices list", who="dana")["notices"][0]["id"]
    act("notices answer", "--id", notice, "--text", "Looked at it.", who="dana")
    month = f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
    act("reasons sample", "--month", month, who="aud")
    act("audit search", "--person", "ida", who="aud")
    act("audit table", "--out", str(tmp_path / "t.csv"), who="aud")
    act("audit terms", "--event", seq, who="aud")
    act("audit exceptions", who="aud")
    act("audit export", "--person", "ida", *window(), "--out", str(tmp_path / "i.jsonl"),
        "--by", "sher")  # fmt: skip
    act("audit verify")


def link(drive: Drive, read: str) -> str:
    """A link that somebody asks for; its id."""
    made = drive.act("cases request", "--case", "26001234", "--relation", WORDS, "--read", read,
                     "--by", "ida")  # fmt: skip
    return str(made["id"])


@drives(
    "cases request", "cases approve", "cases reads", "cases review", "cases list",
    "cases inactive", "cases keep", "cases release", "cases refuse", "holds place", "holds list",
    "holds reads", "holds request", "holds collected", "holds release", "schedule set",
)  # fmt: skip
def test_commands_of_links_and_holds(drive: Drive, tmp_path: Path) -> None:
    act, now = drive.act, datetime.now(UTC)
    kept = link(drive, drive.reads[0].id)
    decide = ("--reason", WORDS, "--by", "dana")
    act("cases approve", "--id", kept, *decide)
    act("cases reads", "--id", kept, "--by", "ida")
    act("cases review", "--id", kept, *decide)
    act("cases list", "--by", "dana")
    act("cases inactive", "--id", kept, "--outcome", "declined", "--by", "dana")
    act("cases keep", "--id", kept, "--citation", "GRS 12", "--until",
        (now + timedelta(days=90)).isoformat(), "--by", "dana")  # fmt: skip
    act("cases release", "--id", kept, *decide)
    act("cases refuse", "--id", link(drive, drive.reads[2].id), *decide)
    request = tmp_path / "request.pdf"
    request.write_bytes(b"Please keep the reads of my client's van.")
    hold = act("holds place", "--requester", "Counsel", "--received", now.isoformat(), "--number",
               "26-CR-0042", "--statement", WORDS, "--plate", "DRV1003", *window(),
               "--request", str(request), "--by", "dana")["id"]  # fmt: skip
    act("holds list", "--by", "dana")
    act("holds reads", "--id", hold, "--by", "dana")
    act("holds request", "--id", hold, "--out", str(tmp_path / "out.pdf"), "--by", "dana")
    act("holds collected", "--id", hold, "--by", "dana")
    act("holds release", "--id", hold, "--reason", WORDS, "--by", "dana")
    act("schedule set", "--type", "destructions", "--citation", "GRS 11", "--days", "3650",
        "--by", "dana")  # fmt: skip


@drives(
    "categories set", "categories remove", "lists import", "lists accept", "lists refuse",
    "lists rejected", "lists remove", "suppression import",
)  # fmt: skip
def test_commands_of_lists(drive: Drive, tmp_path: Path) -> None:
    act, head = drive.act, "plate,state,type,category,source,entered,text\n"
    code = ("--source", "LPDF", "--code", "ZZ")
    act("categories set", *code, "--column", "stolen", "--priority", "high", who="dana")
    act("categories remove", *code, who="dana")

    def options(minutes: int, line: str) -> tuple[str, ...]:
        hot = tmp_path / f"hot-{minutes}.csv"
        hot.write_text(f"{head}NRT042,MN,,stolen,LPDF,,\n{line}\n")
        at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
        return (str(hot), "--list", "lpdf", "--source", "LPDF", "--supplied-at", at, "--by", "dana")

    made = act("lists import", *options(50, "HPJ1000,QQ,,stolen,LPDF,,"))
    act("lists rejected", made["rejected_report"], "--to", str(tmp_path / "all.csv"), who="dana")
    for minutes, decision in ((40, "refuse"), (30, "accept")):
        unknown = options(minutes, "KZM905,MN,,Fire Watch,LPDF,,")
        run(drive.home, "lists", "import", *unknown, check=False)  # held: ends with an error
        [held] = run(drive.home, "lists", "held")["held"]
        if decision == "accept":
            act("categories set", "--source", "own", "--code", "Fire Watch", "--column",
                "other_lpdf", "--priority", "low", who="dana")  # fmt: skip
        act(f"lists {decision}", held["id"], "--reason", WORDS, who="dana")
    act("lists remove", "--list", "lpdf", "--reason", WORDS, who="dana")
    plates = tmp_path / "plates.csv"
    plates.write_text("plate,state\nDRV3003,MN\n")
    act("suppression import", str(plates), "--by", "dana")


@drives(
    "additional request", "additional approve", "additional list", "additional revoke",
    "additional refuse", "additional close-case",
)  # fmt: skip
def test_commands_of_entries(drive: Drive) -> None:
    act = drive.act

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
