"""`bench audit`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from bench.cli import options as opt
from bench.cli.inspect import print_rows
from bench.cli.options import console
from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.paths import data_root
from bench.data.cards import load_card
from bench.protocols import get_protocol, protocol_names

if TYPE_CHECKING:
    from bench.data.audit.audit import Audited
    from bench.data.audit.report import AuditReport

ALL = "all"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(audit)


def audit(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="Another prepared dataset, or `all`; repeatable."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Whose split is audited; repeatable. Default: every shipped one."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of results: scores with and without the leaked cases."),
    ] = None,
    data: opt.Data = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Default: audit/ of the prepared dataset, where cells read it."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of leaked test cases above which the status is 1."),
    ] = 0.0,
    card: opt.Cards = None,
) -> None:
    """Look for duplicates, shared patients and odd masks; status 1 where test cases leak."""
    from bench.data.audit.audit import cross
    from bench.data.audit.manifest import AUDIT
    from bench.data.audit.report import AuditReport, leaks_by_protocol
    from bench.data.prepared import case_index, read_imported
    from bench.reporting.audit_figure import write_contact_sheet

    root = data_root(data)
    if root is None:
        raise BenchError("No data folder is named. Give --data DIR or set GMS_BENCH_DATA.")
    protocols = [get_protocol(name) for name in protocol or protocol_names()]
    groups = load_card(dataset, card or []).groups
    own, *rest = _audited(root, [dataset, *_others(root, dataset, others or [])])
    index = case_index(own.index, read_imported(root / dataset), own.manifest)
    leaks = leaks_by_protocol(index, protocols, groups.unit if groups else "group")
    report = AuditReport(own, index, leaks, [cross(own, other) for other in rest])
    for line in report.lines():
        console.print(line, markup=False, highlight=False)
    folder = out / dataset if out else root / dataset / AUDIT
    with disk_errors(f"write the audit of {dataset}", folder):
        files = report.write(folder)
        files += write_contact_sheet(report, rest, folder)
        if results:
            files += _scores(results, root, card or [], report, folder)
    for file in files:
        console.print(file, markup=False, highlight=False, soft_wrap=True)
    if report.worst_share > threshold:
        console.print(
            f"{report.worst_share:.1%} of test cases leak in the worst case; --threshold is "
            f"{threshold:.1%}: exit status 1."
        )
        raise typer.Exit(1)


def _others(root: Path, dataset: str, names: Sequence[str]) -> list[str]:
    """The datasets of --with; `all` is every other prepared one."""
    from bench.data.prepared import INDEX

    if ALL in names:
        return [p.parent.name for p in sorted(root.glob(f"*/{INDEX}")) if p.parent.name != dataset]
    if dataset in names:
        raise BenchError(f"--with {dataset}: name another dataset than the one that is audited.")
    return list(dict.fromkeys(names))


def _audited(root: Path, names: Sequence[str]) -> "list[Audited]":
    """Every dataset audited for itself, behind a progress bar."""
    from bench.data.audit.audit import audit as run

    def follow(progress: Progress, name: str) -> Callable[[int, int], None]:
        bar = progress.add_task(f"reading {name}", total=None)
        return lambda done, total: progress.update(bar, completed=done, total=total)

    with Progress(console=console, transient=True) as progress:
        return [run(root / name, progress=follow(progress, name)) for name in names]


def _scores(
    results: Path, root: Path, cards: list[Path], report: "AuditReport", folder: Path
) -> list[Path]:
    """Print and write scores with and without the leaked cases."""
    from bench.core.files import write_with
    from bench.experiments.cells import load_cells
    from bench.reporting.leak_scores import leak_scores

    dataset = report.audited.index.dataset
    records = [cell for cell in load_cells(results / "cells") if cell.key.train == dataset]
    if not records:
        raise BenchError(f"No cell in {results / 'cells'} is trained on {dataset}. Run one first.")
    found = leak_scores(records, root, cards, report)
    for cell, why in found.skipped.items():
        console.print(f"{cell} left out: {why}", markup=False, highlight=False)
    shown = found.rows[(found.rows["metric"] == "dsc") & (found.rows["grid"] == "network")]
    print_rows(
        [
            {
                "cell": row.cell,
                "protocol": row.protocol,
                "test": f"{row.test} {row.subset}",
                "leaked": f"{row.leaked_cases} of {row.cases}",
                "DSC %": f"{100 * row.mean:.2f}",
                "without leaked": f"{100 * row.without:.2f}"
                if row.leaked_cases < row.cases
                else "–",
                "leaked only": f"{100 * row.leaked:.2f}" if row.leaked_cases else "–",
            }
            for row in shown.itertuples()
        ],
        False,
        "DSC with and without leaked test cases",
    )
    file = folder / "scores.csv"
    write_with(file, lambda target: found.rows.to_csv(target, index=False))
    return [file]
