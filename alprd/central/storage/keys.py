"""The keystore: every key central holds, wrapped by the agency key (R-460.5-4b, R-460.6-0).

::

    agency.key (a file, a systemd credential, or derived by a PKCS#11 token)
    └── root           random, made with the keystore
    ├── secrets        CA, receipt, TUF, list and suppression keys; content keys of targets
    ├── intake keys    private key of each UTC day, destroyed 60×24 h after the day's end
    └── hour keys      one for each hour of collection
        └── read keys  one for each read (and each quarantined envelope)

Wrapping is AES-256-GCM with the kind and name as associated data. A row deleted here (the file
has ``secure_delete``) takes its reads with it wherever their ciphertext may lie.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import crypto
from alprd.central.storage import db, partitions
from alprd.central.storage.engine import Database
from alprd.central.storage.replica import AHEAD, ahead, replica_of
from alprd.errors import EnvelopeError, StoreError
from alprd.records import MAX_LIFE
from alprd.wire import IntakeKey

ROOT: Final = "root"
ROOT_NEXT: Final = "root.next"
_ROOT_AAD: Final = b"root under the agency key"
_MOST_HOURS: Final = 200
INTAKE_BACK: Final = timedelta(days=60)
INTAKE_AHEAD: Final = timedelta(days=120)
INTAKE_LOW: Final = timedelta(days=90)
"""The series is extended when it reaches less far ahead than this."""


def seal(key: bytes, plain: bytes, aad: bytes) -> bytes:
    """AES-256-GCM with a random nonce in front."""
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The inverse of :func:`seal`.

    Raises:
        EnvelopeError: altered, or under another key.
    """
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], aad)
    except (InvalidTag, ValueError) as error:
        what = aad.split(b" ")[0].decode()
        raise EnvelopeError(f"{what} was altered or is under another key") from error


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes."""
    made = hmac.HMAC(key, hashes.SHA256())
    made.update(data)
    return made.finalize()


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for one purpose (HKDF-SHA-256, RFC 5869)."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"alprd central " + purpose.encode()).derive(
        key
    )


class Keystore:
    """Wrapped keys in a database file of their own."""

    def __init__(
        self, place: Path | str, agency_key: bytes, *, create: bool = False, replica: str = ""
    ) -> None:
        self._outer = agency_key
        self.replica = replica_of(place, replica)
        if self.replica is not None and self.replica.state() == AHEAD:
            raise ahead(self.replica.path)  # before anything is written
        self.database = Database(
            place, db.keystore, create=create, marked=True, replica=self.replica
        )
        try:
            self._agency_key = self._root(make=create)
        except BaseException:
            self.database.close()
            raise

    def purpose_key(self, purpose: str) -> bytes:
        """A key derived from the agency key."""
        return derive(self._agency_key, purpose)

    def agency_keys(self) -> tuple[bytes, bytes]:
        """Agency key and root, for a look whether they lie where they must not."""
        return self._outer, self._agency_key

    # --- the root under the agency key ---------------------------------------------------------

    def _root(self, *, make: bool) -> bytes:
        """The key that all others are wrapped under.

        A keystore of an older program has none: there it is the agency key itself, also after a
        rotation, so that whoever kept the first agency key could still open it.

        Args:
            make: give a keystore without any secret a random root of its own.
        """
        table = db.secrets
        if make:
            with self.database.write() as tx:
                if tx.scalar(select(table.c.name).limit(1)) is None:
                    wrapped = seal(self._outer, os.urandom(32), _ROOT_AAD)
                    tx.execute(insert(table).values(name=ROOT, wrapped=wrapped))
        with self.database.read() as tx:
            rows = tx.execute(select(table).where(table.c.name.in_((ROOT, ROOT_NEXT)))).all()
        for row in rows:
            try:
                self._agency_key = unseal(self._outer, row.wrapped, _ROOT_AAD)
            except EnvelopeError:
                continue  # in the midst of a rotation one of two opens
            if row.name == ROOT_NEXT:
                self.settle_root()  # the new key is in its place: the old one is good no more
            return self._agency_key
        if rows:
            raise StoreError(
                "the agency key is not the one of this keystore", remedy="bring back the true one"
            )
        return self._outer

    def wrap_root(self, agency_key: bytes) -> None:
        """First half of a rotation: from here on this key opens the keystore as well.

        Durable when this returns. The key in use stays good until :meth:`settle_root`.
        """
        with self.database.write() as tx:
            for name, key in ((ROOT, self._outer), (ROOT_NEXT, agency_key)):
                wrapped = seal(key, self._agency_key, _ROOT_AAD)
                tx.execute(delete(db.secrets).where(db.secrets.c.name == name))
                tx.execute(insert(db.secrets).values(name=name, wrapped=wrapped))

    def settle_root(self) -> None:
        """Second half: only the agency key that this keystore was opened with opens it."""
        with self.database.write() as tx:
            tx.execute(delete(db.secrets).where(db.secrets.c.name.in_((ROOT, ROOT_NEXT))))
            wrapped = seal(self._outer, self._agency_key, _ROOT_AAD)
            tx.execute(insert(db.secrets).values(name=ROOT, wrapped=wrapped))
            self.database.mark(tx, "secrets")
        self.database.checkpoint()

    # --- named secrets ----------------------------------------------------------------------

    def put_secret(self, name: str, secret: bytes) -> None:
        """Keep a secret under its name, in place of an older one."""
        wrapped = seal(self._agency_key, secret, f"secret {name}".encode())
        statement = upsert(db.secrets).values(name=name, wrapped=wrapped)
        with self.database.write() as tx:
            tx.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_={"wrapped": wrapped})
            )

    def find_secret(self, name: str) -> bytes | None:
        """The secret of that name, or ``None``."""
        with self.database.read() as tx:
            wrapped = tx.scalar(select(db.secrets.c.wrapped).where(db.secrets.c.name == name))
        return (
            None
            if wrapped is None
            else unseal(self._agency_key, wrapped, f"secret {name}".encode())
        )

    def secret(self, name: str) -> bytes:
        """The secret of that name.

        Raises:
            StoreError: there is none.
        """
        found = self.find_secret(name)
        if found is None:
            raise StoreError(f"keystore holds no {name}", remedy="restore keystore.db")
        return found

    def forget_secret(self, name: str) -> None:
        """Destroy a secret."""
        with self.database.write() as tx:
            tx.execute(delete(db.secrets).where(db.secrets.c.name == name))
            self.database.mark(tx, "secrets")

    def put_private(self, name: str, key: crypto.PrivateKey) -> None:
        """Keep a P-256 private key."""
        self.put_secret(name, _private_der(key))

    def private(self, name: str) -> crypto.PrivateKey:
        """A P-256 private key."""
        return _private_from_der(self.secret(name))

    # --- intake keys ------------------------------------------------------------------------

    def extend_intake(self, first: date, last: date) -> int:
        """Make the missing keys of ``first`` … ``last``; how many were made."""
        made: list[dict[str, Any]] = []
        with self.database.write() as tx:
            have = set(tx.scalars(select(db.intake_keys.c.day)))
            day = first
            while day <= last:
                name = day.isoformat()
                if name not in have:
                    key = crypto.generate_key()
                    made.append(
                        {
                            "day": name,
                            "key_id": crypto.key_id(key),
                            "public": base64.urlsafe_b64encode(crypto.public_bytes(key)).decode(),
                            "wrapped": seal(
                                self._agency_key, _private_der(key), f"intake {name}".encode()
                            ),
                        }
                    )
                day += timedelta(days=1)
            if made:
                tx.execute(insert(db.intake_keys), made)
        return len(made)

    def extend_intake_when_low(self, today: date) -> int:
        """Keep the series reaching far enough ahead for a car that is long away."""
        with self.database.read() as tx:
            days = sorted(tx.scalars(select(db.intake_keys.c.day)))
        last = date.fromisoformat(days[-1]) if days else today - INTAKE_BACK
        if last >= today + INTAKE_LOW:
            return 0
        return self.extend_intake(last + timedelta(days=1), today + INTAKE_AHEAD)

    def intake_public(self) -> tuple[IntakeKey, ...]:
        """The published series, by day."""
        with self.database.read() as tx:
            rows = tx.execute(
                select(db.intake_keys.c.day, db.intake_keys.c.public).order_by(db.intake_keys.c.day)
            )
            return tuple(IntakeKey(day=row.day, key=row.public) for row in rows)

    def intake_private(self, key_id: str) -> crypto.PrivateKey | None:
        """The private key with that id; ``None`` when unknown or destroyed."""
        with self.database.read() as tx:
            row = tx.execute(
                select(db.intake_keys).where(db.intake_keys.c.key_id == key_id)
            ).one_or_none()
        if row is None:
            return None
        return _private_from_der(
            unseal(self._agency_key, row.wrapped, f"intake {row.day}".encode())
        )

    def destroy_intake_before(self, now: datetime, keep: frozenset[str] = frozenset()) -> int:
        """Destroy the private keys of days that ended 60×24 h ago or more (R-460.5-4b).

        Args:
            keep: days of which a car may still hold reads under an exculpatory hold.
        """
        last_day = (now.astimezone(UTC) - MAX_LIFE - timedelta(days=1)).date()
        with self.database.write() as tx:
            gone = tx.execute(
                delete(db.intake_keys).where(
                    db.intake_keys.c.day <= last_day.isoformat(),
                    db.intake_keys.c.day.not_in(sorted(keep)),
                )
            )
            if gone.rowcount:
                self.database.mark(tx, "intake_keys")
        return gone.rowcount

    # --- hour and read keys -----------------------------------------------------------------

    def hour_key(self, hour: datetime, tx: Connection | None = None) -> bytes | None:
        """The key of an hour of collection; ``None`` when it never was or is destroyed."""
        query = select(db.hour_keys.c.wrapped).where(db.hour_keys.c.hour == hour)
        if tx is not None:
            wrapped = tx.scalar(query)
        else:
            with self.database.read() as reading:
                wrapped = reading.scalar(query)
        return None if wrapped is None else unseal(self._agency_key, wrapped, _hour_aad(hour))

    def new_read_keys(
        self, wanted: Sequence[tuple[str, datetime]]
    ) -> dict[str, tuple[bytes, bytes]]:
        """Make (read key, hour key) for each (read id, hour), durable when this returns.

        Where there is a replica they are durable there, too, before a receipt can be signed.

        Keys that an interrupted intake left behind under the same id are replaced.
        """
        made: dict[str, tuple[bytes, bytes]] = {}
        hours: dict[datetime, bytes] = {}
        fresh: list[dict[str, Any]] = []
        with self.database.write(both=True) as tx:
            partitions.ensure(tx, "read_keys", (hour for _, hour in wanted))
            self._delete_read_keys(tx, [read for read, _ in wanted])
            for read, hour in wanted:
                if hour not in hours:
                    key = self.hour_key(hour, tx)
                    if key is None:
                        key = os.urandom(32)
                        tx.execute(
                            insert(db.hour_keys).values(
                                hour=hour, wrapped=seal(self._agency_key, key, _hour_aad(hour))
                            )
                        )
                    hours[hour] = key
                if read in made:
                    continue
                made[read] = (os.urandom(32), hours[hour])
                wrapped = seal(hours[hour], made[read][0], f"read {read}".encode())
                fresh.append({"id": read, "hour": hour, "wrapped": wrapped})
            if fresh:
                tx.execute(insert(db.read_keys), fresh)
                tx.execute(
                    upsert(db.fresh_keys).on_conflict_do_nothing(),
                    [{"id": row["id"], "hour": row["hour"]} for row in fresh],
                )
        return made

    def _delete_read_keys(self, tx: Connection, ids: Sequence[str]) -> set[datetime]:
        """Delete keys, and note where they lay; the hours that had some."""
        table, touched = db.read_keys, set[datetime]()
        for start in range(0, len(ids), 500):
            mine = table.c.id.in_(ids[start : start + 500])
            hours = tx.scalars(select(table.c.hour).where(mine).distinct()).all()
            if hours:
                tx.execute(delete(table).where(mine, table.c.hour.in_(hours)))
                touched.update(hours)
        if touched:
            self.database.mark(tx, "read_keys", touched)
        return touched

    def open_read_keys(
        self, ids: Iterable[str], within: Iterable[datetime] = ()
    ) -> dict[str, bytes]:
        """The read keys that still exist, by read id.

        Args:
            within: the hours of the reads where they are known: only their part is looked into.
        """
        wanted, only = list(ids), sorted(set(within))
        found: dict[str, bytes] = {}
        hours: dict[datetime, bytes | None] = {}
        with self.database.read() as tx:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                query = select(db.read_keys).where(db.read_keys.c.id.in_(part))
                if 0 < len(only) <= _MOST_HOURS:
                    query = query.where(db.read_keys.c.hour.in_(only))
                for row in tx.execute(query):
                    if row.hour not in hours:
                        hours[row.hour] = self.hour_key(row.hour, tx)
                    hour_key = hours[row.hour]
                    if hour_key is not None:
                        found[row.id] = unseal(hour_key, row.wrapped, f"read {row.id}".encode())
        return found

    def read_key_ids(self, among: Iterable[str] | None = None) -> set[str]:
        """Every id that has a key; with ``among`` those of these."""
        ids = db.read_keys.c.id
        with self.database.read() as tx:
            if among is None:
                return set(tx.scalars(select(ids)))
            wanted, found = list(among), set[str]()
            for start in range(0, len(wanted), 500):
                found.update(tx.scalars(select(ids).where(ids.in_(wanted[start : start + 500]))))
        return found

    def fresh_ids(self) -> set[str]:
        """The ids of keys that were made since the last :meth:`settled`."""
        with self.database.read() as tx:
            return set(tx.scalars(select(db.fresh_keys.c.id)))

    def settled(self, ids: Iterable[str]) -> None:
        """These keys have a row in the store, or are destroyed."""
        done = list(ids)
        with self.database.write() as tx:
            for start in range(0, len(done), 500):
                part = done[start : start + 500]
                tx.execute(delete(db.fresh_keys).where(db.fresh_keys.c.id.in_(part)))

    def destroy_read_keys(self, ids: Iterable[str]) -> None:
        """Destroy read keys, and every hour key that has no read left; nothing stays in a log."""
        keys, hours = db.read_keys, db.hour_keys
        with self.database.write() as tx:
            touched = self._delete_read_keys(tx, list(ids))
            for hour in touched:
                left = select(keys.c.id).where(keys.c.hour == hour).exists()
                if tx.execute(delete(hours).where(hours.c.hour == hour, ~left)).rowcount:
                    self.database.mark(tx, "hour_keys")
        self.database.checkpoint()

    def forget_empty_hours(self) -> int:
        """Destroy the keys of hours without a read: an intake may have died after making one."""
        keys, hours = db.read_keys, db.hour_keys
        with self.database.write() as tx:
            left = select(keys.c.id).where(keys.c.hour == hours.c.hour).exists()
            gone = tx.execute(delete(hours).where(~left)).rowcount
            if gone:
                self.database.mark(tx, "hour_keys")
        return gone

    def close(self) -> None:
        """Close the file."""
        self.database.close()


def _hour_aad(hour: datetime) -> bytes:
    return f"hour {hour.astimezone(UTC):%Y-%m-%dT%H}".encode()


def _private_der(key: crypto.PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_from_der(data: bytes) -> crypto.PrivateKey:
    key = serialization.load_der_private_key(data, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StoreError("keystore holds a key of another kind", remedy="restore keystore.db")
    return key
