"""`bench compare`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options as opt
from bench.cli.options import console
from bench.experiments.matrices import get_matrix


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(compare)


def compare(
    matrix: opt.MatrixName = "paper",
    reference: Annotated[
        str | None, typer.Option(help="Method to compare with. Default: the matrix's.")
    ] = None,
    results: opt.Out = Path("results"),
    profile: opt.OfProfile = None,
    protocol: opt.OfProtocol = None,
    selection: opt.OfSelection = None,
    image_size: opt.OfSize = None,
    epochs: opt.OfLength = None,
    methods: opt.OfMethods = None,
    datasets: opt.OfDatasets = None,
    seeds: opt.OfSeeds = None,
    subset: opt.ForeignSubset = "test",
    grid: opt.Grid = "network",
) -> None:
    """Differences to a reference with intervals and tests, and ranks; tables and figures."""
    filters = opt.key_filters(profile, protocol, selection, image_size)
    asked = opt.narrowing(methods, datasets, seeds, epochs)
    from bench.reporting import comparing

    comparing.compare(get_matrix(matrix), results, filters, asked, reference, grid, subset, console)
