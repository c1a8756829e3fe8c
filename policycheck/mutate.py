"""Mutations: the enforcing line of a rule put out of action must turn the rule's tests red.

Each mutation is made in a copy of the repository, never in the working tree. A rule's tests are run
there twice: as the code is, where they must pass, and mutated, where at least one must fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from alprd.errors import AlprdError, InputError
from policycheck.registry import ROOT

MUTATIONS: Final = Path(__file__).with_name("mutations.toml")
_PASSED: Final = 0
_FAILED: Final = 1
_TIMEOUT_S: Final = 900


class Mutation(BaseModel):
    """One enforcing line, and what stands there instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tests of a rule did with and without its line."""

    id: str
    file: str
    before: int
    after: int

    @property
    def caught(self) -> bool:
        """Whether the tests hold the rule: green with the line, red without it."""
        return self.before == _PASSED and self.after == _FAILED

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.id,
            "file": self.file,
            "before": self.before,
            "after": self.after,
            "caught": self.caught,
        }


def load(path: Path = MUTATIONS) -> dict[str, Mutation]:
    """Every mutation by the id of its rule.

    Raises:
        InputError: the file cannot be read or a mutation lacks a line.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Mutation.model_validate(entry) for name, entry in entries.items()}
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(f"{path}: {error}", remedy="mend the file") from error


def apply(mutation: Mutation, text: str) -> str:
    """The file's text with the line put out of action.

    Raises:
        InputError: the line stands there not exactly once: code moved, so the mutation must too.
    """
    found = text.count(mutation.find)
    if found != 1:
        raise InputError(
            f"{mutation.file}: the line to put out of action stands there {found} times",
            remedy=f"mend `find` in {MUTATIONS.name}",
        )
    return text.replace(mutation.find, mutation.replace)


def copy_tree(target: Path, root: Path = ROOT) -> None:
    """Copy what git tracks, and what is new but not ignored, as it is in the working tree.

    Raises:
        AlprdError: not a git checkout.
    """
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        raise AlprdError("mutations need a git checkout", remedy="clone the repository")
    for name in listing.stdout.decode().split("\0"):
        source = root / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run(
    chosen: Iterable[tuple[str, Mutation]],
    work: Path,
    told: Callable[[str], None] = lambda _: None,
    root: Path = ROOT,
) -> list[Outcome]:
    """Try mutations one after the other in a copy of the repository below ``work``.

    Raises:
        InputError: a line is no longer where a mutation expects it.
        AlprdError: not a git checkout.
    """
    copy = work / "copy"
    copy_tree(copy, root)
    outcomes = []
    for name, mutation in chosen:
        told(name)
        path = copy / mutation.file
        whole = path.read_text(encoding="utf-8")
        mutated = apply(mutation, whole)
        before = _tests(copy, name, mutation.tests)
        path.write_text(mutated, encoding="utf-8")
        try:
            after = _tests(copy, name, mutation.tests)
        finally:
            path.write_text(whole, encoding="utf-8")
        outcomes.append(Outcome(name, mutation.file, before, after))
    return outcomes


def _tests(copy: Path, name: str, tests: tuple[str, ...]) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "policycheck.plugin", "--policy-id", name, "-m", "not slow", *tests]
    # CI would turn skips into failures; the copy before the installed package, also in processes
    # that tests start. Same second, same size: an old .pyc would hide the mutation.
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return -1
    return done.returncode
