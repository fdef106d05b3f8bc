"""`bench data`: fetch, prepare, status and import-split."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, Progress, TaskID

from bench.cli import options as opt
from bench.cli.inspect import print_rows
from bench.cli.options import console
from bench.core.errors import BenchError
from bench.core.paths import data_root
from bench.data.cards import list_cards, load_card
from bench.data.prepared import Status

app = typer.Typer(help="Get datasets ready: fetch, prepare, import a split.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A dataset; `bench list datasets` shows them.")]


def _root(data: Path | None) -> Path:
    root = data_root(data)
    if root is None:
        raise BenchError("No data folder is named. Give --data DIR or set GMS_BENCH_DATA.")
    return root


def _print(lines: list[str]) -> None:
    for line in lines:
        console.print(line, style="yellow" if line.startswith("WARNING") else None, markup=False)


@app.command()
def fetch(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="Folder for the downloads.")] = Path("downloads"),
    card: opt.Cards = None,
) -> None:
    """Download an openly licensed dataset; says how to get one that is not."""
    from bench.data.fetch import fetch as download

    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=console) as progress:
        bars: dict[str, TaskID] = {}

        def follow(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        found = download(load_card(name, card or []), to, follow)
    for file in found:
        checked = "checksum agrees" if file.checked else "no published checksum"
        console.print(f"{file.path}: {file.state}, {checked}, sha256 {file.sha256}", markup=False)
    console.print(
        f"Next: bench data prepare {name} --from {to / name}", markup=False, soft_wrap=True
    )


@app.command()
def prepare(
    name: Name,
    source: Annotated[Path, typer.Option("--from", help="Folder or archive as published.")],
    data: opt.Data = None,
    include_all: Annotated[
        bool, typer.Option(help="Keep classes that the card leaves out.")
    ] = False,
    leave_out: Annotated[str | None, typer.Option(help="Case ids to do without.")] = None,
    mask_rule: Annotated[str | None, typer.Option(help="'> 0' or '> 127'.")] = None,
    card: opt.Cards = None,
) -> None:
    """Check a dataset and bring it into the one form that runs read."""
    from bench.data.prepare import prepare as build

    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"preparing {name}", total=None)
        report = build(
            load_card(name, card or []),
            source,
            _root(data),
            include_all=include_all,
            leave_out=opt.names(leave_out),
            mask_rule=mask_rule,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    _print(report.lines())
    given = "".join(f" --card {file}" for file in card or [])
    console.print(
        f"Next: bench audit {name} --data {_root(data)}{given}", markup=False, soft_wrap=True
    )


@app.command()
def status(data: opt.Data = None, as_json: opt.Json = False, card: opt.Cards = None) -> None:
    """What is prepared, and what to do next."""
    from bench.data.prepared import status as look

    found = look(data_root(data), list_cards(card or []))
    if as_json:
        print_rows([vars(row) for row in found], True)
        return
    for row in found:
        for line in _status_words(row):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _status_words(row: Status) -> list[str]:
    """What there is of a dataset, what is missing, and the next step."""
    if row.state == "missing":
        size = f", {row.expected} images when complete" if row.expected else ""
        words = [f"{row.name}: not prepared{size}"]
    else:
        words = [f"{row.name}: {_count(row)}{_extras(row)}"]
        words[0] += "" if row.state == "prepared" else f"; {row.state}"
        if row.expected and row.cases < row.expected:
            words.append(f"  missing: {row.expected - row.cases} images")
        words += [f"  {warning}" for warning in row.warnings]
    return words + ([f"  next: {row.next_step}"] if row.next_step else [])


def _count(row: Status) -> str:
    return f"{row.cases} of {row.expected} images" if row.expected else f"{row.cases} images"


def _extras(row: Status) -> str:
    """Rescaled or not, groups and lists, as far as there are any."""
    rescaled = any("rescaled copy" in warning for warning in row.warnings)
    words = ["rescaled copy or a part"] if rescaled else []
    words += [f"{row.groups} groups"] if row.groups else []
    words += [f"split lists: {row.imported}"] if row.imported else []
    return "".join(f", {word}" for word in words)


@app.command("import-split")
def import_split(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Lists: .pkl of the GMS authors, .json or text.")],
    data: opt.Data = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Drop names without a case here.")
    ] = False,
) -> None:
    """Use somebody's lists of training and test cases; a pickle is read without executing it."""
    from bench.data.import_split import import_split as store

    _print(store(_root(data), name, file, allow_partial=allow_partial).lines())
