"""``make install`` into a clean root, and out of it again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNITS = "usr/lib/systemd/system"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def install(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program that `make install` runs."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "install.py"), "--destdir", str(root), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean root with a car in it; its interpreter is the one under these tests."""
    root = tmp_path_factory.mktemp("root")
    done = install(root, "--python", str(Path(sys.base_prefix) / "bin" / PYTHON))
    assert done.returncode == 0, done.stderr
    assert "alprd enrol" in done.stdout
    return root


def run(root: Path, *words: str) -> str:
    """Run the installed interpreter, away from the checkout."""
    done = subprocess.run(
        [str(root / "opt/alprd/bin/python3"), "-I", *words],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_names_the_program() -> None:
    done = subprocess.run(
        ["make", "-n", "install", "DESTDIR=/tmp/stage", "ROLE=central", "WITH=postgresql,s3",
         "-o", ".venv/.demo"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (
        "tools/install.py --destdir '/tmp/stage' --prefix '/opt/alprd' --role 'central' "
        "--with 'postgresql,s3'" in done.stdout
    )


def test_what_is_installed_runs_by_itself(car: Path) -> None:
    assert "alprd, version" in run(car, str(car / "opt/alprd/bin/alprd"), "--version")
    code = "import alprd, cv2, onnxruntime; print(alprd.__file__, cv2.__file__)"
    for name in run(car, "-c", code).split():
        assert Path(name).is_relative_to(car)
    assert (car / "opt/alprd/bin/alprd").read_text().startswith("#!/opt/alprd/bin/python3 -I\n")


def test_every_module_of_the_car_finds_what_it_imports(car: Path) -> None:
    """A package that was added after the environment was made is in the car, too."""
    code = """\
import importlib, pkgutil, alprd
skip = ("alprd.central", "alprd.demo", "alprd.models.__main__")
for found in pkgutil.walk_packages(alprd.__path__, "alprd.", onerror=lambda name: None):
    if not found.name.startswith(skip) and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        print(found.name)
"""
    assert "alprd.streams" in run(car, "-c", code).split()


def test_the_documents_of_users_are_installed(car: Path) -> None:
    """Among them every document that a unit names."""
    there = {path.name for path in (car / "usr/share/doc/alprd").glob("*.md")}
    assert {"README.md", "install.md", "doctor.md", "secrets.md"} <= there
    assert not there & {"training.md", "benchmarks.md", "guest.md", "plates.md"}
    for unit in (car / UNITS).iterdir():
        for name in re.findall(r"file:/usr/share/doc/alprd/(\S+)", unit.read_text()):
            assert name in there, f"{unit.name} names {name}"


def test_the_installed_configuration_loads(car: Path) -> None:
    code = (
        "import sys, pathlib, alprd.config as c; "
        "print(len(c.load(pathlib.Path(sys.argv[1])).camera))"
    )
    assert run(car, "-c", code, str(car / "etc/alprd/alprd.toml")).strip() == "2"


def test_a_car_gets_nothing_that_it_does_not_need(car: Path) -> None:
    site = car / f"opt/alprd/lib/{PYTHON}/site-packages"
    for name in ("sqlalchemy", "torch", "pytest", "sim", "training", "bench", "plates"):
        assert not (site / name).exists(), name
    assert (site / "alprd/models/detector.onnx").stat().st_size > 0
    assert not (car / UNITS / "alprd-central.service").exists()


def test_no_trace_of_the_checkout_is_left(car: Path) -> None:
    own = [*(car / "opt/alprd/bin").iterdir(), *(car / UNITS).iterdir(), *car.glob("usr/lib/*/*")]
    for path in (*own, car / "opt/alprd/pyvenv.cfg", *(car / "usr/share/doc/alprd").iterdir()):
        if path.is_file() and not path.is_symlink():
            assert str(ROOT) not in path.read_text(), path


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: install systemd"
)
def test_units_verify_without_a_word(car: Path) -> None:
    """All units, also with the example of credentials switched on."""
    system = Path("/usr/lib/systemd/system")
    if not (system / "sysinit.target").exists():
        pytest.skip("systemd's own units are missing: install systemd")
    names = sorted(path.name for path in (car / UNITS).iterdir())
    for unit in system.iterdir():
        place = car / UNITS / unit.name
        if unit.is_file() and not place.exists():
            shutil.copyfile(unit, place)
    drop_in = car / "etc/systemd/system/alprd.service.d"
    drop_in.mkdir(parents=True)
    shutil.copy(car / "usr/share/doc/alprd/credentials.conf", drop_in)
    interpreter = car / "opt/alprd/bin/python3"
    target = interpreter.readlink()
    (car / str(target).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile("/bin/true", car / str(target).lstrip("/"))
    (car / "bin").mkdir(exist_ok=True)
    shutil.copy("/bin/kill" if Path("/bin/kill").exists() else "/bin/true", car / "bin/kill")
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={car}", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    broken = car / UNITS / "alprd-doctor.service"
    text = broken.read_text()
    broken.write_text(text.replace("UMask=0077", "UMasc=0077"))
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={car}", broken.name],
        capture_output=True,
        text=True,
        check=False,
    )
    broken.write_text(text)
    assert "UMasc" in done.stderr  # it would have said so


def test_every_path_that_a_unit_names_is_there(car: Path) -> None:
    for unit in (car / UNITS).glob("alprd*"):
        for line in unit.read_text().splitlines():
            for path in re.findall(r"(?<![\w/:])/(?:opt|etc|usr)/[\w./-]*\w", line):
                assert (car / path.lstrip("/")).exists(), f"{unit.name}: {path}"


def test_configuration_is_kept_and_uninstall_leaves_data(tmp_path: Path) -> None:
    kept = tmp_path / "etc/alprd/alprd.toml"
    kept.parent.mkdir(parents=True)
    kept.write_text("# mine\n")
    read = tmp_path / "var/lib/alprd/queue.db"
    read.parent.mkdir(parents=True)
    read.write_bytes(b"reads")
    prefix = ("--prefix", "/srv/reader")
    gone = "srv/reader/lib/python3/site-packages/alprd/of_an_older_version.py"
    lists = tmp_path / "srv/reader/share/car.files"
    for place, text in ((tmp_path / gone, "x = 1\n"), (lists, f"/{gone}\n")):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    done = install(tmp_path, *prefix)
    assert done.returncode == 0, done.stderr
    assert "is kept" in done.stdout
    assert not (tmp_path / gone).exists()
    assert kept.read_text() == "# mine\n"
    unit = (tmp_path / UNITS / "alprd.service").read_text()
    assert "ExecStart=/srv/reader/bin/alprd run" in unit
    assert "/opt/alprd" not in unit
    assert install(tmp_path, *prefix, "--uninstall").returncode == 0
    assert kept.read_text() == "# mine\n" and read.read_bytes() == b"reads"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == [kept, read]
    again = install(tmp_path, *prefix, "--uninstall")
    assert again.returncode == 1 and "was not installed" in again.stderr


def test_a_prefix_that_is_no_path_is_refused(tmp_path: Path) -> None:
    done = install(tmp_path, "--prefix", "opt/$(id)")
    assert done.returncode == 1 and "PREFIX" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean root with a central server whose settings name a bucket; PostgreSQL by the flag."""
    root = tmp_path_factory.mktemp("central")
    settings = root / "var/lib/alprd-central/central.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[storage]\npictures = "s3://county-alpr/pictures"\n[keys]\nagency = ""\n')
    python = str(Path(sys.base_prefix) / "bin" / PYTHON)
    done = install(root, "--role", "central", "--with", "postgresql", "--python", python)
    assert done.returncode == 0, done.stderr
    return root


def test_a_central_server_gets_the_drivers_that_it_needs_and_no_others(central: Path) -> None:
    """The one of the flag and the one of the settings work there; the token's is not there."""
    code = """
import boto3, psycopg, psycopg_binary, alprd.central.cli, alprd.central.storage.s3
from importlib import metadata
print(psycopg.pq.__impl__, psycopg.__file__, boto3.__file__)
print(sorted(line.split(">")[0] for line in metadata.metadata("alprd").get_all("Requires-Dist")))
"""
    first, second = run(central, "-c", code).splitlines()
    implementation, *files = first.split()
    assert implementation == "binary"
    assert all(Path(file).is_relative_to(central) for file in files)
    assert "psycopg[binary]" in second and "boto3" in second and "python-pkcs11" not in second
    site = central / f"opt/alprd/lib/{PYTHON}/site-packages"
    assert not (site / "pkcs11").exists()


def test_drivers_are_for_a_central_server_and_known(tmp_path: Path) -> None:
    for words in (("--role", "car", "--with", "s3"), ("--role", "central", "--with", "oracle")):
        done = install(tmp_path, *words)
        assert done.returncode == 1 and "postgresql, s3, pkcs11" in done.stderr
    assert not any(tmp_path.iterdir())
    settings = tmp_path / "var/lib/alprd-central/central.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[storage\n")
    done = install(tmp_path, "--role", "central")
    assert done.returncode == 1 and "central.toml" in done.stderr
