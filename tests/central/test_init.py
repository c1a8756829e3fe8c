"""``alprd-central init``: by asking in a real terminal, and from a file."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Server, enrol, everything, run
from pages_world import sign_on

from alprd.central.commands.cli_init import UNFINISHED
from alprd.central.storage import audit
from alprd.central.storage.store import Central

FILE = """\
agency = "becker"
name = "Becker County Sheriff's Office (test)"
hosts = ["alpr.becker.example"]
retention_hours = 720

[[people]]
id = "sher"
name = "Sam Example"
roles = ["sheriff"]
screening = "S-26-1"
password_file = "sher.txt"

[[people]]
id = "dana"
name = "Dana Example"
roles = ["admin_supervisor"]
screening = "S-26-2"
authorised_until = {until}
"""


class Terminal:
    """A program at the other end of a pseudo-terminal."""

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # A shell's background job ignores Ctrl-C, and would hand that down.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(command[0], list(command))  # noqa: S606 - the program under test
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode()
                except OSError:  # the other end is closed
                    break
        assert text in self.seen, self.seen
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode() + b"\n")

    def end(self, keys: bytes = b"") -> tuple[int, str]:
        """Until it has ended; ``keys`` are pressed again where they bring nothing for long.

        Ctrl-C between a question and the wait for its answer is heard at the next key only.
        """
        rest = self.seen
        if keys:
            os.write(self.fd, keys)
        while True:
            # What comes may be the end of the question, or the keys' own echo.
            if keys and not select.select([self.fd], [], [], 10)[0]:
                os.write(self.fd, keys)
                continue
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            rest += data.decode()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status), rest


def program(home: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "alprd.central.cli", "init", "--home", str(home))


def answers(terminal: Terminal, *pairs: tuple[str, str]) -> None:
    for question, answer in pairs:
        terminal.wait_for(question)
        terminal.type(answer)


def test_an_agency_is_made_by_answering_in_a_terminal(tmp_path: Path) -> None:
    """Wrong answers are asked again, the password is never shown, and all of it works."""
    home = tmp_path / "home"
    terminal = Terminal(*program(home))
    answers(
        terminal,
        ("Full name of the agency", "Becker County Sheriff's Office"),
        ("[becker-county-sheriffs-office]", "becker county!"),
        ("beginning with a letter or digit", "becker"),
        ("Time zone", "Mars/Olympus"),
        ("not a time zone", "America/Chicago"),
        ("Names of this server", "127.0.0.1 alpr.becker.example"),
        ("Sheriff, full name", "Sam Example"),
        ("User id [example]", "sher"),
        ("screening letter", "S-26-1"),
        ("Training valid until", "yesterday"),
        ("write 2027-01-31", ""),
        ("authorisation until", "2099-01-01"),
        ("within 24 months (R-", ""),
        ("Password, at least", "short"),
        # Behind the complaint the question comes again; what is typed before it is thrown away.
        ("at least 8 characters\r\nPassword, at least", PASSWORD),
        ("The same again", PASSWORD),
        ("supervisor, full name", "Dana Example"),
        ("User id", "sher"),
        ("this id is taken", "dana"),
        ("screening letter", "S-26-2"),
        ("Training valid until", ""),
        ("authorisation until", ""),
        ("Password, at least", PASSWORD),
        ("The same again", PASSWORD),
    )
    terminal.wait_for("user id dana")
    assert not home.exists(), "nothing is made before it is confirmed"
    answers(terminal, ("Make it", "y"))
    code, rest = terminal.end()
    assert code == 0, rest
    assert "is ready in" in rest
    assert "sign on as dana" in rest
    assert "alprd enrol --central https://alpr.becker.example:8443" in rest
    assert PASSWORD not in rest
    assert all(PASSWORD.encode() not in data for _, data in everything(home))
    assert not (home / UNFINISHED).exists()

    server = Server(home)
    server.start()
    try:
        with httpx.Client(base_url=server.page_url, timeout=30) as client:
            for who in ("sher", "dana"):
                sign_on(client, who)
                assert client.get("/").status_code == 200
        car = enrol(server, tmp_path / "car", "car-1", "1")
        with car.client() as client:
            assert client.get("/v1/hello").status_code == 200
    finally:
        assert server.stop() == 0


def test_leaving_makes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    terminal = Terminal(*program(home))
    terminal.wait_for("Full name of the agency")
    code, rest = terminal.end(b"\x03")  # Ctrl-C
    assert code != 0
    assert "Traceback" not in rest
    assert not home.exists()


def write_file(folder: Path, text: str = FILE, days: int = 300) -> Path:
    until = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    path = folder / "agency.toml"
    path.write_text(text.format(until=until))
    (folder / "sher.txt").write_text("another long password\nnot this line\n")
    return path


@pytest.mark.policy("R-13.824-7-1")
def test_an_agency_is_made_from_a_file(tmp_path: Path) -> None:
    """Passwords from a file and from standard input; first people, first publication."""
    path, home = write_file(tmp_path), tmp_path / "home"
    made = run(home, "init", "--from", str(path), stdin=PASSWORD + "\n")
    assert made["people"] == ["sher", "dana"]
    with Central(home) as central:
        assert central.config.policy.retention_hours == 720
        with central.database.read() as tx:
            events = [event.event for event in audit.events(tx)]
    assert events.count(audit.Event.PERSON_ADDED) == 2
    assert events[-1] == audit.Event.PUBLISHED
    listed = run(home, "people", "list")["people"]
    assert [(p["id"], p["roles"]) for p in listed] == [
        ("dana", ["admin_supervisor"]), ("sher", ["sheriff"]),
    ]  # fmt: skip
    again = run(home, "init", "--from", str(path), stdin=PASSWORD + "\n", check=False)
    assert "already holds an agency" in again.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('becker"', 'Bad Name!"'), "--agency"),
        (("retention_hours = 720", "retention_hours = 1441"), "retention_hours"),
        (("hosts", "hostnames"), "hostnames"),
        (('roles = ["sheriff"]', 'roles = ["chief"]'), "unknown role chief"),
        (('roles = ["sheriff"]', 'roles = ["auditor"]'), "nobody has the role sheriff"),
        (('id = "sher"', 'id = "dana"'), "twice"),
        (("sher.txt", "nowhere.txt"), "cannot be read"),
        (('screening = "S-26-1"', ""), "screening"),
        (("agency =", "agency ="), "no password on standard input"),
    ],
)
def test_a_file_that_cannot_be_makes_nothing(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    path, home = write_file(tmp_path, FILE.replace(*change, 1)), tmp_path / "home"
    stdin = "" if says.startswith("no password") else PASSWORD + "\n"
    done = run(home, "init", "--from", str(path), stdin=stdin, check=False)
    assert says in done.stderr
    assert not home.exists()


def test_an_authorisation_beyond_the_law_leaves_a_marked_folder_or_none(tmp_path: Path) -> None:
    """An init that ended in the middle is told, never served as if it were whole."""
    path, home = write_file(tmp_path, days=800), tmp_path / "home"
    done = run(home, "init", "--from", str(path), stdin=PASSWORD + "\n", check=False)
    assert "24 months" in done.stderr
    assert not home.exists()
    home.mkdir()
    (home / UNFINISHED).touch()
    again = run(home, "init", "--from", str(write_file(tmp_path)), stdin=PASSWORD, check=False)
    assert "remove the folder" in again.stderr


def test_without_a_terminal_or_a_name_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "init", check=False)
    assert done.stderr.startswith("error: --agency: is missing")
