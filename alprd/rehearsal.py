"""What a start with a configuration would stumble over, found without starting."""

from __future__ import annotations

import contextlib
import socket

from alprd.choice import choose
from alprd.config import Config
from alprd.devices import camera_config, gps_config
from alprd.errors import ConfigError, ModelError
from alprd.mdt.server import check_page
from alprd.models import check_providers
from alprd.profiles import PROFILES
from alprd.reader import load
from alprd.trust import Trust
from alprd.verification import from_config

_MODELS = ("reader", "detector", "ocr")


def check(config: Config) -> list[str]:
    """What a start of the daemon would stumble over, without starting it (``run --check``).

    Raises:
        ConfigError: a camera or GPS source of an unknown kind, or the like.
    """
    gps_config(config)
    doubts = []
    for section in config.camera:
        settings = camera_config(section, config)
        if settings.kind != "url" and not settings.path.exists():
            doubts.append(f"camera {section.name}: {settings.path} is not there")
    if not (config.state_dir / "trust" / "identity.json").exists():
        doubts.append(f"state_dir {config.state_dir}: this car is not enrolled (alprd enrol)")
    try:
        _load_models(config)
    except ModelError as error:
        doubts.append(f"{error.message} ({error.remedy})")
    for attempt in (_page, _gateway):
        try:
            attempt(config)
        except ConfigError as error:
            doubts.append(f"{error.message} ({error.remedy})")
    return doubts


def rehearse(config: Config, running: Config) -> None:
    """Try what a fresh start with ``config`` would do differently from the one that runs.

    Raises:
        AlprdError: it would fail; says why.
    """
    if config.state_dir != running.state_dir:
        Trust.load(config.state_dir)
    if any(getattr(config, name) != getattr(running, name) for name in _MODELS):
        _load_models(config)
    _page(config)
    _gateway(config)
    ours = {running.mdt.port, running.health.port}
    for name in ("mdt", "health"):
        new, old = getattr(config, name), getattr(running, name)
        if (new.host, new.port) != (old.host, old.port):
            # A port that this daemon itself holds is free by then: only the address is tried.
            _bind(name, new.host, 0 if new.port in ours else new.port)


def _load_models(config: Config) -> None:
    wanted = config.reader
    check_providers(wanted.providers)
    load(  # a file may be whole and yet no model
        choose(config, fetch=False),
        PROFILES[wanted.profile],
        threads=wanted.threads,
        providers=wanted.providers,
    )


def _page(config: Config) -> None:
    page = config.mdt
    check_page(page.host, page.tls_cert, page.tls_key)
    if page.run_file is not None and not page.run_file.parent.is_dir():
        raise ConfigError(
            f"[mdt] run_file: {page.run_file.parent} is not there",
            remedy="make the folder, or leave run_file out",
        )


def _gateway(config: Config) -> None:
    if (gateway := from_config(config.verification)) is not None:
        gateway.close()


def _bind(name: str, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"[{name}] {host}:{port}: {error.strerror}",
                remedy="choose another address or port, or stop what uses it",
            ) from None
