"""What every executor offers: jobs in, events out."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

from bench.experiments.messages import Event, Job

Report = Callable[[Any, Event], None]
"""Called as report(tag, event) from the executor's threads."""


class Executor(Protocol):
    """A context manager that does jobs.

    Leaving it with an exception that is no Exception (a signal, such as Ctrl-C) lets the jobs under
    way store the state of their trainings; they get no last event.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None: ...

    def map(self, jobs: Iterable[tuple[Any, Job]], report: Report) -> None:
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each.

        The last event of each is its result or `Failed`. An exception of `report` ends the rest and
        is raised here.
        """
