"""From a spec to a method that can train: the one place where methods are built."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from bench.contracts import BuildContext, MethodSpec, Settings, Tokenizer
from bench.core.errors import BenchError
from bench.method import METHOD_POWERS, Method, Normalise
from bench.recipes import Recipe
from bench.registry import choose_tokenizer
from bench.tokenizers.base import FrozenTokenizer
from bench.training.losses import LogitsMethod


def load_tokenizer(
    spec: MethodSpec, requested: str | None, roles: Mapping[Any, str], weights: bool = True
) -> FrozenTokenizer | None:
    """The frozen tokenizer of a cell, None for a method without one.

    requested: a role or NAME[@LOCATION] that overrides the spec's role. roles: the profile's
    tokenizer for each role. weights: False for the architecture alone.
    """
    chosen = choose_tokenizer(spec.tokenizer, requested, roles)
    return None if chosen is None else chosen[0].load(chosen[1], weights=weights)


def build_method(
    spec: MethodSpec, settings: Settings, context: BuildContext, recipe: Recipe
) -> Method:
    """The method of a spec; a plain network is wrapped with the recipe's loss.

    Weights are drawn from torch's global generator. Raises BenchError unless `spec.build` gives a
    `Method` that overrides `loss` and `predict`, or an `nn.Module` with a `forward` and without the
    names that only a `Method` has; and for a normalisation that the method does not take.
    """
    module = spec.build(settings, context)
    if isinstance(module, Method):
        _require_objective(module)
        method = module
    else:
        _require_network(module)
        method = LogitsMethod(module, recipe.loss)
    if recipe.normalise != "own" and method.normalisation is None:
        raise BenchError(
            f"recipe.normalise is {recipe.normalise!r}, but {type(method).__name__} takes images in "
            "[0, 1] as they are. Set recipe.normalise=own."
        )
    own = method.normalisation or "none"
    method.normalise = Normalise(own if recipe.normalise == "own" else recipe.normalise)
    return method


def _require_objective(method: Method) -> None:
    kind = type(method)
    missing = [
        signature
        for signature, overridden in (
            ("loss(batch)", kind.loss is not Method.loss),
            ("predict(images)", kind.predict is not Method.predict),
        )
        if not overridden
    ]
    if missing:
        raise BenchError(
            f"{kind.__name__} does not override {' and '.join(missing)}. A Method has both; a "
            "network that only maps images to logits is a plain torch.nn.Module."
        )


def _require_network(module: Any) -> None:
    kind = type(module).__name__
    if not isinstance(module, nn.Module):
        raise BenchError(
            f"build() returns {kind}; return a torch.nn.Module that maps images to logits, or a "
            "bench.method.Method."
        )
    found = [name for name in METHOD_POWERS if hasattr(module, name)]
    if found:
        raise BenchError(
            f"{kind} has {', '.join(found)}, which only a Method has. Subclass bench.method.Method; "
            "a network of a library that uses these names otherwise goes inside a module of your own."
        )
    if type(module).forward is nn.Module.forward and "forward" not in vars(module):
        raise BenchError(
            f"{kind} is neither a network nor a Method. Give it forward(images) -> logits "
            "(N, 1, H, W), or subclass bench.method.Method."
        )


def parameter_counts(method: Method, tokenizer: Tokenizer | None) -> tuple[int, int]:
    """(trainable, total) numbers in the parameters of a method and its tokenizer.

    Each tensor counts once, under however many names it is known.
    """
    held = {id(p): p for p in method.parameters()}
    trainable = sum(p.numel() for p in held.values() if p.requires_grad)
    if isinstance(tokenizer, nn.Module):
        held |= {id(p): p for p in tokenizer.parameters()}
    return trainable, sum(p.numel() for p in held.values())
