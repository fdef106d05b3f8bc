"""`bench claims`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import options as opt
from bench.cli.options import console
from bench.reporting.published import load_edition

Format = Literal["table", "markdown", "csv", "json"]


NO_RUNS = "Whether numbers are the means of runs logged elsewhere: not checked, see --runs."


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(claims)


def claims(
    edition: Annotated[str, typer.Argument(help="aaai2025, arxiv-v1, or a .toml file.")] = (
        "aaai2025"
    ),
    results: opt.Out = Path("results"),
    profile: opt.OfProfile = None,
    protocol: opt.OfProtocol = None,
    selection: opt.OfSelection = None,
    image_size: opt.OfSize = None,
    epochs: opt.OfLength = None,
    recipe: Annotated[
        Literal["shared", "native"] | None,
        typer.Option(help="Only cells of the shared recipe, or of each method's own."),
    ] = None,
    subset: opt.ForeignSubset = "test",
    runs: Annotated[
        Path | None,
        typer.Option(
            help="Runs logged elsewhere (.toml with a .csv): numbers that are their means."
        ),
    ] = None,
    part: Annotated[
        Literal["all", "claims", "forensics", "tables"],
        typer.Option(help="tables: the edition's, as printed."),
    ] = "all",
    format: Annotated[Format, typer.Option(help="csv: of one part.")] = "table",
) -> None:
    """The claims of a paper on its own numbers and on stored cells, and forensic checks of both."""
    from bench.experiments.ceilings import load_ceilings
    from bench.experiments.cells import readable_cells
    from bench.reporting.claims import check_claims, is_shared, listing, load_claims
    from bench.reporting.forensics import (
        copies_summary,
        findings_of_cells,
        findings_of_edition,
        read_runs,
    )
    from bench.reporting.tables import select

    asked = load_edition(edition)
    if part == "tables":
        _print_tables(edition, format)
        return
    filters = opt.key_filters(profile, protocol, selection, image_size)
    part_asked = opt.narrowing(None, None, None, epochs)
    cells = [
        cell
        for cell in select(readable_cells(results / "cells"), **filters)  # type: ignore[arg-type]
        if part_asked.takes(cell)
    ]
    if recipe is not None:
        cells = [cell for cell in cells if is_shared(cell) == (recipe == "shared")]
    lists = []
    if part in ("all", "claims"):
        known = load_claims(edition)
        sections = check_claims(known, asked, cells, load_ceilings(results), subset)
        lists += [listing.claims_listing(asked.name, section) for section in sections]
    if part in ("all", "forensics"):
        logged = read_runs(runs) if runs else None
        found = findings_of_edition(asked, logged)
        copies = copies_summary(asked, logged) if logged else NO_RUNS
        title = f"Checks of the numbers in {asked.title}"
        lists.append(listing.findings_listing(title, found, (copies,)))
        if cells:
            found = findings_of_cells(cells)
            lists.append(listing.findings_listing(f"The same checks of {len(cells)} cells", found))
    _print(lists, format)


def _print(lists: list, format: Format) -> None:
    from bench.reporting.claims import listing

    match format:
        case "table":
            for one in lists:
                console.print(listing.to_rich(one))
        case "markdown":
            print("\n".join(map(listing.to_markdown, lists)))
        case "csv":
            print("\n".join(map(listing.to_csv, lists)), end="")
        case "json":
            print(json.dumps({one.title: one.facts for one in lists}, indent=2))


def _print_tables(edition: str, format: Format) -> None:
    """The tables of an edition with what is bold and underlined in it."""
    from bench.reporting.printed_tables import printed_tables
    from bench.reporting.tables import to_csv, to_markdown, to_rich

    tables = printed_tables(load_edition(edition))
    match format:
        case "table":
            for table in tables:
                console.print(to_rich(table))
        case "markdown":
            print("\n".join(map(to_markdown, tables)))
        case "csv":
            print("\n".join(map(to_csv, tables)), end="")
        case "json":
            numbers = load_edition(edition).numbers
            print(json.dumps([number.model_dump(mode="json") for number in numbers], indent=2))
