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
from bench.training.predict import predictions, validation_scores
from bench.training.trainer import train
from bench.training.transfers import Upload, download

GPU = Engine(CUDA)


@pytest.fixture(autouse=True)
def no_random_stream_of_a_gpu(pretended_cuda, monkeypatch):
    """torch seeds and keeps the random streams of real devices alone, and refuses tensors that
    wrap others in `inference_mode`."""
    monkeypatch.setattr("torch.inference_mode", torch.no_grad)
    own = torch.random.fork_rng
    monkeypatch.setattr("torch.random.fork_rng", lambda devices=(): own([]))


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


AT_THE_END = {
    "bench/training/trainer.py": 1,  # the means of the loss terms
    "bench/training/transfers.py": 1,  # the selected weights
    "bench/training/weights.py": 2,  # two tensors back into the method
}
"""Waits of a training of one epoch, by file."""


def waits_of_training(method: Method, steps: int, augmentation: str, latents=None) -> Counter:
    recipe = RECIPE.model_copy(update={"steps_per_epoch": steps, "augmentation": augmentation})
    with pretending() as mode:
        send_weights(method, lambda tensor: tensor.to(CUDA))
        source = latents() if latents is not None else None
        batches = TrainingBatches(squares(), np.arange(8), recipe, 0, CUDA, source)
        mode.waits.clear()
        train(method, batches, run_of(recipe, engine=GPU))
        files = Counter[str]()
        for (place, _), times in mode.waits.items():
            files[place.partition(":")[0]] += times
        return files


@pytest.mark.parametrize("augmentation", sorted(POLICIES))
def test_a_training_step_waits_for_nothing(augmentation):
    """What an epoch waits for at its end does not grow with its steps."""
    assert waits_of_training(Convolution(), 8, augmentation) == AT_THE_END
    assert waits_of_training(Convolution(), 2, augmentation) == AT_THE_END


@pytest.mark.parametrize("augmentation", ["discrete", "gms"])
def test_a_step_on_stored_and_fresh_latents_waits_for_nothing(augmentation, tmp_path):
    def latents() -> LatentSource:
        tokenizer = Summary().requires_grad_(False)
        send_weights(tokenizer, lambda tensor: tensor.to(CUDA))
        source = LatentSource(tokenizer, squares(), tmp_path, CUDA, kinds=("image",))
        source.fill()
        return source

    method = Convolution(3, ("image",))
    assert waits_of_training(method, 6, augmentation, latents) == AT_THE_END


def test_validation_waits_once_however_many_batches():
    arrays = squares(12)
    method = Convolution()
    with pretending() as mode:
        send_weights(method, lambda tensor: tensor.to(CUDA))
        pixels, masks = torch.tensor(arrays.images).to(CUDA), torch.tensor(arrays.masks).to(CUDA)
        mode.waits.clear()
        for batch_size in (12, 2):
            engine = Engine(CUDA, batch_size=batch_size)
            validation_scores(predictions(method, pixels, engine, 0), masks, "soft-dice")
    assert list(mode.waits.values()) == [2]  # one place, once for each of the two validations


def test_tensors_of_all_types_arrive_in_one_copy_and_come_back_for_one_wait():
    mixed = [
        torch.tensor([3, 1, 2]),
        torch.tensor([[0.5, -1.0]]),
        torch.tensor([True]),
        torch.arange(6.0).view(2, 3).t(),
        torch.tensor([7], dtype=torch.uint8),
    ]
    with pretending() as mode:
        upload = Upload()
        for tensor in mixed:
            upload.add(tensor)
        sent = upload.send(CUDA)
        assert not mode.waits
        back = download({str(place): tensor for place, tensor in enumerate(sent)})
    assert list(mode.waits.values()) == [1]
    for there, again, tensor in zip(sent, back.values(), mixed, strict=True):
        assert there.device == CUDA and there.dtype == tensor.dtype
        assert torch.equal(again, tensor)


# The count itself


@pytest.mark.parametrize(
    "waits, action",
    [
        (1, lambda x: float(x.sum())),
        (1, lambda x: x[x > 0.5]),
        (1, lambda x: x[torch.tensor([0])]),
        (1, lambda x: x.cpu()),
        (1, lambda x: torch.ones(2).to(CUDA)),
        (1, lambda x: x * torch.tensor([1.0]).to(x.device)),
        (0, lambda x: x[torch.zeros(1, dtype=torch.long, device=CUDA)]),
        (0, lambda x: torch.ones(2, pin_memory=True).to(CUDA, non_blocking=True)),
        (0, lambda x: (x * 2 + torch.rand(4, device=CUDA)).clamp(0, 1)[0]),
    ],
)
def test_what_counts_as_a_wait(waits, action):
    with pretending() as mode:
        x = torch.linspace(0, 1, 4).to(CUDA)
        mode.waits.clear()
        action(x)
    assert sum(mode.waits.values()) == waits


def test_a_pretended_computation_has_the_values_of_the_cpu():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 1, 3), torch.rand(2, 3, 8, 8)
    layer(x).square().mean().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with pretending():
        send_weights(layer, lambda tensor: tensor.to(CUDA))
        layer(x.to(CUDA)).square().mean().backward()
        found = layer.weight.grad
    assert isinstance(found, Pretended) and found.device == CUDA
    assert torch.equal(found.held, expected)
