"""The attack table: a real central process over mutual TLS, whose files or line an attacker holds.

Each attack is refused with a reason of its own, says what to do, and leaves the list before in use;
when the attack is over, the true publication is taken.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dock_world import AGENCY, CAR, LISTED, Car
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile

from alprd import sync, wire
from alprd.central.cli import main
from alprd.central.storage import repository
from alprd.central.storage.store import Central
from alprd.crypto import SignedDocument, sha256_hex, verify_document
from alprd.errors import SignatureError
from alprd.frames import Character, PlateReading
from alprd.outbound import ask_signed
from alprd.permits import PermitBook
from alprd.refusals import REMEDIES, TargetsError
from alprd.store import Store
from alprd.targets import TargetClient, TargetSet
from alprd.trust import Trust, enrol

NEW = "NEW417"
OTHER = "unit-13"
MANY = [f"A{number:05d}" for number in range(3000)]


class Line:
    """A TCP line to central that can be cut after some bytes, and counts what came down."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.left: int | None = None
        self.came = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            for pair in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        try:
            while data := source.recv(8192):
                if down:
                    if self.left is not None:
                        data, self.left = data[: self.left], self.left - len(data)
                    self.came += len(data)
                sink.sendall(data)
                if down and self.left is not None and self.left <= 0:
                    break
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._socket.close()


class Scene:
    """Central at its second publication, and a car that holds the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.run("init", "--agency", AGENCY, "--name", "Invented", "--adopted-by", "Nobody")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "alprd.central.cli", "serve", "--home", str(self.home),
                "--car-port", "0", "--page-port", "0", "--json",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = Line(int(json.loads(self.process.stdout.readline())["car_port"]))
        self.first_stamp = self.metadata("timestamp.json").read_bytes()
        url = f"https://127.0.0.1:{self.line.port}"
        for vehicle, number in ((CAR, "7"), (OTHER, "8")):
            code = self.run("enrol-code", "--vehicle", vehicle, "--reader", number)["code"]
            enrol(url, code, vehicle, folder / vehicle)
        self.import_list([LISTED, *MANY])
        self.run("publish")
        shutil.copytree(folder / CAR, folder / "bare")
        trust = met(folder / CAR)
        with trust.client() as client:
            found = TargetClient(trust).refresh(client, clock_agrees=True)
        assert found is not None
        self.held = dict(found.versions)
        self.import_list([NEW, LISTED, *MANY])
        later = (datetime.now(UTC) + timedelta(days=90)).date().isoformat()
        self.run(
            "people", "add", "--id", "d1", "--name", "Invented Deputy", "--role", "operator",
            "--password-stdin", "--training-expires", later, "--authorised-until", later,
            "--by", "test", stdin="correct horse battery\n",
        )  # fmt: skip
        self.run("publish")

    def run(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        done = CliRunner().invoke(main, [*arguments, "--home", str(self.home), "--json"], stdin)
        assert done.exit_code == 0, (done.output, done.exception)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return found

    def import_list(self, plates: list[str]) -> None:
        path = self.folder / "hot.csv"
        rows = "".join(f"{p},MN,,stolen,LPDF,2026-11-01,invented vehicle\n" for p in plates)
        path.write_text(f"plate,state,type,category,source,entered,text\n{rows}")
        self.run(
            "lists", "import", str(path), "--list", "lpdf", "--source", "LPDF",
            "--supplied-at", datetime.now(UTC).isoformat(), "--by", "test",
        )  # fmt: skip

    def metadata(self, name: str) -> Path:
        return self.home / "tuf" / "metadata" / name

    def versions(self) -> tuple[int, int, int]:
        stamp: Any = Metadata.from_file(str(self.metadata("timestamp.json"))).signed
        number = stamp.snapshot_meta.version
        shot: Any = Metadata.from_file(str(self.metadata(f"{number}.snapshot.json"))).signed
        return stamp.version, number, shot.meta["targets.json"].version

    def published(self) -> dict[str, TargetFile]:
        name = f"{self.versions()[2]}.targets.json"
        made: Any = Metadata.from_file(str(self.metadata(name))).signed
        return dict(made.targets)

    def target(self, name: str) -> Path:
        digest = self.published()[name].hashes["sha256"]
        return self.home / "tuf" / "targets" / f"{digest}.{name}"

    def sign_stamp(self, *, expires: datetime | None = None, signer: Any = None) -> None:
        """A timestamp of the thief's making, with central's key or another."""
        made: Any = Metadata.from_file(str(self.metadata("timestamp.json")))
        made.signed.version += 1
        made.signed.expires = expires or made.signed.expires
        with Central(self.home) as central:
            root = repository.latest_root(central).signed
            (own,) = repository.signers_at_hand(central, root, "timestamp")
        made.sign(signer or own)
        made.to_file(str(self.metadata("timestamp.json")))

    def close(self) -> None:
        self.line.close()
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("attacks"))
    yield made
    made.close()


@pytest.fixture
def scene(built: Scene, tmp_path: Path) -> Iterator[Scene]:
    """The scene; what an attack does to central's files and line is undone afterwards."""
    shutil.copytree(built.home / "tuf", tmp_path / "tuf")
    yield built
    built.line.left = None
    for path in built.metadata(".").iterdir():
        path.unlink()
    # Files of a publication in between stay: central's rows may name them the next time.
    shutil.copytree(tmp_path / "tuf", built.home / "tuf", dirs_exist_ok=True)


@pytest.fixture
def trust(scene: Scene, tmp_path: Path) -> Trust:
    """A car that holds the first publication."""
    shutil.copytree(scene.folder / CAR, tmp_path / "state", symlinks=True)
    return met(tmp_path / "state")


def fetch(trust: Trust, client: TargetClient | None = None) -> TargetSet | None:
    with trust.client(timeout_s=10) as connection:
        return (client or TargetClient(trust)).refresh(connection, clock_agrees=True)


def met(folder: Path) -> Trust:
    """A car that has met central: its lists' key is released."""
    trust = Trust.load(folder)
    with trust.client(timeout_s=10) as connection:
        document = ask_signed(connection, "GET", "/v1/unlock")
    said = verify_document(document, "unlock", trust.receipt_key, wire.Unlock)
    trust.locker.release("contact", base64.urlsafe_b64decode(said.secret))
    return trust


def lists(found: TargetSet | None, text: str) -> bool:
    assert found is not None
    characters = tuple(Character(char, 0.99) for char in text)
    seen = PlateReading(text, "", characters, "MN", 0.9, 0.99, sure=True)
    return bool(found.matcher.match(seen, datetime.now(UTC)))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _tampered(scene: Scene) -> None:
    path = scene.target(wire.ROSTER)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def _tampered_list(scene: Scene) -> None:
    """The list itself, in the whole file and in what a delta would make of the old one."""
    (delta,) = (n for n in scene.published() if n.startswith("delta-"))
    for name in ("hotlist-lpdf.bin", delta):
        path = scene.target(name)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def _older(scene: Scene) -> None:
    scene.metadata("timestamp.json").write_bytes(scene.first_stamp)


def _expired(scene: Scene) -> None:
    scene.sign_stamp(expires=datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1))


def _wrong_key(scene: Scene) -> None:
    scene.sign_stamp(signer=CryptoSigner.generate_ed25519())


def _mixed(scene: Scene) -> None:
    """Older targets, truly signed, under the name of the newest."""
    number = scene.versions()[2]
    old = scene.metadata(f"{number - 1}.targets.json").read_bytes()
    scene.metadata(f"{number}.targets.json").write_bytes(old)


def _endless(scene: Scene) -> None:
    _append(scene.target(wire.ROSTER), bytes(5_000_000))


def _endless_metadata(scene: Scene) -> None:
    _append(scene.metadata("timestamp.json"), b" " * 5_000_000)


def _wrong_car(scene: Scene) -> None:
    """Another car's wraps under this car's name, signed by who holds central's keys."""
    data = scene.target(wire.wraps_target(OTHER)).read_bytes()
    name = wire.wraps_target(CAR)
    (scene.home / "tuf" / "targets" / f"{sha256_hex(data)}.{name}").write_bytes(data)
    files = scene.published() | {name: TargetFile.from_data(name, data, ["sha256"])}
    with Central(scene.home) as central:
        repository.sign(central, files)


def _shortened(scene: Scene) -> None:
    path = scene.target(wire.ROSTER)
    path.write_bytes(path.read_bytes()[:-40])


def _gone(scene: Scene) -> None:
    scene.target(wire.ROSTER).unlink()


ATTACKS: tuple[tuple[Callable[[Scene], None], str], ...] = (
    (_tampered, "tampered"),
    (_tampered_list, "tampered"),
    (_older, "rollback"),
    (_expired, "expired"),
    (_wrong_key, "unsigned"),
    (_mixed, "mixed"),
    (_endless, "endless"),
    (_endless_metadata, "endless"),
    (_wrong_car, "wrong-car"),
    (_shortened, "truncated"),
    (_gone, "unreachable"),
)


@pytest.mark.policy("R-460.4.1-b", "R-460.4.1-b4")
@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=[a.__name__ for a, _ in ATTACKS])
def test_an_attack_is_refused_and_the_old_list_stays(
    scene: Scene, trust: Trust, attack: Callable[[Scene], None], reason: Any
) -> None:
    attack(scene)
    with pytest.raises(TargetsError) as caught:
        fetch(trust)
    assert caught.value.reason == reason, caught.value.message
    assert caught.value.remedy == REMEDIES[reason]
    kept = TargetClient(trust).load_offline()
    assert kept is not None
    assert kept.versions == scene.held
    assert lists(kept, LISTED)
    assert not lists(kept, NEW)


def test_reasons_have_remedies_of_their_own() -> None:
    assert all(REMEDIES.values())
    for _, reason in ATTACKS:
        assert reason in REMEDIES


@pytest.mark.policy("R-460.4.1-b4")
def test_the_true_publication_comes_as_a_delta(scene: Scene, trust: Trust) -> None:
    whole = scene.target("hotlist-lpdf.bin").stat().st_size
    client = TargetClient(trust)
    found = fetch(trust, client)
    assert lists(found, NEW)
    assert client.rebuilt == ("hotlist-lpdf.bin",)
    (delta,) = (n for n in scene.published() if n.startswith("delta-"))
    assert scene.published()[delta].length < whole
    assert lists(TargetClient(trust).load_offline(), NEW)


@pytest.mark.parametrize("harm", ["altered", "gone"])
def test_a_bad_delta_costs_a_whole_download_and_nothing_else(
    scene: Scene, trust: Trust, harm: str
) -> None:
    (delta,) = (n for n in scene.published() if n.startswith("delta-"))
    path = scene.target(delta)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(path.stat().st_size))
    client = TargetClient(trust)
    assert lists(fetch(trust, client), NEW)
    assert client.rebuilt == ()


@pytest.mark.policy("R-460.4.1-b4")
def test_a_cut_line_is_told_and_the_download_goes_on_where_it_broke_off(
    scene: Scene, tmp_path: Path
) -> None:
    shutil.copytree(scene.folder / "bare", tmp_path / "state")
    trust = met(tmp_path / "state")
    scene.line.left = 150_000
    with pytest.raises(TargetsError) as caught:
        fetch(trust)
    assert caught.value.reason == "truncated"
    (part,) = (trust.state_dir / "targets" / "downloads").glob("*.part")
    have = part.stat().st_size
    assert have > 10_000
    scene.line.left, scene.line.came = None, 0
    assert lists(fetch(trust), NEW)
    rest = scene.line.came
    shutil.copytree(scene.folder / "bare", tmp_path / "again")
    again = met(tmp_path / "again")
    scene.line.came = 0
    assert lists(fetch(again), NEW)
    assert rest < scene.line.came - have


@pytest.mark.policy("R-13.824-6-6")
def test_a_replayed_permit_is_refused(scene: Scene, trust: Trust) -> None:
    permits: list[SignedDocument] = []
    car = Car(trust)
    dock = car.dock(on_permit=permits.append)
    dock.step()
    for command in ("suspend", "resume"):  # each ends the permit before
        scene.run("vehicles", command, "--vehicle", CAR, "--by", "test")
        dock.step()
    first, stop, second = permits
    book = _permits(trust, car.store)
    book.renew(second)
    for old in (first, stop):
        with pytest.raises(SignatureError, match="replay"):
            book.renew(old)
    other = Trust.load(scene.folder / OTHER)
    with pytest.raises(SignatureError, match="another car"):
        _permits(other, Car(other).store).renew(second)


def _permits(trust: Trust, store: Store) -> PermitBook:
    return PermitBook(
        store, agency=trust.agency, vehicle=trust.vehicle, receipt_key=trust.receipt_key
    )


@pytest.mark.policy("R-460.4.1-b")
@pytest.mark.parametrize("shift", [timedelta(days=-900), timedelta(days=900)])
def test_a_clock_that_was_set_decides_nothing(
    scene: Scene, trust: Trust, monkeypatch: pytest.MonkeyPatch, shift: timedelta
) -> None:
    """With an old clock an expired publication would pass, with a new one none."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + shift

    taken: list[TargetSet] = []
    permits: list[SignedDocument] = []
    dock = Car(trust).dock(on_targets=taken.append, on_permit=permits.append)
    with monkeypatch.context() as patch:
        patch.setattr(sync, "datetime", Shifted)
        dock.step()
    assert dock.status().state == "error"
    assert "lists refused (clock)" in dock.status().text
    assert (taken, permits) == ([], [])
    assert lists(TargetClient(trust).load_offline(), LISTED)
    dock.step()
    assert lists(taken[-1], NEW)


def test_a_stolen_role_key_is_taken_away_by_a_new_root(scene: Scene, trust: Trust) -> None:
    """What the thief signs with the old key is refused once the root names another."""
    with Central(scene.home) as central:
        root = repository.latest_root(central).signed
        (stolen,) = repository.signers_at_hand(central, root, "timestamp")
    scene.run("tuf", "rotate-key", "timestamp", "--by", "sheriff")
    assert lists(fetch(trust), NEW)
    scene.sign_stamp(signer=stolen)
    with pytest.raises(TargetsError) as caught:
        fetch(trust)
    assert caught.value.reason == "unsigned"
