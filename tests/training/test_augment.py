import pytest
import torch

from bench.core.errors import BenchError
from bench.training.augment import POLICIES, Augmentation, apply_view, augment, jitter_hsv, policy

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
