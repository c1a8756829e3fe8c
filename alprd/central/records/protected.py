"""Plates protected by address-confidentiality requests: kept sealed, destroyed where held.

The file that an administrator gives has the columns ``plate,state`` (``docs/hotlist-format.md``).
Neither the trail nor any report tells how many requests there are (R-460.5-b4).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.audit import Actor
from alprd.central.hotlists.lists import ImportReport, rows
from alprd.central.records import confidentialstore, recipientorders
from alprd.central.storage import db, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import STATES, fold, normalise

_PADDED_TO: Final = 65_536
"""The sealed suppression list grows in these steps, so that its size tells no count."""
_AAD: Final = b"list suppression"


def import_suppression(
    central: Central, path: Path, *, actor: Actor, replace: bool = False
) -> ImportReport:
    """Add address-confidentiality plates; what is held of them is destroyed (R-460.5-b, -b2).

    Neither the trail nor the report of others tells how many there are (R-460.5-b4).

    Args:
        replace: drop entries that the file does not have.

    Raises:
        InputError: the file cannot be used; nothing was changed.
    """
    report = ImportReport("suppression")
    plates: set[tuple[str, str]] = set()
    for line, fields in rows(path, ("plate", "state")):
        plate, state = normalise(fields["plate"]), fields["state"].strip().upper()
        if not plate or len(plate) > 14:
            report.rejected.append((line, "no plate"))
        elif state and state not in STATES:
            report.rejected.append((line, "unknown state"))
        else:
            plates.add((plate, state))
    report.entries = len(plates)
    if replace and (report.rejected or not plates):
        # A request never lapses silently (R-460.5-b6): a damaged file must not drop any.
        raise InputError(
            f"{path} cannot replace the protected plates: {len(report.rejected)} line(s) cannot "
            f"be used, {len(plates)} can",
            remedy="mend the file, or import it without --replace, which only adds",
        )
    with central.database.write() as tx:
        if not replace:
            plates |= _suppressed(central, tx)
        plain = json.dumps(sorted(plates)).encode()
        plain = plain.ljust(-(-len(plain) // _PADDED_TO) * _PADDED_TO)
        sealed = seal(central.keystore.purpose_key("suppression"), plain, _AAD)
        tx.execute(
            upsert(db.suppression)
            .values(part="all", sealed=sealed)
            .on_conflict_do_update(index_elements=["part"], set_={"sealed": sealed})
        )
        forms = frozenset(fold(plate) for plate, _ in plates)
        destroy_held(central, tx, forms)
        central.trail.record(tx, Event.REQUESTS_IMPORTED, actor, at=central.clock())
    central.database.checkpoint()
    central.keystore.database.checkpoint()
    return report


def destroy_held(central: Central, tx: Connection, forms: frozenset[str]) -> int:
    """Turn stored reads of these folded plates into voids: old key first, then file, then row.

    What a case link or a hold keeps is deferred until that ends (R-460.5-b, -b3). How many there
    were is for the receipts alone, which only two roles see (R-460.5-b4).
    The file keeps its times, so that a directory listing does not show which ones changed.
    """
    if not forms:
        return 0
    table = db.reads
    gone: list[str] = []
    for hour in tx.scalars(select(table.c.hour).distinct()).all():
        key = central.keystore.hour_key(hour)
        if key is None:
            continue
        digests = {vault.plate_digest(key, form) for form in forms}
        held = tx.execute(
            select(table.c.id, table.c.digest0, table.c.digest1, table.c.digest2).where(
                table.c.hour == hour, table.c.id.not_in(select(db.exempted.c.read))
            )
        )
        rows = held.all()
        for row in rows:
            if digests.isdisjoint((row.digest0, row.digest1, row.digest2)):
                continue
            gone.append(row.id)
            before = central.objects.size("pictures", row.id) or 0
            fresh, _ = central.keystore.new_read_keys([(row.id, hour)])[row.id]
            void = vault.seal_void(row.id, max(0, before - vault.PICTURE_OVERHEAD), fresh)
            beside = (other.id for other in rows)
            central.objects.replace("pictures", row.id, void.pictures, beside)
            tx.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(
                    cell=void.cell,
                    digest0=void.digests[0],
                    digest1=void.digests[1],
                    digest2=void.digests[2],
                )
            )
            central.database.mark(tx, "reads", [hour])
    recipientorders.tell(central, tx, "destroy", gone)
    return len(gone)


def _suppressed(central: Central, tx: Connection) -> set[tuple[str, str]]:
    """The plates that a file brought; those of requests are kept apart."""
    sealed = tx.scalar(select(db.suppression.c.sealed).where(db.suppression.c.part == "all"))
    if sealed is None:
        return set()
    plain = unseal(central.keystore.purpose_key("suppression"), sealed, _AAD)
    return {(plate, state) for plate, state in json.loads(plain)}


def suppressed_folds(central: Central, tx: Connection) -> frozenset[str]:
    """The folded plates of every request; look-alikes are covered too (T-10)."""
    pairs = _suppressed(central, tx) | confidentialstore.plates(central, tx)
    return frozenset(fold(plate) for plate, _ in pairs)
