"""``rules.toml``: every rule, where it is enforced, what shows it, and what is still open."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from alprd.errors import InputError

ROOT: Final = Path(__file__).resolve().parent.parent
RULES: Final = Path(__file__).with_name("rules.toml")


class Rule(BaseModel):
    """One rule as ``rules.toml`` has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    where: tuple[str, ...]
    evidence: str
    procedure: str = ""
    open: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a rule names and that does not exist."""

    rule: str
    path: str


def load(path: Path = RULES) -> dict[str, Rule]:
    """Every rule by its id, in the file's order.

    Raises:
        InputError: the file cannot be read or a rule lacks a line.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}", remedy="mend the file") from error
    rules: dict[str, Rule] = {}
    for name, entry in entries.items():
        try:
            rules[name] = Rule.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(
                f"{path}: {name}: {first['loc'][0]}: {first['msg']}", remedy="mend the rule"
            ) from error
    return rules


def missing(rules: dict[str, Rule], root: Path = ROOT) -> list[Missing]:
    """Files that rules name and that are not in the repository."""
    return [
        Missing(name, path)
        for name, rule in rules.items()
        for path in (*rule.where, *((rule.procedure.split("#")[0],) if rule.procedure else ()))
        if not (root / path).is_file()
    ]
