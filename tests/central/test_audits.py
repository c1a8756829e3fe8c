"""The biennial audit: its package, repeatable samples, and the register of audits."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hold_world import LIFE, START, WORDS, World, template
from sqlalchemy import insert

from alprd import crypto
from alprd.central.oversight import (
    auditcheck,
    auditpackage,
    audits,
    compliance,
    samples,
    standalone,
)
from alprd.central.records import cases, protected
from alprd.central.storage import audit
from alprd.central.storage.audit import CENTRAL
from alprd.central.storage.public_tables import readers
from alprd.central.trail.anchors import daily
from alprd.central.upkeep import retention
from alprd.errors import AuditError, InputError, RefusedError, SignatureError
from alprd.wire import Person

SINCE, UNTIL = START - timedelta(days=30), START + timedelta(days=300)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def world(source: Path, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", source)
    yield made
    made.close()


@pytest.fixture
def aud(world: World) -> Person:
    """The auditor."""
    return world.people["sue"].model_copy(
        update={"id": "aud", "name": "aud", "roles": ("auditor",)}
    )


def lived(world: World, tmp_path: Path) -> None:
    """Two months of a small agency: reads, a search, a link, a hold, a purge, a protected plate."""
    path = tmp_path / "requests.csv"
    path.write_text("plate,state\nPRO1001,MN\n")
    protected.import_suppression(world.central, path, actor=CENTRAL)
    world.store("PRO1001")
    kept = world.store("AUD1001")
    world.store("AUD1002")
    world.found(START, "AUD1002")
    link = cases.ask(
        world.central, world.people["ida"], case="26001234", relation=WORDS, reads=[kept]
    )
    cases.approve(world.central, world.people["sue"], link.id, WORDS)
    world.hold("AUD1002")
    compliance.keep_up(world.central)
    daily(world.central)
    world.now = START + LIFE
    retention.purge(world.central)
    daily(world.central)


def public(world: World) -> crypto.PublicKey:
    return world.central.receipt_key().public_key()


def parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.policy("R-13.824-6-2", "R-13.824-6-4", "R-460.6-c", "R-460.5-b4", "R-13.824-7-4")
def test_the_package_verifies_elsewhere_and_its_public_part_tells_no_plate(
    world: World, tmp_path: Path
) -> None:
    lived(world, tmp_path)
    content = auditpackage.build(world.central, world.people["sue"], SINCE, UNTIL)
    files = parts(content)
    everything = b"".join(data for name, data in files.items() if name.startswith("public/"))
    for word in (b"AUD1001", b"AUD1002", b"PRO1001", b"Defence counsel", b"suppress"):
        assert word not in everything
    annex = b"".join(data for name, data in files.items() if not name.startswith("public/"))
    for word in (b"AUD1001", b"AUD1002", b"PRO1001", b"argon2", b'"totp"'):
        assert word not in annex
    headings = files["public/HEADINGS.txt"].decode()
    for heading, _ in auditpackage.HEADINGS:
        assert heading in headings
    # Another machine: a process with nothing but the file and the key.
    package = tmp_path / "elsewhere" / "audit.zip"
    package.parent.mkdir()
    package.write_bytes(content)
    key = crypto.public_bytes(world.central.receipt_key()).hex()
    command = [sys.executable, "-m", "alprd.central.cli", "audit", "check", str(package)]
    done = subprocess.run(
        [*command, "--key", key, "--json"],
        cwd=package.parent,
        env={k: v for k, v in os.environ.items() if k != "ALPRD_CENTRAL_HOME"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["whole"] and told["anchors"] == 2 and told["days"] == 1
    assert told["events"] > 5
    # And a Python without anything installed: the package brings its own check.
    bare = [sys.executable, "-I", "-S", "audit.zip"]

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*bare, *words], cwd=package.parent, env={}, capture_output=True, text=True, check=False
        )

    done_alone = alone(key)
    assert done_alone.returncode == 0, done_alone.stderr
    for word in (
        f"{told['files']} files",
        f"1 chains with {told['events']} events",
        "2 anchors agree",
        "of 1 days",
    ):
        assert word in done_alone.stdout
    other = crypto.public_bytes(crypto.generate_key()).hex()
    for wrong, why in (
        (other, "signature of the audit-package"),
        (key[:-2] + "00", "not a public key"),
        (key[:-1], "no whole audit package, or no key"),
    ):
        refused = alone(wrong)
        assert refused.returncode == 1 and why in refused.stderr, (wrong, refused.stderr)
    assert alone().returncode == 2


@pytest.mark.policy("R-13.824-6-2")
def test_the_packages_own_check_verifies_signatures_as_openssl_does() -> None:
    key = crypto.generate_key()
    point = standalone.public_point(crypto.public_bytes(key))
    for number in range(20):
        message = b"m%d" % number
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
        assert standalone.verifies(point, signature, message)
        assert not standalone.verifies(point, signature, message + b"x")
        r, s = decode_dss_signature(signature)
        for wrong in ((0, s), (r, 0), (standalone.N, s), (r, s + standalone.N), (s, r)):
            assert not standalone.verifies(point, encode_dss_signature(*wrong), message)
        for cut in range(len(signature)):
            assert not standalone.verifies(point, signature[:cut], message)
    assert frozenset(standalone.PRIVATE) == audit.PRIVATE


@pytest.mark.policy("R-13.824-6-2", "R-460.5-b4")
def test_only_who_may_see_requests_gets_their_figures(
    world: World, aud: Person, tmp_path: Path
) -> None:
    lived(world, tmp_path)
    name = "annex/restricted/address-confidentiality.json"
    assert name in parts(auditpackage.build(world.central, world.people["sue"], SINCE, UNTIL))
    assert name not in parts(auditpackage.build(world.central, aud, SINCE, UNTIL))
    with pytest.raises(RefusedError):
        auditpackage.build(world.central, world.people["ida"], SINCE, UNTIL)
    with pytest.raises(InputError):
        auditpackage.build(world.central, aud, UNTIL, SINCE)


def _altered(files: dict[str, bytes], name: str, change: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, data in files.items():
            archive.writestr(each, change(data) if each == name else data)
    return out.getvalue()


@pytest.mark.policy("R-13.824-6-2", "R-AT-3")
@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("public/ledger.csv", lambda data: data.replace(b",3,", b",4,"), SignatureError),
        ("annex/trail/central.jsonl", lambda data: data.replace(b"ida", b"idb"), SignatureError),
        ("SHA256SUMS", lambda data: data[:-10], SignatureError),
        ("manifest.json", lambda data: data.replace(b"sue", b"sam"), SignatureError),
        ("manifest.json", lambda data: b"{}", InputError),
    ],
)
def test_an_altered_package_is_refused(
    world: World,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes],
    error: type[Exception],
) -> None:
    lived(world, tmp_path)
    files = parts(auditpackage.build(world.central, world.people["sue"], SINCE, UNTIL))
    assert change(files[name]) != files[name]
    with pytest.raises(error):
        auditcheck.check(_altered(files, name, change), public(world))
    with pytest.raises((standalone.PackageError, KeyError)):
        standalone.check(_altered(files, name, change), _hex(world))


def _hex(world: World) -> str:
    return crypto.public_bytes(world.central.receipt_key()).hex()


def _signed(world: World, files: dict[str, bytes]) -> bytes:
    """The package signed anew by the agency itself: what an agency could forge."""
    old = crypto.SignedDocument.model_validate_json(files["manifest.json"])
    manifest = auditcheck.Manifest.model_validate_json(old.body)
    body = {k: v for k, v in files.items() if k not in ("manifest.json", "SHA256SUMS")}
    made = manifest.model_copy(
        update={"files": {name: crypto.sha256_hex(data) for name, data in sorted(body.items())}}
    )
    signed = crypto.sign_document(auditcheck.KIND, made, world.central.receipt_key())
    whole = {
        **body,
        "SHA256SUMS": auditcheck.sums(made),
        "manifest.json": signed.model_dump_json().encode(),
    }
    return _altered(whole, "", lambda data: data)


@pytest.mark.policy("R-13.824-6-2", "R-AT-3", "R-13.824-6-1")
def test_what_the_agency_itself_alters_breaks_chain_anchor_or_ledger(
    world: World, tmp_path: Path
) -> None:
    lived(world, tmp_path)
    files = parts(auditpackage.build(world.central, world.people["sue"], SINCE, UNTIL))
    assert auditcheck.check(_signed(world, files), public(world)).chains == 1
    trail = files["annex/trail/central.jsonl"]
    lines = trail.splitlines(keepends=True)
    for forged in (b"".join(lines[:3] + lines[4:]), trail.replace(b"ida", b"idb")):
        package = _signed(world, files | {"annex/trail/central.jsonl": forged})
        with pytest.raises(AuditError, match="event"):
            auditcheck.check(package, public(world))
        with pytest.raises(standalone.PackageError, match="event"):
            standalone.check(package, _hex(world))
    cut = _signed(world, files | {"annex/trail/central.jsonl": b"".join(lines[:2])})
    with pytest.raises(AuditError, match="anchor"):
        auditcheck.check(cut, public(world))
    with pytest.raises(standalone.PackageError, match="anchor"):
        standalone.check(cut, _hex(world))
    ledger = files["public/ledger.csv"].decode().splitlines()
    day = ledger[1].split(",")
    day[1] = str(int(day[1]) + 1)
    forged = ("\r\n".join([ledger[0], ",".join(day)]) + "\r\n").encode()
    package = _signed(world, files | {"public/ledger.csv": forged})
    with pytest.raises(AuditError, match="reconcile"):
        auditcheck.check(package, public(world))
    with pytest.raises(standalone.PackageError, match="reconcile"):
        standalone.check(package, _hex(world))


@pytest.mark.policy("R-13.824-6-3")
def test_the_same_seed_draws_the_same_sample_and_the_draw_is_recorded(
    world: World, aud: Person, tmp_path: Path
) -> None:
    for number in range(12):
        world.store(f"SAM10{number:02}", at=START + timedelta(days=number))
    world.found(START)
    first = samples.draw(world.central, aud, "ledger", "otter", 5, SINCE, UNTIL)
    again = samples.draw(world.central, aud, "ledger", "otter", 5, SINCE, UNTIL)
    other = samples.draw(world.central, aud, "ledger", "heron", 5, SINCE, UNTIL)
    assert first.rows == again.rows != other.rows
    assert first.population == 12
    [search] = samples.draw(world.central, aud, "searches", "otter", 5, SINCE, UNTIL).rows
    assert (search["person"], search["case"]) == ("ida", "26001234")
    assert search["facts"] and search["results"] == 1
    users = samples.draw(world.central, aud, "users", "otter", 50, SINCE, UNTIL)
    assert {row["person"] for row in users.rows} >= {"ida", "sue", "sam"}
    assert samples.draw(world.central, aud, "releases", "otter", 5, SINCE, UNTIL).rows == ()
    with pytest.raises(RefusedError):
        samples.draw(world.central, world.people["sue"], "ledger", "otter", 5, SINCE, UNTIL)
    with world.central.database.read() as tx:
        drawn = [event for event in audit.events(tx) if event.event == "audit.sampled"]
    assert drawn[0].detail["population_sha256"] == drawn[1].detail["population_sha256"]
    assert drawn[0].detail["seed"] == "otter"


@pytest.mark.policy("R-460.6-c", "R-13.824-6-5")
def test_audits_fall_due_two_years_on_and_reports_within_thirty_days(world: World) -> None:
    sue = world.people["sue"]
    with world.central.database.write() as tx:
        assert audits.next_due(tx) is None or audits.next_due(tx)
        tx.execute(readers.delete())
        assert audits.next_due(tx) is None
        tx.execute(
            insert(readers).values(
                device="car-1", kind="mobile", what="car-1", installed="2024-02-29",
                first_used="2024-03-02", added_by="sue", added_at=START,
            )
        )  # fmt: skip
        assert audits.next_due(tx) == date(2026, 2, 28)
        assert [todo.urgency for todo in audits.todos(world.central, tx, START)] == ["soon"]
        later = START + timedelta(days=40)
        assert [todo.urgency for todo in audits.todos(world.central, tx, later)] == ["now"]
    row = audits.enter(
        world.central, sue, "K. Auditor", date(2023, 12, 1), date(2025, 11, 30),
        date(2025, 12, 20), b"Results (invented)",
    )  # fmt: skip
    assert row.report_due == date(2026, 1, 19)
    with world.central.database.read() as tx:
        assert audits.next_due(tx) == date(2027, 12, 20)
        assert any("report" in todo.text for todo in audits.todos(world.central, tx, START))
    with pytest.raises(InputError, match="future"):
        audits.reported(world.central, sue, row.id, date(2026, 1, 2), "Commissioner")
    audits.reported(world.central, sue, row.id, date(2025, 12, 30), "Commissioner")
    with pytest.raises(RefusedError, match="already"):
        audits.reported(world.central, sue, row.id, date(2025, 12, 30), "Commissioner")
    with world.central.database.read() as tx:
        assert audits.todos(world.central, tx, START) == []
