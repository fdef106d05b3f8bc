"""`bench list`, `describe`, `predict`, `check`, `new` and `measure`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from bench.cli import cells
from bench.cli import options as opt
from bench.cli.options import console
from bench.cli.tune import study_rows
from bench.core.errors import BenchError, unknown_name
from bench.core.paths import data_root
from bench.registry import method_names, summary, tokenizer_names, use_plugin_files
from bench.reporting.published import load_edition

KINDS = (
    "methods",
    "tokenizers",
    "datasets",
    "matrices",
    "protocols",
    "profiles",
    "cells",
    "studies",
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("list")(list_)
    app.command()(describe)
    app.command()(predict)
    app.command()(check)
    app.command()(new)
    app.command()(measure)


def print_rows(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    """Rows as JSON or as a table with a column per key."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=escape(title) or None, show_edge=False)
    for index, column in enumerate(rows[0] if rows else ()):
        table.add_column(
            escape(column), overflow="fold", no_wrap=index == 0
        )  # names are to be copied
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    endless = console.options.update(width=10_000)  # a measure is clipped to the width
    if Measurement.get(console, endless, table).minimum > console.width:
        print_stacked(rows, title)  # words and numbers would be broken
    else:
        console.print(table if rows else "nothing")


def print_stacked(rows: list[dict[str, Any]], title: str) -> None:
    """A line for each value, for terminals that are narrower than the table."""
    console.print(title, style="bold", markup=False)
    for row in rows:
        for index, (name, value) in enumerate(row.items()):
            if value is not None and str(value):
                text = f"{'' if index == 0 else '  '}{name}: {value}"
                console.print(text, markup=False, highlight=False)


def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    as_json: opt.Json = False,
    out: opt.Out = Path("results"),
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    method: cells.Method = None,
    dataset: cells.Dataset = None,
    failed: cells.Failed = False,
    stale: cells.Stale = False,
    resumable: cells.Resumable = False,
) -> None:
    """List what is known by name. The filters are for cells."""
    use_plugin_files(plugin or [])
    if kind not in KINDS:
        raise unknown_name("list", kind, KINDS)
    states: dict[cells.State, bool] = {"failed": failed, "stale": stale, "resumable": resumable}
    if kind == "cells":
        found = cells.chosen(cells.rows(out), method, dataset, states)
        return cells.print_cells(found, as_json)
    if method or dataset or any(states.values()):
        raise BenchError("--method, --dataset, --failed, --stale, --resumable: of cells only.")
    rows = study_rows(out) if kind == "studies" else _rows(kind, card or [])
    if not as_json:
        rows = [_short(kind, row) for row in rows]
    print_rows(rows, as_json, kind)


def _short(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row without what only JSON has room for."""
    if kind == "protocols":
        return {name: row[name] for name in ("name", "title", "selection", "recipe")}
    if kind != "tokenizers":
        return row
    return {
        "name": row["name"],
        "role": row["role"],
        "channels": row["latent_channels"],
        "factor": row["factor"],
        "parameters": None if row["parameters"] is None else f"{row['parameters']:,}",
        "weights": row["weights_hash"][:12] if row["weights_hash"] else "not at hand",
        "from": row["source"],
    }


def _rows(kind: str, cards: list[Path]) -> list[dict[str, Any]]:
    from bench.data.cards import list_cards
    from bench.experiments.matrices import get_matrix, matrix_names
    from bench.protocols import get_profile, get_protocol, profile_names, protocol_names
    from bench.registry import get_tokenizer

    match kind:
        case "methods":
            return [{"name": name, "summary": summary(name)} for name in method_names()]
        case "tokenizers":
            return [get_tokenizer(name).row() for name in tokenizer_names()]
        case "datasets":
            return [
                {
                    "name": card.name,
                    "title": card.title,
                    "modality": card.modality,
                    "cases": card.expected.cases if card.expected else None,
                    "licence": card.licence,
                    "access": card.access.kind,
                }
                for card in list_cards(cards)
            ]
        case "matrices":
            return [{"name": name, "title": get_matrix(name).title} for name in matrix_names()]
        case "protocols":
            return [get_protocol(name).model_dump(mode="json") for name in protocol_names()]
    return [{"name": n, "title": get_profile(n).title} for n in profile_names()]


def describe(
    kind: Annotated[str, typer.Argument(help="method, methods or dataset")],
    name: Annotated[str | None, typer.Argument(help="Not with `methods`: a row each.")] = None,
    assigned: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE")] = None,
    as_json: opt.Json = False,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    published: opt.Published = None,
) -> None:
    """All of a method (settings, recipe, counts, citation) or a dataset, or the counts of all."""
    use_plugin_files(plugin or [])
    if assigned and kind != "method":
        raise BenchError("--set is for one method: bench describe method NAME --set NAME=VALUE.")
    if published and kind != "methods":
        raise BenchError("--published is for all: bench describe methods --published EDITION.")
    if kind == "methods" and name is not None:
        raise BenchError(
            f"`describe methods` takes no name. For one: bench describe method {name}."
        )
    if kind == "methods":
        from bench.conformance.describe import count_rows
        from bench.registry import plain_method_names

        edition = None if published is None else load_edition(published)
        print_rows(
            count_rows(plain_method_names(), edition), as_json, "parameters, GMACs at 224 px"
        )
        return
    if name is None:
        raise BenchError(f"Which {kind}? Give a name: bench describe {kind} NAME.")
    if kind == "dataset":
        from bench.data.cards import list_cards

        cards = {one.name: one for one in list_cards(card or [])}
        if name not in cards:
            raise unknown_name("dataset", name, cards)
        facts = cards[name].model_dump(mode="json")
    elif kind == "method":
        from bench.conformance.describe import describe_method

        settings, _ = opt.assignments(assigned)
        facts = describe_method(name, settings).model_dump(mode="json")
    else:
        raise unknown_name("kind", kind, ("method", "methods", "dataset"))
    _print_facts(facts, as_json)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False, show_edge=False)
    for key, value in facts.items():
        if key == "param_shapes":  # hundreds of numbers, for programs
            continue
        text = _words(value)
        if len(text) >= 900 and key not in ("original", "departures"):
            text = f"{text[:900]} ... (--json)"
        table.add_row(f"[bold]{escape(key)}[/]", escape(text))
    console.print(table)


def _words(value: Any) -> str:
    """A value for reading: NAME=VALUE of a record, records a line each."""
    match value:
        case None | []:
            return "–"
        case [str(), *_]:
            return "\n".join(value)
        case dict():
            return ", ".join(f"{name}={_inside(part)}" for name, part in value.items())
        case [dict(), *_]:
            return "\n".join(_words(part) for part in value)
        case bool() | str():
            return value if isinstance(value, str) else json.dumps(value)
        case int():
            return f"{value:,}" if value >= 10_000 else str(value)
        case float():
            return f"{value:.6g}"
    return json.dumps(value)


def _inside(value: Any) -> str:
    """A value within a record: its own records in parentheses."""
    match value:
        case dict() | [dict(), *_]:
            return f"({_words(value)})"
        case [str(), *_]:
            return json.dumps(value)
    return _words(value)


def predict(
    cell: str,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks.")],
    results: Annotated[Path, typer.Option("--results", help="Folder of results.")] = Path(
        "results"
    ),
    device: opt.Device = "auto",
    plugin: opt.Plugins = None,
) -> None:
    """Segment images with a trained cell; masks are PNG files at each image's own size."""
    use_plugin_files(plugin or [])
    folder = cells.cell_folder(cell, results)
    from bench.experiments.segment import segment_files

    for file in segment_files(folder, images, out, opt.one_device(device)):
        console.print(file, markup=False)


def check(
    kind: Annotated[str, typer.Argument(help="method, tokenizer or dataset")],
    name: Annotated[str, typer.Argument(help="A registered name, or a file.")],
    assigned: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE")] = None,
    data: opt.Data = None,
    as_json: opt.Json = False,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    give_up: opt.GiveUp = 600.0,
) -> None:
    """Check that a method, tokenizer or dataset card keeps the harness's contract."""
    use_plugin_files(plugin or [])
    from bench.conformance import check as checks

    settings, _ = opt.assignments(assigned)
    watch: dict[str, Any] = {"give_up": give_up}
    if not as_json:
        watch["on_check"] = _print_check
    match kind:
        case "method":
            result = checks.check_method(name, settings, **watch)
        case "tokenizer":
            result = checks.check_tokenizer(name, **watch)
        case "dataset":
            result = checks.check_dataset(name, data_root(data), card or [], **watch)
        case _:
            raise unknown_name("kind", kind, ("method", "tokenizer", "dataset"))
    if as_json:
        print_rows([row.model_dump(mode="json") for row in result.checks], True)
    else:
        failed = sum(row.status == "fail" for row in result.checks)
        skipped = sum(row.status == "skip" for row in result.checks)
        words = f"{opt.counted(failed, 'check')} failed" if failed else "all is well"
        words += f", {opt.counted(skipped, 'check')} skipped" if skipped else ""
        console.print(f"{kind} {name}: {words}", markup=False)
    if not result.passed:
        raise typer.Exit(1)


def _print_check(row: Any) -> None:
    """One check's outcome, as soon as it is there."""
    style = {"fail": "red", "skip": "dim"}.get(row.status)
    text = f"{row.status} {row.name:10} {row.seconds:6.1f} s  {row.message}"
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def new(
    kind: Annotated[str, typer.Argument(help="method, tokenizer, matrix or dataset")],
    name: str,
    folder: Annotated[Path, typer.Option("--out", help="Where it is written.")] = Path("."),
) -> None:
    """Write a working method, tokenizer, matrix or dataset card to start from."""
    from bench.conformance.scaffold import new_file, new_method

    match kind:
        case "method":
            files = new_method(name, folder)
        case "tokenizer" | "matrix" | "dataset":
            files = [new_file(kind, name, folder)]
        case _:
            raise unknown_name("kind", kind, ("method", "tokenizer", "matrix", "dataset"))
    for file in files:
        console.print(file, markup=False)


def measure(
    methods: Annotated[str, typer.Option(help="Comma-separated, or `all`.")] = "all",
    device: opt.Device = "auto",
    precision: Annotated[opt.Precision, typer.Option(help="Numerics.")] = "fp32",
    train_batch: Annotated[int, typer.Option(min=2, help="Images of a training step.")] = 8,
    out: opt.Out = Path("results"),
    plugin: opt.Plugins = None,
) -> None:
    """Measure parameters, GMACs, latency, training throughput and memory on this machine."""
    use_plugin_files(plugin or [])
    from rich.markdown import Markdown

    from bench.conformance.measure import (
        measure_methods,
        row_in_words,
        to_markdown,
        write_efficiency,
    )
    from bench.registry import plain_method_names

    names = tuple(plain_method_names()) if methods == "all" else opt.names(methods)
    frame = measure_methods(
        names,
        opt.one_device(device),
        precision=precision,
        train_batch=train_batch,
        on_row=lambda row: console.print(
            row_in_words(row), markup=False, highlight=False, soft_wrap=True
        ),
    )
    console.print(Markdown(to_markdown(frame)))
    for file in write_efficiency(frame, out / "efficiency"):
        console.print(file, markup=False)
