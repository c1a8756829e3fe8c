"""The form by which a hotlist is sent over the page: file, layout or mapping, constants.

What was sent lies on the disk without a name while it is read, so that no crash leaves it behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Final

from starlette.datastructures import FormData, UploadFile

from alprd.central.hotlists import gate, lists
from alprd.central.pages.pagekit import instant, text
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.central.upkeep.jobs import Outcome, Report
from alprd.errors import InputError, StoreError
from alprd.wire import Person

MAX_MAPPING: Final = 65_536
"""Bytes of a mapping file."""
_SHOWN: Final = 20
"""Rejected lines that the page names; the report has all of them."""


class Upload:
    """A checked form whose file lies on the disk, to be imported by a job."""

    def __init__(self, central: Central, person: Person, plain: BinaryIO, **values: Any) -> None:
        self._central, self._person, self._plain, self._values = central, person, plain, values
        self.list_id: str = values["list_id"]
        self.report: lists.ImportReport | None = None
        """What the import did, once it is over."""

    def work(self, report: Report) -> Outcome:
        """Import it, telling how far it is in bytes; the file is gone afterwards, also on failure.

        Raises:
            RefusedError: the list may not be imported.
            InputError: a file that cannot be used.
            StoreError: the disk refuses; the list in use stays.
        """
        with self._plain:
            made = self.report = lists.import_hotlist(
                self._central,
                Path(f"/proc/self/fd/{self._plain.fileno()}"),
                actor=people.actor(self._person),
                progress=report,
                **self._values,
            )
        if made.held:
            text = f"{made.list_id}: something looks wrong; the list in use stays until you decide"
            return Outcome(text, f"/lists/held/{made.held}")
        return Outcome(told(made).rstrip("."), "/lists")


def receive(central: Central, form: FormData, person: Person) -> Upload:
    """Check a form and bring its file to the disk, where it has no name.

    Raises:
        RefusedError: the role.
        InputError: no file, both a layout and a mapping, or an instant that cannot be.
        StoreError: the disk refuses.
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
    supplied = instant(central, text(form, "supplied"), "Supplied at")
    folder = central.home / gate.FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    plain = os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
    try:
        while chunk := file.file.read(1 << 20):
            plain.write(chunk)
        plain.flush()
    except OSError as error:
        plain.close()
        raise StoreError(
            f"the file cannot be written: {error.strerror}", remedy="check free disk space"
        ) from error
    names = ("list_id", "source", "layout", "code", "state")
    values = {name: text(form, name) for name in names}
    return Upload(central, person, plain, supplied_at=supplied, mapping=mapping, **values)


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
