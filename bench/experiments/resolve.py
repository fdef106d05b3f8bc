"""From a request to the cell that it means: every default filled in, every name checked.

Importing a method imports torch, so this runs in workers; planning reads what an earlier
resolution of the same request left in a record.
"""

from pathlib import PurePath
from typing import Any

from bench.contracts import MethodSpec, Settings
from bench.core.errors import BenchError
from bench.core.frozen import validated
from bench.experiments.cells import CellKey, CellRequest, TokenizerKey
from bench.experiments.identity import Resolution, tokenizer_key
from bench.experiments.lengths import epochs_of_budget, require_batch
from bench.recipes import SHARED, Recipe
from bench.registry import get_method


def resolve(request: CellRequest, train_cases: int) -> tuple[MethodSpec, Settings, Resolution]:
    """The method's spec, its validated settings, and the cell's resolution.

    train_cases: how many cases the split trains on.
    Raises BenchError for unknown methods, settings, recipe fields and tokenizers, and for a batch
    larger than the training cases.
    """
    spec = get_method(request.method)
    tokenizer = tokenizer_key(spec, request)
    preset = _preset(spec, request, tokenizer)
    what = f"method {request.method!r}"
    settings = validated(spec.settings, preset | request.settings, what)
    defaults = spec.settings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    recipe = _recipe(spec, request, train_cases)
    require_batch(recipe, train_cases)
    key = CellKey(
        method=request.method,
        settings=values,
        preset=_as_stored(spec, preset, what),
        changed={k: v for k, v in values.items() if v != defaults[k]},
        tokenizer=tokenizer,
        train=request.train,
        protocol=request.protocol.name,
        selection=request.protocol.selection,
        recipe=recipe.name,
        seed=request.seed,
        profile=request.profile.name,
        epochs=recipe.epochs,
        image_size=request.profile.image_size,
    )
    wanted = recipe.image_size if request.profile.native_sizes else None
    resolution = Resolution(
        key=key,
        recipe=recipe,
        network_size=spec.size.fit(wanted or request.profile.image_size),
        title=spec.title,
        family=spec.family,
        initial_weights=_initial_weights(spec, values),
    )
    return spec, settings, resolution


def _preset(
    spec: MethodSpec, request: CellRequest, tokenizer: TokenizerKey | None
) -> dict[str, Any]:
    """The settings of the protocol's preset, under those of the profile's.

    The protocol's holds with the kind of tokenizer that the method's authors use: their code says
    nothing of another.
    """
    own_kind = tokenizer is None or tokenizer.role == tokenizer.default_role
    released = spec.preset(request.protocol.preset) if own_kind else {}
    return released | spec.preset(request.profile.preset)


def _as_stored(spec: MethodSpec, preset: dict[str, Any], what: str) -> dict[str, Any]:
    """The preset's values in the form in which a record keeps settings."""
    values = validated(spec.settings, preset, what).model_dump(mode="json")
    return {name: values[name] for name in preset}


def _initial_weights(spec: MethodSpec, settings: dict[str, Any]) -> str:
    """ "random", or "pretrained: NAME" by the setting that names them; the file's name of a path."""
    named = settings.get(spec.weights_setting)
    return "random" if named in (None, "none") else f"pretrained: {PurePath(str(named)).name}"


def full_recipe(spec: MethodSpec, request: CellRequest) -> Recipe:
    """The recipe on the request's dataset at its own length, before any change."""
    if request.protocol.recipe == "tuned" and request.tuned is None:
        raise BenchError(
            f"Protocol {request.protocol.name!r} takes recipes that a search found, and none is named. "
            "Search with `bench tune`, then run with --tuned results/tuning/SEARCH."
        )
    if "name" in request.recipe:  # one of the method's own, whatever the protocol's default
        recipe = spec.native(request.recipe["name"])
    else:
        recipe = SHARED if request.protocol.recipe == "shared" else spec.recipe
    return recipe.on(request.train)


def _recipe(spec: MethodSpec, request: CellRequest, train_cases: int) -> Recipe:
    """The recipe that runs: the protocol's, at the budget's, the profile's or its own length, with
    the changes of profile and user."""
    recipe = full_recipe(spec, request)
    epochs = request.profile.epochs
    if request.protocol.budget is not None:
        if {"epochs", "steps_per_epoch"} & request.recipe.keys():
            raise BenchError(
                "A budget of images sets the epochs of every recipe. Leave recipe.epochs and "
                "recipe.steps_per_epoch out, or leave the budget out."
            )
        changed = _changed(recipe, request)
        epochs = epochs_of_budget(request.protocol.budget, changed, train_cases)
    return _changed(recipe if epochs is None else recipe.shortened(epochs), request)


def _changed(recipe: Recipe, request: CellRequest) -> Recipe:
    """The recipe with the profile's and then the user's changes, and a name that says so."""
    wanted = {field: value for field, value in request.recipe.items() if field != "name"}
    for changes, name in (
        (request.profile.recipe, f"{recipe.name}, as in profile {request.profile.name}"),
        (wanted, f"{recipe.name}, changed"),
    ):
        if changes:
            values = recipe.model_dump() | {"name": name} | changes
            recipe = validated(Recipe, values, f"recipe {recipe.name!r}")
    if request.tuned is not None:
        found = request.tuned.found
        recipe = recipe.model_copy(update={"name": f"tuned: {found}", "tuned": found})
    return recipe
