"""What a case scores, and that HD95 is medpy's number to the last bit."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    distance_transform_edt,
    gaussian_filter,
    generate_binary_structure,
)

from bench.metrics import surface
from bench.metrics.case import score_case
from bench.metrics.surface import border, hd95_pair, percentile_distance, squared_distances

SHARED = Path(__file__).parents[3] / "shared"


def mask(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


# ---- literal cases


@pytest.mark.parametrize(
    "pred, target, counts, dsc, iou",
    [
        ("##..", "##..", (2, 0, 0, 2), 1.0, 1.0),  # identical
        ("##..", "#...", (1, 1, 0, 2), 2 / 3, 1 / 2),  # one pixel too many
        ("#...", "##..", (1, 0, 1, 2), 2 / 3, 1 / 2),  # one pixel missed
        ("##..", "..##", (0, 2, 2, 0), 0.0, 0.0),  # elsewhere
        ("....", "##..", (0, 0, 2, 2), 0.0, 0.0),  # missed
        ("##..", "....", (0, 2, 0, 2), 0.0, 0.0),  # nothing to find, something said
        ("....", "....", (0, 0, 0, 4), 1.0, 1.0),  # nothing to find, nothing said
    ],
)
def test_counts_and_overlaps_of_four_pixels(pred, target, counts, dsc, iou):
    scores = score_case(mask(pred), mask(target))
    assert (scores["tp"], scores["fp"], scores["fn"], scores["tn"]) == counts
    assert (scores["dsc"], scores["iou"]) == (dsc, iou)


@pytest.mark.parametrize(
    "pred, target, kind, hd95",
    [
        ("#...", "#...", "none", 0.0),
        ("#...", "...#", "none", 3.0),
        ("....", "...#", "pred", 5.0),  # the diagonal of 3 x 4
        ("...#", "....", "target", 5.0),
        ("....", "....", "both", 0.0),
    ],
)
def test_distances_of_a_3_by_4_image_and_its_empty_rule(pred, target, kind, hd95):
    blank = ("....", "....")
    scores = score_case(mask(pred, *blank), mask(target, *blank))
    assert scores["empty"] == kind
    assert scores["diagonal"] == 5.0
    assert scores["hd95"] == scores["hd95_directed"] == hd95


def test_pooled_and_directed_percentiles_part_where_one_set_is_worse():
    """A false island of 4 px: 4 of the prediction's 48 border pixels, 4 of both borders' 92."""
    target = np.zeros((100, 100), dtype=bool)
    target[10:22, 10:22] = True
    pred = target.copy()
    pred[10:12, 80:82] = True
    pooled, directed = hd95_pair(pred, target)
    assert pooled == 0.0  # 4.3 %: below the percentile
    assert 58 < directed < 61  # 8.3 %: above it


def test_a_score_has_the_stored_columns_as_plain_numbers():
    scores = score_case(mask("##.."), mask(".##."))
    assert list(scores) == [
        *("tp", "fp", "fn", "tn", "dsc", "iou"),
        *("hd95", "hd95_directed", "diagonal", "empty"),
    ]
    assert {type(v) for v in scores.values()} == {int, float, str}
    assert scores["diagonal"] == math.sqrt(17)


@pytest.mark.parametrize(
    "pred, target, words",
    [
        (np.ones((2, 2), dtype=np.uint8), np.ones((2, 2), dtype=bool), "must be bool; got uint8"),
        (np.ones((2, 2), dtype=bool), np.ones((2, 3), dtype=bool), r"\(2, 2\), \(2, 3\)"),
        (np.ones((1, 2, 2), dtype=bool), np.ones((1, 2, 2), dtype=bool), "one shape"),
    ],
)
def test_score_case_refuses_what_is_not_two_masks_of_one_shape(pred, target, words):
    with pytest.raises(ValueError, match=words):
        score_case(pred, target)


# ---- medpy, to the last bit


def blob(rng, size, share):
    field = gaussian_filter(rng.standard_normal(size), rng.uniform(1, 8))
    return field > np.quantile(field, 1 - share)


def tool(rng, size):
    """A thin bar through the image, often cut by its edge, like an endoscopic instrument."""
    y, x = np.mgrid[: size[0], : size[1]]
    angle = rng.uniform(0, np.pi)
    across = (x - rng.uniform(0, size[1])) * np.sin(angle) - (y - rng.uniform(0, size[0])) * np.cos(
        angle
    )
    return np.abs(across) <= rng.uniform(0.6, 4)


def specks(rng, size):
    found = np.zeros(size, dtype=bool)
    found[tuple(rng.integers(0, size, (int(rng.integers(1, 6)), 2)).T)] = True
    return found


def touching_all_edges(rng, size):
    found = np.ones(size, dtype=bool)
    top, left = rng.integers(2, 8, 2)
    found[top : size[0] - top, left : size[1] - left] = False
    return found


def noise(rng, size):
    return rng.random(size) < rng.uniform(0.02, 0.98)


def several(rng, size):
    return blob(rng, size, 0.05) | specks(rng, size) | tool(rng, size)


SHAPES = {
    "blob": lambda rng, size: blob(rng, size, rng.uniform(0.01, 0.9)),
    "tool": tool,
    "specks": specks,
    "frame": touching_all_edges,
    "noise": noise,
    "several": several,
    "full": lambda rng, size: np.ones(size, dtype=bool),
}


def pairs(rng, shape, count):
    """Pairs of one shape's mask with another shape's, or with a damaged copy of itself."""
    others = list(SHAPES.values())
    while count:
        size = tuple(rng.integers(16, 64, 2))
        target = SHAPES[shape](rng, size)
        damage = (
            lambda m, rng, size: np.roll(m, rng.integers(-6, 7, 2), axis=(0, 1)),
            lambda m, rng, size: binary_dilation(m, iterations=2),
            lambda m, rng, size: binary_erosion(m),
            lambda m, rng, size: m ^ specks(rng, size),
            lambda m, rng, size: others[rng.integers(len(others))](rng, size),
        )
        pred = damage[rng.integers(len(damage))](target, rng, size)
        if target.any() and pred.any():
            count -= 1
            yield pred, target


@pytest.mark.parametrize("shape", SHAPES)
def test_hd95_equals_medpy_bit_for_bit_on_320_pairs(shape):
    medpy = pytest.importorskip("medpy.metric.binary", reason="medpy is the reference")
    rng = np.random.default_rng(list(SHAPES).index(shape))
    for pred, target in pairs(rng, shape, 320):
        assert score_case(pred, target)["hd95"] == medpy.hd95(pred, target)


def test_the_generated_pairs_are_at_least_2000():
    assert 320 * len(SHAPES) >= 2000


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3)])
def test_hd95_equals_medpy_on_tiny_images(size):
    medpy = pytest.importorskip("medpy.metric.binary", reason="medpy is the reference")
    rng = np.random.default_rng(0)
    for _ in range(40):
        pred, target = rng.random(size) < 0.6, rng.random(size) < 0.6
        pred.flat[rng.integers(pred.size)] = target.flat[rng.integers(target.size)] = True
        assert score_case(pred, target)["hd95"] == medpy.hd95(pred, target)


def test_hd95_equals_medpy_on_real_tool_masks():
    medpy = pytest.importorskip("medpy.metric.binary", reason="medpy is the reference")
    from PIL import Image

    folder = SHARED / "data" / "kvasir-instrument" / "masks"
    if not folder.is_dir():
        pytest.skip("the Kvasir-Instrument masks lie in ../shared/data, which is absent")
    paths = sorted(folder.glob("*.png"))[::12]
    assert len(paths) >= 40
    previous = None
    for path in paths:
        target = np.asarray(Image.open(path).convert("L").resize((224, 224), 0)) > 127
        pred = np.roll(binary_erosion(target), (3, -5), axis=(0, 1))
        for other in (pred, previous):
            if other is not None and other.any() and target.any():
                assert score_case(other, target)["hd95"] == medpy.hd95(other, target)
        previous = target


@pytest.mark.parametrize("most", [0, surface.MATRIX], ids=["map and far points", "all pairs"])
@pytest.mark.parametrize("shape", SHAPES)
def test_borders_and_distances_equal_scipys(shape, most, monkeypatch):
    monkeypatch.setattr(surface, "MATRIX", most)
    rng = np.random.default_rng(7)
    cross = generate_binary_structure(2, 1)
    for pred, target in pairs(rng, shape, 20):
        edges = [m ^ binary_erosion(m, structure=cross) for m in (pred, target)]
        assert (border(pred) == edges[0]).all()
        there, back = squared_distances(border(pred), border(target))
        assert (np.sqrt(there) == distance_transform_edt(~edges[1])[edges[0]]).all()
        assert (np.sqrt(back) == distance_transform_edt(~edges[0])[edges[1]]).all()


@pytest.mark.parametrize("most", [0, surface.MATRIX], ids=["map and far points", "all pairs"])
def test_distances_stay_exact_where_float32_holds_no_such_integers(most, monkeypatch):
    """8,191 px apart is 67 million squared, and 1 more is lost in float32."""
    monkeypatch.setattr(surface, "MATRIX", most)
    one, other = np.zeros((2, 8192), dtype=bool), np.zeros((2, 8192), dtype=bool)
    one[0, 0] = other[1, -1] = True
    assert [d.tolist() for d in squared_distances(one, other)] == [[8191**2 + 1]] * 2


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 12, 20, 21, 40, 41, 333])
def test_the_percentile_equals_numpys(count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        squares = rng.integers(0, 400, count).astype(float)
        assert percentile_distance(squares) == np.percentile(np.sqrt(squares), 95)


def test_hd95_pair_leaves_empty_masks_to_the_empty_rule():
    with pytest.raises(ValueError, match="bench/metrics/empty.py"):
        hd95_pair(mask("...."), mask("#..."))


# ---- MONAI, the other definition


def test_hd95_directed_agrees_with_monai():
    reason = "MONAI, a test-only dependency, is the reference of the directed definition"
    metrics = pytest.importorskip("monai.metrics", reason=reason)
    import torch

    rng = np.random.default_rng(11)
    for shape in SHAPES:
        for pred, target in pairs(rng, shape, 15):
            tensors = (torch.from_numpy(m)[None, None] for m in (pred, target))
            expected = metrics.compute_hausdorff_distance(
                *tensors, include_background=True, percentile=95
            )
            ours = score_case(pred, target)["hd95_directed"]
            assert ours == pytest.approx(float(expected), rel=1e-5)  # MONAI counts in float32
