"""What a method is, in facts and counts, without its weights.

Networks are built on the meta device, which has shapes but no numbers: a network of 400 M
parameters is counted in about a second and in no memory.
"""

import inspect
import types
import typing
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, Union

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from bench.core.frozen import Frozen, validated
from bench.method import Method
from bench.protocols import get_profile
from bench.recipes import Recipe
from bench.registry import get_method
from bench.reporting.published import Edition
from bench.tokenizers.base import FrozenTokenizer
from bench.training.build import build_method, load_tokenizer, parameter_counts

IMAGE_SIDE = 224  # px: GMACs are those of one image of this side


class SettingInfo(Frozen):
    """One option of a method: its name, type as written, default, and the value described here."""

    name: str
    type: str
    default: Any
    value: Any


class MethodDescription(Frozen):
    """Everything that `bench describe method NAME` prints.

    alternatives: further native recipes, chosen by --set recipe.name=NAME. normalise: what becomes
    of images in [0, 1] before the network. original: what its authors
    do, a line per topic with file and lines; departures: what differs here. sizes: which image sides the network takes. tokenizer: the role it needs; tokenizer_counted: the
    one that the counts below include. total_params: trainable, frozen and the tokenizer's, each
    tensor once. gmacs_224: 1e9 multiply-accumulates of one inference on one image of 224 px, as
    the harness runs it: on a network of side `network_side_224`, tokenizer included. inference: what
    was counted, `predict_step` where a whole `predict` repeats it (sampling steps, mirrored views).
    param_shapes: [[shape, count], ...] of the trainable tensors, sorted.
    """

    name: str
    title: str
    family: str
    summary: str
    citation: str
    upstream: str
    licence: str
    count_explanation: str
    settings: tuple[SettingInfo, ...]
    settings_help: str
    recipe: Recipe
    alternatives: tuple[Recipe, ...]
    normalise: str
    original: tuple[str, ...]
    departures: tuple[str, ...]
    sizes: str
    tokenizer: str | None
    tokenizer_counted: str | None
    trainable_params: int
    total_params: int
    gmacs_224: float
    network_side_224: int
    inference: Literal["predict", "predict_step"]
    param_shapes: tuple[tuple[tuple[int, ...], int], ...]


def describe_method(
    name: str, settings: dict[str, Any] | None = None, tokenizer: str | None = None
) -> MethodDescription:
    """The method called `name` under `settings`, counted with `tokenizer`.

    tokenizer: NAME or NAME@LOCATION, None for the spec's `reference_tokenizer`, else the one that the
    paper profile gives its role.
    Reads and fetches no weights. Raises BenchError for an unknown method, setting or tokenizer.
    """
    spec = get_method(name)
    chosen = validated(spec.settings, settings or {}, f"method {name!r}")
    side = spec.size.fit(IMAGE_SIDE)
    method, frozen = on_meta(spec, chosen, tokenizer or spec.reference_tokenizer)
    trainable, total = parameter_counts(method, frozen)
    return MethodDescription(
        name=spec.name,
        title=spec.title,
        family=spec.family,
        summary=spec.summary,
        citation=spec.citation,
        upstream=spec.upstream,
        licence=spec.licence,
        count_explanation=spec.count_explanation,
        settings=setting_infos(chosen),
        settings_help=settings_help(spec.settings),
        recipe=spec.recipe,
        alternatives=spec.alternatives,
        normalise=method.normalise.words,
        original=original_in_lines(spec),
        departures=spec.original.departures if spec.original else (),
        sizes=sizes_in_words(spec.size),
        tokenizer=spec.tokenizer,
        tokenizer_counted=None if frozen is None else frozen.name,
        trainable_params=trainable,
        total_params=total,
        gmacs_224=gmacs(method, side),
        network_side_224=side,
        inference="predict_step" if method.repeats_a_step else "predict",
        param_shapes=shape_counts(p for p in method.parameters() if p.requires_grad),
    )


def on_meta(
    spec: MethodSpec, settings: Settings, tokenizer: str | None
) -> tuple[Method, FrozenTokenizer | None]:
    """(the method, its tokenizer) on the meta device, in eval mode, built for images of 224 px.

    tokenizer: NAME or NAME@LOCATION, None for that of the paper profile.
    """
    side = spec.size.fit(IMAGE_SIDE)
    with torch.device("meta"):
        frozen = load_tokenizer(spec, tokenizer, get_profile("paper").tokenizers, weights=False)
        context = BuildContext(side, frozen, load_weights=False)
        method = build_method(spec, settings, context, spec.recipe)
    return method.to("meta").eval(), frozen


def original_in_lines(spec: MethodSpec) -> tuple[str, ...]:
    """What the method's authors do: where it was read, then "topic: what (file and lines)"."""
    if spec.original is None:
        return ()
    topics = spec.original.topics.items()
    return (spec.original.code, *(f"{name}: {what} ({where})" for name, (what, where) in topics))


def count_rows(names: Iterable[str], edition: Edition | None = None) -> list[dict[str, Any]]:
    """The paper's column of parameters, without a training: a row per method at default settings.

    Keys: method, trainable, total, gmacs_224; with an edition also printed_m (its number as
    printed, None where it prints none) and why (what explains a difference). Raises BenchError for
    an unknown method.
    """
    rows = []
    for name in names:
        facts = describe_method(name)
        row: dict[str, Any] = {
            "method": name,
            "trainable": facts.trainable_params,
            "total": facts.total_params,
            "gmacs_224": round(facts.gmacs_224, 4),
        }
        if edition is not None:
            number = edition.find(name, "params_m")
            row["printed_m"] = None if number is None else number.printed
            row["why"] = facts.count_explanation
        rows.append(row)
    return rows


def shape_counts(parameters: Iterable[nn.Parameter]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The multiset of shapes, as sorted (shape, count) pairs."""
    return tuple(sorted(Counter(tuple(p.shape) for p in parameters).items()))


def gmacs(method: Method, side: int) -> float:
    """1e9 multiply-accumulates of one inference on one image of `side` px.

    Half of torch's flop counter: convolutions, matrix products and attention; norms, activations,
    pooling and interpolation count zero.
    """
    images = torch.zeros(1, 3, side, side, device=next(method.parameters()).device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        method.predict_step(images)
    return counter.get_total_flops() / 2 / 1e9


def settings_help(model: type[Settings]) -> str:
    """What the settings' docstring says of them, and those of the settings that it inherits."""
    own = [cls for cls in model.__mro__ if issubclass(cls, Settings) and cls is not Settings]
    return "\n\n".join(inspect.cleandoc(cls.__doc__ or "") for cls in own)


def setting_infos(settings: Settings) -> tuple[SettingInfo, ...]:
    """One entry per option, in the order of the class."""
    values = settings.model_dump(mode="json")
    defaults = type(settings)().model_dump(mode="json")
    return tuple(
        SettingInfo(
            name=name,
            type=type_in_words(field.annotation),
            default=defaults[name],
            value=values[name],
        )
        for name, field in type(settings).model_fields.items()
    )


def type_in_words(annotation: Any) -> str:
    """`int`, `lm | seg`, `str | none`: an annotation as a user would type its values."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_in_words, inner))
    if annotation is type(None):
        return "none"
    if inner[1:] == (...,):
        return f"list of {type_in_words(inner[0])}"
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    return f"{origin.__name__}[{', '.join(map(type_in_words, inner))}]"


def sizes_in_words(rule: SizeRule) -> str:
    """The rule as a phrase."""
    if rule.fixed is not None:
        return f"exactly {rule.fixed} px"
    return "any" if rule.multiple == 1 else f"multiples of {rule.multiple} px"
