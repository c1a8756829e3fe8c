"""Forms of cars, orders, readers and long work, sent over HTTP: each finds its event."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from central_world import AGENCY, Server, enrol
from test_vehicles import certificate
from trail_world import Forms, day, ids, local, sends

from alprd import crypto
from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
WHY = {"reason": "Report 26-1", "reference": "Letter 1"}


@sends({"/jobs": (Event.DESTROYED, Event.PUBLISHED)}, "/")
def test_forms_of_long_work(forms: Forms) -> None:
    """Whoever orders the destruction stands in the trail, also where nothing was due (R-AT-1)."""
    forms.send("dana", "/jobs", Event.DESTROYED, kind="purge")
    forms.send("dana", "/jobs", Event.PUBLISHED, kind="publish")
    forms.page("dana", "/")


@sends(
    {
        "/readers": (Event.READER_RECORDED, Event.BCA_SENT, Event.BCA_CHECKED),
        "/fixed-locations": (Event.PLACE_RECORDED,),
    },
    "/readers", "/readers/receipts/{notice}", "/fixed-locations",
    "/fixed-locations/{entry}/court",
)  # fmt: skip
def test_forms_of_readers(forms: Forms) -> None:
    forms.send("dana", "/readers", Event.READER_RECORDED, act="add", device="post-9", kind="fixed",
               what="A camera on a post", which="installed", day=day())  # fmt: skip
    at = "/fixed-locations"
    forms.send("dana", at, Event.PLACE_RECORDED, act="place", device="post-9", kind="fixed",
               at="Highway 10 at County Road 6, east side", since=day())  # fmt: skip
    page = forms.page("dana", at)
    [entry] = set(re.findall(r'name="entry" value="([^"]+)"', page))
    forms.send("sher", at, Event.PLACE_RECORDED, act="withhold", entry=entry, review=day(60),
               reason="The operation of the camera would be impaired by showing its place.",
               section="13.82 subd. 25", explanation="Withheld under section 13.82.")  # fmt: skip
    forms.page("sher", f"{at}/{entry}/court")
    forms.send("sher", at, Event.PLACE_RECORDED, act="show", entry=entry, reason="No more needed.")
    forms.send("dana", at, Event.PLACE_RECORDED, act="leave", entry=entry, day=day())
    duty = re.findall(r'<option value="([^"]*post-9[^"]*)"', forms.page("dana", "/readers"))
    assert duty, "a new place is told to the BCA"
    forms.send("dana", "/readers", Event.BCA_SENT, files={"receipt": ("r.txt", b"sent")},
               act="sent", duty=duty[0], at=local(-1), sent_by="Dana", how="letter",
               reference="BCA-1")  # fmt: skip
    notice = ids(forms.page("dana", "/readers"), "/readers/receipts")[0]
    forms.page("dana", f"/readers/receipts/{notice}")
    forms.send("dana", "/readers", Event.BCA_CHECKED, act="check", note="Compared today.",
               published="Test\nFixed or stationary locations: N/A\n")  # fmt: skip


@sends(
    {
        "/suspension": (
            Event.SUSPENSION_ORDERED, Event.SUSPENSION_LIFTED, Event.ORDER_ISSUED,
        ),
    }
)  # fmt: skip
def test_forms_of_the_suspension(forms: Forms) -> None:
    why = {**WHY, "confirm": AGENCY}
    for event in (Event.SUSPENSION_ORDERED, Event.ORDER_ISSUED):  # the order, and each car's own
        forms.send("sher", "/suspension", event, act="suspend", **why)
        serial = re.search(r'name="serial" value="([^"]+)"', forms.page("sher", "/suspension"))
        assert serial
        forms.send("sher", "/suspension", Event.SUSPENSION_LIFTED, act="lift", serial=serial[1],
                   **why)  # fmt: skip


@sends(
    {
        "/cars": (Event.CODE_ISSUED,),
        "/cars/{car}": (
            Event.ORDER_ISSUED, Event.SUSPENSION_ORDERED, Event.SUSPENSION_LIFTED,
            Event.KILL_ORDERED, Event.REVOKED, Event.RETIRED, Event.PUBLISHED, Event.WIPED,
        ),
    },
    "/cars", "/cars/{car}",
)  # fmt: skip
def test_forms_of_cars(forms: Forms, server: Server, tmp_path: Path) -> None:
    forms.send("dana", "/cars", Event.CODE_ISSUED, vehicle="car-9", reader="9")
    route, at = "/cars/{car}", "/cars/car-1"
    forms.page("dana", "/cars")
    why = {**WHY, "confirm": "car-1"}
    forms.send("sher", route, Event.ORDER_ISSUED, url=at, act="freeze", since=local(-60),
               until=local(0), **why)  # fmt: skip
    serial = re.search(r'name="serial" value="([^"]+)"', forms.page("sher", at))
    assert serial
    forms.send("sher", route, Event.ORDER_ISSUED, url=at, act="thaw", serial=serial[1], **why)
    forms.send("sher", route, Event.SUSPENSION_ORDERED, url=at, act="suspend", **why)
    forms.send("sher", route, Event.SUSPENSION_LIFTED, url=at, act="lift", **why)
    forms.send("dana", route, Event.KILL_ORDERED, url=at, act="kill", **why)
    forms.send("dana", route, Event.REVOKED, url=at, act="revoke", **why)
    forms.send("dana", route, Event.RETIRED, url=at, act="retire", **why)
    wiped = enrol(server, tmp_path / "car-2", "car-2", "2")
    why["confirm"] = "car-2"
    forms.send("dana", route, Event.PUBLISHED, url="/cars/car-2", act="revoke", **why)
    paper = crypto.sign_document("wipe", certificate(wiped, kind="retired"), wiped.batch_key)
    file = {"certificate": ("wiped.json", paper.model_dump_json().encode())}
    forms.send("dana", route, Event.WIPED, url="/cars/car-2", act="retire", files=file, **why)
