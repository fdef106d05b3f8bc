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
    matrix: Annotated[str, typer.Option("--matrix", "-m", help="Name or .toml file.")] = "paper",
    reference: Annotated[
        str | None, typer.Option(help="Method to compare with. Default: the matrix's.")
    ] = None,
    results: Annotated[Path, typer.Option("--results", "--out", help="Folder of results.")] = Path(
        "results"
    ),
    profile: Annotated[str | None, typer.Option(help="Only cells of this profile.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only cells of this protocol.")] = None,
    selection: Annotated[str | None, typer.Option(help="Only cells of this rule.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Only cells of this size.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Only cells of this length.")] = None,
    subset: Annotated[opt.Subset, typer.Option(help="Foreign test cases.")] = "test",
    grid: opt.Grid = "network",
) -> None:
    """Differences to a reference with intervals and tests, and ranks; tables and figures."""
    filters = {
        "profile": profile,
        "protocol": protocol,
        "selection": selection,
        "image_size": image_size,
        "epochs": epochs,
    }
    from bench.reporting import comparing

    comparing.compare(get_matrix(matrix), results, filters, reference, grid, subset, console)
