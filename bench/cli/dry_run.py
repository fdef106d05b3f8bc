"""`bench run --dry-run`: what a run would do, resolved as the run itself would."""

from collections.abc import Sequence

from rich.markup import escape

from bench.cli.options import console, counted
from bench.experiments.cells import readable_cells
from bench.experiments.course import duration
from bench.experiments.estimate import Expectation, Guess, disk, epochs_left, measured
from bench.experiments.runner import RunOptions, Task, settle, time_epochs
from bench.experiments.sources import Sources


def dry_run(tasks: list[Task], options: RunOptions, sources: Sources, estimate: bool) -> None:
    """Print each cell's state, size, length and reason, then the disk and, if asked, the time."""
    if any(task.waits for task in tasks):
        settle(tasks, options, sources)
    for task in tasks:
        console.print(
            f"{task.state:11} {task.request.label}: {'; '.join(_facts(task))}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if not any(task.waits for task in tasks):
        return
    need = disk(tasks, sources, options.out, len(options.devices))
    console.print(
        f"Disk: about {_size(need.stored)} to store, up to {_size(need.passing)} more while cells "
        f"train; {_size(need.free)} are free.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if estimate:
        _print_times(tasks, options, sources)


def _facts(task: Task) -> list[str]:
    """What to know of a task, in phrases."""
    if task.state == "unavailable":
        return [task.reason]
    facts = _size_and_length(task)
    if task.resume:
        facts.append(f"resume at epoch {task.resume + 1}")
    if task.state == "train" and task.why:
        facts.append(f"the nearest stored cell differs in {', '.join(task.why)}")
    if task.id:
        facts.append(task.id)
    return [*facts, *(f"without {label}: {why}" for label, why in task.missing.items())]


def _size_and_length(task: Task) -> list[str]:
    if task.resolution is None:
        if task.record is None:
            return []
        key = task.record.key
        return [
            f"{task.record.network_size} px",
            counted(key.epochs, "epoch"),
            f"recipe {key.recipe}",
        ]
    found = task.resolution
    facts = [
        f"{found.network_size} px",
        f"{counted(found.recipe.epochs, 'epoch')} in batches of {found.recipe.batch_size}",
        f"recipe {found.key.recipe}",
        f"initial weights {found.initial_weights}",
    ]
    tokenizer = found.key.tokenizer
    return facts + ([f"tokenizer {tokenizer.name}"] if tokenizer else [])


def _print_times(tasks: list[Task], options: RunOptions, sources: Sources) -> None:
    """Time of each cell to train, from stored cells of its kind, else from what `bench measure`
    stored, else from a few timed steps."""
    todo = list({task.id: task for task in tasks if task.state == "train"}.values())
    known = Expectation(sources, readable_cells(options.cells), options.devices[0])
    page, device = options.out / "efficiency", options.devices[0]
    guesses = {
        task.id: known.training(task) or measured(task, known.images(task), page, device)
        for task in todo
    }
    rest = [task for task in todo if guesses[task.id] is None]
    if options.choice.kind != "local":
        rest = []  # steps on this machine say nothing of the cluster's
    alike: dict[str, list[Task]] = {}  # all but the seed, which changes no time
    for task in rest:
        alike.setdefault(task.request.model_copy(update={"seed": 0}).model_dump_json(), []).append(
            task
        )
    timed = [group[0] for group in alike.values()]
    seconds = time_epochs(timed, options, sources) if timed else {}
    for group in alike.values():
        for task in group if group[0].id in seconds else ():
            guesses[task.id] = Guess(
                seconds[group[0].id] * epochs_left(task), "a few timed steps, no validation"
            )
    for task in todo:
        guess = guesses[task.id]
        words = "not known" if guess is None else f"{duration(guess.seconds)} ({guess.basis})"
        console.print(f"time        {escape(task.request.label)}: {words}", highlight=False)
    _print_total([guess for guess in guesses.values() if guess], len(todo), len(options.devices))


def _print_total(known: Sequence[Guess], cells: int, workers: int) -> None:
    total = sum(guess.seconds for guess in known)
    if known:
        longest = max(guess.seconds for guess in known)
        at_once = max(longest, total / workers)
        console.print(
            f"Time: {duration(total)} of training in {len(known)} of {cells} cells, about "
            f"{duration(at_once)} with {workers} at a time.",
            highlight=False,
        )


def _size(count: float) -> str:
    """12 MB; 1.2 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
