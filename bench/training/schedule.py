"""The learning rate of every optimizer step under a recipe."""

import math

from bench.recipes import Recipe


def learning_rate(recipe: Recipe, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step` (0-based, within `epoch`, 0-based).

    Warm-up rises linearly from `warmup_from` x lr; then the schedule falls from lr to min_lr.
    Cosine: Loshchilov and Hutter 2017 (arXiv:1608.03983); poly: (1 - t)^power.
    """
    if recipe.schedule_unit == "step":
        now, total = float(epoch * steps_per_epoch + step), recipe.epochs * steps_per_epoch
    elif recipe.schedule_unit == "epoch":
        now, total = float(epoch), recipe.epochs
    else:
        now, total = epoch + (step + 1) / steps_per_epoch, recipe.epochs
    if now < recipe.warmup:
        share = now / recipe.warmup
        return recipe.lr * (recipe.warmup_from + (1 - recipe.warmup_from) * share)
    elapsed = now - recipe.warmup
    return _decayed(recipe, elapsed, max(total - recipe.warmup, 1e-12))


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
