"""`bench audit`: what it prints and writes, and its exit status."""

import json
import re
import sys

import numpy as np
import pytest
from data_doubles import busi, glas, make_busi, make_glas, picture
from PIL import Image

from bench.cli import main
from bench.data.prepare import prepare


@pytest.fixture
def data(tmp_path):
    """GlaS with patients on both sides, each with one image only; BUSI without a known group and with one equal image."""
    source = make_busi(tmp_path / "busi")
    for kind, name in (("benign", 1), ("malignant", 2)):
        picture(1).save(source / kind / f"{kind} ({name}).png")
    prepare(busi(), source, tmp_path / "data")
    prepare(glas(), make_glas(tmp_path / "glas"), tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def bench(monkeypatch, capsys):
    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, " ".join((captured.out + captured.err).split())

    return run


def test_shared_patients_end_with_status_1_unless_the_threshold_allows_them(bench, data):
    command = ("audit", "glas", "--data", str(data), "--protocol", "clean")
    status, words = bench(*command)
    assert status == 1
    assert "protocol clean: 5 of 5 test images share a patient with train; 5 of 5 have" in words
    assert "100.0% of test cases leak in the worst case; --threshold is 0.0%" in words
    assert bench(*command, "--threshold", "1")[0] == 0


def test_a_clean_split_ends_with_status_0(bench, data):
    status, words = bench("audit", "glas", "--data", str(data), "--protocol", "grouped")
    assert status == 0 and re.search(r"grouped: 0 of [23] test images share a patient", words)


def test_every_protocol_is_audited_and_one_without_a_split_says_why(bench, data):
    _, words = bench("audit", "busi", "--data", str(data))
    for name in ("paper:", "paper80:", "clean:", "grouped:", "dedup:"):
        assert f"protocol {name}" in words
    assert "protocol paper: busi has neither imported lists nor a published split here" in words
    assert "protocol dedup: no group ids: not auditable; 0 of 2 have a near-duplicate" in words


def test_the_files_lie_beside_the_dataset_or_where_out_says(bench, data, tmp_path):
    bench("audit", "busi", "--data", str(data), "--out", str(tmp_path / "there"))
    assert not (data / "busi" / "audit").exists()
    bench("audit", "busi", "--data", str(data), "--with", "all")
    here, there = data / "busi" / "audit", tmp_path / "there" / "busi"
    for folder in (here, there):
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["hits.pdf", "hits.png", "manifest.json", "report.json"]
    # Other datasets and splits are in the report; the manifest is the dataset's own.
    assert (here / "manifest.json").read_bytes() == (there / "manifest.json").read_bytes()
    report = json.loads((here / "report.json").read_text())
    assert list(report["with"]) == ["glas"] and report["with"]["glas"]["equal"] == []
    assert report["manifest"] == json.loads((here / "manifest.json").read_text())["hash"]
    assert np.asarray(Image.open(here / "hits.png")).std() > 0


def test_mistakes_are_one_message_with_status_2(bench, data, tmp_path):
    for words, message in [
        (("audit", "bus"), "Dataset 'bus' is not prepared in"),
        (("audit", "busi", "--with", "busi"), "name another dataset than the one"),
        (("audit", "busi", "--protocol", "cleen"), "Did you mean 'clean'"),
        (("audit", "busi", "--results", str(tmp_path)), "No cell in"),
    ]:
        status, text = bench(*words, "--data", str(data))
        assert status == 2 and message in text, text
