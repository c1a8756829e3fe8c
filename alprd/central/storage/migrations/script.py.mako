"""${message.capitalize()}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Bring the revision before to this one; there is no way back but a backup."""
    ${upgrades if upgrades else "pass"}
