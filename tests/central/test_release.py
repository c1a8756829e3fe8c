"""Releases: the five elements, review by another, a package of exactly what was approved."""

from __future__ import annotations

import csv
import io
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import storekind
from hold_world import LIFE, START, WORDS, World, template
from release_world import PAPER, agency, asked, certificate, decrypt, registered
from sqlalchemy import update

from alprd.central.exchange import recipients, release
from alprd.central.exchange import releasepackage as package
from alprd.central.records import protected, recipientorders
from alprd.central.storage import audit, db
from alprd.central.upkeep import retention
from alprd.errors import EnvelopeError, InputError, RefusedError, SignatureError

FINDING = "The van's plate was seen at the burgled store; its route bears on their case."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def world(source: Path, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", source)
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def approved(world: World, *reads: str) -> release.Release:
    row = release.ask(world.central, world.people["ida"], asked(*reads), PAPER)
    seen, _ = release.look(world.central, world.people["sue"], row.id)
    return release.approve(world.central, world.people["sue"], row.id, FINDING, seen.scope_sha256)


def events(world: World) -> list[str]:
    with world.central.database.read() as tx:
        return [event.event for event in audit.events(tx)]


@pytest.mark.policy(
    "R-460.7-0", "R-460.7-a", "R-460.7-b", "R-460.7-b1", "R-460.7-c", "R-460.7-d", "R-460.6-e"
)
def test_exactly_the_approved_records_reach_the_recipient(world: World, tmp_path: Path) -> None:
    key = registered(world, tmp_path / "polk")
    mine, other = world.store("REL1001"), world.store("REL1002")
    row = approved(world, mine)
    made = package.build(world.central, world.people["sue"], row.id)
    assert b"REL1001" not in made.content
    opened = decrypt(made.content, key, tmp_path)
    manifest = package.check(opened, world.central.receipt_key().public_key())
    assert manifest.records == (mine,)
    with zipfile.ZipFile(io.BytesIO(opened)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("reads.csv").decode())))
        assert {name.split("/")[0] for name in archive.namelist()} == {
            "TERMS.txt", "reads.csv", "pictures", "SHA256SUMS", "manifest.json"
        }  # fmt: skip
        archive.extractall(tmp_path / "opened")
    assert [line["plate"] for line in rows] == ["REL1001"]
    assert rows[0]["collected_utc"] == START.isoformat()
    assert rows[0]["destroy_by_utc"] == (START + LIFE).isoformat()
    assert rows[0]["classification"] == "private"
    assert other not in opened.decode("latin-1")
    # What needs none of our software: the recipient checks the digests with coreutils.
    subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "opened", check=True, capture_output=True
    )
    done = release.receipt(world.central, world.people["sue"], row.id, "N. Olsen", b"Received.")
    assert done.state == "receipted"
    assert release.written_request(world.central, world.people["sue"], row.id) == PAPER
    told = events(world)
    for event in ("asked", "viewed", "approved", "sent", "receipted"):
        assert f"release.{event}" in told


@pytest.mark.policy("R-460.7-a1", "R-460.7-a2", "R-460.7-a3", "R-460.7-a4", "R-460.7-a5")
@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"agency": "nobody"}, "not in the register"),
        ({"requester": " "}, "requester"),
        ({"contact": ""}, "contact"),
        ({"purpose": "case"}, "purpose"),
        ({"facts": "needed"}, "facts"),
        ({"number": "", "no_number": "none"}, "no_number"),
        ({"number": "x"}, "case"),
        ({"statement": "ok"}, "statement"),
        ({"head": ""}, "head"),
        ({"title": ""}, "title"),
        ({"reads": ()}, "1 to 500"),
        ({"reads": ("0" * 32,)}, "no longer"),
        ({"received": START + timedelta(days=1)}, "future"),
    ],
)
def test_without_one_of_the_elements_there_is_no_request(
    world: World, tmp_path: Path, change: dict[str, object], where: str
) -> None:
    registered(world, tmp_path / "polk")
    read = world.store("REL1001")
    with pytest.raises((InputError, RefusedError)) as refused:
        release.ask(
            world.central,
            world.people["ida"],
            asked(*change.pop("reads", (read,)), **change),
            PAPER,
        )  # type: ignore[misc]
    assert where in f"{refused.value.message}"
    assert release.register(world.central, world.people["sue"]) == []


@pytest.mark.policy("R-460.7-a")
def test_no_paper_no_request_and_none_is_a_number_with_a_reason(
    world: World, tmp_path: Path
) -> None:
    registered(world, tmp_path / "polk")
    read = world.store("REL1001")
    with pytest.raises(InputError, match="empty"):
        release.ask(world.central, world.people["ida"], asked(read), b"")
    bare = asked(read, number="", no_number="The complaint was taken today and has no number yet.")
    assert release.ask(world.central, world.people["ida"], bare, PAPER).asked.number == ""


@pytest.mark.policy("R-460.7-b")
def test_nobody_reviews_his_own_request_and_roles_are_kept(world: World, tmp_path: Path) -> None:
    registered(world, tmp_path / "polk")
    sue, sam, ida = (world.people[name] for name in ("sue", "sam", "ida"))
    row = release.ask(world.central, sue, asked(world.store("REL1001")), PAPER)
    for act in (
        lambda who: release.look(world.central, who, row.id),
        lambda who: release.approve(world.central, who, row.id, FINDING, row.scope_sha256),
        lambda who: release.refuse(world.central, who, row.id, FINDING),
    ):
        for who in (sue, ida):
            with pytest.raises(RefusedError):
                act(who)
    assert (
        release.approve(world.central, sam, row.id, FINDING, row.scope_sha256).state == "approved"
    )
    with pytest.raises(RefusedError):
        package.build(world.central, ida, row.id)


@pytest.mark.policy("R-460.7-b")
def test_another_scope_than_was_seen_and_a_lapsed_approver_are_refused(
    world: World, tmp_path: Path
) -> None:
    registered(world, tmp_path / "polk")
    row = release.ask(world.central, world.people["ida"], asked(world.store("REL1001")), PAPER)
    with pytest.raises(RefusedError, match="not those"):
        release.approve(world.central, world.people["sue"], row.id, FINDING, "0" * 64)
    lapsed = world.people["sue"].model_copy(update={"authorised_until": START})
    with pytest.raises(RefusedError):
        release.approve(world.central, lapsed, row.id, FINDING, row.scope_sha256)
    with pytest.raises(RefusedError, match="finding"):
        release.approve(world.central, world.people["sue"], row.id, "fine", row.scope_sha256)


@pytest.mark.policy("R-460.7-b1", "R-460.7-c")
def test_a_refused_request_stays_on_file_and_nothing_goes_out(world: World, tmp_path: Path) -> None:
    registered(world, tmp_path / "polk")
    row = release.ask(world.central, world.people["ida"], asked(world.store("REL1001")), PAPER)
    release.refuse(world.central, world.people["sue"], row.id, FINDING)
    with pytest.raises(RefusedError, match="refused"):
        package.build(world.central, world.people["sue"], row.id)
    [kept] = release.register(world.central, world.people["sue"])
    assert (kept.state, kept.finding) == ("refused", FINDING)
    assert release.written_request(world.central, world.people["sue"], row.id) == PAPER


@pytest.mark.policy("R-460.7-b", "R-460.5-4")
def test_a_package_is_never_less_than_what_was_approved(world: World, tmp_path: Path) -> None:
    registered(world, tmp_path / "polk")
    row = approved(world, world.store("REL1001"), world.store("REL1002"))
    world.now = START + LIFE
    with pytest.raises(InputError, match="2 of the records no longer exist"):
        package.build(world.central, world.people["sue"], row.id)
    retention.purge(world.central)
    with pytest.raises(InputError, match="2 of the records"):
        package.build(world.central, world.people["sue"], row.id)


@pytest.mark.policy("R-460.7-0", "R-460.7-e")
def test_another_recipient_needs_citation_and_opinion(world: World, tmp_path: Path) -> None:
    _, pem = certificate(tmp_path / "other")
    recipients.put(world.central, world.people["sue"], agency(pem, kind="other_law"))
    read = world.store("REL1001")
    with pytest.raises(RefusedError, match="citation"):
        release.ask(world.central, world.people["ida"], asked(read), PAPER)
    cited = asked(read, citation="Minn. Stat. § 13.999 (invented)", opinion="CA-26-17")
    assert release.ask(world.central, world.people["ida"], cited, PAPER).state == "asked"


@pytest.mark.policy("R-460.7-a1")
def test_the_register_takes_rsa_certificates_in_force_only(world: World, tmp_path: Path) -> None:
    _, pem = certificate(tmp_path / "polk")
    sue = world.people["sue"]
    with pytest.raises(InputError, match="cannot be read"):
        recipients.put(world.central, sue, agency("no certificate"))
    ca = (world.home / "keys" / "ca.crt").read_text()
    with pytest.raises(InputError, match="RSA"):
        recipients.put(world.central, sue, agency(ca))
    with pytest.raises(InputError, match="ORI"):
        recipients.put(world.central, sue, agency(pem, ori="polk"))
    with pytest.raises(RefusedError, match="verified"):
        recipients.put(world.central, sue, agency(pem, verified="yes"))
    with pytest.raises(RefusedError):
        recipients.put(world.central, world.people["ida"], agency(pem))
    recipients.put(world.central, sue, agency(pem, retired=True))
    with pytest.raises(InputError, match="register"):
        release.ask(world.central, world.people["ida"], asked(world.store("R1")), PAPER)
    world.now = START + timedelta(days=9 * 365)
    expired = sue.model_copy(
        update={
            "authorised_until": world.now + timedelta(days=99),
            "training_expires": world.now + timedelta(days=99),
        }
    )
    world.now += timedelta(days=2 * 365)
    with pytest.raises((InputError, RefusedError)):
        recipients.put(world.central, expired, agency(pem))


@pytest.mark.policy("R-460.7-d")
def test_an_altered_package_is_refused(world: World, tmp_path: Path) -> None:
    key = registered(world, tmp_path / "polk")
    made = package.build(
        world.central, world.people["sue"], approved(world, world.store("REL1001")).id
    )
    opened = decrypt(made.content, key, tmp_path)
    public = world.central.receipt_key().public_key()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(opened)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"REL1001", b"REL1007"))
    with pytest.raises(SignatureError, match="differs"):
        package.check(out.getvalue(), public)
    with pytest.raises(InputError, match="no opened"):
        package.check(made.content, public)
    with pytest.raises(SignatureError):
        package.check(opened, world.central.keystore.private("ca").public_key())
    with pytest.raises(subprocess.CalledProcessError):
        other, _ = certificate(tmp_path / "other")
        decrypt(made.content, other, tmp_path)


@pytest.mark.policy("R-460.7-d", "R-460.5-b", "R-460.5-b4")
def test_recipients_hear_of_destruction_by_record_id_and_of_nothing_else(
    world: World, tmp_path: Path
) -> None:
    registered(world, tmp_path / "polk")
    mine, other = world.store("REL1001"), world.store("REL1002")
    row = approved(world, mine, other)
    package.build(world.central, world.people["sue"], row.id)
    unsent = approved(world, mine)
    path = tmp_path / "requests.csv"
    path.write_text("plate,state\nREL1001,MN\n")
    protected.import_suppression(world.central, path, actor=people_actor(world))
    [order] = recipientorders.waiting(world.central, world.people["sue"])
    assert (order.kind, order.reads, order.release) == ("destroy", (mine,), row.id)
    assert order.release != unsent.id
    letter = recipientorders.letter(world.central, world.people["sue"], order.id)
    assert mine in letter
    for word in ("REL1001", "confidential", "Safe at Home", "request"):
        assert word not in letter
    with world.central.database.read() as tx:
        trail = "".join(event.model_dump_json() for event in audit.events(tx))
        told = [e for e in audit.events(tx) if e.event == "recipient.ordered"]
    assert told[0].subjects == (order.id, row.id)  # neither its kind nor its records
    assert not told[0].detail
    assert "destroy" not in trail
    with pytest.raises(RefusedError):
        recipientorders.waiting(world.central, world.people["ida"])
    with pytest.raises(RefusedError, match="waiting"):
        recipientorders.confirmed(world.central, world.people["sue"], order.id, "N. Olsen")
    recipientorders.sent(world.central, world.people["sue"], order.id, "registered mail")
    recipientorders.confirmed(world.central, world.people["sue"], order.id, "N. Olsen")
    assert recipientorders.waiting(world.central, world.people["sue"]) == []


@pytest.mark.policy("R-460.7-d", "R-460.5-a")
def test_recipients_hear_of_holds_and_of_their_end(world: World, tmp_path: Path) -> None:
    registered(world, tmp_path / "polk")
    mine = world.store("REL1001")
    package.build(world.central, world.people["sue"], approved(world, mine).id)
    from alprd.central.records import holds

    row = world.hold("REL1001")
    holds.release(world.central, world.people["sue"], row.id, WORDS)
    kinds = [order.kind for order in recipientorders.waiting(world.central, world.people["sue"])]
    assert sorted(kinds) == ["end_hold", "hold"]


@pytest.mark.policy("R-460.7-c")
def test_nothing_of_a_request_stands_in_clear_in_the_store(world: World, tmp_path: Path) -> None:
    registered(world, tmp_path / "polk")
    row = approved(world, world.store("REL1001"))
    world.central.database.checkpoint()
    data = storekind.database_bytes(world.home)
    for word in (b"Det. N. Olsen", b"stolen van went", PAPER, FINDING.encode(), b"26-004711"):
        # The number stands in the trail, which the public may see in part; nothing else does.
        assert (word in data) == (word == b"26-004711")
    with world.central.database.write() as tx:
        tx.execute(
            update(release.tables.releases)
            .where(release.tables.releases.c.id == row.id)
            .values(sealed=b"\0" * 64)
        )
    with pytest.raises(EnvelopeError):
        release.register(world.central, world.people["sue"])
    with world.central.database.write() as tx:
        tx.execute(db.reads.delete())


def people_actor(world: World) -> audit.Actor:
    from alprd.central.staff import people

    return people.actor(world.people["sue"])
