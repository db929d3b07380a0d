"""The terminal table: one line per claim, then remarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loraml_theory.harness.errors import one_line
from paper_checks.claim import AnyClaim, Verdict
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.phrasing import expected, headline, measured
from paper_checks.legend import GROUPS
from paper_checks.mutation.noticed import Matrix, Notice
from paper_checks.notation import unicode
from paper_checks.verify import ClaimResult, Run

Item = TypeVar("Item")
LOOKS = {
    Verdict.SUPPORTED: ("✓", "supported", "green"),
    Verdict.REFUTED: ("✗", "refuted", "bold red"),
    Verdict.ASSUMPTIONS_NOT_MET: ("–", "not met", "cyan"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive", "yellow"),
}


NOTICES = {
    Notice.REFUTED: "✗",
    Notice.WITHHELD: "?",
    Notice.MISSED: "c",
    Notice.CRASHED: "!",
    Notice.SUPPORTED: "·",
    Notice.NOTHING: "",
}


def show_run(console: Console, run: Run, report: str) -> None:
    """Print the table of verdicts, the reasons that matter, and the report's path."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("claim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("", ratio=1, min_width=24)
    table.add_column("controls", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for title, results in by_group(run.claims, lambda result: result.claim.group):
        if title:
            table.add_row("", "", Text(title, "dim italic"))
        for result in results:
            table.add_row(*_row(result))
    for fact in run.facts:
        said = Text(f"{unicode(fact.what)}: ") + Text(fact.value, "bold")
        console.print(said + Text(f"  {unicode(fact.beside)}", "dim"))
    if run.facts:
        console.print()
    console.print(table)
    for result in run.claims:
        for sentence in _worth_saying(result):
            console.print(Text(f"\n{result.claim.id}  ", "bold") + Text(one_line(sentence), "default"))
    for sentence in run.real.get("summary", []):
        console.print(Text("\nreal data  ", "bold") + Text(one_line(sentence), "default"))
    if run.mutants is not None:
        _show_mutants(console, run.mutants)
    for note in run.notes:
        console.print(Text(f"\n{one_line(note)}.", "dim"))
    console.print(Text(f"\n{summary(run)}. Report: {one_line(report)}"), soft_wrap=True)


def by_group(items: Sequence[Item], group: Callable[[Item], str]) -> list[tuple[str, list[Item]]]:
    """Return runs of items of one group under its title, or all under no title where there is only one group."""
    found = [(GROUPS[name], list(some)) for name, some in groupby(items, group)]
    return found if len(found) > 1 else [("", list(items))]


def summary(run: Run) -> str:
    """Count the verdicts and the controls, as in '12 supported, 1 refuted; 30 of 30 controls refuted'."""
    counts = Counter(result.verdict for result in run.claims)
    verdicts = ", ".join(f"{counts[v]} {str(v).replace('_', ' ')}" for v in Verdict if counts[v])
    controls = [control for result in run.claims for control in result.controls]
    refuted = sum(control.verdict is Verdict.REFUTED for control in controls)
    caught = ""
    if run.mutants is not None:
        found = run.mutants.mutants
        caught = f"; {sum(mutant.caught for mutant in found)} of {len(found)} mutants caught"
    return f"{verdicts}; {refuted} of {len(controls)} controls refuted{caught}"


def _show_mutants(console: Console, found: Matrix) -> None:
    """Print the matrix of mutants and claims, with a legend."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("mutant", ratio=1, min_width=14)
    for id_ in found.unmutated:
        table.add_column(id_.replace("-", "\n"), justify="center", no_wrap=True)
    rows: list[tuple[str, Mapping[str, Notice], tuple[str, ...], bool]] = [("none", found.unmutated, (), True)]
    rows += [(mutant.what, mutant.notices, mutant.noticed_by, mutant.caught) for mutant in found.mutants]
    for what, notices, must, caught in rows:
        signs = [
            Text(NOTICES[notices[id_]] if id_ in notices else "", "bold" if id_ in must else "dim")
            for id_ in found.unmutated
        ]
        table.add_row(Text(one_line(what), "default" if caught else "bold red"), *signs)
    console.print()
    console.print(table)
    said = "✗ refuted, ? no longer supported, c a control is not refuted, ! cannot run, · not noticed"
    console.print(Text(said, "dim"))
    for mutant in found.mutants:
        if not mutant.caught:
            console.print(Text(f"Mutant not caught by {', '.join(mutant.noticed_by)}: {one_line(mutant.what)}."))
    if any(notice not in (Notice.SUPPORTED, Notice.NOTHING) for notice in found.unmutated.values()):
        console.print(Text("Without a mutation the checks do not support every claim, as they must."))


def show_list(console: Console, claims: Sequence[AnyClaim[Any]]) -> None:
    """Print every claim with its statement, assumptions and source."""
    for title, some in by_group(claims, lambda claim: claim.group):
        if title:
            console.print(Text(f"{title}\n", "bold underline"))
        _show_some(console, some)


def _show_some(console: Console, claims: Sequence[AnyClaim[Any]]) -> None:
    for claim in claims:
        _show_head(console, claim)
        assumptions = "; ".join(unicode(assumption.what) for assumption in claim.assumptions) or "none"
        _show_field(console, "needs", assumptions)
        _show_field(console, "source", claim.source)
        console.print()


def show_claims(console: Console, claims: Sequence[AnyClaim[Any]]) -> None:
    """Print claims in full, with the false statements that their checks must refute."""
    for claim in claims:
        _show_head(console, claim)
        for assumption in claim.assumptions:
            _show_field(console, "needs", unicode(assumption.what))
        for control in claim.controls:
            _show_field(console, "refutes", control.what)
        _show_field(console, "source", claim.source)
        console.print()


def one_row(result: ClaimResult) -> str:
    """Return a claim's verdict and its key quantity in one line, as it comes."""
    sign, word, _ = LOOKS[result.verdict]
    item = headline(result.evidence, result.claim.keys)
    return f"{sign} {result.claim.id} {word}{f': {_value(item)}' if item else ''}"


def _row(result: ClaimResult) -> list[Text]:
    sign, word, style = LOOKS[result.verdict]
    item = headline(result.evidence, result.claim.keys)
    refuted = sum(control.verdict is Verdict.REFUTED for control in result.controls)
    controls = f"{refuted}/{len(result.controls)}" if result.controls else ""
    return [
        Text(result.claim.id, "bold"),
        Text(f"{sign} {word}", style),
        Text(unicode(result.claim.title)) + Text(f"\n{_value(item)}" if item else "", "dim"),
        Text(controls, "default" if refuted == len(result.controls) else "bold red"),
        Text(f"{result.seconds:.0f}", "dim"),
    ]


def _value(item: Evidence) -> str:
    """Name the value and compare it with its prediction."""
    return f"{unicode(item.key or item.what)}: {measured(item)}, expected {expected(item)}"


def _worth_saying(result: ClaimResult) -> list[str]:
    said_by_the_table = result.verdict is Verdict.SUPPORTED and result.claim.nature == "theorem"
    sentences = [] if said_by_the_table else [result.reason]
    for control in result.controls:
        if control.verdict is not Verdict.REFUTED:
            said = str(control.verdict).replace("_", " ")
            sentences.append(f"Control not refuted but {said} on {control.instance}: {control.what}.")
    return sentences


def _show_head(console: Console, claim: AnyClaim[Any]) -> None:
    console.print(Text(f"{claim.id}  {unicode(claim.title)}", "bold") + Text(f"  {claim.nature}", "dim"))
    _show_field(console, "", unicode(claim.statement))


def _show_field(console: Console, name: str, text: str) -> None:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=8, style="dim")
    table.add_column()
    table.add_row(name, Text(text))
    console.print(table)
