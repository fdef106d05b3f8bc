"""`bench run`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.text import Text

from bench.cli import executors as at
from bench.cli import options as opt
from bench.cli.options import console
from bench.cli.progress import Amount, shown
from bench.cli.stopped import Stopped
from bench.core.errors import BenchError
from bench.core.paths import data_root
from bench.experiments.attempts import epochs_done
from bench.experiments.cells import readable_cells
from bench.experiments.course import Course
from bench.experiments.estimate import Expectation
from bench.experiments.matrices import (
    Matrix,
    Overrides,
    expand,
    get_matrix,
    own_matrix,
    require_trained_on,
)
from bench.experiments.messages import Event
from bench.experiments.runner import RunOptions, Task, plan
from bench.experiments.runner import run as run_tasks
from bench.experiments.sources import Sources
from bench.experiments.trackers import Tracking, make_tracker
from bench.experiments.tuning.winners import with_winners
from bench.protocols import Protocol, get_protocol
from bench.registry import use_plugin_files
from bench.reporting.published import require_editions


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(run)


def run(
    matrix: Annotated[
        str | None, typer.Option("--matrix", "-m", help="Name, or path of a .toml file.")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(help="In place of a matrix: training datasets, comma-separated."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="With --train: test datasets; `same`, the default, is its own test part."
        ),
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Comma-separated, or `all`.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Training datasets, comma-separated.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="0,1,2 or 0-4.")] = "0",
    protocol: Annotated[
        str, typer.Option(help="paper, paper80, clean, grouped, dedup, tuned or FILE.toml:NAME.")
    ] = "clean",
    split: Annotated[
        opt.Split | None, typer.Option(help="Another split than the protocol's.")
    ] = None,
    recipe: Annotated[
        Literal["shared", "native"] | None,
        typer.Option(
            help="native: each method's own. shared: GMS's optimizer, schedule and augmentation for "
            "every method, the others not tuned for it. Default: the protocol's."
        ),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(help="With --protocol tuned: the folder of a search by bench tune."),
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
    device: at.Device = "auto",
    jobs: at.Jobs = None,
    threads: at.Threads = None,
    executor: at.Where = "local",
    address: at.Address = None,
    ray_gpus: at.RayGpus = None,
    slurm_partition: at.Partition = None,
    slurm: at.Slurm = None,
    precision: Annotated[opt.Precision | None, typer.Option(help="Numerics.")] = None,
    channels_last: Annotated[bool | None, typer.Option(help="Memory layout.")] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile.")
    ] = None,
    tf32: Annotated[
        opt.Tf32 | None, typer.Option(help="What a GPU computes in TF32 under fp32.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="Refuse operations that may give other last digits in another run.",
        ),
    ] = None,
    assigned: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, or recipe.NAME=VALUE")
    ] = None,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    published: opt.Published = None,
    grid: opt.Grid = "network",
    format_: opt.Format = "auto",
    optimism: Annotated[
        bool,
        typer.Option(
            "--optimism",
            help="Also score the test cases whenever validation is; they choose nothing.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Dry run that estimates the time, too.")
    ] = False,
    track: Annotated[
        list[str] | None, typer.Option(help="tensorboard, mlflow or wandb; repeatable.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="In the background; follow it with bench watch.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only failures.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for every epoch.")] = False,
) -> None:
    """Run every missing cell of a matrix, then print its tables and draw its figures."""
    use_plugin_files(plugin or [])
    folder = data_root(data)
    opt.refuse_two_lengths(epochs, budget)
    if quiet and verbose:
        raise BenchError("--quiet and --verbose contradict. Give one of them.")
    chosen = opt.choose_profile(
        profile, folder, epochs=epochs, image_size=image_size, channels_last=channels_last,
        compile=compile_, tf32=tf32, deterministic=deterministic,
    )  # fmt: skip
    rules = opt.choose_protocol(
        protocol,
        recipe=recipe,
        external_subset=subset,
        budget=budget,
        split=split,
        optimism=optimism or None,
    )
    opt.refuse_silent_phantoms(rules, profile, folder)
    _require_search(rules, get_protocol(protocol), tuned)
    narrowed = opt.overrides(methods, datasets, seeds, tokenizer, assigned, precision)
    asked = _matrix(matrix, train, test, narrowed)
    require_editions(asked.tables)
    requests = expand(asked, narrowed, rules, chosen)
    sources = Sources(chosen, folder, card or [])
    if tuned is not None:
        requests = with_winners(requests, tuned, sources)
    found = at.workers(
        at.Asked(executor, device, jobs, threads, address, ray_gpus, slurm_partition, slurm)
    )
    options = RunOptions(out, folder, tuple(card or ()), found.devices, found.threads, found.choice)
    tasks = plan(requests, options, sources)
    rest = f": {chosen.title}. Protocol {rules.name}: {rules.title}."
    console.print(Text.assemble((asked.title, "bold"), rest))
    _announce(tasks)
    if dry_run or estimate:
        from bench.cli.dry_run import dry_run as show

        show(tasks, options, sources, estimate)
        return
    if detach and any(task.waits for task in tasks):
        from bench.cli.detach import detach as start

        start(out)
        return
    tracking = Tracking([make_tracker(name, out) for name in track or []])
    amount: Amount = "quiet" if quiet else "verbose" if verbose else "normal"
    try:
        _run(tasks, options, sources, amount, tracking)
    finally:
        tracking.close()
    failed = [task for task in tasks if task.state != "done"]
    for task in failed:
        console.print(
            f"[red]{task.state}[/] {escape(task.request.label)}: {escape(task.reason)}",
            highlight=False,
        )
    from bench.reporting import report as reports  # pandas: only once there is something to report
    from bench.reporting.tables.narrowing import Narrowing

    part = Narrowing(narrowed.methods, narrowed.datasets, narrowed.seeds)
    view = reports.View(
        part, published, grid, optimism=optimism, format=format_, data=folder,
        cards=tuple(card or ()),
    )  # fmt: skip
    files = reports.of_run(asked, tasks, out, view, console)
    tracking.figures(files)
    if failed or any(task.missing for task in tasks):
        raise typer.Exit(1)


def _require_search(rules: Protocol, named: Protocol, tuned: Path | None) -> None:
    """BenchError for a protocol of tuned recipes without a search, and for a search without one."""
    if named.recipe == "tuned" and rules.recipe != "tuned":
        raise BenchError(
            f"--recipe {rules.recipe} contradicts protocol {named.name!r}, whose recipes a search "
            "found. Leave it out, or take --protocol clean: the same split and selection."
        )
    if rules.recipe == "tuned" and tuned is None:
        raise BenchError(
            f"Protocol {rules.name!r} takes recipes that a search found. Search with `bench tune`, "
            "then give --tuned results/tuning/SEARCH; `bench list studies` shows what there is."
        )
    if rules.recipe != "tuned" and tuned is not None:
        raise BenchError(
            f"--tuned {tuned} is for protocols whose recipe is tuned, and that of {rules.name!r} is "
            f"{rules.recipe}. Add --protocol tuned."
        )


def _matrix(name: str | None, train: str | None, test: str | None, narrowed: Overrides) -> Matrix:
    """The matrix of a file, or of `--train` and `--test`; BenchError for both or neither."""
    datasets, tests = opt.listed("--train", train), opt.listed("--test", test)
    if name is not None and (datasets or tests):
        raise BenchError("--matrix names training and test sets; leave --train and --test out.")
    if name is not None:
        asked = get_matrix(name)
        require_trained_on(asked, narrowed.datasets)
        return asked
    if not datasets:
        raise BenchError(
            "What shall run? Give --matrix NAME (`bench list matrices`) or FILE.toml, or --train "
            "DATASETS --methods METHODS."
        )
    if not narrowed.methods:
        raise BenchError("--train needs methods: --methods NAMES, or --methods all.")
    if narrowed.datasets:
        raise BenchError("--datasets narrows a matrix; --train says it already. Give one of them.")
    return own_matrix(narrowed.methods, datasets, tests or ("same",))


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
    for task in tasks:
        if task.resume:
            console.print(
                f"resume at epoch {task.resume + 1}: {escape(task.request.label)}", highlight=False
            )
    gone = [task.reason for task in tasks if task.state == "unavailable"]
    for task in tasks:
        gone += task.missing.values()
    for reason in dict.fromkeys(gone):
        console.print(f"[red]unavailable[/]: {escape(reason)}", highlight=False, soft_wrap=True)


def _run(
    tasks: list[Task], options: RunOptions, sources: Sources, amount: Amount, tracking: Tracking
) -> None:
    """Run the tasks and show how far they are."""
    if not any(task.waits for task in tasks):
        return
    if options.choice.kind == "local":
        opt.require_devices(options.devices)
    expected = Expectation(sources, readable_cells(options.cells), options.devices[0])
    course = Course(tasks, options.cells, options.at_a_time, expected)
    try:
        with shown(course, console, amount) as follow:

            def report(task: Task, event: Event) -> None:
                follow(task, event)
                tracking.see(task, event)

            run_tasks(tasks, options, sources, report)
    except Stopped as stopped:
        stopped.said = _stopped(tasks, options)
        raise


def _stopped(tasks: list[Task], options: RunOptions) -> str:
    """What is stored, and how to go on."""
    done = sum(task.state == "done" for task in tasks)
    states = [epochs_done(options.cells / task.id) for task in tasks if task.waits and task.id]
    resume = sum(epoch > 0 for epoch in states)
    kept = f", {resume} more will resume" if resume else ""
    return (
        f"bench: stopped. {done} of {len(tasks)} cells are stored{kept}; the same command goes on."
    )
