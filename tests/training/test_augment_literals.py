"""Augmentation under draws that are known: what each change does to which pixel.

`drawing(u)` makes every uniform draw u, so that a change with probability 1 happens at u's place in
its range and a change with probability 0 never happens.
"""

import math
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.training.augment import POLICIES, Augmentation, apply_view, augment, jitter_hsv

NOTHING = {
    "view_p": 0.0,
    "views": (0, 1, 2, 3, 4, 5, 6, 7),
    "affine_p": 0.0,
    "rotate": 0.0,
    "shift": 0.0,
    "scale": (1.0, 1.0),
    "nearest": False,
    "color_p": 0.0,
    "color": (0.0, 0.0, 0.0, 0.0),
    "noise_p": 0.0,
    "noise": 0.0,
    "blur_p": 0.0,
    "blur": (0.5, 1.0),
    "brightness_p": 0.0,
    "contrast_p": 0.0,
    "low_resolution_p": 0.0,
    "gamma_p": 0.0,
    "inverted_gamma_p": 0.0,
    "affine_unless_view": False,
}
SHARED = {
    "view_p": 1.0,
    "affine_p": 0.4,
    "rotate": 20,
    "shift": 0.15,
    "scale": (0.9, 1.1),
    "color_p": 0.2,
    "color": (0.1, 0.1, 0.1, 0.1),
}
FLIPS = {"view_p": 1.0, "views": (0, 2, 4, 6)}
PUBLISHED = {
    "none": {},
    "discrete": {"view_p": 1.0},
    "shared": SHARED,
    "gms": SHARED,
    "flips": FLIPS,
    "acc-unet": {
        "view_p": 0.5,
        "affine_p": 0.5,
        "rotate": 20,
        "nearest": True,
        "affine_unless_view": True,
    },
    "ege-unet": FLIPS | {"view_p": 0.75, "affine_p": 0.5, "rotate": 180},
    "nnunet": FLIPS
    | {"affine_p": 0.36, "rotate": 180, "scale": (0.7, 1.4)}
    | {"noise_p": 0.1, "noise": 0.1, "blur_p": 0.2, "brightness_p": 0.15, "contrast_p": 0.15}
    | {"low_resolution_p": 0.25, "gamma_p": 0.3, "inverted_gamma_p": 0.1},
}

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
YIQ = np.array(
    [GREY, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)]
)  # NTSC, 1953


@pytest.fixture
def drawing(monkeypatch):
    """Fix every uniform draw at u, and every normal draw at 1."""

    def fix(u: float) -> None:
        monkeypatch.setattr(torch, "rand", lambda *size, generator=None: torch.full(size, u))
        monkeypatch.setattr(torch, "randn", lambda size, generator=None: torch.ones(size))

    return fix


def changed(images, masks=None, **how):
    """(images, masks, views) under a policy."""
    masks = torch.zeros(len(images), 1, *images.shape[-2:]) if masks is None else masks
    return augment(images, masks, Augmentation(**how), torch.Generator().manual_seed(0))


def row(*values):
    """Images (1, 3, 1, W), grey."""
    return torch.tensor(values).view(1, 1, 1, -1).repeat(1, 3, 1, 1)


def colours(*pixels):
    """Images (1, 3, 1, W) of RGB pixels."""
    return torch.tensor(pixels).T.reshape(1, 3, 1, -1)


def drawn(*lines):
    """A picture (1, 3, H, W) and its mask from lines of '#' and '.'."""
    mask = torch.tensor([[float(c == "#") for c in line] for line in lines])[None, None]
    return mask.repeat(1, 3, 1, 1), mask


# ---- policies


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_policy_is_what_its_source_says(name):
    assert asdict(POLICIES[name]) == NOTHING | PUBLISHED[name]


def test_no_policy_is_left_out_here():
    assert POLICIES.keys() == PUBLISHED.keys()


def test_a_policy_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        POLICIES["shared"].rotate = 0


@pytest.mark.parametrize("u", [0.0, 0.5, 0.99])
def test_the_empty_policy_changes_nothing_whatever_is_drawn(drawing, u):
    drawing(u)
    images, masks = drawn("#..", "...")
    out, moved, views = changed(images, masks)
    assert torch.equal(out, images) and torch.equal(moved, masks) and views.tolist() == [0]


# ---- views and geometry


def test_every_view_is_a_flip_and_quarter_turns_of_image_and_mask(drawing):
    drawing(0.5)
    images, masks = drawn("#..", "##.", "...")
    for view in range(8):
        out, moved, views = changed(images, masks, view_p=1.0, views=(view,))
        assert views.tolist() == [view]
        assert torch.equal(out, apply_view(images, view))
        assert torch.equal(moved, apply_view(masks, view))


def test_a_view_that_is_not_drawn_is_view_0(drawing):
    drawing(0.5)
    images, masks = drawn("#..", "...")
    out, _, views = changed(images, masks, view_p=0.5, views=(3,))  # 0.5 < 0.5 is false
    assert torch.equal(out, images) and views.tolist() == [0]


@pytest.mark.parametrize("u, expected", [(0.75, [".#", ".."]), (0.25, ["..", "#."])])
def test_half_the_largest_angle_to_either_side(drawing, u, expected):
    """The draws 3/4 and 1/4 of +-180 degrees are quarter turns: clockwise and back."""
    drawing(u)
    images, masks = drawn("#.", "..")
    out, moved, views = changed(images, masks, affine_p=1.0, rotate=180)
    turned = drawn(*expected)[1]
    assert torch.equal(moved.round(), turned) and views.tolist() == [-1]
    assert torch.allclose(out, turned.expand(-1, 3, -1, -1), atol=1e-5)


def test_a_shift_is_a_share_of_the_side(drawing):
    """3/4 of the range +-1/2 is a quarter of the side: 1 of 4 pixels, to the top and left."""
    drawing(0.75)
    out, moved, _ = changed(
        *drawn("....", "....", "..##", "...."), affine_p=1.0, rotate=0, shift=0.5
    )
    expected = drawn("....", ".##.", "....", "....")
    assert torch.allclose(out, expected[0], atol=1e-5) and torch.equal(moved, expected[1])


@pytest.mark.parametrize("u, side", [(0.0, 2), (0.5, 4), (0.75, 6)])
def test_the_scale_is_the_factor_of_an_objects_side(drawing, u, side):
    """1/2, 1 and 3/2 of a square of 4 pixels, drawn at 0, 1/2 and 3/4 of the range."""
    drawing(u)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 6:10] = 1
    scale = {0.0: (0.5, 7.0), 0.5: (0.5, 1.5), 0.75: (0.75, 1.75)}[u]
    _, moved, _ = changed(mask.repeat(1, 3, 1, 1), mask, affine_p=1.0, scale=scale)
    expected = torch.zeros(1, 1, 16, 16)
    expected[..., 8 - side // 2 : 8 + side // 2, 8 - side // 2 : 8 + side // 2] = 1
    assert torch.equal(moved, expected)


def test_a_turned_object_is_scaled_too(drawing):
    """A quarter turn at twice the size: a bar of 4 x 2 pixels becomes one of 4 x 8."""
    drawing(0.75)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 7:9] = 1
    how = {"affine_p": 1.0, "rotate": 180, "scale": (1.0, 7 / 3)}
    _, moved, _ = changed(mask.repeat(1, 3, 1, 1), mask, **how)
    expected = torch.zeros(1, 1, 16, 16)
    expected[..., 6:10, 4:12] = 1
    assert torch.equal(moved, expected)


def test_images_are_interpolated_and_masks_are_not(drawing):
    """A shift by half a pixel: the image's edge is grey, the mask's stays hard."""
    drawing(0.75)
    images, masks = drawn("....", ".##.", ".##.", "....")
    out, moved, _ = changed(images, masks, affine_p=1.0, shift=0.25)
    assert out[0, 0, 1].tolist() == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-5)
    assert set(moved.unique().tolist()) == {0.0, 1.0}
    sharp, _, _ = changed(images, masks, affine_p=1.0, shift=0.25, nearest=True)
    assert set(sharp.unique().tolist()) == {0.0, 1.0}


def test_affine_unless_view_moves_only_what_no_view_turned(drawing):
    drawing(0.25)
    images, masks = drawn("#.", "..")
    how = {"affine_p": 1.0, "rotate": 180, "affine_unless_view": True, "views": (2,)}
    turned, _, views = changed(images, masks, view_p=1.0, **how)
    assert views.tolist() == [2] and torch.equal(turned, apply_view(images, 2))
    moved, _, views = changed(images, masks, view_p=0.0, **how)
    assert views.tolist() == [-1]
    assert torch.allclose(moved, drawn("..", "#.")[0], atol=1e-5)


def test_input_is_left_alone_by_every_change(drawing):
    drawing(0.75)
    for how in ({"affine_p": 1.0, "shift": 0.5}, {"color_p": 1.0, "color": (0.5, 0, 0, 0)}):
        images, masks = drawn("#.", "..")
        changed(images * 0.5, masks, **how)
        before = (images.clone(), masks.clone())
        changed(images, masks, **how)
        assert torch.equal(images, before[0]) and torch.equal(masks, before[1])


# ---- colour


def test_colour_amounts_are_drawn_from_both_sides_of_each_range(drawing):
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for u, amount in ((0.75, 0.5), (0.25, -0.5)):
        drawing(u)
        out, _, views = changed(images, color_p=1.0, color=(0.1, 0.2, 0.3, 0.4))
        expected = jitter_hsv(images, amount * torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
        assert torch.equal(out, expected) and views.tolist() == [-1]


@pytest.mark.parametrize(
    "amounts, before, after",
    [
        ((0.5, 0, 0, 0), [0.0, 0.4, 0.8], [0.0, 0.6, 1.0]),  # brightness: x 1.5
        ((-0.5, 0, 0, 0), [0.0, 0.4, 0.8], [0.0, 0.2, 0.4]),
        ((0, 0.5, 0, 0), [0.2, 0.6], [0.1, 0.7]),  # contrast: 1.5 x the distance to the mean 0.4
        ((0, -1, 0, 0), [0.2, 0.6], [0.4, 0.4]),
        ((0, 1, 0, 0), [0.1, 0.9], [0.0, 1.0]),
        ((0, 0, 0.5, 0), [0.2, 0.6], [0.2, 0.6]),  # grey has no saturation
        ((1, -1, 0, 0), [0.2, 0.8], [0.7, 0.7]),  # 0.4 and 1, cut at 1 before the contrast
    ],
)
def test_brightness_contrast_and_saturation_of_grey_pixels(amounts, before, after):
    out = jitter_hsv(row(*before), torch.tensor([amounts], dtype=torch.float32))
    assert torch.allclose(out, row(*after), atol=1e-5)


@pytest.mark.parametrize("channel", range(3))
def test_without_saturation_or_contrast_a_pure_colour_is_its_grey(channel):
    pure = torch.zeros(1, 3, 1, 1)
    pure[0, channel] = 1
    for amounts in ((0, -1, 0, 0), (0, 0, -1, 0)):
        out = jitter_hsv(pure, torch.tensor([amounts], dtype=torch.float32))
        assert out.flatten().tolist() == pytest.approx([GREY[channel]] * 3, abs=1e-5)


def test_contrast_pulls_towards_the_images_grey_and_saturation_towards_each_pixels():
    two = colours((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    flat = jitter_hsv(two, torch.tensor([[0, -1.0, 0, 0]]))
    assert flat.flatten().tolist() == pytest.approx([(0.299 + 0.114) / 2] * 6, abs=1e-5)
    grey = jitter_hsv(two, torch.tensor([[0, 0, -1.0, 0]]))
    assert grey[0, 0, 0].tolist() == pytest.approx([0.299, 0.114], abs=1e-5)


def test_saturation_stretches_the_distance_to_grey():
    grey = 0.299 * 0.6 + 0.587 * 0.5 + 0.114 * 0.4
    out = jitter_hsv(colours((0.6, 0.5, 0.4)), torch.tensor([[0, 0, 0.5, 0]]))
    expected = [grey + 1.5 * (value - grey) for value in (0.6, 0.5, 0.4)]
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_values_are_cut_before_saturation():
    """Contrast takes the pixel (0.1, 0.5, 0.5) beside white to a negative red; its grey is that of
    the pixel cut at 0."""
    first, white = np.array([0.1, 0.5, 0.5]), np.ones(3)
    mean = (first @ GREY + white @ GREY) / 2
    cut = np.clip(mean + (first - mean) * 2, 0, 1)
    amounts = torch.tensor([[0, 1.0, -1.0, 0]])
    out = jitter_hsv(colours(tuple(first), tuple(white)).float(), amounts)
    assert out[0, :, 0, 0].tolist() == pytest.approx([cut @ GREY] * 3, abs=1e-5)
    beyond = jitter_hsv(colours((0.9, 0.5, 0.5), (0.0, 0.0, 0.0)), amounts)
    mean = np.array([0.9, 0.5, 0.5]) @ GREY / 2
    cut = np.clip(mean + (np.array([0.9, 0.5, 0.5]) - mean) * 2, 0, 1)
    assert beyond[0, :, 0, 0].tolist() == pytest.approx([cut @ GREY] * 3, abs=1e-5)


def test_over_saturated_values_are_cut_before_the_hue_turns():
    grey = np.array([1.0, 0.2, 0.2]) @ GREY
    cut = np.clip(grey + (np.array([1.0, 0.2, 0.2]) - grey) * 2, 0, 1)
    out = jitter_hsv(colours((1.0, 0.2, 0.2)), torch.tensor([[0, 0, 1.0, 0.5]]))
    expected = np.clip(2 * cut @ GREY - cut, 0, 1)
    assert out.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("colour", [(0.6, 0.5, 0.5), (0.5, 0.6, 0.5), (0.5, 0.5, 0.6), (1, 0, 0)])
@pytest.mark.parametrize("turn", [0.25, 0.5, 0.1])
def test_hue_turns_in_the_yiq_plane(colour, turn):
    y, i, q = YIQ @ colour
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    expected = np.linalg.inv(YIQ) @ [y, i * cos - q * sin, i * sin + q * cos]
    out = jitter_hsv(colours(colour).float(), torch.tensor([[0, 0, 0, turn]]))
    assert out.flatten().tolist() == pytest.approx(np.clip(expected, 0, 1).tolist(), abs=1e-4)


def test_the_opposite_of_red_is_as_bright_as_red():
    out = jitter_hsv(colours((0.8, 0.4, 0.4)), torch.tensor([[0, 0, 0, 0.5]]))
    grey = 0.299 * 0.8 + 0.701 * 0.4
    assert out.flatten().tolist() == pytest.approx(
        [2 * grey - 0.8, 2 * grey - 0.4, 2 * grey - 0.4], abs=1e-4
    )


# ---- intensity


@pytest.mark.parametrize(
    "change, u, before, after",
    [
        ("brightness_p", 0.25, [0.0, 0.4, 0.8], [0.0, 0.35, 0.7]),  # x 0.875
        ("brightness_p", 0.9, [0.0, 0.5, 0.9], [0.0, 0.6, 1.0]),  # x 1.2, cut at 1
        ("contrast_p", 0.25, [0.2, 0.6], [0.225, 0.575]),  # 0.875 x the distance to 0.4
        ("contrast_p", 0.9, [0.0, 1.0], [0.0, 1.0]),
        ("gamma_p", 0.5, [0.0, 0.25, 1.0], [0.0, 0.25**1.1, 1.0]),
        ("gamma_p", 0.0, [0.25], [0.25**0.7]),
        ("inverted_gamma_p", 0.5, [0.0, 0.25, 1.0], [0.0, 1 - 0.75**1.1, 1.0]),
        ("inverted_gamma_p", 0.0, [0.25], [1 - 0.75**0.7]),
    ],
)
def test_brightness_contrast_and_gamma_of_nnunet(drawing, change, u, before, after):
    drawing(u)
    out, _, views = changed(row(*before), **{change: 1.0})
    assert torch.allclose(out, row(*after), atol=1e-5) and views.tolist() == [-1]


@pytest.mark.parametrize("u, sd", [(0.25, 0.1), (0.81, 0.18)])
def test_the_variance_of_noise_is_drawn_up_to_the_highest(drawing, u, sd):
    """Of a highest variance 0.04: at 1/4, sd sqrt(0.01). Every normal draw is 1 here."""
    drawing(u)
    out, _, views = changed(row(0.0, 0.5, 0.9), noise_p=1.0, noise=0.04)
    assert torch.allclose(out, row(sd, 0.5 + sd, 1.0), atol=1e-5) and views.tolist() == [-1]


def test_noise_is_drawn_per_pixel():
    out, _, _ = changed(torch.full((2, 3, 32, 32), 0.5), noise_p=1.0, noise=0.01)
    assert out.std() > 0.01
    assert abs(float(out.mean()) - 0.5) < 0.01
    assert len(out.unique()) > 5000


@pytest.mark.parametrize("u, blur, reach", [(0.25, (0.5, 1.0), 2), (0.5, (0.25, 0.25), 1)])
def test_blur_spreads_a_point_as_a_gaussian_cut_at_three_sigma(drawing, u, blur, reach):
    drawing(u)
    sigma = blur[0] + u * (blur[1] - blur[0])
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    point = torch.zeros(1, 3, 9, 9)
    point[..., 4, 4] = 1
    out, _, views = changed(point, blur_p=1.0, blur=blur)
    expected = np.zeros((9, 9))
    inside = slice(4 - reach, 5 + reach)
    expected[inside, inside] = np.outer(taps, taps)
    assert np.allclose(out[0], expected, atol=1e-6) and views.tolist() == [-1]


def test_blur_continues_the_picture_beyond_its_edge(drawing):
    drawing(0.5)
    flat, _, _ = changed(torch.full((1, 3, 5, 7), 0.6), blur_p=1.0)
    assert torch.allclose(flat, torch.full((1, 3, 5, 7), 0.6), atol=1e-6)


def test_low_resolution_drops_pixels_and_interpolates_between_the_others(drawing):
    """At half the size every other pixel is dropped: of stripes of one pixel, one colour is left."""
    drawing(0.0)
    stripes = torch.tensor([0.0, 1.0] * 4).expand(1, 3, 8, 8).clone()
    out, _, views = changed(stripes, low_resolution_p=1.0)
    assert out.abs().max() == 0 and views.tolist() == [-1]
    drawing(0.5)
    picture = torch.linspace(0, 1, 16 * 8).view(1, 1, 16, 8).repeat(1, 3, 1, 1)
    out, _, _ = changed(picture, low_resolution_p=1.0)
    small = F.interpolate(picture, (12, 6), mode="nearest")
    expected = F.interpolate(small, (16, 8), mode="bicubic", align_corners=False).clamp(0, 1)
    assert torch.allclose(out, expected, atol=1e-6)


def test_one_pixel_survives_low_resolution(drawing):
    drawing(0.0)
    out, _, _ = changed(row(0.3), low_resolution_p=1.0)
    assert torch.allclose(out, row(0.3))


def test_only_the_drawn_samples_change_and_only_they_lose_their_view():
    images = torch.full((64, 3, 2, 2), 0.5)
    how = {"view_p": 1.0, "views": (3,)}
    for change in ("brightness_p", "contrast_p", "gamma_p", "inverted_gamma_p"):
        picture = images.clone()
        picture[:, :, 0] = 0.25
        out, _, views = changed(picture, **how, **{change: 0.5})
        same = (out == apply_view(picture, 3)).flatten(1).all(1)
        assert torch.equal(same, views == 3)
        assert 16 < int(same.sum()) < 48
