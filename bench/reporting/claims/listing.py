"""Claims and findings as lists: for the terminal, as Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from bench.reporting.claims.check import ClaimResult, Section
from bench.reporting.claims.outcomes import Outcome
from bench.reporting.forensics import Finding
from bench.reporting.tables.render import escape_markdown

NOTHING = "–"
INTERVALS = (
    "In brackets: printed numbers, what their digits leave (rounded or truncated); ours, the 95 % "
    "interval over groups of cases and seeds, conditional on one split."
)


@dataclass(frozen=True)
class Listing:
    """A titled list. rows: words under the headers. facts: the same in full, a mapping per row.
    notes: lines below."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    facts: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def claims_listing(edition: str, section: Section) -> Listing:
    """The claims of one section, with the commands for missing cells numbered below."""
    commands = list(dict.fromkeys(c for result in section.results for c in result.commands))
    notes = [INTERVALS]
    notes += [f"To run [{number}]: {command}" for number, command in enumerate(commands, 1)]
    if section.unlike:
        notes.append(f"Unlike the edition: {'; '.join(section.unlike)}.")
    if section.phantoms:
        notes.append(f"{section.phantoms} cells on phantoms are stored; they test no claim.")
    rows = []
    for result in section.results:
        run = ", ".join(f"[{commands.index(command) + 1}]" for command in result.commands)
        printed = _words(result.printed) if result.printed else NOTHING
        rows.append((_claim_words(result), printed, _words(result.ours), run))
    where = " ".join(map(str, section.key)) if section.key else "no stored cell"
    return Listing(
        title=f"Claims of {edition} on {section.cells} cells ({where})",
        headers=("Claim", "Printed tables", "Our cells", "To run"),
        rows=tuple(rows),
        facts=tuple(_claim_facts(edition, section, result) for result in section.results),
        notes=tuple(notes),
    )


def _claim_words(result: ClaimResult) -> str:
    claim = result.claim
    read_as = f" Read as: {claim.read_as}." if claim.read_as else ""
    return f"{claim.id}: “{claim.quote}” ({claim.place}).{read_as}"


def _words(outcome: Outcome) -> str:
    """The verdict, the value with its interval, and what it is of."""
    text: str = outcome.verdict
    if outcome.value is not None:
        text += f": {_number(outcome.value, outcome.unit)}"
        if outcome.low is not None and outcome.high is not None and outcome.low < outcome.high:
            ends = (_number(end, outcome.unit) for end in (outcome.low, outcome.high))
            text += f" [{', '.join(ends)}]"
        text += f" {outcome.unit}"
    return f"{text}. {outcome.detail}" if outcome.detail else text


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if unit.startswith("of ") else f"{value:.2f}"
    return text.replace("-", "−")


def _claim_facts(edition: str, section: Section, result: ClaimResult) -> dict[str, Any]:
    claim, printed = result.claim, result.printed
    key = section.key._asdict() if section.key else {}
    facts: dict[str, Any] = {"edition": edition, **key, "id": claim.id, "quote": claim.quote}
    facts |= {"place": claim.place, "read_as": claim.read_as}
    facts |= {f"printed_{name}": value for name, value in _outcome_facts(printed).items()}
    return facts | _outcome_facts(result.ours) | {"commands": list(result.commands)}


def _outcome_facts(outcome: Outcome | None) -> dict[str, Any]:
    names = ("verdict", "value", "low", "high", "unit", "detail")
    return {name: getattr(outcome, name) if outcome else None for name in names}


def findings_listing(title: str, findings: Sequence[Finding], notes: Sequence[str] = ()) -> Listing:
    """Findings, flagged ones first; the others are numbers that a check gives and does not flag."""
    ordered = sorted(findings, key=lambda finding: not finding.flagged)
    flagged = sum(finding.flagged for finding in findings)
    count = f"{flagged} flagged, {len(findings) - flagged} listed without a flag (in brackets)."
    sources = list(dict.fromkeys(finding.source for finding in findings if finding.source))
    return Listing(
        title=title,
        headers=("Check", "Where", "Models", "Metric", "Finding"),
        rows=tuple(_finding_words(finding) for finding in ordered),
        facts=tuple(finding.model_dump(mode="json") for finding in ordered),
        notes=(count, *notes, *(f"Logged runs: {source}." for source in sources)),
    )


def _finding_words(finding: Finding) -> tuple[str, ...]:
    check = finding.check if finding.flagged else f"({finding.check})"
    text = finding.text
    if finding.check in ("jensen", "order", "pooled"):
        assert finding.value is not None and finding.low is not None and finding.high is not None
        ends = (finding.value, finding.low, finding.high)
        value, low, high = (f"{end:.3f}".replace("-", "−") for end in ends)
        text += f"; {value} points [{low}, {high}]"
    return check, finding.where, ", ".join(finding.models), finding.metric, text


def to_rich(listing: Listing) -> Group:
    """For the terminal."""
    body = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in listing.headers:
        body.add_column(header, overflow="fold")
    for row in listing.rows:
        body.add_row(*map(Text, row))
    notes = [Text(line, style="dim") for line in listing.notes]
    return Group(Text(listing.title, style="bold"), body, *notes, Text(""))


def to_markdown(listing: Listing) -> str:
    """GitHub Markdown: title, table, notes."""
    rules = [":--"] * len(listing.headers)
    rows = [listing.headers, rules, *(map(escape_markdown, row) for row in listing.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    notes = "<br>\n".join(map(escape_markdown, listing.notes))
    return f"### {escape_markdown(listing.title)}\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def to_csv(listing: Listing) -> str:
    """One line per row, in full precision."""
    fields = list(dict.fromkeys(name for fact in listing.facts for name in fact))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for fact in listing.facts:
        writer.writerow({name: _cell(value) for name, value in fact.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list | tuple) else value
