"""Commands of audits, incidents, openness, readers, orders and cars: each finds its event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import AGENCY, Car, run, session_row
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from trail_world import OTHER, WORDS, Drive, day, drives

from alprd import crypto, wire

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(900)]


def at(hours: float = 0) -> str:
    """An ISO time."""
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@drives(
    "audit enter", "audit reported", "audit package", "audit sample", "assessments enter",
    "compliance list", "compliance sign",
)  # fmt: skip
def test_commands_of_audits_and_compliance(drive: Drive, tmp_path: Path) -> None:
    act, by, paper = drive.act, drive.by, tmp_path / "paper.txt"
    paper.write_text("(invented)")
    made = act("audit enter", "--auditor", "K. Auditor, CPA (invented)", "--from", day(-760),
               "--to", day(-50), "--completed", day(-20), "--reference", "Letter 26-117",
               "--results", str(paper), "--by", "dana")  # fmt: skip
    act("audit reported", "--id", made["id"], "--day", day(), "--to",
        "Commissioner of Administration", "--by", "dana")  # fmt: skip
    span = ("--from", at(-24), "--to", at())
    by("aud", "audit package", *span, "--out", str(tmp_path / "audit.zip"))
    by("aud", "audit sample", *span, "--kind", "users", "--seed", "otter", "--size", "3")
    act("assessments enter", "--done", day(-2), "--paper", str(paper), "--by", "dana")
    run(drive.home, "compliance", "run")
    found = act("compliance list", "--by", "dana")["reports"][0]["report"]["day"]
    by("dana", "compliance sign", "--day", found, "--note", WORDS)


@drives(
    "incidents open", "incidents count", "incidents decide", "incidents delay",
    "incidents dispose", "incidents notified", "incidents mark", "incidents plates",
    "incidents report", "incidents close", "incidents list",
)  # fmt: skip
def test_commands_of_incidents(drive: Drive) -> None:
    act, by = drive.act, drive.by
    row = ("--id", act("incidents open", "--kind", "insider", "--what", WORDS, "--discovered",
                       at(-1), "--by", "dana")["id"])  # fmt: skip
    act("incidents count", *row, "--from", at(-1), "--to", at(), "--person", "ida", "--by", "dana")
    by("dana", "incidents plates", *row)
    by("dana", "incidents decide", *row, "--acquired", "--not-public", "--compromised",
       "--no-good-faith", "--reason", WORDS)  # fmt: skip
    act("incidents delay", *row, "--reason", OTHER, "--review", at(24 * 20), "--by", "dana")
    act("incidents dispose", *row, "--results", WORDS, "--disposition", OTHER, "--responsible",
        "I. Example (invented)", "--by", "dana")  # fmt: skip
    act("incidents report", *row, "--by", "dana")
    told = act("incidents notified", *row, "--people", "1", "--how", "letter", "--by", "dana")
    for step in told["undone"]:
        act("incidents mark", *row, "--step", step, "--reference", "R 26-1", "--by", "dana")
    by("dana", "incidents close", *row, "--reason", WORDS)
    act("incidents list", "--by", "dana")


@drives(
    "publiclog note", "publiclog hide-source", "publiclog show-source", "audit redact",
    "audit protect-case", "audit public",
)  # fmt: skip
def test_commands_of_openness(drive: Drive, car: Car, tmp_path: Path) -> None:
    act, row = drive.act, session_row()
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    act("publiclog note", "--session", row.id, "--text", "The reader was tested that day.",
        who="dana")  # fmt: skip
    cite = ("--citation", "Minn. Stat. § 13.82, subd. 25")
    act("publiclog hide-source", "--source", "LPDF", *cite, who="dana")
    act("publiclog show-source", "--source", "LPDF", who="dana")
    act("audit redact", "--field", "user", "--treatment", "withheld", *cite, "--reason", WORDS,
        who="dana")  # fmt: skip
    act("audit protect-case", "--case", "26001234", *cite, who="dana")
    act("audit protect-case", "--case", "26001234", "--end", who="dana")
    act("audit public", str(tmp_path / "public.csv"), "--from", at(-24), "--to", at(), who="rec")


@drives(
    "readers add", "readers set", "fixed place", "fixed withhold", "fixed court", "fixed show",
    "fixed leave", "bca sent", "bca check",
)  # fmt: skip
def test_commands_of_readers(drive: Drive, tmp_path: Path) -> None:
    act, post = drive.act, ("--device", "post-9")
    act("readers add", *post, "--kind", "fixed", "--what", "A camera on a post", "--installed",
        day(), who="dana")  # fmt: skip
    act("readers set", *post, "--first-used", "--day", day(), who="dana")
    made = act("fixed place", *post, "--at", "Highway 10 at County Road 6, east side", "--from",
               day(), who="dana")  # fmt: skip
    entry = ("--entry", made["entry"])
    act("fixed withhold", *entry, "--reason",
        "The operation of the camera would be impaired by showing its place.", "--explanation",
        "Withheld under section 13.82.", "--review", day(60), who="sher")  # fmt: skip
    act("fixed court", *entry, who="sher")
    act("fixed show", *entry, who="sher")
    act("fixed leave", *entry, "--day", day(), who="dana")
    receipt, published = tmp_path / "receipt.txt", tmp_path / "published.txt"
    receipt.write_text("sent")
    published.write_text("Test\nFixed or stationary locations: N/A\n")
    act("bca sent", *post, *entry, "--at", at(), "--sent-by", "Dana", "--how", "letter",
        "--reference", "BCA-1", "--receipt", str(receipt), who="dana")  # fmt: skip
    act("bca check", "--published", str(published), "--note", "Compared today.", who="dana")


@drives(
    "orders freeze", "orders thaw", "orders destroy", "orders suspend", "orders lift",
    "enrol-code", "publish", "vehicles page-certificate", "vehicles suspend", "vehicles resume",
    "vehicles revoke", "vehicles kill", "vehicles retire",
)  # fmt: skip
def test_commands_of_cars(drive: Drive, tmp_path: Path) -> None:
    """Last the end of the car."""
    act, this = drive.act, ("--vehicle", "car-1")
    order = (*this, "--reason", "Report 26-1", "--by", "sher")
    window = ("--from", at(-1), "--to", at())
    frozen = act("orders freeze", *order, *window)
    act("orders thaw", "--order", frozen.get("serial") or frozen["order"], "--reason", "Done.",
        "--by", "sher")  # fmt: skip
    act("orders destroy", *order, *window)
    stopped = act("orders suspend", *order)
    act("orders lift", "--order", stopped.get("serial") or stopped["order"], "--reference",
        "Letter 1", "--by", "sher")  # fmt: skip
    act("enrol-code", "--vehicle", "car-9", "--reader", "9", "--by", "dana")
    act("publish", "--by", "dana")
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "car-1")]))
        .sign(crypto.generate_key(), hashes.SHA256())
    )
    (tmp_path / "page.csr").write_bytes(csr.public_bytes(serialization.Encoding.PEM))
    act("vehicles page-certificate", *this, "--request", str(tmp_path / "page.csr"), "--out",
        str(tmp_path / "page.pem"), "--by", "dana")  # fmt: skip
    for last in ("suspend", "resume", "revoke"):
        act(f"vehicles {last}", *this, "--by", "dana")
    act("vehicles kill", *this, "--reason", "Report 26-2", "--by", "dana")
    act("vehicles retire", *this, "--reason", "Burnt.", "--by", "dana")
