"""A replay in a worker: the first epochs trained again, and the stored weights' predictions.

Both go through `CellContext`, as a run does. Importing this imports torch.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bench.contracts import MethodSpec, Settings
from bench.core.devices import device_name
from bench.core.errors import BenchError
from bench.core.frozen import validated
from bench.core.provenance import environment
from bench.experiments.cells import (
    RECORD,
    WEIGHTS,
    CellRecord,
    CellRequest,
    TokenizerKey,
    load_cell,
)
from bench.experiments.context import CellContext
from bench.experiments.identity import Resolution, tokenizer_key
from bench.experiments.messages import Epoch, Job, Progress, Replayed, Scoring
from bench.experiments.predictions import Predictions, read_predictions
from bench.experiments.resolve import resolve
from bench.experiments.store import recorded_resolution
from bench.registry import get_method
from bench.training.weights import load_own_state, own_state

Report = Callable[[Progress], None]
Rows = list[dict[str, float | None]]


class _Enough(Exception):
    """The epochs that were asked for are trained."""


def replay_job(job: Job, report: Report) -> Replayed:
    """Repeat a stored cell: `job.epochs` of its training, and the predictions of the request's
    test sets. Writes nothing into the cell's folder."""
    assert job.folder is not None
    record = load_cell(job.folder / RECORD)
    with tempfile.TemporaryDirectory() as folder:
        own = job.model_copy(update={"folder": Path(folder)})
        try:
            resolved = recorded(record, job.request)
            context = CellContext(own, resolved)
        except BenchError as why:  # weights to start from, a tokenizer, a setting's file
            return Replayed(unavailable=str(why))
        history: Rows = []
        equal = None
        if job.epochs:
            history, complete = first_epochs(context, job.epochs, report)
            weights = record.folder / WEIGHTS if record.folder else None
            if complete and weights is not None and weights.is_file():
                equal = _same_weights(context, weights)
            if job.request.tests:
                context = CellContext(own, resolved)  # as a run scores a cell that it did not train
        pixels = _predicted_again(context, record, report) if job.request.tests else {}
        return Replayed(
            history=tuple(history),
            weights_equal=equal,
            pixels=pixels,
            resolved_alike=_resolved_alike(job, record),
            machine=_machine(context),
        )


def recorded(record: CellRecord, request: CellRequest) -> tuple[MethodSpec, Settings, Resolution]:
    """The method's spec of today with the recorded settings, recipe and size.

    Raises BenchError where the method has no such settings any more, and for a tokenizer whose
    weights are not those of the cell.
    """
    key = record.key
    spec = get_method(key.method)
    settings = validated(spec.settings, key.settings, f"method {key.method!r}")
    tokenizer = tokenizer_key(spec, request)
    if tokenizer != key.tokenizer:
        raise BenchError(
            f"The tokenizer at hand is {_named(tokenizer)}, the cell's is {_named(key.tokenizer)}."
        )
    return spec, settings, recorded_resolution(record)


def _named(key: TokenizerKey | None) -> str:
    return "none" if key is None else f"{key.name} with weights {key.weights_hash[:12]}"


def _resolved_alike(job: Job, record: CellRecord) -> bool:
    """Whether the request means the recorded settings, recipe and size today, too."""
    try:
        return resolve(job.request, job.train_cases)[2] == recorded_resolution(record)
    except BenchError:
        return False


def first_epochs(context: CellContext, epochs: int, report: Report) -> tuple[Rows, bool]:
    """(rows of the first epochs, whether that was the whole training).

    The training is that of the recorded length, with its schedule, and ends early from outside.
    """
    rows: Rows = []

    def follow(event: Progress) -> None:
        report(event)
        if isinstance(event, Epoch):
            rows.append(event.row)
            if event.epoch == epochs < event.epochs:
                raise _Enough

    try:
        context.train(follow)
    except _Enough:
        return rows, False
    return rows, True


def _same_weights(context: CellContext, file: Path) -> bool:
    """Whether the method holds the stored weights, bit for bit."""
    stored, found = load_file(file), own_state(context.method)
    return stored.keys() == found.keys() and all(
        torch.equal(value.cpu(), stored[name]) for name, value in found.items()
    )


def _predicted_again(
    context: CellContext, record: CellRecord, report: Report
) -> dict[str, tuple[int, int]]:
    """Test set's label -> (pixels that differ from the stored masks, pixels)."""
    assert record.folder is not None
    load_own_state(context.method, load_file(record.folder / WEIGHTS))
    found = {}
    for test in context.request.tests:
        report(Scoring(test=test.label))
        stored = read_predictions(record.folder, test.label, record.tests[test.label].predictions)
        found[test.label] = differing_pixels(stored, context.predict(test)[0])
    return found


def differing_pixels(stored: Predictions, again: Predictions) -> tuple[int, int]:
    """(pixels in which the masks of two predictions of the same cases differ, pixels), over both
    grids. Raises BenchError for other cases or sizes."""
    differing = pixels = 0
    if stored.case_ids != again.case_ids:
        raise BenchError("The stored predictions are of other cases than the test set's.")
    for ours, theirs in ((stored.network, again.network), (stored.native, again.native)):
        for one, other in zip(ours, theirs, strict=True):
            if one.shape != other.shape:
                raise BenchError(f"A stored mask is {one.shape}, predicted again {other.shape}.")
            differing += int(np.count_nonzero(one != other))
            pixels += one.size
    return differing, pixels


def _machine(context: CellContext) -> dict[str, str | int | None]:
    facts = environment()
    return {
        "device": device_name(context.engine.device),
        "processor": facts["processor"],
        "torch": facts["packages"]["torch"],
        "threads": torch.get_num_threads(),
    }
