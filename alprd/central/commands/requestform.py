"""A request for an additional entry from typed fields: of the command line or of a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from alprd.central.commands.clikit import instant
from alprd.central.hotlists import additional
from alprd.central.hotlists.entry import Exigency, Request, Warrant
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import normalise


def build_request(central: Central, given: Mapping[str, str]) -> Request:
    """A request from typed fields, named as the options of ``additional request``.

    Raises:
        InputError: a field that cannot be; names it, never its content.
    """
    now = central.clock()
    starts = instant(given["starts"], "starts") if given.get("starts") else now
    ends = instant(given["ends"], "ends") if given.get("ends") else None
    warrant = {k: given.get(f"warrant_{k}", "") for k in Warrant.model_fields}
    exigency = {k: given.get(f"exigency_{k}", "") for k in Exigency.model_fields}
    values = {
        "plate": normalise(given.get("plate", "")),
        "state": given.get("state", "").strip().upper() or None,
        "plate_type": given.get("plate_type") or None,
        "kind": given.get("kind") or "interdiction",
        "purpose": given.get("purpose", ""),
        "case": given.get("case", ""),
        "offence": given.get("offence", ""),
        "relation": given.get("relation", ""),
        "alert": given.get("alert", ""),
        "starts": starts,
        "ends": ends or additional.default_end(central, starts),
        "warrant": _timed(warrant, "warrant", ("issued", "expires")),
        "exigency": _timed(exigency, "exigency", ("at",)),
    }
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = " ".join(str(part) for part in first["loc"])
        raise InputError(f"{place}: {first['msg']}") from None


def _timed(given: dict[str, str], name: str, times: tuple[str, ...]) -> dict[str, Any] | None:
    """The fields of a legal basis, ``None`` when none of them is given."""
    if not any(value.strip() for value in given.values()):
        return None
    missing = [key for key, value in given.items() if not value.strip()]
    if missing:
        raise InputError(f"{name}: {', '.join(missing)} missing", remedy="give all of its fields")
    made: dict[str, Any] = dict(given)
    return made | {key: instant(given[key], f"{name} {key}") for key in times}
