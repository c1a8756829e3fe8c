"""The record of members, the second factor at central, and who may write what about whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from central_world import PASSWORD, add_person, make_home, run

from alprd import totp
from alprd.central.staff import memberlog, members, people
from alprd.central.staff.permissions import Act
from alprd.central.storage import audit
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.wire import Person

NOW = datetime.now(UTC)
YEAR = NOW + timedelta(days=365)


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    home = make_home(tmp_path_factory.mktemp("members") / "home")
    for who, role in (
        ("dana", "admin_supervisor"), ("sher", "sheriff"), ("ida", "investigator"),
        ("ole", "alpr_admin"),
    ):  # fmt: skip
        add_person(home, who, role)
    with Central(home) as made:
        yield made


def find(central: Central, who: str) -> Person:
    with central.database.read() as tx:
        person = people.find(tx, who)
    assert person is not None
    return person


def events(central: Central) -> list[str]:
    with central.database.read() as tx:
        audit.verify(tx)
        return [event.event for event in audit.events(tx)]


@pytest.mark.policy("R-460.4-d")
def test_the_training_completed_last_counts(central: Central) -> None:
    """R-460.4-d: course, dates and evidence on record; the gate uses the latest."""
    dana = find(central, "dana")
    soon = NOW + timedelta(days=60)
    new = members.train(
        central, dana, "ida", course="ALPR 2026", completed=NOW,
        expires=YEAR, evidence="C-77",
    )  # fmt: skip
    assert find(central, "ida").training_expires == new.ends
    old = members.train(
        central, dana, "ida", course="ALPR 2024", completed=NOW - timedelta(days=700),
        expires=YEAR + timedelta(days=900), evidence="C-12",
    )  # fmt: skip
    assert find(central, "ida").training_expires == new.ends, "an older course changes nothing"
    with central.database.read() as tx:
        assert memberlog.history(tx, "ida", "training")[0].id == old.id
    members.train(
        central, dana, "ida", course="Refresher", completed=datetime.now(UTC), expires=soon,
        evidence="C-78",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="training has expired"):
        people.require(find(central, "ida"), Act.SEARCH, YEAR)
    assert events(central)[-1] == "person.training-recorded"
    for bad in ({"evidence": " "}, {"course": ""}, {"completed": YEAR}, {"expires": NOW}):
        values = {"course": "A", "completed": NOW, "expires": YEAR, "evidence": "C"} | bad
        with pytest.raises(InputError):
            members.train(central, dana, "ida", **values)  # type: ignore[arg-type]


@pytest.mark.policy("R-13.824-7-1")
def test_only_the_sheriff_authorises_and_within_24_months(central: Central) -> None:
    """R-13.824-7-1: none, expired, signed by non-designee; who signed and the document kept."""
    sheriff, dana = find(central, "sher"), find(central, "dana")
    given = {"purposes": "stolen vehicles", "until": YEAR, "document": "A-9"}
    with pytest.raises(RefusedError, match="role"):
        members.authorise(central, dana, "ida", **given)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="of his own"):
        members.authorise(central, sheriff, "sher", **given)  # type: ignore[arg-type]
    for bad in ({"until": NOW}, {"until": NOW + timedelta(days=740)}, {"document": ""}):
        with pytest.raises(InputError):
            members.authorise(central, sheriff, "ida", **(given | bad))  # type: ignore[arg-type]
    fact = members.authorise(central, sheriff, "ida", designation="D-1", **given)  # type: ignore[arg-type]
    assert (fact.recorded_by, fact.evidence) == ("sher", "A-9; designation D-1")
    assert find(central, "ida").authorised_until == fact.ends
    members.withdraw(central, sheriff, "ida", "left the unit")
    with pytest.raises(RefusedError, match="authorisation"):
        people.require(find(central, "ida"), Act.PAGES, datetime.now(UTC))
    with pytest.raises(InputError, match="no authorisation in force"):
        members.withdraw(central, sheriff, "ida", "left the unit")
    with central.database.read() as tx:
        kept = memberlog.history(tx, "ida", "authorisation")
    assert [f.title for f in kept[:2]] == ["withdrawn", "stolen vehicles"]
    assert events(central)[-2:] == ["person.authorised", "person.authorisation-withdrawn"]


@pytest.mark.policy("R-460.3-4", "R-13.05-1")
def test_daily_work_needs_a_live_assignment(central: Central) -> None:
    """R-460.3-4: rights exist only inside a live assignment."""
    dana = find(central, "dana")

    def roles() -> tuple[str, ...]:
        with central.database.read() as tx:
            person = people.acting(tx, "ole", datetime.now(UTC))
        assert person is not None
        return person.roles

    assert roles() == ("alpr_admin",)
    members.assign(central, dana, "ole", scope="lists", until=datetime.now(UTC))
    assert roles() == ()
    assert find(central, "ole").roles == ("alpr_admin",), "the account stays as it is"
    with pytest.raises(RefusedError, match="role"):
        people.require(people.authenticate(central, "ole", PASSWORD), Act.PAGES, datetime.now(UTC))
    members.assign(central, dana, "ole", scope="lists", until=YEAR, order="O-4")
    assert roles() == ("alpr_admin",)
    with central.database.read() as tx:
        person = people.acting(tx, "ole", YEAR)
    assert person is not None
    assert person.roles == ()
    with pytest.raises(InputError, match="role"):
        members.assign(central, dana, "ida", scope="lists", until=YEAR)


@pytest.mark.policy("R-CJIS-6")
def test_nobody_signs_on_before_the_screening_is_on_record(central: Central) -> None:
    """R-CJIS-6: an account needs a screening-complete flag."""
    run(
        central.home, "people", "add", "--id", "new", "--name", "New Example",
        "--role", "investigator", "--password-stdin", "--training-expires", "2027-10-01",
        "--authorised-until", "2027-10-01", "--by", "dana", stdin=PASSWORD + "\n",
    )  # fmt: skip
    for _ in range(people.LOCK_AFTER + 1):  # it is no failure that locks
        with pytest.raises(RefusedError, match="screening"):
            people.authenticate(central, "new", PASSWORD)
    with pytest.raises(RefusedError, match="name, password or code"):
        people.authenticate(central, "new", "wrong")
    dana = find(central, "dana")
    members.screen(central, dana, "new", screened_by="BCA", on=NOW, reference="S-77")
    assert people.authenticate(central, "new", PASSWORD).id == "new"


@pytest.mark.policy("R-13.824-7-3")
def test_nobody_writes_his_own_record(central: Central) -> None:
    """Requirements, part 0: no role approves its own request."""
    dana = find(central, "dana")
    with pytest.raises(RefusedError, match="of his own"):
        members.train(central, dana, "dana", course="A", completed=NOW, expires=YEAR, evidence="C")
    with pytest.raises(RefusedError, match="of his own"):
        members.screen(central, dana, "dana", screened_by="me", on=NOW, reference="S")
    with pytest.raises(RefusedError, match="of his own"):
        members.assign(central, dana, "dana", scope="lists", until=YEAR)


@pytest.mark.policy("R-CJIS-2", "R-CJIS-3")
def test_the_second_factor_is_asked_for_and_counts_once(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-CJIS-2: no sign-on without the code, none with a used one; R-CJIS-3: tries lock."""
    home = central.home
    add_person(home, "tess", "auditor")
    uri = run(home, "people", "reset-totp", "--id", "tess", "--by", "dana")["uri"]
    secret = uri.split("secret=")[1].split("&")[0]
    moment = datetime.now(UTC)
    monkeypatch.setattr(central, "clock", lambda: moment)
    step = int(moment.timestamp()) // totp.STEP_S
    with pytest.raises(RefusedError, match="name, password or code"):
        people.authenticate(central, "tess", PASSWORD)
    assert people.authenticate(central, "tess", PASSWORD, totp.code_at(secret, step)).id == "tess"
    for used in (step, step - 1):
        with pytest.raises(RefusedError, match="name, password or code"):
            people.authenticate(central, "tess", PASSWORD, totp.code_at(secret, used))
    with Central(home, lambda: moment) as again, pytest.raises(RefusedError):
        people.authenticate(again, "tess", PASSWORD, totp.code_at(secret, step))
    with pytest.raises(RefusedError, match="name, password or code"):
        people.authenticate(central, "tess", "wrong", totp.code_at(secret, step + 1))
    assert people.authenticate(central, "tess", PASSWORD, totp.code_at(secret, step + 1))
    for _ in range(people.LOCK_AFTER):
        with pytest.raises(RefusedError, match="name, password or code"):
            people.authenticate(central, "tess", PASSWORD, "000")
    moment += timedelta(minutes=1)
    with pytest.raises(RefusedError, match="locked"):
        people.authenticate(central, "tess", PASSWORD, totp.code_at(secret, step + 2))
    with Central(home, lambda: moment) as again, pytest.raises(RefusedError, match="locked"):
        people.authenticate(again, "tess", PASSWORD, totp.code_at(secret, step + 2))


@pytest.mark.policy("R-CJIS-2")
def test_the_command_line_reads_the_code_from_its_second_line(central: Central) -> None:
    add_person(central.home, "una", "auditor")
    uri = run(central.home, "people", "reset-totp", "--id", "una", "--by", "dana")["uri"]
    secret = uri.split("secret=")[1].split("&")[0]
    command = ("additional", "list", "--as", "una", "--password-stdin")
    assert run(central.home, *command, stdin=PASSWORD + "\n", check=False).returncode != 0
    code = totp.code_at(secret, int(datetime.now(UTC).timestamp()) // totp.STEP_S)
    assert "entries" in run(central.home, *command, stdin=f"{PASSWORD}\n{code}\n")
