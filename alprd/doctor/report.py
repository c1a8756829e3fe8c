"""Rows of the doctor's table, and the runner that no check can stop.

A check writes rows on a :class:`Sheet`. One that raises, or does not end in its time, becomes a
failed row itself, and the others go on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from alprd.doctor.car import Car
from alprd.errors import AlprdError
from alprd.workers import describe

Level = Literal["ok", "warn", "fail", "skipped"]
Fact = str | int | float | bool | None
LEVELS: Final[tuple[Level, ...]] = ("fail", "warn", "skipped", "ok")
"""Gravest first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finding.

    ``check`` and ``name`` are stable keys for programs; ``text`` is for people. A warning or
    failure has a ``remedy``. ``facts`` are plain numbers and words, never plates,
    places or secrets.
    """

    check: str
    name: str
    level: Level
    text: str
    remedy: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level in ("warn", "fail") and not self.remedy:
            raise ValueError(f"row {self.check}/{self.name} has no remedy")

    def as_json(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {
            "check": self.check,
            "name": self.name,
            "level": self.level,
            "text": self.text,
            "remedy": self.remedy,
            "facts": dict(self.facts),
        }


class Sheet:
    """Where one check writes; closed when its time is over, so that late rows are dropped."""

    def __init__(self, check: str) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._closed = False

    def ok(self, name: str, text: str, **facts: Fact) -> None:
        """All is well."""
        self._add(Row(self._check, name, "ok", text, facts=facts))

    def warn(self, name: str, text: str, remedy: str, **facts: Fact) -> None:
        """It works, and somebody should look at it."""
        self._add(Row(self._check, name, "warn", text, remedy, facts))

    def fail(self, name: str, text: str, remedy: str, **facts: Fact) -> None:
        """It does not work, or breaks a rule."""
        self._add(Row(self._check, name, "fail", text, remedy, facts))

    def skip(self, name: str, reason: str, **facts: Fact) -> None:
        """It could not be looked at; the reason is not a fault."""
        self._add(Row(self._check, name, "skipped", reason, facts=facts))

    def error(self, name: str, error: AlprdError) -> None:
        """A failure in the words of the product's own error."""
        self.fail(name, error.message, error.remedy or "see the message")

    def judge(
        self, name: str, text: str, *, fail: bool, warn: bool = False, remedy: str, **facts: Fact
    ) -> None:
        """A row whose level two bounds decide; the remedy is shown unless all is well."""
        level: Level = "fail" if fail else "warn" if warn else "ok"
        self._add(Row(self._check, name, level, text, "" if level == "ok" else remedy, facts))

    def _add(self, row: Row) -> None:
        with self._lock:
            if not self._closed:
                self._rows.append(row)

    def close(self) -> list[Row]:
        """The rows so far; later ones are dropped."""
        with self._lock:
            self._closed = True
            return list(self._rows)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the table.

    ``enrolled``: it needs a car that is enrolled, and is skipped with that reason before.
    ``slow``: devices are watched, so it may take this many seconds more than the common limit.
    """

    name: str
    about: str
    run: Callable[[Car, Sheet], None]
    enrolled: bool = False
    slow: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of a run."""

    rows: tuple[Row, ...]

    @property
    def failed(self) -> bool:
        """Whether any row failed."""
        return any(row.level == "fail" for row in self.rows)

    @property
    def exit_code(self) -> int:
        """1 if any row failed, else 0; warnings do not count."""
        return 1 if self.failed else 0

    def as_json(self) -> dict[str, Any]:
        """The document of ``--json``; its keys are stable."""
        counts = Counter(row.level for row in self.rows)
        return {
            "version": 1,
            "ok": not self.failed,
            "counts": {level: counts[level] for level in LEVELS},
            "rows": [row.as_json() for row in self.rows],
        }


def examine(
    car: Car,
    checks: Sequence[Check],
    *,
    timeout_s: float,
    begun: Callable[[Check], object] = lambda check: None,
) -> Report:
    """Run ``checks`` one after the other, none of them longer than it may.

    Args:
        timeout_s: of one check, to which its own ``slow`` is added.
        begun: told of each check before it runs.
    """
    rows: list[Row] = []
    for check in checks:
        begun(check)
        rows += _run(car, check, timeout_s + check.slow)
    return Report(tuple(rows))


def _run(car: Car, check: Check, timeout_s: float) -> Iterable[Row]:
    sheet = Sheet(check.name)
    if check.enrolled and not car.enrolled:
        sheet.skip(check.name, "this car is not enrolled yet")
        return sheet.close()

    def body() -> None:
        try:
            check.run(car, sheet)
        except AlprdError as error:
            sheet.error(check.name, error)
        except PermissionError as error:
            sheet.fail(
                check.name,
                f"this user may not look at {error.filename}",
                "run the doctor as the daemon's user: sudo -u alprd alprd doctor",
            )
        except Exception as error:  # noqa: BLE001 - a check that breaks is itself the finding
            sheet.fail(
                check.name,
                f"the check broke: {describe(error)}",
                "report this to the makers of alprd; the other rows are valid",
            )

    # A daemon thread: one that hangs in a dead device must not keep the command from ending.
    thread = threading.Thread(target=body, name=f"doctor-{check.name}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        sheet.fail(
            check.name,
            f"the check did not end within {timeout_s:.0f} s",
            "what it looks at hangs: unplug and replug the device, or look at the disk or network; "
            "give --timeout for a slow machine",
        )
    return sheet.close()
