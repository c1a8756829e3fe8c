"""Charts of the daily figures: lists, cameras, time to dock, oldest read, use (R-460.5-1).

Each chart comes with the table of the same figures, for whoever cannot see it. They are for the
agency: outcomes of alerts are not public (:mod:`alprd.central.public.publictrail`); use over time
is, and stands on the public pages too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup
from sqlalchemy import Connection

from alprd.central.oversight import outcomes
from alprd.central.oversight.compliance import Made
from alprd.central.public import logbook
from alprd.central.public.usechart import Bar, bars

DAYS = 30


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, and the table that says the same."""

    title: str
    words: str
    """What the bars are, and their unit."""
    chart: Markup
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figures(tx: Connection, reports: Sequence[Made]) -> list[Figure]:
    """The charts of the newest figures and of the reports of the last days.

    Args:
        reports: newest first.
    """
    days = list(reversed(reports[:DAYS]))
    return [_precision(tx), _cameras(tx), _false_lists(tx), _dock(days), _oldest(days), _use(tx)]


def _precision(tx: Connection) -> Figure:
    rows = [(one["list_id"], one["share_confirmed"], _judged(one)) for one in outcomes.by_list(tx)]
    return _shares("precision", "Precision of each list", "confirmed", "List", rows)


def _false_lists(tx: Connection) -> Figure:
    found = outcomes.by_list(tx)
    rows = [(one["list_id"], outcomes.false_share(one), _judged(one)) for one in found]
    return _shares("false-lists", "False hits of each list", "false hits", "List", rows)


def _cameras(tx: Connection) -> Figure:
    rows = [
        (f"{one['vehicle']} {one['camera']}", outcomes.false_share(one), _judged(one))
        for one in outcomes.by_camera(tx)
    ]
    return _shares("false-cameras", "False hits of each camera", "false hits", "Camera", rows)


def _shares(
    key: str, title: str, what: str, head: str, found: Sequence[tuple[str, float | None, int]]
) -> Figure:
    known = [(name, share, judged) for name, share, judged in found if share is not None]
    drawn = [
        Bar(name, 100 * share, f"{name}: {100 * share:.0f} % {what} of {judged}")
        for name, share, judged in known
    ]
    table = tuple((name, f"{100 * share:.0f} %", str(judged)) for name, share, judged in known)
    words = f"Per cent {what} of the alerts that were confirmed, not confirmed or misread."
    return Figure(
        title, words, bars(key, title, words, drawn), (head, what.capitalize(), "Of"), table
    )


def _judged(row: dict[str, int]) -> int:
    return sum(row[outcome] for outcome in outcomes.OUTCOMES[:3])


def _dock(days: Sequence[Made]) -> Figure:
    drawn, table = [], []
    for made in days:
        half, most = made.report.figures.dock_hours_p50, made.report.figures.dock_hours_p95
        if half is None or most is None:
            continue
        told = f"{made.report.day}: half within {half} h, 95 % within {most} h"
        drawn.append(Bar(made.report.day[5:], most, told))
        table.append((made.report.day, f"{half} h", f"{most} h"))
    title = "Time to dock"
    words = "Hours from the end of a period of use to its arrival: 95 in 100 were no slower."
    head = ("Day", "Half within", "95 % within")
    return Figure(title, words, bars("dock", title, words, drawn), head, tuple(table))


def _oldest(days: Sequence[Made]) -> Figure:
    drawn, table = [], []
    for made in days:
        ages = [
            (made.report.made_at - datetime.fromisoformat(hour)).total_seconds() / 86400
            for hour in made.report.figures.oldest_read.values()
        ]
        if not ages:
            continue
        age = max(ages)
        told = f"{made.report.day}: {age:.1f} days"
        drawn.append(Bar(made.report.day[5:], age, told))
        table.append((made.report.day, f"{age:.1f} days"))
    title = "Oldest read without an exemption"
    words = "Days since the hour of collection; none may be older than the period of retention."
    return Figure(title, words, bars("oldest", title, words, drawn), ("Day", "Age"), tuple(table))


def _use(tx: Connection) -> Figure:
    months: Counter[str] = Counter()
    periods: Counter[str] = Counter()
    for entry in logbook.entries(tx):
        if entry.kind == "session":
            months[entry.date[:7]] += entry.plates_read or 0
            periods[entry.date[:7]] += 1
    drawn = [
        Bar(month, months[month], f"{month}: {months[month]:,} plates read")
        for month in sorted(months)
    ]
    table = tuple((m, str(periods[m]), f"{months[m]:,}") for m in sorted(months))
    title = "Use over time"
    words = "Plates read by month, as in the public log."
    return Figure(
        title, words, bars("use", title, words, drawn), ("Month", "Periods", "Plates"), table
    )
