"""What the doctor tells short of a failure, and what it takes for none."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from dock_world import AGENCY, CAR, World
from doctor_world import Copy, failing, scene, video

from alprd import wire
from alprd.crypto import write_secret
from alprd.doctor.cameras import focal_px, plate_px, view
from alprd.doctor.report import examine
from alprd.doctor.table import CHECKS
from alprd.mark import TimeMark

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


# --- what is told short of failing


def test_before_enrolment_the_rest_is_looked_at(world: World, tmp_path: Path) -> None:
    rows = Copy(world, tmp_path, bare=True).run(
        "enrolment", "keys", "certificate", "queue", "lists", "roster", "permit", "dock", "crypto"
    )
    assert failing(rows) == {"enrolment/enrolment"}
    assert rows["keys/keys"].text == "this car is not enrolled yet"
    assert rows["queue/queue"].level == "skipped"
    assert rows["crypto/self-test"].level == "ok"


def test_without_a_fix_the_receiver_is_told_and_not_failed(car: Copy) -> None:
    car.hears(fix=False)
    rows = car.run("gps")
    assert rows["gps/sentences"].level == "ok"
    assert rows["gps/fix"].level == "warn" and "open" in rows["gps/fix"].remedy


def keep(car: Copy, mark: TimeMark) -> None:
    connection = sqlite3.connect(car.state / "queue.db")
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('time-mark', ?)", (mark.dump(),))
    connection.commit()
    connection.close()


def test_a_car_long_without_trusted_time_is_told(car: Copy) -> None:
    certain = datetime.now(UTC) - timedelta(days=8)
    keep(car, TimeMark().by_central(certain).advanced(timedelta(days=6, hours=23)))
    car.hears()
    rows = car.run("clock")
    assert rows["clock/mark"].level == rows["clock/known"].level == "ok"
    assert rows["clock/disbelieved"].level == "ok"
    keep(car, TimeMark().by_central(certain).advanced(timedelta(days=7, hours=1)))
    row = car.run("clock")["clock/mark"]
    assert row.level == "warn" and row.facts["overdue"] is True and "dock" in row.remedy


def test_a_clock_and_a_receiver_before_certain_time_are_told(car: Copy) -> None:
    """Certain time is ahead of both by a month: neither can be true."""
    keep(car, TimeMark().by_central(datetime.now(UTC) + timedelta(days=30)))
    car.hears()
    rows = car.run("clock")
    assert rows["clock/known"].level == rows["clock/disbelieved"].level == "warn"
    assert rows["clock/known"].facts["known"] is False
    found = rows["clock/disbelieved"].facts["disbelieved"]
    assert isinstance(found, int) and found > 0
    assert "battery" in rows["clock/known"].remedy and rows["clock/gps"].level == "warn"


def test_away_from_the_dock_central_is_not_asked(car: Copy) -> None:
    carrier = car.folder / "carrier"
    carrier.write_text("0\n")
    car.values["dock"] = {"carrier_file": carrier}
    before = len(car.world.seen)
    rows = car.run("dock")
    assert [row.level for row in rows.values()] == ["skipped"]
    assert len(car.world.seen) == before
    carrier.write_text("1\n")
    assert car.run("dock")["dock/central"].level == "ok"


@as_root
def test_a_file_of_another_owner_is_a_failure(car: Copy) -> None:
    os.chown(car.state / "keys" / "batch.key", 65534, 65534)
    assert "files/state/keys/batch.key" in failing(car.run("files"))
    assert "keys/batch.key" in failing(car.run("keys"))


@pytest.mark.policy("R-CJIS-1")
def test_a_password_that_only_the_service_is_given_is_no_failure(
    car: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-CJIS-1: a sealed credential is opened by systemd for the unit, and by nobody else."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    car.values["camera"] = [
        {"name": "front", "source": "rtsp://192.0.2.1/x", "user": "u", "credential": "cam"}
    ]
    rows = car.run("keys", "cameras")
    assert rows["keys/camera-front"].level == rows["cameras/front"].level == "skipped"
    car.machine()
    store = car.root / "etc" / "credstore.encrypted"
    store.mkdir(parents=True)
    (store / "cam").write_text("sealed")
    assert car.run("keys")["keys/camera-front"].facts["where"] == "encrypted systemd credential"
    given = car.folder / "given"
    given.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert car.run("keys")["keys/camera-front"].level == "fail"
    write_secret(given / "cam", b"invented")
    assert car.run("keys")["keys/camera-front"].facts["where"] == "systemd credential"


def test_links_of_the_state_folder_are_no_failure(car: Copy) -> None:
    assert (car.state / "targets" / "active").is_symlink()
    assert failing(car.run("files")) == set()


def test_a_suspended_permit_says_so(car: Copy) -> None:
    now = datetime.now(UTC)
    permit = wire.Permit(
        agency=AGENCY, vehicle=CAR, serial="1" * 32, not_before=now,
        expires=now + timedelta(hours=24), suspended=True,
    )  # fmt: skip
    _, data = car.world.signed("permit", permit)
    connection = sqlite3.connect(car.state / "queue.db")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'permit'", (data.decode(),))
    connection.commit()
    connection.close()
    row = car.run("permit")["permit/permit"]
    assert row.level == "fail" and "suspended" in row.text


@pytest.mark.parametrize(
    ("uuid", "level"), [("CRYPT-LUKS2-0a-state", "ok"), ("LVM-abc", "warn"), (None, "warn")]
)
def test_encryption_is_found_below_a_logical_volume(
    car: Copy, uuid: str | None, level: str
) -> None:
    number = car.state.stat().st_dev
    place = f"{os.major(number)}:{os.minor(number)}"
    root = car.machine(
        proc__self__mountinfo=f"27 1 {place} / / rw - ext4 /dev/mapper/vg-state rw\n",
        sys__devices__dm0__dm__uuid="LVM-xyz\n",
        sys__devices__dm1__dm__uuid=f"{uuid or 'x'}\n",
    )
    (root / "sys/devices/dm0/slaves").mkdir()
    (root / "sys/devices/dm0/slaves/dm-1").symlink_to(root / "sys/devices/dm1")
    block = root / "sys/dev/block"
    block.mkdir(parents=True)
    if uuid is not None:
        (block / place).symlink_to(root / "sys/devices/dm0")
    assert car.run("disk")["disk/encryption"].level == level


def test_swap_that_cannot_give_plates_away_is_no_failure(car: Copy) -> None:
    header = "Filename\tType\tSize\tUsed\tPriority\n"
    car.machine(
        proc__swaps=f"{header}/dev/zram0 partition 1 0 1\n/dev/dm-3 partition 1 0 1\n",
        sys__class__block__dm__x="",
    )
    uuid = car.root / "sys/class/block/dm-3/dm/uuid"
    uuid.parent.mkdir(parents=True)
    uuid.write_text("CRYPT-PLAIN-swap\n")
    assert car.run("leaks")["leaks/swap"].level == "ok"


def test_swap_that_the_unit_keeps_from_the_daemon_is_no_failure(
    car: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    car.systemctl(monkeypatch, "LoadState=loaded\nMemorySwapMax=0")
    car.machine(
        proc__swaps="Filename\tType\tSize\tUsed\tPriority\n/dev/sda3 partition 8388604 0 -2\n"
    )
    assert car.run("leaks")["leaks/swap"].level == "ok"


def test_a_dark_picture_is_told_and_its_softness_is_no_failure(car: Copy) -> None:
    night = (scene(640, 360) * 0.2).astype(np.uint8)
    video(car.folder / "front.mp4", np.asarray(cv2.GaussianBlur(night, (0, 0), 2), np.uint8))
    rows = car.run("cameras")
    assert rows["cameras/front-light"].level == "warn"
    assert rows["cameras/front-sharpness"].level == "warn"


def test_sizes_of_plates_follow_the_pinhole_model(car: Copy, clip: Path) -> None:
    # 12 inches at 10 m through a lens of 40 degrees, 1280 px across: 0.3048 / (2 · 10 · tan 20°).
    assert plate_px(focal_px(1280, 40), 10) == pytest.approx(53.6, abs=0.1)
    car.values["camera"] = [
        {"name": "front", "source": f"file:{clip}", "fps": 2, "fov_deg": 40, "rotate": 90},
    ]
    turned = car.run("cameras")["cameras/front-plates"].facts["px_at_10_m"]
    car.values["camera"][0] |= {"rotate": 0, "region": [0.25, 0.0, 0.75, 1.0]}
    cut = car.run("cameras")["cameras/front-plates"].facts["px_at_10_m"]
    assert turned == cut == pytest.approx(53.6, abs=0.1)


def test_a_plate_at_a_known_distance_tells_the_lens(car: Copy, clip: Path) -> None:
    car.values["camera"] = [{"name": "front", "source": f"file:{clip}", "fps": 2}]
    alone = car.run("cameras")["cameras/front-plates"]
    assert alone.level == "skipped" and "--plate-at" in alone.text
    wide = alone.facts["plate_px"]
    # The plate is 92 of 480 px wide in the test picture, which was brought to 1280.
    assert isinstance(wide, float) and wide == pytest.approx(92 * 1280 / 480, rel=0.15)
    examined = car.car()
    examined.plate_at_m = 5.0
    chosen = [check for check in CHECKS if check.name == "cameras"]
    rows = {row.name: row for row in examine(examined, chosen, timeout_s=20).rows}
    assert rows["front-plates"].facts["px_at_10_m"] == pytest.approx(wide / 2, abs=0.1)


def test_sharpness_does_not_grow_with_the_number_of_pixels() -> None:
    small, large = view(scene(640, 360)), view(scene(1920, 1080))
    assert large.sharpness == pytest.approx(small.sharpness, rel=0.5)
    assert view(np.full((90, 160, 3), 60, np.uint8)).spread == 0
