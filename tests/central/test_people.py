"""What an account may be, and what the command says when it may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from central_world import add_person, make_home, run

from alprd.central.staff import people
from alprd.central.storage.store import Central


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield make_home(tmp_path_factory.mktemp("people") / "home")


def add(home: Path, *, stdin: str = "correct horse battery\n", **changes: str) -> str:
    options = {
        "id": "ida", "name": "Ida Example", "role": "operator", "by": "sheriff",
        "training-expires": "2027-10-01", "authorised-until": "2027-10-01", **changes,
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    done = run(home, "people", "add", "--password-stdin", *flags, stdin=stdin, check=False)
    return done.stderr if hasattr(done, "stderr") else ""


@pytest.mark.policy("R-13.824-7-1")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"role": "dictator"}, "dictator"),
        ({"stdin": "short\n"}, "shorter than 8"),
        ({"stdin": ""}, "no password"),
        ({"authorised-until": "2035-01-01"}, "24 months"),
        ({"training-expires": "soon"}, "not an ISO time"),
        ({"id": "ida example"}, "id"),
        ({"clearance": "everything"}, "everything"),
    ],
)
def test_impossible_people_are_refused(home: Path, changes: dict[str, str], says: str) -> None:
    assert says in add(home, **changes)
    with Central(home) as central, central.database.read() as tx:
        assert people.everyone(tx) == ()


def test_verifier_is_argon2id_and_the_password_lies_nowhere(home: Path, tmp_path: Path) -> None:
    made = make_home(tmp_path / "home")
    assert add(made) == ""
    with Central(made) as central, central.database.read() as tx:
        person = people.find(tx, "ida")
    assert person is not None
    assert person.verifier.startswith("$argon2id$v=19$")
    for path in made.rglob("*"):
        assert not path.is_file() or b"correct horse" not in path.read_bytes(), path.name


@pytest.mark.policy("R-13.824-7-3")
def test_replacing_a_person_ends_the_old_rights(tmp_path: Path) -> None:
    made = make_home(tmp_path / "home")
    add_person(made, "ida", "investigator")
    add_person(made, "ida", "records")
    with Central(made) as central, central.database.read() as tx:
        person = people.find(tx, "ida")
    assert person is not None
    assert person.roles == ("records",)
