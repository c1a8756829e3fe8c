"""Papers that belong to a record: the written request, a receipt, a letter; kept sealed.

They lie in the main database, so that a paper and the act that needs it are stored together or not
at all. The key is the keystore's; without it a backup shows a number of bytes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select

from alprd.central.storage import release_tables as tables
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import InputError
from alprd.records import new_id

MAX_BYTES: Final = 20_000_000
_PURPOSE: Final = "attachments"


def put(central: Central, tx: Connection, owner: str, name: str, content: bytes) -> str:
    """Keep a paper of a record; its SHA-256.

    Raises:
        InputError: empty, or larger than 20 MB.
    """
    if not content or len(content) > MAX_BYTES:
        raise InputError(
            f"{name.replace('_', ' ')}: the file is empty or larger than 20 MB",
            remedy="attach the document as it came (scan, PDF or text)",
        )
    made = new_id()
    tx.execute(
        insert(tables.attachments).values(
            id=made,
            owner=owner,
            name=name,
            sealed=seal(central.keystore.purpose_key(_PURPOSE), content, _aad(made)),
        )
    )
    return sha256_hex(content)


def get(central: Central, tx: Connection, owner: str, name: str) -> bytes:
    """The paper of that name; the caller records the look.

    Raises:
        InputError: there is none.
        EnvelopeError: it was altered.
    """
    table = tables.attachments
    row = tx.execute(
        select(table.c.id, table.c.sealed).where(table.c.owner == owner, table.c.name == name)
    ).first()
    if row is None:
        raise InputError(f"there is no {name.replace('_', ' ')} on file")
    return unseal(central.keystore.purpose_key(_PURPOSE), row.sealed, _aad(row.id))


def _aad(attachment: str) -> bytes:
    return f"attachment {attachment}".encode()
