"""The wrap key at rest: what opens it, what does not, and what lies on the disk meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alprd import crypto, unlock, verifiers
from alprd.errors import InputError, RefusedError, StoreError
from alprd.unlock import CLEAR, LOCKED, Locker
from alprd.wire import Person

pytestmark = pytest.mark.policy("R-460.6-0", "R-460.5-b4", "R-CJIS-1")
SECRET = b"c" * 32
PASSWORD = "a long pass phrase"


def person(name: str = "dana", *, password: str = PASSWORD, scheme: str = "argon2id") -> Person:
    later = datetime.now(UTC) + timedelta(days=9)
    kind: verifiers.Scheme = "argon2id" if scheme == "argon2id" else "pbkdf2-sha512"
    return Person(
        id=name,
        name=name.title(),
        roles=("operator",),
        verifier=verifiers.make(password, kind),
        training_expires=later,
        authorised_until=later,
        clearances=(),
    )


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a clear wrap key, as an earlier version left it."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    crypto.save_private(crypto.generate_key(), folder / CLEAR)
    return folder


def state(locker: Locker) -> dict[str, bool]:
    """What changes under a test; asked anew each time."""
    return {
        "locked": locker.locked,
        "alarm": locker.alarm is not None and unlock.ADVICE in locker.alarm,
        "encrypted": locker.encrypted,
        "settled": locker.settled,
    }


def is_(*names: str) -> dict[str, bool]:
    """The state in which these hold and no others."""
    return {name: name in names for name in ("locked", "alarm", "encrypted", "settled")}


def sealed(keys: Path) -> tuple[Locker, bytes]:
    """A locker that contact has sealed and opened; the public point of its key."""
    locker = Locker.load(keys)
    point = crypto.public_bytes(locker.wrap_key())
    locker.release("contact", SECRET)
    return locker, point


def test_a_clear_key_is_taken_over_at_the_first_contact(keys: Path) -> None:
    linked = keys.parent / "wrap-by-another-name"
    linked.hardlink_to(keys / CLEAR)
    locker, point = sealed(keys)
    assert state(locker) == is_("encrypted", "settled")
    assert {path.name for path in keys.iterdir()} == {LOCKED}
    assert linked.read_bytes() == b""  # overwritten, not only unlinked
    assert (keys / LOCKED).stat().st_mode & 0o077 == 0
    again = Locker.load(keys)
    assert state(again) == is_("encrypted", "locked", "alarm")
    with pytest.raises(RefusedError) as refused:
        again.wrap_key()
    assert refused.value.reason == "car_locked"
    opened: list[bool] = []
    again.on_open = lambda: opened.append(again.locked)
    again.release("contact", SECRET)
    assert opened == [False]
    assert state(again) == is_("encrypted", "settled")
    assert crypto.public_bytes(again.wrap_key()) == point


def test_nothing_on_the_disk_opens_it(keys: Path) -> None:
    locker, _ = sealed(keys)
    locker.keep(person(), PASSWORD)
    data = (keys / LOCKED).read_bytes()
    assert b"PRIVATE KEY" not in data and b"dana" not in data and SECRET not in data
    for form in (bytes(locker._kek), bytes(locker._kek).hex().encode(), SECRET.hex().encode()):
        assert form not in data
    record = json.loads(data)
    for slot in record["slots"]:  # no part of the file is the key of another
        for text in (*slot.values(), record["sealed"], record["salt"]):
            fresh = Locker.load(keys)
            with pytest.raises(RefusedError):
                fresh.release("contact", text.encode().ljust(32, b"\0"))


def test_another_secret_opens_nothing_and_changes_nothing(keys: Path) -> None:
    sealed(keys)
    before = (keys / LOCKED).read_bytes()
    locker = Locker.load(keys)
    for kind in ("contact", "credential"):
        with pytest.raises(RefusedError):
            locker.release(kind, b"d" * 32)
    with pytest.raises(InputError):
        locker.release("contact", b"short")
    assert state(locker) == is_("encrypted", "locked", "alarm")
    assert (keys / LOCKED).read_bytes() == before


def test_central_with_a_new_secret_gets_a_new_slot_while_the_car_is_open(keys: Path) -> None:
    locker, point = sealed(keys)
    locker.release("contact", b"d" * 32)
    assert locker.ways == {"contact": 1}
    again = Locker.load(keys)
    with pytest.raises(RefusedError):
        again.release("contact", SECRET)
    again.release("contact", b"d" * 32)
    assert crypto.public_bytes(again.wrap_key()) == point


@pytest.mark.parametrize("scheme", verifiers.SCHEMES)
def test_a_password_that_signed_on_here_opens_and_no_other(keys: Path, scheme: str) -> None:
    locker, point = sealed(keys)
    dana = person(scheme=scheme)
    locker.keep(dana, PASSWORD)
    before = (keys / LOCKED).read_bytes()
    locker.keep(dana, PASSWORD)  # the same again costs nothing
    assert (keys / LOCKED).read_bytes() == before
    again = Locker.load(keys)
    assert again.knows("dana") and not again.knows("pat")
    told = set()
    for name, password in (("dana", "wrong"), ("pat", PASSWORD), ("dana", "")):
        with pytest.raises(RefusedError) as refused:
            again.open_for(name, password)
        told.add((refused.value.message, refused.value.remedy, refused.value.reason))
        assert again.locked
    assert len(told) == 1  # the page does not tell who has used this car
    again.open_for("dana", PASSWORD)
    assert crypto.public_bytes(again.wrap_key()) == point
    again.open_for("pat", "anything")  # open already: the roster decides


def test_who_leaves_or_changes_the_password_opens_no_more(keys: Path) -> None:
    locker, _ = sealed(keys)
    stays, leaves, changes = person("stays"), person("leaves"), person("changes")
    frozen = person("frozen")
    for one in (stays, leaves, changes, frozen):
        locker.keep(one, PASSWORD)
    assert locker.ways == {"contact": 1, "person": 4}
    linked = keys.parent / "before"
    linked.hardlink_to(keys / LOCKED)
    locker.prune(
        (stays, person("changes", password="another"), frozen.model_copy(update={"frozen": True}))
    )
    assert linked.read_bytes() == b""  # the file with the former slots is overwritten
    assert {path.name for path in keys.iterdir()} == {LOCKED}
    again = Locker.load(keys)
    assert [again.knows(n) for n in ("stays", "leaves", "changes", "frozen")] == [
        True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(RefusedError):
        again.open_for("leaves", PASSWORD)
    again.open_for("stays", PASSWORD)
    again.keep(person("changes", password="another"), "another")
    assert again.ways == {"contact": 1, "person": 2}


def test_a_person_never_locks_a_clear_key_alone(keys: Path) -> None:
    """Or a car whose central is of an earlier version would depend on one person's memory."""
    locker = Locker.load(keys)
    locker.keep(person(), PASSWORD)
    assert not locker.encrypted and (keys / CLEAR).exists()


def test_the_oldest_of_too_many_people_gives_way(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlock, "MOST_PEOPLE", 2)
    locker, _ = sealed(keys)
    for name in ("one", "two", "three"):
        locker.keep(person(name), PASSWORD)
    assert [locker.knows(name) for name in ("one", "two", "three")] == [False, True, True]


def test_a_credential_of_the_tpm_opens_at_the_start(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = keys.parent / "credentials"
    given.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    locker = Locker.load(keys)
    locker.by_credential()
    assert state(locker) == is_()  # none was given
    (given / unlock.CREDENTIAL).write_bytes(os.urandom(32))
    locker.by_credential()
    assert state(locker) == is_("encrypted")
    assert locker.ways == {"credential": 1}
    again = Locker.load(keys)
    again.by_credential()
    assert state(again) == is_("encrypted")
    again.release("contact", SECRET)
    assert again.ways == {"contact": 1, "credential": 1}
    (given / unlock.CREDENTIAL).write_bytes(os.urandom(32))  # another machine's
    thief = Locker.load(keys)
    thief.by_credential()
    assert thief.locked


def test_a_power_cut_in_the_take_over_loses_nothing(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = (keys / CLEAR).read_bytes()
    _, point = sealed(keys)
    (keys / CLEAR).write_bytes(clear)  # cut before it was destroyed
    (keys / CLEAR).chmod(0o600)
    locker = Locker.load(keys)
    assert crypto.public_bytes(locker.wrap_key()) == point
    locker.release("contact", SECRET)
    assert {path.name for path in keys.iterdir()} == {LOCKED}
    again = Locker.load(keys)
    again.release("contact", SECRET)
    assert crypto.public_bytes(again.wrap_key()) == point


def test_a_full_disk_leaves_the_clear_key_where_it_is(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    locker = Locker.load(keys)
    with monkeypatch.context() as patched:
        patched.setattr(unlock, "write_secret", no_room)
        with pytest.raises(StoreError, match="No space"):
            locker.release("contact", SECRET)
    assert (keys / CLEAR).exists()
    assert state(locker) == is_()
    locker.release("contact", SECRET)
    assert state(locker) == is_("encrypted", "settled")
    assert not (keys / CLEAR).exists()


def test_a_stop_overwrites_the_key_in_ram(keys: Path) -> None:
    locker, _ = sealed(keys)
    held = locker._kek
    assert any(held)
    locker.close()
    assert not any(held) and len(held) == 32
    with pytest.raises(RefusedError):
        locker.wrap_key()


@pytest.mark.parametrize("damage", ["open", "cut", "gone"])
def test_a_bad_file_is_named(keys: Path, damage: str) -> None:
    sealed(keys)
    path = keys / LOCKED
    if damage == "open":
        path.chmod(0o644)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        path.unlink()
    with pytest.raises(StoreError):
        Locker.load(keys)


def test_a_copied_folder_is_as_locked_as_the_car(keys: Path, tmp_path: Path) -> None:
    locker, _ = sealed(keys)
    locker.keep(person(), PASSWORD)
    shutil.copytree(keys, tmp_path / "copy")
    assert Locker.load(tmp_path / "copy").locked
