"""Batches over mutual TLS into a real central."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alprd import crypto
from alprd.records import new_id
from central_world import Car, Server, make_read, run


@pytest.mark.policy("R-460.5-2")
def test_good_batch_is_stored_and_receipted(server: Server, car: Car) -> None:
    before = run(server.home, "status")
    reads = [make_read(f"GDX{n:03}") for n in range(5)]
    envelopes = [(read.id, car.seal(read)) for read in reads]
    receipt = car.send(car.batch(envelopes))
    assert [item.outcome for item in receipt.items] == ["stored"] * 5
    assert [item.sha256 for item in receipt.items] == [crypto.sha256_hex(e) for _, e in envelopes]
    after = run(server.home, "status")
    assert after["reads_held"] - before["reads_held"] == 5
    assert after["received_total"] - before["received_total"] == 5
