"""Errors as a person and as a program see them: what is wrong, a remedy, never a bare word."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from mdt.chromium import CHROMIUM, SCREEN, browser, page, shot
from mdt.chromium import sign_on as sign_on_page
from mdt.conftest import SignOn
from mdt.test_flows import axe
from mdt.world import Car

__all__ = ["axe", "browser", "page"]
PAGE = {"Accept": "text/html"}
CASES = {
    "no_such_page": ("GET", "/nowhere", 404),
    "no_such_file": ("GET", "/static/nothing.js", 404),
    "no_such_act": ("PUT", "/shift", 405),
    "no_picture": ("GET", "/alerts/none/plate.jpg", 404),
    "csrf": ("POST", "/sign-off", 403),
    "cross_site": ("POST", "/sign-off", 403),
    "too_large": ("POST", "/sign-off", 413),
    "wrong_host": ("GET", "/", 421),
}


@pytest.mark.parametrize("case", CASES)
def test_every_error_has_a_remedy_and_the_style_of_the_page(
    client: httpx.Client, sign_on: SignOn, case: str
) -> None:
    sign_on()
    method, path, status = CASES[case]
    more = {
        "csrf": {"X-CSRF-Token": "wrong"},
        "cross_site": {"Sec-Fetch-Site": "cross-site"},
        "wrong_host": {"Host": "elsewhere.example"},
    }.get(case, {})
    code = "no_such_page" if case == "no_such_file" else case
    body = b"note=" + b"x" * 20_000 if case == "too_large" else None
    told = client.request(method, path, headers=more, content=body)
    assert told.status_code == status
    said = told.json()
    assert said["error"] == code
    assert said["message"].endswith(".")
    assert said["remedy"]
    shown = client.request(method, path, headers=PAGE | more, content=body)
    assert shown.status_code == status
    assert shown.headers["content-type"].startswith("text/html")
    assert said["message"] in shown.text
    assert 'data-theme="night"' in shown.text  # no white flash
    assert "Traceback" not in shown.text + told.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    if status == 405:
        assert told.headers["allow"] == "GET"


@pytest.mark.policy("R-AT-4")
def test_a_failure_inside_tells_nothing_of_itself(
    served: Car,
    sign_on: SignOn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault of ours: the page goes on; its words reach neither the answer nor the log."""

    def breaks() -> list[str]:
        raise ValueError("ZQX417")

    base = served.address
    with httpx.Client(
        base_url=base, trust_env=False, headers={"Accept": "application/json"}
    ) as one:
        sign_on(by=one)
        monkeypatch.setattr(served.board, "unresolved", breaks)
        for headers in ({}, PAGE):
            answer = one.get("/shift", headers=headers)
            assert answer.status_code == 500
            assert "ZQX417" not in answer.text
            assert "Traceback" not in answer.text
            assert "ALPR administrator" in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "ValueError at" in caplog.text
        assert "ZQX417" not in caplog.text  # the log is no place for plate text (R-AT-4)
        monkeypatch.undo()
        assert one.get("/shift").status_code == 200


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_mistyped_address_leads_back(page: Page, served: Car, axe: str) -> None:
    sign_on_page(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    page.goto("/alerts/none/plate.jpg")
    expect(page.get_by_role("alert")).to_contain_text("There is no such picture.")
    for theme in ("night", "day"):
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        shot(page, f"{theme}-error-1024")
        page.evaluate(axe)
        told = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
        assert [one["id"] for one in told["violations"]] == []
        page.get_by_role("button", name="Day / night").click()
    back = page.get_by_role("link", name="To the alerts")
    box = back.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 48
    page.set_viewport_size(SCREEN)
    back.press("Enter")
    expect(page.get_by_text("No alerts")).to_be_visible()
