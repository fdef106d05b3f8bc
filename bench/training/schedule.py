"""The learning rate of every optimizer step of a recipe, and the decay of its averaged weights."""

import math

from bench.recipes import Recipe


def learning_rate(recipe: Recipe, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step` (0-based, within `epoch`, 0-based).

    Warm-up rises linearly from `warmup_from` x lr; after `hold` epochs at lr the schedule falls to
    min_lr, of which the run goes through `run_share`. Cosine: Loshchilov and Hutter 2017 (arXiv:1608.03983); poly: (1 - t)^power.
    """
    match recipe.schedule_unit:
        case "epoch":
            now = float(epoch)
        case "step":
            now = epoch + step / steps_per_epoch
        case "smooth":
            now = epoch + (step + 1) / steps_per_epoch
    if now < recipe.warmup:
        share = now / recipe.warmup
        return recipe.lr * (recipe.warmup_from + (1 - recipe.warmup_from) * share)
    start = recipe.warmup + recipe.hold
    return _decayed(
        recipe, max(now - start, 0.0), max(recipe.epochs / recipe.run_share - start, 1e-12)
    )


def ema_decay(recipe: Recipe, done: int, total: int) -> float:
    """The decay of the averaged weights at optimizer step `done` (1-based) of `total`.

    The recipe must have an `ema_decay`. Warm-up as in the moving average of the latent-diffusion release.
    """
    assert recipe.ema_decay is not None
    decay = recipe.ema_decay
    if recipe.ema_horizon is not None:
        decay = min(decay, 1 - 1 / max(1.0, recipe.ema_horizon * total))
    return min(decay, (1 + done) / (10 + done)) if recipe.ema_warmup else decay


def _decayed(recipe: Recipe, elapsed: float, total: float) -> float:
    span = recipe.lr - recipe.min_lr
    t = min(elapsed / total, 1.0)
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "cosine":
            return recipe.min_lr + span * 0.5 * (1 + math.cos(math.pi * t))
        case "poly":
            return recipe.min_lr + span * (1 - t) ** recipe.power
        case "linear":
            return recipe.min_lr + span * (1 - t)
        case "cosine-restarts":
            phase = elapsed / (recipe.period or total)
            phase = phase if recipe.mirrored else phase % 1
            return recipe.min_lr + span * 0.5 * (1 + math.cos(math.pi * phase))
