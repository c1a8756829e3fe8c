"""A new list out of the old one and a delta, instead of another hundred megabytes.

The car decrypts its own old target, applies the delta, encrypts the result under the new content
key, and must get exactly the bytes whose SHA-256 the signed targets metadata names: that check is
the caller's. Encryption is deterministic under a key (:mod:`alprd.targetfile`). Plaintext stands
in RAM a piece at a time and never on the disk. Whatever does not work out is no loss: the caller
fetches the whole target.
"""

from __future__ import annotations

from pathlib import Path

from alprd.delta import apply_delta
from alprd.deltatarget import unpad
from alprd.targetfile import TargetReader, TargetWriter


def patch(
    name: str,
    old: Path,
    out: Path,
    *,
    old_key: bytes,
    new_key: bytes,
    delta: bytes,
) -> str:
    """Write the new target of ``name`` to ``out``; its SHA-256 as hex.

    Args:
        old: the old target's file.
        delta: plaintext of the delta's target.

    Raises:
        EnvelopeError, InputError: it does not work out; ``out`` is worth nothing.
        StoreError: the old file cannot be read.
        OSError: the disk refuses.
    """
    with TargetReader(old, name=name, key=old_key) as source, out.open("wb") as file:
        with TargetWriter(file, name=name, key=new_key) as writer:
            apply_delta(source, unpad(delta), writer)
        file.flush()
        return writer.sha256
