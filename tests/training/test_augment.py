"""Augmentation: one draw for image and mask, and literally what each change computes."""

import math

import pytest
import torch

from bench.core.errors import BenchError
from bench.training.augment import POLICIES, Augmentation, apply_view, augment, policy
from bench.training.intensity import Intensity
from bench.training.movement import Movement

CORNER = torch.tensor([[1.0, 0], [0, 0]])  # one marked corner tells all views of rotation apart


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moving(**changes) -> Augmentation:
    """A policy that moves every sample and does nothing else."""
    return Augmentation(move=Movement(p=1.0, **changes))


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
    if name != "nnunet":  # whose original does not clamp either
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
    how = Augmentation(view_p=1.0, move=Movement(p=0.5, rotate=(-20, 20)))
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
    _, turned, _ = augment(images, masks, moving(rotate=(-20, 20)), generator())
    assert turned.sum((1, 2, 3)).tolist() == pytest.approx([400.0] * 4, rel=0.05)
    half = moving(scale=(0.5, 0.5))
    _, small, _ = augment(images, masks, half, generator())
    assert small.sum((1, 2, 3)).tolist() == pytest.approx([100.0] * 4, rel=0.05)


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


def sole_change(name: str, p: float) -> Augmentation:
    """A policy of one kind of change, with probability p."""
    if name == "move":
        return Augmentation(move=Movement(p=p, rotate=(10, 20)))
    if name == "color":
        return Augmentation(color_p=p, color=(0.5, 0.5, 0.5, 0.2))
    return Augmentation(intensity=Intensity(**{name: p}))


SOLE_CHANGES = (
    "move",
    "color",
    "noise_p",
    "blur_p",
    "brightness_p",
    "contrast_p",
    "low_resolution_p",
    "gamma_p",
    "inverted_gamma_p",
)
PER_CHANNEL = ("blur_p", "low_resolution_p")  # each channel is spared half of the time


@pytest.mark.parametrize("name", SOLE_CHANGES)
def test_a_change_of_probability_1_changes_every_image_and_of_0_none(name):
    images, masks = textures()
    out, moved, views = augment(images, masks, sole_change(name, 1.0), generator(3))
    assert views.tolist() == [-1] * 8
    changed = (out - images).abs().amax((1, 2, 3)) > 1e-4
    assert int(changed.sum()) >= (5 if name in PER_CHANNEL else 8)
    assert torch.equal(moved, masks) == (name != "move")  # only movements touch the mask
    out, moved, views = augment(images, masks, sole_change(name, 0.0), generator())
    assert views.tolist() == [0] * 8
    assert torch.equal(out, images) and torch.equal(moved, masks)


@pytest.mark.parametrize("name", SOLE_CHANGES)
def test_changed_images_and_only_those_are_reported_as_view_minus_1(name):
    images, masks = textures(64)
    out, _, views = augment(images, masks, sole_change(name, 0.5), generator(2))
    changed = (out != images).flatten(1).any(1)
    reported = views == -1
    assert not (changed & ~reported).any() and 20 < int(reported.sum()) < 44
    spared = int((reported & ~changed).sum())
    assert spared <= (10 if name in PER_CHANNEL else 0)  # 1/8 has no channel that changes


def test_changes_without_a_range_change_nothing():
    images, masks = textures()
    how = Augmentation(move=Movement(p=1.0), color_p=1.0, intensity=Intensity(noise_p=1.0, noise=0))
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
    small = Movement(p=1.0, rotate=(-20, 20))
    how = Augmentation(view_p=0.5, views=(2,), move=small, move_unless_view=True)
    views = augment(images, masks, how, generator())[2]
    assert set(views.tolist()) == {-1, 2} and 70 < int((views == 2).sum()) < 130
    both = Augmentation(view_p=0.5, views=(2,), move=small)
    assert augment(images, masks, both, generator())[2].tolist() == [-1] * 200


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
    how = moving(shift=0.25)
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
    how = moving(rotate=(-40, 40))
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
        how = moving(scale=(0.5, 1.0))
        areas.append(float(augment(images, masks, how, generator(seed))[1].sum()))
    sides = [area**0.5 / 24 for area in areas]
    assert 0.47 < min(sides) < 0.6 and 0.9 < max(sides) < 1.03


def test_a_scaled_and_rotated_square_stays_a_square():
    masks = square_at(20, 20, side=24, size=64).repeat(8, 1, 1, 1)
    how = moving(rotate=(-180, 180), scale=(0.5, 0.5))
    moved = augment(masks.repeat(1, 3, 1, 1), masks, how, generator())[1]
    for one in moved:
        assert float(one.sum()) == pytest.approx(144, rel=0.06)
        rows, columns = one[0].any(1).sum(), one[0].any(0).sum()
        assert abs(int(rows) - int(columns)) <= 1  # as high as it is wide at every angle


def test_images_move_bilinearly_or_to_the_nearest_pixel():
    masks = square_at(12, 12)
    images = masks.expand(1, 3, 32, 32)
    for nearest, levels in ((True, 2), (False, 10)):
        how = moving(rotate=(-20, 20), nearest=nearest)
        out, moved, _ = augment(images, masks, how, generator())
        assert (len(out.unique()) > 2) == (not nearest) and len(out.unique()) <= levels**3
        assert moved.unique().tolist() == [0, 1]
        if nearest:
            assert torch.equal(out[:, :1], moved)


# Draws


@pytest.mark.parametrize(
    "name, views, mean, left, foreground",
    [
        ("discrete", [1, 3, 5, 2, 4, 7, 6, 0], 0.499692, 0.501356, 1022),
        ("shared", [2, -1, -1, -1, 0, 6, -1, 0], 0.506359, 0.503630, 1013),
        ("acc-unet", [5, 0, 5, 6, 4, 0, 6, 0], 0.499692, 0.499451, 1022),
        ("ege-unet", [2, 6, -1, -1, 0, 6, -1, 0], 0.482997, 0.482690, 981),
        ("nnunet", [-1, -1, -1, -1, -1, -1, -1, -1], 0.498170, 0.498902, 1020),
    ],
)
def test_the_draws_of_a_seed_are_pinned(name, views, mean, left, foreground):
    """Every stored training rests on them. left: mean of the images' left halves."""
    out, moved, found = augment(*textures(), policy(name), generator())
    assert found.tolist() == views
    assert float(out.mean()) == pytest.approx(mean, abs=2e-6)
    assert float(out[..., :8].mean()) == pytest.approx(left, abs=2e-6)
    assert moved.sum().item() == pytest.approx(foreground, abs=2)


# Borders, aspect, independence


def ramp(size: int = 8) -> torch.Tensor:
    """Columns 0, 1, 2, ..., in every row and channel."""
    return torch.arange(float(size)).expand(1, 3, size, size).clone()


@pytest.fixture
def shift_by_two_columns(monkeypatch):
    """A movement of a quarter of 8 columns to the left, whatever is drawn."""
    unit = torch.tensor([[0.5, 0.5, 1.0, 0.5]])
    monkeypatch.setattr(
        torch, "rand", lambda *size, generator: unit if len(size) == 2 else torch.zeros(size)
    )


@pytest.mark.parametrize(
    "border, row",
    [
        ("zeros", [3, 4, 5, 6, 7, 8, 0, 0]),
        ("cut", [3, 4, 5, 6, 7, 8, 0, 0]),
        ("reflect", [3, 4, 5, 6, 7, 8, 7, 6]),  # the outer pixel is not repeated
        ("minimum", [3, 4, 5, 6, 7, 8, 1, 1]),
    ],
)
def test_what_lies_beyond_the_border(shift_by_two_columns, border, row):
    images = ramp() + 1
    masks = torch.ones(1, 1, 8, 8)
    out, moved, _ = augment(images, masks, moving(shift=0.25, border=border), generator())
    assert out[0, 1, 4].tolist() == pytest.approx(row, abs=1e-4)
    inside = [1, 1, 1, 1, 1, 1, *([1, 1] if border == "reflect" else [0, 0])]
    assert moved[0, 0, 4].tolist() == inside


def test_a_turned_picture_keeps_the_angles_it_had_before_it_was_made_square(monkeypatch):
    """A picture twice as wide as high: a quarter turn of its 8 x 4 bar would be a 2 x 8 bar in
    square pixels."""
    unit = torch.tensor([[0.75, 0.5, 0.5, 0.5]])  # 90 degrees
    monkeypatch.setattr(
        torch, "rand", lambda *size, generator: unit if len(size) == 2 else torch.zeros(size)
    )
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 6:10] = 1  # 4 rows by 4 columns; in the true picture 4 high and 8 wide
    shapes = torch.tensor([[100, 200]])
    for native, expected in ((True, (8, 2)), (False, (4, 4))):
        how = moving(rotate=(-180, 180), native=native)
        _, moved, _ = augment(mask.repeat(1, 3, 1, 1), mask, how, generator(), shapes)
        rows, columns = moved[0, 0].any(1).sum(), moved[0, 0].any(0).sum()
        assert (int(rows), int(columns)) == expected


def test_the_aspect_is_that_of_the_view(monkeypatch):
    """After a quarter turn the picture is twice as high as wide."""
    unit = torch.tensor([[0.75, 0.5, 0.5, 0.5]])
    monkeypatch.setattr(
        torch, "rand", lambda *size, generator: unit if len(size) == 2 else torch.zeros(size)
    )
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 6:10] = 1
    movement = Movement(p=1.0, rotate=(-180, 180), native=True)
    how = Augmentation(view_p=1.0, views=(1,), move=movement)
    shapes = torch.tensor([[100, 200]])
    _, moved, _ = augment(mask.repeat(1, 3, 1, 1), mask, how, generator(), shapes)
    assert (int(moved[0, 0].any(1).sum()), int(moved[0, 0].any(0).sum())) == (2, 8)


def test_rotation_and_scaling_apart_are_independent():
    masks = square_at(24, 40, side=8, size=64).repeat(4000, 1, 1, 1)
    movement = Movement(p=0.5, rotate=(90, 90), scale=(0.5, 0.5), apart=True)
    how = Augmentation(move=movement)
    moved = augment(masks, masks, how, generator())[1]
    areas = moved.sum((1, 2, 3))
    right = moved[..., 40:48].sum((1, 2, 3)) > 0
    scaled = areas < 40
    share = (~right & ~scaled).float().mean()  # turned, at full size
    assert float(scaled.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(share) == pytest.approx(0.25, abs=0.03)


def test_zooming_out_divides_the_objects_size():
    masks = square_at(16, 16, side=32, size=64)
    _, moved, _ = augment(
        masks.expand(1, 3, 64, 64), masks, moving(scale=(2, 2), zoom_out=True), generator()
    )
    assert float(moved.sum()) == pytest.approx(256, rel=0.05)


def test_whole_degrees_hold_both_ends_and_nothing_between():
    from bench.training.movement import _inverse_maps

    unit = torch.rand(2000, 4, generator=generator())
    maps = _inverse_maps(unit, Movement(rotate=(-2, 1), whole_degrees=True), None)
    degrees = torch.rad2deg(torch.atan2(maps[:, 0, 1], maps[:, 0, 0]))
    counts = {int(v): int((degrees.round() == v).sum()) for v in degrees.round().unique()}
    assert set(counts) == {-2, -1, 0, 1} and min(counts.values()) > 430
    assert (degrees - degrees.round()).abs().max() < 1e-3


def test_a_mask_by_majority_is_its_bilinear_picture_cut_at_one_half():
    masks = square_at(12, 12)
    how = moving(rotate=(30, 30), mask="majority")
    _, moved, _ = augment(masks.expand(1, 3, 32, 32), masks, how, generator())
    assert moved.unique().tolist() == [0, 1]
    assert float(moved.sum()) == pytest.approx(64, abs=4)
