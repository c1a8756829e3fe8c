"""Additional entries: asked for, approved by another, ended by their own end, even offline."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import PASSWORD, add_person, everything, make_home, run

from alprd import roster
from alprd.central.hotlists import additional, entry, lists
from alprd.central.hotlists.entry import Entry, Request
from alprd.central.staff import people
from alprd.central.storage.audit import Event, events
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, RefusedError
from alprd.frames import Character, PlateReading
from alprd.hotlist import Matcher, load_hotlist
from alprd.records import normalise
from alprd.wire import Person

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WHY = "The request fits the open burglary case"
GOOD: dict[str, Any] = {
    "plate": "NRT042", "state": "MN", "purpose": "suspect_interdiction", "case": "26-001234",
    "offence": "burglary", "relation": "The van left the burgled store at noon on Friday",
    "alert": "Call dispatch before a stop", "starts": NOW, "ends": NOW + timedelta(days=7),
}  # fmt: skip
WARRANT: dict[str, Any] = {
    "court": "Becker County District Court", "number": "03-CR-26-77", "issued": NOW,
    "expires": NOW + timedelta(days=2), "scope": "The van's places for two days",
}  # fmt: skip
EXIGENCY: dict[str, Any] = {
    "facts": "A child was taken in this van an hour ago", "at": NOW, "approver": "dana",
}  # fmt: skip


class Clock:
    """Central's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_home(tmp_path_factory.mktemp("additional") / "home")
    for who, role in (
        ("ida", "investigator"), ("ivar", "investigator"), ("dana", "admin_supervisor"),
        ("dag", "admin_supervisor"), ("ole", "operator"), ("aud", "auditor"),
    ):  # fmt: skip
        add_person(made, who, role)
    return made


@pytest.fixture
def central(home: Path) -> Iterator[Central]:
    with Central(home, Clock()) as opened:
        yield opened
        with opened.database.write() as tx:
            tx.execute(additional.db.additional.delete())


def person(central: Central, who: str) -> Person:
    with central.database.read() as tx:
        found = people.find(tx, who)
    assert found is not None
    return found


def ask(central: Central, who: str = "ida", **changes: Any) -> Entry:
    request = Request.model_validate({**GOOD, **changes})
    return additional.ask(central, person(central, who), request)


def approve(central: Central, made: Entry, who: str = "dana") -> Entry:
    return additional.approve(central, person(central, who), made.id, WHY)


def published(central: Central) -> Matcher | None:
    """What a car has of the list: through the published bytes and the car's own loader."""
    with central.database.read() as tx:
        plain = lists.hotlists(central, tx).get("additional")
    if plain is None:
        return None
    packed = plain.plain.read_at(0, plain.plain.size)
    return Matcher([load_hotlist(packed)], central.config.device_policy())


def matches(matcher: Matcher | None, text: str, at: datetime) -> list[str]:
    if matcher is None:
        return []
    sure = tuple(Character(char, 1.0) for char in text)
    reading = PlateReading(text, "", sure, "MN", 1.0, 1.0, sure=True)
    return [match.entry.text for match in matcher.match(reading, at)]


@pytest.mark.policy("R-460.4.1-b2")
def test_an_entry_matches_after_approval_by_another_person(central: Central) -> None:
    """R-460.4.1-b2: requester, approval by a different person, end; only then a car matches."""
    made = ask(central)
    assert published(central) is None, "a request matches nothing"
    with pytest.raises(RefusedError) as caught:
        approve(central, made, "ida")
    assert caught.value.reason == "wrong_role"
    own = ask(central, "dana")
    with pytest.raises(RefusedError) as caught:
        approve(central, own, "dana")
    assert caught.value.reason == "same_person"
    approve(central, made)
    assert matches(published(central), "NRT042", NOW) == [
        "Active investigation; case 26-001234; Call dispatch before a stop"
    ]
    with pytest.raises(RefusedError, match="already"):
        approve(central, made, "dag")


@pytest.mark.policy("R-460.4.1-b2")
def test_an_entry_ends_in_a_car_that_never_hears_again(central: Central) -> None:
    """R-460.4.1-b2: expired entries stop matching on edge without contact."""
    approve(central, ask(central, ends=NOW + timedelta(hours=20)))
    matcher = published(central)
    assert matches(matcher, "NRT042", NOW + timedelta(hours=19, minutes=59))
    assert matches(matcher, "NRT042", NOW + timedelta(hours=20)) == []


@pytest.mark.policy("R-460.4.1-b2", "R-460.3-2", "T-13")
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("plate", "0", "bad_plate"),
        ("state", "QQ", "bad_state"),
        ("purpose", "other", "bad_purpose"),
        ("case", "", "bad_case"),
        ("case", "none", "bad_case"),
        ("offence", "", "missing_offence"),
        ("relation", "", "short_relation"),
        ("relation", "because because because because", "short_relation"),
        ("starts", NOW - timedelta(hours=1), "bad_start"),
        ("starts", NOW + timedelta(days=8), "bad_end"),
        ("ends", NOW, "bad_end"),
        ("ends", NOW + timedelta(days=30, seconds=1), "too_long"),
        ("warrant", WARRANT, "basis_not_needed"),
    ],
)
def test_each_missing_statement_is_refused(
    central: Central, field: str, value: object, reason: str
) -> None:
    """R-460.4.1-b2, R-460.3-2: every field is needed, and no purpose stands in for one."""
    for purpose in additional_purposes(field):
        with pytest.raises(RefusedError) as caught:
            ask(central, **{"purpose": purpose, field: value})
        assert caught.value.reason == reason
        assert "NRT042" not in caught.value.diagnostics()


def additional_purposes(field: str) -> tuple[str, ...]:
    return ("stolen_vehicles",) if field == "purpose" else entry.PURPOSES


def test_the_purposes_are_those_of_the_car() -> None:
    assert set(entry.PURPOSES) == set(roster.PURPOSES)


@pytest.mark.policy("R-460.4.1-c")
def test_monitoring_needs_a_warrant_or_exigent_circumstances(central: Central) -> None:
    """R-460.4.1-c: exactly one legal basis, in force, and the entry ends with it."""
    for foul, reason in (
        ({}, "no_legal_basis"),
        ({"warrant": WARRANT, "exigency": EXIGENCY}, "no_legal_basis"),
        ({"warrant": WARRANT | {"expires": NOW}}, "warrant_not_in_force"),
        ({"warrant": WARRANT | {"issued": NOW + timedelta(hours=1)}}, "warrant_not_in_force"),
        ({"exigency": EXIGENCY | {"facts": "urgent"}}, "short_exigency_facts"),
        ({"exigency": EXIGENCY | {"at": NOW - timedelta(hours=24)}}, "exigency_over"),
        ({"exigency": EXIGENCY | {"approver": "nobody"}}, "bad_approver"),
        ({"exigency": EXIGENCY | {"approver": "ida"}}, "bad_approver"),
        ({"exigency": EXIGENCY | {"approver": "ivar"}}, "wrong_role"),
    ):
        with pytest.raises(RefusedError) as caught:
            ask(central, kind="monitoring", **foul)
        assert caught.value.reason == reason, foul
    warranted = approve(central, ask(central, kind="monitoring", warrant=WARRANT))
    assert warranted.effective_end == NOW + timedelta(days=2)
    exigent = ask(central, kind="monitoring", exigency=EXIGENCY, plate="KZM905")
    assert approve(central, exigent).effective_end == NOW + timedelta(hours=24)
    matcher = published(central)
    assert matches(matcher, "KZM905", NOW)[0].startswith("MONITORING, do not stop")
    assert matches(matcher, "KZM905", NOW + timedelta(hours=24)) == []
    assert matches(matcher, "NRT042", NOW + timedelta(hours=47))
    assert matches(matcher, "NRT042", NOW + timedelta(hours=48)) == []


@pytest.mark.policy("R-460.4.1-c")
def test_exigent_circumstances_are_reviewed_afterwards(central: Central, home: Path) -> None:
    """R-460.4.1-c: 24 h life, written review after, by another person."""
    made = approve(central, ask(central, kind="monitoring", exigency=EXIGENCY))
    text = "The facts held; the child was found the same night"
    with pytest.raises(RefusedError, match="no review is due"):
        additional.review(central, person(central, "dana"), made.id, text)
    assert isinstance(central.clock, Clock)
    central.clock.now = NOW + timedelta(hours=25)
    assert additional.register(central, person(central, "dana"))[0].review_due(central.clock())
    done = additional.review(central, person(central, "dana"), made.id, text)
    assert (done.reviewed_by, done.review_due(central.clock())) == ("dana", False)


@pytest.mark.policy("R-460.4.1-b2")
def test_revoked_refused_and_closed_entries_are_not_published(central: Central) -> None:
    """R-460.4.1-b2: revocation, and closing the case, end entries with the next publication."""
    first, second = approve(central, ask(central)), approve(central, ask(central, plate="KZM905"))
    other = approve(central, ask(central, plate="HJP227", case="26-005678"))
    with pytest.raises(RefusedError, match="another person"):
        additional.revoke(central, person(central, "ivar"), first.id, WHY)
    additional.revoke(central, person(central, "ida"), first.id, WHY)
    matcher = published(central)
    assert not matches(matcher, "NRT042", NOW)
    assert matches(matcher, "KZM905", NOW)
    ended = additional.close_case(central, person(central, "dana"), "26-001234", WHY)
    assert [item.id for item in ended] == [second.id]
    matcher = published(central)
    assert not matches(matcher, "KZM905", NOW)
    assert matches(matcher, "HJP227", NOW)
    additional.revoke(central, person(central, "dana"), other.id, WHY)
    assert published(central) is None
    turned = ask(central)
    additional.refuse(central, person(central, "dana"), turned.id, WHY)
    with pytest.raises(RefusedError, match="already"):
        approve(central, turned)


def test_a_start_that_is_to_come_and_a_lapsed_request(central: Central) -> None:
    approve(central, ask(central, starts=NOW + timedelta(hours=2)))
    assert published(central) is None
    assert isinstance(central.clock, Clock)
    late = ask(central, plate="KZM905", ends=NOW + timedelta(hours=1))
    central.clock.now = NOW + timedelta(hours=2)
    assert matches(published(central), "NRT042", central.clock())
    with pytest.raises(RefusedError, match="passed"):
        approve(central, late)


@pytest.mark.policy("R-460.4.1-b4")
def test_the_list_stays_young_and_changes_once_an_hour(central: Central) -> None:
    """R-460.4.1-b4: its age is that of central's last word, not that of its oldest entry."""
    approve(central, ask(central))
    assert isinstance(central.clock, Clock)
    seen = set()
    for minutes in (1, 5, 59, 60, 119, 60 * 96):
        central.clock.now = NOW + timedelta(minutes=minutes)
        with central.database.read() as tx:
            made = additional.hotlist(central, tx)
        assert made is not None
        assert timedelta(0) <= central.clock.now - made[0].supplied_at < timedelta(hours=1)
        seen.add(made[0].version)
    assert len(seen) == 3


@pytest.mark.policy("R-13.824-X-1", "R-460.4.1-b")
def test_limits_are_settings_and_the_policy_must_allow_the_source(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-13.824-X-1: shorter lives without a code change. R-460.4.1-b: no source beyond the list."""
    settings = central.config
    shorter = settings.additional.model_copy(update={"longest_days": 5})
    monkeypatch.setattr(central, "config", settings.model_copy(update={"additional": shorter}))
    with pytest.raises(RefusedError, match="longer than 5 days"):
        ask(central)
    with pytest.raises(ValueError):
        type(shorter).model_validate({"longest_days": 31})
    made = ask(central, ends=NOW + timedelta(days=5))
    policy = settings.policy.model_copy(update={"sources": ("LPDF",)})
    monkeypatch.setattr(central, "config", settings.model_copy(update={"policy": policy}))
    with pytest.raises(RefusedError) as caught:
        approve(central, made)
    assert caught.value.reason == "source_not_allowed"


@pytest.mark.policy("R-460.5-b4")
def test_a_protected_plate_is_answered_like_any_other(central: Central, home: Path) -> None:
    """T-12, R-460.5-b4: an approved entry of a protected plate is published; nothing tells it."""
    requests = home.parent / "requests.csv"
    requests.write_text("plate,state\nACP817,MN\n")
    run(home, "suppression", "import", str(requests), "--by", "dana")
    made, plain = ask(central, plate="ACP817"), ask(central)
    hidden = {"id", "request", "requested_at"}
    assert made.model_dump(exclude=hidden) == plain.model_dump(exclude=hidden)
    approve(central, made)
    assert matches(published(central), "ACP817", NOW)


@pytest.mark.policy("R-AT-1", "R-460.4-e")
def test_every_step_is_in_the_trail_and_plates_lie_sealed(home: Path) -> None:
    """R-AT-1: request, approval, look, revocation by name. R-460.4-e: no plate in clear."""

    def sign(*args: str, who: str, check: bool = True) -> Any:
        words = ("--as", who, "--password-stdin")
        return run(home, "additional", *args, *words, stdin=PASSWORD + "\n", check=check)

    given = (
        "request", "--plate", "zqx 906", "--state", "mn", "--purpose", "suspect_interdiction",
        "--case", "26-009999", "--offence", "burglary",
        "--relation", "Seen at the burgled store by two people",
    )  # fmt: skip
    made = sign(*given, who="ida")["entries"][0]
    assert made["request"]["plate"] == normalise("zqx 906")
    starts, ends = (datetime.fromisoformat(made["request"][key]) for key in ("starts", "ends"))
    assert ends - starts == timedelta(days=7), "the default"
    assert sign("approve", made["id"], "--reason", WHY, who="ole", check=False).returncode == 6
    assert sign(*given, who="ole", check=False).returncode == 6
    assert sign("approve", made["id"], "--reason", WHY, who="dana")["entries"][0]["stands"] == (
        "in force"
    )
    assert sign("list", who="ivar")["entries"] == [], "only his own"
    assert [e["id"] for e in sign("list", who="aud")["entries"]] == [made["id"]]
    run(home, "publish")
    sign("revoke", made["id"], "--reason", WHY, who="ida")
    half = sign(*given, "--warrant-court", "Becker", who="ida", check=False)
    assert (half.returncode, "number" in half.stderr) == (1, True)
    for file, data in everything(home):
        assert b"ZQX906" not in data, file.name
        assert b"ZQX906" not in (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b"")
    with Central(home) as central, central.database.read() as tx:
        steps = [event for event in events(tx) if made["id"] in event.subjects]
        assert central.trail.terms(steps[0]) == "ZQX906"
    assert [(event.event, event.actor) for event in steps] == [
        (Event.ENTRY_REQUESTED, "ida"),
        (Event.ENTRY_APPROVED, "dana"),
        (Event.ENTRY_REVOKED, "ida"),
    ]


def test_the_list_cannot_be_imported_past_the_register(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("plate,state,type,category,source,entered,text\nNRT042,MN,,stolen,,,\n")
    for name, source in (("additional", "LPDF"), ("x", "additional")):
        with Central(home) as central, pytest.raises(AlprdError, match="approved additional"):
            lists.import_hotlist(
                central, path, list_id=name, source=source, supplied_at=NOW,
                actor=people.named_actor(central, "dana"),
            )  # fmt: skip
