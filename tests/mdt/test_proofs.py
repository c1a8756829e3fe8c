"""The table of docs/mdt-proofs.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "mdt-proofs.md"


def test_every_proof_that_the_docs_name_is_there() -> None:
    named = re.findall(r"`([./\w]+\.py)::(\w+)`", TABLE.read_text())
    assert len(named) > 35
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"\ndef {test}(" not in (HERE / file).read_text()
    ]
    assert missing == []
