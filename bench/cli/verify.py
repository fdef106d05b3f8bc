"""`bench verify`: what stored cells say, computed again."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.cli import options as opt
from bench.cli.cells import cell_folder
from bench.cli.options import console
from bench.core.errors import BenchError
from bench.core.paths import data_root
from bench.experiments.messages import Epoch, Event, Scoring
from bench.experiments.replay.checks import Verification
from bench.registry import use_plugin_files

COLOURS = {"verified": "green", "in part": "yellow", "failed": "red"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(verify)


def verify(
    cells: Annotated[list[str] | None, typer.Argument(help="Ids, or the starts of ids.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every cell of the results.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Stored files and scores only; nothing is trained.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs to train again.")] = 1,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Move cells whose code changed and numbers did not.")
    ] = False,
    cases: Annotated[
        int, typer.Option(min=1, help="Cases of each test set that medpy scores.")
    ] = 20,
    results: Annotated[Path, typer.Option("--results", help="Folder of results.")] = Path(
        "results"
    ),
    data: opt.Data = None,
    device: opt.Device = "cpu",
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    as_json: opt.Json = False,
) -> None:
    """Check stored cells: files, scores, first epochs of training, predictions.

    Exit status 1 when a check failed, or a cell could not be adopted.
    """
    from bench.experiments.replay.verify import VerifyOptions, cell_folders, folder_digest
    from bench.experiments.replay.verify import verify as verify_cells

    use_plugin_files(plugin or [])
    if bool(cells) == all_:
        raise BenchError("Name cells or give --all: bench verify CELL..., bench verify --all.")
    if quick and adopt:
        raise BenchError("--adopt needs the training repeated; leave --quick out.")
    folders = (
        cell_folders(results) if all_ else [cell_folder(cell, results) for cell in cells or ()]
    )
    if not folders:
        raise BenchError(f"{results / 'cells'} holds no cell. Name another folder: --results DIR.")
    options = VerifyOptions(
        data=data_root(data), cards=tuple(card or ()), epochs=epochs, sample=cases, quick=quick,
        adopt=adopt, device="cpu" if quick else opt.one_device(device),
    )  # fmt: skip
    found = verify_cells(folders, options, None if as_json else _follow)
    whole = folder_digest(cell_folders(results))
    if as_json:
        content = [one.model_dump(mode="json") | {"state": one.state} for one in found]
        print(json.dumps({"results": whole, "cells": content}, indent=2))
    else:
        _print(found, whole)
    if any(one.failed or one.refused for one in found):
        raise typer.Exit(1)


def _follow(cell: str, event: Event) -> None:
    """A line per epoch and test set of a replay."""
    match event:
        case Epoch(epoch=epoch, row=row):
            said = f"epoch {epoch} trained again, loss {row['loss']:.4f}"
        case Scoring(test=test):
            said = f"{test} predicted again"
        case _:
            return
    console.print(f"  {escape(cell)}: {said}", highlight=False)


def _print(found: list[Verification], whole: str) -> None:
    """Every cell with what failed; what was compared, and why not all, where there is one cell."""
    for one in found:
        console.print(f"[{COLOURS[one.state]}]{one.state}[/] {escape(one.cell)}", highlight=False)
        shown = one.checks if len(found) == 1 else one.failed
        for check in shown:
            console.print(
                f"  {check.outcome}  {escape(check.name)}: {escape(check.detail)}", highlight=False
            )
        if one.adoption:
            console.print(f"  {escape(one.adoption)}", highlight=False)
    if len(found) > 1:
        _print_skipped(found)
    counts = {state: sum(one.state == state for one in found) for state in COLOURS}
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(
        f"{opt.counted(len(found), 'cell')}: {words}. Digest of all records: {whole}",
        highlight=False,
    )


def _print_skipped(found: list[Verification]) -> None:
    """What could not be checked, once with the number of cells."""
    reasons: dict[tuple[str, str], int] = {}
    for one in found:
        for check in one.checks:
            if check.outcome == "skipped":
                reasons[check.name, check.detail] = reasons.get((check.name, check.detail), 0) + 1
    for (name, why), count in sorted(reasons.items()):
        console.print(
            f"  not checked in {count} cells: {escape(name)}: {escape(why)}", highlight=False
        )
