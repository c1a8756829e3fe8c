"""Enrolment, renewal of the certificate, revocation and health, with the real central."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_process import CentralProcess, dock
from dock_world import CAR, Car

from alprd import pace, renewal, wire
from alprd.crypto import load_private
from alprd.errors import StoreError, SyncError
from alprd.outbound import RefusedByCentralError, ask_signed
from alprd.trust import Trust, enrol
from alprd.workers import Beat

LATER = datetime.now(UTC) + timedelta(days=200)


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CentralProcess]:
    made = CentralProcess(tmp_path_factory.mktemp("central") / "home")
    made.serve()
    yield made
    made.stop()


@pytest.fixture
def car(central: CentralProcess, tmp_path: Path) -> Iterator[Car]:
    made = central.car(tmp_path / "state")
    yield made
    made.store.close()


def speaks(found: Trust) -> bool:
    with found.client() as client:
        try:
            ask_signed(client, "GET", "/v1/permit")
        except RefusedByCentralError as error:
            assert error.code == "unknown_vehicle"
            return False
    return True


@pytest.mark.policy("R-CJIS-1")
def test_certificate_is_renewed_at_half_its_life_with_a_new_key(car: Car) -> None:
    state = car.trust.state_dir
    first, until = (state / "keys" / "tls.key").read_bytes(), renewal.expiry(car.trust)
    with car.trust.client() as client:
        assert not renewal.renew(car.trust, client, car.store), "not due yet"
        assert renewal.renew(car.trust, client, car.store, now=LATER)
    assert (state / "keys" / "tls.key").read_bytes() != first
    assert renewal.expiry(car.trust) >= until
    assert not list(state.rglob("*.new"))
    assert speaks(car.trust)
    events = [event.event for event in car.store.audit_events()]
    assert events.count("device.certificate-renewed") == 1


class Cut(BaseException):
    """The power is gone."""


@pytest.mark.parametrize("step", range(5))
def test_power_cut_at_every_step_leaves_a_pair_that_works(
    car: Car, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before the key, the answer, the trial, the first and the second rename."""

    def cut(*_: object, **__: object) -> None:
        raise Cut

    place = (
        (renewal, "save_private"), (renewal, "write_secret"), (Trust, "client_with"),
        (renewal, "_adopt"), (renewal, "settle_pair"),
    )[step]  # fmt: skip
    with monkeypatch.context() as patched, car.trust.client() as client:
        patched.setattr(*place, cut)
        with pytest.raises(Cut):
            renewal.renew(car.trust, client, car.store, now=LATER)
    restarted = Trust.load(car.trust.state_dir)
    if step == 3:  # central has seen the new one used, and takes the old one no more
        syncing, _ = dock(car)
        syncing.step()
        assert syncing.status().state == "busy" or syncing.status().state == "away"
        syncing.step()
        assert syncing.status().text == "docked, all sent"
    assert speaks(restarted)
    with restarted.client() as client:
        assert renewal.renew(restarted, client, car.store, now=LATER)
    assert speaks(restarted)
    assert not list(restarted.state_dir.rglob("*.new"))
    load_private(restarted.state_dir / "keys" / "tls.key")


@pytest.mark.policy("R-CJIS-5")
def test_a_revoked_car_is_told_so(central: CentralProcess, car: Car) -> None:
    central.run("vehicles", "revoke", "--vehicle", CAR, "--by", "sup")
    car.commit(1)
    syncing, _ = dock(car)
    syncing.step()
    assert syncing.status().state == "error"
    assert "revoked" in syncing.status().text
    assert car.store.pending().reads == 1, "nothing is lost by it"


def test_codes_are_refused_for_what_is_wrong_with_them(
    central: CentralProcess, tmp_path: Path
) -> None:
    used = central.code("unit-31", "31")
    enrol(central.url, used, "unit-31", tmp_path / "a")
    other = central.code("unit-32", "32")
    wrong = "A" * 26 + other[other.index(".") :]
    for code, vehicle, says in (
        (used, "unit-31", "used already"),
        (other, "unit-33", "another vehicle"),
        (wrong, "unit-32", "code is wrong"),
    ):
        with pytest.raises(SyncError, match=says):
            enrol(central.url, code, vehicle, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    enrol(central.url, other, "unit-32", tmp_path / "b")


@pytest.mark.policy("R-CJIS-5")
@pytest.mark.parametrize("marker", ['{"phase": "pending"}', "half a mark", "[]"])
def test_a_half_wiped_folder_takes_no_enrolment(tmp_path: Path, marker: str) -> None:
    (tmp_path / "wiped.json").write_text(marker)
    with pytest.raises(StoreError, match="not done"):
        enrol("https://127.0.0.1:1", "x", CAR, tmp_path)


def test_a_new_enrolment_stands_in_the_trail_once(car: Car) -> None:
    for _ in range(2):
        renewal.note_enrolment(car.store, car.trust)
    events = [event.event for event in car.store.audit_events()]
    assert events.count("device.enrolled") == 1


def test_health_reaches_the_office(central: CentralProcess, car: Car) -> None:
    report = wire.CarHealth(
        agency=car.trust.agency, vehicle=CAR, at=datetime.now(UTC), at_trusted=True, version="1",
        uptime_s=3.0, collecting=False, problems=("the disk is nearly full",), warnings=(),
        cameras=(wire.CameraHealth(name="front", up=True, age_s=0.1),), gps_fix=True,
        gps_age_s=1.0, system_error_s=0.0, disk_free_bytes_at_least=0, oldest_destroy_by=None,
        lists={"hotlist-lpdf.bin": "7"},
    )  # fmt: skip
    syncing, _ = dock(car, health=lambda: report)
    syncing.step()
    row = next(r for r in central.run("vehicles", "list")["vehicles"] if r["vehicle"] == CAR)
    assert wire.CarHealth.model_validate(row["health"]) == report


# --- the bandwidth limit ------------------------------------------------------------------------


def test_what_is_sent_and_fetched_keeps_to_the_limit(
    central: CentralProcess, car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    car.commit(20)
    queued = sum(row[0] for row in car.store.rows("SELECT length(envelope) FROM reads"))
    counted: list[int] = []
    take = pace.TokenBucket.take

    def count(bucket: pace.TokenBucket, number: int) -> None:
        counted.append(number)
        take(bucket, number)

    monkeypatch.setattr(pace.TokenBucket, "take", count)
    syncing, _ = dock(car, limit_kbit_s=2000.0)
    began = time.monotonic()
    syncing.step()
    took = time.monotonic() - began
    assert car.store.pending().reads == 0
    assert sum(counted) > queued, "reads and lists go through it"
    assert sum(counted) * 8 / took <= 2_000_000 * 1.2


def test_a_stop_ends_the_waiting_at_once() -> None:
    beat = Beat()
    bucket = pace.TokenBucket(1_000, beat.sleep)
    bucket.take(100)
    beat.stop()
    with pytest.raises(SyncError, match="stops"):
        bucket.take(1_000_000)


def test_a_certificate_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        renewal._certificate(tmp_path / "none.pem")
