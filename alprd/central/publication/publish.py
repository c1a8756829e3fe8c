"""Publication to the cars: a TUF repository (https://theupdateframework.github.io/specification).

Each ``.bin`` target is encrypted once under its own content key; a small ``wraps-<vehicle>.json``
a car gives it the keys. Lists come with deltas (:mod:`alprd.central.hotlists.listtargets`). A
target whose source is unchanged keeps its bytes and key, so that cars fetch only what is new.
Consistent snapshots are on: a car in mid-download never sees a mix. Where a size would tell
something, the plaintext is padded: suppression list, roster, wraps, deltas.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select
from tuf.api.metadata import TargetFile, Targets

from alprd import crypto
from alprd.audit import Actor
from alprd.central.fleet import vehicles
from alprd.central.hotlists import lists, listtargets
from alprd.central.records import protected
from alprd.central.staff import people
from alprd.central.storage import db, repository
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import mac
from alprd.central.storage.store import Central
from alprd.deltatarget import is_delta_of
from alprd.wire import (
    HOTLIST_PREFIX,
    INTAKE_KEYS,
    POLICY,
    ROSTER,
    SUPPRESSION,
    IntakeKeys,
    Roster,
    Suppression,
    Wraps,
    wraps_target,
)

ROSTER_LIFE: Final = timedelta(days=7)
SUPPRESSION_STEP: Final = 4096
ROSTER_STEP: Final = 16_384
WRAPS_STEP: Final = 4096
SUPPRESSION_KEY: Final = "suppression-key"


@dataclass(frozen=True, slots=True)
class Publication:
    """The version of the targets metadata after a publication, and what changed in it."""

    version: int
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A target to publish: what it depends on, and how to make it when that changed."""

    depends: bytes
    make: Callable[[], bytes]


def create_repository(central: Central) -> None:
    """Make the role keys and the first root; then publish for the first time."""
    repository.create_root(central)
    publish(central)


def publish(
    central: Central,
    actor: Actor = CENTRAL,
    *,
    fresh_keys: bool = False,
    regular: bool = False,
) -> Publication:
    """Bring the repository up to date.

    The suppression list is in every publication that changes anything, and in the first regular
    one of each hour, whether or not requests changed: no publication tells that one came in
    (R-460.5-b4, ADR 0053). So each version holds every request that was entered before it.

    Args:
        fresh_keys: encrypt everything anew, after a car was revoked.
        regular: the hourly work does it; nothing is published when neither an hour has begun nor
            anything but requests has changed, except what is near expiry.

    Raises:
        StoreError: a file cannot be written; cars go on with the version before.
    """
    with central.database.write() as tx:  # the lock also keeps out a second publisher
        if fresh_keys:
            tx.execute(delete(db.published))
        changed = set(_make_targets(central, tx, anew=not regular))
        repository.renew_root_if_due(central)
        if SUPPRESSION not in changed and repository.targets_due(central, files_of(tx)):
            changed |= set(_make_targets(central, tx, anew=True))
        version = sign_again(central, tx)
        if changed:
            central.trail.record(
                tx,
                Event.PUBLISHED,
                actor,
                at=central.clock(),
                subjects=sorted(changed),
                detail={"version": version},
            )
        _remove_old_targets(central, tx, version)
    return Publication(version, tuple(sorted(changed)))


def _plain_sources(central: Central, tx: Connection) -> dict[str, _Source]:
    """Small ``.bin`` targets by name, in clear; the suppression list apart."""
    now = central.clock()
    everyone = people.everyone(tx)
    # Issued anew each day, so that a car which is long away stops trusting an old roster.
    depends = f"{now.date()}\n".encode() + b"\n".join(
        p.model_dump_json().encode() for p in everyone
    )
    roster = Roster(
        agency=central.config.agency, issued=now, expires=now + ROSTER_LIFE, people=everyone
    )
    return {ROSTER: _Source(depends, lambda: _padded(crypto.canonical(roster), ROSTER_STEP))}


def _suppression(folds: list[str], key: bytes) -> Suppression:
    """Keyed digests among random ones, up to the next multiple of 4096 (R-460.5-b4)."""
    digests = {mac(key, form.encode())[:16].hex() for form in folds}
    size = max(1, -(-len(digests) // SUPPRESSION_STEP)) * SUPPRESSION_STEP
    while len(digests) < size:
        digests.add(secrets.token_hex(16))
    return Suppression(digests=tuple(sorted(digests)))


def _make_targets(central: Central, tx: Connection, *, anew: bool) -> list[str]:
    """Write the targets whose source changed, and the suppression list if ``anew``; their names."""
    known = {row.target: row for row in tx.execute(select(db.published))}
    if anew:
        known.pop(SUPPRESSION, None)
    mac_key = central.keystore.purpose_key("published")
    changed: list[str] = []
    content_keys: dict[str, bytes] = {}

    def settle(name: str, source: _Source) -> str:
        """The SHA-256 of the target's file, old or new."""
        mark = mac(mac_key, name.encode() + b"\0" + source.depends).hex()
        row = known.pop(name, None)
        if row is not None and row.source_mac == mark:
            sha256 = str(row.sha256)
            if (central.home / "tuf" / "targets" / f"{sha256}.{name}").exists():
                return sha256
        changed.append(name)
        data = source.make()
        sha256 = crypto.sha256_hex(data)
        repository.write(central.home / "tuf" / "targets" / f"{sha256}.{name}", data)
        _note_target(central, tx, name, mark, sha256, len(data))
        return sha256

    def settle_list(name: str, stored: lists.ListSource) -> str:
        """The same for a list, which is written as a stream, and its deltas."""
        mark = mac(mac_key, name.encode() + b"\0" + stored.depends).hex()
        row = known.pop(name, None)
        deltas = [one for one in known if is_delta_of(one, name)]
        if row is not None and row.source_mac == mark:
            sha256 = str(row.sha256)
            if (central.home / "tuf" / "targets" / f"{sha256}.{name}").exists():
                for one in deltas:
                    content_keys[one] = central.keystore.secret(f"content:{known.pop(one).sha256}")
                return sha256
        changed.append(name)
        sha256, length = listtargets.write_list(central, tx, name, stored.plain)
        _note_target(central, tx, name, mark, sha256, length)
        for one, data in listtargets.make_deltas(central, tx, name, sha256, length).items():
            known.pop(one, None)
            settle(one, _clear(data))
            content_keys[one] = central.keystore.secret(f"content:{crypto.sha256_hex(data)}")
        return sha256

    keys = IntakeKeys(agency=central.config.agency, keys=central.keystore.intake_public())
    policy = central.config.device_policy()
    for name, record in ((INTAKE_KEYS, keys), (POLICY, policy)):
        settle(name, _clear(crypto.canonical(record)))
    for list_id, stored in lists.hotlists(central, tx).items():
        name = f"{HOTLIST_PREFIX}{list_id}.bin"
        content_keys[name] = central.keystore.secret(f"content:{settle_list(name, stored)}")
    for name, source in _plain_sources(central, tx).items():
        sha256 = settle(name, _encrypted(central, name, source))
        content_keys[name] = central.keystore.secret(f"content:{sha256}")
    sha256, suppression_key = _settle_suppression(central, tx, settle, changed)
    content_keys[SUPPRESSION] = central.keystore.secret(f"content:{sha256}")
    for vehicle in vehicles.enrolled(tx):
        settle(wraps_target(vehicle.name), _wraps(vehicle, content_keys, suppression_key))
    for name in known:  # a list or a car that is no more
        tx.execute(delete(db.published).where(db.published.c.target == name))
        changed.append(name)
    return sorted(changed)


def _settle_suppression(
    central: Central,
    tx: Connection,
    settle: Callable[[str, _Source], str],
    changed: list[str],
) -> tuple[str, bytes]:
    """Publish the suppression list; the digest of its file and the key of its digests.

    The key is a new one in each version. Under one key the true digests would stand in two
    versions and the random ones in one only, which would tell how many requests there are. What it
    depends on is the hour alone: a version that came when a request did would tell of it
    (R-460.5-b4).
    """
    folds = sorted(protected.suppressed_folds(central, tx))
    fresh = os.urandom(32)
    source = _Source(
        f"{central.clock():%Y-%m-%dT%H}".encode(),
        lambda: crypto.canonical(_suppression(folds, fresh)),
    )
    sha256 = settle(SUPPRESSION, _encrypted(central, SUPPRESSION, source))
    if SUPPRESSION in changed:
        central.keystore.put_secret(f"{SUPPRESSION_KEY}:{sha256}", fresh)
    return sha256, central.keystore.secret(f"{SUPPRESSION_KEY}:{sha256}")


def _clear(body: bytes) -> _Source:
    return _Source(body, lambda: body)


def _encrypted(central: Central, name: str, source: _Source) -> _Source:
    """The source under a new content key, kept by the digest of the file it opens."""

    def make() -> bytes:
        key = os.urandom(32)
        data = crypto.encrypt_target(source.make(), name=name, key=key)
        central.keystore.put_secret(f"content:{crypto.sha256_hex(data)}", key)
        return data

    return _Source(source.depends, make)


def _wraps(
    vehicle: vehicles.Vehicle, content_keys: dict[str, bytes], suppression: bytes
) -> _Source:
    def make() -> bytes:
        recipient = vehicle.wrap_key
        wraps = Wraps(
            vehicle=vehicle.name,
            targets={
                name: crypto.wrap_key(key, purpose=name, recipient=recipient)
                for name, key in content_keys.items()
            },
            suppression_key=crypto.wrap_key(
                suppression, purpose=SUPPRESSION_KEY, recipient=recipient
            ),
        )
        return _padded(crypto.canonical(wraps), WRAPS_STEP)

    parts = [name.encode() + key for name, key in sorted(content_keys.items())]
    return _Source(b"".join([crypto.public_bytes(vehicle.wrap_key), suppression, *parts]), make)


def _note_target(
    central: Central, tx: Connection, name: str, mark: str, sha256: str, length: int
) -> None:
    values = {
        "source_mac": mark,
        "sha256": sha256,
        "length": length,
        "published_at": central.clock(),
    }
    tx.execute(delete(db.published).where(db.published.c.target == name))
    tx.execute(insert(db.published).values(target=name, **values))


def _padded(document: bytes, step: int) -> bytes:
    """JSON with spaces behind it, so that its encrypted size tells little."""
    return document + b" " * (-len(document) % step)


def sign_again(central: Central, tx: Connection) -> int:
    """Sign what is published as the root in force asks; the version of the targets."""
    return repository.sign(central, files_of(tx))


def files_of(tx: Connection) -> dict[str, TargetFile]:
    """What the targets metadata is to name."""
    return {
        row.target: TargetFile(row.length, {"sha256": row.sha256}, row.target)
        for row in tx.execute(select(db.published))
    }


def _remove_old_targets(central: Central, tx: Connection, version: int) -> None:
    """Keep the files of this and the version before, which a car may be fetching."""
    folder = central.home / "tuf"
    rows = list(tx.execute(select(db.published)))
    keep = {f"{row.sha256}.{row.target}" for row in rows}
    keep |= listtargets.forget_old(tx, {row.target for row in rows})
    before = repository.load(folder / "metadata" / f"{version - 1}.targets.json", Targets)
    if before is not None:
        for name, target in before.signed.targets.items():
            keep.add(f"{target.hashes['sha256']}.{name}")
    for path in (folder / "targets").iterdir():
        if path.name not in keep:
            path.unlink(missing_ok=True)
            sha256 = path.name.split(".")[0]
            central.keystore.forget_secret(f"content:{sha256}")
            central.keystore.forget_secret(f"{SUPPRESSION_KEY}:{sha256}")
