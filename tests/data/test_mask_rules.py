"""What the pixels of an image file and of a mask file mean, mode by mode."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from bench.data.pixels import (
    PixelError,
    levels,
    load,
    orientation,
    pack,
    pixel_hash,
    to_mask,
    to_rgb,
    unpack,
)


def image(values, dtype=np.uint8) -> Image.Image:
    return Image.fromarray(np.array(values, dtype))


def palette(indices, *colours) -> Image.Image:
    """A palette image of the given indices; entry i is colours[i]."""
    picture = Image.fromarray(np.array(indices, np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([value for colour in colours for value in colour])
    return picture


BLACK, DARK, BRIGHT, WHITE, RED = (0,) * 3, (127,) * 3, (128,) * 3, (255,) * 3, (255, 0, 0)


# ---- images


@pytest.mark.parametrize(
    "picture, expected",
    [
        (image([[0, 255, 7]]), [0, 255, 7]),
        (image([[0, 255, 7]], np.uint16), [0, 255, 7]),  # 8 bits in a 16-bit file
        (image([[0, 65535, 257]], np.uint16), [0, 255, 1]),
        (image([[0, 256]], np.uint16), [0, 1]),  # one value above 255: the whole file is 16 bits
        (image([[0, 385, 386]], np.uint16), [0, 1, 2]),  # rounded: 1.498 and 1.502
        (image([[0, 65535]], np.int32), [0, 255]),
        (image([[0.4, 0.6, 255.0]], np.float32), [0, 1, 255]),
        (Image.fromarray(np.array([[False, True]])), [0, 255]),
    ],
)
def test_grey_images_become_8_bits_three_times(picture, expected):
    rgb = to_rgb(picture)
    assert (rgb.shape, rgb.dtype) == ((1, len(expected), 3), np.uint8)
    assert rgb.tolist() == [[[value] * 3 for value in expected]]


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([[0, 65536]], np.int32),
        ([[-1, 5]], np.int32),
        ([[-0.5, 5]], np.float32),
        ([[float("nan"), 5]], np.float32),
        ([[float("inf"), 5]], np.float32),
    ],
)
def test_values_outside_16_bits_are_refused(values, dtype):
    with pytest.raises(PixelError, match=r"0\.\.65535 are allowed"):
        to_rgb(image(values, dtype))


def test_colours_are_kept_and_alpha_is_dropped():
    assert to_rgb(image([[[1, 2, 3]]])).tolist() == [[[1, 2, 3]]]
    assert to_rgb(image([[[1, 2, 3, 0]]])).tolist() == [[[1, 2, 3]]]
    assert to_rgb(palette([[1, 0]], BLACK, RED)).tolist() == [[[255, 0, 0], [0, 0, 0]]]


# ---- mask levels


@pytest.mark.parametrize(
    "picture, expected",
    [
        (Image.fromarray(np.array([[False, True]])), [0, 255]),
        (image([[0, 1, 128, 255]]), [0, 1, 128, 255]),
        (image([[[9, 0], [0, 255]]]), [9, 0]),  # grey and alpha
        (image([[[0, 0, 0], [200, 0, 0], [0, 3, 90]]]), [0, 200, 90]),  # the largest channel
        (image([[[0, 0, 0, 255], [7, 0, 0, 0]]]), [0, 7]),  # alpha is ignored
        (image([[0, 65535, 514]], np.uint16), [0, 255, 2]),
        (image([[0, 1, 300]], np.uint16), [0, 1, 1]),  # instance ids stay foreground
        (palette([[0, 1, 2]], BLACK, BRIGHT, WHITE), [0, 128, 255]),  # grey colours, one bright
        (palette([[0, 1, 2]], WHITE, BLACK, BRIGHT), [255, 0, 128]),  # whatever their order
        (palette([[0, 1, 1]], BLACK, DARK), [0, 255, 255]),  # no bright one: labels
        (palette([[0, 1, 2]], BLACK, RED, WHITE), [0, 255, 255]),  # not grey: labels
        (palette([[0, 1, 1]], BLACK, WHITE, RED), [0, 255, 255]),  # red does not occur
        (palette([[0, 2, 2]], BLACK, RED, BRIGHT), [0, 128, 128]),
    ],
)
def test_levels_of_a_mask_file(picture, expected):
    assert levels(picture).tolist() == [expected]


@pytest.mark.parametrize(
    "rule, expected", [("> 0", [False, True, True, True]), ("> 127", [False, False, False, True])]
)
def test_a_rule_cuts_above_its_level(rule, expected):
    assert to_mask(image([[0, 1, 127, 128]]), rule).tolist() == [expected]


def test_a_rule_that_keeps_no_foreground_is_refused_and_names_the_other():
    with pytest.raises(PixelError, match=r"levels up to 5, and the mask rule '> 127' keeps none"):
        to_mask(image([[0, 5]]), "> 127")


@pytest.mark.parametrize("rule", ["> 0", "> 127"])
def test_a_mask_without_foreground_is_an_empty_mask(rule):
    assert to_mask(image([[0, 0]]), rule).tolist() == [[False, False]]


# ---- files


def test_files_that_give_no_pixels_say_why(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole)
    assert load(whole).size == (64, 64)
    half, text = tmp_path / "half.png", tmp_path / "text.png"
    half.write_bytes(whole.read_bytes()[:4000])
    text.write_text("no image")
    for path in (half, text):
        with pytest.raises(PixelError, match="cannot be decoded.*truncated or no image"):
            load(path)
    with pytest.raises(PixelError, match="does not exist"):
        load(tmp_path / "absent.png")


def test_orientation_is_read_and_is_1_without_exif(tmp_path):
    plain, turned = tmp_path / "plain.jpg", tmp_path / "turned.jpg"
    picture = image([[0, 0], [0, 0]])
    picture.save(plain)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(turned, exif=exif)
    assert (orientation(load(plain)), orientation(load(turned))) == (1, 6)


# ---- bits and hashes


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (3, 3), (5, 7)])
def test_packed_masks_come_back(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    bits = pack(mask)
    assert (bits.dtype, len(bits)) == (np.uint8, -(-shape[0] * shape[1] // 8))
    back = unpack(bits, *shape)
    assert back.dtype == np.bool_ and (back == mask).all()


def test_bits_are_packed_row_after_row_without_padding():
    mask = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 1]], dtype=bool)
    assert pack(mask).tolist() == [0b10000111, 0b10000000]


def test_a_pixel_hash_is_of_version_type_shape_and_values():
    """A changed hash would make every prepared dataset another one."""
    mask = np.array([[1, 0, 1], [0, 0, 0]], dtype=bool)
    expected = hashlib.sha256(b"1:bool:2x3:" + bytes([0b10100000])).hexdigest()
    assert pixel_hash(mask) == expected
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    expected = hashlib.sha256(b"1:uint8:1x2x3:" + bytes(range(6))).hexdigest()
    assert pixel_hash(pixels) == expected
    assert pixel_hash(np.asfortranarray(pixels)) == expected
