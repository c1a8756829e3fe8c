"""Key ceremony and rotations, through the commands and a car that follows them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import Car, Server, fetch_target, make_home, run
from click.testing import CliRunner
from sqlalchemy import select
from tuf.api.metadata import Metadata, Root

from alprd import wire
from alprd.central.cli import main
from alprd.central.publication import ceremony, publish
from alprd.central.storage import db, repository
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError

WORDS = ("blue heron over big cormorant", "seven loons and a canoe trip", "wild rice harvest moon")
NEW = ("a first frost on the meadow", "second growth of the aspen")


def root_of(home: Path) -> Root:
    folder = home / "tuf" / "metadata"
    number = max(int(path.name.split(".")[0]) for path in folder.glob("*.root.json"))
    return Metadata[Root].from_file(str(folder / f"{number}.root.json")).signed


def tuf(home: Path, *args: str, lines: tuple[str, ...] = (), check: bool = True) -> Any:
    extra = ("--passphrase-stdin",) if lines else ()
    by = () if args[0] == "status" else ("--by", "sheriff")
    return run(
        home, "tuf", *args, *by, *extra, stdin="".join(f"{line}\n" for line in lines), check=check
    )


@pytest.mark.policy("R-460.4.1-b")
def test_a_car_follows_ceremony_and_rotation_of_every_key(
    server: Server, car: Car, tmp_path: Path
) -> None:
    home = server.home
    assert fetch_target(car, wire.POLICY)
    assert tuf(home, "status")["root_offline"] is False

    out = tmp_path / "stick"
    done = tuf(home, "ceremony", "--out", str(out), "--keys", "3", "--threshold", "2", lines=WORDS)
    assert (done["root"], done["threshold"], len(done["files"])) == (2, 2, 3)
    assert tuf(home, "status")["root_offline"] is True
    assert fetch_target(car, wire.POLICY)

    # One of the two that the root asks for is too few; nothing changes.
    one = ("--root-key", done["files"][0])
    two = (*one, "--root-key", done["files"][2])
    few = tuf(home, "rotate-key", "timestamp", *one, lines=WORDS[:1], check=False)
    assert (few.returncode, "1 of the 2 signatures" in few.stderr) == (6, True)
    assert "--root-key" in few.stderr
    assert root_of(home).version == 2

    for role in repository.ONLINE:
        before = root_of(home).roles[role].keyids
        tuf(home, "rotate-key", role, *two, lines=(WORDS[0], WORDS[2]))
        assert set(root_of(home).roles[role].keyids).isdisjoint(before)
        assert fetch_target(car, wire.POLICY)
    assert root_of(home).version == 5

    # And the root itself, from files to files.
    again = tuf(
        home, "rotate-root", *two, "--out", str(tmp_path / "other"), "--keys", "2",
        lines=(WORDS[0], WORDS[2], *NEW),
    )  # fmt: skip
    assert (again["root"], again["threshold"]) == (6, 1)
    old = tuf(home, "renew-root", *two, lines=(WORDS[0], WORDS[2]), check=False)
    assert old.returncode == 6
    key = ("--root-key", again["files"][1])
    assert tuf(home, "renew-root", *key, lines=NEW[1:])["root"] == 7
    assert fetch_target(car, wire.POLICY)
    assert run(home, "publish")["changed"] == [wire.SUPPRESSION, wire.wraps_target(car.name)]
    assert fetch_target(car, wire.POLICY)


def test_no_private_root_key_stays_at_central(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with Central(home) as central:
        root = repository.latest_root(central).signed
        (signer,) = repository.signers_at_hand(central, root, "root")
        kept = central.keystore.find_secret(f"tuf:{signer.public_key.keyid}")
    assert kept == signer.private_bytes
    tuf(home, "ceremony", "--out", str(tmp_path / "stick"), lines=WORDS[:1])
    with Central(home) as central, central.keystore.database.read() as tx:
        names = list(tx.scalars(select(db.secrets.c.name)))
    online = {key for role in repository.ONLINE for key in root_of(home).roles[role].keyids}
    assert {name for name in names if name.startswith("tuf")} == {f"tuf:{key}" for key in online}


def test_a_key_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    (name,) = tuf(home, "ceremony", "--out", str(tmp_path / "stick"), lines=WORDS[:1])["files"]
    path = Path(name)
    assert path.stat().st_mode & 0o077 == 0
    assert b"PRIVATE" not in path.read_bytes()
    with pytest.raises(InputError, match="does not open"):
        ceremony.load_key(path, WORDS[1])
    made = json.loads(path.read_text())
    path.write_text(json.dumps({**made, "keyid": "0" * 64}))
    with pytest.raises(InputError, match="does not open"):
        ceremony.load_key(path, WORDS[0])
    for text in ("{}", "[]", "nonsense", json.dumps({**made, "salt": 7})):
        path.write_text(text)
        with pytest.raises(InputError, match="no file of a root key"):
            ceremony.load_key(path, WORDS[0])
    with pytest.raises(InputError, match="No such file"):
        ceremony.load_key(tmp_path / "none", WORDS[0])


def test_a_refused_ceremony_changes_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    out = tmp_path / "stick"
    weak = tuf(
        home, "ceremony", "--out", str(out), "--keys", "2", lines=(WORDS[0], "short"), check=False
    )
    assert (weak.returncode, "12 characters" in weak.stderr) == (6, True)
    many = tuf(home, "ceremony", "--out", str(out), "--threshold", "2", lines=WORDS, check=False)
    assert (many.returncode, "does not fit" in many.stderr) == (6, True)
    assert list(tmp_path.glob("stick/*")) == []
    assert root_of(home).version == 1
    tuf(home, "ceremony", "--out", str(out), lines=WORDS[:1])
    second = tuf(home, "ceremony", "--out", str(tmp_path / "b"), lines=WORDS[1:2], check=False)
    assert (second.returncode, "0 of the 1 signatures" in second.stderr) == (6, True)
    assert list(tmp_path.glob("b/*")) == []


def test_a_root_at_hand_is_renewed_and_one_in_a_safe_is_warned_of(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    now = [datetime.now(UTC)]
    with Central(home, lambda: now[0]) as central:
        now[0] += timedelta(days=300)
        publish.publish(central)
        assert root_of(home).version == 1
        now[0] += timedelta(days=10)
        publish.publish(central)
        assert root_of(home).version == 2
        assert root_of(home).expires > now[0] + timedelta(days=360)
        ceremony.hold_ceremony(
            central, tmp_path / "stick", WORDS[:1], threshold=1, actor=publish.CENTRAL
        )
        now[0] += timedelta(days=340)
        publish.publish(central)
        assert root_of(home).version == 3
        assert any("renew-root" in text for text in ceremony.status(central)["advice"])
        now[0] += timedelta(days=40)
        assert any("has expired" in text for text in ceremony.status(central)["advice"])


def test_a_rotation_that_was_killed_heals_at_the_next_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    with Central(home) as central:

        def die(*args: object) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(publish, "sign_again", die)
            with pytest.raises(KeyboardInterrupt):
                ceremony.rotate_key(central, "targets", actor=publish.CENTRAL)
        root = repository.latest_root(central).signed
        assert root.version == 2
        publish.publish(central)
        folder = home / "tuf" / "metadata"
        stamp: Any = Metadata.from_file(str(folder / "timestamp.json"))
        number = stamp.signed.snapshot_meta.version
        shot: Any = Metadata.from_file(str(folder / f"{number}.snapshot.json"))
        number = shot.signed.meta["targets.json"].version
        aims: Any = Metadata.from_file(str(folder / f"{number}.targets.json"))
        root.verify_delegate("targets", aims.signed_bytes, aims.signatures)
        with pytest.raises(RefusedError):
            ceremony.rotate_key(central, "root", actor=publish.CENTRAL)


def test_a_home_made_before_rotation_existed_goes_on(tmp_path: Path) -> None:
    """Its keys lie under the role's name."""
    home = make_home(tmp_path / "home")
    with Central(home) as central:
        root = repository.latest_root(central).signed
        for role in repository.ROLES:
            (keyid,) = root.roles[role].keyids
            central.keystore.put_secret(f"tuf-{role}", central.keystore.secret(f"tuf:{keyid}"))
            central.keystore.forget_secret(f"tuf:{keyid}")
        ceremony.rotate_key(central, "snapshot", actor=publish.CENTRAL)
        assert central.keystore.find_secret("tuf-snapshot") is None
        assert central.keystore.find_secret("tuf-targets") is not None
        publish.publish(central)


def test_every_command_of_the_written_procedure_exists() -> None:
    text = (Path(__file__).parents[2] / "docs" / "key-ceremony.md").read_text()
    commands = re.findall(r"alprd-central ((?:tuf )?[a-z-]+)((?: [^\n|`]*)?)", text)
    assert {
        "tuf ceremony",
        "tuf rotate-root",
        "tuf rotate-key",
        "tuf renew-root",
        "tuf status",
    } <= {name for name, _ in commands}
    for name, rest in commands:
        help_text = CliRunner().invoke(main, [*name.split(), "--help"])
        assert help_text.exit_code == 0, name
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text.output, (name, option)
