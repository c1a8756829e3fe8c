"""What everyone may read, as files: log of use, months, fixed locations (R-460.5.1-0, -e).

The same files are served by central and written into a folder for any web host: relative links, no
script, no request to anywhere else. In the folder each file is replaced whole, the pages after the
data and ``manifest.json`` with the digests of all at last; a run that is cut off leaves whole files
and is mended by the next. Files that the manifest does not name are never touched.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection, func, select

from alprd.audit import Actor
from alprd.central.public import fixedplaces, logbook, publiclog, usechart
from alprd.central.public.logbook import CATEGORIES
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.public_tables import fixed_events, hidden_sources, public_log
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import StoreError

MANIFEST: Final = "manifest.json"
LOG_CSV: Final = "alpr-public-log.csv"
FIXED_CSV: Final = "alpr-fixed-locations.csv"
MONTHS_DRAWN: Final = 24
_HERE: Final = Path(__file__).parents[1]
_SUMS: Final = (*CATEGORIES, "marked_misread")


@dataclass(frozen=True, slots=True)
class Published:
    """What a run did to the folder."""

    files: int
    changed: tuple[str, ...]
    rows: int


def environment() -> Environment:
    """Templates of the public pages."""
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def version(central: Central, tx: Connection) -> tuple[object, ...]:
    """Changes whenever a file would."""
    flags = tx.execute(
        select(func.count(hidden_sources.c.flagged_at), func.count(hidden_sources.c.lifted_at))
    ).one()
    return (
        tx.scalar(select(func.max(public_log.c.number))),
        tx.scalar(select(func.max(fixed_events.c.number))),
        *flags,
        _today(central),
    )


def files(central: Central, *, live: bool = False) -> dict[str, bytes]:
    """Every file by name, from one view of the database.

    Args:
        live: for central's own server, whose pages lead to the sign-on.
    """
    logbook.catch_up(central)
    with central.database.read() as tx:
        rows = publiclog.rows_in(central, tx)
        places = fixedplaces.public_rows(
            [*fixedplaces.listing(central, tx), *fixedplaces.posts(central, tx)]
        )
    months: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        months[row["date"][:7]].append(row)
    names = sorted(months)
    templates = environment()

    def page(template: str, **values: Any) -> bytes:
        return (
            templates.get_template(template)
            .render(
                agency_name=central.config.agency_name, timezone=central.config.timezone,
                today=_today(central), live=live, log_csv=LOG_CSV, fixed_csv=FIXED_CSV, **values,
            )
            .encode()
        )  # fmt: skip

    made = {
        LOG_CSV: publiclog.as_csv(rows).encode(),
        FIXED_CSV: publiclog.table_csv(fixedplaces.COLUMNS, places).encode(),
        "public.css": (_HERE / "static" / "public.css").read_bytes(),
        "icon.svg": (_HERE / "static" / "icon.svg").read_bytes(),
        "fixed.html": page("public_fixed.html", places=places),
    }
    totals = [total(name, months[name]) for name in names]
    for number, name in enumerate(names):
        days = by_day(name, months[name])
        made[f"log-{name}.html"] = page(
            "public_month.html",
            month=name,
            title=month_name(name),
            rows=months[name],
            total=totals[number],
            days=days,
            chart=_day_chart(name, days),
            before=names[number - 1] if number else "",
            after=names[number + 1] if number + 1 < len(names) else "",
        )
    made["index.html"] = page(
        "public_index.html",
        totals=totals[::-1],
        latest=names[-1] if names else "",
        rows=months[names[-1]][::-1] if names else [],
        chart=_month_chart(totals),
        month_name=month_name,
        fixed_now=sum(1 for one in places if not one["to"]),
    )
    return made


def total(month: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sums of a month; a correction counts in the month in which it was made."""
    found: dict[str, Any] = dict.fromkeys(_SUMS, 0)
    found |= {"month": month, "periods": 0, "minutes": 0, "plates_read": 0, "corrections": 0}
    for row in rows:
        for name in _SUMS:
            found[name] += row[name] or 0
        if row["start"]:
            found["periods"] += 1
            found["plates_read"] += row["plates_read"]
            found["minutes"] += _minutes(row)
        else:
            found["corrections"] += 1
    found["hours"] = f"{found['minutes'] // 60}:{found['minutes'] % 60:02d}"
    return found


def by_day(month: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Periods and plates of each day of a month, also of days without any."""
    day = date.fromisoformat(f"{month}-01")
    found: dict[str, dict[str, Any]] = {}
    while day.isoformat()[:7] == month:
        found[day.isoformat()] = {"day": day.isoformat(), "periods": 0, "plates_read": 0}
        day += timedelta(days=1)
    for row in rows:
        if row["start"]:
            found[row["date"]]["periods"] += 1
            found[row["date"]]["plates_read"] += row["plates_read"]
    return list(found.values())


def month_name(month: str) -> str:
    """``November 2026``."""
    return f"{date.fromisoformat(f'{month}-01'):%B %Y}"


def publish(central: Central, folder: Path, actor: Actor = CENTRAL) -> Published:
    """Write the files into a folder, and the trail when one of them changed.

    Raises:
        StoreError: the folder cannot be written; what it held before is still whole.
    """
    made = files(central)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _manifest(folder)
        changed = [name for name in made if not _holds(folder / name, made[name])]
        for name in sorted(changed, key=lambda one: (one.endswith(".html"), one == "index.html")):
            _replace(folder / name, made[name])
        stale = sorted(set(before) - set(made) - {MANIFEST})
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        if changed or stale or set(before) != set(made):
            told = {
                "agency": central.config.agency_name,
                "made_at": central.clock().isoformat(timespec="seconds"),
                "files": {
                    name: {"sha256": sha256_hex(data), "length": len(data)}
                    for name, data in sorted(made.items())
                },
            }
            _replace(folder / MANIFEST, json.dumps(told, indent=1).encode() + b"\n")
    except OSError as error:
        raise StoreError(
            f"the public folder cannot be written: {error.strerror}",
            remedy="check that it exists, belongs to this account, and that the disk has room",
        ) from error
    done = Published(len(made), tuple(sorted([*changed, *stale])), made[LOG_CSV].count(b"\n") - 1)
    if done.changed:
        with central.database.write() as tx:
            central.trail.record(
                tx,
                Event.LOG_PUBLISHED,
                actor,
                at=central.clock(),
                detail={
                    "files": done.files,
                    "changed": len(done.changed),
                    "rows": done.rows,
                    "sha256": sha256_hex(made[LOG_CSV]),
                },
            )
    return done


def _manifest(folder: Path) -> dict[str, Any]:
    """The files of the last run; none when there was no whole one."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    # The folder may be writable by others: a name must not lead out of it.
    plain = isinstance(found, dict)
    return (
        {n: v for n, v in found.items() if Path(n).name == n and n not in ("", "..")}
        if plain
        else {}
    )


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole, readable by a web server, durable before it takes its name."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fchmod(out.fileno(), 0o644)
        os.fsync(out.fileno())
    new.replace(path)


def _today(central: Central) -> str:
    return central.clock().astimezone(central.config.zone()).date().isoformat()


def _minutes(row: dict[str, Any]) -> int:
    length = datetime.fromisoformat(row["end"]) - datetime.fromisoformat(row["start"])
    return round(length / timedelta(minutes=1))


def _month_chart(totals: list[dict[str, Any]]) -> Any:
    drawn = totals[-MONTHS_DRAWN:]
    values = [
        usechart.Bar(
            one["month"],
            one["plates_read"],
            f"{month_name(one['month'])}: {one['plates_read']:,} plates, {one['periods']} periods",
        )
        for one in drawn
    ]
    return usechart.bars(
        "use",
        "Plates read by month",
        _description("month", [(month_name(one["month"]), one["plates_read"]) for one in drawn]),
        values,
    )


def _day_chart(month: str, days: list[dict[str, Any]]) -> Any:
    values = [
        usechart.Bar(
            str(int(one["day"][8:])),
            one["plates_read"],
            f"{one['day']}: {one['plates_read']:,} plates in {one['periods']} periods",
        )
        for one in days
    ]
    told = [(one["day"], one["plates_read"]) for one in days if one["periods"]]
    return usechart.bars(
        "days", f"Plates read by day, {month_name(month)}", _description("day", told), values
    )


def _description(unit: str, told: list[tuple[str, int]]) -> str:
    if not told:
        return f"No {unit} with use."
    most = max(told, key=lambda one: one[1])
    return (
        f"Bars of {len(told)} {unit}(s) with use. The most was {most[1]:,} plates, in {most[0]}. "
        "The same figures stand in the table."
    )
