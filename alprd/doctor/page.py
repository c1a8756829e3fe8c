"""Whether the in-car page can be served: without it nobody signs on, and nothing is collected."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import Final

from cryptography import x509

from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.errors import AlprdError, ConfigError
from alprd.mdt import server
from alprd.verification import from_config

TELL_DAYS: Final = 30
"""As the page itself tells it (:mod:`alprd.mdt.certificate`)."""


def check_page(car: Car, sheet: Sheet) -> None:
    """The page's address, certificate and key, and the authority of the query gateway."""
    page = car.config.mdt
    try:
        server.check_page(page.host, page.tls_cert, page.tls_key)
    except ConfigError as error:
        sheet.error("serving", error)
    else:
        how = "by TLS" if page.tls_cert is not None else "to this computer alone"
        sheet.ok("serving", f"{page.host}:{page.port}, {how}", tls=page.tls_cert is not None)
        _certificate(car, sheet)
    if not car.config.verification.url:
        return
    try:
        gateway = from_config(car.config.verification)
    except AlprdError as error:
        sheet.error("gateway", error)
    else:
        if gateway is not None:
            gateway.close()
        sheet.ok("gateway", "its authority can be used")


def _certificate(car: Car, sheet: Sheet) -> None:
    """How long the certificate lasts, and who else may read its key."""
    certificate, key = car.config.mdt.tls_cert, car.config.mdt.tls_key
    if certificate is None or key is None:
        return
    held = x509.load_pem_x509_certificate(certificate.read_bytes())
    days = (held.not_valid_after_utc - car.now()) / timedelta(days=1)
    sheet.judge(
        "certificate",
        f"valid for {days:.0f} more days" if days >= 0 else f"ended {-days:.0f} days ago",
        fail=days < 0,
        warn=days < TELL_DAYS,
        remedy="ask the agency for a new certificate of this page (docs/mdt.md)",
        days=round(days, 1),
    )
    mode = stat.S_IMODE(key.stat().st_mode)
    sheet.judge(
        "key",
        f"{key}, mode {mode:04o}",
        fail=bool(mode & 0o077),
        remedy=f"chmod 600 {key}; if strangers may have read it, ask for a new pair",
    )
