"""Every prediction is made in eval mode and keeps the contract, or ends as a failure."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.method import Method
from bench.training.build import LogitsMethod
from bench.training.engine import Engine
from bench.training.predict import PredictionFailure, probabilities

CPU = Engine(torch.device("cpu"))
GREY = np.arange(11, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), dtype=np.uint8)
"""Eleven images, each of one grey value: more than a batch of eight, and all differ."""


class Brightness(Method):
    """Predicts an image's own brightness; `change` breaks it."""

    def __init__(self, change=lambda probs: probs):
        super().__init__()
        self.change = change

    def predict(self, images):
        return self.change(images[:, :1].clone())

    def predict_latents(self, image_latents):
        return self.change(image_latents[:, :1])


def predicted(method: Method, latents=None) -> torch.Tensor:
    return torch.cat(list(probabilities(method, GREY, CPU, seed=0, latents=latents)))


def test_each_image_gets_its_own_prediction_in_order():
    probs = predicted(Brightness())
    assert probs.shape == (11, 1, 4, 4) and probs.dtype == torch.float32
    assert (probs[:, 0, 0, 0] * 255).round().tolist() == list(range(11))


def test_stored_latents_take_the_place_of_their_images():
    latents = torch.arange(11.0).div(100).view(11, 1, 1, 1).expand(11, 2, 4, 4)
    assert (predicted(Brightness(), latents)[:, 0, 0, 0] * 100).round().tolist() == list(range(11))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_latents_are_encoded_in_float32_and_predicted_from_in_the_precision(precision):
    """Those that the epoch was chosen on are stored in float32 as well."""
    seen = []

    class Tokenizer(nn.Module):
        def encode(self, images):
            seen.append(("encode", torch.is_autocast_enabled("cpu")))
            return images

    class Watching(Brightness):
        def predict_latents(self, image_latents):
            seen.append(("predict", torch.is_autocast_enabled("cpu")))
            return super().predict_latents(image_latents)

    method = Watching()
    method.tokenizer = Tokenizer()
    engine = Engine(CPU.device, precision)
    (probs,) = probabilities(method, GREY[:8], engine, seed=0)
    assert seen == [("encode", False), ("predict", precision == "bf16")]
    assert (probs[:, 0, 0, 0] * 255).round().tolist() == list(range(8))


def test_prediction_is_made_in_eval_mode():
    class Dropping(Method):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)  # in train mode 1 becomes 0 or 2

        def predict(self, images):
            return self.dropout(torch.ones_like(images[:, :1]))

    assert predicted(Dropping().train()).eq(1).all()


def with_value(value: float):
    def change(probs):
        probs[-1, 0, 2, 3] = value
        return probs

    return change


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_bounds_of_a_probability_are_allowed(value):
    assert predicted(Brightness(with_value(value)))[-1, 0, 2, 3] == value


BROKEN = [
    (with_value(float("nan")), "Brightness predicts NaN or infinity; probabilities are finite"),
    (with_value(float("inf")), "predicts NaN or infinity"),
    (with_value(1.0000001), r"values in \[0, 1.00000012\]; probabilities lie in \[0, 1\]"),
    (with_value(-0.25), r"values in \[-0.25, .*lie in \[0, 1\]. Apply a sigmoid"),
    (lambda probs: probs[:-1], r"shape \(7, 1, 4, 4\); it must be \(8, 1, 4, 4\): one map"),
    (lambda probs: probs[:, 0], r"shape \(8, 4, 4\); it must be \(8, 1, 4, 4\)"),
    (lambda probs: probs[..., :2, :2], r"shape \(8, 1, 2, 2\); it must be \(8, 1, 4, 4\)"),
    (lambda probs: probs.expand(-1, 2, -1, -1), r"shape \(8, 2, 4, 4\); it must be"),
    (lambda probs: (probs, probs), r"Brightness predicts tuple, not a torch.Tensor"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_what_is_no_probability_per_pixel_and_image_ends_the_prediction(change, message):
    with pytest.raises(PredictionFailure, match=message) as caught:
        predicted(Brightness(change))
    assert isinstance(caught.value, BenchError)


def test_predictions_from_latents_are_checked_too():
    with pytest.raises(PredictionFailure, match=r"shape \(0, 1, 4, 4\); it must be \(3, 1, 4, 4\)"):
        predicted(Brightness(), torch.zeros(8, 1, 4, 4))  # three latents are missing


def test_a_failure_names_the_network_and_not_its_wrapper():
    with pytest.raises(PredictionFailure, match="Conv2d predicts shape"):
        predicted(LogitsMethod(nn.Conv2d(3, 1, 2), "bce"))
