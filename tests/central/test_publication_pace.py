"""No publication tells that a confidentiality request came in (R-460.5-b4, ADR 0053)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import Server
from hold_world import START, World
from pages_world import sign_on, staff
from sqlalchemy import func, select

from alprd import wire
from alprd.central.publication import publish
from alprd.central.records import confidentiality, protected
from alprd.central.storage import audit, db, repository
from alprd.central.storage.audit import Event
from alprd.central.storage.jobs_tables import jobs
from alprd.central.storage.store import Central

HALF = timedelta(minutes=10)


def publications(world: World) -> list[tuple[datetime, tuple[str, ...]]]:
    with world.central.database.read() as tx:
        return [
            (event.at, tuple(event.subjects))
            for event in audit.events(tx)
            if event.event == Event.PUBLISHED.value
        ]


def day(world: World, requests: tuple[int, ...]) -> None:
    """Three hours of housekeeping, six rounds an hour; requests before some of the rounds."""
    for number in range(18):
        if number in requests:
            confidentiality.enter(
                world.central, world.people["sue"], plates=[f"SAH44{number:02}"],
                received=world.now, verified_by="Clerk", reference=f"AC-26-{number}",
            )  # fmt: skip
        publish.publish(world.central, regular=True)
        world.now += HALF


@pytest.mark.policy("R-460.5-b4")
def test_regular_publications_come_by_the_hour_and_not_by_requests(tmp_path: Path) -> None:
    """R-460.5-b4: the trail of a store with requests shows the same publications as one without."""
    told = []
    for requests in ((), (2,), (1, 2, 8, 9, 13)):
        world = World(tmp_path / str(len(requests)) / "home")
        world.now = START + timedelta(minutes=3)
        before = len(publications(world))
        day(world, requests)
        told.append(publications(world)[before:])
        world.close()
    assert told[0] == told[1] == told[2]
    hours = {(at.replace(minute=0, second=0, microsecond=0)) for at, _ in told[0]}
    assert len(hours) == len(told[0]) >= 2  # one an hour, and each has the suppression list
    assert all(wire.SUPPRESSION in changed for _, changed in told[0])


@pytest.mark.policy("R-460.5-b", "R-460.5-b4")
def test_every_new_version_holds_every_request_that_was_entered_before(tmp_path: Path) -> None:
    """R-460.5-b: a car that has a later version has the request; so has one of another cause."""
    world = World(tmp_path / "home")
    central = world.central
    day(world, ())

    def version() -> int:
        files = repository.metadata_folder(central).glob("*.targets.json")
        return max(int(path.name.split(".")[0]) for path in files)

    def digest() -> str:
        with central.database.read() as tx:
            query = select(db.published.c.sha256).where(db.published.c.target == wire.SUPPRESSION)
            return str(tx.scalar(query))

    # A cause of its own within the hour, a person's publication, and signatures near their end.
    for cause in ("policy", "person", "expiry"):
        row = confidentiality.enter(
            central, world.people["sue"], plates=["SAH4499"], received=world.now,
            verified_by="Clerk", reference=f"AC-{cause}",
        )  # fmt: skip
        (waiting,) = row.cars
        assert waiting.version == version()
        old = digest()
        if cause == "policy":
            changed = central.config.policy.model_copy(update={"list_warn_hours": 12})
            central.config = central.config.model_copy(update={"policy": changed})
        elif cause == "expiry":
            world.now += timedelta(days=20)
        publish.publish(central, regular=cause != "person")
        assert version() > waiting.version and digest() != old, cause
    with central.database.read() as tx:
        assert protected.suppressed_folds(central, tx)
    publish.publish(central, regular=True)
    assert version() == version()
    world.close()


def test_old_versions_do_not_fill_the_disk(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    for _ in range(repository.KEPT_VERSIONS + 5):
        world.now += timedelta(hours=1)
        publish.publish(world.central, regular=True)
    folder = repository.metadata_folder(world.central)
    for role in ("targets", "snapshot"):
        assert len(list(folder.glob(f"*.{role}.json"))) == repository.KEPT_VERSIONS
    assert (folder / "1.root.json").exists()
    world.close()


@pytest.mark.policy("R-460.5-b4")
def test_a_request_on_the_page_starts_no_publication_and_no_job(server: Server) -> None:
    """R-460.5-b4: neither the trail nor the list of work shows one at that instant."""
    staff(server)
    with httpx.Client(base_url=server.page_url, timeout=30) as client:
        token = sign_on(client, "rec")
        form = {
            "csrf": token, "plates": "SAH4455/MN", "received": "2026-01-02T10:00",
            "verified_by": "Clerk", "reference": "AC-26-9", "review": "",
        }  # fmt: skip
        answer = client.post("/confidentiality", data=form)
        assert answer.status_code == 303, re.sub(r"\s+", " ", answer.text)[:400]
        assert answer.headers["location"] == "/confidentiality"
    with Central(server.home) as central, central.database.read() as tx:
        assert tx.scalar(select(func.count()).select_from(jobs)) == 0
        made = [e.actor for e in audit.events(tx) if e.event == Event.PUBLISHED.value]
    assert not {"rec", "dana"} & set(made)
