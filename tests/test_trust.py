"""Enrolment against a real TLS server, honest and not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from dock_world import AGENCY, CAR, World

from alprd.central.storage import ca
from alprd.crypto import generate_key, public_bytes
from alprd.errors import ConfigError, SignatureError, StoreError, SyncError
from alprd.trust import Trust, enrol, enrol_command


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


@pytest.mark.policy("R-460.5-2")
def test_enrolment_gives_keys_anchors_and_mutual_tls(world: World) -> None:
    trust = world.enrol()
    assert (trust.agency, trust.vehicle, trust.reader) == (AGENCY, CAR, "7")
    again = Trust.load(trust.state_dir)
    assert public_bytes(again.batch_key) == public_bytes(trust.batch_key)
    assert public_bytes(again.receipt_key) == public_bytes(world.receipt_key)
    with again.client() as client:
        assert client.get("/v1/permit").status_code == 200
    context = ssl.create_default_context(cadata=ca.pem(world.ca))
    with httpx.Client(verify=context, trust_env=False) as stranger:
        assert stranger.get(f"{world.url}/v1/permit").status_code == 403


def test_everything_stored_is_its_owners_only(world: World) -> None:
    state = world.enrol().state_dir
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_false_central_never_sees_the_code(world: World, tmp_path: Path) -> None:
    other = ca.create_ca(generate_key(), "somebody", datetime.now(UTC))
    code = ca.new_code(other)
    with pytest.raises(SignatureError, match="not the central"):
        enrol(world.url, code, CAR, tmp_path / "s")
    assert world.seen == ["/v1/ca"]
    assert not (tmp_path / "s").exists()


def test_a_server_that_shows_the_true_ca_but_is_not_under_it_is_refused(
    world: World, tmp_path: Path
) -> None:
    """The man in between relays the public CA certificate and waits for the code."""
    (tmp_path / "true").mkdir()
    true = World(tmp_path / "true")
    try:
        world.handlers["/v1/ca"] = lambda body, query: (200, ca.pem(true.ca).encode())
        with pytest.raises(SyncError, match="CERTIFICATE_VERIFY_FAILED"):
            enrol(world.url, true.code, CAR, tmp_path / "s")
    finally:
        true.stop()
    assert "/v1/enrol" not in world.seen


@pytest.mark.parametrize(
    "changes",
    [
        {"vehicle": "unit-13"},
        {"receipt_key": "AAAA"},
        {"tuf_root": "{}"},
        {"certificate": "nothing"},
        {"ca": "nothing"},
    ],
)
def test_an_answer_that_does_not_fit_together_is_refused(
    world: World, tmp_path: Path, changes: dict[str, Any]
) -> None:
    world.reply_changes = changes
    with pytest.raises(SignatureError):
        enrol(world.url, world.code, CAR, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_certificate_for_another_key_is_refused(world: World, tmp_path: Path) -> None:
    thief = generate_key()
    certificate = ca.issue_server(
        world.ca, world.ca_key, thief.public_key(), [CAR], datetime.now(UTC)
    )
    world.reply_changes = {"certificate": ca.pem(certificate)}
    with pytest.raises(SignatureError, match="another car or key"):
        enrol(world.url, world.code, CAR, tmp_path / "s")


def test_a_failed_enrolment_leaves_the_earlier_one(world: World) -> None:
    before = world.enrol()
    world.code = ca.new_code(world.ca)
    with pytest.raises(SyncError, match="403"):
        enrol(world.url, ca.new_code(world.ca), CAR, before.state_dir)
    assert public_bytes(Trust.load(before.state_dir).batch_key) == public_bytes(before.batch_key)
    after = enrol(world.url, world.code, CAR, before.state_dir)
    assert public_bytes(after.batch_key) != public_bytes(before.batch_key)


@pytest.mark.parametrize(
    ("url", "code", "vehicle"),
    [
        ("http://127.0.0.1:1", None, CAR),
        (None, "ABC", CAR),
        (None, "ABCDEFGH.0123", CAR),
        (None, None, "unit 12"),
    ],
)
def test_impossible_arguments_are_named(
    world: World, tmp_path: Path, url: str | None, code: str | None, vehicle: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        enrol(url or world.url, code or world.code, vehicle, tmp_path / "s")
    assert caught.value.remedy


@pytest.mark.parametrize("url", ["https://[", "https://127.0.0.1:1", "https:///x", "https://a b"])
def test_an_address_where_nobody_is_is_named(world: World, tmp_path: Path, url: str) -> None:
    with pytest.raises(SyncError) as caught:
        enrol(url, world.code, CAR, tmp_path / "s")
    assert caught.value.remedy
    assert world.code not in caught.value.diagnostics()


def test_not_enrolled_and_damaged_say_what_to_do(world: World, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not enrolled"):
        Trust.load(tmp_path / "nothing")
    state = world.enrol().state_dir
    (state / "keys" / "batch.key").chmod(0o644)
    with pytest.raises(StoreError, match="readable by others"):
        Trust.load(state)
    (state / "keys" / "batch.key").chmod(0o600)
    (state / "trust" / "receipt.pub").write_bytes(b"\x04")
    with pytest.raises(StoreError, match="damaged"):
        Trust.load(state)
    (state / "trust" / "receipt.pub").unlink()
    with pytest.raises(StoreError, match=r"receipt\.pub"):
        Trust.load(state)


def test_client_without_its_certificate_says_so(world: World) -> None:
    trust = world.enrol()
    (trust.state_dir / "trust" / "car.pem").write_text("")
    with pytest.raises(StoreError, match="TLS"):
        trust.client()


def test_command_line(world: World, tmp_path: Path) -> None:
    arguments = ["--central", world.url, "--vehicle", CAR, "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(enrol_command, arguments, input=world.code + "\n")
    assert done.exit_code == 0, done.output
    assert f"{CAR} is enrolled at {AGENCY} as reader 7" in done.output
    assert world.code not in done.output
    failed = CliRunner().invoke(enrol_command, [*arguments, "--code", "nonsense"])
    assert failed.exit_code == ConfigError.exit_code
    assert "remedy" in failed.output
