"""What becomes of images in [0, 1] before a network: by its own declaration, or by the recipe's."""

import pytest
import torch
from torch import nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings
from bench.core.errors import BenchError
from bench.method import Method, Normalise
from bench.recipes import SHARED
from bench.registry import get_method
from bench.training.build import build_method
from bench.training.weights import load_own_state, own_state
from methods import smp
from methods.smp import family

IMAGE = torch.tensor([[0.2, 0.6], [0.2, 0.2], [1.0, 1.0]]).view(1, 3, 1, 2)
"""Two pixels: red 0.2 and 0.6, green 0.2, blue 1."""


@pytest.mark.parametrize(
    "how, red, green, blue",
    [
        ("none", [0.2, 0.6], [0.2, 0.2], [1.0, 1.0]),
        # (0.2 - 0.485) / 0.229 and so on
        ("imagenet", [-1.244541, 0.502183], [-1.142857, -1.142857], [2.64, 2.64]),
        ("zscore", [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]),
        ("stretch", [0.0, 127.5], [0.0, 0.0], [255.0, 255.0]),
        (((0.2, 0.2, 0.5), (0.2, 0.4, 0.25)), [0.0, 2.0], [0.0, 0.0], [2.0, 2.0]),
    ],
)
def test_two_pixels_under_every_normalisation(how, red, green, blue):
    found = Normalise(how)(IMAGE)[0, :, 0].tolist()
    for channel, expected in zip(found, (red, green, blue), strict=True):
        assert channel == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("how", ["zscore", "stretch"])
def test_each_image_is_normalised_by_itself_and_an_even_one_gives_zeros(how):
    both = torch.cat([IMAGE, torch.full_like(IMAGE, 0.5)])
    assert torch.equal(Normalise(how)(both)[:1], Normalise(how)(IMAGE))
    assert Normalise(how)(both)[1].abs().max() == 0


def test_a_mean_and_sd_are_said_in_numbers_unless_they_are_imagenets():
    assert Normalise("stretch").words == "stretch"
    assert Normalise(((0.5, 0.5, 0.5), (0.5, 0.25, 1.0))).words == "mean 0.5 0.5 0.5, SD 0.5 0.25 1"
    assert Normalise(((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).words == "imagenet"


@pytest.mark.parametrize(
    "how, words",
    [
        ("zscores", "No normalisation named 'zscores'. Did you mean 'zscore'"),
        (((0.5,), (0.5,)), r"a pair is \(mean, SD\), three numbers each"),
        (((0.5,) * 3, (0.5, 0.5, 0.0)), "SDs above 0"),
    ],
)
def test_what_is_no_normalisation_is_refused(how, words):
    with pytest.raises(BenchError, match=words):
        Normalise(how)


class Sees(nn.Module):
    """Keeps the images that it gets."""

    def __init__(self, **declared):
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)
        vars(self).update(declared)

    def forward(self, images):
        self.seen = images
        return self.head(images)


class Raw(Method):
    """Leaves images as they are."""

    def loss(self, batch):
        return {"loss": batch.images.mean()}

    def predict(self, images):
        return images[:, :1]


def built(module, how="own") -> Method:
    words = {"title": "x", "family": "x", "summary": "x", "citation": "x"}
    spec = MethodSpec(name="x", build=lambda settings, context: module, **words)
    recipe = SHARED.model_copy(update={"normalise": how})
    return build_method(spec, Settings(), BuildContext(), recipe)


@pytest.mark.parametrize(
    "declared, asked, used",
    [
        ({}, "own", "none"),
        ({"normalisation": "zscore"}, "own", "zscore"),
        ({"normalisation": "zscore"}, "none", "none"),
        ({}, "imagenet", "imagenet"),
    ],
)
def test_a_network_gets_what_it_declares_unless_the_recipe_says_otherwise(declared, asked, used):
    method = built(Sees(**declared), asked)
    assert method.normalise.words == used
    expected = Normalise(used)(IMAGE)
    method.loss(Batch(IMAGE, IMAGE[:, :1]))
    assert torch.equal(method.network.seen, expected)
    method.predict(IMAGE)
    assert torch.equal(method.network.seen, expected)


def test_constants_of_a_normalisation_are_no_weights():
    assert (
        own_state(built(Sees(normalisation="imagenet"))).keys() == own_state(built(Sees())).keys()
    )


def test_a_method_that_leaves_images_as_they_are_refuses_another_normalisation():
    assert built(Raw()).normalise.words == "none"
    with pytest.raises(BenchError, match="recipe.normalise is 'zscore', but Raw takes images in"):
        built(Raw(), "zscore")


SHIPPED = {
    "acc_unet": "none",
    "ege_unet": "stretch",
    "mixstyle": "imagenet",
    "nnunet": "none",
    "unet": "none",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_methods_normalise_as_their_originals(name):
    spec = get_method(name)
    with torch.device("meta"):
        method = build_method(
            spec, spec.settings(), BuildContext(224, None, load_weights=False), spec.recipe
        )
    assert method.normalise.words == SHIPPED[name]


def test_deeplab_from_random_weights_takes_images_as_they_are():
    spec = get_method("dsu")
    settings = spec.settings(**spec.reduced)
    method = build_method(spec, settings, BuildContext(64), spec.recipe)
    assert method.normalise.words == "none"


def test_an_encoders_statistics_are_stored_with_the_weights():
    """A stored cell is built without pretrained weights, and then filled with its own."""
    trained = built(Sees(normalisation=((0.2, 0.2, 0.5), (0.2, 0.4, 0.25))))
    stored = built(Sees(normalisation="encoder"))
    assert stored.normalise.words == "encoder" and stored.normalise(IMAGE).isnan().all()
    load_own_state(stored, own_state(trained))
    assert torch.equal(stored.normalise(IMAGE), trained.normalise(IMAGE))


@pytest.mark.parametrize("weights, words", [(None, "none"), ("imagenet", "encoder")])
def test_smp_takes_the_encoders_statistics_where_it_takes_its_weights(weights, words):
    spec = family("unet/resnet34")
    context = BuildContext(224, None, load_weights=False)
    with torch.device("meta"):
        method = build_method(spec, spec.settings(weights=weights), context, spec.recipe)
    assert method.normalise.words == words


def test_smp_scales_statistics_of_0_to_255_and_refuses_bgr(monkeypatch):
    assert smp._normalisation("tu-vit_tiny_patch16_224", "imagenet") == ((0.5,) * 3, (0.5,) * 3)
    facts = {"mean": [51.0] * 3, "std": [102.0] * 3, "input_range": [0, 255], "input_space": "RGB"}
    monkeypatch.setattr(smp, "get_preprocessing_params", lambda encoder, weights: facts)
    assert smp._normalisation("x", "imagenet") == ((0.2,) * 3, (0.4,) * 3)
    facts["input_space"] = "BGR"
    with pytest.raises(ValueError, match="x expects BGR images"):
        smp._normalisation("x", "imagenet")


def test_smp_gives_pretrained_weights_their_own_statistics(monkeypatch):
    spec = family("unet/tu-test_resnet")
    monkeypatch.setattr(smp, "_require_weights", lambda encoder, weights: None)
    monkeypatch.setattr(smp, "_normalisation", lambda encoder, weights: ((0.1,) * 3, (0.2,) * 3))
    plain = dict(smp.ARCHITECTURES)

    def unet(encoder_name, encoder_weights, **options):
        return plain["unet"](encoder_name, encoder_weights=None, **options)

    monkeypatch.setattr(smp, "_require_options", lambda create, encoder, options: None)
    monkeypatch.setitem(smp.ARCHITECTURES, "unet", unet)
    settings = spec.settings(weights="imagenet")
    method = build_method(spec, settings, BuildContext(64), spec.recipe)
    assert method.normalise.words == "mean 0.1 0.1 0.1, SD 0.2 0.2 0.2"
