"""The optimizer of a recipe and its groups of parameters."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Recipe
from bench.training.weights import trainable

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def make_optimizer(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameters that train.

    In groups of equal weight decay and `rate`, the factor on the recipe's lr: `head_lr` for the
    parameters whose names begin as the method's `head_parameters` say. Adam's update is one pass over
    memory ("fused"): a third of the time on a CPU, one kernel per group on a GPU. Raises BenchError
    for a `head_lr` without such names.
    """
    groups = _parameter_groups(method, recipe)
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, recipe.lr, betas=recipe.betas, fused=True)
        case "adam":
            return torch.optim.Adam(groups, recipe.lr, betas=recipe.betas, fused=True)
        case "sgd":
            momentum, nesterov = recipe.momentum, recipe.nesterov
            return torch.optim.SGD(groups, recipe.lr, momentum=momentum, nesterov=nesterov)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The rate of the next step: `lr` times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["rate"]


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
    bare |= {
        id(p)
        for name, p in method.named_parameters()
        if any(part in name for part in recipe.no_decay)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in trainable(method):
        rate = recipe.head_lr if id(p) in head else 1.0
        decay = 0.0 if id(p) in bare else recipe.weight_decay
        groups.setdefault((rate, decay), []).append(p)
    return [
        {"params": params, "rate": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]
