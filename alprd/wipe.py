"""The end of a car's enrolment: keys destroyed, state wiped, and a certificate that says so.

Two ways lead here: an installer retires the car (``alprd retire``), or central orders the car to
kill itself (:mod:`alprd.orders`). Both first write a *marker*, ``<state>/wiped.json``; from that
moment the car never collects again, and a power cut at any later instant only means that the next
start goes on where this one stopped (R-CJIS-5). The acts, in this order::

    1  marker               durable before anything is destroyed
    2  wrap key, lists      what a thief could use: opens the lists and the suppression digests
    3  last words           trail, sessions and sealed reads to central, for a bounded time
    4  certificate          signed by the batch key, kept in the marker
    5  the queue            sealed reads that are left, sessions, trail
    6  report               the certificate to central; it needs the TLS key, so it comes before
    7  batch and TLS key, everything else; the marker says *done*

A destroyed file is overwritten, brought to the disk, truncated and unlinked. On an SSD the
overwriting may go to other cells than the data lay in; what can remain there of a read is sealed
to central's intake key and opens with nothing that was ever in the car, and remnants of the car's
own keys are worthless once central has revoked the car (``docs/secrets.md``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from alprd import __version__
from alprd.crypto import (
    SignedDocument,
    key_id,
    load_private,
    public_from_bytes,
    sign_document,
    write_secret,
)
from alprd.errors import OTHER_USER, AlprdError, EnvelopeError, RefusedError, StoreError
from alprd.lastwords import UNKNOWN, bring_home, count_lost, send_certificate
from alprd.process import notify
from alprd.records import Closed, Id, Name, Utc, new_id, utc_now
from alprd.shred import METHOD, destroy
from alprd.store import Store
from alprd.trust import Identity, Trust
from alprd.unlock import Locker
from alprd.wire import KeyId, WipeCertificate

log = logging.getLogger(__name__)

MARKER: Final = "wiped.json"
LAST_WORDS_S: Final = 30.0
"""Longest time for what is still to be sent: a thief must not gain more by a slow network."""
REPORT_S: Final = 10.0
_TALKING_ATTEMPTS: Final = 2
"""A wipe that is cut off again and again stops talking to central and destroys."""
_KEPT: Final = frozenset({MARKER, "daemon.lock"})
_LAST_KEYS: Final = ("batch.key", "tls.key")


class Marker(Closed):
    """``wiped.json``: that this car is to be, or has been, wiped."""

    phase: Literal["pending", "done"]
    kind: Literal["retired", "killed"]
    agency: Name
    vehicle: Name
    enrolment: KeyId
    order: Id | None = None
    by: str
    reason: str
    began: Utc
    at_trusted: bool
    attempts: int = 0
    keys_destroyed: tuple[str, ...] = ()
    certificate: SignedDocument | None = None
    reported: bool = False


def read_marker(state_dir: Path) -> Marker | None:
    """The marker of a state folder, or None.

    Raises:
        StoreError: there is one, and it cannot be read: the car must not run then either.
    """
    path = state_dir / MARKER
    try:
        return Marker.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StoreError(f"{path}: {error.strerror}", remedy=OTHER_USER) from error
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{path} cannot be read: {type(error).__name__}",
            remedy="the car was to be wiped: empty the state folder, then enrol the car anew",
        ) from error


def begin(
    trust: Trust,
    kind: Literal["retired", "killed"],
    *,
    by: str,
    reason: str,
    order: str | None = None,
    at_trusted: bool = False,
) -> Marker:
    """Write the marker: from now on the wipe only goes forward."""
    marker = Marker(
        phase="pending",
        kind=kind,
        agency=trust.agency,
        vehicle=trust.vehicle,
        enrolment=key_id(trust.batch_key),
        order=order,
        by=by,
        reason=reason,
        began=utc_now(),
        at_trusted=at_trusted,
    )
    _write(trust.state_dir, marker)
    return marker


def kill(trust: Trust, order: str, *, at_trusted: bool) -> None:
    """Begin the wipe that central ordered; also with a full disk.

    Where the marker cannot be written, the keys are overwritten at once, without a report: that
    needs no room.
    """
    try:
        begin(
            trust, "killed", by="central", reason="order of central",
            order=order, at_trusted=at_trusted,
        )  # fmt: skip
    except StoreError as error:
        log.error("%s; the keys are destroyed at once", error.message)
        destroy(trust.state_dir / "keys")


def refuse_wiped(state_dir: Path) -> None:
    """Finish a wipe that was interrupted, and refuse to run a wiped car; the lock is held.

    A car that was enrolled again after its wipe runs.

    Raises:
        RefusedError: ``wiped``.
        StoreError: the wipe cannot be finished; the car must not run.
    """
    marker = read_marker(state_dir)
    if marker is None:
        return
    if marker.phase == "pending":
        notify(f"STATUS=wiping\nEXTEND_TIMEOUT_USEC={int(2e6 * (LAST_WORDS_S + REPORT_S))}")
        marker = complete(state_dir)
    elif (state_dir / "trust" / "identity.json").exists():
        return
    how = (
        "killed by order of central"
        if marker.kind == "killed"
        else f"retired ({marker.reason}, by {marker.by})"
    )
    raise RefusedError(
        f"{marker.vehicle} was {how} on {marker.began:%Y-%m-%d %H:%M} UTC: "
        "its keys and data are destroyed",
        reason="wiped",
        remedy="to use this computer again, enrol it with a new code: alprd enrol",
    )


def complete(
    state_dir: Path, *, last_words_s: float = LAST_WORDS_S, report_s: float = REPORT_S
) -> Marker:
    """Do what is left of a wipe; the caller holds the state folder's lock.

    Nothing but an unwritable disk stops it: an unreachable central, a damaged queue or missing
    keys only make the certificate say less.

    Raises:
        StoreError: there is no marker, or a file cannot be destroyed; call it again.
    """
    marker = read_marker(state_dir)
    if marker is None:
        raise StoreError(f"{state_dir} is not marked to be wiped", remedy="alprd retire")
    if marker.phase == "done":
        return marker
    if marker.attempts >= _TALKING_ATTEMPTS:
        last_words_s = report_s = 0.0
    trust = _what_is_left(state_dir)
    destroyed = (*marker.keys_destroyed, *_destroy_secrets(state_dir))
    marker = marker.model_copy(
        update={
            "attempts": marker.attempts + 1,
            "keys_destroyed": tuple(dict.fromkeys(destroyed)),
        }
    )
    _write(state_dir, marker)
    if trust is not None and marker.certificate is None:
        marker = _certify(state_dir, marker, trust, last_words_s)
        _write(state_dir, marker)
    for path in sorted(state_dir.glob("*.db*")):
        destroy(path)
    if trust is not None and marker.certificate is not None and report_s > 0:
        held = marker.reported or send_certificate(marker.certificate, trust, report_s)
        marker = marker.model_copy(update={"reported": held})
        _write(state_dir, marker)
    keys = state_dir / "keys"
    for name in _LAST_KEYS:
        destroy(keys / name)
    for path in sorted(state_dir.iterdir()):
        if path.name not in _KEPT:
            destroy(path)
    marker = marker.model_copy(update={"phase": "done"})
    _write(state_dir, marker)
    log.warning("%s was wiped; central %s", marker.vehicle, _told(marker))
    return marker


def _told(marker: Marker) -> str:
    return "holds the certificate" if marker.reported else "could not be told"


# --- the acts -------------------------------------------------------------------------------


def _destroy_secrets(state_dir: Path) -> Iterator[str]:
    """Every key but the two that the report needs, and the lists; names of the keys."""
    keys = state_dir / "keys"
    if keys.is_dir():
        for path in sorted(keys.iterdir()):
            if path.name not in _LAST_KEYS:
                destroy(path)
                yield path.name
    destroy(state_dir / "targets")


def _what_is_left(state_dir: Path) -> Trust | None:
    """The car's trust for its last words; None when a key for it is already gone."""
    trust, keys = state_dir / "trust", state_dir / "keys"
    try:
        identity = Identity.model_validate_json((trust / "identity.json").read_bytes())
        if not (keys / "tls.key").exists():
            return None
        return Trust(
            state_dir=state_dir,
            agency=identity.agency,
            vehicle=identity.vehicle,
            reader=identity.reader,
            central_url=identity.central_url,
            batch_key=load_private(keys / "batch.key"),
            locker=Locker(keys),  # its key is destroyed first; nothing here unwraps
            receipt_key=public_from_bytes((trust / "receipt.pub").read_bytes()),
            tuf_root=b"",
        )
    except (OSError, ValidationError, EnvelopeError, StoreError):
        return None


def _certify(state_dir: Path, marker: Marker, trust: Trust, last_words_s: float) -> Marker:
    """Bring the last words to central, count what is lost, sign the certificate."""
    counts = dict(UNKNOWN)
    if (state_dir / "queue.db").exists():
        try:
            store = Store(
                state_dir / "queue.db", now=lambda: (utc_now(), False), device=trust.vehicle
            )
        except AlprdError as error:
            log.error("the queue cannot be read any more: %s", error.message)
        else:
            with contextlib.closing(store):
                bring_home(
                    store,
                    trust,
                    kind=marker.kind,
                    order=marker.order,
                    keys=marker.keys_destroyed,
                    seconds=last_words_s,
                )
                counts = count_lost(store)
    certificate = WipeCertificate(
        agency=trust.agency,
        vehicle=trust.vehicle,
        reader=trust.reader,
        enrolment=marker.enrolment,
        serial=new_id(),
        kind=marker.kind,
        order=marker.order,
        by=marker.by,
        reason=marker.reason,
        at=utc_now(),
        at_trusted=marker.at_trusted,
        keys_destroyed=marker.keys_destroyed,
        keys_last=_LAST_KEYS,
        method=METHOD,
        version=__version__,
        **counts,
    )
    return marker.model_copy(
        update={"certificate": sign_document("wipe", certificate, trust.batch_key)}
    )


def _write(state_dir: Path, marker: Marker) -> None:
    try:
        write_secret(state_dir / MARKER, marker.model_dump_json().encode())
    except OSError as error:
        raise StoreError(
            f"{state_dir / MARKER}: {error.strerror}", remedy="check the disk: alprd doctor"
        ) from error
