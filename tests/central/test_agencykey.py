"""The agency key: a file, a systemd credential, a PKCS#11 token; and its rotation."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from central_world import make_home, run

from alprd.central.storage.store import Central
from alprd.errors import ConfigError, StoreError

pytestmark = pytest.mark.policy("R-460.6-0")
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("**/libsofthsm2.so"))), None)


def fingerprint(home: Path) -> bytes:
    """What only the true root gives: the receipt key's public half."""
    with Central(home) as central:
        return central.keystore.purpose_key("a test")


def set_source(home: Path, source: str) -> None:
    path = home / "central.toml"
    lines = [
        f'agency = "{source}"' if line.startswith('agency = ""') else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def test_a_rotation_leaves_only_the_new_key(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    before = fingerprint(home)
    path = home / "keys" / "agency.key"
    old = path.read_bytes()
    for _ in range(2):  # from the key itself, then from a root
        assert run(home, "keys", "rotate")["settings_to_change"] is False
        assert path.read_bytes() != old
        assert fingerprint(home) == before
        new = path.read_bytes()
        path.write_bytes(old)
        with pytest.raises(StoreError, match="not the one of this keystore"):
            Central(home)
        path.write_bytes(new)
        old = new
    assert list((home / "keys").glob("*.next")) == []
    run(home, "publish")
    assert run(home, "audit", "verify")["whole"]


STEPS = """
import os, signal, sys
from pathlib import Path
from alprd.central.storage import agencykey, keys
from alprd.central.storage.store import Central
import alprd.crypto
left = int(sys.argv[2])
def die(*a):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def wrapped(act):
    def run(*a, **k):
        die(); out = act(*a, **k); die(); return out
    return run
agencykey.crypto.write_secret = wrapped(agencykey.crypto.write_secret)
keys.Keystore.wrap_root = wrapped(keys.Keystore.wrap_root)
keys.Keystore.settle_root = wrapped(keys.Keystore.settle_root)
Path.replace = wrapped(Path.replace)
home = Path(sys.argv[1])
with Central(home) as central:
    agencykey.rotate(home / "keys", central.keystore, "", "")
Central(home).close()
print("done")
"""


def test_a_rotation_killed_at_any_step_loses_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    before = fingerprint(home)
    killed = 0
    for step in range(1, 20, 2):  # after each step; before the next is the same
        done = subprocess.run(
            [sys.executable, "-c", STEPS, str(home), str(step)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert fingerprint(home) == before, step
        if done.returncode == 0:
            assert "done" in done.stdout
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
    assert killed >= 3


def test_a_key_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path / "home")
    before = fingerprint(home)
    given = tmp_path / "credentials"
    given.mkdir()
    (given / "agency").write_bytes(base64.b64encode(os.urandom(32)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert run(home, "keys", "rotate", "--to", "credential:agency")["settings_to_change"]
    assert fingerprint(home) == before  # the file is good until the settings name the other
    set_source(home, "credential:agency")
    assert fingerprint(home) == before
    set_back = (home / "central.toml").read_text().replace("credential:agency", "")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(StoreError, match="systemd credential"):
        Central(home)
    (home / "central.toml").write_text(set_back)
    with pytest.raises(StoreError, match="not the one"):  # the file is good no more
        Central(home)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real token (SoftHSM) with an AES key; the source that names it."""
    if LIBRARY is None or shutil.which("softhsm2-util") is None:
        pytest.skip("needs SoftHSM: apt-get install softhsm2")
    (tmp_path / "tokens").mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "agency", "--pin", "4711-pin",
         "--so-pin", "4712-pin"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    make = (
        "import pkcs11, sys\n"
        f"token = pkcs11.lib({str(LIBRARY)!r}).get_token(token_label='agency')\n"
        "with token.open(rw=True, user_pin='4711-pin') as session:\n"
        "    session.generate_key(pkcs11.KeyType.AES, 256, label='alprd', store=True)\n"
    )
    subprocess.run([sys.executable, "-c", make], check=True, timeout=60)
    return f"pkcs11:{LIBRARY}?token=agency&key=alprd&pin=token.pin"


def central(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: a PKCS#11 library reads its settings once."""
    return subprocess.run(
        [sys.executable, "-m", "alprd.central.cli", *args, "--home", str(home)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_key_that_never_leaves_its_token(token: str, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    pin = home / "keys" / "token.pin"
    pin.write_text("4711-pin\n")
    done = central(home, "keys", "rotate", "--to", token)
    assert done.returncode == 0, done.stderr
    set_source(home, token)
    (home / "keys" / "agency.key").unlink()
    for command in (("status",), ("publish",), ("purge",)):
        done = central(home, *command)
        assert done.returncode == 0, done.stderr
    pin.write_text("1234-pin\n")
    refused = central(home, "status")
    assert "does not give the agency key" in refused.stderr
    assert "1234" not in refused.stderr


@pytest.mark.parametrize("source", ["vault:x", "pkcs11:/lib/none.so", "pkcs11:x?token=a&key=b"])
def test_a_source_that_cannot_be_is_told(tmp_path: Path, source: str) -> None:
    home = make_home(tmp_path / "home")
    set_source(home, source)
    with pytest.raises(ConfigError, match="agency"):
        Central(home)
