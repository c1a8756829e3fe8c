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

import os
import platform
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import crypto
from alprd.central.storage import agencykey, ca, config, cutoff, db, keys, replica
from alprd.central.storage import audit_tables as audit_tables
from alprd.central.storage import credential_tables as credential_tables
from alprd.central.storage import incident_tables as incident_tables
from alprd.central.storage import jobs_tables as jobs_tables  # its tables belong to every agency
from alprd.central.storage import oversight_tables as oversight_tables
from alprd.central.storage import public_tables as public_tables
from alprd.central.storage import rejections_tables as rejections_tables
from alprd.central.storage import release_tables as release_tables
from alprd.central.storage import search_tables as search_tables
from alprd.central.storage import store_tables as store_tables
from alprd.central.storage import transfer_tables as transfer_tables
from alprd.central.storage.audit import CentralTrail, Event
from alprd.central.storage.config import CentralConfig, StorageSettings
from alprd.central.storage.engine import Database, check_server
from alprd.central.storage.keys import Keystore
from alprd.central.storage.objects import FolderObjects, Objects
from alprd.central.storage.s3 import S3Objects
from alprd.errors import ConfigError, StoreError
from alprd.records import utc_now

DATABASE: Final = "central.db"
KEYSTORE: Final = "keystore.db"
_RENEW_BEFORE: Final = timedelta(days=30)
_FOLDERS: Final = ("keys", "pictures", "quarantine", "tuf", "tuf/metadata", "tuf/targets")


class Central:
    """One agency's store, opened.

    Args:
        home: the folder that :func:`initialise` made.
        clock: the current time as aware UTC.
        mending: opened by a restore, which may find it half restored.

    Raises:
        ConfigError: the settings are wrong.
        StoreError: a database or key is missing or damaged, or a restore was cut off.
    """

    def __init__(
        self, home: Path, clock: Callable[[], datetime] = utc_now, *, mending: bool = False
    ) -> None:
        if not mending:
            cutoff.refuse(home)
        self.home = home
        self.clock = clock
        self.config: CentralConfig = config.load(home)
        self.keystore = Keystore(
            self.config.storage.keystore or home / KEYSTORE,
            agencykey.load_agency_key(home / "keys", self.config.keys.agency),
            replica=self.config.storage.replica,
        )
        try:
            self.database = Database(self.config.storage.database or home / DATABASE, db.main)
            self.ca = _load_certificate(home / "keys" / "ca.crt")
            self.objects = open_objects(home, self.config.storage)
        except BaseException:
            self.keystore.close()
            raise
        self.trail = CentralTrail(self.keystore, platform.node() or "central", self.config.timezone)

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


def open_objects(home: Path, settings: StorageSettings) -> Objects:
    """Where the settings put encrypted files.

    Raises:
        ConfigError: S3 without its client, or without usable credentials.
    """
    if not settings.pictures:
        return FolderObjects(home)
    bucket, _, prefix = settings.pictures.removeprefix("s3://").partition("/")
    return S3Objects(
        bucket,
        prefix.rstrip("/") + "/" if prefix.strip("/") else "",
        endpoint=settings.endpoint,
        region=settings.region,
        credentials=_credentials(home, settings.credentials),
    )


def _credentials(home: Path, name: str) -> tuple[str, str]:
    """Access key id and secret, one a line, of a systemd credential or a file."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(given) / name if given and (Path(given) / name).is_file() else home / name
    try:
        if path.stat().st_mode & 0o077 and path.parent != Path(given or "/nowhere"):
            raise ConfigError(f"{path} is readable by others", remedy=f"chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"credentials of the bucket: {path} cannot be read",
            remedy="name a file with access key id and secret in [storage] credentials",
        ) from error
    if len(lines) != 2:
        raise ConfigError(
            f"{path} does not hold two lines", remedy="access key id, then the secret key"
        )
    return lines[0], lines[1]


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
    # Before anything is made: whether what is destroyed there would be gone.
    open_objects(home, settings.storage).check()
    check_server(settings.storage.keystore)
    second = replica.replica_of(
        settings.storage.keystore or home / KEYSTORE, settings.storage.replica
    )
    if second is not None:
        replica.check_place(second.path)
    for name in ("", *_FOLDERS):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    agency_key = agencykey.create_agency_key(home / "keys")
    keystore = Keystore(settings.storage.keystore or home / KEYSTORE, agency_key, create=True)
    try:
        ca_key, receipt_key = crypto.generate_key(), crypto.generate_key()
        keystore.put_private("ca", ca_key)
        keystore.put_private("receipt", receipt_key)
        first = intake_from or now.date() - keys.INTAKE_BACK
        made = keystore.extend_intake(first, now.date() + keys.INTAKE_AHEAD)
    finally:
        keystore.close()
    if second is not None:
        replica.make(second.keystore, second.path)
    Database(settings.storage.database or home / DATABASE, db.main, create=True).close()
    authority = ca.create_ca(ca_key, settings.agency, now)
    crypto.write_secret(home / "keys" / "ca.crt", ca.pem(authority).encode())
    # Last: a folder with settings is an agency.
    (home / config.CONFIG_FILE).write_text(config.render(settings), encoding="utf-8")
    with Central(home, clock) as central:
        renew_server_certificate(central)
        with central.database.write() as tx:
            detail: dict[str, str | int | bool] = {"agency": settings.agency, "intake_keys": made}
            central.trail.record(tx, Event.INITIALISED, at=now, detail=detail)


def renew_server_certificate(central: Central) -> bool:
    """Issue the server's certificate anew when it is missing, near its end or for other hosts.

    Cars trust the CA, not this certificate, so they notice nothing. The key file is encrypted
    under a password derived from the agency key.
    """
    folder, now = central.home / "keys", central.clock()
    path = folder / "server.crt"
    if path.exists():
        current = _load_certificate(path)
        fits = ca.hosts_of(current) == set(central.config.hosts)
        if fits and current.not_valid_after_utc - now > _RENEW_BEFORE:
            return False
    key = crypto.generate_key()
    made = ca.issue_server(
        central.ca, central.keystore.private("ca"), key.public_key(), central.config.hosts, now
    )
    crypto.write_secret(
        folder / "server.key",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(central.server_key_password()),
        ),
    )
    crypto.write_secret(path, (ca.pem(made) + ca.pem(central.ca)).encode())
    return True
