"""Orders that central gives this very car: today one, to destroy its keys and data (R-CJIS-5).

A lost or stolen car that reaches central once more is told to kill itself. The order is signed by
central's receipt key and bound to agency, vehicle, the enrolment (by the id of the car's batch
key) and the nonce of the question, so that nobody can play it to another car, or to this one once
it has been found and enrolled again. What follows from it is in :mod:`alprd.retire`.
"""

from __future__ import annotations

import secrets
from typing import Final

import httpx

from alprd.crypto import SignedDocument, key_id, verify_document
from alprd.errors import SignatureError
from alprd.outbound import RefusedByCentralError, ask_signed
from alprd.trust import Trust
from alprd.wire import Orders

_UNKNOWN: Final = 404
"""A central of an earlier version has no orders to give."""


def check_orders(document: SignedDocument, trust: Trust, nonce: str) -> Orders:
    """The orders in a document, if central gave them to this car, now.

    Raises:
        SignatureError: forged, for another car or enrolment, or a replay.
    """
    orders = verify_document(document, "orders", trust.receipt_key, Orders)
    if (orders.agency, orders.vehicle) != (trust.agency, trust.vehicle):
        raise SignatureError("orders are for another car")
    if orders.enrolment != key_id(trust.batch_key):
        raise SignatureError("orders are for another enrolment of this car (replay)")
    if orders.nonce != nonce:
        raise SignatureError("orders are not the answer to this question (replay)")
    if (orders.kill is None) != (orders.ordered is None):
        raise SignatureError("orders do not fit together")
    return orders


def ask_orders(client: httpx.Client, trust: Trust) -> Orders | None:
    """What central orders now; None when it knows of no orders at all.

    Raises:
        SyncError: central cannot be reached or refuses.
        SignatureError: see :func:`check_orders`.
    """
    nonce = secrets.token_hex(16)
    try:
        document = ask_signed(client, "GET", f"/v1/orders?nonce={nonce}")
    except RefusedByCentralError as error:
        if error.status == _UNKNOWN:
            return None
        raise
    return check_orders(document, trust, nonce)
