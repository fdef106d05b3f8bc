"""What decides a cell's numbers, digested component by component.

The digests of all components make the cell's id, so a cell trains again exactly when one of them
differs; comparing them with a stored cell's says which.
"""

from typing import Any

from bench.contracts import MethodSpec
from bench.core.files import digest
from bench.core.frozen import Frozen
from bench.experiments.cells import CellKey, CellRequest, TestSet, TokenizerKey
from bench.experiments.code_digest import scoring_code, tokenizer_code, training_code
from bench.experiments.sources import Sources
from bench.protocols import Profile
from bench.recipes import Recipe
from bench.registry import choose_tokenizer, source_file
from bench.tokenizers.spec import TokenizerSpec

WORDS = {
    "code": "code",
    "data": "data",
    "split": "split",
    "recipe": "recipe",
    "settings": "settings",
    "tokenizer": "tokenizer",
    "numerics": "numerics",
    "selection": "selection rule",
    "size": "image size",
    "seed": "seed",
}
"""Component of the training digest -> its name in messages."""


class Resolution(Frozen):
    """What a request means once the method's code has filled in its defaults.

    key: the cell's coordinates. recipe: all its fields. network_size: side in px of the images that
    the network gets. initial_weights: "random" or "pretrained: NAME", for readers of tables.
    """

    key: CellKey
    recipe: Recipe
    network_size: int
    title: str
    family: str
    initial_weights: str


def requested_inputs(request: CellRequest, sources: Sources) -> dict[str, str]:
    """The components of the training digest that a request states without its method's code.

    Raises BenchError as `data_inputs`.
    """
    return {
        "code": training_code(source_file(request.method)),
        **data_inputs(request, sources),
        **stated_inputs(request),
    }


def data_inputs(request: CellRequest, sources: Sources) -> dict[str, str]:
    """The components that the dataset decides.

    Raises BenchError when the training data is missing or its split leaves nothing to train on.
    """
    split = sources.training_split(request.train, request.protocol)
    # Test cases decide weights only where the checkpoint is chosen on them.
    chosen_on = split.test if request.protocol.selection == "best-test" else ()
    audit = [sources.index(request.train).audit] if split.scheme == "dedup" else []
    return {
        "data": sources.pixels(request.train, request.profile.image_size, request.protocol.resize),
        "split": digest([split.dataset, split.train, split.val, chosen_on, *audit]),
    }


def stated_inputs(request: CellRequest) -> dict[str, str]:
    """The components that the request's own values decide."""
    profile = request.profile
    numerics: list[str | bool] = [profile.precision, profile.channels_last, profile.compile]
    if (profile.tf32, profile.deterministic) != ("convolution", False):  # torch's own, as before
        numerics += [profile.tf32, profile.deterministic]
    return {
        "numerics": digest(numerics),
        "selection": digest(_selection(request)),
        "seed": digest(request.seed),
    }


def resolved_inputs(
    settings: dict[str, Any], recipe: dict[str, Any], network_size: int | None, image_size: int
) -> dict[str, str]:
    """The components that the resolved values decide; sizes in px, the recipe's name is left out."""
    return {
        "recipe": digest(_recipe_fields(recipe)),
        "settings": digest(settings),
        "size": digest([network_size, image_size]),
    }


def _selection(request: CellRequest) -> list[str | int]:
    """What chooses the epoch. The metric counts where it is not the DSC, so that cells that were
    stored before there was another keep their ids."""
    protocol = request.protocol
    metric = [] if protocol.selection_metric == "dsc" else [protocol.selection_metric]
    return [protocol.selection, request.profile.validate_every, *metric]


def training_inputs(
    request: CellRequest, resolution: Resolution, sources: Sources
) -> dict[str, str]:
    """Component -> digest of everything that decides the weights of the request's training.

    Raises BenchError as `requested_inputs`, and when the tokenizer's weights are missing.
    """
    key, size = resolution.key, request.profile.image_size
    return {
        **requested_inputs(request, sources),
        **resolved_inputs(
            key.settings, resolution.recipe.model_dump(mode="json"), resolution.network_size, size
        ),
        "tokenizer": _tokenizer_digest(key.tokenizer, request),
    }


LATER_FIELDS = ("normalise", "tuned")
"""Recipe fields that came after cells were stored: they count where they are not the default, so
that those cells keep their ids."""


def _recipe_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe's fields without its name, and without later fields at their defaults."""
    defaults = {name: Recipe.model_fields[name].default for name in LATER_FIELDS}
    return {
        name: value
        for name, value in recipe.items()
        if name != "name" and not (name in defaults and value == defaults[name])
    }


def _tokenizer_digest(key: TokenizerKey | None, request: CellRequest) -> str:
    if key is None:
        return ""
    spec, location = chosen_tokenizer(key.default_role, request.tokenizer, request.profile)
    architecture = spec.config if spec.config else {}
    # Weights count as rounded only where they are: a profile may ask for it and compute in fp32.
    rounded = ["bf16"] if request.profile.rounds_tokenizers else []
    code = tokenizer_code(spec.source_file)
    return digest([spec.weights_hash(location), code, architecture, *rounded])


def tokenizer_key(spec: MethodSpec, request: CellRequest) -> TokenizerKey | None:
    """The tokenizer of a request's cell, None for a method that takes none.

    Raises BenchError for an unknown tokenizer and for weights that are not there.
    """
    if spec.tokenizer is None:
        return None
    tokenizer, location = chosen_tokenizer(spec.tokenizer, request.tokenizer, request.profile)
    return TokenizerKey(
        name=tokenizer.name,
        role=tokenizer.role,
        default_role=spec.tokenizer,
        weights_hash=tokenizer.weights_hash(location),
    )


def chosen_tokenizer(
    role: str, requested: str | None, profile: Profile
) -> tuple[TokenizerSpec, str | None]:
    """(spec, location or None) of the tokenizer that a cell uses for a role."""
    chosen = choose_tokenizer(role, requested, profile.tokenizers)
    assert chosen is not None  # only a method without a role has none
    return chosen


def cell_id(key: CellKey, inputs: dict[str, str]) -> str:
    """`<method>-<train>-<12 hex digits>`: the folder's name."""
    coordinates = [key.method, key.train, key.protocol, key.profile]
    method = key.method.replace(":", "-").replace("/", "-")
    return f"{method}-{key.train}-{digest([coordinates, inputs])[:12]}"


def scoring_inputs(test: TestSet, request: CellRequest, sources: Sources) -> tuple[str, str]:
    """(digest of the test set's cases with their pixels, digest of the scoring code)."""
    return sources.test_digest(test, request.protocol), scoring_code()


def differences(one: dict[str, str], other: dict[str, str]) -> tuple[str, ...]:
    """Names of the components in which two trainings differ, of those that both state."""
    both = [name for name in WORDS if name in one and name in other]
    return tuple(WORDS[name] for name in both if one[name] != other[name])
