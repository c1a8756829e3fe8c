"""Leave to collect: policy, permit and roster, asked before a session and while it runs.

The permit is signed by central and short-lived, so that a suspension of all readers reaches a
car that is out of contact when its permit lapses (R-13.824-6-6). It is kept as signed, in the
store, and verified again at every boot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError

from alprd.audit import Event
from alprd.clock import Bounds
from alprd.crypto import PublicKey, SignedDocument, verify_document
from alprd.errors import RefusedError, SignatureError
from alprd.store import Store
from alprd.targets import TargetSet
from alprd.wire import Permit

log = logging.getLogger(__name__)

_META = "permit"


class PermitBook:
    """The permit in force.

    Args:
        agency, vehicle: a permit for another is refused.
        receipt_key: central's signing key.
        bounds: what certain time leaves room for (:meth:`alprd.mark.PurgeClock.bounds`); a clock
            that was set back cannot stretch a permit beyond it.
        suspended: whether an order forbids collecting, whatever the permit says
            (:attr:`alprd.orderbook.OrderBook.suspended`).
    """

    def __init__(
        self,
        store: Store,
        *,
        agency: str,
        vehicle: str,
        receipt_key: PublicKey,
        bounds: Callable[[], Bounds | None] = lambda: None,
        suspended: Callable[[], bool] = bool,
    ) -> None:
        self._suspended = suspended
        self._store = store
        self._bounds = bounds
        self._agency = agency
        self._vehicle = vehicle
        self._key = receipt_key
        self.permit: Permit | None = None
        kept = store.get_meta(_META)
        if kept is not None:
            try:
                self.permit = self._check(SignedDocument.model_validate_json(kept))
            except (SignatureError, ValidationError):
                log.error("the kept permit does not verify; the car must dock for a new one")

    def _check(self, document: SignedDocument) -> Permit:
        permit = verify_document(document, "permit", self._key, Permit)
        if (permit.agency, permit.vehicle) != (self._agency, self._vehicle):
            raise SignatureError("permit is for another car", remedy="ask central for a new one")
        return permit

    def renew(self, document: SignedDocument) -> Permit:
        """Take a permit that central signed; an older one than that in force is refused.

        Raises:
            SignatureError: it does not verify, is for another car, or is a replay.
        """
        permit = self._check(document)
        held = self.permit
        if held is not None and permit.not_before < held.not_before:
            raise SignatureError("permit is older than the one in force (replay)")
        if held is None or permit != held:
            with self._store.transaction():
                self._store.set_meta(_META, document.model_dump_json())
                self._store.record(
                    Event.PERMIT_RENEWED,
                    detail={"suspended": permit.suspended, "to": str(permit.expires)},
                )
        self.permit = permit
        return permit

    def check(self, now: datetime) -> None:
        """Refuse unless the permit is live at ``now``, and can be by certain time.

        Raises:
            RefusedError: ``no_permit``, ``suspended`` or ``permit_lapsed``.
        """
        permit, suspended = self.permit, self._suspended()
        if permit is None and not suspended:
            raise RefusedError(
                "This car has no permit to collect yet.",
                reason="no_permit",
                remedy="dock the car so that it can fetch one",
            )
        if not suspended and permit is not None and permit.reason == "notice":
            raise RefusedError(
                "This reader may not collect: its notice to the BCA is not on record "
                "(Minn. Stat. § 13.824 subd. 8).",
                reason="suspended",
                remedy="the office records the notice, then the car fetches a new permit",
            )
        if suspended or permit is None or permit.suspended:
            raise RefusedError(
                "Collection is suspended by order (Minn. Stat. § 13.824 subd. 6).",
                reason="suspended",
                remedy="collection resumes when the order is lifted and the car has docked",
            )
        bounds = self._bounds()
        surely_over = bounds is not None and bounds[0] >= permit.expires
        if surely_over or not permit.not_before <= now < permit.expires:
            raise RefusedError(
                "The permit to collect has lapsed.",
                reason="permit_lapsed",
                remedy="dock the car to renew it",
            )


def check_policy(targets: TargetSet | None, now: datetime) -> TargetSet:
    """The targets in force, if the agency's policy is adopted and effective (R-460.1-1).

    Raises:
        RefusedError: ``no_policy``, ``policy_not_effective`` or ``no_intake_key``.
    """
    if targets is None:
        raise RefusedError(
            "This car has no policy and lists yet.",
            reason="no_policy",
            remedy="dock the car so that it can fetch them",
        )
    if now < targets.policy.effective:
        raise RefusedError(
            "The adopted policy is not yet effective.",
            reason="policy_not_effective",
            remedy=f"collection may begin {targets.policy.effective:%Y-%m-%d %H:%M} UTC",
        )
    if not targets.intake_keys.keys:
        raise RefusedError(
            "Central has published no intake key, so no read could be sealed.",
            reason="no_intake_key",
            remedy="publish again at central, then dock the car",
        )
    return targets
