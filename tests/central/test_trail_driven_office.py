"""Commands of people, imports, confidentiality, releases and requests: each finds its event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import Server
from release_world import certificate
from test_foreign import line, package
from trail_world import WORDS, Drive, approved, day, drives

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from approved(tmp_path_factory.mktemp("office"))


@drives(
    "people add", "people change", "people reset-totp", "people freeze", "people unfreeze",
    "people retire", "people reset-ask", "people reset-decide", "people resets",
)  # fmt: skip
def test_commands_of_people(drive: Drive) -> None:
    act, newt = drive.act, ("--id", "newt")
    act("people add", *newt, "--name", "New Person", "--role", "investigator",
        "--password-stdin", "--training-expires", day(90), "--authorised-until", day(90),
        "--by", "dana")  # fmt: skip
    act("people change", *newt, "--name", "Newer Person", "--by", "dana")
    act("people reset-totp", *newt, "--by", "dana")
    act("people freeze", *newt, "--reason", "Referral.", "--referral", "IA-26-1", "--by", "sher")
    act("people unfreeze", *newt, "--reason", "Cleared.", "--by", "sher")
    act("people retire", *newt, "--by", "dana")
    reset = act("people reset-ask", "--id", "dag", "--kind", "totp-off", "--reason", "Lost it.",
                who="dana")["id"]  # fmt: skip
    act("people reset-decide", "--reset", reset, "--refuse", who="adam")
    act("people resets", who="dana")


@drives("imports ask-link", "imports take", "imports list")
def test_commands_of_imports(drive: Drive, tmp_path: Path) -> None:
    at = datetime.now(UTC) - timedelta(days=2)
    parcel = str(package(tmp_path / "p.zip", [line(1, "DRV2001", at)]))
    drive.act("imports ask-link", parcel, "--case", "26001234", "--relation", WORDS, who="dana")
    drive.act("imports take", parcel, who="dana")
    drive.act("imports list", who="aud")


@drives(
    "confidential enter", "confidential add", "confidential released-to", "confidential confirm",
    "confidential review", "confidential list", "confidential remove", "confidential history",
)  # fmt: skip
def test_commands_of_confidentiality(drive: Drive) -> None:
    act, since = drive.act, (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    asked = act("confidential enter", "--plate", "DRV3001/MN", "--received", since,
                "--verified-by", "Clerk", "--reference", "AC-1", who="rec")["id"]  # fmt: skip
    this = ("--id", asked)
    act("confidential add", *this, "--plate", "DRV3002", "--reference", "AC-2", who="rec")
    act("confidential released-to", *this, "--recipient", "Example Police", who="rec")
    act("confidential confirm", *this, "--store", "release Example Police", "--how", "Letter.",
        who="rec")  # fmt: skip
    act("confidential review", *this, "--until", day(90), "--note", "Still takes part.", who="rec")
    act("confidential list", who="dana")
    act("confidential remove", *this, "--reference", "AC-3", who="rec")
    act("confidential history", who="dana")


@drives(
    "agencies set", "releases ask", "releases look", "releases approve", "releases refuse",
    "releases package", "releases receipt", "releases list", "releases orders",
    "releases order-sent", "releases order-confirmed", "confidential enter",
)  # fmt: skip
def test_commands_of_releases(drive: Drive, tmp_path: Path) -> None:
    """The last part follows an owner who takes part in address confidentiality after all."""
    act, by = drive.act, drive.by
    paper = tmp_path / "paper.txt"
    paper.write_text("(invented)")
    certificate(tmp_path / "polk")
    act("agencies set", "--id", "polk-so", "--name", "Polk County Sheriff (invented)", "--kind",
        "law_enforcement", "--ori", "MN0600000", "--contact", "records@polk.example",
        "--certificate", str(tmp_path / "polk" / "recipient.pem"), "--verified",
        "Fingerprint compared on the telephone with their records desk.",
        "--by", "dana")  # fmt: skip

    def asked(read: str) -> tuple[str, str]:
        made = act("releases ask", "--agency", "polk-so", "--requester", "Det. N. Olsen",
                   "--contact", "olsen@polk.example", "--purpose", WORDS, "--facts", WORDS,
                   "--number", "26004711", "--statement", "The sheriff has authorised this.",
                   "--head", "K. Berg", "--title", "Sheriff", "--authorised", "2026-01-02",
                   "--received", "2026-01-02T16:00:00Z", "--request", str(paper), "--read", read,
                   "--by", "dana")  # fmt: skip
        return ("--id", made["id"])

    sent = asked(drive.reads[4].id)
    scope = by("dag", "releases look", *sent)["scope"]
    by("dag", "releases approve", *sent, "--finding", WORDS, "--scope", scope)
    by("dag", "releases package", *sent, "--out", str(tmp_path / "out"))
    act("releases receipt", *sent, "--received-by", "N. Olsen", "--paper", str(paper),
        "--by", "dag")  # fmt: skip
    by("dag", "releases refuse", *asked(drive.reads[3].id), "--reason", WORDS)
    act("releases list", "--by", "dana")
    act("confidential enter", "--plate", "DRV1004/MN", "--received",
        (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "--verified-by", "Clerk",
        "--reference", "AC-7", who="rec")  # fmt: skip
    order = ("--id", by("dana", "releases orders")["orders"][0]["id"])
    act("releases order-sent", *order, "--how", "Registered mail.", "--by", "dana")
    act("releases order-confirmed", *order, "--confirmed-by", "N. Olsen", "--by", "dana")


@drives(
    "requests receive", "requests answer", "requests list", "subject ask", "subject decide",
    "subject look",
)  # fmt: skip
def test_commands_of_requests_of_others(drive: Drive, tmp_path: Path) -> None:
    act, by = drive.act, drive.by
    paper = tmp_path / "paper.txt"
    paper.write_text("(invented)")

    def received(kind: str) -> tuple[str, str]:
        made = act("requests receive", "--kind", kind, "--what", "everything about my car",
                   "--requester", "A. Citizen (invented)", "--contact", "a@example.org",
                   "--received", "2026-01-02T16:00:00Z", "--paper", str(paper),
                   "--by", "rec")  # fmt: skip
        return ("--id", made["id"])

    act("requests answer", *received("public_data"), "--outcome", "produced_public",
        "--by", "rec")  # fmt: skip
    act("requests list", "--by", "rec")
    own = received("data_subject")
    for decision in ("--refuse", "--approve"):
        by("rec", "subject ask", *own, "--plate", "DRV1000", "--identity", WORDS,
           "--ownership", WORDS)  # fmt: skip
        by("dana", "subject decide", *own, decision, "--reason", WORDS)
    by("rec", "subject look", *own)
