"""The page's TLS certificate while the daemon runs: a renewed one is taken without a restart.

A car may run for weeks, and a restart signs the deputy off. So the file is looked at every few
seconds, and what has replaced it counts from the next connection on; what is connected stays. A
file that does not fit its key, or cannot be read, changes nothing and is told on the page, as is a
certificate that is about to end: the laptop's browser would refuse the page on that day
(R-CJIS-1).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from alprd.alarms import AlarmBook
from alprd.config import MdtSection
from alprd.mdt.server import ServerHandle
from alprd.workers import Beat, Worker

log = logging.getLogger(__name__)

ALARM: Final = "page_certificate"
TELL_DAYS: Final = 30
"""So many days before its end a certificate is told of."""
_LOOK_S: Final = 5.0
_NOTHING: Final = "nothing has been refused"


class PageCertificate:
    """Follows the files of a certificate and its key.

    Args:
        live: the context of the running server.
        certificate, key: their files.
        alarms: where the deputy and the administrator are told.
        now: UTC.
        look_s: seconds between two looks.
    """

    def __init__(
        self,
        live: ssl.SSLContext,
        certificate: Path,
        key: Path,
        alarms: AlarmBook,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        look_s: float = _LOOK_S,
    ) -> None:
        self._live = live
        self._certificate = certificate
        self._key = key
        self._alarms = alarms
        self._now = now
        self._look_s = look_s
        self._used = self._stamp()
        self._refused: object = _NOTHING
        self._until = self._end_of(certificate)

    def run(self, beat: Beat) -> None:
        """Look until told to stop."""
        while not beat.stopping:
            beat()
            self.look()
            beat.sleep(self._look_s)

    def look(self) -> None:
        """Take what has replaced the files, if it can be used; tell what is wrong."""
        found = self._stamp()
        if found not in (self._used, self._refused):
            self._take(found)
        if found == self._refused:
            return  # its alarm stands
        left = None if self._until is None else self._until - self._now()
        if left is not None and left.total_seconds() < TELL_DAYS * 86_400:
            days = max(0, int(left.total_seconds() // 86_400))
            words = f"ends in {days} day(s)" if left.total_seconds() > 0 else "has ended"
            self._alarms.raise_alarm(
                ALARM, f"the certificate of this page {words}: the laptop needs a new one"
            )
        else:
            self._alarms.clear(ALARM)

    def _take(self, found: object) -> None:
        try:
            # Tried on a context of its own: half a pair must never reach the live one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self._live.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError):
            self._refused = found
            self._alarms.raise_alarm(
                ALARM,
                "the new certificate of this page does not fit its key or cannot be read: "
                "the former one is still used",
            )
            return
        self._used, self._refused = found, _NOTHING
        self._until = self._end_of(self._certificate)
        log.info("the page's new certificate is in use")

    def _stamp(self) -> object:
        """What changes when a file is replaced; None while one of them is away."""
        try:
            both = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in both)

    @staticmethod
    def _end_of(certificate: Path) -> datetime | None:
        try:
            return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        except (OSError, ValueError):
            return None


def followers(page: ServerHandle, section: MdtSection, alarms: AlarmBook) -> list[Worker]:
    """The worker that follows the page's certificate; none where the page has none."""
    if page.tls is None or section.tls_cert is None or section.tls_key is None:
        return []
    follow = PageCertificate(page.tls, section.tls_cert, section.tls_key, alarms)
    return [Worker("certificate", follow.run, required=False)]
