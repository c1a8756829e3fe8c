"""``python -m policycheck``: every rule, where it is enforced, its tests and their results."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from alprd.errors import AlprdError
from policycheck import mutate, registry, verdict


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--results", type=click.Path(path_type=Path), help="Judge an earlier run's file.")
@click.option("--id", "ids", multiple=True, help="Only this rule (repeatable).")
@click.option("--mutations/--no-mutations", default=True, show_default=True)
@click.option("--tests", "with_tests", is_flag=True, help="List every test of each rule.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def main(
    results: Path | None,
    ids: tuple[str, ...],
    mutations: bool,
    with_tests: bool,
    as_json: bool,
) -> None:
    """Run the tests marked with rules, judge each rule, and try the mutations.

    Exit code 1: a rule falls short, a test names an unknown rule, or a mutation was not noticed.
    """
    try:
        sys.exit(_run(results, ids, mutations, with_tests, as_json))
    except AlprdError as error:
        click.echo(f"policycheck: {error.message}; {error.remedy}", err=True)
        sys.exit(2)


def _run(
    results: Path | None, ids: tuple[str, ...], mutations: bool, with_tests: bool, as_json: bool
) -> int:
    rules = registry.load()
    for name in ids:
        if name not in rules:
            raise click.BadParameter(f"no rule {name}", param_hint="--id")
    with tempfile.TemporaryDirectory(prefix="alprd-policy-") as work:
        if results is None:
            results = Path(work) / "results.json"
            _run_tests(results, ids)
        found = json.loads(results.read_text(encoding="utf-8"))
        chosen = {name: rule for name, rule in rules.items() if not ids or name in ids}
        verdicts = verdict.judge(chosen, found)
        strangers = verdict.unknown(rules, found)
        missing = registry.missing(chosen)
        outcomes = []
        if mutations:
            tried = [(k, m) for k, m in mutate.load().items() if not ids or k in ids]
            outcomes = mutate.run(tried, Path(work), lambda name: _told(f"mutation of {name}"))
    if as_json:
        document: dict[str, Any] = {
            "rules": [item.as_json() for item in verdicts],
            "unknown": strangers,
            "missing": [f"{item.rule}: {item.path}" for item in missing],
            "mutations": [item.as_json() for item in outcomes],
        }
        click.echo(json.dumps(document))
    else:
        _show(verdicts, outcomes, with_tests)
        for name in strangers:
            click.echo(f"a test is marked with {name}, which is no rule")
        for item in missing:
            click.echo(f"{item.rule} names {item.path}, which does not exist")
    short = [item for item in verdicts if item.short]
    missed = [item for item in outcomes if not item.caught]
    _told(
        f"{len(verdicts)} rules, {len(verdicts) - len(short)} held, {len(short)} short; "
        f"{len(outcomes)} mutations, {len(missed)} not noticed"
    )
    return 1 if short or strangers or missing or missed else 0


def _told(text: str) -> None:
    click.echo(text, err=True)


def _run_tests(results: Path, ids: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "policycheck.plugin"]
    command += ["--policy-results", str(results), "-m", "policy and not slow"]
    for name in ids:
        command += ["--policy-id", name]
    # The output goes to standard error, so that --json leaves standard output to the program.
    subprocess.run(command, cwd=registry.ROOT, stdout=sys.stderr, check=False)
    if not results.exists():
        raise AlprdError("the marked tests could not be run", remedy="see pytest's message above")


def _show(
    verdicts: list[verdict.Verdict], outcomes: list[mutate.Outcome], with_tests: bool
) -> None:
    # Wide enough for whole paths also where the output goes to a file.
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("rule", "enforced in", "tests", "evidence", "falls short", show_lines=True)
    for item in verdicts:
        counts = ", ".join(f"{number} {name}" for name, number in sorted(item.counts.items()))
        tests = counts or (f"procedure: {item.rule.procedure}" if item.rule.procedure else "none")
        if with_tests:
            tests = "\n".join([tests, *(f"{name} {end}" for name, end in item.tests.items())])
        table.add_row(
            f"{item.id}\n{item.rule.rule}",
            "\n".join(item.rule.where),
            tests,
            item.rule.evidence,
            item.short,
        )
    console.print(table)
    if outcomes:
        changed = Table("mutation of", "in", "as it is", "put out of action", "noticed")
        for outcome in outcomes:
            changed.add_row(
                outcome.id,
                outcome.file,
                "green" if outcome.before == 0 else f"exit {outcome.before}",
                "red" if outcome.after == 1 else f"exit {outcome.after}",
                "yes" if outcome.caught else "NO",
            )
        console.print(changed)


if __name__ == "__main__":
    main()
