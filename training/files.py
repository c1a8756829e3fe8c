"""Files that are whole or as they were."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Write ``path`` in one step: a reader sees the old file or the new one, never a half."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)  # noqa: PTH105 - one atomic step
