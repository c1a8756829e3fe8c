"""Register of readers, notices to the BCA, and the leave to collect that hangs on them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from office_world import Office, local

from alprd import crypto
from alprd.central.fleet import vehicles
from alprd.central.public import bcanotices, fixedplaces, noticedoc, readers
from alprd.central.storage.audit import Event
from alprd.errors import EnvelopeError, InputError, RefusedError
from alprd.permits import PermitBook
from alprd.store import Store
from alprd.wire import Permit, Person

MARCH = local("2026-03-02T09:00:00")
RECEIPT = b"%PDF- the portal's answer, invented"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", MARCH)
    made.car("car-1", "1")
    yield made
    made.close()


def permit(office: Office, name: str = "car-1") -> Permit:
    document = vehicles.permit(office.central, office.cars[name][0])
    key = office.central.receipt_key().public_key()
    return crypto.verify_document(document, "permit", key, Permit)


def boss(office: Office) -> Person:
    return office.person("admin_supervisor")


def send(office: Office, device: str = "car-1", entry: str = "", **changes: object) -> str:
    given = {
        "device": device, "entry": entry, "sent_at": office.now, "sent_by": "Dana Example",
        "how": "portal", "reference": "B-1", "receipt": RECEIPT,
    }  # fmt: skip
    return bcanotices.record(office.central, boss(office), **(given | changes))  # type: ignore[arg-type]


def states(office: Office) -> dict[str, str]:
    with office.central.database.write() as tx:
        readers.ensure_all(office.central, tx)
        found = bcanotices.duties(office.central, tx)
    today = readers.today(office.central)
    return {
        duty.key: duty.state(today, bcanotices.sent_day(office.central, duty)) for duty in found
    }


@pytest.mark.policy("R-460.4.1-d", "T-18")
def test_first_use_on_2_march_is_due_on_12_march() -> None:
    """The requirements' own vector; 12 March counts whatever day of the week it is."""
    assert bcanotices.due_day(None, "2026-03-02") == (date(2026, 3, 2), date(2026, 3, 12))
    assert bcanotices.due_day("2026-03-02", "2026-03-09") == (date(2026, 3, 2), date(2026, 3, 12))
    assert bcanotices.due_day("2026-03-09", "2026-03-02") == (date(2026, 3, 2), date(2026, 3, 12))
    assert bcanotices.due_day("2026-02-18", None) == (date(2026, 2, 18), date(2026, 2, 28))
    assert date(2026, 2, 28).weekday() == 5, "a Saturday stays due"
    assert bcanotices.due_day(None, None) is None


@pytest.mark.policy("R-460.4.1-d")
def test_installation_and_first_use_are_noted_by_themselves(office: Office) -> None:
    start = local("2026-03-05T23:30:00")  # the next day in UTC
    office.now = start + timedelta(days=1)
    office.drive("car-1", started=start, ended=start + timedelta(minutes=20))
    with office.central.database.read() as tx:
        (row,) = readers.register(tx)
    assert (row.device, row.installed, row.first_used) == ("car-1", "2026-03-02", "2026-03-05")
    with pytest.raises(InputError, match="already"):  # a later day would move the ten days
        readers.set_day(office.central, boss(office), "car-1", "installed", "2026-03-04")
    readers.set_day(office.central, boss(office), "car-1", "installed", "2026-02-27")
    with office.central.database.read() as tx:
        assert bcanotices.duties(office.central, tx)[0].due == date(2026, 3, 9)
    for who in ("sheriff", "auditor", "operator"):
        with pytest.raises(RefusedError):
            readers.set_day(office.central, office.person(who), "car-1", "installed", "2026-01-01")


@pytest.mark.policy("R-460.4.1-d")
def test_no_permit_reaches_beyond_day_ten_until_the_notice_is_on_record(
    office: Office, tmp_path: Path
) -> None:
    """R-460.4.1-d: stopped at the midnight after 12 March, also out of contact; then recorded."""
    midnight = local("2026-03-13T00:00:00")
    assert permit(office).expires == office.now + timedelta(hours=24)
    office.now = local("2026-03-12T20:00:00")
    last = permit(office)
    assert (last.suspended, last.expires) == (False, midnight)
    assert permit(office) == last, "asked again, the same one"
    office.now = midnight
    stopped = permit(office)
    assert (stopped.suspended, stopped.reason) == (True, "notice")
    assert states(office) == {"car-1": "overdue"}
    send(office)
    office.now += timedelta(minutes=1)
    again = permit(office)
    assert (again.suspended, again.reason) == (False, "")
    assert again.expires == office.now + timedelta(hours=24)
    assert states(office) == {"car-1": "sent late"}, "recorded, and still late"

    # What the real car makes of these permits.
    store = Store(tmp_path / "queue.db", now=lambda: (office.now, True), device="car-1")
    book = PermitBook(
        store, agency=office.central.config.agency, vehicle="car-1",
        receipt_key=office.central.receipt_key().public_key(),
    )  # fmt: skip
    sign = office.central.receipt_key()
    book.renew(crypto.sign_document("permit", last, sign))
    book.check(midnight - timedelta(seconds=1))
    with pytest.raises(RefusedError) as lapsed:
        book.check(midnight)
    assert lapsed.value.reason == "permit_lapsed", "a car out of contact stops by itself"
    book.renew(crypto.sign_document("permit", stopped, sign))
    with pytest.raises(RefusedError, match="notice to the BCA is not on record") as told:
        book.check(midnight)
    assert told.value.reason == "suspended"
    book.renew(crypto.sign_document("permit", again, sign))
    book.check(office.now)
    store.close()


@pytest.mark.policy("R-460.4.1-d")
def test_each_fixed_location_and_each_move_has_a_duty_of_its_own(office: Office) -> None:
    send(office)
    readers.add(
        office.central, boss(office), device="pole-1", kind="fixed", what="reader on a pole",
        day="2026-03-02",
    )  # fmt: skip
    first = fixedplaces.place(
        office.central, boss(office), device="car-1", kind="fixed", at="Old Bridge",
        since="2026-03-02",
    )  # fmt: skip
    assert set(states(office)) == {"car-1", "pole-1", f"car-1/{first.id}"}
    send(office, entry=first.id)
    office.now = local("2026-03-20T08:00:00")
    second = fixedplaces.place(
        office.central, boss(office), device="car-1", kind="fixed", at="New Bridge",
        since="2026-03-08",
    )  # fmt: skip
    assert states(office)[f"car-1/{first.id}"] == "sent"
    assert states(office)[f"car-1/{second.id}"] == "overdue"
    assert permit(office).reason == "notice"
    send(office, entry=second.id)
    assert permit(office).reason == ""
    assert states(office)["pole-1"] == "overdue"


@pytest.mark.policy("R-460.4.1-d")
def test_reminders_on_day_0_7_9_and_when_overdue_each_once(office: Office) -> None:
    for day in range(15):
        office.now = MARCH + timedelta(days=day)
        bcanotices.remind(office.central)
        for _ in bcanotices.remind(office.central):
            pytest.fail("a reminder came twice")
    told = [
        (event.event, event.detail["day"], event.detail["due"])
        for event in office.trail(Event.BCA_DUE, Event.BCA_OVERDUE)
    ]
    assert told == [
        ("bca.due", 0, "2026-03-12"), ("bca.due", 7, "2026-03-12"),
        ("bca.due", 9, "2026-03-12"), ("bca.overdue", 11, "2026-03-12"),
    ]  # fmt: skip
    office.car("car-2", "2")
    bcanotices.remind(office.central)
    send(office, "car-2")
    office.now += timedelta(days=8)
    assert bcanotices.remind(office.central) == [], "nothing more once it is sent"


def pdf_text(data: bytes) -> str:
    """The text of a small PDF, its page streams inflated."""
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    plain = b"".join(zlib.decompress(part) for part in parts if part[:1] == b"x")
    lines = re.findall(rb"\((.*?)(?<!\\)\) ?Tj", plain, re.DOTALL)
    return b" ".join(lines).decode("latin-1").replace("\\(", "(").replace("\\)", ")")


@pytest.mark.policy("R-460.4.1-d")
def test_the_notice_is_ready_to_send_as_pdf_and_text(office: Office) -> None:
    start = local("2026-03-05T08:00:00")
    office.now = start + timedelta(hours=9)
    office.drive("car-1", started=start, ended=start + timedelta(hours=1))
    entry = fixedplaces.place(
        office.central, boss(office), device="car-1", kind="fixed", at="North Gate – Lake Ida",
        since="2026-03-05",
    )  # fmt: skip
    with office.central.database.read() as tx:
        use, place = bcanotices.duties(office.central, tx)
    name = office.central.config.agency_name
    for duty, says in (
        (use, ("Installed: 2026-03-02", "First used: 2026-03-05", "end on 2026-03-12")),
        (place, ("Location: North Gate", "since: 2026-03-05", "end on 2026-03-15")),
    ):
        text = noticedoc.as_text(name, duty, date(2026, 3, 5))
        data = noticedoc.as_pdf(name, duty, date(2026, 3, 5))
        assert data.startswith(b"%PDF-")
        for line in ("13.824, subd. 8(a)", "Bureau of Criminal Apprehension", "Becker", *says):
            assert line in text, line
            assert line in pdf_text(data), line
    assert entry.place == "North Gate – Lake Ida"


@pytest.mark.policy("R-460.4.1-d")
def test_proof_of_sending_is_kept_sealed_and_whole(office: Office, tmp_path: Path) -> None:
    for wrong, says in (
        ({"receipt": b""}, "receipt"), ({"how": "pigeon"}, "how it was sent"),
        ({"sent_at": office.now + timedelta(minutes=1)}, "future"), ({"sent_by": " "}, "who sent"),
        ({"device": "car-9"}, "no such notice"), ({"entry": "0" * 32}, "no such notice"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            send(office, **wrong)
    made = send(office)
    who = office.person("auditor")
    assert bcanotices.receipt(office.central, who, made) == RECEIPT
    with pytest.raises(RefusedError):
        bcanotices.receipt(office.central, office.person("operator"), made)
    (said,) = office.trail(Event.BCA_SENT)
    assert said.detail["receipt"] == crypto.sha256_hex(RECEIPT)
    assert (said.detail["how"], said.detail["sent_by"]) == ("portal", "Dana Example")
    assert [e.actor for e in office.trail(Event.BCA_VIEWED)] == [who.id]
    path = tmp_path / "home" / "bca" / made
    assert RECEIPT[5:] not in path.read_bytes()
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(EnvelopeError):
        bcanotices.receipt(office.central, who, made)


@pytest.mark.policy("R-460.4.1-d2")
def test_the_published_entry_is_produced_and_compared(office: Office) -> None:
    """R-460.4.1-d2: agency, then places or N/A; every comparison is on record."""
    with office.central.database.read() as tx:
        text = bcanotices.published_text(office.central, tx)
    assert text == ("Becker County Sheriff's Office (test)\nFixed or stationary locations: N/A\n")
    assert bcanotices.check(office.central, boss(office), text.upper().replace("\n", "  "))
    fixedplaces.place(
        office.central, boss(office), device="car-1", kind="fixed", at="Old Bridge",
        since="2026-03-02",
    )  # fmt: skip
    office.now += timedelta(minutes=1)
    assert not bcanotices.check(office.central, boss(office), text, "told the BCA by phone")
    with office.central.database.read() as tx:
        newest, oldest = bcanotices.checks(tx)
        assert bcanotices.published_text(office.central, tx).endswith("locations: Old Bridge\n")
    assert (newest.agrees, oldest.agrees) == ("no", "yes")
    assert newest.note == "told the BCA by phone"
    assert [e.detail["agrees"] for e in office.trail(Event.BCA_CHECKED)] == [True, False]
    assert newest.checked_at == datetime(2026, 3, 2, 15, 1, tzinfo=UTC)
