"""The form by which a hotlist is sent over the page: file, layout or mapping, constants.

What was sent lies on the disk without a name while it is read, so that no crash leaves it behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from starlette.datastructures import FormData, UploadFile

from alprd.central.hotlists import gate, lists
from alprd.central.pages.pagekit import instant, text
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Person

MAX_MAPPING: Final = 65_536
"""Bytes of a mapping file."""
_SHOWN: Final = 20
"""Rejected lines that the page names; the report has all of them."""


def take_in(central: Central, form: FormData, person: Person) -> lists.ImportReport:
    """Import the file of a form.

    Raises:
        RefusedError: the role, or the list may not be imported.
        InputError: no file, both a layout and a mapping, or a file that cannot be used.
        StoreError: the disk refuses; the list in use stays.
    """
    people.require(person, Act.LISTS_WORK, central.clock())
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise InputError("no file was sent")
    mapping = _mapping(form)
    if mapping and text(form, "layout"):
        raise InputError(
            "both a layout and a mapping file were given",
            remedy="a mapping file describes a layout of its own: leave Layout as it was",
        )
    folder = central.home / gate.FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b") as plain:
        while chunk := file.file.read(1 << 20):
            plain.write(chunk)
        plain.flush()
        return lists.import_hotlist(
            central,
            Path(f"/proc/self/fd/{plain.fileno()}"),
            list_id=text(form, "list_id"),
            source=text(form, "source"),
            supplied_at=instant(central, text(form, "supplied"), "Supplied at"),
            actor=people.actor(person),
            layout=text(form, "layout"),
            mapping=mapping,
            code=text(form, "code"),
            state=text(form, "state"),
        )


def _mapping(form: FormData) -> str:
    """The text of the mapping file; empty when none was sent."""
    sent = form.get("mapping")
    if not isinstance(sent, UploadFile) or not sent.filename:
        return ""
    data = sent.file.read(MAX_MAPPING + 1)
    if len(data) > MAX_MAPPING:
        raise InputError(f"the mapping file is longer than {MAX_MAPPING} bytes")
    try:
        found = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("the mapping file is not UTF-8", remedy="save it as UTF-8") from None
    if not found.strip():
        raise InputError("the mapping file is empty", remedy="see docs/hotlist-format.md")
    return found


def told(report: lists.ImportReport) -> str:
    """What an import did, in a sentence or two for the page."""
    done = f"{report.list_id}: {report.entries} entries in use; cars get them as they dock."
    if report.rejected_total:
        first = "; ".join(f"line {line}: {why}" for line, why in report.rejected[:_SHOWN])
        more = ", and more" if report.rejected_total > _SHOWN else ""
        done += f" {report.rejected_total} lines were rejected ({first}{more})."
    if report.remedy:
        done += f" {report.remedy[0].upper()}{report.remedy[1:]}."
    return done
