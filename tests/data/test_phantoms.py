"""The procedural datasets: reproducible, size-independent, neither trivial nor degenerate."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data.phantoms import MAX_SIZE, MIN_SIZE, STYLES, VERSION, render

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Picture = tuple[Image, Mask]

COUNT = 40
SIZE = 96


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[Picture]]:
    """Draw the first COUNT pictures of every style once; the tests only read them."""
    return {style: [render(style, index, SIZE, 0) for index in range(COUNT)] for style in STYLES}


def dice(a: Mask, b: Mask) -> float:
    """Dice overlap of two non-empty masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def grey(image: Image) -> Image:
    """Mean of the channels, uint8 (size, size)."""
    return np.rint(image.mean(axis=2)).astype(np.uint8)


def otsu(image: Image) -> int:
    """Otsu's threshold of a grey picture: the last level of the darker class."""
    share = np.bincount(image.ravel(), minlength=256) / image.size
    weight = np.cumsum(share)
    moment = np.cumsum(share * np.arange(256))
    spread = weight * (1 - weight)
    between = (moment[-1] * weight - moment) ** 2 / np.where(spread > 0, spread, np.inf)
    return int(np.argmax(between))


def test_names_and_version() -> None:
    assert STYLES == ("bus", "busi", "glas", "ham10000", "kvasir-instrument")
    assert VERSION >= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [32, 50, 96])
def test_shapes_and_types(style: str, size: int) -> None:
    image, mask = render(style, 3, size, 1)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert mask.shape == (size, size) and mask.dtype == np.bool_
    assert mask.any() and not mask.all()


@pytest.mark.parametrize("style", STYLES)
def test_same_arguments_same_picture(style: str, pictures: dict[str, list[Picture]]) -> None:
    image, mask = pictures[style][5]
    again, mask_again = render(style, 5, SIZE, 0)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)


@pytest.mark.parametrize("style", STYLES)
def test_index_and_seed_change_the_picture(style: str, pictures: dict[str, list[Picture]]) -> None:
    image, mask = pictures[style][5]
    for other in (pictures[style][6], render(style, 5, SIZE, 1)):
        assert (other[0] != image).mean() > 0.3
        assert (other[1] != mask).any()


@pytest.mark.parametrize("style", STYLES)
def test_index_and_seed_do_not_trade_places(style: str) -> None:
    assert (render(style, 1, 32, 2)[0] != render(style, 2, 32, 1)[0]).any()


def test_drawing_leaves_the_global_generator_alone() -> None:
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    render("busi", 0, 32, 0)
    assert np.random.random() == expected


@pytest.mark.parametrize("style", STYLES)
def test_foreground_share(style: str, pictures: dict[str, list[Picture]]) -> None:
    shares = np.array([mask.mean() for _, mask in pictures[style]])
    assert 0.05 < shares.mean() < 0.45
    assert shares.min() > 0.01
    assert shares.max() < 0.70  # GlaS itself: 0.30 to 0.69 between its 10th and 90th percentile


@pytest.mark.parametrize("style", STYLES)
def test_no_mask_is_empty_or_full_at_the_smallest_size(style: str) -> None:
    for index in range(100):
        share = render(style, index, MIN_SIZE, 3)[1].mean()
        assert 0.0 < share < 0.8


@pytest.mark.parametrize("style", STYLES)
def test_thresholding_does_not_solve_it(style: str, pictures: dict[str, list[Picture]]) -> None:
    bright, dark = [], []
    for image, mask in pictures[style]:
        above = grey(image) > otsu(grey(image))
        bright.append(dice(above, mask))
        dark.append(dice(~above, mask))
    # One polarity for the whole dataset; choosing it per picture would use the target.
    assert max(np.mean(bright), np.mean(dark)) < 0.60


@pytest.mark.parametrize("style", STYLES)
def test_scene_does_not_depend_on_size(style: str, pictures: dict[str, list[Picture]]) -> None:
    for index in range(6):
        image, mask = pictures[style][index]
        large, large_mask = render(style, index, 2 * SIZE, 0)
        pooled = large_mask.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3)) >= 0.5
        assert dice(pooled, mask) > 0.9
        blocks = grey(image).reshape(8, 12, 8, 12).mean(axis=(1, 3)).ravel()
        large_blocks = grey(large).reshape(8, 24, 8, 24).mean(axis=(1, 3)).ravel()
        assert np.corrcoef(blocks, large_blocks)[0, 1] > 0.95


def test_tools_are_thick_enough_for_coarse_tokenizers(pictures: dict[str, list[Picture]]) -> None:
    # Area over half the perimeter estimates the width of a long thin shape.
    widths = []
    for _, mask in pictures["kvasir-instrument"]:
        edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        widths.append(2 * mask.sum() / edges)
    assert np.mean(widths) > 4


def test_scanners_differ(pictures: dict[str, list[Picture]]) -> None:
    def statistics(style: str) -> tuple[float, float]:
        """Mean grey level and how much rougher the picture is along depth than across."""
        stack = np.stack([image[..., 0] for image, _ in pictures[style]]).astype(float)
        centre = stack[:, 24:72, 32:64]  # inside every framing
        down = np.abs(np.diff(centre, axis=1)).mean()
        across = np.abs(np.diff(centre, axis=2)).mean()
        return float(stack.mean()), float(down / across)

    level, anisotropy = statistics("busi")
    other_level, other_anisotropy = statistics("bus")
    assert level - other_level > 25
    assert other_anisotropy / anisotropy > 1.2


def test_ultrasound_is_grey_and_the_others_are_not(pictures: dict[str, list[Picture]]) -> None:
    for style in STYLES:
        image = pictures[style][0][0].astype(int)
        coloured = np.abs(image[..., 0] - image[..., 2]).max() > 0
        assert coloured == (style not in ("bus", "busi"))


def test_unknown_style_names_value_and_choices() -> None:
    with pytest.raises(ValueError, match="'brats'.*busi.*pass one of"):
        render("brats", 0, 96, 0)


@pytest.mark.parametrize("size", [MIN_SIZE - 1, MAX_SIZE + 1])
def test_size_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size} .*32..1024"):
        render("busi", 0, size, 0)


@pytest.mark.parametrize(("index", "seed"), [(-1, 0), (0, -1)])
def test_negative_numbers(index: int, seed: int) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        render("busi", index, 96, seed)
