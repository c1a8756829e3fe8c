"""No form and no command is left out: what the trail's tests declare, against what there is.

The sections of ``test_trail_forms_*.py`` and ``test_trail_driven_*.py`` declare what they drive,
and fail when they drive anything else, or less; here the declarations are added up. So a new form,
event or command without a driver fails, and this file can run alone.
"""

from __future__ import annotations

import pytest
from trail_world import declared

from alprd.central.pages import inventory

pytestmark = pytest.mark.policy("R-AT-1", "R-AT-2")


def test_every_form_finds_every_one_of_its_events() -> None:
    posts = [entry for entry in inventory.ENTRIES if entry.method == "POST"]
    assert len(posts) > 45, "the inventory is read"
    wanted = {(entry.path, event) for entry in posts for event in entry.events}
    assert declared("test_trail_forms_*.py") == wanted
