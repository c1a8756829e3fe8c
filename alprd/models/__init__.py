"""The models that ship with the package: where they lie, and that they are whole.

The folder holds ``detector.onnx`` with ``detector.yaml``, ``ocr.onnx`` with ``ocr.yaml``, the
state classifier ``state.onnx`` with ``state.yaml``, ``serials.json`` (:mod:`alprd.serials`), the
models' cards, and ``SHA256SUMS`` (``sha256sum`` format; ``python -m alprd.models`` rewrites it
after a training run). The sums catch a torn copy or a half-applied update before a deputy relies
on it; they are no defence against someone who can write the folder, which the package signature
is for.
Patrol cars have no internet: nothing is downloaded unless the configuration names a model of a
public hub (:mod:`alprd.hub`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnxruntime as ort

from alprd.errors import ModelError

FOLDER: Final = Path(__file__).resolve().parent
SUMS: Final = "SHA256SUMS"
NAMES: Final = (
    "detector.onnx",
    "detector.yaml",
    "ocr.onnx",
    "ocr.yaml",
    "state.onnx",
    "state.yaml",
    "serials.json",
)
_PACKAGES: Final = {
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
}
"""Which package has a provider: all of them hold the module ``onnxruntime``, so one at a time."""
_LINE: Final = re.compile(r"^([0-9a-f]{64}) [ *](\S+)$")


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The files of one set of models; without a state classifier the OCR tells the region."""

    detector: Path
    ocr: Path
    ocr_config: Path
    state: Path | None = None
    state_config: Path | None = None


def shipped(folder: Path = FOLDER, *, verify: bool = True) -> ModelSet:
    """The models in ``folder`` (the shipped ones by default), checked against ``SHA256SUMS``.

    Args:
        folder: another folder with files of the same names.
        verify: False for a folder of one's own that has no sums.

    Raises:
        ModelError: a file is missing, or is not the file whose sum is recorded.
    """
    models = ModelSet(folder / "detector.onnx", folder / "ocr.onnx", folder / "ocr.yaml")
    for path in (models.detector, models.ocr, models.ocr_config):
        if not path.is_file():
            raise ModelError(
                f"model file {path} is missing",
                remedy="install the package again, or name a folder that holds "
                "detector.onnx, ocr.onnx and ocr.yaml",
            )
    state, sheet = folder / "state.onnx", folder / "state.yaml"
    if state.is_file() != sheet.is_file():
        raise ModelError(
            f"{folder} holds only one of state.onnx and state.yaml",
            remedy="put the other beside it, or take both away to let the OCR tell the state",
        )
    if state.is_file():
        models = replace(models, state=state, state_config=sheet)
    if verify:
        check_sums(folder)
    return models


def check_sums(folder: Path = FOLDER) -> None:
    """Compare every model file in ``folder`` with its recorded SHA-256.

    Raises:
        ModelError: the list is missing or malformed, or a file differs from it.
    """
    listing = folder / SUMS
    try:
        lines = listing.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{listing} cannot be read: {error}", remedy="install the package again"
        ) from error
    recorded: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match is None:
            raise ModelError(
                f"{listing} line {number} is not '<sha256>  <name>'",
                remedy="rewrite it with: python -m alprd.models",
            )
        recorded[match[2]] = match[1]
    for name in NAMES:
        path = folder / name
        if name in recorded and not path.is_file():
            raise ModelError(
                f"model file {path} is recorded in {SUMS} and missing",
                remedy="install the package again; after a training run of your own, record the "
                "files that are there with: python -m alprd.models",
            )
        if path.is_file() and recorded.get(name) != digest(path):
            raise ModelError(
                f"model file {path} is not the one recorded in {SUMS}",
                remedy="install the package again; after a training run of your own, record the "
                "new files with: python -m alprd.models",
            )


def write_sums(folder: Path = FOLDER) -> Path:
    """Record the SHA-256 of the model files now in ``folder``; returns the list's path."""
    present = [folder / name for name in NAMES if (folder / name).is_file()]
    listing = folder / SUMS
    listing.write_text("".join(f"{digest(p)}  {p.name}\n" for p in present), encoding="ascii")
    return listing


def session_options(threads: int) -> ort.SessionOptions:
    """ONNX Runtime options for a small processor that others need too.

    ``threads`` run one inference (the calling thread is one of them). Their waiting is done
    asleep: spinning made two cameras on two cores slower, since each spinning worker takes the
    core that the other camera's work is waiting for.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def check_providers(providers: Sequence[str]) -> list[str]:
    """The wanted execution providers, if this ONNX Runtime has them.

    Raises:
        ModelError: one is not in the installed build.
    """
    available = ort.get_available_providers()
    for name in providers:
        if name not in available:
            package = _PACKAGES.get(name, "the onnxruntime build that has it")
            raise ModelError(
                f"[reader] providers: {name} is not in the installed ONNX Runtime "
                f"(it has: {', '.join(available)})",
                remedy=f'install {package} in place of onnxruntime, or set providers = ["cpu"]',
            )
    return list(providers)


def check_in_use(session: ort.InferenceSession, providers: Sequence[str]) -> None:
    """Refuse a session that the runtime quietly moved to the processor.

    That is what it does when a provider is built in but its libraries, driver or device are
    missing; a car would then read at a fraction of the rate that it was set up for.

    Raises:
        ModelError: one of ``providers`` could not be started.
    """
    used = session.get_providers()
    for name in providers:
        if name not in used:
            raise ModelError(
                f"[reader] providers: {name} is built into the installed ONNX Runtime but could "
                f"not be started (in use: {', '.join(used)})",
                remedy="install its driver and libraries and let this user open its device, or "
                'set providers = ["cpu"]',
            )


def digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
