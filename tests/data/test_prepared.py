"""`index.json`: read fast, checked against its own hash, and under the names it always had."""

import json
import time

import pytest
from data_doubles import busi, glas, make_busi, make_glas

from bench.core.errors import BenchError
from bench.data.prepare import prepare
from bench.data.prepared import (
    INDEX,
    Case,
    Index,
    case_index,
    content_hash,
    dump,
    read_index,
    read_records,
    status,
)
from bench.data.splits import make_split


@pytest.fixture
def folder(tmp_path):
    prepare(busi(), make_busi(tmp_path / "source"), tmp_path / "data")
    return tmp_path / "data" / "busi"


def case(number: int, **facts) -> Case:
    values = {
        "id": f"case{number:05}",
        "image": f"case{number:05}.jpg",
        "group": f"lesion{number * 3 // 4:05}",
        "published_split": None,
        "class_": "nv",
        "width": 600,
        "height": 450,
        "image_sha256": f"{number:064x}",
        "mask_sha256": f"{number + 1:064x}",
    }
    return Case(**values | facts)


def index_of(cases: tuple[Case, ...]) -> Index:
    return Index(
        dataset="mine",
        card_hash="0",
        layout="publisher",
        mask_rule="> 0",
        warnings=(),
        content_hash=content_hash(cases),
        cases=cases,
    )


# What is stored


def test_the_index_keeps_its_keys(tmp_path):
    prepare(glas(), make_glas(tmp_path / "source"), tmp_path / "data")
    stored = json.loads((tmp_path / "data" / "glas" / INDEX).read_text())
    first = stored["cases"][0]
    assert {key: first[key] for key in ("id", "group", "part", "class", "notes")} == {
        "id": "testA_1",
        "group": "1",
        "part": "testA",
        "class": "benign",
        "notes": [],
    }
    assert sorted(first) == [
        "class", "group", "height", "id", "image", "image_sha256", "mask_sha256", "misfits",
        "notes", "part", "soft_pixels", "width",
    ]  # fmt: skip


def test_what_is_written_is_what_is_read(tmp_path):
    cases = (case(1, published_split="train", remarks=("2 masks joined",)), case(0, group=None))
    (tmp_path / INDEX).write_text(dump(index_of(cases)))
    assert read_records(tmp_path) == index_of(cases)
    index = read_index(tmp_path)
    assert index.case_ids == ("case00001", "case00000")
    assert index.groups == ("lesion00000", "case00000") and index.grouped == 1
    assert index.published_splits == ("train", None) and index.classes == ("nv", "nv")
    assert index == case_index(index_of(cases))


def test_the_content_hash_is_of_ids_and_pixels_alone():
    one, two = case(0), case(1)
    same = content_hash([one, two])
    assert content_hash([two, one]) == same
    assert content_hash([case(0, group="x", published_split="train", width=9), two]) == same
    assert content_hash([case(0, image_sha256="0"), two]) != same
    assert content_hash([case(0, mask_sha256="0"), two]) != same
    assert content_hash([case(0, id="a"), two]) != same
    assert same[:16] == "e0434b54d446cda5"  # results are stored under it


# What is refused


@pytest.mark.parametrize(
    "old, new",
    [('"id": "benign_1"', '"id": "benign_9"'), ('"image_sha256": "', '"image_sha256": "0')],
)
def test_an_edited_index_is_refused(folder, old, new):
    text = (folder / INDEX).read_text()
    assert old in text
    (folder / INDEX).write_text(text.replace(old, new, 1))
    with pytest.raises(
        BenchError, match=r"index\.json was edited: its content hash \w{12}\.\.\..*Prepare .* again"
    ):
        read_index(folder)
    (row,) = status(folder.parent, [busi()])
    assert row.state == "damaged" and "was edited" in row.warnings[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x93NUMPY\xff\xfe" * 50, b'{"format": 1, "cases": [', b"[]", b'"text"'],
    ids=["empty", "binary", "truncated", "a list", "a text"],
)
def test_a_damaged_index_is_one_clear_message(folder, content):
    (folder / INDEX).write_bytes(content)
    with pytest.raises(BenchError, match=r"index\.json is damaged .*Prepare the dataset again"):
        read_records(folder)
    (row,) = status(folder.parent, [busi()])
    assert row.state == "damaged"


def test_the_first_of_many_faults_is_named(folder):
    text = (folder / INDEX).read_text().replace('"width": 20', '"width": "wide"')
    (folder / INDEX).write_text(text)
    with pytest.raises(BenchError, match="damaged or of another version: cases/0/width: ") as error:
        read_records(folder)
    assert len(str(error.value)) < 400


def test_a_dataset_that_is_not_prepared(tmp_path):
    with pytest.raises(BenchError, match="'busi' is not prepared .*bench data prepare busi --from"):
        read_index(tmp_path / "busi")


# Planning is cheap


def test_ten_thousand_cases_are_read_and_split_at_once(tmp_path):
    """About 0.1 s of processor time; the bound leaves room for a slow machine."""
    (tmp_path / INDEX).write_text(dump(index_of(tuple(map(case, range(10_000))))))
    seconds = []
    for _ in range(3):
        started = time.process_time()
        split = make_split(read_index(tmp_path), "grouped")
        seconds.append(time.process_time() - started)
    assert len(split.test) == 2000
    assert min(seconds) < 0.5
