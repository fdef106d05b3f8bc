"""Stored cells and prepared data that were damaged: what they cost, and what the user is told."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from data_doubles import glas, make_glas
from records import case_rows, cell, curve, put_scores

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.data.arrays import load_arrays
from bench.data.prepare import prepare
from bench.data.prepared import INDEX, Case, content_hash, read_index
from bench.experiments.cells import HISTORY, RECORD, load_cells, readable_cells
from bench.experiments.jobs import _set_aside_damaged_state
from bench.experiments.predictions import Predictions, read_predictions
from bench.experiments.store import reload
from bench.reporting.cases import Images, Line
from bench.reporting.plots.build import _has_history

MATRIX = """
title = "Mine"
[[cells]]
methods = ["unet", "ege_unet"]
train = ["busi"]
[[tables]]
name = "mine"
caption = "Mine"
kind = "methods"
datasets = ["busi"]
"""


REPORT = ("report", "--matrix", "mine.toml", "--out", "results")


@pytest.fixture
def no_figures(monkeypatch):
    """Tables alone: figures take seconds."""
    monkeypatch.setattr("bench.reporting.plots.build_figures", lambda *anything, **more: [])


@pytest.fixture
def two(home, no_figures):
    """Two stored cells, of unet and of ege_unet, and a matrix that shows both."""
    (home / "mine.toml").write_text(MATRIX)
    cells = home / "results" / "cells"
    return [
        cell(cells, method, dsc=dsc, history=curve()) for method, dsc in (("unet", 0.8), ("ege_unet", 0.6))
    ]  # fmt: skip


RECORDS = {
    "empty": b"",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "an empty object": b"{}",
    "half": b'{"format": 2, "id": "x"',
    "binary": bytes(range(256)),
    "latin-1": b'{"title": "\xe9"}',
    "deep": b"[" * 100_000,
    "5000 digits": b'{"format": ' + b"9" * 5000 + b"}",
    "nan": b'{"format": NaN}',
    "a key twice": b'{"format": 2, "format": 2}',
    "an older format": b'{"format": 1}',
    "a later format": b'{"format": 3}',
}


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_a_damaged_record_costs_its_own_row_alone(home, two, commanded, caplog, content):
    (two[0].folder / RECORD).write_bytes(content)
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "60.00" in out and "80.00" not in out
    assert str(two[0].folder / RECORD).removeprefix(str(home) + "/") in caplog.text
    assert [record.id for record in readable_cells(home / "results" / "cells")] == [two[1].id]
    with pytest.raises(BenchError, match=r"cell\.json"):  # in Python nothing is left out unseen
        load_cells(home / "results" / "cells")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_record_that_is_no_file(home, two, commanded, caplog, make):
    (two[0].folder / RECORD).unlink()
    make(two[0].folder / RECORD)
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "60.00" in out and "80.00" not in out
    assert "a folder, a pipe or a device" in caplog.text


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_a_damaged_record_is_set_aside_by_the_run_that_trains_its_cell(two, content):
    (two[0].folder / RECORD).write_bytes(content)
    assert reload(two[0].folder) is None
    assert (two[0].folder / f"{RECORD}.damaged").read_bytes() == content
    assert reload(two[1].folder).id == two[1].id


def scores_of(record):
    return record.scores_file("busi", "test")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" * 9, bytes(range(256))])
def test_a_damaged_score_file_costs_its_own_row_alone(home, two, commanded, caplog, content):
    scores_of(two[0]).write_bytes(content)
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "60.00" in out and "80.00" not in out
    assert "busi-test.parquet is missing or was changed" in caplog.text


def test_a_shortened_score_file(home, two, commanded):
    file = scores_of(two[0])
    file.write_bytes(file.read_bytes()[:-50])
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "60.00" in out and "80.00" not in out


def test_the_scores_of_another_cell_are_not_shown(home, two, commanded, caplog):
    shutil.copy(scores_of(two[1]), scores_of(two[0]))
    status, out, _ = commanded(*REPORT)
    assert status == 0 and out.count("60.00") == 1
    assert two[0].id in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"dsc": 1.5}, {"dsc": -0.1}, {"iou": 7.0}, {"dsc": float("nan")}, {"iou": np.inf}]
)
def test_scores_outside_their_range_are_not_shown(home, two, commanded, caplog, wrong):
    """Also where their checksum agrees: somebody wrote both."""
    put_scores(two[0], "busi-test", case_rows([{"dsc": 0.8, "iou": 0.7}, wrong]))
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "60.00" in out
    assert f"has a {next(iter(wrong))} outside 0 to 1" in caplog.text


def test_a_score_file_without_its_columns(home, two, commanded, caplog):
    put_scores(two[0], "busi-test", pd.DataFrame({"x": [1]}))
    assert commanded(*REPORT)[0] == 0
    assert "has a dsc outside 0 to 1" in caplog.text


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1"])
def test_a_damaged_history_has_no_curve(two, caplog, content):
    (two[0].folder / HISTORY).write_bytes(content)
    assert [_has_history(record) for record in two] == [False, True]
    assert "history.parquet is missing or was changed" in caplog.text


def examples(record, case: str = "case-0"):
    file = scores_of(record).with_name("busi-test-examples.npz")
    mask = np.eye(8, dtype=bool)[None]
    images = np.zeros((1, 8, 8, 3), np.uint8)
    np.savez_compressed(file, case_ids=np.array([case]), images=images, masks=mask, preds=mask)
    return file


DAMAGES = ["empty", "garbage", "short", "other case", "pickled", "no image"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_examples_are_not_drawn(two, caplog, damage):
    file, line = examples(two[0]), Line("UNet", two[0], {"case-0": 0.8})
    assert list(Images(None).kept(line, "busi-test")) == ["case-0"]
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "garbage":
        file.write_bytes(b"garbage")
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "other case":
        examples(two[0], "case-99")
    elif damage == "pickled":
        np.savez(file, case_ids=np.array([print], object))
    elif damage == "no image":
        np.savez(file, case_ids=np.array(["case-0"]))
    assert Images(None).kept(line, "busi-test") == {}
    assert "busi-test-examples.npz is" in caplog.text


def test_a_report_on_damaged_files_has_its_figures(home, two, commanded, monkeypatch):
    monkeypatch.undo()  # with figures
    monkeypatch.chdir(home)
    (two[0].folder / HISTORY).write_bytes(b"garbage")
    examples(two[1])
    examples(two[0]).write_bytes(b"garbage")
    monkeypatch.setattr("sys.argv", ["bench", *REPORT])
    status, out, _ = commanded(*REPORT)
    assert status == 0 and "80.00" in out and "60.00" in out
    drawn = {file.name for file in (home / "results" / "figures").rglob("*.png")}
    assert {"training.png", "in-domain-examples.png"} <= drawn


@pytest.mark.parametrize("words", [("show", "unet-busi"), ("report", "--matrix", "mine.toml")])
def test_a_record_whose_protocol_is_a_path_is_refused(home, two, commanded, caplog, words):
    """Tables are written to a folder of the protocol's name."""
    file = two[0].folder / RECORD
    file.write_text(file.read_text().replace('"protocol": "clean"', '"protocol": "../../../evil"'))
    _, out, error = commanded(*words)
    assert "key.protocol='../../../evil'" in out + error + caplog.text
    assert not list(home.parent.rglob("evil*"))


def test_show_of_a_damaged_cell_names_its_file(refused, two):
    scores_of(two[0]).write_bytes(b"garbage")
    refused("show", two[0].id, says=("busi-test.parquet is missing or was changed",))
    (two[0].folder / RECORD).write_text("[]")
    refused("show", two[0].id, says=("cell.json is no cell record of format 2",))


# States of unfinished trainings, and predictions


@pytest.mark.parametrize("damage", ["empty", "garbage", "short", "no state", "pickle"])
def test_a_damaged_state_is_set_aside_and_the_cell_trains_from_its_start(tmp_path, caplog, damage):
    import torch
    from safetensors.torch import save_file

    from bench.training.checkpoints import save_state

    state = tmp_path / "resume" / "state.safetensors"
    save_state(state, {"epoch": 3, "weights": {"a": torch.ones(1000)}})
    _set_aside_damaged_state(state)
    assert state.exists()
    whole = state.read_bytes()
    if damage == "no state":
        save_file({"a": torch.ones(2)}, state)
    else:
        pickle = b"cos\nsystem\n(S'touch evil'\ntR."
        contents = {"empty": b"", "garbage": b"garbage", "short": whole[:-100], "pickle": pickle}
        state.write_bytes(contents[damage])
    _set_aside_damaged_state(state)
    assert not state.exists() and state.with_name(f"{state.name}.damaged").exists()
    assert "state.safetensors cannot be resumed from" in caplog.text


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_damaged_predictions_are_named(tmp_path, content):
    mask = np.eye(4, dtype=bool)
    checksum = Predictions(("a",), (mask,), (mask,)).write(tmp_path, "busi-test")
    assert read_predictions(tmp_path, "busi-test", checksum).case_ids == ("a",)
    file = tmp_path / "predictions" / "busi-test.npz"
    file.write_bytes(content)
    with pytest.raises(BenchError, match=r"busi-test\.npz is missing or was changed"):
        read_predictions(tmp_path, "busi-test", checksum)


@pytest.mark.parametrize("content", [b"", b"garbage", b"cos\nsystem\n(S'touch evil'\ntR."])
def test_predict_with_damaged_weights(refused, home, two, content):
    from data_doubles import picture

    picture(1).save(home / "a.png")
    record = two[0].model_copy(
        update={
            "files": two[0].files | {"weights.safetensors": "0" * 64},
            "provenance": {"request": {}, "split": {"train": 4}, "precision": "fp32"},
        }
    )
    record.write(two[0].folder)
    (two[0].folder / "weights.safetensors").write_bytes(content)
    words = ("predict", two[0].id, "a.png", "--out", "masks", "--device", "cpu")
    refused(*words, says=("weights.safetensors is missing or was changed",))


# Prepared data

STATUS = ("data", "status", "--data", "data")


@pytest.fixture
def folder(home):
    prepare(glas(), make_glas(home / "in"), home / "data")
    return home / "data" / "glas"


def edited(folder, change) -> None:
    """`index.json` after `change`, with a content hash that fits it."""
    content = json.loads((folder / INDEX).read_text())
    change(content["cases"])
    content["content_hash"] = content_hash([Case.model_validate(c) for c in content["cases"]])
    (folder / INDEX).write_text(json.dumps(content))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_an_index_that_is_no_file(folder, commanded, make):
    (folder / INDEX).unlink()
    make(folder / INDEX)
    with pytest.raises(BenchError, match="a folder, a pipe or a device"):
        read_index(folder)
    status, out, _ = commanded(*STATUS)
    assert status == 0 and "damaged" in out


CHANGES = {
    "a case removed": lambda cases: cases.pop(),
    "a case twice": lambda cases: cases.append(cases[0]),
    "an image upwards": lambda cases: cases[0].update(image="../../../outside/precious.txt"),
    "another image": lambda cases: cases[0].update(image=cases[1]["image"]),
    "an id upwards": lambda cases: cases[0].update(id="../../../outside/precious"),
    "another hash": lambda cases: cases[0].update(image_sha256="0" * 64),
    "no such image": lambda cases: cases[0].update(image="nowhere.bmp"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_index_edited_together_with_its_hash(home, folder, change):
    """Its pixels are checked when they are decoded; a shorter list is another, smaller dataset."""
    before = read_index(folder).content_hash
    edited(folder, change)
    if change is CHANGES["a case removed"]:
        assert read_index(folder).content_hash != before
        return
    with pytest.raises(BenchError, match="again"):
        load_arrays(folder, 8, home / "cache")


def test_a_later_version_of_the_index_is_refused(folder):
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(BenchError, match="of another version"):
        read_index(folder)


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "native.bin", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x93NUMPY\x01\x00"])
def test_a_damaged_array_is_made_anew(folder, tmp_path, caplog, name, content):
    cache = tmp_path / "cache"
    whole = load_arrays(folder, 8, cache).images.copy()
    (file,) = cache.rglob(name)
    file.write_bytes(content)
    assert (load_arrays(folder, 8, cache).images == whole).all()
    assert f"{name} does not have the sha256" in caplog.text
    (kept,) = cache.rglob(f"*.damaged/{name}")
    assert kept.read_bytes() == content


def test_an_array_of_pickled_objects_is_not_unpickled(folder, tmp_path):
    cache = tmp_path / "cache"
    whole = load_arrays(folder, 8, cache).images.copy()
    (file,) = cache.rglob("images.npy")
    np.save(file, np.array([print], object))
    file.with_name("images.npy.sha256").write_text(f"{file_digest(file)}  images.npy\n")
    assert (load_arrays(folder, 8, cache).images == whole).all()
