"""The policies of the papers, as distributions: literal shares of views, borders, areas, intensities.

The expected numbers are those of the originals' pipelines (albumentations 1.4, batchgeneratorsv2,
the repositories' own transforms). Seeds are fixed; a tolerance is about four standard errors.
"""

import pytest
import torch

from bench.training.augment import POLICIES, Augmentation, apply_view, augment, policy
from bench.training.intensity import Intensity
from bench.training.movement import Movement

DRAWS = 8000
CORNER = torch.tensor([[1.0, 0.6, 0, 0], [0.3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def view_shares(name: str) -> tuple[list[float], float]:
    """(share of each view among samples that were not moved or varied, share of those that were)."""
    masks = torch.ones(DRAWS, 1, 4, 4)
    images = CORNER.expand(DRAWS, 3, 4, 4)
    out, _, reported = augment(images, masks, policy(name), torch.Generator().manual_seed(0))
    kept = out[reported >= 0]
    views = torch.stack([apply_view(CORNER, view) for view in range(8)])
    found = (kept[:, None, 0] == views).all((2, 3))
    assert (found.sum(1) == 1).all()
    return found.float().mean(0).tolist(), 1 - len(kept) / DRAWS


@pytest.mark.parametrize(
    "name, shares, changed",
    [
        ("none", [1, 0, 0, 0, 0, 0, 0, 0], 0),
        ("discrete", [1 / 8] * 8, 0),
        ("flips", [1 / 4, 0, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0], 0),
        ("horizontal-flip", [1 / 2, 0, 0, 0, 1 / 2, 0, 0, 0], 0),
        # Two flips and a turn by 0 to 3 quarters, p 0.5 each; 1 - 0.6 * 0.8 of the pictures change.
        ("gms", [3 / 16, 1 / 16] * 4, 0.52),
        # Half of the samples one of four reflections, a quarter untouched, a quarter rotated.
        ("acc-unet", [1 / 3, 0, 0, 0, 1 / 6, 1 / 6, 1 / 6, 1 / 6], 0.25),
        ("ege-unet", [1 / 4, 0, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0], 0.5),
        # 1 - 0.8^2 * 0.9 * 0.8 * 0.85^2 * 0.75 * 0.9 * 0.7
        ("nnunet", [1 / 4, 0, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0], 0.84269),
    ],
)
def test_shares_of_views_and_of_changed_pictures(name, shares, changed):
    found, share = view_shares(name)
    kept = DRAWS * (1 - changed)
    assert found == pytest.approx(shares, abs=4 * (0.25 / kept) ** 0.5 + 1e-9)
    assert share == pytest.approx(changed, abs=0.02)


def moved_ones(name: str, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """White pictures and full masks under a policy, 2000 draws."""
    ones = torch.ones(2000, 1, size, size)
    out, masks, _ = augment(
        ones.expand(-1, 3, -1, -1), ones, policy(name), torch.Generator().manual_seed(1)
    )
    return out, masks


def test_gms_leaves_no_empty_corner_in_picture_or_mask():
    out, masks = moved_ones("gms")
    assert float(out.min()) > 0.8 and masks.min() == 1  # the jitter darkens white by 10 %


@pytest.mark.parametrize(
    "name, share, area",
    [
        ("acc-unet", 0.243, 0.079),  # scipy's rotate, order 0: 0.0790 at 64 px
        ("ege-unet", 0.496, 0.123),
    ],
)
def test_rotations_of_the_baselines_cut_the_mask_as_theirs_do(name, share, area):
    """share of pictures with an empty corner, and mean area of those."""
    empty = 1 - moved_ones(name)[1].mean((1, 2, 3))
    assert float((empty > 0).float().mean()) == pytest.approx(share, abs=0.04)
    assert float(empty[empty > 0].mean()) == pytest.approx(area, abs=0.01)


def test_gms_keeps_the_masks_area_on_average():
    """A centred square: scale of 0.9 to 1.1 for 40 %; SD of the area of all sqrt(0.4) * 0.115."""
    masks = torch.zeros(4000, 1, 64, 64)
    masks[..., 22:42, 22:42] = 1
    moved = augment(
        masks.expand(-1, 3, -1, -1), masks, policy("gms"), torch.Generator().manual_seed(2)
    )[1]
    ratio = moved.sum((1, 2, 3)) / 400
    assert float(ratio.mean()) == pytest.approx(1.001, abs=0.006)
    assert float(ratio.std()) == pytest.approx(0.0733, abs=0.006)


def test_nnunets_objects_shrink_as_often_as_its_grid_widens():
    """The grid is scaled by 0.7 to 1.4 for 20 %: areas 1 / s^2, on average 0.2 / (0.7 * 1.4) + 0.8."""
    masks = torch.zeros(6000, 1, 64, 64)
    masks[..., 26:38, 26:38] = 1
    moved = augment(
        masks.expand(-1, 3, -1, -1), masks, policy("nnunet"), torch.Generator().manual_seed(2)
    )[1]
    ratio = moved.sum((1, 2, 3)) / 144
    assert float(ratio.mean()) == pytest.approx(0.8 + 0.2 / 0.98, abs=0.012)


def test_ege_unets_corners_take_the_pictures_minimum():
    images = torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3
    out, _, views = augment(
        images, images[:, :1], policy("ege-unet"), torch.Generator().manual_seed(1)
    )
    assert torch.allclose(out.amin((1, 2, 3)), images.amin((1, 2, 3)), atol=0.05)
    assert (out[:, :, 0, 0].amax(1) < 0.8).all() and float(out.min()) >= 0.3
    assert 70 < int((views == -1).sum()) < 130


def test_policies_are_those_of_their_sources():
    flips = (0, 2, 4, 6)
    assert policy("none") == Augmentation()
    assert policy("discrete") == Augmentation(view_p=1.0, views=(0, 1, 2, 3, 4, 5, 6, 7))
    assert policy("shared") is policy("gms")
    assert policy("gms").move == Movement(
        p=0.4, rotate=(-20, 20), scale=(0.9, 1.1), shift=0.15, border="reflect", native=True
    )
    assert (policy("gms").color_p, policy("gms").color) == (0.2, (0.1, 0.1, 0.1, 0.1))
    assert policy("acc-unet").move == Movement(
        p=0.5, rotate=(-20, 19), whole_degrees=True, border="cut", nearest=True
    )
    assert policy("acc-unet").move_unless_view
    assert policy("ege-unet") == Augmentation(
        view_p=1.0,
        views=flips,
        move=Movement(p=0.5, rotate=(0, 360), nearest=True, border="minimum", native=True),
    )
    nnunet = policy("nnunet")
    assert nnunet.move == Movement(
        p=0.2, rotate=(-180, 180), scale=(0.7, 1.4), zoom_out=True, apart=True, mask="majority"
    )
    assert nnunet.intensity == Intensity(
        noise_p=0.1, noise=0.1, blur_p=0.2, blur=(0.5, 1.0), brightness_p=0.15, contrast_p=0.15,
        low_resolution_p=0.25, gamma_p=0.3, inverted_gamma_p=0.1,
    )  # fmt: skip
    assert set(POLICIES) == {
        "none", "discrete", "shared", "gms", "acc-unet", "ege-unet", "flips", "horizontal-flip",
        "nnunet",
    }  # fmt: skip
