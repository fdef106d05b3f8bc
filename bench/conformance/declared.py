"""Checks of what a method declares: the names it uses, and the values it gives them."""

import difflib
import typing

from torch import nn

from bench.conformance.checks import Broken
from bench.conformance.subject import Subject
from bench.contracts import LatentKind
from bench.method import METHOD_POWERS, NETWORK_POWERS, Method

CUTOFF = 0.82  # of difflib's ratio, from which a name counts as a misspelling
SYNONYMS = {"note": "footnotes", "notes": "footnotes", "remarks": "footnotes"}
REQUIRED = ("loss", "predict")  # a misspelling of these shows when the method is built


def names_are_the_contracts(subject: Subject) -> str:
    """No public attribute of the author's class is nearly, but not quite, a name of the contract."""
    module = subject.built.authored
    known = {*NETWORK_POWERS, *METHOD_POWERS}
    for name in _public_names(module):
        near = difflib.get_close_matches(name, known - {*REQUIRED}, n=1, cutoff=CUTOFF)
        meant = SYNONYMS.get(name) or (near[0] if near else None)
        if name not in known and meant is not None:
            raise Broken(
                f"{type(module).__name__}.{name} is not read by the harness; did you mean "
                f"{meant!r}? Rename it, or give it a name that is farther from the contract's."
            )
    declared = [name for name in (*NETWORK_POWERS, *METHOD_POWERS) if name in _public_names(module)]
    return f"declares {', '.join(declared) or 'nothing besides forward'}"


def _public_names(module: nn.Module) -> set[str]:
    """Attributes that the author's classes or this instance add, without submodules and tensors."""
    classes = [kind for kind in type(module).__mro__ if kind not in Method.__mro__]
    names = {name for kind in classes for name in vars(kind)} | vars(module).keys()
    return {name for name in names - vars(nn.Module()).keys() if not name.startswith("_")}


def declared_powers_are_valid(subject: Subject) -> str:
    """`latent_inputs` are kinds of latents, names of parameters exist, texts are texts."""
    method = subject.built
    for power in ("latent_inputs", "unused_parameters", "head_parameters", "footnotes"):
        _require_texts(power, getattr(method, power))
    kinds = typing.get_args(LatentKind)
    for kind in method.latent_inputs:
        if kind not in kinds:
            raise Broken(f"latent_inputs names {kind!r}; latents are of {' and '.join(kinds)}.")
    if method.latent_inputs and subject.spec.tokenizer is None:
        raise Broken("latent_inputs needs SPEC.tokenizer: set it to 'continuous' or 'discrete'.")
    names = [name for name, _ in method.named_parameters()]
    for name in method.unused_parameters:
        if name not in names:
            raise Broken(f"unused_parameters names {name!r}, and no parameter has that name.")
    for prefix in method.head_parameters:
        if not any(name.startswith(prefix) for name in names):
            raise Broken(f"head_parameters names {prefix!r}, and no parameter's name begins so.")
    if not isinstance(method.bf16_unsupported, str):
        raise Broken("bf16_unsupported must be a text that says why, or empty.")
    steps = method.overfit_steps
    if steps is not None and not (isinstance(steps, int) and steps > 0):
        raise Broken(f"overfit_steps is {steps!r}; it must be a positive whole number, or None.")
    return f"latents of {' and '.join(method.latent_inputs) or 'nothing'}"


def _require_texts(power: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        raise Broken(f"{power} is {value!r}; it must be a tuple of texts, such as ('a',).")
