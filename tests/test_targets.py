"""Lists to the car: a real TUF repository over mutual TLS, and every way to publish falsely."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dock_world import LISTED, NAME, SUPPRESSED, World, hotlist_plain
from securesystemslib.signer import CryptoSigner

from alprd import wire
from alprd.crypto import canonical, generate_key, public_bytes
from alprd.errors import StoreError
from alprd.frames import Character, PlateReading
from alprd.mirror import CentralFetcher, TargetsError
from alprd.targets import TargetClient, TargetSet
from alprd.trust import Trust


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def trust(world: World) -> Trust:
    return world.enrol()


def fetch(client: TargetClient, trust: Trust) -> TargetSet | None:
    with trust.client(timeout_s=5) as connection:
        return client.refresh(connection, clock_agrees=True)


def reading(text: str) -> PlateReading:
    characters = tuple(Character(char, 0.99) for char in text)
    return PlateReading(text, "", characters, "MN", 0.9, 0.99, sure=True)


def test_a_whole_set_is_fetched_verified_and_opened(world: World, trust: Trust) -> None:
    found = fetch(TargetClient(trust), trust)
    assert found is not None
    assert found.policy.version == "460-2026"
    assert [person.name for person in found.roster.people] == [NAME]
    assert found.versions == {"targets": "1", "lpdf": "1"}
    (match,) = found.matcher.match(reading(LISTED), datetime.now(UTC))
    assert match.kind == "exact"
    assert found.suppression.covers(reading(SUPPRESSED))
    assert not found.suppression.covers(reading(LISTED))


def test_the_key_of_the_day_and_the_last_one_after_the_series(world: World, trust: Trust) -> None:
    found = fetch(TargetClient(trust), trust)
    assert found is not None
    today = datetime.now(UTC).date()
    key, own = found.intake_key(today)
    assert own
    assert public_bytes(key) == public_bytes(world.repository.intake)
    assert found.intake_key(today + timedelta(days=90))[1] is False
    assert found.intake_key(today - timedelta(days=90))[1] is False


@pytest.mark.policy("R-460.5-b4")
def test_lists_lie_encrypted_on_the_disk(world: World, trust: Trust) -> None:
    fetch(TargetClient(trust), trust)
    plain = [text.encode() for text in (LISTED, NAME, SUPPRESSED, "argon2")]
    plain.append(world.repository.suppression_key)
    for path in trust.state_dir.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in plain), path


def test_only_news_is_fetched_and_unchanged_lists_are_kept(world: World, trust: Trust) -> None:
    client = TargetClient(trust)
    first = fetch(client, trust)
    assert fetch(client, trust) is None
    old = world.repository.path_of("hotlist-lpdf.bin")
    world.repository.policy["version"] = "460-2027"
    world.repository.version += 1
    world.repository.targets[wire.POLICY] = canonical(world.repository.policy)
    world.repository.sign()
    world.seen.clear()
    second = fetch(client, trust)
    assert first is not None
    assert second is not None
    assert second.policy.version == "460-2027"
    assert old not in world.seen
    assert second.matcher.match(reading(LISTED), datetime.now(UTC))


@pytest.mark.policy("R-460.4.1-b4")
def test_cold_boot_without_contact_uses_the_last_verified_set(world: World, trust: Trust) -> None:
    assert TargetClient(trust).load_offline() is None
    fetch(TargetClient(trust), trust)
    world.stop()
    try:
        client = TargetClient(trust)
        found = client.load_offline()
        assert found is not None
        assert found.matcher.match(reading(LISTED), datetime.now(UTC))
        with pytest.raises(TargetsError) as caught:
            fetch(client, trust)
        assert caught.value.reason == "unreachable"
    finally:
        world.restart()
    assert fetch(client, trust) is None


def test_expiry_governs_acceptance_and_not_the_use_offline(world: World, trust: Trust) -> None:
    repository = world.repository
    fetch(TargetClient(trust), trust)
    repository.expires = dict.fromkeys(repository.expires, timedelta(seconds=2))
    repository.publish()
    client = TargetClient(trust)
    assert fetch(client, trust) is not None
    time.sleep(2.2)
    found = TargetClient(trust).load_offline()
    assert found is not None
    assert found.versions["targets"] == "2"
    with pytest.raises(TargetsError) as caught:
        fetch(client, trust)
    assert caught.value.reason == "expired"


# --- attacks ------------------------------------------------------------------------------------


def _tampered(world: World) -> None:
    path = world.repository.path_of("hotlist-lpdf.bin")
    world.files[path] = world.files[path][:-1] + bytes([world.files[path][-1] ^ 1])


def _rollback(world: World) -> None:
    world.files["/tuf/metadata/timestamp.json"] = world.files["old timestamp"]


def _expired(world: World) -> None:
    world.repository.expires["timestamp"] = timedelta(seconds=-5)
    world.repository.version += 1
    world.repository.sign()


def _wrong_key(world: World) -> None:
    world.repository.signers["targets"] = CryptoSigner.generate_ed25519()
    world.repository.publish()


def _mixed(world: World) -> None:
    base = "/tuf/metadata/"
    version = world.repository.version
    world.files[f"{base}{version}.targets.json"] = world.files[f"{base}1.targets.json"]


def _not_tuf(world: World) -> None:
    world.files["/tuf/metadata/timestamp.json"] = b"<html>captive portal</html>"


def _truncated(world: World) -> None:
    world.cut.add(world.repository.path_of("hotlist-lpdf.bin"))


def _truncated_metadata(world: World) -> None:
    world.cut.add("/tuf/metadata/timestamp.json")


def _endless(world: World) -> None:
    world.flood.add(world.repository.path_of("hotlist-lpdf.bin"))


def _endless_metadata(world: World) -> None:
    world.flood.add("/tuf/metadata/timestamp.json")


def _wrong_car(world: World) -> None:
    world.repository.wraps_for = "unit-13"
    world.repository.publish()


def _wraps_of_another(world: World) -> None:
    world.repository.car_key = generate_key().public_key()
    world.repository.publish()


def _missing(world: World) -> None:
    del world.repository.targets[wire.SUPPRESSION]
    world.repository.version += 1
    world.repository.sign()


def _gone(world: World) -> None:
    del world.files[world.repository.path_of("hotlist-lpdf.bin")]


def _field_too_many(world: World) -> None:
    world.repository.policy["retention_days"] = 400
    world.repository.publish()


def _longer_than_the_law(world: World) -> None:
    world.repository.policy["list_stop_hours"] = 73
    world.repository.publish()


def _bad_line(world: World) -> None:
    world.repository.plain["hotlist-lpdf.bin"] = hotlist_plain(("NOT A PLATE",))
    world.repository.publish()


def _renamed_list(world: World) -> None:
    world.repository.plain["hotlist-lpdf.bin"] = hotlist_plain(list_id="other")
    world.repository.publish()


def _foreign_source(world: World) -> None:
    world.repository.plain["hotlist-extra.bin"] = hotlist_plain(list_id="extra", source="VENDOR")
    world.repository.publish()


def _other_agency(world: World) -> None:
    world.repository.policy["agency"] = "elsewhere"
    world.repository.publish()


def _no_keys(world: World) -> None:
    agency = world.repository.policy["agency"]
    world.repository.clear[wire.INTAKE_KEYS] = canonical(wire.IntakeKeys(agency=agency, keys=()))
    world.repository.publish()


def _bad_key(world: World) -> None:
    keys = (wire.IntakeKey(day="2026-11-22", key=base64.urlsafe_b64encode(b"point").decode()),)
    agency = world.repository.policy["agency"]
    world.repository.clear[wire.INTAKE_KEYS] = canonical(wire.IntakeKeys(agency=agency, keys=keys))
    world.repository.publish()


ATTACKS: tuple[tuple[Callable[[World], None], str], ...] = (
    (_tampered, "tampered"),
    (_rollback, "rollback"),
    (_expired, "expired"),
    (_wrong_key, "unsigned"),
    (_mixed, "mixed"),
    (_not_tuf, "damaged"),
    (_truncated, "truncated"),
    (_truncated_metadata, "truncated"),
    (_endless, "endless"),
    (_endless_metadata, "endless"),
    (_wrong_car, "wrong-car"),
    (_wraps_of_another, "undecryptable"),
    (_missing, "missing"),
    (_gone, "unreachable"),
    (_field_too_many, "schema"),
    (_longer_than_the_law, "schema"),
    (_bad_line, "schema"),
    (_renamed_list, "schema"),
    (_foreign_source, "source"),
    (_other_agency, "wrong-car"),
    (_no_keys, "schema"),
    (_bad_key, "schema"),
)


@pytest.mark.policy("R-460.4.1-b", "R-460.4.1-b4")
@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=[a.__name__ for a, _ in ATTACKS])
def test_a_false_publication_is_refused_and_the_old_set_stays(
    world: World, trust: Trust, attack: Callable[[World], None], reason: str
) -> None:
    client = TargetClient(trust)
    world.files["old timestamp"] = world.files["/tuf/metadata/timestamp.json"]
    world.repository.publish()
    assert fetch(client, trust) is not None
    world.repository.plain["hotlist-lpdf.bin"] = hotlist_plain(("NEW123",), version="2")
    world.repository.publish()
    attack(world)
    with pytest.raises(TargetsError) as caught:
        fetch(client, trust)
    assert caught.value.reason == reason, caught.value.message
    for plate in (LISTED, "NEW123", NAME):
        assert plate not in caught.value.diagnostics()
    kept = TargetClient(trust).load_offline()
    assert kept is not None
    assert kept.versions == {"targets": "2", "lpdf": "1"}
    assert not list((trust.state_dir / "targets" / "sets").glob("new-*"))


def test_after_an_attack_the_true_publication_is_taken(world: World, trust: Trust) -> None:
    client = TargetClient(trust)
    fetch(client, trust)
    world.repository.publish()
    _truncated(world)
    with pytest.raises(TargetsError):
        fetch(client, trust)
    world.cut.clear()
    found = fetch(client, trust)
    assert found is not None
    assert found.versions["targets"] == "2"


def test_nothing_is_decided_while_the_system_clock_disagrees(world: World, trust: Trust) -> None:
    world.seen.clear()
    with trust.client() as connection, pytest.raises(TargetsError) as caught:
        TargetClient(trust).refresh(connection, clock_agrees=False)
    assert caught.value.reason == "clock"
    assert world.seen == []


def test_a_server_that_drips_is_given_up(world: World, trust: Trust) -> None:
    with trust.client() as connection:
        fetcher = CentralFetcher(connection, longest_s=-1)
        with pytest.raises(Exception, match="over -1 s"):
            fetcher.download_bytes(f"{world.url}/tuf/metadata/timestamp.json", 100_000)


# --- keys that change ---------------------------------------------------------------------------


def test_root_rotation_is_followed_online_and_offline(world: World, trust: Trust) -> None:
    client = TargetClient(trust)
    fetch(client, trust)
    repository = world.repository
    repository.signers["targets"] = CryptoSigner.generate_ed25519()
    repository.rotate_root()
    repository.publish()
    found = fetch(client, trust)
    assert found is not None
    offline = TargetClient(trust).load_offline()
    assert offline is not None
    assert offline.versions["targets"] == "2"


# --- the disk -----------------------------------------------------------------------------------


def _active_file(trust: Trust, world: World, name: str) -> Path:
    digest = world.repository.path_of(name).rpartition("/")[2].partition(".")[0]
    return trust.state_dir / "targets" / "active" / "files" / digest


def test_an_altered_file_on_the_disk_is_not_used_but_fetched_again(
    world: World, trust: Trust
) -> None:
    fetch(TargetClient(trust), trust)
    path = _active_file(trust, world, "hotlist-lpdf.bin")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    client = TargetClient(trust)
    with pytest.raises(TargetsError) as caught:
        client.load_offline()
    assert caught.value.reason == "tampered"
    assert fetch(client, trust) is not None
    assert TargetClient(trust).load_offline() is not None


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_altered_metadata_on_the_disk_is_not_used(world: World, trust: Trust, name: str) -> None:
    fetch(TargetClient(trust), trust)
    path = trust.state_dir / "targets" / "active" / name
    path.write_bytes(path.read_bytes().replace(b'"version":1}', b'"version":9}'))
    with pytest.raises(TargetsError) as caught:
        TargetClient(trust).load_offline()
    assert caught.value.reason in ("unsigned", "tampered")
    path.unlink()
    with pytest.raises(TargetsError) as caught:
        TargetClient(trust).load_offline()
    assert caught.value.reason == "damaged"
    assert fetch(TargetClient(trust), trust) is not None


@pytest.mark.policy("R-460.4.1-b4")
@pytest.mark.parametrize("step", ["rename", "symlink_to", "replace"])
def test_a_cut_in_any_phase_of_activation_leaves_a_whole_set(
    world: World, trust: Trust, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fetch(TargetClient(trust), trust)
    world.repository.publish()
    true: Callable[..., object] = getattr(Path, step)

    def cut(self: Path, *arguments: object) -> object:
        if "sets" in str(self) or self.name == ".active.new":
            raise OSError(28, "No space left on device", str(self))
        return true(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, cut)
        with pytest.raises(StoreError, match="No space"):
            fetch(TargetClient(trust), trust)
    client = TargetClient(trust)
    kept = client.load_offline()
    assert kept is not None
    assert kept.versions["targets"] == "1"
    found = fetch(client, trust)
    assert found is not None
    assert found.versions["targets"] == "2"
    assert len(list((trust.state_dir / "targets" / "sets").iterdir())) == 1
