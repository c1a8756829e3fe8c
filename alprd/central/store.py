"""An opened home folder: settings, databases, keys, trail and clock in one place.

::

    <home>/central.toml      settings
    <home>/central.db        ciphertext and rows (backed up)
    <home>/keystore.db       wrapped keys (never backed up)
    <home>/keys/             agency.key (0600), ca.crt, server.crt, server.key (encrypted)
    <home>/pictures/ab/<id>  encrypted pictures of a read
    <home>/quarantine/       encrypted envelopes that could not be opened
    <home>/tuf/              published metadata and targets
    <home>/run.json          addresses of the running server
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from alprd import crypto
from alprd.central import ca, config, db, keys
from alprd.central.audit import CentralTrail, Event
from alprd.central.config import CentralConfig
from alprd.central.keys import Keystore
from alprd.errors import ConfigError, StoreError
from alprd.records import utc_now

DATABASE: Final = "central.db"
KEYSTORE: Final = "keystore.db"
_FOLDERS: Final = ("keys", "pictures", "quarantine", "tuf", "tuf/metadata", "tuf/targets")


class Central:
    """One agency's store, opened.

    Args:
        home: the folder that :func:`initialise` made.
        clock: the current time as aware UTC.

    Raises:
        ConfigError: the settings are wrong.
        StoreError: a database or key is missing or damaged.
    """

    def __init__(self, home: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.home = home
        self.clock = clock
        self.config: CentralConfig = config.load(home)
        self.keystore = Keystore(home / KEYSTORE, keys.load_agency_key(home / "keys"))
        try:
            self.database = db.Database(home / DATABASE, db.main)
            self.ca = _load_certificate(home / "keys" / "ca.crt")
        except BaseException:
            self.keystore.close()
            raise
        self.trail = CentralTrail(self.keystore, platform.node() or "central")

    def __enter__(self) -> Central:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the databases."""
        self.database.close()
        self.keystore.close()

    @property
    def life(self) -> timedelta:
        """The configured life of a read."""
        return timedelta(hours=self.config.policy.retention_hours)

    def receipt_key(self) -> crypto.PrivateKey:
        """The key that signs receipts, permits and acknowledgements."""
        return self.keystore.private("receipt")

    def server_key_password(self) -> bytes:
        """Opens ``server.key``."""
        return self.keystore.purpose_key("server key").hex().encode()


def count(tx: Connection, name: str, by: int = 1) -> None:
    """Raise a counter inside the transaction of the act."""
    if by:
        statement = upsert(db.counters).values(name=name, value=by)
        tx.execute(
            statement.on_conflict_do_update(
                index_elements=["name"], set_={"value": db.counters.c.value + by}
            )
        )


def counter(tx: Connection, name: str) -> int:
    """The value of a counter, 0 when it was never raised."""
    return tx.scalar(select(db.counters.c.value).where(db.counters.c.name == name)) or 0


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"certificate {path} cannot be read", remedy="restore it") from error


def initialise(
    home: Path,
    settings: CentralConfig,
    *,
    intake_from: date | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """Make an agency ready: settings, databases, keys, CA and server certificate.

    Args:
        intake_from: first UTC day of the intake keys; by default 60 days back, because the day
            of a read is the car's disciplined date.

    Raises:
        ConfigError: the folder already holds an agency.
    """
    if (home / config.CONFIG_FILE).exists() or (home / KEYSTORE).exists():
        raise ConfigError(f"{home} already holds an agency", remedy="choose an empty folder")
    now = clock()
    for name in ("", *_FOLDERS):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    agency_key = keys.create_agency_key(home / "keys")
    keystore = Keystore(home / KEYSTORE, agency_key, create=True)
    try:
        ca_key, receipt_key, server_key = (crypto.generate_key() for _ in range(3))
        keystore.put_private("ca", ca_key)
        keystore.put_private("receipt", receipt_key)
        first = intake_from or now.date() - keys.INTAKE_BACK
        made = keystore.extend_intake(first, now.date() + keys.INTAKE_AHEAD)
    finally:
        keystore.close()
    db.Database(home / DATABASE, db.main, create=True).close()
    authority = ca.create_ca(ca_key, settings.agency, now)
    server = ca.issue_server(authority, ca_key, server_key.public_key(), settings.hosts, now)
    folder = home / "keys"
    crypto.write_secret(folder / "ca.crt", ca.pem(authority).encode())
    crypto.write_secret(folder / "server.crt", (ca.pem(server) + ca.pem(authority)).encode())
    password = keys.derive(agency_key, "server key").hex().encode()
    crypto.write_secret(
        folder / "server.key",
        server_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        ),
    )
    # Last: a folder with settings is a complete agency.
    (home / config.CONFIG_FILE).write_text(config.render(settings), encoding="utf-8")
    with Central(home, clock) as central, central.database.write() as tx:
        central.trail.record(
            tx, Event.INITIALISED, at=now, detail={"agency": settings.agency, "intake_keys": made}
        )
