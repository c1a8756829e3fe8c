"""Changing, retiring and listing people, and their second factor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from central_world import add_person, make_home, run

from alprd import verifiers
from alprd.central.staff import people
from alprd.central.storage import audit
from alprd.central.storage.store import Central


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = make_home(tmp_path_factory.mktemp("accounts") / "home")
    add_person(made, "ida", "operator")
    yield made


def person(home: Path, who: str = "ida") -> people.Person | None:
    with Central(home) as central, central.database.read() as tx:
        return people.find(tx, who)


@pytest.mark.policy("R-13.824-7-1", "R-13.824-7-3")
def test_a_change_leaves_the_rest_as_it_was(home: Path) -> None:
    before = person(home)
    assert before is not None
    run(
        home, "people", "change", "--id", "ida", "--training-expires", "2027-01-31",
        "--clearance", "stolen", "--by", "sheriff",
    )  # fmt: skip
    after = person(home)
    assert after is not None
    # A date is the agency's day, as on the pages: midnight in Minnesota, not in Greenwich.
    assert after.training_expires == datetime(2027, 1, 31, 6, tzinfo=UTC)
    assert after.clearances == ("stolen",)
    changed = {"training_expires": after.training_expires, "clearances": after.clearances}
    assert after == before.model_copy(update=changed)
    run(
        home, "people", "change", "--id", "ida", "--no-clearance", "--password-stdin",
        "--verifier", "pbkdf2-sha512", "--by", "sheriff", stdin="another invented phrase\n",
    )  # fmt: skip
    last = person(home)
    assert last is not None
    assert last.clearances == ()
    assert verifiers.scheme_of(last.verifier) == "pbkdf2-sha512"
    with Central(home) as central:
        assert people.authenticate(central, "ida", "another invented phrase").id == "ida"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "nothing is to be changed"),
        (("--authorised-until", "2035-01-01"), "24 months"),
        (("--training-expires", "soon"), "not an ISO time"),
    ],
)
def test_a_change_that_cannot_be_is_refused(
    home: Path, options: tuple[str, ...], says: str
) -> None:
    done = run(home, "people", "change", "--id", "ida", *options, "--by", "sheriff", check=False)
    assert says in done.stderr


@pytest.mark.policy("R-CJIS-2", "R-AT-1")
def test_second_factor_is_shown_once_and_never_listed(home: Path) -> None:
    made = run(home, "people", "reset-totp", "--id", "ida", "--by", "sheriff")["uri"]
    found = person(home)
    assert found is not None
    assert f"secret={found.totp}&" in made
    again = run(home, "people", "reset-totp", "--id", "ida", "--by", "sheriff")["uri"]
    assert again != made
    listed = run(home, "people", "list")["people"]
    (row,) = [one for one in listed if one["id"] == "ida"]
    assert row["totp"] is True
    fresh = person(home)
    assert fresh is not None
    told = str(listed)
    assert fresh.totp not in told
    assert "$" not in told
    with Central(home) as central, central.database.read() as tx:
        audit.verify(tx)
        trail = str(tx.exec_driver_sql("SELECT document FROM audit").fetchall())
    assert fresh.totp not in trail
    run(home, "people", "reset-totp", "--id", "ida", "--off", "--by", "sheriff")
    off = person(home)
    assert off is not None
    assert off.totp == ""


def test_a_retired_person_is_gone_from_central_and_roster(home: Path) -> None:
    add_person(home, "olav", "operator")
    run(home, "people", "retire", "--id", "olav", "--by", "sheriff")
    assert person(home, "olav") is None
    done = run(home, "people", "retire", "--id", "olav", "--by", "sheriff", check=False)
    assert "nobody has the id" in done.stderr
