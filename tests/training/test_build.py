"""From what an author's `build` returns to a method, or to an error that says what to return."""

import pytest
import torch
from torch import nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings
from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import SHARED
from bench.training.build import build_method, load_tokenizer, parameter_counts


def built(module, recipe=SHARED) -> Method:
    words = {"title": "x", "family": "x", "summary": "x", "citation": "x"}
    spec = MethodSpec(name="x", build=lambda settings, context: module, **words)
    return build_method(spec, Settings(), BuildContext(), recipe)


class Whole(Method):
    def loss(self, batch):
        return {"loss": batch.images.mean()}

    def predict(self, images):
        return images[:, :1]


def test_a_method_is_returned_unchanged():
    method = Whole()
    assert built(method) is method
    assert method.authored is method


def test_a_network_gets_the_recipes_loss_and_a_sigmoid():
    network = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.ones_(network.weight)
    method = built(network, SHARED.model_copy(update={"loss": "bce"}))
    images = torch.zeros(1, 3, 1, 2)
    assert method.loss(Batch(images, images[:, :1]))["loss"].item() == pytest.approx(0.6931472)
    images[..., 1] = 1
    assert method.predict(images).flatten().tolist() == pytest.approx([0.5, 0.9525741])  # of 0, 3
    assert method.authored is network


class Lacking(Method):
    def predict(self, images):
        return images


class Silent(nn.Module):
    pass


class Foreign(nn.Conv2d):
    def predict_latents(self, latents):
        return latents


class Reads(nn.Conv2d):
    latent_inputs = ("image",)


@pytest.mark.parametrize(
    "module, message",
    [
        (None, "build.. returns NoneType; return a torch.nn.Module"),
        (Lacking(), r"Lacking does not override loss\(batch\)"),
        (Method(), r"Method does not override loss\(batch\) and predict\(images\)"),
        (Silent(), r"Silent is neither a network nor a Method. Give it forward\(images\)"),
        (Foreign(3, 1, 1), "Foreign has predict_latents, which only a Method has. Subclass"),
        (Reads(3, 1, 1), "Reads has latent_inputs, which only a Method has. Subclass"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_neither_is_refused(module, message):
    with pytest.raises(BenchError, match=message):
        built(module)


def test_what_a_network_declares_becomes_the_methods():
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Linear(1, 1))
    network.unused_parameters = ("1.weight", "1.bias")
    network.head_parameters = ("0.",)
    network.footnotes = ("starts from random weights",)
    network.bf16_unsupported = "a kernel is missing"
    network.overfit_steps = 7
    network.normalisation = "zscore"
    method = built(network)
    names = [name for name, _ in method.named_parameters()]
    assert names == ["network.0.weight", "network.0.bias", "network.1.weight", "network.1.bias"]
    assert method.unused_parameters == ("network.1.weight", "network.1.bias")
    assert method.head_parameters == ("network.0.",)
    assert method.footnotes == ("starts from random weights",)
    assert method.bf16_unsupported == "a kernel is missing"
    assert (method.overfit_steps, method.normalisation) == (7, "zscore")


def test_the_defaults_of_a_method():
    method = Whole()
    assert method.latent_inputs == method.unused_parameters == method.head_parameters == ()
    assert method.footnotes == ()
    assert (method.bf16_unsupported, method.overfit_steps, method.tokenizer) == ("", None, None)
    assert not method.predicts_from_latents and not method.repeats_a_step
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(method.predict_step(images), images[:, :1])


def test_optional_methods_are_available_where_they_are_overridden():
    class Both(Whole):
        def predict_latents(self, image_latents):
            return image_latents

        def predict_step(self, images):
            return images

    assert Both().predicts_from_latents and Both().repeats_a_step


def test_a_tokenizer_of_its_own_comes_last_or_first_as_the_author_registers_it():
    class Over(Whole):
        def __init__(self, tokenizer):
            super().__init__()
            self.mapping = nn.Linear(1, 1, bias=False)
            self.tokenizer = tokenizer

    method = Over(nn.Linear(2, 2, bias=False))
    assert [n for n, _ in method.named_parameters()] == ["mapping.weight", "tokenizer.weight"]
    assert isinstance(method.tokenizer, nn.Linear)


def test_parameters_are_counted_once_trainable_and_in_total():
    class Tied(Whole):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(3, 3, bias=False)  # 9
            self.two = nn.Linear(3, 3, bias=True)  # 3 more: its weight is the first's
            self.two.weight = self.one.weight
            self.frozen = nn.Linear(5, 1, bias=False).requires_grad_(False)  # 5

    method, tokenizer = Tied(), nn.Linear(7, 1, bias=False).requires_grad_(False)
    assert parameter_counts(method, None) == (12, 17)
    assert parameter_counts(method, tokenizer) == (12, 24)
    method.tokenizer = tokenizer
    assert parameter_counts(method, tokenizer) == (12, 24)


def test_a_tokenizer_is_loaded_by_role_name_or_not_at_all():
    words = {"title": "x", "family": "x", "summary": "x", "citation": "x", "build": None}
    roles = {"continuous": "tiny-kl", "discrete": "tiny-vq"}
    plain = MethodSpec(name="x", **words)
    generative = MethodSpec(name="x", tokenizer="continuous", **words)
    assert load_tokenizer(plain, None, roles) is None
    assert load_tokenizer(generative, None, roles).name == "tiny-kl"
    bare = load_tokenizer(generative, "discrete", roles, weights=False)
    assert (bare.name, bare.weights_hash) == ("tiny-vq", "untrained")
