"""Fetching a pinned model, from a real server on loopback that misbehaves in every way."""

from __future__ import annotations

import hashlib
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alprd import hub
from alprd.errors import ModelError
from alprd.hub import detector_hub, obtain, ocr_hub, place

BODY = bytes(range(256)) * 400
SUM = hashlib.sha256(BODY).hexdigest()
OTHER = hashlib.sha256(b"another file").hexdigest()
KEY = "[ocr] model"


@dataclass
class Origin:
    """The server: what it was asked for, and the event that lets stalled answers go."""

    url: str
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            name = self.path.rsplit("/", 1)[-1]
            if name == "moved.onnx":
                self.send_response(302)
                self.send_header("Location", "/elsewhere/model.onnx")
                self.end_headers()
                return
            if name == "absent.onnx" or "/gone/" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            if name == "torn.onnx":
                self.wfile.write(BODY[: len(BODY) // 2])
            elif name == "stalled.onnx":
                self.wfile.write(BODY[:1000])
                self.wfile.flush()
                found.release.wait(30)
            elif name == "trickling.onnx":
                for byte in BODY[:100]:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if found.release.wait(0.02):
                        break
            else:
                self.wfile.write(BODY)

        def log_message(self, format: str, *args: object) -> None:
            """Keep still."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Origin(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    found.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def refused(origin: Origin, name: str, folder: Path, sha256: str = SUM) -> ModelError:
    """The error that asking for ``name`` gives, having left nothing in ``folder``."""
    with pytest.raises(ModelError) as caught:
        obtain(f"{origin.url}/{name}", folder, sha256, key=KEY)
    assert caught.value.message.startswith(KEY)
    assert caught.value.remedy
    assert not folder.exists() or not list(folder.iterdir())
    return caught.value


@pytest.mark.parametrize("name", ["model.onnx", "moved.onnx"])
def test_a_fetched_file_is_kept_and_needs_no_network_again(
    origin: Origin, tmp_path: Path, name: str
) -> None:
    address = f"{origin.url}/{name}"
    path = obtain(address, tmp_path / "models", SUM, key=KEY)
    assert path.read_bytes() == BODY
    assert path.parent == tmp_path / "models"
    assert list(path.parent.iterdir()) == [path]
    # In the state folder nothing is open to others, which the doctor holds it to.
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    asked = list(origin.asked)
    assert obtain(address, tmp_path / "models", SUM, key=KEY) == path
    assert obtain(address, tmp_path / "models", SUM, key=KEY, fetch=False) == path
    assert origin.asked == asked


def test_another_file_than_the_pinned_is_deleted_and_refused(
    origin: Origin, tmp_path: Path
) -> None:
    error = refused(origin, "model.onnx", tmp_path, OTHER)
    assert SUM in error.message
    assert OTHER in error.message


@pytest.mark.parametrize(("name", "words"), [("torn.onnx", "bytes"), ("absent.onnx", "404")])
def test_a_bad_answer_leaves_nothing(origin: Origin, tmp_path: Path, name: str, words: str) -> None:
    error = refused(origin, name, tmp_path)
    assert words in error.message
    assert str(place(f"{origin.url}/{name}", tmp_path, SUM)) in error.remedy


def test_waiting_and_size_are_bounded(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SILENCE_S", 0.3)
    assert "no answer" in refused(origin, "stalled.onnx", tmp_path).message
    monkeypatch.setattr(hub, "SILENCE_S", 10.0)
    monkeypatch.setattr(hub, "DEADLINE_S", 0.2)
    assert "did not come within" in refused(origin, "trickling.onnx", tmp_path).message
    monkeypatch.setattr(hub, "DEADLINE_S", 10.0)
    monkeypatch.setattr(hub, "MAX_BYTES", len(BODY) - 1)
    assert "more than" in refused(origin, "model.onnx", tmp_path).message


def test_without_internet_the_message_says_where_to_put_the_file(tmp_path: Path) -> None:
    with socket.socket() as held:  # bound, not listening: a connection is refused
        held.bind(("127.0.0.1", 0))
        origin = Origin(f"http://127.0.0.1:{held.getsockname()[1]}")
        error = refused(origin, "model.onnx", tmp_path)
    path = place(f"{origin.url}/model.onnx", tmp_path, SUM)
    assert str(path) in error.remedy
    assert f"{origin.url}/model.onnx" in error.remedy
    path.write_bytes(BODY)  # what the remedy says
    assert obtain(f"{origin.url}/model.onnx", tmp_path, SUM, key=KEY) == path


def test_a_damaged_copy_is_fetched_again(origin: Origin, tmp_path: Path) -> None:
    address = f"{origin.url}/model.onnx"
    path = obtain(address, tmp_path, SUM, key=KEY)
    path.write_bytes(BODY[:-1])
    with pytest.raises(ModelError, match="damaged"):
        obtain(address, tmp_path, SUM, key=KEY, fetch=False)
    assert obtain(address, tmp_path, SUM, key=KEY).read_bytes() == BODY
    path.write_bytes(BODY[:-1])
    with pytest.raises(ModelError, match="cannot be fetched"):
        obtain(f"{origin.url}/gone/model.onnx", tmp_path, SUM, key=KEY)
    assert not path.exists()


def test_looking_never_fetches(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not been fetched yet") as caught:
        obtain(f"{origin.url}/model.onnx", tmp_path / "models", SUM, key=KEY, fetch=False)
    assert "alprd models --config" in caught.value.remedy
    assert origin.asked == []
    assert not (tmp_path / "models").exists()


def test_a_folder_that_cannot_be_made_is_named(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="file") as caught:
        obtain(f"{origin.url}/model.onnx", tmp_path / "file" / "models", SUM, key=KEY)
    assert "folder" in caught.value.remedy


def test_the_hubs_know_the_names_of_the_documentation() -> None:
    model, yaml = ocr_hub()["cct-xs-v2-global-model"]
    assert model.startswith("https://")
    assert model.endswith(".onnx")
    assert yaml.endswith(".yaml")
    detectors = detector_hub()
    assert detectors["yolo-v9-t-384-license-plate-end2end"].startswith("https://")
    assert all("license-plate" in name for name in detectors)


def test_without_open_image_models_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_image_models.detection.core.hub", None)
    with pytest.raises(ModelError, match="open-image-models") as caught:
        detector_hub()
    assert "alprd[hub]" in caught.value.remedy
