"""What `bench describe` says: counts to the unit, on the meta device, without weights."""

import math
import re
from typing import Literal

import pytest
import torch
from torch import nn

from bench.conformance.describe import (
    count_rows,
    describe_method,
    gmacs,
    shape_counts,
    sizes_in_words,
    type_in_words,
)
from bench.contracts import SizeRule
from bench.core.errors import BenchError
from bench.method import Method
from bench.registry import plain_method_names
from bench.reporting.published import load_edition

# Trainable parameters and GMACs at 224, each recounted from the released code.
PUBLISHED = {
    "unet": (14_751_873, 22.6458),
    "multiresunet": (7_251_322, 12.0005),
    "acc_unet": (16_771_245, 23.4512),  # 42.9642 as released: tests/methods/test_methods_cnn.py
    "nnunet": (20_619_658, 10.9135),
    "ege_unet": (53_374, 0.055201),
    "swin_unet": (27_168_132, 6.07125),
    "sme_swin_unet": (169_790_777, 6.37051),
    "uctransnet": (66_430_657, 38.5776),
    "medsegdiff_v2": (129_400_450, 199.5084),
    "sdseg": (329_137_456, 468.3854),
    "gms": (1_564_976, 344.165),
    # 39,633,729 less the backbone's batch norms, which are frozen by default.
    "mixstyle": (39_580_609, 31.3065),
    "dsu": (39_580_609, 31.3065),
}


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) & set(plain_method_names())))
def test_counts_equal_those_of_the_released_code(name):
    facts = describe_method(name)
    trainable, billions = PUBLISHED[name]
    assert facts.trainable_params == trainable
    assert facts.gmacs_224 == pytest.approx(billions, rel=2e-5)


def test_a_method_is_counted_with_its_authors_tokenizer():
    facts = describe_method("gss")
    assert facts.tokenizer_counted == "dalle"
    assert facts.trainable_params == 49_764_572
    assert facts.total_params == 49_764_572 + 97_616_006
    assert facts.gmacs_224 == pytest.approx(540.838, rel=2e-5)


@pytest.mark.parametrize("name", plain_method_names())
def test_shapes_add_up_to_the_trainable_parameters(name):
    tokenizer = None if name != "gss" else "tiny-vq"  # any codebook; GSS's own is not shipped
    facts = describe_method(name, tokenizer=tokenizer)
    assert sum(math.prod(shape) * n for shape, n in facts.param_shapes) == facts.trainable_params
    assert facts.total_params >= facts.trainable_params
    assert facts.citation and facts.summary


def test_a_frozen_tokenizer_counts_in_total_and_not_as_trainable():
    facts = describe_method("gms")
    assert (facts.trainable_params, facts.total_params) == (1_564_976, 1_564_976 + 83_653_863)
    assert facts.tokenizer_counted == "sd-vae"
    assert describe_method("gms", {"supervision": "out"}).trainable_params == 1_556_464


def test_settings_are_listed_with_type_default_and_value():
    facts = describe_method("unet", {"base_channels": 4})
    (setting,) = facts.settings
    assert setting.model_dump() == {
        "name": "base_channels",
        "type": "int",
        "default": 64,
        "value": 4,
    }
    assert facts.recipe.name == "acc-unet"
    assert facts.sizes == "multiples of 16 px"


@pytest.mark.parametrize("name", plain_method_names())
def test_every_setting_is_explained(name):
    facts = describe_method(name)
    names = [setting.name for setting in facts.settings]
    explained = [n for n in names if re.search(rf"\b{n}(, \w+)*:", facts.settings_help)]
    assert explained == names


def test_counts_stand_beside_the_printed_ones_with_the_reason():
    rows = count_rows(["unet", "dsu"], load_edition("aaai2025"))
    assert [(row["trainable"], row["printed_m"]) for row in rows] == [
        (14_751_873, "14.0"),
        (39_580_609, None),
    ]
    assert rows[0]["why"].startswith("The paper prints 14.0 M")
    assert count_rows(["unet"])[0].keys() == {"method", "trainable", "total", "gmacs_224"}


def test_json_keys_that_scripts_rely_on():
    facts = describe_method("unet", {"base_channels": 2}).model_dump(mode="json")
    assert {"trainable_params", "total_params", "gmacs_224", "param_shapes"} <= facts.keys()
    assert [[3, 3, 3], 1] not in facts["param_shapes"]
    assert [[2, 3, 3, 3], 1] in facts["param_shapes"]  # the stem's convolution


def test_a_size_rule_moves_the_network_not_the_question():
    assert describe_method("unet").network_side_224 == 224


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(BenchError, match="Did you mean 'unet'"):
        describe_method("unett")
    with pytest.raises(BenchError, match="Settings of method 'unet'.*base_chanels=3"):
        describe_method("unet", {"base_chanels": 3})


def test_a_shared_tensor_is_counted_once():
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    second.weight = first.weight
    parameters = list(nn.ModuleList([first, second]).parameters())
    assert shape_counts(parameters) == (((3,), 2), ((3, 2), 1))


def test_gmacs_of_one_convolution():
    class One(Method):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)

        def predict(self, images):
            return self.conv(images)

    with torch.device("meta"):
        module = One()
    assert gmacs(module, 8) == 3 * 5 * 9 * 8 * 8 / 1e9


@pytest.mark.parametrize(
    "annotation, words",
    [
        (int, "int"),
        (Literal["lm", "seg"], "lm | seg"),
        (str | None, "str | none"),
        (tuple[int, int], "tuple[int, int]"),
        (tuple[Literal["a", "b"], ...], "list of a | b"),
    ],
)
def test_types_in_a_users_words(annotation, words):
    assert type_in_words(annotation) == words


@pytest.mark.parametrize(
    "rule, words",
    [
        (SizeRule(), "any"),
        (SizeRule(multiple=32), "multiples of 32 px"),
        (SizeRule(fixed=224), "exactly 224 px"),
    ],
)
def test_size_rules_in_words(rule, words):
    assert sizes_in_words(rule) == words
