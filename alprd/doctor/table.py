"""The table of all checks, in the order in which they run: what later ones need comes first."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from alprd.doctor.car import Car
from alprd.doctor.report import Check, Sheet


def _late(module: str, function: str) -> Callable[[Car, Sheet], None]:
    """A check whose module is loaded when it runs: a missing library then fails it alone."""

    def run(car: Car, sheet: Sheet) -> None:
        try:
            found = import_module(f"alprd.doctor.{module}")
        except ImportError as error:
            sheet.fail(
                function.removeprefix("check_"),
                f"a library cannot be loaded: {error.name or error.path or type(error).__name__}",
                "see the rows of libraries",
            )
            return
        getattr(found, function)(car, sheet)

    return run


CHECKS: Final = (
    Check("packages", "Python and its packages", _late("system", "check_packages")),
    Check("libraries", "libraries of the system", _late("system", "check_libraries"), slow=30),
    Check("machine", "cores, memory, heat", _late("system", "check_machine")),
    Check("service", "systemd unit and watchdog", _late("system", "check_service")),
    Check("leaks", "core dumps, swap, suspend to disk", _late("system", "check_leaks"), slow=30),
    Check("disk", "space, file system, encryption", _late("disk", "check_disk")),
    Check("files", "who may read state and configuration", _late("disk", "check_files")),
    Check("enrolment", "who this car is", _late("keys", "check_enrolment")),
    Check("keys", "the car's keys and where they lie", _late("keys", "check_keys"), enrolled=True),
    Check(
        "certificate", "the car's certificate", _late("keys", "check_certificate"), enrolled=True
    ),
    Check("crypto", "provider, mode, self-test", _late("keys", "check_crypto")),
    Check("models", "sums and speed of the models", _late("models", "check_models"), slow=30),
    Check("reading", "the rendered test plate", _late("models", "check_reading"), slow=15),
    Check("cameras", "pictures of every camera", _late("cameras", "check_cameras"), slow=20),
    Check("gps", "receiver and fix", _late("place", "check_gps"), slow=10),
    Check("clock", "system clock against GPS", _late("place", "check_clock"), slow=10),
    Check("queue", "reads that wait for central", _late("lists", "check_queue")),
    Check("lists", "lists, policy, intake keys", _late("lists", "check_lists"), enrolled=True),
    Check("roster", "who may sign on", _late("lists", "check_roster"), enrolled=True),
    Check("permit", "leave to collect", _late("lists", "check_permit"), enrolled=True),
    Check("page", "the in-car page and its certificate", _late("page", "check_page")),
    Check("dock", "the way to central", _late("dock", "check_dock"), enrolled=True, slow=10),
)
