"""When a car is done with a request: it holds no read that it collected before it knew (R-460.5-b).

A car cannot open its queue, so it cannot pick reads out of it; it brings all of it at the dock,
where intake drops what is protected. It is *told* when a health report says that a publication
later than the request is in force in it, and *done* when that report or a later one says that its
oldest read was collected since then, or that its queue is empty. A car that never reports is done
when every read that it may hold has reached its destroy-by (R-460.5-2b), or with its wipe
certificate.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from alprd.central.records.confidentialstore import Asked, Receipt, Waiting
from alprd.central.storage import db, repository
from alprd.central.storage.store import Central
from alprd.records import MAX_LIFE
from alprd.wire import CarHealth


def waiting_cars(central: Central, tx: Connection) -> tuple[Waiting, ...]:
    """Every car that was not wiped."""
    files = repository.metadata_folder(central).glob("*.targets.json")
    version = max((int(path.name.split(".")[0]) for path in files), default=0)
    wiped = set(tx.scalars(select(db.wipes.c.enrolment).where(db.wipes.c.certificate.is_not(None))))
    table = db.vehicles
    rows = tx.execute(select(table.c.vehicle, table.c.enrolment).order_by(table.c.vehicle)).all()
    return tuple(
        Waiting(car=row.vehicle, enrolment=row.enrolment, version=version)
        for row in rows
        if row.enrolment not in wiped
    )


def settle_cars(central: Central, tx: Connection, row: Asked, now: datetime) -> Asked:
    """Take out the cars that are done, each with its receipt."""
    left, done = [], []
    since = max([row.entered_at, *(one.at for one in row.receipts if one.store == "database")])
    for one in row.cars:
        car, how = _look(central, tx, one, since, now)
        if how:
            done.append(Receipt(store=f"car {one.car}", at=now, how=how))
        else:
            left.append(car)
    if not done and tuple(left) == row.cars:
        return row
    return row.model_copy(update={"cars": tuple(left), "receipts": (*row.receipts, *done)})


def _look(
    central: Central, tx: Connection, one: Waiting, since: datetime, now: datetime
) -> tuple[Waiting, str]:
    certificate = select(db.wipes.c.certificate).where(db.wipes.c.enrolment == one.enrolment)
    if tx.scalar(certificate) is not None:
        return one, "wiped, with its certificate"
    if now >= since + MAX_LIFE + timedelta(hours=1):
        return one, "every read that it may hold is past its destroy-by"
    table = db.car_health
    report = tx.execute(select(table).where(table.c.vehicle == one.car)).one_or_none()
    if report is None or report.received_at <= since:
        return one, ""
    said = CarHealth.model_validate_json(report.document)
    if one.told is None and _version(said) > one.version:
        one = one.model_copy(update={"told": report.received_at})
    if one.told is None:
        return one, ""
    oldest = said.oldest_destroy_by
    if oldest is None or oldest >= one.told + central.life:
        return one, "its queue holds nothing from before"
    return one, ""


def _version(said: CarHealth) -> int:
    value = str(said.lists.get("targets", 0))
    return int(value) if value.isdigit() else 0
