"""What a request becomes under a protocol: recipe, length, presets and initial weights."""

import pytest
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.experiments import resolve as module
from bench.experiments.cells import CellKey
from bench.experiments.matrices import Overrides, expand, get_matrix
from bench.experiments.resolve import resolve
from bench.protocols import get_profile, get_protocol
from bench.recipes import SHARED
from bench.registry import get_method

PAPER = {"protocol": get_protocol("paper")}
BUDGET = {"protocol__budget": 4000, "profile__recipe": {}}


def recipe_of(train_cases: int = 400, **changes):
    return resolve(request(**changes), train_cases)[2].recipe


def key_of(**changes) -> CellKey:
    return resolve(request(**changes), 400)[2].key


def test_a_native_recipe_is_the_default_of_every_protocol():
    native = get_method("unet").recipe
    for name in ("paper", "paper80", "clean", "grouped"):
        recipe = recipe_of(protocol=get_protocol(name), profile__epochs=None, profile__recipe={})
        assert recipe.name == native.name != SHARED.name
        assert recipe.batch_size == native.batch_size


def test_the_shared_recipe_is_the_same_for_every_method():
    asked = {"protocol__recipe": "shared", "profile__epochs": None, "profile__recipe": {}}
    assert recipe_of(**asked) == recipe_of(method="ege_unet", **asked) == SHARED


def with_recipe(monkeypatch, **changes) -> None:
    """The method unet with some fields of its native recipe changed."""
    import dataclasses

    spec = get_method("unet")
    changed = dataclasses.replace(spec, recipe=spec.recipe.model_copy(update=changes))
    monkeypatch.setattr(module, "get_method", lambda name: changed)


def test_a_native_recipe_takes_the_length_of_its_dataset(monkeypatch):
    with_recipe(monkeypatch, epochs=1000, warmup=5, on_dataset={"ham10000": {"epochs": 150}})
    full = {"profile__epochs": None, "profile__recipe": {}}
    assert recipe_of(train="ham10000", **full).epochs == 150
    assert recipe_of(train="ham10000", **full).warmup == 5  # a length of its own, not a short run
    assert recipe_of(train="busi", **full).epochs == 1000
    assert recipe_of(train="ham10000", protocol__recipe="shared", **full).epochs == SHARED.epochs


# ---- a budget of images


def test_a_budget_gives_every_method_as_many_images(monkeypatch):
    with_recipe(monkeypatch, batch_size=8, drop_last=True, steps_per_epoch=None, epochs=1000)
    assert recipe_of(**BUDGET).epochs == 10  # 400 images a pass
    assert recipe_of(train_cases=80, **BUDGET).epochs == 50
    assert recipe_of(train_cases=80, recipe={"batch_size": 50}, **BUDGET).epochs == 80


def test_a_budget_keeps_the_recipes_shape(monkeypatch):
    with_recipe(monkeypatch, batch_size=8, drop_last=True, steps_per_epoch=250, epochs=1000)
    budgeted = recipe_of(**BUDGET)
    assert budgeted == get_method("unet").recipe.model_copy(
        update={"batch_size": 8, "drop_last": True, "steps_per_epoch": 250, "epochs": 1000}
    ).shortened(10)


def test_a_budget_overrules_the_profiles_length_and_is_in_the_key():
    assert key_of(**BUDGET, profile__epochs=3).epochs == recipe_of(**BUDGET).epochs != 3


@pytest.mark.parametrize("field", ["epochs", "steps_per_epoch"])
def test_a_budget_and_a_length_contradict(field):
    with pytest.raises(BenchError, match="A budget of images sets the epochs"):
        resolve(request(recipe={field: 5}, **BUDGET), 400)


def test_a_batch_larger_than_the_training_cases_is_refused():
    with pytest.raises(BenchError, match="batches of 64, but this split has 8 training cases"):
        resolve(request(recipe={"batch_size": 64, "drop_last": True}), 8)


# ---- what a protocol sets


def test_paper_adds_the_released_noise_where_the_release_has_it():
    gms = {"method": "gms", **PAPER, "profile__preset": None}
    key = key_of(**gms)
    assert key.settings["latent_noise"] == "as-released"
    assert key.preset == {"latent_noise": "as-released"}
    assert key_of(method="gms").settings["latent_noise"] == "off"
    assert key_of(**gms, settings={"latent_noise": "off"}).settings["latent_noise"] == "off"
    assert key_of(**gms, tokenizer="discrete").settings["latent_noise"] == "off"


def test_a_profiles_preset_overrules_the_protocols():
    """The embedded tokenizers have no posterior to take noise from, so paper works on phantoms."""
    key = key_of(method="gms", **PAPER)
    assert key.preset == {"latent_noise": "off", "supervision": "out"}


def precision_of(protocol: str, profile: str, asked: str | None = None) -> str:
    overrides = Overrides(methods=("unet",), precision=asked)
    rules = get_protocol(protocol), get_profile(profile)
    (found,) = {r.profile.precision for r in expand(get_matrix("in-domain"), overrides, *rules)}
    return found


def test_paper_computes_in_fp32_unless_the_user_says_otherwise():
    assert get_profile("paper").precision == "bf16"
    assert precision_of("paper", "paper") == precision_of("paper80", "paper") == "fp32"
    assert precision_of("clean", "paper") == "bf16"
    assert precision_of("paper", "paper", "bf16") == "bf16"
    assert precision_of("clean", "paper", "fp32") == "fp32"


@pytest.mark.parametrize(
    "method, settings, weights",
    [
        ("unet", {}, "random"),
        ("swin_unet", {}, "random"),  # of the profile's preset
        ("swin_unet", {"pretrained": "imagenet"}, "pretrained: imagenet"),
        ("swin_unet", {"pretrained": "/home/me/swin.safetensors"}, "pretrained: swin.safetensors"),
        ("smp:unet/resnet34", {}, "random"),
        ("smp:unet/resnet34", {"weights": "imagenet"}, "pretrained: imagenet"),
    ],
)
def test_initial_weights_are_named(method, settings, weights):
    resolution = resolve(request(method=method, settings=settings), 400)[2]
    assert resolution.initial_weights == weights
