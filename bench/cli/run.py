"""`bench run` and `bench report`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.cli import options as opt
from bench.cli.options import console
from bench.core.errors import BenchError
from bench.core.paths import data_root
from bench.experiments.matrices import expand, get_matrix
from bench.experiments.messages import Epoch, Event, Failed, Finished, Scoring, Started, Step
from bench.experiments.runner import RunOptions, Task, plan
from bench.experiments.runner import run as run_tasks
from bench.experiments.sources import Sources
from bench.registry import use_plugin_files
from bench.reporting.published import require_editions


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(run)
    app.command()(report)


def run(
    matrix: Annotated[str, typer.Option("--matrix", "-m", help="Name, or path of a .toml file.")],
    methods: Annotated[str | None, typer.Option(help="Comma-separated, or `all`.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Training datasets, comma-separated.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="0,1,2 or 0-4.")] = "0",
    protocol: Annotated[
        str, typer.Option(help="paper, paper80, clean, grouped, dedup or FILE.toml:NAME.")
    ] = "clean",
    recipe: Annotated[
        Literal["shared", "native"] | None,
        typer.Option(
            help="native: each method's own. shared: GMS's optimizer, schedule and augmentation for "
            "every method, the others not tuned for it. Default: the protocol's."
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="demo, paper, smoke or FILE.toml:NAME.")
    ] = None,
    data: opt.Data = None,
    out: opt.Out = Path("results"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of every run.")] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Training images that every run sees; sets its epochs."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=32, help="Side of the pictures.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="NAME or NAME@LOCATION for every cell.")
    ] = None,
    subset: Annotated[opt.Subset | None, typer.Option(help="Foreign test cases.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:0,cuda:1.")] = "auto",
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells at a time on each device.")] = None,
    precision: Annotated[opt.Precision | None, typer.Option(help="Numerics.")] = None,
    channels_last: Annotated[bool | None, typer.Option(help="Memory layout.")] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile.")
    ] = None,
    assigned: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE or recipe.NAME=VALUE.")
    ] = None,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    published: opt.Published = None,
    grid: opt.Grid = "network",
    optimism: Annotated[
        bool,
        typer.Option(
            "--optimism",
            help="Also score the test cases whenever validation is; they choose nothing.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
) -> None:
    """Run every missing cell of a matrix, then print its tables and draw its figures."""
    use_plugin_files(plugin or [])
    folder = data_root(data)
    opt.refuse_two_lengths(epochs, budget)
    chosen = opt.choose_profile(
        profile, folder, epochs=epochs, image_size=image_size, channels_last=channels_last,
        compile=compile_,
    )  # fmt: skip
    rules = opt.choose_protocol(
        protocol, recipe=recipe, external_subset=subset, budget=budget, optimism=optimism or None
    )
    asked = get_matrix(matrix)
    require_editions(asked.tables)
    narrowed = opt.overrides(methods, datasets, seeds, tokenizer, assigned, precision)
    requests = expand(asked, narrowed, rules, chosen)
    sources = Sources(chosen, folder, card or [])
    devices, threads = _devices(device, jobs)
    options = RunOptions(out, folder, tuple(card or ()), devices, threads)
    tasks = plan(requests, options, sources)
    console.print(f"[bold]{asked.title}[/]: {chosen.title}. Protocol {rules.name}: {rules.title}.")
    _announce(tasks)
    if dry_run:
        for task in tasks:
            console.print(
                f"  {task.state:11} {escape(task.request.label)} {escape(_because(task))}",
                highlight=False,
            )
        return
    _run(tasks, options, sources)
    failed = [task for task in tasks if task.state != "done"]
    for task in failed:
        console.print(
            f"[red]{task.state}[/] {escape(task.request.label)}: {escape(task.reason)}",
            highlight=False,
        )
    from bench.reporting import report as reports  # pandas: only once there is something to report
    from bench.reporting.tables.narrowing import Narrowing

    part = Narrowing(narrowed.methods, narrowed.datasets, narrowed.seeds)
    view = reports.View(part, published, grid, optimism=optimism)
    reports.of_run(asked, tasks, out, view, console)
    if failed:
        raise typer.Exit(1)


def _because(task: Task) -> str:
    """Why a cell is unavailable, or why it trains although one like it is stored."""
    if task.why:
        return f"(the nearest stored cell differs in {', '.join(task.why)})"
    return task.reason


def _devices(device: str, jobs: int | None) -> tuple[tuple[str, ...], int]:
    """(a device per worker, CPU threads of each). Asking for GPUs must not import torch here."""
    import os

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    named = opt.devices(device)
    if named == ("cpu",):
        count = jobs or min(cores, 4)
        return ("cpu",) * count, max(1, cores // count)
    return named * (jobs or 1), max(1, cores // (len(named) * (jobs or 1)))


def _announce(tasks: list[Task]) -> None:
    count = {
        state: sum(task.state == state for task in tasks)
        for state in ("done", "train", "score", "unavailable")
    }
    words = [f"{count['done']} of {len(tasks)} cells are done"]
    words += [f"{count['train']} to train"] if count["train"] else []
    words += [f"{count['score']} to score"] if count["score"] else []
    words += [f"{count['unavailable']} unavailable"] if count["unavailable"] else []
    console.print(", ".join(words) + ".")
    for reason in dict.fromkeys(task.reason for task in tasks if task.state == "unavailable"):
        console.print(f"[red]unavailable[/]: {escape(reason)}", highlight=False)


def _run(tasks: list[Task], options: RunOptions, sources: Sources) -> None:
    """Run the tasks behind progress bars: all cells, and each one at work."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[doing]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        todo = sum(task.waits for task in tasks)
        if not todo:
            return
        opt.require_devices(options.devices)
        overall = progress.add_task("all cells", total=todo, doing="")
        bars: dict[str, TaskID] = {}

        def follow(task: Task, event: Event) -> None:
            match event:
                case Started():
                    bars[task.id] = progress.add_task(
                        escape(task.request.label), total=None, doing="starting"
                    )
                case Finished() | Failed():
                    progress.remove_task(bars.pop(task.id))
                    progress.advance(overall)
                    mark = "[green]done[/]" if task.state == "done" else "[red]failed[/]"
                    console.print(f"  {mark} {escape(task.request.label)}", highlight=False)
                case Scoring() | Step() | Epoch():
                    _update(progress, bars[task.id], event)

        run_tasks(tasks, options, sources, follow)


def _update(progress: Progress, bar: TaskID, event: Scoring | Step | Epoch) -> None:
    match event:
        case Scoring(test=test):
            progress.update(bar, doing=f"scoring {test}")
        case Step(epoch=epoch, step=step, steps=steps):
            progress.update(bar, doing=f"epoch {epoch + 1}, step {step + 1}/{steps}")
        case Epoch(epoch=epoch, epochs=epochs, row=row):
            scores = [
                f"{name[:-4]} DSC {row[name]:.3f}"
                for name in ("val_dsc", "test_dsc")
                if row[name] is not None
            ]
            doing = ", ".join([f"loss {row['loss']:.4f}", *scores])
            progress.update(bar, completed=epoch, total=epochs, doing=doing)


def report(
    matrix: Annotated[str, typer.Option("--matrix", "-m", help="Name or .toml file.")] = "paper",
    profile: Annotated[str | None, typer.Option(help="Only cells of this profile.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only cells of this protocol.")] = None,
    selection: Annotated[str | None, typer.Option(help="Only cells of this rule.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Only cells of this size.")] = None,
    epochs: Annotated[
        str | None, typer.Option(help="Only cells of this length; own: of their recipes' lengths.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Only these, comma-separated.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Only these training datasets, comma-separated.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Only these: 0,1,2 or 0-4.")] = None,
    optimism: Annotated[
        bool, typer.Option("--optimism", help="A column of the measured optimism.")
    ] = False,
    subset: Annotated[opt.Subset, typer.Option(help="Foreign test cases.")] = "test",
    grid: opt.Grid = "network",
    published: opt.Published = None,
    statistics: Annotated[
        bool, typer.Option(help="Mark ties with the best and write statistics beside each table.")
    ] = True,
    out: opt.Out = Path("results"),
) -> None:
    """Rebuild every table and figure from stored cells; trains nothing."""
    filters = {
        "profile": profile,
        "protocol": protocol,
        "selection": selection,
        "image_size": image_size,
    }
    from bench.reporting import report as reports
    from bench.reporting.tables.narrowing import Narrowing

    if epochs is not None and epochs != "own" and not epochs.isdigit():
        raise BenchError(f"--epochs {epochs!r}: write a number of epochs, or own.")
    asked = get_matrix(matrix)
    require_editions(asked.tables)
    part = Narrowing(
        opt.names(methods), opt.names(datasets), opt.seeds(seeds) if seeds else (), epochs
    )
    view = reports.View(part, published, grid, subset, optimism, statistics)
    reports.rebuild(asked, out, filters, view, console)
