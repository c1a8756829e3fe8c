"""The runner that no check can stop, and the command ``alprd doctor``."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner
from doctor_world import Copy

from alprd.cli import main
from alprd.crypto import write_secret
from alprd.doctor.car import Car
from alprd.doctor.report import Check, Sheet, examine
from alprd.doctor.table import CHECKS
from alprd.errors import StoreError

# --- the runner and the command


def _raises(car: Car, sheet: Sheet) -> None:
    sheet.ok("first", "before it broke")
    raise OSError(errno.EIO, "quoting ZQX417")


def _refuses(car: Car, sheet: Sheet) -> None:
    raise StoreError("the place", remedy="the way out")


def test_a_check_that_raises_or_hangs_is_a_failed_row_and_the_others_go_on(car: Copy) -> None:
    release, late = threading.Event(), threading.Event()

    def hangs(_: Car, sheet: Sheet) -> None:
        sheet.ok("first", "before it hung")
        release.wait(30)
        sheet.ok("late", "after its time")
        late.set()

    checks = [
        Check("raises", "", _raises),
        Check("hangs", "", hangs),
        Check("refuses", "", _refuses),
        Check("fine", "", lambda _, sheet: sheet.ok("fine", "well")),
    ]
    began = time.monotonic()
    report = examine(car.car(), checks, timeout_s=0.3)
    assert time.monotonic() - began < 5
    release.set()
    assert late.wait(5)
    rows = {(row.check, row.name): row for row in report.rows}
    assert set(rows) == {
        ("raises", "first"), ("raises", "raises"), ("hangs", "first"), ("hangs", "hangs"),
        ("refuses", "refuses"), ("fine", "fine"),
    }  # fmt: skip
    assert rows["raises", "raises"].level == "fail" and "OSError" in rows["raises", "raises"].text
    assert "ZQX417" not in json.dumps(report.as_json())
    assert "did not end within" in rows["hangs", "hangs"].text
    assert rows["refuses", "refuses"].remedy == "the way out"
    assert rows["fine", "fine"].level == "ok"
    assert report.exit_code == 1


def test_no_failure_or_warning_without_a_remedy() -> None:
    sheet = Sheet("x")
    for level in (sheet.fail, sheet.warn):
        with pytest.raises(ValueError, match="no remedy"):
            level("name", "wrong", "")


def test_json_has_stable_keys_and_the_exit_code_follows(car: Copy) -> None:
    arguments = ["doctor", "--config", str(car.file), "--only", "files", "--json"]
    source = car.folder / "front.mp4"
    car.file.write_text(
        f'state_dir = "{car.state}"\n[[camera]]\nname = "front"\nsource = "file:{source}"\n'
        f'[gps]\nsource = "file:{source}"\n'
    )
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found) == {"version", "ok", "counts", "rows"}
    assert found["ok"] is True and found["version"] == 1
    assert set(found["counts"]) == {"ok", "warn", "fail", "skipped"}
    assert all(
        set(row) == {"check", "name", "level", "text", "remedy", "facts"} for row in found["rows"]
    )
    (car.state / "keys" / "tls.key").chmod(0o604)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and json.loads(done.stdout)["ok"] is False
    people = CliRunner().invoke(main, [*arguments[:-1]])
    assert people.exit_code == 1
    assert "chmod 600" in people.stdout and "something must be done" in people.stdout


@pytest.mark.parametrize(
    "arguments", [["--only", "nonsense"], ["--config", "none.toml"], ["--timeout", "0"]]
)
def test_a_wrong_use_is_told_with_exit_code_2(car: Copy, arguments: list[str]) -> None:
    done = CliRunner().invoke(main, ["doctor", *arguments])
    assert done.exit_code == 2
    assert done.stderr


def test_a_configuration_that_cannot_be_used_is_json_too(car: Copy) -> None:
    car.file.write_text('state_dir = "/var/lib/alprd"\n[[camera]]\nname = "a"\nsourse = "/dev/x"\n')
    done = CliRunner().invoke(main, ["doctor", "--config", str(car.file), "--json"])
    assert done.exit_code == 2
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["check"], row["level"]) == ("configuration", "fail")
    assert f"{car.file}:4: camera.0.sourse: unknown key; did you mean 'source'?" in row["text"]
    assert row["remedy"] and done.stderr


def test_checks_are_named(car: Copy) -> None:
    done = CliRunner().invoke(main, ["doctor", "--list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [c.name for c in CHECKS]


def test_the_doctor_starts_where_opencv_cannot_be_loaded(car: Copy) -> None:
    """The very case it is for: the command must not load what it is to examine."""
    site = car.folder / "site"
    (site / "cv2").mkdir(parents=True)
    (site / "cv2" / "__init__.py").write_text("raise ImportError('libGL.so.1', name='cv2')\n")
    car.file.write_text(
        f'state_dir = "{car.state}"\n[[camera]]\nname = "front"\nsource = "file:/none.mp4"\n'
        '[gps]\nsource = "file:/none.nmea"\n'
    )
    done = subprocess.run(
        [
            sys.executable, "-c", "from alprd.cli import main; main()", "doctor", "--json",
            "--config", str(car.file), "--only", "libraries", "--only", "cameras", "--only", "disk",
        ],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    levels = {(row["check"], row["name"]): row for row in json.loads(done.stdout)["rows"]}
    assert levels["libraries", "cv2"]["level"] == "fail"
    assert levels["cameras", "cameras"]["remedy"] == "see the rows of libraries"
    assert levels["disk", "write"]["level"] in ("ok", "warn")


def test_passwords_are_not_logged_or_told(car: Copy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = car.folder / "password"
    write_secret(secret, b"hush-hush-42")
    car.values["camera"] = [
        {
            "name": "front", "source": "http://127.0.0.1:9/mjpeg", "fps": 2, "user": "viewer",
            "password_file": secret,
        }
    ]  # fmt: skip
    rows = car.run("cameras", "keys")
    assert rows["keys/camera-front"].level == "ok"
    told = json.dumps([row.as_json() for row in rows.values()]) + caplog.text
    assert "hush-hush-42" not in told
