"""A car whose every outlet is recorded: TLS to central, the screen, the log, the state folder.

The parts are the car's own (collector, queue, session, board, journal, dock, page); central is
:mod:`dock_world`'s server, which notes each byte that the car sends as TLS gave it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dock_world
import httpx
from mdt.world import PASSWORD, Collecting, person, roster
from test_collect import events

from alprd import wire
from alprd.alerts import AlertBoard
from alprd.audit import DAEMON
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.crypto import SignedDocument, canonical, open_read, verify_document
from alprd.frames import PlateReading
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.mdt.app import MdtContext, create_app, serve_in_thread
from alprd.mdt.status import CarStatus
from alprd.records import fold
from alprd.roster import RosterBook
from alprd.rows import ALPHABET, key_of
from alprd.session import SessionKeeper
from alprd.shiftstore import ShiftStore
from alprd.store import Store
from alprd.suppress import plate_digest
from alprd.targets import TargetSet

_LOOKS: Final = {char: [c for c in ALPHABET if fold(c) == fold(char)] for char in ALPHABET}


def look_alikes(text: str) -> list[str]:
    """Every text with the fold of this one."""
    return ["".join(chars) for chars in itertools.product(*(_LOOKS[char] for char in text))]


def encodings(text: str, key: bytes) -> Iterator[bytes]:
    """How this plate text could stand in anything that the system writes."""
    spelled = (text, " ".join(text), f"{text[:3]}-{text[3:]}", f"{text[:3]} {text[3:]}")
    for plain in (*spelled, *(one.lower() for one in spelled)):
        yield plain.encode()
        yield plain.encode("utf-16-le")
        yield plain.encode().hex().encode()
        for shift in range(3):  # base64 at each of its three alignments, without the blurred ends
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                whole = encode(b"\0" * shift + plain.encode())
                yield whole[-(-shift * 8 // 6) : len(plain.encode() + bytes(shift)) * 8 // 6]
    for digest in (plate_digest(key, text), hashlib.sha256(text.encode()).digest()):
        yield digest
        yield digest.hex().encode()
        yield base64.b64encode(digest).rstrip(b"=")
        yield base64.urlsafe_b64encode(digest).rstrip(b"=")
    number = key_of(fold(text))
    yield number.to_bytes(8, "big")
    yield number.to_bytes(8, "little")
    yield str(number).encode()


class Lines(logging.Handler):
    """Every line that anything logs."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)}")


class Screen(threading.Thread):
    """A signed-on screen: the bytes of its event stream, and of everything else that it loads."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.taken = bytearray()
        self.pages = bytearray()
        self._address = address
        self._client = httpx.Client(base_url=address, timeout=20, trust_env=False)
        token = self._client.get("/sign-on", headers={"Accept": "application/json"}).json()["csrf"]
        answer = self._client.post(
            "/sign-on",
            headers={"Accept": "application/json"},
            data={
                "person": "dep.one", "password": PASSWORD, "purpose": "stolen_vehicles",
                "unit": "4712", "acknowledged": "on", "csrf": token,
            },
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        self._ready = threading.Event()
        self.start()
        assert self._ready.wait(20)

    def run(self) -> None:
        with (
            httpx.Client(cookies=self._client.cookies, timeout=60, trust_env=False) as own,
            own.stream("GET", f"{self._address}/events") as answer,
        ):
            self._ready.set()
            for piece in answer.iter_raw():
                self.taken += piece

    def look(self) -> None:
        """Load what a person could."""
        for path in ("/", "/session", "/shift", "/healthz"):
            for kind in ("text/html", "application/json"):
                answer = self._client.get(path, headers={"Accept": kind})
                self.pages += answer.content + str(answer.headers).encode()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name so far."""
        found = []
        for block in bytes(self.taken).decode().split("\n\n"):
            lines = [line for line in block.split("\n") if not line.startswith(":")]
            if f"event: {name}" in lines:
                data = next(line for line in lines if line.startswith("data: "))
                found.append(json.loads(data.removeprefix("data: ")))
        return found

    def settle(self) -> dict[str, Any]:
        """Wait until the stream has told all that has happened; the figures of the status bar."""
        before, end = len(self.events("status")), time.monotonic() + 60
        while len(self.events("status")) < before + 2:
            assert time.monotonic() < end, "the screen's stream has stopped"
            time.sleep(0.02)
        last = self.events("status")[-1]
        return {name: last[name] for name in ("queued", "plates_read", "alarms", "dock")}

    def close(self) -> None:
        self.join(20)
        self._client.close()


class Recorded:
    """One enrolled car, without cameras: passes are put to its real collector."""

    def __init__(self, folder: Path, listed: dict[str, str]) -> None:
        self.listed = listed
        self.central = dock_world.World(folder)
        self.trust = self.central.enrol()
        self.shelf = dock_world.Shelf(self.central, self.trust)
        self.clock = DisciplinedClock()
        self.store = Store(
            self.trust.state_dir / "queue.db", now=self.clock.now, device=dock_world.CAR
        )
        self.sessions = SessionKeeper(self.store, reader="7", now=self.clock.now)
        local = (bytes(range(32)), True)
        self.board = AlertBoard(self.store, journal=ShiftStore(self.store, local))
        self.targets: TargetSet | None = None
        self.protected: frozenset[str] = frozenset()
        self.log = Lines()
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("alprd").setLevel(1)  # also what a service would not print
        logging.getLogger().addHandler(self.log)
        self.collector = Collector(
            store=self.store, sessions=self.sessions, board=self.board, clock=self.clock,
            positions=PositionTrack(), lives=Lives(self.store, self.clock, PurgeClock(self.clock)),
            targets=lambda: self.targets, agency=dock_world.AGENCY, vehicle=dock_world.CAR,
        )  # fmt: skip
        book = RosterBook()
        book.load(roster(person("one")))
        self.page = serve_in_thread(
            create_app(
                MdtContext(
                    board=self.board, roster_book=book, trail=self.store, status=self._status,
                    collection=Collecting(), clock=lambda: (datetime.now(UTC), True),
                )
            ),
            "127.0.0.1",
            0,
        )  # fmt: skip
        self.screen = Screen(f"http://127.0.0.1:{self.page.port}")
        self.sessions.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[])
        self.passes = 0

    @property
    def key(self) -> bytes:
        """The suppression key in force."""
        return self.central.repository.suppression_key

    def _status(self) -> CarStatus:
        row = self.sessions.row()
        return CarStatus(
            queued=self.store.pending().reads,
            session_open=row is not None,
            plates_read=row.plates_read if row else 0,
        )

    def close(self) -> None:
        self.page.stop()
        self.screen.close()
        logging.getLogger().removeHandler(self.log)
        logging.getLogger().setLevel(self._level)
        logging.getLogger("alprd").setLevel(logging.NOTSET)
        self.store.close()
        self.central.stop()

    def publish(self, protected: Collection[str], listed: Sequence[str]) -> None:
        """New suppressions and lists, published by central and taken by the car's dock."""
        self.protected = frozenset(protected)
        repository, now = self.central.repository, self.clock.now()[0]
        real = [plate_digest(self.key, plate).hex() for plate in sorted(protected)]
        pad = [hashlib.sha256(bytes([n])).hexdigest()[:32] for n in range(64 - len(real))]
        repository.plain[wire.SUPPRESSION] = canonical(
            wire.Suppression(digests=tuple(sorted(real + pad)))
        )
        entries = [
            wire.HotlistEntry.model_validate(
                {
                    "id": f"entry-{number}", "plate": plate, "state": "MN", "plate_type": None,
                    "category": self.listed[plate], "priority": "high", "text": "invented entry",
                }
            )
            for number, plate in enumerate(listed)
        ]  # fmt: skip
        header = wire.Hotlist.model_validate(
            {
                "list_id": "lpdf", "source": "LPDF", "version": "1", "supplied_at": now,
                "entries": len(entries), "counts": Counter(self.listed[plate] for plate in listed),
            }
        )  # fmt: skip
        rows = [item.model_dump_json().encode() for item in (header, *entries)]
        repository.plain["hotlist-lpdf.bin"] = gzip.compress(b"\n".join(rows))
        repository.publish()
        self.targets, before = None, self.targets
        self.dock()
        assert self.targets is not None and self.targets is not before

    def dock(self) -> None:
        """One docking: everything is sent, everything is fetched."""
        found = dock_world.DockSync(
            self.trust, self.store, interval_s=0.05, on_targets=self._take,
            clock_agrees=lambda: True,
        )  # fmt: skip
        found.step()
        assert found.status().text == "docked, all sent", found.status()

    def _take(self, targets: TargetSet) -> None:
        self.targets = targets
        self.board.reconsider(targets.suppression)

    def drive_by(self, *steps: tuple[str, PlateReading | None]) -> None:
        self.passes += 1
        for event in events(*steps, pass_id=f"{self.passes:032x}"):
            self.collector.handle(event)

    def end_session(self) -> None:
        """End it as at sign-off, so that its row is sent."""
        self.sessions.close("signed_off")

    # --- what came out ------------------------------------------------------------------------

    def covered(self, text: str) -> bool:
        return fold(text) in {fold(plate) for plate in self.protected}

    def sent(self) -> list[str]:
        """The plate of every read on the wire, opened with central's key of the day."""
        found = []
        for path, body in self.central.posted:
            if path == "/v1/batches":
                document, rest = wire.split_batch(body)
                header = self._verified(document, "batch", wire.BatchHeader)
                at = 0
                for item in header.items:
                    envelope = bytes(rest[at : at + item.length])
                    found.append(open_read(envelope, self.central.repository.intake).plate.text)
                    at += item.length
        return found

    def outlets(self) -> dict[str, bytes]:
        """Everything in the car's reach but the screen: wire, log, and each file with its name."""
        found = {
            "wire": b"".join(self.central.wire),
            "log": "\n".join(self.log.lines).encode(),
        }
        for path in sorted(self.trust.state_dir.rglob("*")):
            if path.is_file():
                found[str(path)] = str(path).encode() + b"\n" + path.read_bytes()
        return found

    def figures(self) -> dict[str, Any]:
        """Every figure on the wire and in the log, without ids and instants."""
        requests: list[Any] = []
        for path, body in self.central.posted:
            if path == "/v1/batches":
                document, rest = wire.split_batch(body)
                header = self._verified(document, "batch", wire.BatchHeader)
                requests.append((path, [item.length for item in header.items], len(rest)))
            elif path == "/v1/sessions":
                report = self._verified(
                    SignedDocument.model_validate_json(body), "sessions", wire.SessionReport
                )
                rows = [r.model_dump(exclude={"id", "started", "ended"}) for r in report.rows]
                requests.append((path, rows))
            elif path == "/v1/audit":
                report = self._verified(
                    SignedDocument.model_validate_json(body), "audit", wire.AuditReport
                )
                told = [(e.seq, e.event, e.actor, sorted(_flat(e.detail))) for e in report.events]
                requests.append((path, told))
        return {
            "requests": requests,
            "order": [path for path in self.central.seen if path.startswith("/v1/")],
            "log": [line for line in self.log.lines if line.startswith("alprd.")],
        }

    def _verified(self, document: SignedDocument, kind: str, model: Any) -> Any:
        return verify_document(document, kind, self.trust.batch_key.public_key(), model)


def _flat(detail: Any) -> list[str]:
    """A detail as text; its ids are random."""
    return [f"{k}={v}" for k, v in detail.items() if not (isinstance(v, str) and len(v) >= 32)]
