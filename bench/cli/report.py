"""`bench report`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options as opt
from bench.cli.options import console
from bench.core.paths import data_root
from bench.experiments.matrices import get_matrix
from bench.reporting.published import require_editions


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(report)


def report(
    matrix: opt.MatrixName = "paper",
    profile: opt.OfProfile = None,
    protocol: opt.OfProtocol = None,
    selection: opt.OfSelection = None,
    image_size: opt.OfSize = None,
    epochs: opt.OfLength = None,
    methods: opt.OfMethods = None,
    datasets: opt.OfDatasets = None,
    seeds: opt.OfSeeds = None,
    optimism: Annotated[
        bool, typer.Option("--optimism", help="A column of the measured optimism.")
    ] = False,
    subset: opt.ForeignSubset = "test",
    grid: opt.Grid = "network",
    published: opt.Published = None,
    statistics: Annotated[
        bool, typer.Option(help="Mark ties with the best and write statistics beside each table.")
    ] = True,
    format_: opt.Format = "auto",
    html: Annotated[
        bool, typer.Option("--html", help="Write the report as one HTML page, too.")
    ] = False,
    cases: Annotated[
        str | None,
        typer.Option(help="Test cases to show, too: DATASET:CASE, comma-separated."),
    ] = None,
    data: opt.Data = None,
    card: opt.Cards = None,
    out: opt.Out = Path("results"),
) -> None:
    """Rebuild every table and figure from stored cells; trains nothing."""
    asked = get_matrix(matrix)
    require_editions(asked.tables)
    part = opt.narrowing(methods, datasets, seeds, epochs)
    filters = opt.key_filters(profile, protocol, selection, image_size)
    from bench.reporting import report as reports

    view = reports.View(
        part, published, grid, subset, optimism, statistics, format_, html, data_root(data),
        tuple(card or ()), opt.cases(cases),
    )  # fmt: skip
    reports.rebuild(asked, out, filters, view, console)
