"""nnU-Net's changes of intensity: what each computes, literally, and how its amounts are drawn."""

import pytest
import torch

from bench.training.intensity import (
    Intensity,
    blur,
    contrast,
    draw_variation,
    gamma,
    low_resolution,
    vary,
)
from bench.training.transfers import Upload


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textures(n=8, size=16):
    return torch.rand(n, 3, size, size, generator=generator(9)) * 0.8 + 0.1


def varied(images, seed=0, **changes):
    upload = Upload()
    size = tuple(images.shape[-2:])
    drawn, _ = draw_variation(len(images), size, Intensity(**changes), generator(seed), upload)
    return vary(images, drawn, upload.send(images.device))


def test_a_probability_that_equals_the_draw_does_not_hit():
    """Draws lie in [0, 1), so `draw < p` is never true for p = 0 and always for p = 1."""
    draw = float(torch.rand(1, generator=generator(7)))
    for p, expected in ((draw, False), (draw + 1e-6, True)):
        how = Intensity(gamma_p=p)
        _, changed = draw_variation(1, (16, 16), how, generator(7), Upload())
        assert changed.tolist() == [expected]


def test_noise_has_a_standard_deviation_up_to_noise_drawn_per_image():
    """Uniform: mean 0.05, largest 0.1; pixels and channels are independent."""
    images = torch.full((400, 3, 16, 16), 0.5)
    noise = varied(images, noise_p=1.0) - images
    deviations = noise.flatten(1).std(1)
    assert float(deviations.mean()) == pytest.approx(0.05, abs=0.004)  # SE 0.0014
    assert float(deviations.max()) < 0.107 and float(deviations.min()) < 0.003
    assert float(deviations.std()) == pytest.approx(0.1 / 12**0.5, abs=0.002)
    flat = (noise / deviations[:, None, None, None]).transpose(0, 1).flatten(1)
    assert torch.corrcoef(flat).triu(1).abs().max() < 0.01


def test_nothing_is_clamped():
    out = varied(torch.zeros(8, 3, 16, 16), noise_p=1.0)
    assert out.min() < -0.02 and out.max() > 0.02
    bright = varied(torch.ones(64, 3, 2, 2), brightness_p=1.0)
    assert float(bright.max()) > 1.2


def test_brightness_is_a_factor_per_channel_below_1_half_of_the_time():
    images = torch.full((4000, 3, 1, 1), 0.4)
    factors = (varied(images, brightness_p=1.0) / 0.4)[..., 0, 0]
    assert 0.75 <= float(factors.min()) < 0.76 and 1.24 < float(factors.max()) <= 1.25001
    assert float((factors < 1).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.corrcoef(factors.T).triu(1).abs().max() < 0.06


def test_gammas_exponents_are_below_1_half_of_the_time():
    """Of 0.7 to 1.5, where uniform draws would be below 1 in 3/8 of the cases. A ramp under an
    exponent below 1 is concave: its middle rises above the mean of its ends."""
    ramp = torch.linspace(0, 1, 65).expand(2000, 3, 1, 65)
    out = varied(ramp, gamma_p=1.0)[:, :, 0]
    concave = out[..., 32] > (out[..., 0] + out[..., -1]) / 2
    assert float(concave.float().mean()) == pytest.approx(0.5, abs=0.025)


def test_gamma_keeps_mean_and_deviation_of_each_channel():
    image = textures(1)[0]
    out = gamma(image, torch.tensor([0.7, 1.0, 1.5])[:, None, None])
    assert torch.allclose(out.mean((1, 2)), image.mean((1, 2)), atol=1e-6)
    assert torch.allclose(out.std((1, 2)), image.std((1, 2)), atol=1e-6)
    assert torch.allclose(out[1], image[1], atol=1e-6)
    assert not torch.allclose(out[0], image[0], atol=1e-3)


def test_gamma_literally():
    """(0, 0.25, 1) squared is (0, 1/16, 1), brought back to mean 5/12 and SD 0.5204."""
    image = torch.tensor([[[0.0, 0.25, 1.0]]])
    out = gamma(image, torch.tensor([[[2.0]]]))
    assert out.flatten().tolist() == pytest.approx([0.07813, 0.13582, 1.00105], abs=2e-2)
    squared = torch.tensor([0.0, 0.0625, 1.0])
    expected = (squared - squared.mean()) / squared.std() * image.std() + image.mean()
    assert torch.allclose(out.flatten(), expected, atol=1e-6)


def test_inverted_gamma_is_gamma_of_the_negative():
    images = textures(1)
    seed = 3
    plain = varied(-images, seed, gamma_p=1.0)
    assert torch.allclose(varied(images, seed, inverted_gamma_p=1.0), -plain, atol=1e-6)


def test_contrast_scales_about_the_mean_and_stays_in_the_channels_range():
    image = torch.tensor([[[0.2, 0.4, 0.9]]])  # mean 0.5
    half = contrast(image, torch.tensor([[[0.5]]]))
    assert half.flatten().tolist() == pytest.approx([0.35, 0.45, 0.7])
    wide = contrast(image, torch.tensor([[[1.25]]]))
    assert wide.flatten().tolist() == pytest.approx([0.2, 0.375, 0.9])


def test_blur_spreads_a_point_as_a_gaussian():
    """sigma 1: neighbours at distance 1 and 2 get exp(-1/2) and exp(-2) of the centre."""
    point = torch.zeros(15, 15)
    point[7, 7] = 1
    out = blur(point, 1.0, 1.0)
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert float(out[7, 8] / out[7, 7]) == pytest.approx(0.60653, abs=1e-4)
    assert float(out[9, 7] / out[7, 7]) == pytest.approx(0.13534, abs=1e-4)
    assert out[7, 10] > 0 and out[7, 11] == 0  # 7 taps
    narrow = blur(point, 0.5, 1.0)  # 3 taps along the height
    assert narrow[8, 7] > 0 and narrow[9, 7] == 0 and narrow[7, 9] > 0
    assert torch.allclose(out, out.T) and torch.allclose(out, out.flip(0))


def test_blur_of_an_even_image_changes_nothing_up_to_its_edge():
    assert torch.allclose(blur(torch.full((9, 9), 0.3), 0.5, 1.0), torch.tensor(0.3), atol=1e-6)


def test_low_resolution_keeps_every_second_pixel_at_zoom_one_half():
    image = torch.arange(16.0).view(4, 4) / 16
    wanted = torch.nn.functional.interpolate(
        image[1::2, 1::2][None, None], (4, 4), mode="bilinear", align_corners=False
    )
    assert torch.allclose(low_resolution(image, 0.5), wanted[0, 0])
    assert torch.allclose(low_resolution(image, 1.0), image)
    assert low_resolution(image, 0.01).shape == image.shape  # never smaller than one pixel


@pytest.mark.parametrize("name", ["blur_p", "low_resolution_p"])
def test_half_of_the_channels_are_spared(name):
    images = textures(400)
    same = (varied(images, **{name: 1.0}) == images).flatten(2).all(2)
    assert float(same.float().mean()) == pytest.approx(0.5, abs=0.06)
    assert {0, 1, 2, 3} == set(same.sum(1).tolist())  # each channel has a coin of its own


def test_the_changes_come_in_nnunets_order():
    """Noise before blur: a blurred white noise is smoother than one that is added after."""
    images = torch.full((64, 3, 16, 16), 0.5)
    both = varied(images, noise_p=1.0, blur_p=1.0, blur=(1.0, 1.0))
    alone = varied(images, noise_p=1.0)
    rough = (both[..., 1:] - both[..., :-1]).abs().mean()
    assert float(rough) < 0.8 * float((alone[..., 1:] - alone[..., :-1]).abs().mean())
