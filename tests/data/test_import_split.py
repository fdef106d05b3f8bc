"""Importing published lists: the authors' pickles without running them, JSON, text, folders."""

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
from data_doubles import SHARED, busi, make_busi

from bench.core import files
from bench.core.errors import BenchError
from bench.core.safe_pickle import read_pickle
from bench.data.import_split import import_split, read_lists
from bench.data.prepare import prepare, read_index
from bench.data.splits import make_split

LISTS = {
    "train": {"name_list": ["benign_1", "benign_2", "malignant_1"]},
    "test": {"name_list": ["malignant_2"]},
}
FLAT = {part: names["name_list"] for part, names in LISTS.items()}


@pytest.fixture
def data(tmp_path):
    prepare(busi(), make_busi(tmp_path / "source"), tmp_path / "data")
    return tmp_path / "data"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_the_authors_pickle_in_every_protocol(tmp_path, protocol):
    file = write(tmp_path / "names.pkl", pickle.dumps(LISTS, protocol))
    assert read_pickle(file) == LISTS
    assert read_lists(file) == FLAT


@pytest.mark.parametrize(
    "value",
    [{"a": [1, -5, 2**40, 2.5, None, True, ("x", ()), (1,), (1, 2, 3, 4)]}, ["é", "x" * 300]],
)
def test_plain_values_come_back_as_they_were(tmp_path, value):
    for protocol in range(6):
        assert read_pickle(write(tmp_path / "v.pkl", pickle.dumps(value, protocol))) == value


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, data, protocol):
    content = {"train": ["benign_1"], "test": [Evil(tmp_path / "owned")]}
    file = write(tmp_path / "evil.pkl", pickle.dumps(content, protocol))
    match = r"evil\.pkl is refused: its instruction (GLOBAL|STACK_GLOBAL) at byte \d+.*JSON"
    with pytest.raises(BenchError, match=match):
        import_split(data, "busi", file)
    assert not (tmp_path / "owned").exists()
    assert not (data / "busi" / "splits").exists()


@pytest.mark.parametrize(
    "code, opcode",
    [
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL"),
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"Ptoken\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x8f.", "EMPTY_SET"),
    ],
)
def test_every_other_instruction_is_refused_by_name(tmp_path, code, opcode):
    with pytest.raises(BenchError, match=f"its instruction {opcode} "):
        read_pickle(write(tmp_path / "x.pkl", code))


@pytest.mark.parametrize(
    "code", [b"", b"]", b"(.", b"u.", b"](l.", b"h\x05.", b"\x8c\xffab", b"a."]
)
def test_a_damaged_pickle_is_an_error_not_a_crash(tmp_path, code):
    with pytest.raises(BenchError, match="damaged pickle"):
        read_pickle(write(tmp_path / "x.pkl", code))


@pytest.mark.parametrize(
    "name, content",
    [
        ("l.json", json.dumps(FLAT)),
        ("l.json", json.dumps(LISTS)),
        ("l.txt", "train\tbenign_1\ntrain\tbenign_2\ntrain\tmalignant_1\ntest\tmalignant_2\n"),
        ("l.csv", "train,benign_1\r\ntrain,benign_2\r\ntrain,malignant_1\r\ntest,malignant_2"),
        (
            "l.txt",
            "# mine\n[train]\nbenign_1.png\nimages/benign_2.png\nmalignant_1\n\n[test]\nmalignant_2",
        ),
        ("l.txt", "train:\rbenign_1\rbenign_2\rmalignant_1\rtest:\rmalignant_2"),
    ],
)
def test_the_same_lists_in_every_form(tmp_path, name, content):
    assert read_lists(write(tmp_path / name, content)) == FLAT


def test_a_folder_of_lists(tmp_path):
    write(tmp_path / "train.txt", "benign_1.png\nbenign_2\nmalignant_1\n")
    write(tmp_path / "test.txt", "malignant_2\n")
    assert read_lists(tmp_path) == FLAT


def test_an_import_is_stored_with_its_origin_and_splits(tmp_path, data):
    file = write(tmp_path / "names.pkl", pickle.dumps(LISTS))
    report = import_split(data, "busi", file)
    assert report.counts == {"train": 3, "val": 0, "test": 1}
    assert report.unlisted == ("benign_3", "benign_4", "malignant_3")
    index = read_index(data / "busi")
    assert index.imported.origin == "names.pkl" and len(index.imported.sha256) == 64
    assert make_split(index, "default", val_share=0).test == ("malignant_2",)


def test_foreign_names_are_refused_and_nothing_is_stored(tmp_path, data):
    file = write(tmp_path / "l.json", '{"train": ["benign_1", "cat_1"], "test": ["dog_9"]}')
    with pytest.raises(
        BenchError,
        match=r"2 of the names in .*l\.json match no case of busi: cat_1, dog_9.*--allow-partial",
    ):
        import_split(data, "busi", file)
    assert not (data / "busi" / "splits").exists()


def test_a_part_of_a_dataset_takes_the_names_it_has_and_says_so(tmp_path, data):
    file = write(tmp_path / "l.json", '{"train": ["benign_1", "benign_400"], "test": ["benign_2"]}')
    report = import_split(data, "busi", file, allow_partial=True)
    assert report.foreign == ("benign_400",)
    assert report.lines()[0].startswith("WARNING: 1 of the listed names have no case here")
    assert read_index(data / "busi").imported.foreign == ("benign_400",)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("l.json", '{"train": ["benign_1"], "test": ["benign_1"]}', "occur twice in .*benign_1"),
        ("l.json", '{"train": ["benign_1"]}', r'has train; wanted \{"train"'),
        ("l.json", '{"train": ["benign_1"], "test": []}', "names no test case"),
        ("l.json", '{"train": ["benign_1"], "test": [5]}', "'test' is not a list of names"),
        ("l.json", '["benign_1"]', "has no keys"),
        ("l.json", '{"train": ', "is not JSON"),
        ("l.txt", "benign_1\n", r"line 1: 'benign_1' is neither"),
        ("l.npy", "", "of no known kind"),
    ],
)
def test_wrong_files_are_refused(tmp_path, data, name, content, message):
    with pytest.raises(BenchError, match=message):
        import_split(data, "busi", write(tmp_path / name, content))


def test_a_missing_file_and_an_unprepared_dataset(tmp_path, data):
    with pytest.raises(BenchError, match=r"No list at .*Name an existing file"):
        import_split(data, "busi", tmp_path / "none.pkl")
    with pytest.raises(BenchError, match="'glas' is not prepared"):
        import_split(data, "glas", tmp_path / "none.pkl")


def test_a_full_disk_keeps_the_earlier_import(tmp_path, data, monkeypatch):
    file = write(tmp_path / "l.json", json.dumps(FLAT))
    import_split(data, "busi", file)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(BenchError, match="Cannot import a split of busi .*the disk is full"):
        import_split(data, "busi", file)
    assert os.listdir(data / "busi" / "splits") == ["imported.json"]
    assert read_index(data / "busi").imported.test == ("malignant_2",)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared split lists are not here")
@pytest.mark.parametrize(
    "name, train, test",
    [
        ("bus", 132, 31),
        ("busi", 517, 130),
        ("glas", 85, 80),
        ("ham10000", 8015, 2000),
        ("kvasir", 472, 118),
    ],
)
def test_the_five_published_pickles(name, train, test):
    lists = read_lists(SHARED / "splits" / f"{name}_train_test_names.pkl")
    assert {part: len(names) for part, names in lists.items()} == {"train": train, "test": test}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared GlaS images are not here")
def test_glas_published_split_leaks_patients_as_measured(tmp_path):
    from bench.data.cards import load_card

    source = SHARED / "data" / "Warwick QU Dataset (Released 2016_07_08)"
    prepare(load_card("glas"), source, tmp_path)
    index = read_index(tmp_path / "glas")
    split = make_split(index, "published", val_share=0)
    group = dict(zip(index.case_ids, index.groups, strict=True))
    learned = {group[case] for case in split.train}
    assert [case for case in split.test if group[case] not in learned] == ["testA_45"]
