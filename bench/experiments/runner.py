"""Running a matrix: plan against what is stored, let workers do the rest, record every end."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.provenance import environment, now
from bench.experiments.cells import (
    CellKey,
    CellRecord,
    CellRequest,
    cell_id,
    load_cells,
    matches,
    request_digest,
)
from bench.experiments.code_digest import code_digest
from bench.experiments.executors.local import Pool
from bench.experiments.sources import Sources
from bench.registry import plugin_files, require_method


@dataclass(frozen=True)
class RunOptions:
    """Where results go, where data lies and what computes.

    devices: one entry per worker, e.g. ("cpu", "cpu") or ("cuda:0",). threads: CPU threads of
    each worker.
    """

    out: Path
    data: Path | None
    cards: tuple[Path, ...]
    devices: tuple[str, ...]
    threads: int

    @property
    def cells(self) -> Path:
        """The folder of cells."""
        return self.out / "cells"


@dataclass
class Task:
    """One training to be done or found done, for one or more requests that mean the same cell."""

    request: CellRequest
    inputs: dict[str, str]
    state: Literal["done", "score", "train", "unavailable", "failed"]
    record: CellRecord | None = None
    reason: str = ""  # why it is unavailable or failed
    resolved: dict[str, Any] = field(default_factory=dict)
    id: str = ""


Report = Callable[[Task, dict[str, Any]], None]


def plan(requests: list[CellRequest], options: RunOptions, sources: Sources) -> list[Task]:
    """What is done, what is missing; imports no torch and trains nothing.

    Unknown methods and datasets raise BenchError at once; data that is not at hand makes its cells
    "unavailable".
    """
    for request in requests:
        require_method(request.method)
        for dataset in (request.train, *(test.dataset for test in request.tests)):
            sources.card(dataset)
    records = [record for record in load_cells(options.cells) if record.status == "done"]
    return [_plan_one(request, records, sources) for request in requests]


def _plan_one(request: CellRequest, records: list[CellRecord], sources: Sources) -> Task:
    try:
        inputs = sources.digests(request.train, request.protocol)
        for test in request.tests:
            sources.test_cases(test, request.protocol)
    except BenchError as error:
        return Task(request, {}, "unavailable", reason=str(error))
    inputs["code"] = code_digest(request.method)
    for record in records:
        if matches(record, request, inputs):
            scored = all(_is_scored(record, test, request, sources) for test in request.tests)
            return Task(request, inputs, "done" if scored else "score", record, id=record.id)
    return Task(request, inputs, "train")


def _is_scored(record: CellRecord, test: Any, request: CellRequest, sources: Sources) -> bool:
    note = record.scores_file(test.dataset, test.subset).with_suffix(".json")
    if not note.is_file() or not record.has_scores(test.dataset, test.subset):
        return False
    return json.loads(note.read_text())["inputs"] == sources.test_digest(test, request.protocol)


def run(tasks: list[Task], options: RunOptions, sources: Sources, report: Report) -> None:
    """Do every task that is not done; each ends "done", "failed" or "unavailable".

    A failing cell is recorded with its traceback and the others go on. KeyboardInterrupt ends the
    workers and leaves what they stored for the next run to resume.
    """
    waiting = [task for task in tasks if task.state in ("train", "score")]
    if not waiting:
        return
    pool = Pool(list(options.devices), options.threads, options.out / "logs")
    with disk_errors("store results", options.out), pool:
        _resolve(pool, waiting, options, sources)
        unique = _merge_duplicates([task for task in waiting if task.state in ("train", "score")])
        pool.map(
            [(task, _job(task, task.state, options, sources)) for task in unique],
            lambda task, event: _note(task, event, options, report),
        )
        for task in waiting:  # twins share their outcome
            first = next((other for other in unique if other.id == task.id), task)
            task.state, task.reason, task.record = first.state, first.reason, first.record


def _resolve(pool: Pool, tasks: list[Task], options: RunOptions, sources: Sources) -> None:
    """Check all settings before anything trains, and give every task its cell's id.

    Raises BenchError with the first mistake: it is in what the user typed, so nothing starts.
    """
    mistakes: list[str] = []

    def note(task: Task, event: dict[str, Any]) -> None:
        if event["event"] == "result":
            task.resolved = event["result"]
            key = CellKey.model_validate(task.resolved["key"])
            task.id = task.id or cell_id(key, request_digest(task.request), task.inputs)
        elif event["event"] in ("error", "crash"):
            detail = f"\n{event['traceback']}" if event["traceback"] else ""
            mistakes.append(f"{task.request.label}: {event['message']}{detail}")

    pool.map([(task, _job(task, "resolve", options, sources)) for task in tasks], note)
    if mistakes:
        more = f" (and {len(mistakes) - 1} more cells)" if len(mistakes) > 1 else ""
        raise BenchError(f"Nothing was trained. {mistakes[0]}{more}")


def _merge_duplicates(tasks: list[Task]) -> list[Task]:
    """One task per cell id; it scores every test set that its twins ask for."""
    by_id: dict[str, Task] = {}
    for task in tasks:
        if task.id in by_id:
            first = by_id[task.id]
            tests = tuple(dict.fromkeys((*first.request.tests, *task.request.tests)))
            first.request = first.request.model_copy(update={"tests": tests})
        else:
            by_id[task.id] = task
    return list(by_id.values())


def _job(task: Task, op: str, options: RunOptions, sources: Sources) -> dict[str, Any]:
    request = task.request
    return {
        "op": op,
        "id": task.id,
        "folder": str(options.cells / task.id),
        "request": request.model_dump(mode="json"),
        "request_digest": request_digest(request),
        "inputs": task.inputs,
        "train_cases": len(sources.split(request.train, request.protocol).train),
        "data": None if options.data is None else str(options.data),
        "cards": [str(file) for file in options.cards],
        "plugins": [str(file) for file in plugin_files()],
    }


def _note(task: Task, event: dict[str, Any], options: RunOptions, report: Report) -> None:
    """Follow a task's events; record a failure."""
    if event["event"] == "result":
        task.state = "done"
    elif event["event"] in ("error", "crash"):
        was, task.state, task.reason = task.state, "failed", event["message"]
        # A trained cell stays done when only an extra scoring failed, and a cell that another
        # process works on is that one's to record.
        if was == "train" and not event.get("in_use"):
            task.record = _failure(task, event)
            task.record.write(options.cells / task.id)
    report(task, event)


def _failure(task: Task, event: dict[str, Any]) -> CellRecord:
    detail = event["traceback"] or ""
    return CellRecord(
        id=task.id,
        status="failed",
        key=CellKey.model_validate(task.resolved["key"]),
        request=request_digest(task.request),
        inputs=task.inputs,
        title=task.resolved["title"],
        family=task.resolved["family"],
        provenance=environment()
        | {"finished": now(), "request": task.request.model_dump(mode="json")},
        error=f"{event['message']}\n{detail}".rstrip(),
    )
