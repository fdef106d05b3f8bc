"""From a request to the cell that it means: every default filled in, every name checked.

Importing a method imports torch, so this runs in workers; planning reads what an earlier
resolution of the same request left in a record.
"""

from typing import Any

from bench.contracts import MethodSpec, Settings
from bench.core.errors import BenchError
from bench.core.frozen import validated
from bench.experiments.cells import CellKey, CellRequest
from bench.experiments.identity import Resolution, tokenizer_key
from bench.recipes import SHARED, Recipe
from bench.registry import get_method


def resolve(request: CellRequest) -> tuple[MethodSpec, Settings, Resolution]:
    """The method's spec, its validated settings, and the cell's resolution.

    Raises BenchError for unknown methods, settings, recipe fields and tokenizers.
    """
    spec = get_method(request.method)
    preset = spec.preset(request.profile.preset)
    what = f"method {request.method!r}"
    settings = validated(spec.settings, preset | request.settings, what)
    defaults = spec.settings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    recipe = _recipe(spec, request)
    key = CellKey(
        method=request.method,
        settings=values,
        preset=_as_stored(spec, preset, what),
        changed={k: v for k, v in values.items() if v != defaults[k]},
        tokenizer=tokenizer_key(spec, request),
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
    )
    return spec, settings, resolution


def _as_stored(spec: MethodSpec, preset: dict[str, Any], what: str) -> dict[str, Any]:
    """The preset's values in the form in which a record keeps settings."""
    values = validated(spec.settings, preset, what).model_dump(mode="json")
    return {name: values[name] for name in preset}


def _recipe(spec: MethodSpec, request: CellRequest) -> Recipe:
    wanted = dict(request.recipe)
    if "name" in wanted:  # one of the method's own, whatever the protocol's default
        recipe = spec.native(wanted.pop("name"))
    else:
        recipe = spec.recipe if request.protocol.recipe == "native" else SHARED
    recipe = recipe.on(request.train)
    if request.profile.epochs is not None:
        recipe = recipe.shortened(request.profile.epochs)
    for changes, name in (
        (request.profile.recipe, f"{recipe.name}, as in profile {request.profile.name}"),
        (wanted, f"{recipe.name}, changed"),
    ):
        if changes:
            values = recipe.model_dump() | {"name": name} | changes
            recipe = validated(Recipe, values, f"recipe {recipe.name!r}")
    return recipe


def require_batch(resolution: Resolution, train_cases: int) -> None:
    """BenchError when full batches are larger than the training cases."""
    size = resolution.recipe.batch_size
    if resolution.recipe.drop_last and size > train_cases:
        raise BenchError(
            f"Recipe {resolution.recipe.name!r} takes batches of {size}, but {resolution.key.train} "
            f"has {train_cases} training cases under this split. Set a smaller batch: --set "
            f"recipe.batch_size={train_cases}."
        )
