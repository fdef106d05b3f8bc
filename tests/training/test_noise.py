"""Noise of predictions: an image's own, whatever shares its batch."""

import numpy as np
import pytest
import torch
from generative_doubles import small_kl
from torch import nn

from bench.contracts import BuildContext
from bench.method import Method
from bench.training.engine import Engine
from bench.training.predict import predictions
from methods import medsegdiff_v2, sdseg

IDS = tuple(f"case-{number}" for number in range(8))


def predicted(method, batch: int, rows=range(8), side: int = 32, seed: int = 0, **how):
    """Probabilities of some of eight images in batches of `batch`."""
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    engine = Engine(torch.device("cpu"), batch_size=batch)
    rows = list(rows)
    ids = [IDS[row] for row in rows]
    pixels = torch.from_numpy(images[rows])
    return torch.cat(list(predictions(method, pixels, engine, seed, case_ids=ids, **how)))


class Draws(Method):
    """Predicts its second draw, squeezed into [0, 1]."""

    def predict(self, images):
        shape = (len(images), 1, *images.shape[2:])
        self.noise(shape, images.device)
        return self.noise(shape, images.device).sigmoid()


def test_the_draws_are_equal_bit_for_bit_in_batches_of_1_3_and_8_and_in_any_order():
    whole = predicted(Draws(), 8)
    assert torch.equal(predicted(Draws(), 1), whole) and torch.equal(predicted(Draws(), 3), whole)
    assert torch.equal(predicted(Draws(), 8, rows=[5, 2]), whole[[5, 2]])


def test_the_draws_of_two_cases_two_seeds_and_two_calls_differ():
    whole = predicted(Draws(), 8)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, predicted(Draws(), 8, seed=1))


def test_outside_of_predictions_noise_comes_from_torchs_generator():
    method = Draws()
    predicted(method, 8)
    assert method.streams is None
    torch.manual_seed(3)
    drawn = method.noise((2, 1, 4, 4), torch.device("cpu"))
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.randn(2, 1, 4, 4))


def awake(method: Method) -> Method:
    """The method with weights in the layers that start at zero, so that its noise matters."""
    torch.manual_seed(1)
    nn.init.normal_(method.denoiser.conv_out.weight, std=0.1)
    return method


def medsegdiff(**settings) -> Method:
    torch.manual_seed(0)
    spec = medsegdiff_v2.SPEC
    return awake(spec.build(spec.settings(**(spec.reduced | settings)), BuildContext(32)))


def small_sdseg() -> Method:
    torch.manual_seed(0)
    settings = sdseg.SPEC.settings(**(sdseg.SPEC.reduced | {"predict": "noise"}))
    return awake(sdseg.SPEC.build(settings, BuildContext(128, small_kl())))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm"])
def test_medsegdiff_predicts_alike_in_batches_of_1_3_and_8(sampler):
    method = medsegdiff(sampler=sampler, steps=2, samples=2)
    whole = predicted(method, 8)
    for batch in (1, 3):
        torch.testing.assert_close(predicted(method, batch), whole, atol=1e-4, rtol=0)
    assert (whole - predicted(method, 8, seed=1)).abs().max() > 0.01


def test_sdseg_predicts_alike_in_batches_of_1_and_3():
    method = small_sdseg()
    three = predicted(method, 3, rows=range(3), side=128)
    alone = predicted(method, 1, rows=range(3), side=128)
    torch.testing.assert_close(alone, three, atol=1e-4, rtol=0)
    assert (three - predicted(method, 3, rows=range(3), side=128, seed=1)).abs().max() > 0.001


@pytest.mark.parametrize(
    "settings, steps",
    [
        ({"sampler": "dpm", "steps": 50, "samples": 5}, 10),
        ({"sampler": "ddpm", "steps": 1000, "samples": 5}, 10),
        ({"sampler": "ddim", "steps": 2, "samples": 1}, 2),
    ],
)
def test_medsegdiff_validates_on_one_sample_of_ten_steps_at_most(settings, steps):
    method, calls = medsegdiff(**settings), []
    method.denoiser.conv_in.register_forward_hook(lambda *_: calls.append(1))
    predicted(method, 2, rows=range(2), validating=True)
    assert len(calls) == steps


def test_a_prediction_of_one_short_sample_is_validated_as_it_is_scored():
    method = medsegdiff(sampler="ddim", steps=2, samples=1)
    assert torch.equal(predicted(method, 8, validating=True), predicted(method, 8))
