"""Forms of searches, legal bases, notices and the trail, sent over HTTP: each finds its event."""

from __future__ import annotations

import pytest
from trail_world import OTHER, WORDS, Forms, ids, local, sends

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
PLATE = "FRM1001"


def look() -> dict[str, str]:
    """The form of a documented search."""
    return {
        "case": "26001234", "offence": "burglary", "purpose": "criminal", "facts": WORDS,
        "suspicion": OTHER, "since": local(-60), "until": local(1), "plate": PLATE,
    }  # fmt: skip


@sends(
    {
        "/search": (Event.SEARCHED, Event.SEARCH_STOPPED, Event.SEARCH_REFUSED),
        "/trail/{seq}/term": (Event.TERMS_VIEWED,),
        "/trail/verify": (Event.TRAIL_VERIFIED,),
        "/trail/export": (Event.TRAIL_EXPORTED,),
    },
    "/search/{seq}", "/search/{seq}/{read}", "/trail",
)  # fmt: skip
def test_forms_of_searches_and_the_trail(forms: Forms) -> None:
    forms.send("ida", "/search", Event.SEARCH_REFUSED, status=400, **look() | {"facts": "Van."})
    for _ in range(2):
        done = forms.send("ida", "/search", Event.SEARCHED, **look())
    seq = done.headers["location"].rpartition("/")[2]
    forms.page("ida", f"/search/{seq}")
    forms.page("ida", f"/search/{seq}/{forms.reads[1].id}")
    forms.page("aud", "/trail?person=ida")
    # The third of one plate in thirty days stops for a legal basis.
    forms.send("ida", "/search", Event.SEARCH_STOPPED, status=403, **look())
    forms.send("aud", "/trail/{seq}/term", Event.TERMS_VIEWED, url=f"/trail/{seq}/term")
    forms.send("aud", "/trail/verify", Event.TRAIL_VERIFIED)
    forms.send("aud", "/trail/export", Event.TRAIL_EXPORTED, person="ida", cars="yes")


@sends(
    {
        "/bases": (Event.WARRANT_ENTERED, Event.EXIGENCY_ASKED),
        "/bases/{basis}": (Event.EXIGENCY_DECIDED, Event.BASIS_WITHDRAWN),
        "/notices/{notice}": (Event.NOTICE_ANSWERED,),
    },
    "/bases", "/notices",
)  # fmt: skip
def test_forms_of_legal_bases_and_notices(forms: Forms) -> None:
    """The review is a form of ``test_trail_past.py``."""
    basis = {"case": "26001234", "plate": PLATE}
    forms.send("ida", "/bases", Event.WARRANT_ENTERED, kind="warrant", court="Seventh District",
               number="W-26-1", issued=local(-120), expires=local(2000),
               scope="Reads of this van for two days.", **basis)  # fmt: skip
    for act, event in (("find", Event.EXIGENCY_DECIDED), ("withdraw", Event.BASIS_WITHDRAWN),
                       ("refuse", Event.EXIGENCY_DECIDED)):  # fmt: skip
        if act != "withdraw":
            forms.send("ida", "/bases", Event.EXIGENCY_ASKED, kind="exigency", facts=WORDS,
                       at=local(-5), **basis)  # fmt: skip
            asked = ids(forms.page("dana", "/bases"), "/bases")[0]
        forms.send("ida" if act == "withdraw" else "dana", "/bases/{basis}", event,
                   url=f"/bases/{asked}", act=act, reason=WORDS)  # fmt: skip
    notice = ids(forms.page("dana", "/notices"), "/notices")[0]
    forms.send("dana", "/notices/{notice}", Event.NOTICE_ANSWERED, url=f"/notices/{notice}",
               answer="Looked at it with the investigator.")  # fmt: skip
