"""How often the host waits for the device in the real training loop, counted without a device."""

from collections import Counter

import numpy as np
import pytest
import torch
from latent_doubles import Summary
from pretended import CUDA, Pretended, pretending, send_weights
from torch import Tensor, nn
from training_doubles import run_of, squares

from bench.contracts import Batch
from bench.method import Method
from bench.recipes import SHARED
from bench.training.augment import POLICIES
from bench.training.batches import TrainingBatches
from bench.training.engine import Engine
from bench.training.latents import LatentSource
from bench.training.trainer import train

pytestmark = pytest.mark.usefixtures("pretended_cuda")

GPU = Engine(CUDA)
RECIPE = SHARED.model_copy(
    update={"epochs": 1, "batch_size": 4, "warmup": 0.0, "ema_decay": 0.99, "grad_clip": 1.0}
)


class Convolution(Method):
    """One convolution, of the image or of its latents."""

    def __init__(self, channels: int = 3, latent_inputs: tuple = ()) -> None:
        super().__init__()
        self.latent_inputs = latent_inputs
        self.layer = nn.Conv2d(channels, 1, 3, padding=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.images if batch.image_latents is None else batch.image_latents
        return {"loss": self.layer(x).square().mean() + batch.masks.mean()}

    def predict(self, images: Tensor) -> Tensor:
        return self.layer(images).sigmoid()


def waits_of_training(method: Method, steps: int, augmentation: str, latents=None) -> Counter:
    recipe = RECIPE.model_copy(update={"steps_per_epoch": steps, "augmentation": augmentation})
    with pretending() as mode:
        send_weights(method, lambda tensor: tensor.to(CUDA))
        source = latents() if latents is not None else None
        batches = TrainingBatches(squares(), np.arange(8), recipe, 0, CUDA, source)
        mode.waits.clear()
        train(method, batches, run_of(recipe, engine=GPU))
        return mode.waits


@pytest.mark.parametrize("augmentation", sorted(POLICIES))
def test_a_training_step_does_not_wait(augmentation):
    """What an epoch waits for does not grow with its steps."""
    few = waits_of_training(Convolution(), 2, augmentation)
    many = waits_of_training(Convolution(), 8, augmentation)
    assert many == few
    assert sum(few.values()) <= 2
