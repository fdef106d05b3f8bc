"""The meaning of pixels: literal mask files under both rules, images of every mode, hashes."""

import os

import numpy as np
import pytest
from data_doubles import picture
from PIL import Image

from bench.data.pixels import (
    PixelError,
    levels,
    load,
    orientation,
    pack,
    pixel_hash,
    resized_image,
    resized_mask,
    soft_pixels,
    to_mask,
    to_rgb,
    unpack,
)

RULES = [
    ("L", [[0, 127], [128, 255]], "> 127", [[0, 0], [1, 1]]),
    ("L", [[0, 1], [2, 255]], "> 0", [[0, 1], [1, 1]]),
    ("1", [[0, 1], [1, 0]], "> 127", [[0, 1], [1, 0]]),
    ("RGB", [[(0, 0, 0), (255, 0, 0)], [(0, 0, 90), (9, 9, 9)]], "> 127", [[0, 1], [0, 0]]),
    ("RGBA", [[(0, 0, 0, 255), (255, 255, 255, 255)]] * 2, "> 127", [[0, 1], [0, 1]]),
    ("I;16", [[0, 1], [300, 2]], "> 0", [[0, 1], [1, 1]]),
    ("I;16", [[0, 65535], [30000, 40000]], "> 127", [[0, 1], [0, 1]]),
]


@pytest.mark.parametrize("mode, values, rule, expected", RULES)
def test_masks_of_every_mode(tmp_path, mode, values, rule, expected):
    dtype = bool if mode == "1" else np.uint16 if mode == "I;16" else np.uint8
    Image.fromarray(np.array(values, dtype)).save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == mode
        assert to_mask(stored, rule).astype(int).tolist() == expected


@pytest.mark.parametrize(
    "palette, expected",
    [
        ([0, 0, 0, 128, 0, 0, 0, 64, 0], [[0, 1], [1, 0]]),  # colours are labels: index > 0
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], [[0, 1], [1, 0]]),  # dark greys are labels too
        ([255, 255, 255, 0, 0, 0, 0, 0, 0], [[1, 0], [0, 1]]),  # black and white, inverted
    ],
)
def test_palette_masks(tmp_path, palette, expected):
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "P")
    image.putpalette(palette)
    image.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == "P"
        assert (levels(stored) > 127).astype(int).tolist() == expected


def test_a_mask_rule_that_keeps_nothing_is_refused_not_applied():
    with pytest.raises(PixelError, match=r"levels up to 1.*'> 127' keeps none.*'> 0'"):
        to_mask(Image.fromarray(np.array([[0, 1]], np.uint8)), "> 127")


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([[0, 65535]], np.uint16), [[[0] * 3, [255] * 3]]),
        (np.array([[0, 200]], np.uint16), [[[0] * 3, [200] * 3]]),
        (np.array([[7, 200]], np.uint8), [[[7] * 3, [200] * 3]]),
        (np.array([[[1, 2, 3, 0]]], np.uint8), [[[1, 2, 3]]]),
    ],
    ids=["16 bit", "8 bit in 16", "grey", "alpha dropped"],
)
def test_images_of_every_mode_become_rgb(values, expected):
    assert to_rgb(Image.fromarray(values)).tolist() == expected


def test_pixel_hashes_are_of_pixels_not_of_files(tmp_path):
    picture(1).save(tmp_path / "a.png")
    picture(1).save(tmp_path / "a.bmp")
    hashes = {pixel_hash(to_rgb(Image.open(tmp_path / name))) for name in ("a.png", "a.bmp")}
    assert len(hashes) == 1
    assert pixel_hash(np.zeros((2, 3), bool)) != pixel_hash(np.zeros((3, 2), bool))


# Thresholds


@pytest.mark.parametrize(
    "values, rule, expected",
    [
        ([126, 127, 128, 255], "> 127", [0, 0, 1, 1]),
        ([0, 1, 2, 127, 128, 255], "> 0", [0, 1, 1, 1, 1, 1]),
        ([0, 0, 0], "> 127", [0, 0, 0]),  # a case without foreground is no error
        ([0, 0, 0], "> 0", [0, 0, 0]),
    ],
)
def test_a_rule_is_strictly_above_its_level(values, rule, expected):
    mask = to_mask(Image.fromarray(np.array([values], np.uint8)), rule)
    assert mask.dtype == np.bool_ and mask[0].astype(int).tolist() == expected


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0, 127, 128, 255], [0, 127, 128, 255]),  # 8 bits in a 16-bit file: as stored
        ([0, 255, 256], [0, 1, 1]),  # one value above 255: 16 bits, divided by 257
        ([0, 32639, 32768, 65535], [0, 127, 128, 255]),
        ([1, 300], [1, 1]),  # instance 1 of 300 stays foreground
        ([0, 385, 386, 65535], [0, 1, 2, 255]),
    ],
)
def test_levels_of_16_bit_masks(values, expected):
    image = Image.fromarray(np.array([values], np.uint16))
    assert levels(image)[0].tolist() == expected


@pytest.mark.parametrize("bad", [-1.0, 65536.0, float("nan"), float("inf")])
def test_values_outside_16_bits_are_refused(bad):
    image = Image.fromarray(np.array([[0, bad]], np.float32))
    for read in (levels, to_rgb):
        with pytest.raises(PixelError, match=r"has values .*; 0\.\.65535 are allowed"):
            read(image)


def test_floating_point_images_are_rounded():
    image = Image.fromarray(np.array([[0, 1.4, 1.6, 254.6]], np.float32))
    assert to_rgb(image)[0, :, 0].tolist() == [0, 1, 2, 255]
    image = Image.fromarray(np.array([[65535.0, 256.0]], np.float32))
    assert to_rgb(image)[0, :, 0].tolist() == [255, 1]


def test_a_16_bit_image_without_values_above_255_is_an_8_bit_one():
    for values, expected in (([0, 255], [0, 255]), ([0, 256], [0, 1])):
        image = Image.fromarray(np.array([values], np.uint16))
        assert to_rgb(image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "colours, expected",
    [
        ([(0, 0, 0), (128, 128, 128)], [0, 128]),  # grey and one bright: the colours are levels
        ([(0, 0, 0), (127, 127, 127)], [0, 255]),  # none above 127: labels
        ([(0, 0, 0), (255, 255, 254)], [0, 255]),  # not grey: labels
        ([(255, 255, 255), (0, 0, 0)], [255, 0]),
        ([(255, 0, 0), (0, 0, 0)], [0, 255]),  # labels, whatever their colours
    ],
)
def test_palettes_are_levels_or_labels(colours, expected):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([value for colour in [*colours, (9, 200, 9)] for value in colour])
    assert levels(image)[0].tolist() == expected  # the third colour does not occur


def test_grey_with_alpha_and_colour_masks():
    grey = Image.fromarray(np.array([[[0, 255], [200, 0]]], np.uint8), "LA")
    assert levels(grey).tolist() == [[0, 200]]
    colour = Image.fromarray(np.array([[[0, 128, 9], [127, 0, 0]]], np.uint8))
    assert levels(colour).tolist() == [[128, 127]]
    assert to_mask(colour, "> 127").tolist() == [[True, False]]


def test_a_missing_a_truncated_and_a_foreign_file(tmp_path):
    with pytest.raises(PixelError, match="^does not exist$"):
        load(tmp_path / "none.png")
    picture(1).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for text in (content[: len(content) // 2], b"<html>", b""):
        (tmp_path / "b.png").write_bytes(text)
        with pytest.raises(PixelError, match="cannot be decoded .*; it is truncated or no image"):
            load(tmp_path / "b.png")


def test_orientation_is_1_where_there_is_none(tmp_path):
    assert orientation(picture(1)) == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1).save(tmp_path / "a.jpg", exif=exif)
    assert orientation(Image.open(tmp_path / "a.jpg")) == 6
    exif[0x0112] = 9
    picture(1).save(tmp_path / "a.jpg", exif=exif)
    assert orientation(Image.open(tmp_path / "a.jpg")) == 1


@pytest.mark.parametrize("number, corner", [(1, "top left"), (3, "bottom right"), (6, "top right")])
def test_a_file_is_turned_as_its_orientation_says(tmp_path, number, corner):
    """The stored picture is white at its top left alone."""
    exif = Image.Exif()
    exif[0x0112] = number
    stored = np.zeros((4, 6), np.uint8)
    stored[0, 0] = 255
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    turned = np.asarray(load(tmp_path / "a.png"))
    assert turned.shape == ((6, 4) if number == 6 else (4, 6))
    row, column = np.argwhere(turned == 255)[0]
    assert corner == f"{'bottom' if row else 'top'} {'right' if column else 'left'}"


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(PixelError, match="a pipe or a device"):
        load(tmp_path / "a.png")


# Bits and hashes


def test_bits_are_rows_without_padding_between_them():
    mask = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], bool)
    assert pack(mask).tolist() == [0b10100011, 0b10000000]
    assert unpack(pack(mask), 3, 3).tolist() == mask.tolist()
    assert len(pack(np.zeros((4, 4), bool))) == 2 and len(pack(np.zeros((1, 17), bool))) == 3


def test_hashes_are_pinned_and_tell_shape_type_and_values_apart():
    """Every content hash is made of them: when this fails, raise VERSION in `bench.data.pixels`."""
    mask = np.array([[1, 0], [0, 1]], bool)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (pixel_hash(mask)[:12], pixel_hash(image)[:12]) == (
        "e16b899e691e",
        "18276e062847",
    )
    assert pixel_hash(image[:, ::-1]) != pixel_hash(image)
    assert pixel_hash(image.reshape(1, 4, 3)) != pixel_hash(image)
    assert pixel_hash(mask.astype(np.uint8)) != pixel_hash(mask)
    assert pixel_hash(np.asfortranarray(image)) == pixel_hash(image)


# ---- resizing

GREY = [[217, 69, 19, 208, 128], [186, 143, 208, 100, 8], [216, 220, 20, 108, 1]]

BILINEAR = {  # cv2 5.0.0 on float32: resize(GREY, (size, size), interpolation=INTER_LINEAR)
    2: [[117.9375, 160.25], [202.6875, 80.1875]],
    4: [
        [198.5, 50.25, 137.125, 138.0],
        [187.328125, 123.453125, 139.234375, 63.9375],
        [194.078125, 158.984375, 115.9375, 17.578125],
        [216.5, 145.0, 75.0, 14.375],
    ],
}


@pytest.mark.parametrize("size", BILINEAR)
def test_opencvs_bilinear_lies_between_the_nearest_pixels_without_antialiasing(size):
    """Each channel alone: the second is the first's complement, the third is constant."""
    grey = np.array(GREY, np.uint8)
    image = np.stack([grey, 255 - grey, np.full_like(grey, 7)], axis=2)
    red, green, blue = np.moveaxis(resized_image(image, size, "opencv"), 2, 0)
    expected = np.array(BILINEAR[size])
    assert (red == np.rint(expected)).all() and (abs(green - (255 - expected)) <= 0.5).all()
    assert (blue == 7).all() and red.dtype == np.uint8


def test_pillows_bilinear_averages_over_what_a_target_pixel_covers():
    image = np.zeros((1, 8, 3), np.uint8)
    image[0, 0] = 240
    smooth, sharp = (resized_image(image, 2, how)[0, :, 0].tolist() for how in ("pillow", "opencv"))
    assert smooth[0] > 0 and sharp == [0, 0]  # pixels 1 and 2 stand for the left half


@pytest.mark.parametrize(
    "side, size, columns",
    [  # cv2 5.0.0: resize(arange(side), (size, 1), interpolation=INTER_NEAREST)
        (7, 3, [0, 2, 4]),
        (7, 5, [0, 1, 2, 4, 5]),
        (4, 2, [0, 2]),
        (2, 4, [0, 0, 1, 1]),
    ],
)
def test_opencvs_nearest_takes_the_pixel_at_the_upper_left_corner(side, size, columns):
    mask = np.eye(side, dtype=bool)
    assert (resized_mask(mask, size, "opencv") == mask[np.ix_(columns, columns)]).all()


def test_pillows_nearest_takes_the_pixel_at_the_centre():
    mask = np.eye(7, dtype=bool)
    assert (resized_mask(mask, 3, "pillow") == mask[np.ix_([1, 3, 5], [1, 3, 5])]).all()


@pytest.mark.parametrize(
    "row, rule, soft",
    [
        ([0, 0, 255], "> 127", 0),
        ([0, 254, 254], "> 127", 0),  # two levels, whatever the brighter one is
        ([0, 100, 255], "> 127", 1),
        ([1, 128, 255], "> 127", 2),
        ([0, 1, 2], "> 0", 0),  # numbered objects
        ([0, 0, 0], "> 127", 0),
    ],
)
def test_soft_pixels_lie_between_background_and_the_brightest_level(row, rule, soft):
    assert soft_pixels(Image.fromarray(np.array([row], np.uint8)), rule) == soft
