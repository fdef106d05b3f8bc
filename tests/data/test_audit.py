"""The audit of prepared files: exact duplicates, the manifest and its hash, remarks of preparing."""

import json

import numpy as np
import pytest
from data_doubles import busi, glas, make_busi, make_glas, picture, square
from PIL import Image

from bench.core.errors import BenchError
from bench.data.audit.audit import audit, cross
from bench.data.audit.manifest import AUDIT, read_manifest
from bench.data.prepare import prepare
from bench.data.prepared import read_index, read_records

BETWEEN = "between background and foreground"


def noisy_copy(path, target, mirrored=False):
    """A near-duplicate: a little brighter, perhaps mirrored."""
    image = Image.open(path).convert("RGB").point(lambda level: min(255, int(level * 0.9) + 12))
    (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image).save(target)


@pytest.fixture
def folder(tmp_path):
    """BUSI with benign 3 = benign 1, malignant 1 a mirrored near-duplicate of benign 1, and masks
    that differ but for those of benign 1 and malignant 2."""
    source = make_busi(tmp_path / "source", benign=4, malignant=3)
    benign, malignant = source / "benign", source / "malignant"
    picture(1).save(benign / "benign (3).png")
    picture(1).save(benign / "benign (1).png")
    noisy_copy(benign / "benign (1).png", malignant / "malignant (1).png", mirrored=True)
    for number, (kind, name) in enumerate(
        [("benign", 1), ("benign", 2), ("benign", 3), ("benign", 4), ("malignant", 1),
         ("malignant", 3)]
    ):  # fmt: skip
        square(2 + number, 3, 4).save(source / kind / f"{kind} ({name})_mask.png")
    square(2, 3, 4).save(malignant / "malignant (2)_mask.png")
    prepare(busi(), source, tmp_path / "data")
    return tmp_path / "data" / "busi"


def test_equal_images_equal_masks_and_two_classes(folder):
    manifest = audit(folder).manifest
    assert manifest.exact.images == (("benign_1", "benign_3"),)
    assert manifest.exact.masks == (("benign_1", "malignant_2"),)
    assert manifest.exact.two_classes == (("benign_1", "malignant_1"), ("benign_3", "malignant_1"))
    assert manifest.components == (("benign_1", "benign_3", "malignant_1"),)
    assert [(p.first, p.second, p.turn) for p in manifest.near] == [
        ("benign_1", "benign_3", "as stored"),
        ("benign_1", "malignant_1", "mirrored"),
        ("benign_3", "malignant_1", "mirrored"),
    ]


def test_constant_images_that_are_equal_are_one_component(tmp_path):
    """They correlate with nothing, so only their pixels say it."""
    source = make_busi(tmp_path / "source", benign=3, malignant=1)
    for number in (1, 2):
        Image.new("RGB", (20, 16), (7, 7, 7)).save(source / "benign" / f"benign ({number}).png")
    prepare(busi(), source, tmp_path / "data")
    manifest = audit(tmp_path / "data" / "busi").manifest
    assert (manifest.near, manifest.components) == ((), (("benign_1", "benign_2"),))


def test_empty_and_full_masks_equal_each_other_without_meaning(tmp_path):
    source = make_busi(tmp_path / "source", benign=3, malignant=0, normal=2)
    square(0, 0, 20, 20, 20).crop((0, 0, 20, 16)).save(source / "benign" / "benign (1)_mask.png")
    square(0, 0, 20, 20, 20).crop((0, 0, 20, 16)).save(source / "benign" / "benign (3)_mask.png")
    for number in (1, 2):  # the doubles draw them as benign 1 and 2
        picture(50 + number).save(source / "normal" / f"normal ({number}).png")
    report = prepare(busi(), source, tmp_path / "data", include_all=True)
    assert report.remarks == (
        "2 mask(s) empty: normal_1, normal_2",
        "2 mask(s) full: benign_1, benign_3",
    )


def test_an_equal_image_with_an_equal_mask_is_no_second_finding(tmp_path):
    source = make_busi(tmp_path / "source", benign=3, malignant=0)
    for number in (1, 3):
        picture(1).save(source / "benign" / f"benign ({number}).png")
    report = prepare(busi(), source, tmp_path / "data")  # the doubles' masks 1 and 3 are equal
    assert report.remarks == ("1 group(s) of equal images: benign_1 = benign_3",)


def test_preparing_remarks_on_equal_images_sizes_and_grey_levels(tmp_path):
    source = make_busi(tmp_path / "source", benign=3, malignant=1)
    picture(1).save(source / "benign" / "benign (1).png")
    picture(1).save(source / "malignant" / "malignant (1).png")
    for number in (1, 2, 3):
        square(number, 3, 4).save(source / "benign" / f"benign ({number})_mask.png")
    soft = np.zeros((16, 20), np.uint8)
    soft[4:8, 4:8], soft[8, 4:8] = 255, 100
    Image.fromarray(soft).save(source / "benign" / "benign (3)_mask.png")
    square(2, 2, 2, 30, 16).save(source / "benign" / "benign (2)_mask_1.png")
    report = prepare(busi(), source, tmp_path / "data")
    assert report.remarks == (
        "1 group(s) of equal images: benign_1 = malignant_1",
        "1 pair(s) of equal or near-duplicate images in two classes: benign_1 = malignant_1",
        "1 mask(s) with a file of another size than the image: benign_2",
        f"1 mask(s) with grey levels {BETWEEN} (antialiased or JPEG): benign_3",
    )
    assert "remark: " + report.remarks[0] in report.lines()
    cases = {case.id: case for case in read_records(tmp_path / "data" / "busi").cases}
    assert (cases["benign_3"].soft_pixels, cases["benign_2"].misfits) == (4, 1)


def test_instance_ids_are_no_grey_levels(tmp_path):
    report = prepare(glas(), make_glas(tmp_path / "source"), tmp_path / "data")
    assert not any("grey levels" in remark for remark in report.remarks)


def test_the_hash_of_a_manifest_is_the_same_for_the_same_dataset(folder):
    first, again = audit(folder, workers=1).manifest, audit(folder, workers=2).manifest
    file = first.write(folder / AUDIT)
    text = file.read_text()
    again.write(folder / AUDIT)
    assert (first.hash, text) == (again.hash, file.read_text())
    assert json.loads(text)["hash"] == first.hash
    content_hash = read_records(folder).content_hash
    assert read_manifest(folder, content_hash) == first


def test_splits_and_cells_see_an_audit_only_of_the_dataset_as_it_is_prepared(folder, tmp_path):
    assert read_index(folder).components is None
    manifest = audit(folder).manifest
    manifest.write(folder / AUDIT)
    index = read_index(folder)
    near = dict(zip(index.case_ids, index.components, strict=True))
    assert (near["malignant_1"], near["benign_3"], near["benign_2"]) == (
        "benign_1", "benign_1", "benign_2",
    )  # fmt: skip
    assert index.audit == manifest.hash
    # Prepared again from the same files, the audit stays; from others, it is dropped.
    source = tmp_path / "source" / "Dataset_BUSI_with_GT"
    prepare(busi(), source, tmp_path / "data")
    assert read_index(folder).audit == manifest.hash
    report = prepare(busi(), source, tmp_path / "data", leave_out=["benign_4"])
    assert read_index(folder).audit is None
    assert any("the audit was dropped; run bench audit busi" in text for text in report.warnings)
    manifest.write(folder / AUDIT)  # one of the dataset as it was
    assert read_index(folder).audit is None


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content: content["near"].pop(), "was edited"),
        (lambda content: content.update(cases=99), "was edited"),
        (lambda content: content.pop("hash"), "is damaged"),
        (lambda content: content.update(more=1), "is damaged"),
    ],
)
def test_an_edited_manifest_is_refused(folder, change, message):
    file = audit(folder).manifest.write(folder / AUDIT)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=f"manifest.json {message}.*bench audit busi"):
        read_index(folder)


def test_an_image_changed_since_it_was_prepared_is_refused(folder):
    picture(77).save(folder / "images" / "benign_2.png")
    with pytest.raises(BenchError, match="benign_2.png or its mask changed since"):
        audit(folder)


def test_two_datasets_share_equal_and_near_duplicate_images(folder, tmp_path):
    source = make_glas(tmp_path / "other")
    noisy_copy(folder / "images" / "benign_2.png", source / "train_1.bmp")
    Image.open(folder / "images" / "benign_4.png").save(source / "testA_2.bmp")
    prepare(glas(), source, tmp_path / "data")
    crossed = cross(audit(folder), audit(tmp_path / "data" / "glas"))
    assert crossed.equal == (("benign_4", "testA_2"),)
    assert crossed.pairs == (("benign_2", "train_1"), ("benign_4", "testA_2"))
    assert crossed.share == 2 / 11 and crossed.near.highest == 1.0
