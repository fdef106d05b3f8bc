"""One training loop for every method, readable top to bottom."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from bench.core.errors import BenchError
from bench.method import Method
from bench.protocols import Selection
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.checkpoints import load_state, save_state
from bench.training.engine import Engine
from bench.training.schedule import learning_rate
from bench.training.seeds import seed_for

SECONDS_BETWEEN_CHECKPOINTS = float(os.environ.get("GMS_BENCH_CHECKPOINT_SECONDS", "30"))

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)

Validate = Callable[[], float]
"""Mean DSC in [0, 1] of the method as it stands."""


class TrainingFailure(BenchError):
    """Training cannot go on; the text says at which epoch and why."""


@dataclass
class TrainingRun:
    """Everything the loop needs besides the method and its batches.

    validate: "val" and/or "test" -> a function that scores the method now. The selection rule
    reads "val" for best-val and "test" for best-test.
    resume_file: where unfinished state is kept, None to keep none.
    """

    recipe: Recipe
    selection: Selection
    validate: dict[str, Validate]
    validate_every: int
    seed: int
    engine: Engine
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
    state = _State(method, optimizer, recipe, run.selection)
    if run.resume_file is not None and run.resume_file.exists():
        state.restore(load_state(run.resume_file))
    compute_loss = torch.compile(method.loss) if engine.compile else method.loss
    saved_at = started = time.monotonic()
    while state.epoch < recipe.epochs and not state.out_of_patience():
        epoch = state.epoch
        epoch_started = time.monotonic()
        torch.manual_seed(seed_for(run.seed, "epoch", epoch))  # dropout, noise, mixing
        method.train()
        losses = _LossMeans()
        for step, batch in enumerate(batches.epoch(epoch)):
            lr = learning_rate(recipe, epoch, step, batches.steps)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["rate"]
            batch.images = engine.place(batch.images)
            with engine.autocast():
                parts = compute_loss(batch)
            optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            if recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(_trainable(method), recipe.grad_clip)
            optimizer.step()
            state.update_average()
            losses.add(parts)
            run.on_progress({"epoch": epoch, "step": step, "steps": batches.steps})
        row = {"epoch": epoch + 1, "lr": lr, **losses.means(epoch)}
        row |= _validate(run, state, last=epoch + 1 == recipe.epochs)
        row["seconds"] = time.monotonic() - epoch_started
        state.finish_epoch(row)
        run.on_progress(row | {"epochs": recipe.epochs})
        if run.resume_file and time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            save_state(run.resume_file, state.checkpoint(time.monotonic() - started))
            saved_at = time.monotonic()
    state.load_selected()
    return Trained(state.history, state.selected_epoch, state.seconds + time.monotonic() - started)


def make_optimizer(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameters that train.

    In groups of equal weight decay and `rate`, the factor on the recipe's lr: `head_lr` for the
    parameters whose names begin as the method's `head_parameters` say. Raises BenchError for a
    `head_lr` without such names.
    """
    groups = _parameter_groups(method, recipe)
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, recipe.lr, betas=recipe.betas)
        case "adam":
            return torch.optim.Adam(groups, recipe.lr, betas=recipe.betas)
        case "sgd":
            momentum, nesterov = recipe.momentum, recipe.nesterov
            return torch.optim.SGD(groups, recipe.lr, momentum=momentum, nesterov=nesterov)


def _parameter_groups(method: Method, recipe: Recipe) -> list[dict[str, Any]]:
    heads = method.head_parameters
    if recipe.head_lr != 1 and not heads:
        raise BenchError(
            f"recipe.head_lr is {recipe.head_lr}, but this method names no `head_parameters` to "
            "learn at another rate. Leave head_lr at 1."
        )
    head = {id(p) for name, p in method.named_parameters() if heads and name.startswith(heads)}
    norms = [module for module in method.modules() if isinstance(module, NORMS)]
    bare = {id(p) for norm in norms for p in norm.parameters() if not recipe.decay_norms}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in _trainable(method):
        rate = recipe.head_lr if id(p) in head else 1.0
        decay = 0.0 if id(p) in bare else recipe.weight_decay
        groups.setdefault((rate, decay), []).append(p)
    return [
        {"params": params, "rate": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]


def own_state(method: Method) -> dict[str, Tensor]:
    """The method's weights and buffers without a frozen tokenizer's: what a cell stores.

    A tensor known by two names is stored under its first.
    """
    seen: set[int] = set()
    if isinstance(method.tokenizer, nn.Module):
        seen = {id(t) for t in method.tokenizer.state_dict(keep_vars=True).values()}
    state: dict[str, Tensor] = {}
    for name, tensor in method.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def load_own_state(method: Method, state: dict[str, Tensor]) -> None:
    """Copy what `own_state` gave back into the method; names and shapes must agree."""
    current = own_state(method)
    if current.keys() != state.keys():
        odd = sorted(current.keys() ^ state.keys())[:3]
        raise BenchError(
            f"The stored weights are of another network: {odd} differ. The method's code or "
            "settings changed since; run the cell again."
        )
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(state[name])


def _trainable(method: nn.Module) -> list[nn.Parameter]:
    return [p for p in method.parameters() if p.requires_grad]


def _validate(run: TrainingRun, state: "_State", last: bool) -> dict[str, float]:
    """val_dsc and test_dsc of this epoch, NaN where not measured."""
    row = {"val_dsc": float("nan"), "test_dsc": float("nan")}
    if last or (state.epoch + 1) % run.validate_every == 0:
        with state.averaged():
            row |= {f"{part}_dsc": score() for part, score in run.validate.items()}
    return row


class _LossMeans:
    """Sums the loss parts on the device, so that a step never waits for the device."""

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
    """What changes during training, and how it is stored, averaged and selected."""

    def __init__(
        self,
        method: Method,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        selection: Selection,
    ) -> None:
        self.method, self.optimizer = method, optimizer
        self.recipe, self.selection = recipe, selection
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0  # of earlier attempts
        self.selected_epoch = 0
        self.best = -1.0
        self.selected: dict[str, Tensor] = {}
        self.average: dict[str, Tensor] | None = None
        if recipe.ema_decay is not None:
            named = {n: p.detach() for n, p in method.named_parameters() if p.requires_grad}
            self.average = {n: p.clone() for n, p in named.items()}
            self._weights, self._averages = list(named.values()), list(self.average.values())

    def update_average(self) -> None:
        """Exponential moving average of the weights after an optimizer step."""
        if self.average is not None and self.recipe.ema_decay is not None:
            torch._foreach_lerp_(self._averages, self._weights, 1 - self.recipe.ema_decay)

    def averaged_weights(self) -> dict[str, Tensor]:
        """What is validated and stored: averaged weights where the recipe averages, and buffers as
        they are now."""
        now = own_state(self.method)
        return now if self.average is None else now | self.average

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The method with its averaged weights, where the recipe averages."""
        if self.average is None:
            yield
            return
        raw = {n: t.clone() for n, t in own_state(self.method).items()}
        load_own_state(self.method, self.averaged_weights())
        yield
        load_own_state(self.method, raw)

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Store the row; keep these weights if the selection rule prefers them."""
        self.history.append(row)
        self.epoch += 1
        if self.selection == "last":
            better = self.epoch == self.recipe.epochs
        else:
            score = row["val_dsc" if self.selection == "best-val" else "test_dsc"]
            better = score > self.best  # False for NaN; the earlier epoch wins a tie
            self.best = max(self.best, score) if better else self.best
        if better:
            self.selected = {n: t.cpu().clone() for n, t in self.averaged_weights().items()}
            self.selected_epoch = self.epoch

    def out_of_patience(self) -> bool:
        """Whether validation has not improved for as many epochs as the recipe waits."""
        patience = self.recipe.patience
        if patience is None or self.selection == "last":
            return False
        return self.epoch - self.selected_epoch >= patience

    def load_selected(self) -> None:
        """Put the selected weights into the method."""
        load_own_state(self.method, self.selected)

    def checkpoint(self, seconds: float) -> dict[str, Any]:
        """Everything needed to go on. Random streams are functions of (seed, epoch)."""
        history = [
            {k: None if math.isnan(v) else v for k, v in row.items()} for row in self.history
        ]  # JSON has no NaN
        return {
            "epoch": self.epoch,
            "weights": own_state(self.method),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "selected": self.selected,
            "selected_epoch": self.selected_epoch,
            "best": self.best,
            "history": history,
            "seconds": self.seconds + seconds,
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Continue from what `checkpoint` gave."""
        load_own_state(self.method, stored["weights"])
        self.optimizer.load_state_dict(stored["optimizer"])
        if stored["average"] is not None and self.average is not None:
            for name, tensor in stored["average"].items():
                self.average[name].copy_(tensor)
        self.epoch, self.selected = stored["epoch"], stored["selected"]
        self.selected_epoch, self.best = stored["selected_epoch"], stored["best"]
        self.history = [
            {k: float("nan") if v is None else v for k, v in row.items()}
            for row in stored["history"]
        ]
        self.seconds = stored["seconds"]
