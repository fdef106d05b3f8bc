"""Near-duplicates: what is a pair, what is none, and that the answer is the same everywhere."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.data.audit.components import components
from bench.data.audit.fingerprints import TURNS, Fingerprints, turned
from bench.data.audit.manifest import Limits
from bench.data.audit.near import exact_correlation, near_duplicates


def texture(seed: int, side: int = 96) -> np.ndarray:
    """A smooth grey image, uint8 (side, side); two seeds hardly correlate."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), side / 16)
    return ((field - field.min()) / np.ptp(field) * 255).astype(np.uint8)


def prints(*images: np.ndarray, first: int = 0) -> Fingerprints:
    """Fingerprints of grey images as cases c0, c1, ..."""
    pictures = [Image.fromarray(np.ascontiguousarray(image)) for image in images]
    return Fingerprints(
        tuple(f"c{first + number}" for number in range(len(images))),
        np.array([np.asarray(p.resize((64, 64), Image.Resampling.BILINEAR)) for p in pictures]),
        np.array([np.asarray(p.resize((32, 32), Image.Resampling.LANCZOS)) for p in pictures]),
    )


def found(one, other=None, **limits):
    near = near_duplicates(one, other, Limits(**limits))
    return [(pair.first, pair.second, pair.turn) for pair in near.pairs]


@pytest.mark.parametrize("turn", range(8))
def test_a_copy_is_found_under_every_flip_and_quarter_turn(turn):
    image = texture(0)
    copy = turned(image[None], turn)[0]
    ((first, second, name),) = found(prints(image, texture(1), copy))
    assert (first, second) == ("c0", "c2")
    # The turn that is named brings the copy back onto the image.
    assert (turned(copy[None], TURNS.index(name))[0] == image).all()


def test_brightness_contrast_and_noise_leave_a_pair_a_pair():
    image = texture(0).astype(float)
    noise = np.random.default_rng(5).normal(0, 6, image.shape)
    changed = np.clip(0.7 * image + 40 + noise, 0, 255).astype(np.uint8)
    assert found(prints(image.astype(np.uint8), changed)) == [("c0", "c1", "as stored")]


def test_a_correlation_at_the_limit_is_no_hit_and_above_it_is_one():
    image, other = texture(0).astype(float), texture(1).astype(float)
    mixed = prints(image.astype(np.uint8), (0.9 * image + 0.1 * other).astype(np.uint8))
    exact = exact_correlation(*mixed.grey)
    assert 0.97 < exact < 0.999
    assert near_duplicates(mixed).pairs[0].correlation == round(exact, 4)
    assert found(mixed, hit=exact) == []
    assert found(mixed, hit=np.nextafter(exact, 0)) == [("c0", "c1", "as stored")]
    near = near_duplicates(mixed, limits=Limits(hit=0.9999))
    assert (near.pairs, near.candidates) == ((), 1)  # a candidate all the same


def test_hashes_that_differ_in_more_bits_than_the_limit_propose_nothing():
    """Two images correlate while their fine structure differs; the distance is counted by hand."""
    image = texture(0)
    pair = prints(image, (0.85 * image + 0.15 * texture(2)).astype(np.uint8))
    bits = int((pair.hashes()[0] != pair.hashes()[1]).sum())
    assert bits > 0 and near_duplicates(pair).pairs[0].distance == bits
    assert found(pair, distance=bits) and not found(pair, distance=bits - 1)


def test_constant_images_correlate_with_nothing():
    flat = np.full((96, 96), 9, np.uint8)
    assert found(prints(flat, flat, texture(0))) == []


def test_two_datasets_are_compared_case_by_case_and_not_within(monkeypatch):
    one, other = prints(texture(0), texture(0)), prints(texture(3), texture(0)[:, ::-1], first=7)
    assert found(one, other) == [("c0", "c8", "mirrored"), ("c1", "c8", "mirrored")]
    monkeypatch.setattr("bench.data.audit.near.BLOCK", 1)
    assert found(other, one) == [("c8", "c0", "mirrored"), ("c8", "c1", "mirrored")]
    assert found(one, prints(texture(0))) == [("c0", "c0", "as stored"), ("c1", "c0", "as stored")]


def test_blocks_of_images_leave_no_pair_out(monkeypatch):
    images = [texture(seed) for seed in (0, 1, 2, 0, 1, 2, 0)]
    whole = found(prints(*images))
    assert [pair[:2] for pair in whole] == [
        ("c0", "c3"), ("c0", "c6"), ("c1", "c4"), ("c2", "c5"), ("c3", "c6"),
    ]  # fmt: skip
    monkeypatch.setattr("bench.data.audit.near.BLOCK", 2)
    assert found(prints(*images)) == whole
    monkeypatch.setattr("bench.data.audit.near.DENSE", 0)  # products of matrices only
    assert found(prints(*images)) == whole


def test_the_highest_correlation_is_that_of_numpy_over_all_pairs():
    images = prints(*map(texture, range(6)))
    flat = images.grey.reshape(6, -1).astype(float)
    highest = np.triu(np.corrcoef(flat), 1).max()
    assert near_duplicates(images).highest == pytest.approx(highest, abs=1e-4)
    assert exact_correlation(images.grey[0], images.grey[1]) == pytest.approx(
        np.corrcoef(flat)[0, 1], abs=1e-12
    )


def test_a_hash_is_the_sign_of_low_frequencies_about_their_median():
    """A gradient from left to right has its only large frequency at (0, 1), below the constant."""
    ramp = np.tile(np.arange(0, 64, 2, dtype=np.uint8), (32, 1))
    only = Fingerprints(("c0",), np.zeros((1, 64, 64), np.uint8), ramp[None])
    bits = only.hashes()[0].reshape(8, 8)
    assert bits[0, 0] and not bits[0, 1]  # sum of levels; falling cosine against a rising ramp
    assert only.hashes(4)[0].reshape(8, 8)[0, 1]  # mirrored, the ramp falls, too


def test_pairs_connect_to_components():
    pairs = [("b", "a"), ("c", "d"), ("e", "b"), ("d", "c")]
    assert components(pairs) == (("a", "b", "e"), ("c", "d"))
    assert components([]) == ()
