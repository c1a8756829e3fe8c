"""From the configuration to the files of the models, and to where they run."""

from __future__ import annotations

import hashlib
import shutil
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from fast_plate_ocr.inference.hub import AVAILABLE_ONNX_MODELS
from open_image_models.detection.core.hub import DETECTION_MODELS, DetectionModelSpec
from vision_world import blank, draw_plate, write_detector, write_ocr

from alprd import models as model_files
from alprd.choice import by_hand, choose
from alprd.cli import main
from alprd.config import Config, load
from alprd.daemon import check
from alprd.detect import Detector
from alprd.errors import ConfigError, ModelError
from alprd.models import check_in_use, check_providers, session_options
from alprd.ocr import PlateReader
from alprd.profiles import PHOTO
from alprd.reader import load as load_models
from alprd.still import read_image

DETECTOR = "yolo-v9-t-384-license-plate-end2end"
OCR = "cct-xs-v2-global-model"
OTHER = "0" * 64


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    write_detector(folder / "detector.onnx")
    write_ocr(folder)
    return folder


@pytest.fixture
def hubs(pair: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both hubs' tables point at a server on loopback that serves ``pair``; its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep still."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pair)))
    url = f"http://127.0.0.1:{server.server_port}"
    spec = DetectionModelSpec(f"{url}/detector.onnx", "yolo_v9", ("License Plate",), 0.25)
    monkeypatch.setitem(DETECTION_MODELS, DETECTOR, spec)
    monkeypatch.setitem(AVAILABLE_ONNX_MODELS, OCR, (f"{url}/ocr.onnx", f"{url}/ocr.yaml"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, tables: str) -> Path:
    path = folder / "alprd.toml"
    path.write_text(
        f'state_dir = "{folder / "state"}"\n[[camera]]\nname = "a"\nsource = "/dev/none"\n'
        f'[gps]\nsource = "/dev/none"\n{tables}'
    )
    return path


def configured(folder: Path, tables: str) -> Config:
    return load(write(folder, tables))


def hub_tables(pair: Path) -> str:
    return (
        f'[detector]\nmodel = "{DETECTOR}"\nsha256 = "{sha256(pair / "detector.onnx")}"\n'
        f'[ocr]\nmodel = "{OCR}"\nsha256 = "{sha256(pair / "ocr.onnx")}"\n'
        f'config_sha256 = "{sha256(pair / "ocr.yaml")}"\n'
    )


def command(*arguments: Path | str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# The ways to name a model


@pytest.mark.skipif(
    not (model_files.FOLDER / "ocr.onnx").is_file(), reason="alprd/models holds no models"
)
def test_the_shipped_models_are_the_default(tmp_path: Path) -> None:
    assert choose(configured(tmp_path, "")) == model_files.shipped()
    tables = '[detector]\nmodel = "shipped"\n[ocr]\nmodel = "shipped"\n'
    assert choose(configured(tmp_path, tables)) == model_files.shipped()
    with pytest.raises(ModelError, match=r"\[ocr\] model.*pins 0000"):
        choose(configured(tmp_path, f'[ocr]\nsha256 = "{OTHER}"\n'))


def test_paths_are_taken_and_their_pins_checked(pair: Path, tmp_path: Path) -> None:
    yaml = tmp_path / "plates.yml"
    yaml.write_bytes((pair / "ocr.yaml").read_bytes())
    detector = f'[detector]\nmodel = "{pair / "detector.onnx"}"\n'
    ocr = f'[ocr]\nmodel = "{pair / "ocr.onnx"}"\n'
    models = choose(configured(tmp_path, detector + ocr))
    assert models.detector == pair / "detector.onnx"
    assert (models.ocr, models.ocr_config) == (pair / "ocr.onnx", pair / "ocr.yaml")
    models = choose(configured(tmp_path, f'{ocr}config = "{yaml}"\n'))
    assert models.ocr_config == yaml
    assert models.detector == model_files.shipped().detector
    good = f'sha256 = "{sha256(pair / "ocr.onnx")}"\nconfig_sha256 = "{sha256(yaml)}"\n'
    assert choose(configured(tmp_path, f'{ocr}config = "{yaml}"\n{good}')) == models
    for table, pin, words in (
        (detector, "sha256", r"\[detector\] model: .* sha256 pins 0"),
        (ocr, "sha256", r"\[ocr\] model: .* sha256 pins 0"),
        (ocr, "config_sha256", r"\[ocr\] config: .* config_sha256 pins 0"),
    ):
        with pytest.raises(ModelError, match=words):
            choose(configured(tmp_path, f'{table}{pin} = "{OTHER}"\n'))
    assert (pair / "ocr.onnx").is_file()  # a file of one's own is refused, not deleted


def test_a_path_to_nothing_is_named(pair: Path, tmp_path: Path) -> None:
    for table in ("detector", "ocr"):
        with pytest.raises(ModelError, match=rf"\[{table}\] model: .*none\.onnx is not there"):
            choose(configured(tmp_path, f'[{table}]\nmodel = "{tmp_path}/none.onnx"\n'))
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((pair / "ocr.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"\[ocr\] config: .*alone\.yaml is not there"):
        choose(configured(tmp_path, f'[ocr]\nmodel = "{alone}"\n'))


def test_a_folder_replaces_the_shipped_models(pair: Path, tmp_path: Path) -> None:
    models = choose(configured(tmp_path, f'[reader]\nmodels = "{pair}"\n'))
    assert models == model_files.shipped(pair, verify=False)


def test_hub_models_are_fetched_once_and_read(pair: Path, tmp_path: Path, hubs: str) -> None:
    config = configured(tmp_path, hub_tables(pair))
    with pytest.raises(ModelError, match="not been fetched yet"):
        choose(config, fetch=False)
    models = choose(config)
    folder = tmp_path / "state" / "models"
    assert {models.detector.parent, models.ocr.parent, models.ocr_config.parent} == {folder}
    assert len(list(folder.iterdir())) == 3
    assert choose(config, fetch=False) == models
    detector, ocr = load_models(models, PHOTO)
    image = blank()
    draw_plate(image, "ABC123", 200, 120, 160)
    (found,) = read_image(image, detector, ocr, PHOTO)
    assert found.reading.text == "ABC123"


def test_a_hub_file_that_is_not_the_pinned_one_is_refused(
    pair: Path, tmp_path: Path, hubs: str
) -> None:
    tables = hub_tables(pair).replace(sha256(pair / "ocr.yaml"), OTHER)
    with pytest.raises(ModelError, match=r"\[ocr\] config: .*it was deleted"):
        choose(configured(tmp_path, tables))
    assert not list((tmp_path / "state" / "models").glob("*.yaml"))


@pytest.mark.parametrize(
    ("table", "known"), [("detector", DETECTOR), ("ocr", OCR)], ids=["detector", "ocr"]
)
def test_an_unknown_hub_name_is_told_the_known_ones(tmp_path: Path, table: str, known: str) -> None:
    pins = f'sha256 = "{OTHER}"\n' + (f'config_sha256 = "{OTHER}"\n' if table == "ocr" else "")
    # rf-detr finds eighty kinds of things, and plates are none of them.
    tables = f'[{table}]\nmodel = "rf-detr-nano-384-coco"\n{pins}'
    with pytest.raises(ModelError, match=rf"\[{table}\] model: the hub has no model") as caught:
        choose(configured(tmp_path, tables))
    assert known in caught.value.remedy


# What the configuration refuses by itself


@pytest.mark.parametrize(
    ("tables", "line", "words"),
    [
        (f'[detector]\nmodel = "{DETECTOR}"\n', 7, "sha256 is required with the hub name"),
        (f'[ocr]\nmodel = "{OCR}"\n', 7, "sha256 is required with the hub name"),
        (f'[ocr]\nmodel = "{OCR}"\nsha256 = "{OTHER}"\n', 7, "config_sha256 is required"),
        ('[ocr]\nmodel = "shipped"\nconfig = "/x.yaml"\n', 7, "config goes with the path"),
        ('[ocr]\nmodel = "two words"\n', 8, "neither 'shipped', nor a path, nor a hub name"),
        ('[detector]\nmodel = "/x.onnx"\nsha256 = "abc"\n', 9, "sha256"),
        ('[detector]\nconfig = "/x.yaml"\n', 8, "unknown key"),
        ('[reader]\nproviders = ["npu"]\n', 8, "use cpu, openvino, cuda, tensorrt"),
        ('[reader]\nproviders = []\n', 8, "providers"),
        ('[reader]\nproviders = ["cpu", "CPUExecutionProvider"]\n', 8, "named twice"),
        ('[reader]\nproviders = ["cpu", 1]\n', 8, "providers"),
        ('[reader]\nmodels = "/x"\n[ocr]\nmodel = "/x.onnx"\n', 7, "leave one of them out"),
        ('[reader]\nthreads = 0\n', 8, "threads"),
    ],
)  # fmt: skip
def test_a_wrong_choice_names_its_line(tmp_path: Path, tables: str, line: int, words: str) -> None:
    path = write(tmp_path, tables)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.message
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert "\n" not in caught.value.message


def test_short_names_of_providers(tmp_path: Path) -> None:
    assert configured(tmp_path, "").reader.providers == ("CPUExecutionProvider",)
    tables = '[reader]\nproviders = ["tensorrt", "CUDA", "OpenVINOExecutionProvider", "cpu"]\n'
    assert configured(tmp_path, tables).reader.providers == (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "OpenVINOExecutionProvider",
        "CPUExecutionProvider",
    )


# Where the models run


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
        ("CUDAExecutionProvider", "onnxruntime-gpu"),
        ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    ],
)
def test_an_absent_provider_names_its_package(name: str, package: str) -> None:
    if name in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has {name}")
    with pytest.raises(ModelError) as caught:
        check_providers([name])
    assert f"[reader] providers: {name}" in caught.value.message
    assert "CPUExecutionProvider" in caught.value.message
    assert package in caught.value.remedy


def test_a_provider_that_does_not_start_is_no_quiet_change_to_the_processor(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ort.InferenceSession(
        str(pair / "detector.onnx"),
        sess_options=session_options(1),
        providers=["CPUExecutionProvider"],
    )
    check_in_use(session, ["CPUExecutionProvider"])
    # A build that lists a provider and cannot start it: the runtime goes on without.
    wanted = "OpenVINOExecutionProvider"
    listed = [wanted, *ort.get_available_providers()]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelError, match="could not be started"):
            Detector(pair / "detector.onnx", providers=[wanted])
        with pytest.raises(ModelError, match=f"{wanted} is built") as caught:
            PlateReader(pair / "ocr.onnx", pair / "ocr.yaml", providers=[wanted])
    assert "driver" in caught.value.remedy


# The commands


def test_check_tells_the_models_or_what_is_wrong_with_them(
    pair: Path, tmp_path: Path, hubs: str
) -> None:
    path = write(tmp_path, hub_tables(pair))
    doubts = check(load(path))
    assert sum("not been fetched yet" in doubt for doubt in doubts) == 1
    assert not (tmp_path / "state").exists()  # looking fetches nothing
    result = command("models", "--config", path)
    assert result.exit_code == 0, result.output
    assert sha256(pair / "ocr.onnx") in result.stdout
    assert not any("fetched" in doubt for doubt in check(load(path)))
    result = command("run", "--check", "--config", path)
    assert sha256(pair / "detector.onnx") in result.stdout
    assert "providers: CPUExecutionProvider; threads: 1" in result.stdout
    path = write(tmp_path, '[reader]\nproviders = ["NoneSuchExecutionProvider"]\n')
    assert any("NoneSuchExecutionProvider" in doubt for doubt in check(load(path)))


def test_check_loads_the_models(pair: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(pair, folder)
    (folder / "ocr.onnx").write_bytes((pair / "ocr.onnx").read_bytes()[:700])
    path = write(tmp_path, f'[reader]\nmodels = "{folder}"\n')
    assert any("ocr.onnx cannot be loaded" in doubt for doubt in check(load(path)))
    result = command("run", "--check", "--config", path)
    assert result.exit_code == 1
    assert "these would stop it" in result.stdout


def test_models_command_lists_both_hubs() -> None:
    result = command("models")
    assert result.exit_code == 0
    assert f'[ocr] model = "{OCR}"' in result.stdout
    assert f'[detector] model = "{DETECTOR}"' in result.stdout
    assert "rf-detr" not in result.stdout


def test_models_of_a_command_line(pair: Path, tmp_path: Path) -> None:
    models = by_hand(None, pair / "detector.onnx", pair / "ocr.onnx")
    assert (models.detector, models.ocr) == (pair / "detector.onnx", pair / "ocr.onnx")
    assert models.ocr_config == pair / "ocr.yaml"
    assert by_hand() == model_files.shipped()
    result = command("read", "--detector", tmp_path / "none.onnx", tmp_path)
    assert result.exit_code == ModelError.exit_code
    assert "none.onnx is not there" in result.stderr
    (tmp_path / "ocr.onnx").write_bytes((pair / "ocr.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"ocr.yaml is not there") as caught:
        by_hand(None, None, tmp_path / "ocr.onnx")
    assert caught.value.remedy.endswith("under this name")  # there is no config to name it in
    result = command("read", "--provider", "NoneSuchExecutionProvider", pair / "ocr.onnx")
    assert result.exit_code == ModelError.exit_code
    assert result.stderr.count("NoneSuchExecutionProvider") == 1
    assert command("read", "--provider", "npu", tmp_path).exit_code == 2
