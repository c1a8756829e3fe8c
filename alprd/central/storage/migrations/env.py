"""What alembic runs for each command: on the connection, and for the tables, that it was given."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from alprd.central.storage import migrate
from alprd.central.storage.db import UtcTime


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Revisions are frozen: they name SQLAlchemy's own types, not ours of today."""
    if kind == "type" and isinstance(item, UtcTime):
        return "sa.DateTime()"
    return False


def _ours(item: Any, name: str | None, kind: str, reflected: bool, _: Any) -> bool:
    del name
    return migrate.is_ours(context.config.attributes["metadata"], item, kind, reflected)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    version_table=context.config.attributes["version_table"],
    transactional_ddl=True,  # SQLite too: our transactions begin by a statement of ours
    render_as_batch=True,  # SQLite alters a table by writing it anew
    render_item=_render,
    include_object=_ours,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
