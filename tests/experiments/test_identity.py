"""What a tokenizer adds to a cell's identity, and which requests share one digest."""

from dataclasses import replace

import pytest
from requests_of_tests import request

from bench.core.files import digest
from bench.data.arrays import phantom_index
from bench.experiments import code_digest, identity, store
from bench.experiments.cells import CellKey, TestSet
from bench.experiments.identity import cell_id, differences, training_inputs
from bench.experiments.resolve import resolve
from bench.experiments.sources import Sources
from bench.experiments.store import request_digest
from bench.tokenizers.spec import TokenizerSpec


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))


def inputs_of(asked) -> dict[str, str]:
    return training_inputs(asked, resolve(asked, 8)[2], Sources(asked.profile, None, []))


def test_fields_that_came_later_count_where_they_are_not_the_default():
    """Digests of before the fields were there: stored cells keep their ids."""
    inputs = inputs_of(request())
    found = {name: inputs[name][:10] for name in ("data", "recipe", "selection")}
    assert found == {"data": "cacceca5b4", "recipe": "b78005f07b", "selection": "033b4be5da"}


def test_another_normalisation_is_another_recipe():
    zscore = inputs_of(request(recipe={"normalise": "zscore"}))
    named = inputs_of(request(recipe={"normalise": "own"}))
    assert differences(inputs_of(request()), zscore) == ("recipe",)
    assert differences(inputs_of(request()), named) == ()


def test_the_metric_that_selects_counts():
    soft = inputs_of(request(protocol__selection_metric="soft-dice"))
    assert differences(inputs_of(request()), soft) == ("selection rule",)


@pytest.mark.parametrize(
    "changed",
    [
        {"profile__tf32": "off"},
        {"profile__deterministic": True},
        {"profile__compile": True},
        {"profile__precision": "bf16"},
    ],
)
def test_how_a_gpu_computes_counts_and_torchs_own_way_leaves_ids_as_they_were(changed):
    plain = inputs_of(request())
    assert plain["numerics"] == digest(["fp32", False, False])
    assert differences(plain, inputs_of(request(**changed))) == ("numerics",)


def test_the_resize_counts_for_real_images_and_not_for_phantoms():
    plain, other = request(), request(protocol__resize="opencv")
    assert inputs_of(other) == inputs_of(plain)
    real = Sources(plain.profile.model_copy(update={"phantoms": False}), None, [])
    real._indices["busi"] = phantom_index("busi", 2, 1, 0)
    assert real.pixels("busi", 32, "opencv") != real.pixels("busi", 32, "pillow")


def test_another_tokenizer_is_another_training():
    with_vq = request(method="gms", tokenizer="tiny-vq")
    assert differences(inputs_of(request(method="gms")), inputs_of(with_vq)) == ("tokenizer",)


def test_rounded_tokenizer_weights_count_where_they_are_rounded():
    def inputs(method, precision, weights):
        return inputs_of(
            request(method=method, profile__precision=precision, profile__tokenizer_weights=weights)
        )

    assert differences(inputs("gms", "bf16", "fp32"), inputs("gms", "bf16", "bf16")) == (
        "tokenizer",
    )
    assert inputs("gms", "fp32", "bf16") == inputs("gms", "fp32", "fp32")
    assert inputs("unet", "bf16", "bf16") == inputs("unet", "bf16", "fp32")


def test_a_method_without_a_tokenizer_has_none_in_its_identity():
    assert inputs_of(request(method="unet"))["tokenizer"] == ""


@pytest.mark.parametrize("part", ["weights", "code", "architecture"])
def test_weights_code_and_architecture_of_a_tokenizer_count(monkeypatch, part):
    before = inputs_of(request(method="gms"))
    if part == "weights":
        monkeypatch.setattr(TokenizerSpec, "weights_hash", lambda self, location=None: "others")
    elif part == "code":
        monkeypatch.setattr(identity, "tokenizer_code", lambda source: "other code")
    else:
        spec, location = identity.chosen_tokenizer("continuous", None, request().profile)
        wider = replace(spec, config={"block_out_channels": [64]})
        monkeypatch.setattr(identity, "chosen_tokenizer", lambda *asked: (wider, location))
    assert differences(before, inputs_of(request(method="gms"))) == ("tokenizer",)


def test_the_weights_are_those_at_the_location_that_the_request_names(monkeypatch):
    monkeypatch.setattr(TokenizerSpec, "weights_hash", lambda self, location=None: str(location))
    asked = request(method="gms", tokenizer="tiny-kl@/elsewhere")
    key = resolve(asked, 8)[2].key.tokenizer
    assert (key.name, key.weights_hash) == ("tiny-kl", "/elsewhere")
    assert (key.role, key.default_role) == ("continuous", "continuous")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"lr": 0.5}},
        {"recipe": {"normalise": "zscore"}},
        {"tokenizer": "tiny-vq"},
        {"seed": 1},
        {"train": "bus"},
        {"method": "gms"},
        {"profile__precision": "bf16"},
        {"profile__image_size": 96},
        {"profile__name": "other"},
        {"protocol__selection": "last"},
        {"protocol__name": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_requests_that_differ_in_their_training_have_different_digests(change):
    assert request_digest(request(**change)) != request_digest(request())


@pytest.mark.parametrize(
    "change",
    [
        {"tests": (TestSet(dataset="bus"),)},
        {"profile__title": "said otherwise"},
        {"protocol__title": "said otherwise"},
        {"protocol__external_subset": "test"},
        {"settings": {"base_channels": 32}},  # compared by value with the record's
    ],
    ids=lambda change: next(iter(change)),
)
def test_test_sets_titles_and_settings_are_no_part_of_a_requests_digest(change):
    plain = request(protocol__external_subset="all")
    assert request_digest(request(**{"protocol__external_subset": "all"} | change)) == (
        request_digest(plain)
    )


def test_the_code_that_resolves_a_request_counts(monkeypatch):
    before = request_digest(request())
    monkeypatch.setattr(store, "resolving_code", lambda source: "other defaults")
    assert request_digest(request()) != before


@pytest.fixture
def plugin(tmp_path):
    """Writes the file of a method and says what resolves its requests."""

    def code(text: str) -> str:
        code_digest._reader.cache_clear()
        code_digest.resolving_code.cache_clear()
        (tmp_path / "plugin.py").write_text(text)
        return code_digest.resolving_code(tmp_path / "plugin.py")

    yield code
    code_digest._reader.cache_clear()
    code_digest.resolving_code.cache_clear()


@pytest.mark.parametrize(
    "changed",
    ["class A(Settings):\n    width: int = 2\n", "R = Recipe(lr=2.0)\n"],
)
def test_defaults_and_recipes_of_a_methods_file_resolve_its_requests(plugin, changed):
    before = plugin(changed.replace("2", "1"))
    assert plugin(changed) != before and plugin(changed.replace("2", "1")) == before


@pytest.mark.parametrize(
    "file", ["recipes.py", "contracts.py", "protocols.py", "experiments/resolve.py"]
)
def test_the_harnesss_own_files_resolve_requests(plugin, monkeypatch, file):
    before = plugin("A = 1\n")
    text_digest = code_digest._text_digest
    monkeypatch.setattr(
        code_digest,
        "_text_digest",
        lambda path: "other" if path == code_digest.PACKAGE / file else text_digest(path),
    )
    assert plugin("A = 1\n") != before


KEY = CellKey(
    method="smp:Unet/resnet18", settings={}, changed={}, tokenizer=None, train="busi",
    protocol="clean", selection="best-val", recipe="r", seed=0, profile="demo", epochs=1,
    image_size=64,
)  # fmt: skip


def test_an_id_names_method_and_dataset_and_ends_in_12_digits():
    id = cell_id(KEY, {"code": "c"})
    assert id.startswith("smp-Unet-resnet18-busi-") and len(id.rsplit("-", 1)[1]) == 12
    assert int(id.rsplit("-", 1)[1], 16) >= 0


@pytest.mark.parametrize("name", ["method", "train", "protocol", "profile"])
def test_equal_inputs_under_other_coordinates_are_another_cell(name):
    assert (
        cell_id(KEY.model_copy(update={name: "other"}), {}).rsplit("-", 1)[1]
        != (cell_id(KEY, {}).rsplit("-", 1)[1])
    )


def test_differences_are_named_in_a_fixed_order_and_only_where_both_state_them():
    one = {"seed": "0", "code": "a", "data": "d", "recipe": "r", "unknown": "x"}
    other = {"seed": "1", "code": "b", "data": "d", "size": "s", "unknown": "y"}
    assert differences(one, other) == ("code", "seed")
