"""`bench tune`: search for recipes under equal budgets."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from bench.cli import executors as at
from bench.cli import options as opt
from bench.cli.options import console
from bench.cli.stopped import Stopped
from bench.core.errors import BenchError, faults, unknown_name
from bench.core.paths import data_root
from bench.experiments.course import duration
from bench.experiments.messages import Epoch, Event, Started, Tried
from bench.experiments.runner import RunOptions
from bench.experiments.tuning.plan import Plan, plan_name, searching
from bench.experiments.tuning.search import OneStudy, search
from bench.experiments.tuning.space import COMMON, read_space
from bench.experiments.tuning.studies import hidden
from bench.experiments.tuning.winners import Summary, read_summaries, searches
from bench.protocols import Profile, Protocol
from bench.registry import use_plugin_files

PRUNERS = ("median", "hyperband", "none")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(tune)


def tune(
    methods: Annotated[str, typer.Option(help="Comma-separated, or `all`.")],
    datasets: Annotated[str, typer.Option(help="Training datasets, comma-separated.")],
    trials: Annotated[
        int, typer.Option(min=1, max=10_000, help="Whole trainings that each study's budget pays.")
    ],
    budget: Annotated[int, typer.Option(min=1, help="Training images of each, as in bench run.")],
    seed: Annotated[int, typer.Option(min=0, max=opt.MAX_SEED, help="Of search and trials.")] = 0,
    pruner: Annotated[str, typer.Option(help="median, hyperband or none.")] = "median",
    together: Annotated[
        int, typer.Option(min=1, help="Trials of a study at a time; more learn less of each other.")
    ] = 1,
    space: Annotated[
        Path | None, typer.Option(help="TOML file in place of the common search space.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the folder in results/tuning. Default: from the options.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="sqlite:///FILE.db or another database URL. Default: a journal file."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="Split and validation cases: tuned, grouped, dedup or FILE.toml:NAME."),
    ] = "tuned",
    split: Annotated[
        opt.Split | None, typer.Option(help="Another split than the protocol's.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="demo, paper, smoke or FILE.toml:NAME.")
    ] = None,
    data: opt.Data = None,
    out: opt.Out = Path("results"),
    image_size: Annotated[int | None, typer.Option(min=32, help="Side of the pictures.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="NAME or NAME@LOCATION for every trial.")
    ] = None,
    device: at.Device = "auto",
    jobs: at.Jobs = None,
    threads: at.Threads = None,
    executor: at.Where = "local",
    address: at.Address = None,
    ray_gpus: at.RayGpus = None,
    slurm_partition: at.Partition = None,
    slurm: at.Slurm = None,
    precision: Annotated[opt.Precision | None, typer.Option(help="Numerics.")] = None,
    assigned: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE or recipe.NAME=VALUE, for all.")
    ] = None,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only failures and the results.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for every epoch.")] = False,
) -> None:
    """Search a recipe for every method: equal trials and images for each, on validation cases only.

    The test set is not read. The same command goes on where a search was stopped.
    """
    use_plugin_files(plugin or [])
    folder = data_root(data)
    if quiet and verbose:
        raise BenchError("--quiet and --verbose contradict. Give one of them.")
    chosen = opt.choose_profile(profile, folder, image_size=image_size, precision=precision)
    rules = searching(opt.choose_protocol(protocol, split=split), budget)
    narrowed = opt.overrides(methods, datasets, str(seed), tokenizer, assigned)
    plan = _plan(
        narrowed.datasets,
        name,
        trials=trials,
        budget=budget,
        seed=seed,
        pruner=pruner,
        together=together,
        protocol=rules,
        profile=_at_precision(chosen, rules),
        settings=narrowed.settings,
        recipe=narrowed.recipe,
        tokenizer=tokenizer,
        space=read_space(space or COMMON),
        storage=None if storage is None else hidden(storage),
    )
    found = at.workers(
        at.Asked(executor, device, jobs, threads, address, ray_gpus, slurm_partition, slurm)
    )
    if found.choice.kind == "local":
        opt.require_devices(found.devices)
    options = RunOptions(out, folder, tuple(card or ()), found.devices, found.threads, found.choice)
    console.print(
        f"Search {plan.name}: {chosen.title}. Protocol {rules.name}, seed {seed}, TPE, pruner "
        f"{pruner}. Every study sees {plan.images:,} images: {trials} trials of {budget:,}, and more "
        "where trials are pruned. No test case is read.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    try:
        every = search(
            plan, narrowed.methods, narrowed.datasets, options, storage, _teller(quiet, verbose)
        )
    except Stopped as stopped:
        stopped.said = "bench: stopped. Trials store their state; the same command goes on."
        raise
    _finish(plan, every, out / "tuning" / plan.name)


def _plan(datasets: tuple[str, ...], name: str | None, **values: Any) -> Plan:
    """The plan of the options; BenchError for a value that no plan takes."""
    if values["pruner"] not in PRUNERS:
        raise unknown_name("pruner", values["pruner"], PRUNERS)
    try:
        plan = Plan(name="unnamed", **values)
        content = plan.model_dump(mode="json", exclude={"name", "storage"})
        return Plan(name=plan_name(datasets, content) if name is None else name, **values)
    except ValidationError as error:
        raise BenchError(f"The search cannot be planned: {faults(error)}.") from error


def _at_precision(profile: Profile, rules: Protocol) -> Profile:
    """The profile with the precision that applies: the protocol's overrules its own."""
    return profile.model_copy(update={"precision": rules.precision or profile.precision})


def _teller(quiet: bool, verbose: bool) -> Any:
    """The function that prints what trials do."""

    def tell(one: OneStudy, number: int, event: Event) -> None:
        line = _line(event, verbose)
        failed = isinstance(event, Tried) and event.outcome == "failed"
        if line is not None and (failed or not quiet):
            said = f"{time.strftime('%H:%M:%S')} {one.label}, trial {number}: {line}"
            console.print(said, highlight=False, markup=False, soft_wrap=True)

    return tell


def _line(event: Event, verbose: bool) -> str | None:
    match event:
        case Started(device=device):
            return f"starts on {device}" if verbose else None
        case Epoch():
            score = event.row.get("val_dsc")
            words = f", val DSC {score:.3f}" if score is not None else ""
            return f"epoch {event.epoch} of {event.epochs}{words}" if verbose else None
        case Tried(outcome="failed"):
            return f"failed after {event.images:,} images: {event.error}"
        case Tried():
            best = "no score" if event.value is None else f"best score {event.value:.4f}"
            return f"{event.outcome} after {event.images:,} images in {duration(event.seconds)}, {best}"
    return None


def _finish(plan: Plan, every: list[OneStudy], folder: Path) -> None:
    """Print what was found and spent, draw the figures, and say how to go on."""
    from bench.reporting.search_figures import draw

    summaries = [one.summary() for one in every]
    for summary in summaries:
        _print_summary(summary)
    for one in every:
        draw(one.study, one.folder)
    whole = [summary for summary in summaries if summary.ended]
    if whole:
        images = sorted({summary.images for summary in whole})
        span = f"{images[0]:,}" + (f" to {images[-1]:,}" if len(images) > 1 else "")
        console.print(
            f"Images of each study: {span} (planned {plan.images:,}; a study ends with the batch that "
            "reaches them).",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    names = ",".join(dict.fromkeys(summary.method for summary in whole if summary.winner))
    if names:
        data = ",".join(dict.fromkeys(summary.train for summary in whole if summary.winner))
        options = f"--protocol tuned --tuned {folder} --train {data} --methods {names}"
        console.print("Next: bench run", options, highlight=False, markup=False, soft_wrap=True)
    if len(whole) < len(summaries) or any(summary.winner is None for summary in summaries):
        raise typer.Exit(1)


def _print_summary(summary: Summary) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary.trials.items())
    text = (
        f"{summary.method} on {summary.train}: {summary.count} trials ({counts}), "
        f"{summary.images:,} of {summary.planned:,} images"
    )
    if summary.winner is not None:
        own = "" if summary.own is None else f", its own recipe {summary.own:.4f}"
        found = [f"{name}={value}" for name, value in summary.winner.settings.items()]
        found += [f"recipe.{name}={_short(value)}" for name, value in summary.winner.recipe.items()]
        text += (
            f"; best {summary.score} {summary.winner.value:.4f} by trial {summary.winner.trial}{own}: "
            f"{', '.join(found)}"
        )
    if summary.given_up:
        text += f". Given up: as many trials failed as were planned. The first: {summary.error}"
    elif summary.winner is None:
        text += ". No trial was complete, so there is no winner"
    console.print(
        f"{text}.", highlight=False, markup=False, soft_wrap=True,
        style="red" if summary.winner is None else None,
    )  # fmt: skip


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def study_rows(out: Path) -> list[dict[str, Any]]:
    """A row per study of a results folder, for `bench list studies`."""
    return [
        {
            "study": one.name,
            "trials": one.count,
            "images": one.images,
            "planned": one.planned,
            "state": "done" if one.ended else "given up" if one.given_up else "unfinished",
            "score": one.score,
            "best": None if one.winner is None else round(one.winner.value, 4),
            "trial": None if one.winner is None else one.winner.trial,
            "own recipe": None if one.own is None else round(one.own, 4),
        }
        for folder in searches(out)
        for one in read_summaries(folder)
    ]
