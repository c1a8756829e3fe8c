"""What a run of the marked tests says of each rule, as pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from policycheck.registry import Rule

Results = Mapping[str, Mapping[str, str]]
"""Rule id to test to outcome, as :mod:`policycheck.plugin` writes it."""

TENSIONS: Final = frozenset(f"T-{n}" for n in range(1, 24))
"""Where two rules pull apart and a decision was taken: marked on tests as well, but no rules."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule judged.

    Attributes:
        short: why the rule falls short; empty when it does not.
    """

    id: str
    rule: Rule
    tests: Mapping[str, str]
    short: str

    @property
    def counts(self) -> Counter[str]:
        """Tests by outcome."""
        return Counter(self.tests.values())

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.id,
            "rule": self.rule.rule,
            "where": list(self.rule.where),
            "evidence": self.rule.evidence,
            "procedure": self.rule.procedure,
            "tests": dict(self.tests),
            "short": self.short,
        }


def judge(rules: Mapping[str, Rule], results: Results) -> list[Verdict]:
    """Every rule with its tests; a rule without a passing test and without a procedure is short."""
    return [
        Verdict(name, rule, results.get(name, {}), _short(rule, results.get(name, {})))
        for name, rule in rules.items()
    ]


def unknown(rules: Mapping[str, Rule], results: Results) -> list[str]:
    """Ids on tests that are no rule: a slip of the pen would else hide a gap."""
    return sorted(set(results) - set(rules) - TENSIONS)


def _short(rule: Rule, tests: Mapping[str, str]) -> str:
    outcomes = Counter(tests.values())
    if outcomes["failed"]:
        return f"{outcomes['failed']} of its tests failed"
    if rule.open:
        return rule.open
    if outcomes["passed"]:
        return ""
    if rule.procedure and not tests:
        return ""
    return "its tests did not run" if tests else "no test is marked with it"
