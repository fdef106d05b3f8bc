"""One training loop for every method, readable top to bottom."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.method import Method
from bench.protocols import Selection, SelectionMetric
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.checkpoints import Pace, load_state
from bench.training.engine import Engine
from bench.training.optimizer import make_optimizer, set_learning_rate
from bench.training.schedule import ema_decay, learning_rate
from bench.training.seeds import seed_for
from bench.training.selection import Selected
from bench.training.weights import WeightAverage, load_own_state, own_state, trainable

SECONDS_BETWEEN_CHECKPOINTS = float(os.environ.get("GMS_BENCH_CHECKPOINT_SECONDS", "30"))

Validate = Callable[[], dict[str, float]]
"""Scores in [0, 1] of the method at the time of the call: "dsc" always, others as the metric asks."""


class TrainingFailure(BenchError):
    """Training cannot go on; the text says at which epoch and why."""


@dataclass
class TrainingRun:
    """Everything the loop needs besides the method and its batches.

    validate: "val" and/or "test" -> a function that scores the method. The selection rule reads
    "val" for best-val and "test" for best-test. metric: the score that it compares.
    resume_file: where unfinished state is kept, None to keep none.
    """

    recipe: Recipe
    selection: Selection
    validate: dict[str, Validate]
    validate_every: int
    seed: int
    engine: Engine
    metric: SelectionMetric = "dsc"
    resume_file: Path | None = None
    on_progress: Callable[[dict[str, Any]], None] = lambda event: None


@dataclass
class Trained:
    """The outcome: the method holds the selected weights.

    history: one row per epoch. epoch: 1-based, of the selected weights. seconds: spent training,
    earlier attempts included.
    """

    history: list[dict[str, float]]
    epoch: int
    seconds: float


def train(method: Method, batches: TrainingBatches, run: TrainingRun) -> Trained:
    """Train `method` in place and leave the weights in it that the selection rule picks.

    Raises TrainingFailure on a loss that is not finite. The state at an epoch's start is a function
    of (seed, epoch, stored weights and optimizer), so a run that resumes from `resume_file` gives
    the numbers of one that was never stopped.
    """
    recipe, engine = run.recipe, run.engine
    optimizer = make_optimizer(method, recipe)
    average = WeightAverage(method, kept=recipe.ema_decay is not None)
    total = recipe.epochs * batches.steps
    selected = Selected(run.selection, recipe.epochs, run.metric)
    state = _State(method, optimizer, average, selected)
    if run.resume_file is not None and run.resume_file.exists():
        state.restore(load_state(run.resume_file))
    pace, started = Pace(), time.monotonic()
    while state.epoch < recipe.epochs and not selected.waited(state.epoch, recipe.patience):
        epoch = state.epoch
        epoch_started = time.monotonic()
        # Dropout, noise and mixing draw from torch's generator. Seeding it by epoch, not once,
        # makes an epoch's draws independent of whether the run was stopped before it.
        torch.manual_seed(seed_for(run.seed, "epoch", epoch))
        method.train()  # validation and prediction left it in eval mode
        losses = _LossMeans()
        for step, batch in enumerate(batches.epoch(epoch)):
            lr = learning_rate(recipe, epoch, step, batches.steps)
            set_learning_rate(optimizer, lr)
            batch.images = engine.place(batch.images)
            with engine.autocast():  # of the forward pass alone; gradients follow its types
                parts = method.loss(batch)
            optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            if recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(trainable(method), recipe.grad_clip)
            optimizer.step()
            if average.kept:
                done = epoch * batches.steps + step + 1
                average.update(ema_decay(recipe, done, total))
            losses.add(parts)
            run.on_progress({"epoch": epoch, "step": step, "steps": batches.steps})
        row = {"epoch": epoch + 1, "lr": lr, **losses.means(epoch)}
        row |= _validate(run, average, epoch)
        row["seconds"] = time.monotonic() - epoch_started
        if selected.prefers(row):
            selected.take(row, average.state())
        state.finish_epoch(row)
        run.on_progress(row | {"epochs": recipe.epochs})
        if run.resume_file and pace.due(SECONDS_BETWEEN_CHECKPOINTS):
            pace.write(run.resume_file, state.checkpoint(time.monotonic() - started))
    load_own_state(method, selected.weights)
    return Trained(state.history, selected.epoch, state.seconds + time.monotonic() - started)


def _validate(run: TrainingRun, average: WeightAverage, epoch: int) -> dict[str, float]:
    """val_dsc, test_dsc and the selection's own score of the averaged weights, NaN where not
    measured in this epoch."""
    scores = dict.fromkeys(("dsc", run.metric.replace("-", "_")))
    row = {f"{subset}_{score}": float("nan") for subset in ("val", "test") for score in scores}
    last = epoch + 1 == run.recipe.epochs  # always measured: its weights may be the best ones
    if last or (epoch + 1) % run.validate_every == 0:
        with average.applied():
            for subset, validate in run.validate.items():
                row |= {f"{subset}_{score}": value for score, value in validate().items()}
    return row


class _LossMeans:
    """Sums the loss terms on the device, so that a step never waits for the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1

    def means(self, epoch: int) -> dict[str, float]:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise TrainingFailure(
                f"{', '.join(bad)} is not finite in epoch {epoch + 1}. Training stops; try a lower "
                "learning rate (--set recipe.lr=...), gradient clipping or fp32."
            )
        return means


class _State:
    """How far a run is, and its checkpoint. Random streams are functions of (seed, epoch), so none
    is stored."""

    def __init__(
        self,
        method: Method,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage,
        selected: Selected,
    ) -> None:
        self.method, self.optimizer = method, optimizer
        self.average, self.selected = average, selected
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0  # of earlier attempts

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Count the epoch and keep its row."""
        self.history.append(row)
        self.epoch += 1

    def checkpoint(self, seconds: float) -> dict[str, Any]:
        """Everything needed to go on. seconds: spent in this attempt."""
        history = [
            {k: None if math.isnan(v) else v for k, v in row.items()} for row in self.history
        ]  # JSON has no NaN
        return {
            "epoch": self.epoch,
            "weights": own_state(self.method),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.average,
            "selected": self.selected.state(),
            "history": history,
            "seconds": self.seconds + seconds,
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Continue from what `checkpoint` gave."""
        load_own_state(self.method, stored["weights"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.average.restore(stored["average"])
        self.selected.restore(stored["selected"])
        self.epoch, self.seconds = stored["epoch"], stored["seconds"]
        self.history = [
            {k: float("nan") if v is None else v for k, v in row.items()}
            for row in stored["history"]
        ]
