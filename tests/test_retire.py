"""The end of a car: retired by a person, or killed by order of the real central (R-CJIS-5)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dock_world import AGENCY, CAR, Car
from test_sync_central import Central

from alprd import wipe
from alprd.audit import DAEMON
from alprd.central.cli import main as central_main
from alprd.cli import main
from alprd.crypto import SignedDocument, generate_key, key_id, sign_document, verify_document
from alprd.demo.home import child_environment, program
from alprd.errors import RefusedError, SignatureError, StoreError
from alprd.orders import check_orders
from alprd.records import new_id
from alprd.shred import destroy
from alprd.trust import Trust, enrol
from alprd.wire import Orders, WipeCertificate

pytestmark = pytest.mark.policy("R-CJIS-5")


class QuickCentral(Central):
    """The same central; its commands run in this process, which spares a start for each."""

    def run(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        words = [*arguments, "--home", str(self.home), "--json"]
        done = CliRunner().invoke(central_main, words, input=stdin)
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    made = QuickCentral(tmp_path_factory.mktemp("agency") / "central")
    made.serve()
    yield made
    made.end(signal.SIGKILL)


def enrolled(central: Central, state: Path, *, vehicle: str = CAR, reader: str = "7") -> Trust:
    code = central.run("enrol-code", "--vehicle", vehicle, "--reader", reader)["code"]
    return enrol(f"https://127.0.0.1:{central.port}", code, vehicle, state)


def config_of(trust: Trust) -> Path:
    file = trust.state_dir.parent / "alprd.toml"
    file.write_text(
        f'state_dir = "{trust.state_dir}"\n[[camera]]\nname = "front"\nsource = "file:/none.mp4"\n'
        '[gps]\nsource = "file:/none.nmea"\n'
    )
    return file


def alprd(*arguments: str, text: str = "") -> Any:
    return CliRunner().invoke(main, list(arguments), input=text)


def left_in(state: Path) -> set[str]:
    return {str(path.relative_to(state)) for path in state.rglob("*")} - {"daemon.lock"}


def state_of(central: Central, vehicle: str) -> str:
    return next(v["state"] for v in central.run("status")["vehicles"] if v["vehicle"] == vehicle)


def certificate(state: Path, trust: Trust) -> WipeCertificate:
    marker = wipe.read_marker(state)
    assert marker is not None and marker.certificate is not None
    key = trust.batch_key.public_key()
    return verify_document(marker.certificate, "wipe", key, WipeCertificate)


# --- retire -----------------------------------------------------------------------------------


def test_retire_brings_reads_home_wipes_and_certifies(central: Central, tmp_path: Path) -> None:
    trust = enrolled(central, tmp_path / "state")
    car = Car(trust)
    car.dock().step()  # lists, so that there is something more to destroy
    car.dock().targets.load_offline()
    ids = car.commit(2)
    car.store.close()
    config = str(config_of(trust))
    assert (trust.state_dir / "targets").exists()

    wrong = alprd("retire", "--config", config, "--by", "installer", "--yes", "unit-13")
    assert wrong.exit_code == 6 and "not the name" in wrong.output
    done = alprd("retire", "--config", config, "--by", "installer", text=f"{CAR}\n")
    assert done.exit_code == 0, done.output
    assert "central holds it too" in done.output
    assert left_in(trust.state_dir) == {"wiped.json"}
    said = certificate(trust.state_dir, trust)
    assert (said.kind, said.by, said.reads_lost, said.sessions_lost) == (
        "retired",
        "installer",
        0,
        0,
    )
    assert said.reads_committed == len(ids)
    assert set(said.keys_destroyed) | set(said.keys_last) == {"wrap.locked", "batch.key", "tls.key"}
    assert state_of(central, CAR) == "retired"
    assert central.run("status")["received_total"] >= 2

    again = alprd("retire", "--config", config, "--by", "installer")
    assert again.exit_code == 0  # told again, nothing asked
    with pytest.raises(RefusedError, match="retired") as caught:
        wipe.refuse_wiped(trust.state_dir)
    assert caught.value.reason == "wiped"
    run = alprd("run", "--config", config)
    assert run.exit_code == 6
    assert "enrol it with a new code" in run.output
    counts = alprd("status", "--config", config)
    assert counts.exit_code == 5 and f"{CAR} was wiped" in counts.output
    # The same computer, enrolled again, runs: the marker is history then.
    new = enrolled(central, trust.state_dir)
    wipe.refuse_wiped(new.state_dir)
    assert state_of(central, CAR) == "enrolled"


def test_retire_refuses_to_lose_reads_without_a_reason(tmp_path: Path, central: Central) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-20", reader="20")
    away = trust.state_dir / "trust" / "identity.json"
    away.write_text(away.read_text().replace(str(central.port), "1"))  # nothing listens there
    car = Car(trust)
    car.commit(3)
    car.store.close()
    config = str(config_of(trust))
    before = left_in(trust.state_dir)
    refused = alprd("retire", "--config", config, "--by", "installer", "--yes", "unit-20")
    assert refused.exit_code == 6
    assert "3 read(s)" in refused.output and "--lose-reads" in refused.output
    assert left_in(trust.state_dir) >= before

    done = alprd(
        "retire", "--config", config, "--by", "installer", "--yes", "unit-20",
        "--lose-reads", "water damage",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "central could not be told" in done.output
    assert left_in(trust.state_dir) == {"wiped.json"}
    said = certificate(trust.state_dir, trust)
    assert (said.reads_lost, said.reason) == (3, "water damage")
    # The certificate is carried to central by hand.
    file = trust.state_dir / "wiped.json"
    told = central.run(
        "vehicles", "retire", "--vehicle", "unit-20", "--certificate", str(file), "--by", "dana"
    )
    assert told == {"vehicle": "unit-20", "kind": "retired", "certificate": True}
    assert state_of(central, "unit-20") == "retired"


def test_retire_refuses_while_the_daemon_runs(tmp_path: Path, central: Central) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-21", reader="21")
    config = str(config_of(trust))
    with wipe_lock(trust.state_dir):
        busy = alprd("retire", "--config", config, "--by", "x", "--yes", "unit-21")
    assert busy.exit_code == 5 and "in use" in busy.output
    assert wipe.read_marker(trust.state_dir) is None


def wipe_lock(state: Path) -> Any:
    from alprd.process import lock_state

    return lock_state(state)


# --- power cuts -------------------------------------------------------------------------------


class PowerCutError(BaseException):
    """Stands for the end of power: nothing catches it."""


def test_a_power_cut_at_any_step_ends_destroyed(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each act that changes the disk, then start again: always wiped to the end."""
    origin = enrolled(central, tmp_path / "origin", vehicle="unit-22", reader="22").state_dir
    identity = origin / "trust" / "identity.json"
    identity.write_text(identity.read_text().replace(str(central.port), "1"))
    car = Car(Trust.load(origin))
    car.commit(2)
    car.store.close()
    true_destroy, true_write = destroy, wipe._write
    cuts = 0
    while True:
        state = tmp_path / f"cut-{cuts}"
        shutil.copytree(origin, state)
        trust = Trust.load(state)
        wipe.begin(trust, "killed", by="central", reason="test", order=new_id())
        acts = iter(range(10_000))

        def act(function: Any, *arguments: Any, at: int = cuts, acts: Any = acts) -> None:
            if next(acts) == at:
                raise PowerCutError
            function(*arguments)

        monkeypatch.setattr(wipe, "destroy", lambda path, act=act: act(true_destroy, path))
        monkeypatch.setattr(wipe, "_write", lambda *a, act=act: act(true_write, *a))
        try:
            wipe.complete(state)
            whole = True
        except PowerCutError:
            whole = False
        monkeypatch.setattr(wipe, "destroy", true_destroy)
        monkeypatch.setattr(wipe, "_write", true_write)
        with pytest.raises(RefusedError, match="killed by order"):
            wipe.refuse_wiped(state)
        assert left_in(state) == {"wiped.json"}
        said = certificate(state, trust)
        assert said.order is not None
        assert said.reads_lost == 2
        if whole:
            break
        cuts += 1
    assert cuts >= 8


def test_a_damaged_queue_does_not_save_the_keys(central: Central, tmp_path: Path) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-23", reader="23")
    (trust.state_dir / "queue.db").write_bytes(b"\xff" * 8192)
    wipe.kill(trust, new_id(), at_trusted=True)
    wipe.complete(trust.state_dir)
    assert left_in(trust.state_dir) == {"wiped.json"}
    assert state_of(central, "unit-23") == "killed"


def test_an_unreadable_marker_stops_the_car(tmp_path: Path) -> None:
    (tmp_path / "wiped.json").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read"):
        wipe.refuse_wiped(tmp_path)


def test_destroying_reaches_other_names_and_follows_no_link(tmp_path: Path) -> None:
    secret, outside = tmp_path / "d" / "key", tmp_path / "outside"
    secret.parent.mkdir()
    secret.write_bytes(b"k" * 3_000_000)
    outside.write_text("stays")
    (tmp_path / "other-name").hardlink_to(secret)
    (tmp_path / "d" / "link").symlink_to(outside)
    destroy(tmp_path / "d")
    assert not secret.parent.exists()
    assert (tmp_path / "other-name").read_bytes() == b""
    assert outside.read_text() == "stays"
    destroy(tmp_path / "d")  # nothing there: nothing happens


# --- orders -----------------------------------------------------------------------------------


def test_only_centrals_order_to_this_enrolment_now_counts(central: Central, tmp_path: Path) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-24", reader="24")
    key = generate_key()
    trust = Trust(**{**vars(trust), "receipt_key": key.public_key()})

    def order(signer: Any = key, **changes: Any) -> SignedDocument:
        fields = {
            "agency": AGENCY, "vehicle": "unit-24", "enrolment": key_id(trust.batch_key),
            "nonce": "n1", "kill": new_id(), "ordered": datetime.now(UTC),
        }  # fmt: skip
        return sign_document("orders", Orders.model_validate(fields | changes), signer)

    assert check_orders(order(), trust, "n1").kill is not None
    assert check_orders(order(kill=None, ordered=None), trust, "n1").kill is None
    for bad in (
        order(generate_key()),
        order(vehicle="unit-25"),
        order(agency="other"),
        order(enrolment=key_id(generate_key())),  # enrolled again since
        order(nonce="n0"),
        order(ordered=None),
    ):
        with pytest.raises(SignatureError):
            check_orders(bad, trust, "n1")


def test_a_false_order_is_recorded_once_and_holds_up_nothing(
    central: Central, tmp_path: Path
) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-26", reader="26")
    # Central's answers verify under its key; for this car everything it says is forged.
    forged = Trust(**{**vars(trust), "receipt_key": generate_key().public_key()})
    car = Car(forged)
    killed: list[str] = []
    dock = car.dock(on_kill=killed.append)
    dock.step()
    dock.step()
    assert killed == []
    names = [event.event for event in car.store.audit_events()]
    assert names.count("device.order-refused") == 1
    car.store.close()


# --- the whole way ----------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_the_running_daemon_kills_itself_by_order(central: Central, tmp_path: Path) -> None:
    """The real daemon, the real central: contact, order, wipe, report, and no second start."""
    trust = enrolled(central, tmp_path / "state", vehicle="unit-30", reader="30")
    car = Car(trust)
    car.store.open_session(car.row, DAEMON)
    ids = car.commit(2)
    car.store.close()
    config = config_of(trust)
    with config.open("a") as file:
        file.write("[dock]\ninterval_s = 0.5\n[mdt]\nport = 0\n")
    log = tmp_path / "daemon.log"
    order = central.run(
        "vehicles", "kill", "--vehicle", "unit-30", "--reason", "stolen, 26-0042", "--by", "dana"
    )["order"]
    assert state_of(central, "unit-30") == "to be killed"
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            program("alprd.cli", "run", "--config", str(config)),
            stdout=out, stderr=subprocess.STDOUT, env=child_environment(),
        )  # fmt: skip
        try:
            code = daemon.wait(240)
        finally:
            daemon.kill()
            daemon.wait()
    text = log.read_text()
    assert code == 6, text
    assert "killed by order of central" in text
    assert left_in(trust.state_dir) == {"wiped.json"}
    said = certificate(trust.state_dir, trust)
    assert (said.kind, said.order) == ("killed", order)
    assert (said.reads_lost, said.sessions_lost) == (0, 0), text
    assert state_of(central, "unit-30") == "killed"
    assert central.run("audit", "verify")["whole"]
    # What the car had was brought home first: reads, the session that the cut left, the trail.
    ledger = [s for s in central.run("status")["ledger"] if s["session"] == car.row.id]
    assert [(s["received"], s["reconciled"]) for s in ledger] == [(len(ids), True)]
    again = subprocess.run(
        program("alprd.cli", "run", "--config", str(config)),
        capture_output=True, text=True, check=False, timeout=120, env=child_environment(),
    )  # fmt: skip
    assert again.returncode == 6 and "keys and data are destroyed" in again.stderr


def test_the_marker_tells_no_secret(central: Central, tmp_path: Path) -> None:
    trust = enrolled(central, tmp_path / "state", vehicle="unit-31", reader="31")
    keys = {path.name: path.read_bytes() for path in (trust.state_dir / "keys").iterdir()}
    assert set(keys) == {"tls.key", "batch.key", "wrap.locked"}
    wipe.begin(trust, "retired", by="installer", reason="sold")
    wipe.complete(trust.state_dir)
    text = (trust.state_dir / "wiped.json").read_bytes()
    for name, pem in keys.items():
        for line in pem.splitlines()[1:-1] or (pem[60:160], pem[-160:-60]):
            assert line not in text, name
    assert json.loads(text)["phase"] == "done"
