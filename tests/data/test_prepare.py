"""Preparing a dataset: what is read, what is refused, and that nothing is left half-written."""

import errno
import io
import json
import shutil
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from data_doubles import SHARED, busi, glas, make_busi, make_glas, picture, square, tree
from PIL import Image

from bench.core.errors import BenchError
from bench.data import archives, case_files, layouts
from bench.data.arrays import load_arrays
from bench.data.cards import Card, load_card
from bench.data.import_split import import_split
from bench.data.metadata import read_table
from bench.data.prepare import prepare, read_index, status
from bench.data.prepared import read_records


def mask_of(data: Path, name: str, case: str) -> np.ndarray:
    return np.asarray(Image.open(data / name / "masks" / f"{case}.png"))


# The publisher's layouts


def test_busi_joins_masks_leaves_out_normal_and_names_cases_as_the_authors(tmp_path):
    report = prepare(busi(), make_busi(tmp_path), tmp_path / "data")
    assert report.cases == 7
    assert report.classes == {"benign": 4, "malignant": 3}
    assert report.joined == ("benign_2",)
    assert [case for case, _ in report.left_out] == ["normal_1"]
    assert mask_of(tmp_path / "data", "busi", "benign_2").sum() == 9 + 4
    assert mask_of(tmp_path / "data", "busi", "benign_1").sum() == 9
    index = read_index(tmp_path / "data" / "busi")
    assert index.case_ids[:2] == ("benign_1", "benign_2")
    assert index.groups == index.case_ids and index.grouped == 0


def test_the_report_says_loudly_that_it_is_a_part(tmp_path):
    report = prepare(busi(), make_busi(tmp_path), tmp_path / "data")
    text = "\n".join(report.lines())
    assert text.startswith("WARNING: not the complete dataset: 7 cases of 647, 4 benign of 437")
    assert "left out 1 case(s): normal: shows no lesion" in text
    assert "joined several masks by OR in 1 case(s): benign_2" in text


def test_normal_images_can_be_kept_and_have_empty_masks(tmp_path):
    report = prepare(busi(), make_busi(tmp_path), tmp_path / "data", include_all=True)
    assert report.cases == 8 and report.empty == ("normal_1",)


def test_glas_counts_instance_ids_as_foreground_and_reads_bare_cr_patients(tmp_path):
    report = prepare(glas(), make_glas(tmp_path), tmp_path / "data")
    index = read_index(tmp_path / "data" / "glas")
    assert report.published_splits == {"testA": 3, "testB": 2, "train": 6}
    assert mask_of(tmp_path / "data", "glas", "train_1").sum() == 3 * 4 + 4 * 4
    assert dict(zip(index.case_ids, index.groups, strict=True))["testA_3"] == "3"
    assert (report.groups, report.grouped, report.unit) == (6, 11, "patient")
    assert set(index.classes) == {"benign"}


def test_images_are_copied_byte_for_byte_and_masks_become_binary_png(tmp_path):
    source = make_glas(tmp_path)
    prepare(glas(), source, tmp_path / "data")
    prepared = tmp_path / "data" / "glas"
    assert (prepared / "images/train_1.bmp").read_bytes() == (source / "train_1.bmp").read_bytes()
    assert Image.open(prepared / "masks" / "train_1.png").mode == "1"


@pytest.mark.parametrize("where", ["", "benign", ".."])
def test_the_folder_may_be_one_level_above_or_below(tmp_path, where):
    source = make_busi(tmp_path / "download")
    assert prepare(busi(), source / where, tmp_path / "data").cases == 7


def test_the_authors_simple_layout(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for case in ("benign_1", "malignant_7"):
        picture(1).save(tmp_path / "images" / f"{case}.png")
        square(2, 2, 3).save(tmp_path / "masks" / f"{case}.png")
    report = prepare(busi(), tmp_path, tmp_path / "data")
    assert report.layout == "images-masks" and report.classes == {"benign": 1, "malignant": 1}


def test_kvasir_comes_as_tars_in_a_zip_with_published_lists(tmp_path):
    names = [f"ckcu8ty6z00003b5yzfaezb{i:02}" for i in range(3)]
    archive = tmp_path / "kvasir-instrument.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                for name in names:
                    content = io.BytesIO()
                    image = picture(1) if folder == "images" else square(2, 2, 3).convert("RGB")
                    image.save(content, "JPEG" if suffix == "jpg" else "PNG")
                    member = tarfile.TarInfo(f"{folder}/{name}.{suffix}")
                    member.size = content.tell()
                    content.seek(0)
                    tar.addfile(member, content)
            opened.writestr(f"kvasir-instrument/{folder}.tar.gz", packed.getvalue())
        opened.writestr("kvasir-instrument/train.txt", f"{names[0]}\n{names[1]}.jpg\n")
        opened.writestr("kvasir-instrument/test.txt", f"{names[2]}\n")
        opened.writestr("__MACOSX/._junk", "x")
    report = prepare(load_card("kvasir-instrument"), archive, tmp_path / "data")
    assert report.published_splits == {"test": 1, "train": 2}
    assert tree(tmp_path / "data")[0] == "kvasir-instrument", "unpacked files were left behind"


def test_stu_masks_are_brought_to_their_images_size_and_all_cases_test(tmp_path):
    folder = tmp_path / "STU-Hospital" / "Hospital"
    folder.mkdir(parents=True)
    picture(1).save(folder / "Test_Image_1.png")
    square(10, 10, 20, width=60, height=48).save(folder / "mask_1.png")
    report = prepare(load_card("stu"), tmp_path / "STU-Hospital", tmp_path / "data")
    mask = mask_of(tmp_path / "data", "stu", "Test_Image_1")
    assert mask.shape == (16, 20) and 36 <= mask.sum() <= 49
    assert report.published_splits == {"test": 1}


METADATA = "lesion_id,image_id,dx\nHAM_1,ISIC_0000001,nv\n\nHAM_1,ISIC_0000002,nv\n"


@pytest.mark.parametrize(
    "table",
    [
        METADATA,
        METADATA.replace(",", "\t"),
        METADATA.replace("\n", "\r\n"),
        ",lesion_id,image_id,dx\n0,HAM_1,ISIC_0000001,nv\n1,HAM_1,ISIC_0000002,nv\n",
        "lesion_id,image_id,dx\n0,HAM_1,ISIC_0000001,nv\n1,HAM_1,ISIC_0000002,nv\n",
        "\ufeff" + METADATA,
    ],
    ids=["plain", "tabs", "crlf", "named index", "unnamed index", "bom"],
)
def test_ham10000_metadata_as_found_in_the_wild(tmp_path, table):
    for folder, suffix in (
        ("HAM10000_images_part_1", ".jpg"),
        ("HAM10000_segmentations_lesion_tschandl", "_segmentation.png"),
    ):
        (tmp_path / folder).mkdir()
        for case in ("ISIC_0000001", "ISIC_0000002"):
            image = picture(1) if suffix == ".jpg" else square(2, 2, 3)
            image.save(tmp_path / folder / f"{case}{suffix}")
    (tmp_path / "HAM10000_metadata.csv").write_bytes(table.encode())
    report = prepare(load_card("ham10000"), tmp_path, tmp_path / "data")
    assert (report.groups, report.grouped, report.classes) == (1, 2, {"nv": 2})


def test_a_table_row_of_another_length_is_named_by_line(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3,4\n")
    with pytest.raises(BenchError, match=r"t\.csv, line 3: 4 cells under a header of 2"):
        read_table(tmp_path / "t.csv")


# Images with an orientation


def turned(image: Image.Image, path: Path, number: int) -> None:
    """A file whose EXIF orientation is `number`."""
    exif = Image.Exif()
    exif[0x0112] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)


def test_an_exif_orientation_is_applied_to_images_and_masks_alike(tmp_path):
    """Stored 20 x 16 with the square at the top left; turned by a quarter it is at the top right."""
    turned(picture(1), tmp_path / "in" / "images" / "train_1.jpg", 6)
    turned(square(0, 0, 3), tmp_path / "in" / "masks" / "train_1.png", 6)
    report = prepare(glas(), tmp_path / "in", tmp_path / "data")
    mask = mask_of(tmp_path / "data", "glas", "train_1")
    assert mask.shape == (20, 16) and mask[:3, -3:].all() and mask.sum() == 9
    (case,) = read_records(tmp_path / "data" / "glas").cases
    assert (case.width, case.height) == (16, 20)
    assert case.remarks == ("an EXIF orientation is applied",)
    assert not any("EXIF" in warning for warning in report.warnings)
    small = load_arrays(tmp_path / "data" / "glas", 8, tmp_path / "cache")
    assert small.masks[0, :1, -1].all()  # the arrays are of the turned files


def test_an_image_that_is_turned_without_its_mask_is_named(tmp_path):
    turned(picture(1), tmp_path / "in" / "images" / "train_1.jpg", 3)
    turned(square(0, 0, 3), tmp_path / "in" / "masks" / "train_1.png", 1)
    report = prepare(glas(), tmp_path / "in", tmp_path / "data")
    (warning,) = [text for text in report.warnings if "EXIF" in text]
    assert warning.startswith("1 case(s): an EXIF orientation is applied to the image, and not")
    turned(picture(1), tmp_path / "in" / "images" / "train_1.jpg", 6)  # now the sizes differ, too
    shutil.rmtree(tmp_path / "data")
    refused(tmp_path, tmp_path / "in", r"20 x 16 pixels and its image .* 16 x 20", glas())


# Files that may not mean what they seem to


def simple(root: Path, image: Image.Image | bytes, mask: Image.Image, suffix: str = "png") -> Path:
    """A folder with one case of GlaS's second layout."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    image.save(root / "images" / f"train_1.{suffix}")
    mask.save(root / "masks" / f"train_1.{suffix}")
    return root


def with_alpha(drawn: Image.Image) -> Image.Image:
    mask = Image.new("RGBA", drawn.size)
    mask.putalpha(drawn)
    return mask


GRADIENT = Image.fromarray(np.linspace(0, 1, 20 * 16, dtype=np.float32).reshape(16, 20))


@pytest.mark.parametrize(
    "image, mask, suffix, remark",
    [
        (GRADIENT, square(0, 0, 3), "tif", "the image is of floats in 0..1"),
        (picture(1), GRADIENT, "tif", "a mask is of floats in 0..1"),
        (picture(1), with_alpha(square(0, 0, 3)), "png", "a mask varies in its alpha channel only"),
    ],
    ids=["float image", "float mask", "alpha only"],
)
def test_an_odd_file_is_remarked_once_and_told_at_prepare(tmp_path, image, mask, suffix, remark):
    source = simple(tmp_path / "in", image, mask, suffix)
    report = prepare(glas(), source, tmp_path / "data")
    (case,) = read_records(tmp_path / "data" / "glas").cases
    assert case.remarks == (remark,)
    (line,) = [text for text in report.lines() if remark in text]
    assert line.startswith(f"WARNING: 1 case(s): {remark}; ") and line.endswith(": train_1.")


def test_an_animated_file_is_remarked(tmp_path):
    source = simple(tmp_path / "in", picture(1), square(0, 0, 3), "tif")
    picture(1).save(source / "images" / "train_1.tif", save_all=True, append_images=[picture(2)])
    report = prepare(glas(), source, tmp_path / "data")
    assert any("several pictures, the first is used" in warning for warning in report.warnings)
    image = load_arrays(tmp_path / "data" / "glas", 16, tmp_path / "cache").images[0]
    assert (image == np.asarray(picture(1).resize((16, 16), Image.Resampling.BILINEAR))).all()


def test_an_ordinary_case_has_no_remark(tmp_path):
    report = prepare(
        glas(), simple(tmp_path / "in", picture(1), square(0, 0, 3)), tmp_path / "data"
    )
    assert read_records(tmp_path / "data" / "glas").cases[0].remarks == ()
    assert [warning for warning in report.warnings if "case(s): " in warning] == []


# What users get wrong


def refused(tmp_path: Path, source: Path, pattern: str, card=None, **options) -> None:
    """prepare() raises BenchError and leaves no file."""
    data = tmp_path / "data"
    with pytest.raises(BenchError, match=f"(?s){pattern}"):
        prepare(card or busi(), source, data, **options)
    assert not data.exists() or tree(data) == []


def test_a_wrong_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    picture(1).save(tmp_path / "photos" / "cat.png")
    pattern = r"No busi images in .*photos.*benign \(1\)_mask\.png.*Name the folder"
    refused(tmp_path, tmp_path / "photos", pattern)
    refused(tmp_path, tmp_path / "nowhere", r"nowhere does not exist")


def test_a_folder_beside_the_dataset_is_not_mistaken_for_it(tmp_path):
    make_busi(tmp_path)
    (tmp_path / "other").mkdir()
    refused(tmp_path, tmp_path / "other", "No busi images in .*other")


def test_a_truncated_png(tmp_path):
    source = make_busi(tmp_path)
    broken = source / "benign" / "benign (3).png"
    broken.write_bytes(broken.read_bytes()[:200])
    pattern = r"1 case\(s\).*benign/benign \(3\)\.png cannot be decoded .*truncated.*--leave-out"
    refused(tmp_path, source, pattern)


def test_a_mask_of_another_size(tmp_path):
    source = make_busi(tmp_path)
    square(0, 0, 3, width=30, height=30).save(source / "malignant" / "malignant (1)_mask.png")
    pattern = r"malignant \(1\)_mask\.png is 30 x 30 pixels and its image .* 20 x 16"
    refused(tmp_path, source, pattern)


def test_a_missing_mask(tmp_path):
    source = make_busi(tmp_path)
    (source / "benign" / "benign (1)_mask.png").unlink()
    refused(tmp_path, source, r"1 image\(s\) of busi have no mask: .*benign \(1\)\.png")


def test_up_to_ten_bad_files_are_named_at_once(tmp_path):
    source = make_busi(tmp_path, benign=12)
    for file in (source / "benign").glob("*_mask.png"):
        file.write_bytes(b"not an image")
    with pytest.raises(BenchError, match="12 case") as error:
        prepare(busi(), source, tmp_path / "data")
    assert str(error.value).count("cannot be decoded") == 10 and "and 2 more" in str(error.value)


def test_bad_cases_can_be_left_out_by_name(tmp_path):
    source = make_busi(tmp_path)
    (source / "benign" / "benign (1)_mask.png").unlink()
    report = prepare(busi(), source, tmp_path / "data", leave_out=["benign_1"])
    assert report.cases == 6 and ("benign_1", "left out by name") in report.left_out
    refused(tmp_path / "2", source, r"No case of busi named 'benign_99'", leave_out=["benign_99"])


def test_a_second_mask_that_does_not_fit_is_dropped_loudly_and_the_case_stays(tmp_path):
    source = make_busi(tmp_path)
    square(0, 0, 3, width=30, height=16).save(source / "benign" / "benign (4)_mask_1.png")
    report = prepare(busi(), source, tmp_path / "data")
    assert report.cases == 7 and report.joined == ("benign_2",)
    assert mask_of(tmp_path / "data", "busi", "benign_4").sum() == 9  # of its first mask alone
    why = "mask dropped: benign/benign (4)_mask_1.png is 30 x 16 pixels and its image"
    ((case, remark),) = report.dropped
    assert case == "benign_4" and remark.startswith(why)
    assert report.lines()[0].startswith(f"WARNING: case benign_4 keeps its other masks; {why}")
    (stored,) = [c for c in read_records(tmp_path / "data/busi").cases if c.id == "benign_4"]
    assert stored.remarks == (remark,)


def test_the_authors_lists_match_with_a_mask_dropped(tmp_path):
    source = make_busi(tmp_path)
    square(0, 0, 3, width=30, height=16).save(source / "benign" / "benign (4)_mask_1.png")
    prepare(busi(), source, tmp_path / "data")
    lists = tmp_path / "lists.json"
    lists.write_text('{"train": ["benign_1"], "test": ["benign_4"]}')
    assert import_split(tmp_path / "data", "busi", lists).foreign == ()


def test_a_case_none_of_whose_masks_fit_is_refused(tmp_path):
    source = make_busi(tmp_path)
    for name in ("benign (2)_mask.png", "benign (2)_mask_1.png"):
        square(0, 0, 3, width=30, height=16).save(source / "benign" / name)
    refused(tmp_path, source, r"_mask.png is 30 x 16 .*; a mask must have its image's size")


def test_two_copies_of_one_case(tmp_path):
    make_busi(tmp_path / "a")
    make_busi(tmp_path / "b")
    refused(tmp_path, tmp_path, r"Two files claim case 'benign_1' of busi: a/.* and b/")


def test_masks_without_images_are_mentioned(tmp_path):
    source = make_busi(tmp_path)
    (source / "benign" / "benign (1).png").unlink()
    report = prepare(busi(), source, tmp_path / "data")
    assert any("1 mask(s) without an image ignored" in warning for warning in report.warnings)


def test_only_excluded_cases(tmp_path):
    source = make_busi(tmp_path, benign=0, malignant=0, normal=2)
    refused(tmp_path, source, r"All 2 cases found of busi are left out .*--include-all")


# Groups, classes and splits from paths


def hospital(**changes) -> Card:
    """A card of one's own, whose paths say patient, and split or class."""
    layout = {
        "name": "folders",
        "example": "train/pt001/a.png with train/pt001/a_mask.png",
        "image": r"(?P<published_split>\w+)/(?P<group>pt\d+)/(?P<id>[a-zA-Z]+)\.png",
        "mask": r"\w+/pt\d+/(?P<id>[a-zA-Z]+)_mask\.png",
    }
    facts = {"name": "hospital", "title": "Hospital", "modality": "x-ray", "mask_rule": "> 127"}
    return Card.model_validate(facts | {"access": "local", "layouts": [layout]} | changes)


def in_folders(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(root / f"{name}.png")
        square(1, 1, 3).save(root / f"{name}_mask.png")
    return root


def test_groups_and_splits_come_from_the_path(tmp_path):
    names = ("train/pt001/a", "train/pt001/b", "val/pt002/c", "test/pt003/d", "testB/pt003/e")
    report = prepare(hospital(), in_folders(tmp_path / "in", *names), tmp_path / "data")
    index = read_index(tmp_path / "data" / "hospital")
    assert index.groups == ("pt001", "pt001", "pt002", "pt003", "pt003") and index.grouped == 5
    assert index.published_splits == ("train", "train", "val", "test", "testB")
    assert "groups: 3 groups, known for 5 of 5, the largest first: pt001 2, pt003 2, pt002 1" in (
        report.lines()
    )


def test_folder_words_that_are_no_sides_are_classes_and_told(tmp_path):
    names = ("benign/pt1/a", "benign/pt2/b", "malignant/pt3/c")
    report = prepare(hospital(), in_folders(tmp_path / "in", *names), tmp_path / "data")
    index = read_index(tmp_path / "data" / "hospital")
    assert index.classes == ("benign", "benign", "malignant")
    assert index.published_splits == (None, None, None)
    assert report.classes == {"benign": 2, "malignant": 1}
    (warning,) = [text for text in report.warnings if "no sides" in text]
    assert "count as classes: benign 2, malignant 1. Sides are train, val and test" in warning


def test_ids_that_differ_in_case_only_are_named(tmp_path):
    source = in_folders(tmp_path / "in", "train/pt1/a", "train/pt1/A", "test/pt2/b")
    report = prepare(hospital(), source, tmp_path / "data")
    (warning,) = [text for text in report.warnings if "upper and lower case" in text]
    assert warning.startswith("2 case ids differ in upper and lower case only: A, a;")


def test_a_pattern_that_never_ends_is_stopped(tmp_path, monkeypatch):
    """There are 10^12 ways to write sixty letters as pieces of one and two."""
    monkeypatch.setattr(layouts, "SECONDS", 0.5)
    layout = hospital().layouts[0].model_dump()
    layout["image"] = r"(?P<id>(?:a|aa)+)[bc]\.png"
    source = in_folders(tmp_path / "in", "train/pt1/" + "a" * 60)
    refused(tmp_path, source, r"more than 0 s on these files. Write it", hospital(layouts=[layout]))


# Nothing half-written


def test_a_full_disk_leaves_the_old_dataset_and_nothing_else(tmp_path, monkeypatch):
    source, data = make_busi(tmp_path), tmp_path / "data"
    before = prepare(busi(), source, data)
    files = tree(data)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(case_files.shutil, "copyfile", full)
    with pytest.raises(BenchError, match=r"Cannot prepare busi in .*data: the disk is full"):
        prepare(busi(), source, data)
    assert tree(data) == files
    assert read_index(data / "busi").content_hash == before.content_hash


def test_an_interrupt_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(busi(), make_busi(tmp_path), tmp_path / "data", progress=stop)
    assert tree(tmp_path / "data") == []


def test_preparing_again_keeps_an_imported_split_only_while_the_cases_are_the_same(tmp_path):
    source, data = make_busi(tmp_path), tmp_path / "data"
    prepare(busi(), source, data)
    (tmp_path / "lists.json").write_text('{"train": ["benign_1"], "test": ["benign_2"]}')
    import_split(data, "busi", tmp_path / "lists.json")
    assert prepare(busi(), source, data).warnings == prepare(busi(), source, data).warnings
    imported = read_index(data / "busi").imported
    assert imported and imported.test == ("benign_2",)
    report = prepare(busi(), source, data, leave_out=["malignant_1"])
    assert "import it again" in report.warnings[-1]
    assert read_index(data / "busi").imported is None


def test_the_content_hash_is_of_cases_and_pixels_not_of_where_they_lay(tmp_path):
    first = prepare(busi(), make_busi(tmp_path / "a"), tmp_path / "data")
    second = prepare(busi(), make_busi(tmp_path / "b"), tmp_path / "data2")
    third = prepare(busi(), make_busi(tmp_path / "c", benign=3), tmp_path / "data")
    assert first.content_hash == second.content_hash != third.content_hash


# Archives that are not to be trusted


def zipped(path: Path, members: dict[str, bytes], mode: int = 0o644) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            opened.writestr(info, content)
    return path


def test_a_zip_as_published(tmp_path):
    source = make_busi(tmp_path)
    files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in source.rglob("*.png")}
    archive = zipped(tmp_path / "Dataset_BUSI.zip", files)
    assert prepare(busi(), archive, tmp_path / "data").cases == 7
    assert tree(tmp_path / "data")[0] == "busi", "unpacked files were left behind"


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:/x.png"])
def test_a_zip_that_would_write_elsewhere(tmp_path, name):
    archive = zipped(tmp_path / "x.zip", {name: b"x"})
    refused(tmp_path, archive, r"x\.zip is not safe to unpack: its member")
    assert not list(tmp_path.rglob("evil*"))


def test_a_zip_with_a_link(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a.png": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    refused(tmp_path, archive, "member 'a.png' is a link")


def test_a_tar_with_a_link(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    refused(tmp_path, tmp_path / "x.tar", "member 'a.png' is a link")


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "Budget", partial(archives.Budget, bytes_left=1000))
    archive = zipped(tmp_path / "x.zip", {"a.bmp": bytes(5000)})
    refused(tmp_path, archive, "x.zip would unpack to more than")


def test_a_web_page_saved_as_a_zip(tmp_path):
    (tmp_path / "x.zip").write_text("<html>please log in</html>")
    refused(tmp_path, tmp_path / "x.zip", "neither a folder nor a zip or tar archive")


@pytest.mark.parametrize("at", range(30, 60, 3))
def test_a_damaged_zip(tmp_path, at):
    archive = zipped(tmp_path / "x.zip", {"a.png": np.random.default_rng(0).bytes(5000)})
    content = bytearray(archive.read_bytes())
    content[at] ^= 0xFF
    archive.write_bytes(content)
    refused(tmp_path, archive, r"x\.zip is damaged")


@pytest.mark.parametrize("size", [50, 300, 2000])
def test_a_cut_off_tar(tmp_path, size):
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        picture(1, 60, 60).save(tmp_path / "a.png")
        tar.add(tmp_path / "a.png", "a.png")
    (tmp_path / "x.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:size])
    refused(tmp_path, tmp_path / "x.tar.gz", r"x\.tar\.gz (is damaged|is neither)")


def test_the_zip_may_lie_beside_what_came_out_of_it(tmp_path):
    source = make_busi(tmp_path / "Downloads")
    files = {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*.png")}
    zipped(tmp_path / "Downloads" / "Dataset_BUSI.zip", files)
    assert prepare(busi(), tmp_path / "Downloads", tmp_path / "data").cases == 7


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_a_folder_of_downloaded_archives(tmp_path):
    masks = "HAM10000_segmentations_lesion_tschandl"
    members = {
        "HAM10000_images_part_1": {"ISIC_0000001.jpg": png(picture(1))},
        "HAM10000_images_part_2": {"ISIC_0000002.jpg": png(picture(2))},
        masks: {f"{masks}/ISIC_000000{n}_segmentation.png": png(square(1, 1, 3)) for n in (1, 2)},
    }
    for name, files in members.items():
        zipped(tmp_path / "down" / f"{name}.zip", files)
    assert prepare(load_card("ham10000"), tmp_path / "down", tmp_path / "data").cases == 2


def test_a_rescaled_copy_is_noticed(tmp_path):
    report = prepare(glas(), make_glas(tmp_path), tmp_path / "data")
    assert any("at most 20 x 16 pixels and 775 x 522 as published" in w for w in report.warnings)


# Status


def test_status_says_what_is_there_and_what_to_do(tmp_path):
    cards = [load_card(name) for name in ("bus", "busi", "glas")]
    prepare(glas(), make_glas(tmp_path), tmp_path / "data")
    bus_row, busi_row, glas_row = status(tmp_path / "data", cards)
    assert bus_row.state == "missing" and "prepare bus --from" in bus_row.next_step
    assert busi_row.next_step == "bench data fetch busi"
    assert (glas_row.state, glas_row.cases, glas_row.expected) == ("prepared", 11, 165)
    assert glas_row.groups == 6 and ("testA", 3) in glas_row.published_splits


def test_status_sees_damage_and_changed_cards(tmp_path):
    data = tmp_path / "data"
    prepare(glas(), make_glas(tmp_path), data)
    changed = glas().model_copy(update={"mask_rule": "> 127"})
    assert status(data, [changed])[0].state == "card changed"
    (data / "glas" / "index.json").write_text("{")
    assert status(data, [glas()])[0].state == "damaged"
    with pytest.raises(BenchError, match="index.json is damaged.*Prepare the dataset again"):
        read_index(data / "glas")
    with pytest.raises(BenchError, match=r"'busi' is not prepared in .*bench data prepare busi"):
        read_index(data / "busi")


def test_the_index_has_one_case_a_line(tmp_path):
    prepare(glas(), make_glas(tmp_path), tmp_path / "data")
    text = (tmp_path / "data" / "glas" / "index.json").read_text()
    assert len(json.loads(text)["cases"]) == 11 and text.count('"id"') == 11
    assert sum('"id"' in line for line in text.splitlines()) == 11


# Real images


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real images are not here")
@pytest.mark.parametrize(
    "name, folder, cases, groups",
    [
        ("glas", "Warwick QU Dataset (Released 2016_07_08)", 165, 16),
        ("busi", "Dataset_BUSI_with_GT", 99, 0),  # benign (4) stays without its misfit mask
        ("stu", "STU-Hospital", 42, 0),
        ("ham10000", "HAM10000", 5, 0),
    ],
)
def test_real_datasets(tmp_path, name, folder, cases, groups):
    report = prepare(load_card(name), SHARED / "data" / folder, tmp_path)
    assert (report.cases, report.groups, report.empty) == (cases, groups, ())
    assert [case for case, _ in report.dropped] == (["benign_4"] if name == "busi" else [])
