"""Augmentation: one draw for image and mask, and literally what each change computes."""

import math

import pytest
import torch

from bench.core.errors import BenchError
from bench.training.augment import (
    POLICIES,
    Augmentation,
    _blur,
    _intensity,
    _low_resolution,
    apply_view,
    augment,
    jitter_hsv,
    policy,
)

CORNER = torch.tensor([[1.0, 0], [0, 0]])  # one marked corner tells all views of rotation apart


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=8, size=16):
    masks = torch.zeros(n, 1, size, size)
    masks[:, :, 3:8, 5:13] = 1
    return masks.repeat(1, 3, 1, 1) * 0.5 + 0.25, masks


@pytest.mark.parametrize(
    "view, expected",
    [
        (0, [[1, 0], [0, 0]]),
        (1, [[0, 0], [1, 0]]),  # counter-clockwise: the top left corner goes to the bottom left
        (2, [[0, 0], [0, 1]]),
        (4, [[0, 1], [0, 0]]),  # horizontal flip
        (5, [[1, 0], [0, 0]]),
    ],
)
def test_views_move_a_marked_corner(view, expected):
    assert apply_view(CORNER, view).tolist() == expected


def test_eight_views_are_eight_different_pictures():
    picture = torch.arange(9.0).view(3, 3)
    assert len({tuple(apply_view(picture, v).flatten().tolist()) for v in range(8)}) == 8


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_image_and_mask_share_one_draw(name):
    images, masks = pictures(16)
    out, moved, _ = augment(images, masks, policy(name), generator())
    assert out.shape == images.shape and moved.shape == masks.shape
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert out.min() >= 0 and out.max() <= 1
    bright = out.mean(1, keepdim=True)
    inside = bright[moved == 1].mean() - bright[moved == 0].mean()
    assert inside > 0.15  # the brighter square of the image is still under the mask


def test_discrete_policy_reports_the_view_it_applied():
    images = torch.rand(32, 3, 8, 8, generator=generator(1))
    masks = (images[:, :1] > 0.5).float()
    out, moved, views = augment(images, masks, policy("discrete"), generator())
    assert set(views.tolist()) == set(range(8))
    for i, view in enumerate(views.tolist()):
        assert torch.equal(out[i], apply_view(images[i], view))
        assert torch.equal(moved[i], apply_view(masks[i], view))


def test_continuous_changes_are_reported_as_no_view():
    images, masks = pictures(64)
    how = Augmentation(view_p=1.0, affine_p=0.5, rotate=20)
    out, _, views = augment(images, masks, how, generator())
    kept = views >= 0
    assert 15 < int(kept.sum()) < 49
    for i in kept.nonzero().flatten().tolist():
        assert torch.equal(out[i], apply_view(images[i], int(views[i])))


def test_same_generator_same_draw_and_input_left_alone():
    images, masks = pictures()
    before = images.clone()
    first = augment(images, masks, policy("nnunet"), generator(3))
    second = augment(images, masks, policy("nnunet"), generator(3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(images, before)


def test_rotation_keeps_the_area_and_half_the_scale_quarters_it():
    masks = torch.zeros(4, 1, 64, 64)
    masks[:, :, 20:40, 24:44] = 1
    images = masks.repeat(1, 3, 1, 1)
    _, turned, _ = augment(images, masks, Augmentation(affine_p=1.0, rotate=20), generator())
    assert turned.sum((1, 2, 3)).tolist() == pytest.approx([400.0] * 4, rel=0.05)
    half = Augmentation(affine_p=1.0, scale=(0.5, 0.5))
    _, small, _ = augment(images, masks, half, generator())
    assert small.sum((1, 2, 3)).tolist() == pytest.approx([100.0] * 4, rel=0.05)


def test_hue_leaves_grey_grey_and_zero_amounts_change_nothing():
    grey = torch.full((1, 3, 4, 4), 0.4)
    assert jitter_hsv(grey, torch.tensor([[0, 0, 0, 0.3]])) == pytest.approx(grey, abs=1e-5)
    images = torch.rand(2, 3, 4, 4, generator=generator())
    assert jitter_hsv(images, torch.zeros(2, 4)) == pytest.approx(images, abs=1e-5)


def test_unknown_policy_names_the_nearest():
    with pytest.raises(BenchError, match="Did you mean 'nnunet'"):
        policy("nnunett")


# Every view, literally

NUMBERED = torch.tensor([[1.0, 2], [3, 4]])


@pytest.mark.parametrize(
    "view, expected",
    [
        (0, [[1, 2], [3, 4]]),
        (1, [[2, 4], [1, 3]]),
        (2, [[4, 3], [2, 1]]),
        (3, [[3, 1], [4, 2]]),
        (4, [[2, 1], [4, 3]]),
        (5, [[1, 3], [2, 4]]),
        (6, [[3, 4], [1, 2]]),
        (7, [[4, 2], [3, 1]]),
    ],
)
def test_a_view_is_a_flip_then_quarter_turns(view, expected):
    assert apply_view(NUMBERED, view).tolist() == expected
    assert apply_view(NUMBERED.expand(2, 3, 2, 2), view)[1, 2].tolist() == expected


# Probabilities


def textures(n=8, size=16):
    images = torch.rand(n, 3, size, size, generator=generator(9)) * 0.8 + 0.1
    return images, (images[:, :1] > 0.5).float()


SOLE_CHANGES = {
    "affine_p": {"rotate": 20.0},
    "color_p": {"color": (0.5, 0.5, 0.5, 0.2)},
    "noise_p": {"noise": 0.1},
    "blur_p": {"blur": (1.0, 1.0)},
    "brightness_p": {},
    "contrast_p": {},
    "low_resolution_p": {},
    "gamma_p": {},
    "inverted_gamma_p": {},
}


@pytest.mark.parametrize("name", SOLE_CHANGES)
def test_a_change_of_probability_1_changes_every_image_and_of_0_none(name):
    images, masks = textures()
    how = Augmentation(**SOLE_CHANGES[name] | {name: 1.0})
    out, moved, views = augment(images, masks, how, generator())
    assert views.tolist() == [-1] * 8
    assert ((out - images).abs().amax((1, 2, 3)) > 1e-3).all()
    assert torch.equal(moved, masks) == (name != "affine_p")  # only movements touch the mask
    out, moved, views = augment(images, masks, Augmentation(**SOLE_CHANGES[name]), generator())
    assert views.tolist() == [0] * 8
    assert torch.equal(out, images) and torch.equal(moved, masks)


@pytest.mark.parametrize("name", SOLE_CHANGES)
def test_changed_images_and_only_those_are_reported_as_view_minus_1(name):
    images, masks = textures(64)
    how = Augmentation(**SOLE_CHANGES[name] | {name: 0.5})
    out, _, views = augment(images, masks, how, generator(2))
    changed = (out != images).flatten(1).any(1)
    reported = views == -1
    assert not (changed & ~reported).any() and 20 < int(reported.sum()) < 44
    assert int((reported & ~changed).sum()) <= 2  # low resolution at a zoom of nearly 1


def test_changes_without_a_range_change_nothing():
    images, masks = textures()
    how = Augmentation(affine_p=1.0, color_p=1.0, noise_p=1.0)
    out, moved, views = augment(images, masks, how, generator())
    assert torch.allclose(out, images, atol=1e-5) and torch.equal(moved, masks)
    assert views.tolist() == [-1] * 8


def test_a_probability_that_equals_the_draw_does_not_hit():
    """Draws lie in [0, 1), so `draw < p` is never true for p = 0 and always for p = 1."""
    draw = float(torch.rand(1, generator=generator(7)))
    images, masks = textures(1)
    for p, expected in ((draw, 0), (draw + 1e-6, 2)):
        how = Augmentation(view_p=p, views=(2,))
        assert augment(images, masks, how, generator(7))[2].tolist() == [expected]


def test_an_intensity_probability_that_equals_the_draw_does_not_hit():
    draw = float(torch.rand(1, generator=generator(7)))
    images, _ = textures(1)
    for p, expected in ((draw, False), (draw + 1e-6, True)):
        assert _intensity(images, Augmentation(gamma_p=p), generator(7))[1].tolist() == [expected]


def test_only_the_policys_views_are_drawn_and_all_of_them_equally():
    images, masks = pictures(400, size=4)
    views = augment(images, masks, policy("flips"), generator())[2]
    counts = [int((views == view).sum()) for view in range(8)]
    assert [count > 0 for count in counts] == [True, False] * 4
    assert min(counts[::2]) > 75
    half = Augmentation(view_p=0.5, views=(1,))
    views = augment(images, masks, half, generator())[2]
    assert set(views.tolist()) == {0, 1} and 170 < int(views.sum()) < 230


def test_acc_unet_moves_only_samples_that_were_not_turned():
    """Its harness draws a turn, else a small rotation: turned samples keep a discrete view."""
    images, masks = textures(200)
    how = Augmentation(view_p=0.5, views=(2,), affine_p=1.0, rotate=20, affine_unless_view=True)
    views = augment(images, masks, how, generator())[2]
    assert set(views.tolist()) == {-1, 2} and 70 < int((views == 2).sum()) < 130
    both = Augmentation(view_p=0.5, views=(2,), affine_p=1.0, rotate=20)
    assert augment(images, masks, both, generator())[2].tolist() == [-1] * 200


# What each change computes


def amounts(n: int, seed: int = 0) -> list[float]:
    """The uniform draws that `_intensity` takes as amounts of its first change."""
    g = generator(seed)
    torch.rand(n, generator=g)  # which samples are hit
    return torch.rand(n, generator=g).tolist()


@pytest.mark.parametrize(
    "name, change",
    [
        ("brightness_p", lambda x, u: x * (0.75 + 0.5 * u)),
        ("contrast_p", lambda x, u: (x - x.mean((1, 2), True)) * (0.75 + 0.5 * u) + x.mean((1, 2), True)),
        ("gamma_p", lambda x, u: x ** (0.7 + 0.8 * u)),
        ("inverted_gamma_p", lambda x, u: 1 - (1 - x) ** (0.7 + 0.8 * u)),
    ],
)  # fmt: skip
def test_brightness_contrast_and_gamma(name, change):
    images, _ = textures(6)
    out, changed = _intensity(images, Augmentation(**{name: 1.0}), generator())
    assert changed.all()
    for one, image, amount in zip(out, images, amounts(6), strict=True):
        assert torch.allclose(one, change(image, amount).clamp(0, 1), atol=1e-6)


def test_noise_is_gaussian_of_the_images_shape_with_a_variance_up_to_noise():
    """Each pixel of each channel has a draw of its own; the variance is noise * u."""
    images = torch.full((4, 3, 64, 64), 0.5)
    how = Augmentation(noise_p=1.0, noise=0.01)
    noise = _intensity(images, how, generator())[0] - images
    for one, amount in zip(noise, amounts(4), strict=True):
        assert float(one.var()) == pytest.approx(0.01 * amount, rel=0.05)
        assert abs(float(one.mean())) < 0.005
        assert len(one.unique()) > 0.9 * one.numel()
        flat = one.flatten(1)
        assert torch.corrcoef(flat).triu(1).abs().max() < 0.1  # channels are independent
    assert torch.corrcoef(noise.flatten(1)).triu(1).abs().max() < 0.1  # and so are images


def test_nnunets_policy_draws_noise_up_to_variance_0_1():
    how = policy("nnunet")
    assert (how.noise_p, how.noise) == (0.1, 0.1)
    images = torch.full((64, 3, 32, 32), 0.5)
    noisy = _intensity(images, Augmentation(noise_p=1.0, noise=how.noise), generator())[0]
    expected = [(0.1 * amount) ** 0.5 for amount in amounts(64)]
    small = [i for i, deviation in enumerate(expected) if deviation < 0.15]  # hardly clamped
    assert len(small) > 5
    for i in small:
        assert float(noisy[i].std()) == pytest.approx(expected[i], rel=0.06)


def test_intensities_stay_within_0_and_1():
    images = torch.rand(32, 3, 16, 16, generator=generator(5))
    how = Augmentation(noise_p=1.0, noise=1.0, brightness_p=1.0, contrast_p=1.0)
    out, _ = _intensity(images, how, generator())
    assert out.min() == 0 and out.max() == 1


def test_blur_spreads_a_point_as_a_gaussian():
    """sigma 1: neighbours at distance 1 and 2 get exp(-1/2) and exp(-2) of the centre."""
    point = torch.zeros(1, 3, 15, 15)
    point[:, :, 7, 7] = 1
    out = _blur(point, 1.0)[0, 1]
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert float(out[7, 8] / out[7, 7]) == pytest.approx(0.60653, abs=1e-4)
    assert float(out[9, 7] / out[7, 7]) == pytest.approx(0.13534, abs=1e-4)
    assert float(out[8, 8] / out[7, 7]) == pytest.approx(0.60653**2, abs=1e-4)
    assert out[7, 10] > 0 and out[7, 11] == 0  # cut at 3 sigma
    wide = _blur(torch.nn.functional.pad(point, (8, 8, 8, 8)), 2.5)[0, 1]
    assert wide[15, 15 + 8] > 0 and wide[15, 15 + 9] == 0
    assert torch.allclose(out, out.T) and torch.allclose(out, out.flip(0))


def test_blur_of_an_even_image_changes_nothing_up_to_its_edge():
    assert torch.allclose(_blur(torch.full((1, 3, 9, 9), 0.3), 0.2), torch.tensor(0.3), atol=1e-6)
    assert torch.allclose(_blur(torch.full((1, 3, 9, 9), 0.3), 2.0), torch.tensor(0.3), atol=1e-6)


def test_the_blurs_sigma_is_drawn_between_its_bounds():
    images, _ = textures(3)
    out, _ = _intensity(images, Augmentation(blur_p=1.0, blur=(0.5, 2.0)), generator())
    for one, image, amount in zip(out, images, amounts(3), strict=True):
        assert torch.allclose(one, _blur(image[None], 0.5 + 1.5 * amount)[0].clamp(0, 1))


def test_low_resolution_keeps_every_second_pixel_at_zoom_one_half():
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4) / 16
    small = image[..., ::2, ::2]
    wanted = torch.nn.functional.interpolate(small, (4, 4), mode="bicubic", align_corners=False)
    assert torch.allclose(_low_resolution(image, 0.5), wanted)
    assert torch.allclose(_low_resolution(image, 1.0), image)
    assert _low_resolution(image, 0.01).shape == image.shape  # never smaller than one pixel


def test_the_zoom_of_low_resolution_is_drawn_between_a_half_and_1():
    images, _ = textures(4)
    out, _ = _intensity(images, Augmentation(low_resolution_p=1.0), generator())
    for one, image, amount in zip(out, images, amounts(4), strict=True):
        assert torch.allclose(one, _low_resolution(image[None], 0.5 + 0.5 * amount)[0].clamp(0, 1))


GREY = torch.full((1, 3, 2, 2), 0.4)
RED = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1)
RED_AND_BLACK = torch.cat([RED, torch.zeros_like(RED)], dim=3)  # two pixels


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
        # a third of the colour circle in the YIQ plane, luma kept, then clamped
        (RED, (0, 0, 0, 1.0), [0.8, 0.2, 0.2]),
        (RED, (0, 0, 0, 0.5), [0.0, 0.5588, 0.5588]),
    ],
)
def test_colour_jitter_of_one_pixel(image, amount, expected):
    out = jitter_hsv(image, torch.tensor([amount]))
    assert out[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


def test_colours_beyond_white_and_black_are_cut_off():
    yellow = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    for amount in ((0.5, 0, 0, 0), (0, 0, 0.5, 0), (0, 0, 0, 0.5), (0, 0, 0, 0.25)):
        out = jitter_hsv(yellow, torch.tensor([amount]))
        assert out.min() >= 0 and out.max() <= 1
    two = torch.cat([yellow, torch.zeros(1, 3, 1, 1)], dim=3)
    assert jitter_hsv(two, torch.tensor([[0, 1.0, 0, 0]])).max() <= 1


def test_a_colour_is_cut_off_before_its_hue_turns():
    """Saturation doubled: (1.1804, 0.3804, 0.3804), cut to 1; half a circle maps c to 2 luma - c."""
    image = torch.tensor([0.9, 0.5, 0.5]).view(1, 3, 1, 1)
    out = jitter_hsv(image, torch.tensor([[0, 0, 1.0, 0.5]]))
    assert out.flatten().tolist() == pytest.approx([0.1313, 0.7509, 0.7509], abs=1e-4)


def test_hue_turns_in_one_direction_and_keeps_the_luma():
    weights = torch.tensor([0.299, 0.587, 0.114])
    image = torch.tensor([0.5, 0.45, 0.4]).view(1, 3, 1, 1)
    third = jitter_hsv(image, torch.tensor([[0, 0, 0, 1 / 3]]))[0, :, 0, 0]
    back = jitter_hsv(image, torch.tensor([[0, 0, 0, -1 / 3]]))[0, :, 0, 0]
    assert float(third @ weights) == pytest.approx(float(image[0, :, 0, 0] @ weights), abs=1e-5)
    assert third.argmax() != back.argmax()
    assert third.tolist() == pytest.approx([0.4677, 0.4370, 0.5518], abs=1e-3)


def test_colour_amounts_are_drawn_between_minus_and_plus_their_bounds():
    images = torch.full((400, 3, 2, 2), 0.4)
    how = Augmentation(color_p=1.0, color=(0.5, 0.0, 0.0, 0.0))
    factors = augment(images, images[:, :1], how, generator())[0][:, 0, 0, 0] / 0.4 - 1
    assert -0.5 <= float(factors.min()) < -0.45 and 0.45 < float(factors.max()) <= 0.5
    assert abs(float(factors.mean())) < 0.05


# Movements


def square_at(top: int, left: int, side: int = 8, size: int = 32) -> torch.Tensor:
    masks = torch.zeros(1, 1, size, size)
    masks[:, :, top : top + side, left : left + side] = 1
    return masks


def centre(mask: torch.Tensor) -> tuple[float, float]:
    rows, columns = mask[0, 0].nonzero().float().mean(0).tolist()
    return rows, columns


@pytest.mark.parametrize("seed", range(6))
def test_a_shift_moves_by_at_most_its_share_of_the_side(seed):
    masks = square_at(12, 12)
    how = Augmentation(affine_p=1.0, shift=0.25)
    unit = torch.rand(1, 4, generator=after_the_view_draws(seed))[0]
    moved = augment(masks.expand(1, 3, 32, 32), masks, how, generator(seed))[1]
    rows, columns = centre(moved)
    # The map goes from the new grid to the old one, so the picture moves the other way.
    assert rows == pytest.approx(15.5 - (float(unit[3]) * 2 - 1) * 0.25 * 32, abs=0.51)
    assert columns == pytest.approx(15.5 - (float(unit[2]) * 2 - 1) * 0.25 * 32, abs=0.51)


def after_the_view_draws(seed: int) -> torch.Generator:
    """A generator at the place where `augment` draws the movement of one sample."""
    g = generator(seed)
    torch.rand(1, generator=g)
    torch.randint(8, (1,), generator=g)
    torch.rand(1, generator=g)
    return g


@pytest.mark.parametrize("seed", range(6))
def test_rotation_angle_and_direction(seed):
    masks = square_at(14, 24, side=4)  # right of the centre
    how = Augmentation(affine_p=1.0, rotate=40)
    unit = torch.rand(1, 4, generator=after_the_view_draws(seed))[0]
    rows, columns = centre(augment(masks.expand(1, 3, 32, 32), masks, how, generator(seed))[1])
    angle = (float(unit[0]) * 2 - 1) * 40
    # Rows run downwards: a square right of the centre that moves down turns clockwise.
    found = math.degrees(math.atan2(rows - 15.5, columns - 15.5))
    assert found == pytest.approx(angle, abs=4)


def test_scale_is_the_factor_of_the_objects_size_drawn_between_its_bounds():
    masks = square_at(20, 20, side=24, size=64)
    images = masks.expand(1, 3, 64, 64)
    areas = []
    for seed in range(40):
        how = Augmentation(affine_p=1.0, scale=(0.5, 1.0))
        areas.append(float(augment(images, masks, how, generator(seed))[1].sum()))
    sides = [area**0.5 / 24 for area in areas]
    assert 0.47 < min(sides) < 0.6 and 0.9 < max(sides) < 1.03


def test_a_scaled_and_rotated_square_stays_a_square():
    masks = square_at(20, 20, side=24, size=64).repeat(8, 1, 1, 1)
    how = Augmentation(affine_p=1.0, rotate=180, scale=(0.5, 0.5))
    moved = augment(masks.repeat(1, 3, 1, 1), masks, how, generator())[1]
    for one in moved:
        assert float(one.sum()) == pytest.approx(144, rel=0.06)
        rows, columns = one[0].any(1).sum(), one[0].any(0).sum()
        assert abs(int(rows) - int(columns)) <= 1  # as high as it is wide at every angle


def test_images_move_bilinearly_or_to_the_nearest_pixel():
    masks = square_at(12, 12)
    images = masks.expand(1, 3, 32, 32)
    for nearest, levels in ((True, 2), (False, 10)):
        how = Augmentation(affine_p=1.0, rotate=20, nearest=nearest)
        out, moved, _ = augment(images, masks, how, generator())
        assert (len(out.unique()) > 2) == (not nearest) and len(out.unique()) <= levels**3
        assert moved.unique().tolist() == [0, 1]
        if nearest:
            assert torch.equal(out[:, :1], moved)


# Draws


@pytest.mark.parametrize(
    "name, views, mean, left, foreground",
    [
        ("shared", [1, -1, -1, -1, 4, 7, -1, 0], 0.471437, 0.473629, 947),
        ("acc-unet", [1, 0, 5, 2, 4, 0, 6, 0], 0.499692, 0.502499, 1022),
        ("nnunet", [-1] * 8, 0.499698, 0.498745, 994),
    ],
)
def test_the_draws_of_a_seed_are_pinned(name, views, mean, left, foreground):
    """Every stored training rests on them. left: mean of the images' left halves."""
    out, moved, found = augment(*textures(), policy(name), generator())
    assert found.tolist() == views
    assert float(out.mean()) == pytest.approx(mean, abs=2e-6)
    assert float(out[..., :8].mean()) == pytest.approx(left, abs=2e-6)
    assert moved.sum().item() == pytest.approx(foreground, abs=2)


# The policies of the papers


def test_policies_are_those_of_their_sources():
    assert policy("none") == Augmentation()
    assert policy("discrete") == Augmentation(view_p=1.0, views=(0, 1, 2, 3, 4, 5, 6, 7))
    assert policy("gms") == policy("shared") == Augmentation(
        view_p=1.0, affine_p=0.4, rotate=20, shift=0.15, scale=(0.9, 1.1),
        color_p=0.2, color=(0.1, 0.1, 0.1, 0.1),
    )  # fmt: skip
    assert policy("acc-unet") == Augmentation(
        view_p=0.5, affine_p=0.5, rotate=20, nearest=True, affine_unless_view=True
    )
    assert policy("ege-unet") == Augmentation(
        view_p=0.75, views=(0, 2, 4, 6), affine_p=0.5, rotate=180
    )
    assert policy("flips") == Augmentation(view_p=1.0, views=(0, 2, 4, 6))
    assert policy("nnunet") == Augmentation(
        view_p=1.0, views=(0, 2, 4, 6), affine_p=0.36, rotate=180, scale=(0.7, 1.4),
        noise_p=0.1, noise=0.1, blur_p=0.2, blur=(0.5, 1.0), brightness_p=0.15, contrast_p=0.15,
        low_resolution_p=0.25, gamma_p=0.3, inverted_gamma_p=0.1,
    )  # fmt: skip
