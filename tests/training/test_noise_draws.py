"""How much augmentation draws for its noise: the draws that follow depend on it."""

import torch

from bench.training.augment import Augmentation, augment


def test_every_noisy_image_draws_noise_for_itself_alone(monkeypatch):
    shapes, draw = [], torch.randn

    def counted(shape, generator):
        shapes.append(tuple(shape))
        return draw(shape, generator=generator)

    monkeypatch.setattr(torch, "randn", counted)
    images, masks = torch.full((5, 3, 8, 8), 0.5), torch.zeros(5, 1, 8, 8)
    augment(images, masks, Augmentation(noise_p=1.0, noise=0.1), torch.Generator().manual_seed(0))
    assert shapes == [(1, 3, 8, 8)] * 5
