"""The head of each chain of the trail, kept beside it under a key of the agency (R-AT-3).

A hash chain alone does not tell that its newest events are gone. Whoever writes an event writes the
head in the same transaction; whoever has no agency key cannot make one. Against an attacker who has
the key, or who puts an old state of the whole database back, the anchors help (:mod:`anchors`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select, update

from alprd.central.storage.audit_tables import audit_heads
from alprd.central.storage.keys import Keystore, mac

CENTRAL_CHAIN: Final = "central"
_PURPOSE: Final = "audit heads"


def car_chain(vehicle: str, enrolment: str) -> str:
    """Name of the chain of one enrolment of a car."""
    return f"car:{vehicle}:{enrolment}"


def put(keystore: Keystore, tx: Connection, chain: str, seq: int, digest: str) -> None:
    """Note the last event of a chain, in the transaction that writes it."""
    made = _mac(keystore, chain, seq, digest)
    mine = audit_heads.c.chain == chain
    if tx.execute(update(audit_heads).where(mine).values(seq=seq, mac=made)).rowcount == 0:
        tx.execute(insert(audit_heads).values(chain=chain, seq=seq, mac=made))


def problem(keystore: Keystore, tx: Connection, chain: str, seq: int, digest: str) -> str:
    """What is wrong with a chain that ends with this event; empty when nothing is."""
    row = tx.execute(select(audit_heads).where(audit_heads.c.chain == chain)).one_or_none()
    if row is None:
        return "" if seq == 0 else "the note of the last event is missing"
    if row.seq > seq:
        return f"events {seq + 1} to {row.seq} are missing"
    if row.seq < seq:
        return f"events {row.seq + 1} to {seq} were not written by alprd"
    if row.mac != _mac(keystore, chain, seq, digest):
        return f"event {seq} is not the one that was written"
    return ""


def names(tx: Connection) -> set[str]:
    """Every chain that has a head."""
    return set(tx.scalars(select(audit_heads.c.chain)))


def _mac(keystore: Keystore, chain: str, seq: int, digest: str) -> bytes:
    return mac(keystore.purpose_key(_PURPOSE), f"{chain} {seq} {digest}".encode())
