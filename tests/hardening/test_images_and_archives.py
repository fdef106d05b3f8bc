"""Data sources that are not what they seem: nothing is prepared, nothing is written elsewhere."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_doubles import make_busi, picture, square
from PIL import Image

PREPARE = ("data", "prepare", "busi", "--from", "in", "--data", "data")


@pytest.fixture(autouse=True)
def _data(home):
    """The user's data folder; a refusal leaves nothing in it."""
    (home / "data").mkdir()


@pytest.fixture
def source(home) -> Path:
    """A small copy of BUSI as published, in ./in."""
    folder = make_busi(home)
    folder.rename(home / "in")
    return home / "in"


def image_of(source: Path) -> Path:
    return source / "benign" / "benign (1).png"


def bomb() -> bytes:
    """The head of a PNG of 60,000 x 60,000 pixels."""
    content = io.BytesIO()
    picture(1).save(content, "PNG")
    whole = bytearray(content.getvalue())
    whole[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(whole)


CONTENTS = {
    "empty": b"",
    "text": b"not an image",
    "a web page": b"<html>please log in</html>",
    "half a PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "a huge PNG": bomb(),
    "zeros": bytes(1000),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(evil) (w) file\n",
}


@pytest.mark.parametrize("what", ["image", "mask"])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_is_no_image(refused, source, what, content):
    name = "benign (1).png" if what == "image" else "benign (1)_mask.png"
    (source / "benign" / name).write_bytes(content)
    refused(*PREPARE, says=(name, "--leave-out"))


@pytest.mark.parametrize("what", ["image", "mask"])
def test_a_pipe_in_place_of_a_file_does_not_hang(refused, source, what):
    name = "benign (1).png" if what == "image" else "benign (1)_mask.png"
    (source / "benign" / name).unlink()
    os.mkfifo(source / "benign" / name)
    refused(*PREPARE, says=(name, "a pipe or a device"))


@pytest.mark.parametrize(
    "target, says",
    [("/dev/zero", "a device"), ("nowhere", "does not exist"), ("benign (1).png", "levels of")],
    ids=["device", "nowhere", "itself"],
)
def test_links_that_lead_nowhere_or_to_a_device(refused, source, target, says):
    image_of(source).unlink()
    image_of(source).symlink_to(target)
    refused(*PREPARE, says=("benign (1).png", says))


def test_a_link_to_a_folder_above_does_not_loop(home, source, commanded):
    (source / "benign" / "up").symlink_to(source)
    status, out, _ = commanded(*PREPARE)
    assert status == 0 and "7 cases" in out


@pytest.mark.parametrize("mask", [np.full((16, 20), 3, np.uint8), np.eye(16, 20, dtype=np.uint8)])
def test_a_mask_rule_that_keeps_nothing_is_named(refused, source, mask):
    Image.fromarray(mask).save(source / "benign" / "benign (1)_mask.png")
    refused(*PREPARE, says=("benign (1)_mask.png", "'> 127' keeps none of them"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e6])
def test_floats_that_are_no_grey_levels(refused, home, value):
    for folder in ("images", "masks"):
        (home / "in" / folder).mkdir(parents=True)
    pixels = np.zeros((16, 20), np.float32)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(home / "in" / "images" / "train_1.tif")
    square(1, 1, 3).save(home / "in" / "masks" / "train_1.tif")
    words = ("data", "prepare", "glas", "--from", "in", "--data", "data")
    refused(*words, says=("train_1.tif", "0..65535 are allowed"))


@pytest.mark.parametrize("rule", ["", "> 5", ">127", "127", "> 0; rm"])
def test_mask_rules(refused, source, rule):
    refused(*PREPARE, "--mask-rule", rule, says=(f"No mask rule {rule!r}",))


@pytest.mark.parametrize("case", ["benign_99", "../benign_1", "*"])
def test_cases_to_leave_out(refused, source, case):
    refused(*PREPARE, "--leave-out", case, says=(repr(case),))


@pytest.mark.parametrize("kind", ["missing", "pipe", "empty folder", "device"])
def test_sources(refused, home, kind):
    if kind == "pipe":
        os.mkfifo(home / "in")
    if kind == "empty folder":
        (home / "in").mkdir()
    if kind == "device":
        (home / "in").symlink_to("/dev/zero")
    refused(*PREPARE, says=("in",))


def test_a_name_that_is_not_utf_8_is_told(home, source, commanded):
    folder = os.fsencode(source)
    square(1, 1, 3).save(source / "a.png")
    os.rename(source / "a.png", os.path.join(folder, b"Universit\xe9.png"))
    assert commanded(*PREPARE)[0] == 0  # no file of the dataset, so nothing to tell
    os.mkdir(os.path.join(folder, b"\xe9"))
    os.mkdir(os.path.join(folder, b"\xe9", b"benign"))
    square(1, 1, 3).save(os.path.join(folder, b"\xe9", b"benign", b"benign (99)_mask.png"))
    status, out, _ = commanded(*PREPARE)
    assert status == 0 and "1 mask(s) without an image" in out


# Tables and lists beside the images

TABLE = "Grade.csv"


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"a,b\n1,2\n", "has no column"),
        (b"name,patient ID, grade (GlaS)\ntrain_1,1,benign,x,y\n", "line 2: 5 cells"),
        (b"name,patient ID, grade (GlaS)\ntrain_1,1,b\ntrain_1,2,b\n", "'train_1' has patient ID"),
        (b'name,patient ID, grade (GlaS)\n"' + b"x" * 200_000 + b'",1,b\n', "is no table"),
    ],
    ids=["empty", "binary", "other columns", "long row", "contradiction", "huge cell"],
)
def test_a_damaged_table(refused, home, content, says):
    from data_doubles import make_glas

    make_glas(home).rename(home / "in")
    (home / "in" / TABLE).write_bytes(content)
    refused("data", "prepare", "glas", "--from", "in", "--data", "data", says=(TABLE, says))


# Archives


def zipped(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members:
            opened.writestr(zipfile.ZipInfo(name), content)
    return path


def tarred(path: Path, *members: tuple[str, bytes], **facts) -> Path:
    with tarfile.open(path, "w") as opened:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in facts.items():
                setattr(info, field, value)
            opened.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {
    "the same name twice": (("a.png", b"1"), ("a.png", b"2")),
    "a file, then a folder": (("a", b"1"), ("a/b", b"2")),
    "a folder, then a file": (("a/b", b"1"), ("a", b"2")),
    "a dot in between": (("a/b", b"1"), ("a/./b", b"2")),
    "400 letters": (("a" * 400, b"1"),),
    "400 letters of a folder": (("a" * 400 + "/b.png", b"1"),),
    "5000 letters in folders": (("/".join(["a" * 99] * 50), b"1"),),
    "an absolute path": (("/etc/evil", b"1"),),
    "a path upwards": (("../../outside/evil", b"1"),),
    "a path down and upwards": (("a/../../evil", b"1"),),
    "a drive": (("C:/evil", b"1"),),
    "a backslash": (("..\\evil", b"1"),),
    "nothing": (("", b"1"),),
    "dots": (("..", b"1"),),
}


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_an_archive_that_cannot_be_unpacked_safely(refused, home, pack, members):
    if pack is zipped and members[0][0] == "":
        pytest.skip("zipfile writes no such member")
    pack(home / ("a.zip" if pack is zipped else "a.tar"), *members)
    archive = "a.zip" if pack is zipped else "a.tar"
    words = ("data", "prepare", "busi", "--from", archive, "--data", "data")
    refused(*words, says=("not safe to unpack" if members[0][0] else "a.tar",))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_a_tar_of_links_and_devices(refused, home, kind):
    tarred(home / "a.tar", ("a.png", b""), type=kind, linkname="/etc/passwd")
    words = ("data", "prepare", "busi", "--from", "a.tar", "--data", "data")
    refused(*words, says=("'a.png' is a link or a device",))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x1f\x8b\x08", bytes(1024), b"<html>"])
def test_archives_that_are_none(refused, home, suffix, content):
    (home / f"a{suffix}").write_bytes(content)
    words = ("data", "prepare", "busi", "--from", f"a{suffix}", "--data", "data")
    refused(*words, says=("busi" if content == bytes(1024) else f"a{suffix}",))


def test_an_archive_that_is_a_pipe(refused, home):
    (home / "in").mkdir()
    os.mkfifo(home / "in" / "a.zip")
    refused(*PREPARE, says=("a.zip", "a pipe or a device"))
