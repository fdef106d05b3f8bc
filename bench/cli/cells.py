"""`bench list cells`, `bench rm` and `bench show`: finding, deleting and reading stored cells."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from bench.cli import options as opt
from bench.cli.options import console
from bench.core.errors import BenchError, unknown_name
from bench.data.cards import list_cards
from bench.experiments import locks
from bench.experiments.attempts import STATE, Unfinished, epochs_done, unfinished
from bench.experiments.cells import RECORD, CellRecord, CellRequest, load_cell, readable_cells
from bench.experiments.code_digest import training_code
from bench.experiments.course import duration
from bench.registry import method_names, source_file, use_plugin_files

State = Literal["done", "failed", "resumable", "stale"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(rm)
    app.command()(show)


@dataclass(frozen=True)
class Row:
    """A stored cell as lists show it.

    changed: settings other than the method's defaults. dsc: mean over the cases of the first test
    set, on the network's grid, in [0, 1]. age: seconds since it ended. state: "stale" where the
    training code is another now, "resumable" for a training that was stopped.
    """

    id: str
    method: str
    changed: dict[str, Any]
    dataset: str
    protocol: str
    profile: str
    size: int
    epochs: int
    seed: int
    dsc: float | None
    age: float | None
    state: State
    folder: Path


def rows(results: Path) -> list[Row]:
    """Every cell of a folder of results, and every training that can be resumed."""
    cells = results / "cells"
    found = [_of_record(record) for record in readable_cells(cells)]
    found += [_of_unfinished(one) for one in unfinished(cells)]
    return sorted(found, key=lambda row: row.id)


def _of_record(record: CellRecord) -> Row:
    key = record.key
    assert record.folder is not None
    return Row(
        id=record.id,
        method=key.method,
        changed=key.changed | ({"tokenizer": key.tokenizer.name} if key.tokenizer else {}),
        dataset=key.train,
        protocol=key.protocol,
        profile=key.profile,
        size=key.image_size,
        epochs=key.epochs,
        seed=key.seed,
        dsc=_dsc(record),
        age=_age(record.provenance.get("finished")),
        state=_state(record),
        folder=record.folder,
    )


def _of_unfinished(one: Unfinished) -> Row:
    request: CellRequest = one.attempt.request
    return Row(
        id=one.folder.name,
        method=request.method,
        changed=request.settings | ({"tokenizer": request.tokenizer} if request.tokenizer else {}),
        dataset=request.train,
        protocol=request.protocol.name,
        profile=request.profile.name,
        size=request.profile.image_size,
        epochs=one.attempt.epochs,
        seed=request.seed,
        dsc=None,
        age=time.time() - (one.folder / STATE).stat().st_mtime,
        state="resumable",
        folder=one.folder,
    )


def _state(record: CellRecord) -> State:
    if record.status == "failed":
        return "failed"
    now = _code_now(record.key.method)
    return "stale" if now is not None and now != record.inputs.get("code") else "done"


@cache
def _code_now(method: str) -> str | None:
    """Digest of the code that would train the method now; None for a method that is not here."""
    try:
        return training_code(source_file(method))
    except BenchError:
        return None


def _dsc(record: CellRecord) -> float | None:
    """None where nothing is scored or the scores cannot be read; a run makes them anew."""
    labels = sorted(record.tests, key=lambda label: label != f"{record.key.train}-test")
    for label in labels[:1]:
        try:
            scores = record.scores(*label.rsplit("-", 1))
        except BenchError:
            return None
        return float(scores.loc[scores["grid"] == "network", "dsc"].mean())
    return None


def _age(finished: str | None) -> float | None:
    return None if finished is None else time.time() - datetime.fromisoformat(finished).timestamp()


# -- choosing ---------------------------------------------------------------------------------

Method = Annotated[str | None, typer.Option("--method", help="Only these, comma-separated.")]
Dataset = Annotated[
    str | None, typer.Option("--dataset", help="Only trained on these, comma-separated.")
]
Failed = Annotated[bool, typer.Option("--failed", help="Only failed ones.")]
Stale = Annotated[bool, typer.Option("--stale", help="Only those of other training code.")]
Resumable = Annotated[bool, typer.Option("--resumable", help="Only stopped trainings.")]


def chosen(
    found: Sequence[Row], method: str | None, dataset: str | None, states: dict[State, bool]
) -> list[Row]:
    """The rows that pass every filter; several states are joined by OR. BenchError for a name that
    is neither stored nor known."""
    methods, datasets = opt.listed("--method", method), opt.listed("--dataset", dataset)
    _require_known("method", methods, {row.method for row in found}, method_names())
    cards = [card.name for card in list_cards()]
    _require_known("dataset", datasets, {row.dataset for row in found}, cards)
    wanted = [state for state, asked in states.items() if asked]
    return [
        row
        for row in found
        if (not methods or row.method in methods)
        and (not datasets or row.dataset in datasets)
        and (not wanted or row.state in wanted)
    ]


def _require_known(kind: str, asked: Sequence[str], stored: set[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in stored and name not in known and not name.startswith("smp:"):
            raise unknown_name(kind, name, stored.union(known))


def print_cells(shown: Sequence[Row], as_json: bool) -> None:
    """The rows as JSON with every field, or as a table that fits 80 columns."""
    if as_json:
        print(json.dumps([vars(row) | {"folder": str(row.folder)} for row in shown], indent=2))
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("cell", "method", "dataset", "protocol", "px", "ep", "seed", "DSC", "age"):
        fold = header in ("method", "dataset", "protocol")
        number = header in ("px", "ep", "seed", "DSC")
        table.add_column(
            header, overflow="fold", no_wrap=not fold, justify="right" if number else "left"
        )
    table.add_column("state", no_wrap=True)
    for row in shown:
        table.add_row(*map(Text, _words(row)))
    if shown:
        console.print(table)
        console.print(
            f"{opt.counted(len(shown), 'cell')}. bench show CELL says all of one.", highlight=False
        )


def _words(row: Row) -> list[str]:
    changed = ", ".join(f"{name}={value}" for name, value in row.changed.items())
    return [
        row.id.rsplit("-", 1)[-1][:8],
        row.method + (f" [{changed}]" if changed else ""),
        row.dataset,
        row.protocol,
        str(row.size),
        str(row.epochs),
        str(row.seed),
        "" if row.dsc is None else f"{row.dsc:.3f}",
        "" if row.age is None else duration(row.age),
        row.state,
    ]


def cell_folder(cell: str, results: Path) -> Path:
    """The folder of the one stored cell whose id, or its last part, starts so."""
    cells = results / "cells"
    named = {file.parent for file in cells.glob(f"*/{RECORD}")}
    found = sorted(
        folder
        for folder in named
        if folder.name.startswith(cell) or folder.name.rsplit("-", 1)[-1].startswith(cell)
    )
    if len(found) != 1 or not cell:
        some = ", ".join(path.name for path in (found or sorted(named))[:5]) or "none"
        how = f"{len(found)} cells in {cells} start" if found else f"No cell in {cells} starts"
        kind = "Of them" if found else "Stored"
        raise BenchError(
            f"{how} with {cell!r}. {kind}: {some}{', ...' if len(found or named) > 5 else ''}. "
            "`bench list cells` shows all ids."
        )
    return found[0]


# -- deleting ---------------------------------------------------------------------------------


def rm(
    cells: Annotated[list[str] | None, typer.Argument(help="Ids, or their starts.")] = None,
    method: Method = None,
    dataset: Dataset = None,
    failed: Failed = False,
    stale: Stale = False,
    resumable: Resumable = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    out: opt.Out = Path("results"),
    plugin: opt.Plugins = None,
) -> None:
    """Delete stored cells with their weights, predictions and scores; asks first."""
    use_plugin_files(plugin or [])
    states: dict[State, bool] = {"failed": failed, "stale": stale, "resumable": resumable}
    if not (cells or method or dataset or any(states.values())):
        raise BenchError("Which cells? Give ids, --method, --dataset, --failed, --stale.")
    found = chosen(rows(out), method, dataset, states)
    if cells:
        wanted = {cell_folder(cell, out) for cell in cells}
        found = [row for row in found if row.folder in wanted]
    if not found:
        console.print("no cell")
        return
    print_cells(found, False)
    count = opt.counted(len(found), "cell")
    if not yes:
        if not sys.stdin.isatty():
            raise BenchError(f"Nobody can be asked here. To delete {count}: --yes.")
        typer.confirm(f"Delete {count}?", abort=True)
    console.print(f"{sum(map(_deleted, found))} of {len(found)} cells deleted")


def _deleted(row: Row) -> bool:
    """Delete a cell, unless a process works on it."""
    try:
        with locks.held(row.folder):
            shutil.rmtree(row.folder)
    except locks.CellInUse as error:
        console.print(f"kept: {error}", markup=False)
        return False
    return True


# -- reading ----------------------------------------------------------------------------------


def show(
    cell: str,
    as_json: opt.Json = False,
    out: opt.Out = Path("results"),
    plugin: opt.Plugins = None,
) -> None:
    """One stored cell in words: what ran, on what, when, and its scores. CELL: its id or a start."""
    use_plugin_files(plugin or [])
    record = load_cell(cell_folder(cell, out) / RECORD)
    scores = means(record)
    if as_json:
        facts = record.model_dump(mode="json", exclude={"folder"})
        print(json.dumps(facts | {"scores": scores}, indent=2))
        return
    for line in _story(record):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for label, grids in scores.items():
        console.print(_score_table(label, grids))


def means(record: CellRecord) -> dict[str, dict[str, dict[str, float]]]:
    """Per-image means of every metric, by test set and grid."""
    from bench.metrics.aggregate import METRICS, summarize
    from bench.reporting.frame import ScoreIndex, scores_of

    index = ScoreIndex(scores_of([record]))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for label in sorted(record.tests):
        dataset, subset = label.rsplit("-", 1)
        for grid in ("native", "network"):
            for metric in METRICS:
                scored = index.rows(record.id, dataset, subset, grid, metric)
                if len(scored):
                    own = found.setdefault(label, {}).setdefault(grid, {})
                    own[metric] = round(summarize(scored).mean, 6)
    return found


def _score_table(label: str, grids: dict[str, dict[str, float]]) -> Table:
    table = Table(title=f"means over {label}", box=None, padding=(0, 2, 0, 0), title_justify="left")
    metrics = list(dict.fromkeys(metric for grid in grids.values() for metric in grid))
    for header in ("grid", *metrics):
        table.add_column(header, justify="left" if header == "grid" else "right", no_wrap=True)
    for grid, values in grids.items():
        numbers = [f"{values[metric]:.4f}" if metric in values else "" for metric in metrics]
        table.add_row(grid, *numbers)
    return table


def _story(record: CellRecord) -> list[str]:
    """The record as sentences; what is not known is left out."""
    key, facts = record.key, record.provenance
    lines = [
        f"{record.id}: {_state(record)}",
        f"{record.title} ({record.family}) trained on {key.train}, seed {key.seed}",
        f"Protocol {key.protocol} (epoch chosen: {key.selection}), profile {key.profile}",
        f"Settings: {_pairs(key.changed) or 'the defaults'}"
        + (f"; by preset: {_pairs(key.preset)}" if key.preset else ""),
        _recipe_words(record),
    ]
    if key.tokenizer:
        lines.append(f"Tokenizer: {key.tokenizer.name}, weights {key.tokenizer.weights_hash[:12]}")
    if split := facts.get("split"):
        sizes = f"{split['train']} training, {split['val']} validation, {split['test']} test cases"
        lines.append(f"Cases: {sizes} (split {split['scheme']}, seed {split['seed']})")
    if record.total_params is not None:
        lines.append(f"Parameters: {record.trainable_params:,} trained of {record.total_params:,}")
    lines += _run_words(facts)
    assert record.folder is not None
    if epoch := epochs_done(record.folder):
        lines.append(f"Unfinished training: {epoch} epochs are stored; the next run resumes.")
    lines += [f"Note: {note}" for note in record.footnotes]
    lines += [f"Error: {record.error}"] if record.error else []
    return [*lines, f"Files: {record.folder}"]


def _recipe_words(record: CellRecord) -> str:
    recipe = record.recipe
    words = [f"Recipe: {record.key.recipe}, {opt.counted(record.key.epochs, 'epoch')}"]
    if recipe:
        words.append(f"batches of {recipe['batch_size']}")
        words.append(f"{recipe['optimizer']} at {recipe['lr']:g}, {recipe['schedule']} schedule")
    size = f"{record.network_size} px" if record.network_size else ""
    scored = f"scored at {record.key.image_size} px and at each image's own size"
    return ", ".join([*words, *([f"images of {size}"] if size else []), scored])


def _run_words(facts: dict[str, Any]) -> list[str]:
    """When, where and with what code the cell was trained."""
    lines = []
    if facts.get("train_seconds") is not None:
        lines.append(
            f"Training: {duration(facts['train_seconds'])} on {facts.get('device')} with "
            f"{facts.get('threads')} threads, {facts.get('precision')}; selected epoch "
            f"{facts.get('selected_epoch')}; {facts.get('images_seen')} images seen"
        )
    if facts.get("finished"):
        lines.append(f"Finished: {facts['finished']}")
    if facts.get("commit"):
        dirty = ", with uncommitted changes" if facts.get("dirty") else ""
        torch = (facts.get("packages") or {}).get("torch")
        lines.append(f"Code: commit {facts['commit'][:12]}{dirty}; torch {torch}")
    return lines


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
