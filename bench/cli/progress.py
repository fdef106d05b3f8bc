"""What `bench run` prints while cells are at work: a live block in a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from bench.cli.options import counted
from bench.experiments.course import Course, duration
from bench.experiments.messages import Event, Failed, Finished
from bench.experiments.runner import Task

Amount = Literal["quiet", "normal", "verbose"]
BAR = 40  # columns


@contextmanager
def shown(
    course: Course, console: Console, amount: Amount
) -> Iterator[Callable[[Task, Event], None]]:
    """Gives the function that is called with each event of a run.

    quiet: only failures are printed. normal: an epoch's line at most every ten seconds for a cell.
    verbose: a line for every epoch. In a terminal, what is at work is shown live instead.
    """
    if amount == "normal" and console.is_terminal:
        with Live(
            console=console,
            transient=True,
            refresh_per_second=4,
            get_renderable=lambda: block(course),
        ):
            yield lambda task, event: _ends(course, console, task, event)
    else:
        yield lambda task, event: _lines(course, console, amount, task, event)


def _lines(course: Course, console: Console, amount: Amount, task: Task, event: Event) -> None:
    line = course.see(task, event)
    if line is None or (amount == "quiet" and not _failure(event)):
        return
    if amount == "verbose" or course.due(task, event):
        said = f"{time.strftime('%H:%M:%S')} {line}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)


def _ends(course: Course, console: Console, task: Task, event: Event) -> None:
    line = course.see(task, event)
    if line is not None and isinstance(event, Finished | Failed):
        style = "red" if _failure(event) else None
        console.print(line, style=style, highlight=False, markup=False)


def _failure(event: Event) -> bool:
    return isinstance(event, Failed) and not event.in_use


def block(course: Course) -> RenderableType:
    """The whole run, then the cells at work: two lines each, more where they are long."""
    parts: list[RenderableType] = []
    if not course.total:  # workers import torch and resolve the requests
        waiting = sum(task.waits for task in course.tasks)
        parts.append(Text(f"checking the settings of {counted(waiting, 'cell')}"))
    else:
        left = course.left()
        rest = f", {duration(left)} left" if left is not None else ""
        parts.append(Text(f"{course.ended} of {course.total} cells done{rest}"))
        share = course.ended + sum(cell.share for cell in course.working.values())
        parts.append(Padding(ProgressBar(course.total, share, width=BAR), 0))
    for cell in list(course.working.values()):
        parts.append(Text(f"cell {cell.number} of {course.total} {cell.task.request.label}"))
        doing = "; ".join(filter(None, (cell.doing, cell.step)))
        parts.append(Text(f"  {doing}", style="dim"))
    return Group(*parts)
