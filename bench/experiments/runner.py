"""Running a matrix: plan against what is stored, let workers do the rest, record every end."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.paths import cache_root
from bench.core.provenance import environment, now
from bench.experiments.cells import CellRecord, CellRequest, load_cell
from bench.experiments.early import refuse_mistakes
from bench.experiments.executors.choice import Choice
from bench.experiments.executors.interface import Executor
from bench.experiments.executors.local import LocalExecutor
from bench.experiments.executors.make import make_executor
from bench.experiments.executors.shared_files import Places
from bench.experiments.identity import Resolution
from bench.experiments.locks import held, in_use
from bench.experiments.messages import Event, Failed, Finished, Job, Resolved, Timed
from bench.experiments.sources import Sources
from bench.experiments.store import CellStore, request_digest
from bench.registry import plugin_files, require_method

SECONDS_BETWEEN_LOOKS = 1.0  # at the locks of cells that other processes work on


@dataclass(frozen=True)
class RunOptions:
    """Where results go, where data lies and what computes.

    devices: one entry per worker, e.g. ("cpu", "cpu") or ("cuda:0",). threads: CPU threads of
    each worker. choice: the executor and its own options.
    """

    out: Path
    data: Path | None
    cards: tuple[Path, ...]
    devices: tuple[str, ...]
    threads: int
    choice: Choice = field(default_factory=Choice)

    @property
    def cells(self) -> Path:
        """The folder of cells."""
        return self.out / "cells"

    @cached_property
    def logs(self) -> Path:
        """The folder of this run's logs; no other run writes there."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        return self.out / "logs" / f"{stamp}-{socket.gethostname()}-{os.getpid()}"

    @property
    def at_a_time(self) -> int:
        """Cells at a time, as far as it is known before the run; a cluster may grant more."""
        if self.choice.packing:
            return len(set(self.devices))
        return len(self.devices) if self.choice.kind == "local" else self.choice.jobs or 1

    @property
    def places(self) -> Places:
        """The folders that workers of a cluster must see."""
        data = None if self.data is None else self.data.absolute()
        return Places(self.out.absolute(), cache_root().absolute(), data)


@dataclass
class Task:
    """One training, for one or more requests that mean the same cell, and how far it is.

    state: "train" and "score" are still to do. why: the components in which the nearest stored
    cell differs, for a cell that trains. resume: its epochs that an earlier run did and stored.
    reason: why it is unavailable or failed. weights_bytes: of what the cell will store, once
    resolved. missing: label of a test set that is asked for and not there -> why.
    """

    request: CellRequest
    state: Literal["done", "score", "train", "unavailable", "failed"]
    record: CellRecord | None = None
    why: tuple[str, ...] = ()
    resume: int = 0
    reason: str = ""
    resolution: Resolution | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    id: str = ""
    weights_bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether a worker has something to do."""
        return self.state in ("train", "score")


Report = Callable[[Task, Event], None]


def plan(requests: list[CellRequest], options: RunOptions, sources: Sources) -> list[Task]:
    """What is done, what is missing and why; imports no torch and trains nothing.

    Unknown methods and datasets, and mistakes in settings, raise BenchError at once; missing data makes its cells
    "unavailable".
    """
    for request in requests:
        require_method(request.method)
        for dataset in (request.train, *(test.dataset for test in request.tests)):
            sources.card(dataset)
    refuse_mistakes(requests)
    store = CellStore(options.cells)
    return [_planned(request, store, sources) for request in requests]


def _planned(request: CellRequest, store: CellStore, sources: Sources) -> Task:
    """The task of a request. A test set that is not there costs its own scores and nothing else."""
    there, missing = [], {}
    for test in request.tests:
        try:
            sources.test_cases(test, request.protocol)
            there.append(test)
        except BenchError as error:
            missing[test.label] = str(error)
    if not there:
        return Task(request, "unavailable", reason=next(iter(missing.values())))
    request = request.model_copy(update={"tests": tuple(there)})
    try:
        found = store.lookup(request, sources)
    except BenchError as error:
        return Task(request, "unavailable", reason=str(error))
    task = Task(request, "train", missing=missing, id=found.id, inputs=found.inputs)
    if found.record is None:
        task.why, task.resume = found.why, found.resume
    else:
        task.state, task.record = "done" if found.done else "score", found.record
    return task


def run(tasks: list[Task], options: RunOptions, sources: Sources, report: Report) -> None:
    """Do every task that is not done; each ends "done", "failed" or "unavailable".

    A failing cell is recorded with its traceback and the others go on. A cell that another process
    works on is waited for when everything else is done. KeyboardInterrupt, or another exception that
    is no Exception, lets the workers store the state of their trainings, for the next run to resume.
    """
    waiting = [task for task in tasks if task.waits]
    if not waiting:
        return
    with (
        disk_errors("store results", options.out),
        held(options.logs),  # `bench watch` sees a run by it
        make_executor(
            options.choice, options.devices, options.threads, options.logs, options.places
        ) as executor,
    ):
        _resolve(executor, waiting, options, sources)
        unique = _merge_duplicates([task for task in waiting if task.waits])
        todo = unique
        while todo:
            executor.map(
                [(task, _job(task, options, sources)) for task in todo],
                lambda task, event: _on_event(task, event, options, report),
            )
            todo = _released([task for task in unique if task.waits], options)
        for task in waiting:  # duplicates share their outcome
            first = next((other for other in unique if other.id == task.id), task)
            task.state, task.reason, task.record = first.state, first.reason, first.record


def settle(tasks: list[Task], options: RunOptions, sources: Sources) -> None:
    """Resolve every task that has something to do, as a run would, and store nothing.

    Raises BenchError with the first mistake.
    """
    waiting = [task for task in tasks if task.waits]
    with _passing_workers(options) as executor:
        _resolve(executor, waiting, options, sources)


def time_epochs(tasks: list[Task], options: RunOptions, sources: Sources) -> dict[str, float]:
    """Cell id -> seconds of one training epoch, by a few steps of each; cells that fail are left
    out."""
    found: dict[str, float] = {}

    def on_event(task: Task, event: Event) -> None:
        if isinstance(event, Timed):
            found[task.id] = event.epoch_seconds

    with _passing_workers(options) as executor:
        executor.map([(task, _job(task, options, sources, "time")) for task in tasks], on_event)
    return found


@contextmanager
def _passing_workers(options: RunOptions) -> Iterator[LocalExecutor]:
    """Workers on this machine, whose logs are deleted with them."""
    with (
        tempfile.TemporaryDirectory() as logs,
        LocalExecutor(list(options.devices), options.threads, Path(logs)) as executor,
    ):
        yield executor


def _released(busy: list[Task], options: RunOptions) -> list[Task]:
    """Wait until other processes have let go of at least one of the cells; those that are free."""
    while busy:
        free = [task for task in busy if not in_use(options.cells / task.id)]
        if free:
            return free
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return []


def _resolve(executor: Executor, tasks: list[Task], options: RunOptions, sources: Sources) -> None:
    """Check all settings before anything trains, and find the cell that each request means.

    Raises BenchError with the first mistake: it is in what the user typed, so nothing starts.
    """
    mistakes: list[str] = []

    def on_event(task: Task, event: Event) -> None:
        if isinstance(event, Resolved):
            task.resolution, task.weights_bytes = event.resolution, event.weights_bytes
        elif isinstance(event, Failed):
            detail = f"\n{event.traceback}" if event.traceback else ""
            mistakes.append(f"{task.request.label}: {event.message}{detail}")

    jobs = [(task, _job(task, options, sources, "resolve")) for task in tasks]
    executor.map(jobs, on_event)
    if mistakes:
        more = f" (and {len(mistakes) - 1} more cells)" if len(mistakes) > 1 else ""
        raise BenchError(f"Nothing was trained. {mistakes[0]}{more}")
    store = CellStore(options.cells)
    for task in tasks:
        assert task.resolution is not None
        found = store.find(task.request, task.resolution, sources)
        task.id, task.inputs, task.record = found.id, found.inputs, found.record
        task.why, task.resume = found.why, found.resume
        task.state = "done" if found.done else "score" if found.trained else "train"


def _merge_duplicates(tasks: list[Task]) -> list[Task]:
    """Merge tasks with one cell id; the kept one scores the test sets of all."""
    by_id: dict[str, Task] = {}
    for task in tasks:
        if task.id in by_id:
            first = by_id[task.id]
            tests = tuple(dict.fromkeys((*first.request.tests, *task.request.tests)))
            first.request = first.request.model_copy(update={"tests": tests})
        else:
            by_id[task.id] = task
    return list(by_id.values())


def _job(
    task: Task, options: RunOptions, sources: Sources, op: Literal["resolve", "time"] | None = None
) -> Job:
    request = task.request
    return Job(
        op=op or ("train" if task.state == "train" else "test"),
        request=request,
        request_digest=request_digest(request),
        train_cases=len(sources.split(request.train, request.protocol).train),
        id=task.id,
        inputs=task.inputs,
        folder=(options.cells / task.id).absolute() if task.id else None,
        data=options.places.data,
        cards=tuple(card.absolute() for card in options.cards),
        plugins=plugin_files(),
    )


def _on_event(task: Task, event: Event, options: RunOptions, report: Report) -> None:
    """Follow a task's events; record a failure. What another process works on stays to do."""
    if isinstance(event, Finished):
        task.state = "done"
        task.record = load_cell(options.cells / task.id / "cell.json")
    elif isinstance(event, Failed) and event.in_use:
        task.reason = event.message
    elif isinstance(event, Failed):
        was, task.state, task.reason = task.state, "failed", event.message
        if was == "train":  # a trained cell stays done when only an extra scoring failed
            task.record = _failure(task, event)
            task.record.write(options.cells / task.id)
    report(task, event)


def _failure(task: Task, event: Failed) -> CellRecord:
    assert task.resolution is not None
    return CellRecord(
        id=task.id,
        status="failed",
        key=task.resolution.key,
        request=request_digest(task.request),
        inputs=task.inputs,
        recipe=task.resolution.recipe.model_dump(mode="json"),
        network_size=task.resolution.network_size,
        title=task.resolution.title,
        family=task.resolution.family,
        provenance=environment()
        | {"finished": now(), "request": task.request.model_dump(mode="json")},
        error=f"{event.message}\n{event.traceback or ''}".rstrip(),
    )
