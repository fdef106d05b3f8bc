"""Colour jitter: what each change computes, literally, and in which order."""

import pytest
import torch

from bench.training.augment import Augmentation, augment
from bench.training.colour import draw_jitter, jitter, turn_hue

GREY = torch.full((1, 3, 2, 2), 0.4)
RED = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1)
RED_AND_BLACK = torch.cat([RED, torch.zeros_like(RED)], dim=3)  # two pixels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def jittered(image: torch.Tensor, *amounts: float, seed: int = 0) -> torch.Tensor:
    which = torch.ones(len(image), dtype=torch.bool)
    return jitter(image, draw_jitter(which, torch.tensor([amounts]), generator(seed)))


@pytest.mark.parametrize(
    "image, amount, expected",
    [
        (GREY, (0.5, 0, 0, 0), [0.6, 0.6, 0.6]),  # brightness is a factor 1 + amount
        (GREY, (-0.5, 0, 0, 0), [0.2, 0.2, 0.2]),
        (GREY, (2.0, 0, 0, 0), [1.0, 1.0, 1.0]),
        (GREY, (0, 1.0, 0, 0), [0.4, 0.4, 0.4]),  # contrast about the mean grey
        # grey of red: 0.299 * 0.8 + (0.587 + 0.114) * 0.2 = 0.3794
        (RED, (0, 0, -1.0, 0), [0.3794, 0.3794, 0.3794]),
        (RED, (0, 0, -0.5, 0), [0.5897, 0.2897, 0.2897]),
        (RED, (0, 0, 0.2, 0), [0.88412, 0.16412, 0.16412]),
        # mean grey of the two pixels: 0.3794 / 2 = 0.1897
        (RED_AND_BLACK, (0, -0.5, 0, 0), [0.49485, 0.19485, 0.19485]),
        # hue: a third of the circle turns red into green, a sixth into yellow
        (RED, (0, 0, 0, 1 / 3), [0.2, 0.8, 0.2]),
        (RED, (0, 0, 0, 1 / 6), [0.8, 0.8, 0.2]),
        (RED, (0, 0, 0, -1 / 3), [0.2, 0.2, 0.8]),
        (RED, (0, 0, 0, 0.5), [0.2, 0.8, 0.8]),
        (RED, (0, 0, 0, 0.1), [0.8, 0.56, 0.2]),
    ],
)
def test_each_change_of_one_pixel(image, amount, expected):
    assert jittered(image, *amount)[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


def test_hue_leaves_grey_grey_and_zero_amounts_change_nothing():
    assert jittered(GREY, 0, 0, 0, 0.3) == pytest.approx(GREY, abs=1e-5)
    images = torch.rand(1, 3, 4, 4, generator=generator())
    assert jittered(images, 0, 0, 0, 0) == pytest.approx(images, abs=1e-5)


@pytest.mark.parametrize("amount", [-0.4, -0.1, 0.05, 0.25, 0.5])
def test_hue_keeps_value_and_chroma_and_turns_back(amount):
    image = torch.rand(3, 8, 8, generator=generator(1))
    turned = turn_hue(image, amount)
    assert torch.allclose(turned.amax(0), image.amax(0), atol=1e-6)
    assert torch.allclose(turned.amin(0), image.amin(0), atol=1e-6)
    assert torch.allclose(turn_hue(turned, -amount), image, atol=1e-5)


def test_colours_beyond_white_and_black_are_cut_off_after_each_change():
    yellow = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    for amount in ((0.5, 0, 0, 0), (0, 0, 0.5, 0), (0, 0, 0, 0.5), (0.5, 0.5, 0.5, 0.25)):
        out = jittered(yellow, *amount)
        assert out.min() >= 0 and out.max() <= 1


def test_the_order_is_drawn():
    """Brightness then saturation is cut off elsewhere than saturation then brightness."""
    image = torch.tensor([0.9, 0.5, 0.5]).view(1, 3, 1, 1)
    found = {tuple(jittered(image, 0.5, 0, 0.8, 0, seed=s).flatten().tolist()) for s in range(40)}
    assert len(found) == 2


def test_only_the_chosen_images_change_and_the_input_stays():
    images = GREY.repeat(3, 1, 1, 1)
    amounts = torch.tensor([[0.5, 0, 0, 0]] * 3)
    second = torch.tensor([False, True, False])
    out = jitter(images, draw_jitter(second, amounts, generator()))
    assert out[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.6, 0.4])
    assert (images == 0.4).all()


def test_amounts_are_drawn_between_minus_and_plus_their_bounds():
    images = torch.full((400, 3, 2, 2), 0.4)
    how = Augmentation(color_p=1.0, color=(0.5, 0.0, 0.0, 0.0))
    factors = augment(images, images[:, :1], how, generator())[0][:, 0, 0, 0] / 0.4 - 1
    assert -0.5 <= float(factors.min()) < -0.45 and 0.45 < float(factors.max()) <= 0.5
    assert abs(float(factors.mean())) < 0.05
