"""The command that shows which rule is held by which tests, itself held by tests."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.errors import AlprdError, InputError
from policycheck import mutate, registry, verdict
from policycheck.registry import Rule
from tests.conftest import ROOT

_TESTS = """
import pytest

@pytest.mark.policy("R-1", "R-2")
def test_good(): pass

@pytest.mark.policy("R-2")
def test_bad(): assert False

@pytest.mark.policy("R-3")
def test_torn(broken): pass

@pytest.mark.policy("R-4")
@pytest.mark.skip(reason="not here")
def test_skipped(): pass

@pytest.fixture
def broken():
    yield
    raise RuntimeError
"""


def _rule(**changes: object) -> Rule:
    return Rule.model_validate({"rule": "r", "where": (), "evidence": "e", **changes})


def _pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "policycheck.plugin", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    policy: rules\n")
    (tmp_path / "test_small.py").write_text(_TESTS)
    yield tmp_path


def test_outcomes_are_written_rule_by_rule(small: Path) -> None:
    _pytest(small, "--policy-results", "out/results.json")
    assert json.loads((small / "out" / "results.json").read_text()) == {
        "R-1": {"test_small.py::test_good": "passed"},
        "R-2": {"test_small.py::test_bad": "failed", "test_small.py::test_good": "passed"},
        "R-3": {"test_small.py::test_torn": "failed"},
        "R-4": {"test_small.py::test_skipped": "skipped"},
    }


def test_one_rule_alone(small: Path) -> None:
    assert _pytest(small, "--policy-id", "R-1").returncode == 0
    assert _pytest(small, "--policy-id", "R-2").returncode == 1


def test_a_rule_falls_short_without_a_passing_test() -> None:
    rules = {
        "R-held": _rule(),
        "R-failed": _rule(),
        "R-bare": _rule(),
        "R-skipped": _rule(),
        "R-people": _rule(procedure="docs/x.md"),
        "R-open": _rule(open="not built yet"),
    }
    results = {
        "R-held": {"a": "passed", "b": "skipped"},
        "R-failed": {"a": "passed", "b": "failed"},
        "R-skipped": {"a": "skipped"},
        "R-open": {"a": "passed"},
        "R-stranger": {"a": "passed"},
    }
    short = {item.id: item.short for item in verdict.judge(rules, results)}
    assert short == {
        "R-held": "",
        "R-failed": "1 of its tests failed",
        "R-bare": "no test is marked with it",
        "R-skipped": "its tests did not run",
        "R-people": "",
        "R-open": "not built yet",
    }
    assert verdict.unknown(rules, results) == ["R-stranger"]


def test_every_rule_names_files_that_exist_and_open_ones_say_so() -> None:
    rules = registry.load()
    assert len(rules) == 117
    assert registry.missing(rules) == []
    assert [name for name, rule in rules.items() if not rule.where and not rule.open] == []


def test_every_rule_has_a_marked_test_or_a_procedure() -> None:
    """By the source of the tests: a mark that nobody set shows before the long run does."""
    marked: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.policy":
                marked |= {str(ast.literal_eval(argument)) for argument in node.args}
    rules = registry.load()
    assert [name for name, rule in rules.items() if name not in marked | _people(rules)] == []
    assert sorted(marked - set(rules) - verdict.TENSIONS) == []


def _people(rules: dict[str, Rule]) -> set[str]:
    """Rules that a document helps people to keep."""
    return {name for name, rule in rules.items() if rule.procedure}


def test_a_rule_with_a_slip_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('["R-9"]\nrule = "x"\nwhere = []\nevidense = ""\n')
    with pytest.raises(InputError, match="R-9"):
        registry.load(path)


def test_every_mutation_still_finds_its_line() -> None:
    mutations = mutate.load()
    assert len(mutations) >= 10
    assert set(mutations) <= set(registry.load())
    for mutation in mutations.values():
        text = (ROOT / mutation.file).read_text(encoding="utf-8")
        assert mutate.apply(mutation, text) != text
        assert all((ROOT / name).is_file() for name in mutation.tests)


def test_a_line_that_moved_is_told() -> None:
    mutation = next(iter(mutate.load().values()))
    with pytest.raises(InputError, match="0 times"):
        mutate.apply(mutation, "nothing of it")


def test_a_mutation_is_made_in_a_copy_and_turns_its_tests_red(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "law.py").write_text("def most():\n    return 60\n")
    (root / "pytest.ini").write_text("[pytest]\nmarkers =\n    policy: rules\n    slow: slow\n")
    (root / "test_law.py").write_text(
        "import law, pytest\n\n"
        '@pytest.mark.policy("R-1")\ndef test_most():\n    assert law.most() == 60\n\n'
        '@pytest.mark.policy("R-2")\ndef test_nothing():\n    pass\n'
    )
    with pytest.raises(AlprdError, match="git checkout"):
        mutate.run([], tmp_path / "work", root=root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "policycheck").mkdir()
    for name in ("__init__.py", "plugin.py"):
        (root / "policycheck" / name).write_bytes((ROOT / "policycheck" / name).read_bytes())

    def mutation(name: str) -> tuple[str, mutate.Mutation]:
        made = mutate.Mutation(file="law.py", find="60", replace="61", tests=("test_law.py",))
        return name, made

    caught, slept = mutate.run([mutation("R-1"), mutation("R-2")], tmp_path / "work", root=root)
    assert caught.caught
    assert not slept.caught  # R-2's test does not look at the line
    assert "60" in (root / "law.py").read_text()
