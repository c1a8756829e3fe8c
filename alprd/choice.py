"""Which model files the configuration asks for, and the command that tells and fetches them.

Three ways to name a model: ``shipped``, a path, or a name of a public hub. Whatever the way, a
``sha256`` in the configuration is checked each time the files are chosen, that is at each start.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import click

from alprd import config as configuration
from alprd.config import Config, DetectorSection, OcrSection
from alprd.errors import ModelError
from alprd.hub import detector_hub, obtain, ocr_hub
from alprd.models import ModelSet, check_providers, digest, shipped

FOLDER: Final = "models"
"""Folder under ``state_dir`` for files of the hubs."""


def choose(config: Config, *, fetch: bool = True) -> ModelSet:
    """The model files that ``config`` names, each verified as far as it can be.

    Args:
        config: a valid configuration.
        fetch: False never goes to the network: a hub's file that is not in the state folder yet
            is an error.

    Raises:
        ModelError: a file is missing, cannot be fetched, or is not the one that is pinned.
    """
    own = config.reader.models
    models = shipped() if own is None else shipped(own, verify=False)
    folder = config.state_dir / FOLDER
    detector, ocr = config.detector, config.ocr
    if detector.kind != "shipped":
        models = dataclasses.replace(models, detector=_detector(detector, folder, fetch))
    if ocr.kind != "shipped":
        model, yaml = _ocr(ocr, folder, fetch)
        models = dataclasses.replace(models, ocr=model, ocr_config=yaml)
    _check("[detector] model", models.detector, "sha256", detector.sha256)
    _check("[ocr] model", models.ocr, "sha256", ocr.sha256)
    _check("[ocr] config", models.ocr_config, "config_sha256", ocr.config_sha256)
    return models


def by_hand(
    folder: Path | None = None, detector: Path | None = None, ocr: Path | None = None
) -> ModelSet:
    """The models of a command line: a folder's or the shipped ones, with single files replaced.

    The YAML of ``ocr`` lies beside it.

    Raises:
        ModelError: a file is missing.
    """
    models = shipped() if folder is None else shipped(folder, verify=False)
    if detector is not None:
        models = dataclasses.replace(models, detector=_file("--detector", detector))
    if ocr is not None:
        yaml = _file("--ocr", ocr.with_suffix(".yaml"))
        models = dataclasses.replace(models, ocr=_file("--ocr", ocr), ocr_config=yaml)
    return models


def describe(config: Config, models: ModelSet) -> list[str]:
    """One line for each file in use, with its SHA-256, and one for where they run."""
    rows = {
        "detector": models.detector,
        "ocr": models.ocr,
        "ocr config": models.ocr_config,
        "state": models.state,
        "state config": models.state_config,
    }
    lines = [f"{what}: {path}  sha256 {digest(path)}" for what, path in rows.items() if path]
    lines.append(
        f"providers: {', '.join(config.reader.providers)}; threads: {config.reader.threads}"
    )
    return lines


def _detector(section: DetectorSection, folder: Path, fetch: bool) -> Path:
    if section.kind == "file":
        return _file("[detector] model", Path(section.model))
    addresses = detector_hub()
    _known("[detector] model", section.model, addresses)
    address, pin = addresses[section.model], section.sha256 or ""
    return obtain(address, folder, pin, key="[detector] model", fetch=fetch)


def _ocr(section: OcrSection, folder: Path, fetch: bool) -> tuple[Path, Path]:
    if section.kind == "file":
        model = _file("[ocr] model", Path(section.model))
        beside = section.config or model.with_suffix(".yaml")
        return model, _file("[ocr] config", beside)
    addresses = ocr_hub()
    _known("[ocr] model", section.model, addresses)
    model_address, yaml_address = addresses[section.model]
    pin, yaml_pin = section.sha256 or "", section.config_sha256 or ""
    return (
        obtain(model_address, folder, pin, key="[ocr] model", fetch=fetch),
        obtain(yaml_address, folder, yaml_pin, key="[ocr] config", fetch=fetch),
    )


def _file(key: str, path: Path) -> Path:
    if not path.is_file():
        remedy = "check the path, and that this user may read it"
        if path.suffix == ".yaml":
            remedy = "put the YAML that came with the model there" + (
                ", under this name" if key.startswith("--") else ", or name it as config"
            )
        raise ModelError(f"{key}: {path} is not there", remedy=remedy)
    return path


def _known(key: str, name: str, addresses: dict[str, str] | dict[str, tuple[str, str]]) -> None:
    if name not in addresses:
        raise ModelError(
            f"{key}: the hub has no model {name!r}",
            remedy=f"use one of: {', '.join(sorted(addresses))}; a path needs a '/' or '.onnx'",
        )


def _check(key: str, path: Path, pin_key: str, pin: str | None) -> None:
    """Hold a file to its pin, whichever way it was named."""
    try:
        if pin is None or (got := digest(path)) == pin:
            return
    except OSError as error:
        raise ModelError(
            f"{key}: {path}: {error.strerror}", remedy="let the user that runs alprd read it"
        ) from error
    raise ModelError(
        f"{key}: {path} has SHA-256 {got}, but {pin_key} pins {pin}",
        remedy=f"put the pinned file there, or correct {pin_key} if you trust this one",
    )


@click.command("models")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Fetch what this configuration names, if need be, and tell what it comes to.",
)  # fmt: skip
def models_command(config_file: Path | None) -> None:
    """The models that a configuration comes to; without one, the names that the hubs know.

    Run it as the daemon's user, where there is internet: afterwards the car needs none.
    """
    if config_file is None:
        for name, (model, yaml) in sorted(ocr_hub().items()):
            click.echo(f'[ocr] model = "{name}"\n  {model}\n  {yaml}')
        try:
            detectors = detector_hub()
        except ModelError as error:
            click.echo(error.diagnostics(), err=True)
            return
        for name, address in sorted(detectors.items()):
            click.echo(f'[detector] model = "{name}"\n  {address}')
        return
    config = configuration.load(config_file)
    for line in describe(config, choose(config)):
        click.echo(line)
    check_providers(config.reader.providers)
