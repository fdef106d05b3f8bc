"""A training step of the embedded tokenizers on a device called "cuda", without one."""

import numpy as np
import pytest
import torch
from pretended import send_weights
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.tokenizers.embedded_training.corpus import Pool
from bench.tokenizers.embedded_training.recipes import tokenizer_recipe
from bench.tokenizers.embedded_training.train import TokenizerRun


@pytest.mark.parametrize("name", ["tiny-kl", "tiny-vq"])
def test_a_step_stays_on_the_device(name, pretended_cuda, monkeypatch):
    def to(module: nn.Module, device: torch.device, **_) -> nn.Module:
        send_weights(module, lambda tensor: tensor.to(device))
        return module

    monkeypatch.setattr(nn.Module, "to", to)  # torch's own cannot move weights without values
    pool = Pool(np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 32, 32), np.uint8))
    recipe = tokenizer_recipe(name).model_copy(update={"batches": ((32, 2, 1.0),)})
    with FakeTensorMode(allow_non_fake_inputs=True):
        run = TokenizerRun(recipe, pool, seed=0, steps=4, device=torch.device("cuda"))
        images, masks = run.batch(np.random.default_rng(0))
        losses = run.losses(images, masks, torch.Generator())
        losses["loss"].backward()
        run.optimizer.step()
        run.average()
        assert {value.device.type for value in losses.values()} == {"cuda"}
        assert {p.grad.device.type for p in run.trained} == {"cuda"}
        assert {p.device.type for p in run.averaged_model().parameters()} == {"cuda"}
