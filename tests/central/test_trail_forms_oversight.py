"""Forms of audits, incidents, compliance and openness, sent over HTTP: each finds its event."""

from __future__ import annotations

import re

import pytest
from central_world import PASSWORD, run, wait_until
from trail_world import OTHER, WORDS, Forms, day, ids, local, sends

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
PAPER = ("paper.txt", b"(invented)")


@sends({"/compliance": (Event.COMPLIANCE_SIGNED,)}, "/compliance")
def test_forms_of_compliance(forms: Forms) -> None:
    run(forms.home, "compliance", "run")
    told = run(forms.home, "compliance", "list", "--by", "dana", stdin=f"{PASSWORD}\n")
    found = told["reports"][0]["report"]["day"]
    forms.send("dana", "/compliance", Event.COMPLIANCE_SIGNED, day=found, note=WORDS)
    forms.page("dana", "/compliance")


@sends(
    {
        "/openness": (
            Event.SOURCE_HIDDEN, Event.SOURCE_SHOWN, Event.REDACTION_SET, Event.CASE_PROTECTED,
            Event.PUBLIC_TRAIL_EXPORTED,
        ),
    }
)  # fmt: skip
def test_forms_of_openness(forms: Forms) -> None:
    for act, event in (("hide", Event.SOURCE_HIDDEN), ("show", Event.SOURCE_SHOWN)):
        forms.send("dana", "/openness", event, act=act, source="LPDF", citation="§ 13.82",
                   reason=WORDS)  # fmt: skip
    forms.send("dana", "/openness", Event.REDACTION_SET, act="redact", field="plate",
               treatment="public", citation="Opinion of 18 May", reason=WORDS)  # fmt: skip
    for act in ("protect", "unprotect"):
        forms.send("dana", "/openness", Event.CASE_PROTECTED, act=act, case="26001234",
                   citation="§ 13.82, subd. 7", reason=WORDS)  # fmt: skip
    forms.send("rec", "/openness", Event.PUBLIC_TRAIL_EXPORTED, act="export", since=day(-1),
               until=day())  # fmt: skip


@sends(
    {
        "/audits": (Event.AUDIT_ENTERED, Event.AUDIT_REPORTED),
        "/audits/package": (Event.AUDIT_PACKAGED,),
        "/audits/sample": (Event.AUDIT_SAMPLED,),
        "/assessments": (Event.ASSESSMENT_FILED,),
    },
    "/audits/package/{package}", "/assessments/{assessment}",
)  # fmt: skip
def test_forms_of_audits_and_assessments(forms: Forms) -> None:
    forms.send("dana", "/audits", Event.AUDIT_ENTERED, act="enter", files={"results": PAPER},
               auditor_name="K. Auditor, CPA (invented)", reference="Letter 26-117",
               since=day(-760), until=day(-50), completed=day(-20))  # fmt: skip
    audit = re.search(r'<option value="([0-9a-f]{32})"', forms.page("dana", "/audits"))
    assert audit
    forms.send("dana", "/audits", Event.AUDIT_REPORTED, act="reported", audit=audit[1], day=day(),
               to="Commissioner of Administration")  # fmt: skip
    span = {"since": day(-30), "until": day(1)}
    job = forms.send("aud", "/audits/package", Event.AUDIT_PACKAGED, **span).headers["location"]
    wait_until(lambda: ids(forms.page("aud", job), "/audits/package"), 30)
    [package] = ids(forms.page("aud", job), "/audits/package")
    forms.page("aud", f"/audits/package/{package}")
    forms.send("aud", "/audits/sample", Event.AUDIT_SAMPLED, kind="users", seed="otter", size="3",
               **span)  # fmt: skip
    forms.send("dana", "/assessments", Event.ASSESSMENT_FILED, files={"paper": PAPER},
               done=day(-2))  # fmt: skip
    [assessment] = ids(forms.page("dana", "/assessments"), "/assessments")
    forms.page("dana", f"/assessments/{assessment}")


@sends(
    {
        "/incidents": (Event.INCIDENT_OPENED,),
        "/incidents/{incident}": (
            Event.INCIDENT_COUNTED, Event.INCIDENT_DECIDED, Event.INCIDENT_DELAYED,
            Event.INCIDENT_STEP, Event.INCIDENT_NOTIFIED, Event.INCIDENT_DISPOSED,
            Event.INCIDENT_CLOSED,
        ),
    },
    "/incidents", "/incidents/{incident}", "/incidents/{incident}/plates",
    "/incidents/{incident}/report",
)  # fmt: skip
def test_forms_of_incidents(forms: Forms) -> None:
    made = forms.send("dana", "/incidents", Event.INCIDENT_OPENED, kind="insider", what=WORDS,
                      discovered=local(-60))  # fmt: skip
    at = str(made.headers["location"])

    def act(name: str, event: Event, **data: str) -> None:
        forms.send("dana", "/incidents/{incident}", event, url=at, act=name, **data)

    act("count", Event.INCIDENT_COUNTED, since=local(-90), until=local(1), person="ida")
    forms.page("dana", "/incidents")
    forms.page("dana", f"{at}/plates")
    act("decide", Event.INCIDENT_DECIDED, acquired="yes", not_public="yes", compromised="yes",
        reason=WORDS)  # fmt: skip
    act("delay", Event.INCIDENT_DELAYED, review=day(20), reason=OTHER)
    act("dispose", Event.INCIDENT_DISPOSED, results=WORDS, disposition=OTHER,
        responsible="I. Example (invented)")  # fmt: skip
    forms.page("dana", f"{at}/report")
    act("notified", Event.INCIDENT_NOTIFIED, people="1", how="letter")
    while steps := re.findall(r'<option value="([a-z]+)"', forms.page("dana", at)):
        act("mark", Event.INCIDENT_STEP, step=steps[0], reference="Report 26-1")
    act("close", Event.INCIDENT_CLOSED, reason=WORDS)
