"""The matrix of roles and acts: equal to the approved one, complete, and the only one."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alprd.central.staff import people, permissions
from alprd.central.staff.permissions import ROLES, TABLE, Act
from alprd.errors import RefusedError
from alprd.wire import Person

ROOT = Path(__file__).parents[2]
CENTRAL = ROOT / "alprd" / "central"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def someone(*roles: str, trained: int = 30, authorised: int = 30) -> Person:
    return Person(
        id="ida",
        name="Ida Example",
        roles=roles,
        verifier="none",
        training_expires=NOW + timedelta(days=trained),
        authorised_until=NOW + timedelta(days=authorised),
        clearances=(),
    )


@pytest.mark.policy("R-13.824-7-3", "R-460.3-3")
def test_the_matrix_of_the_code_is_the_approved_one() -> None:
    """R-13.824-7-3: generated from code, equal to the matrix in docs."""
    approved = (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8")
    assert permissions.matrix() == approved, "alprd-central permissions > docs/permissions.md"
    for act in Act:
        assert f"| {act.value} |" in approved


@pytest.mark.policy("R-13.824-7-3", "R-13.824-7-1", "R-460.4-d")
@pytest.mark.parametrize("act", Act)
def test_an_act_is_done_by_its_roles_only_and_only_while_they_are_live(act: Act) -> None:
    """R-13.824-7-3, R-13.824-7-1, R-460.4-d: role, live training and live authorisation."""
    assert TABLE[act] <= set(ROLES)
    for role in (*ROLES, "service", "root", ""):
        if role in TABLE[act]:
            people.require(someone(role), act, NOW)
            for late in ({"trained": 0}, {"authorised": 0}):
                with pytest.raises(RefusedError, match="expired"):
                    people.require(someone(role, **late), act, NOW)
        else:
            with pytest.raises(RefusedError, match="role"):
                people.require(someone(role), act, NOW)


@pytest.mark.policy("R-13.824-7-3", "R-13.05-1")
def test_what_the_table_does_not_name_nobody_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-13.824-7-3: deny by default."""
    monkeypatch.delitem(TABLE, Act.SEARCH)
    assert permissions.roles(Act.SEARCH) == frozenset()
    with pytest.raises(RefusedError, match="role"):
        people.require(someone(*ROLES), Act.SEARCH, NOW)


@pytest.mark.policy("R-460.6-0")
def test_the_auditor_searches_nothing_and_changes_nothing() -> None:
    """Requirements, part 0: read-only, no plate search; R-460.6-0: least privilege."""
    reads = {Act.PAGES, Act.LISTS_SEE, Act.ENTRY_REGISTER, Act.PEOPLE_SEE, Act.TRAIL_EXPORT}
    reads |= {Act.EXEMPTIONS_SEE, Act.CARS_SEE, Act.READERS_SEE}
    reads |= {
        Act.AUDIT_PACKAGE,
        Act.AUDIT_SAMPLE,
        Act.COMPLIANCE_SEE,
        Act.INCIDENT_SEE,
        Act.RELEASE_SEE,
        Act.OUTSIDE_SEE,
    }
    reads |= {Act.EXEMPTIONS_SEE, Act.TRAIL_SEE, Act.TRAIL_TERMS, Act.BASIS_REGISTER}
    reads |= {Act.TRANSFERS_SEE, Act.REPORT_SIGN, Act.REASONS_REVIEW}  # audit actions
    assert {act for act in Act if "auditor" in TABLE[act]} <= reads
    assert all("operator" not in TABLE[act] for act in Act)


@pytest.mark.policy("R-13.824-7-3")
def test_no_other_module_keeps_roles_of_its_own() -> None:
    """R-13.824-7-3: one table; a set of role names elsewhere would be a second one."""
    for path in CENTRAL.rglob("*.py"):
        if path.name == "permissions.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Set | ast.Tuple | ast.List):
                named = {n.value for n in node.elts if isinstance(n, ast.Constant)}
                found = named & (set(ROLES) - {"records"})
                assert not found, f"{path.name}:{node.lineno} names roles: {found}"


def test_nobody_decides_about_what_is_his_own() -> None:
    permissions.not_own("ida", "dana", "approves a request")
    with pytest.raises(RefusedError, match="nobody approves a request of his own") as caught:
        permissions.not_own("ida", "ida", "approves a request", remedy="ask dana")
    assert (caught.value.reason, caught.value.remedy) == ("same_person", "ask dana")
