"""Verifying stored cells: what is found in copies with one thing changed, and what adoption keeps.

One cell is trained for the whole module (three epochs on phantoms); every test works on a copy.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import case_rows, cell, put_scores
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.experiments import identity
from bench.experiments.cells import CellRecord, TestSet, load_cell, write_frame
from bench.experiments.executors.local import LocalExecutor
from bench.experiments.jobs import run_job, train_job
from bench.experiments.matrices import TableBlock
from bench.experiments.messages import Failed, Job, Replayed
from bench.experiments.predictions import Predictions, read_predictions
from bench.experiments.replay import adopt, compare
from bench.experiments.replay import verify as verifying
from bench.experiments.replay.checks import Check, Verification
from bench.experiments.replay.marks import MARKS, failure_notes, store_marks
from bench.experiments.replay.rescore import medpy_scores
from bench.experiments.replay.rows import target_checks
from bench.experiments.replay.stored import check_stored
from bench.experiments.replay.verify import (
    VerifyOptions,
    cell_folders,
    folder_digest,
    verify,
)
from bench.experiments.sources import Sources
from bench.experiments.store import CellStore, request_digest
from bench.reporting.tables import build_tables

QUICK = VerifyOptions(quick=True)
ASKED = request(
    method="ege_unet",
    tests=(TestSet(dataset="busi"), TestSet(dataset="bus")),
    profile__epochs=3,
)


def sources() -> Sources:
    return Sources(ASKED.profile, None, [])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache) -> Path:
    """The folder of a trained cell; its weights, history and masks are a run's."""
    from bench.experiments.resolve import resolve

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GMS_BENCH_CACHE", str(cache))
        resolution = resolve(ASKED, 8)[2]
        inputs = identity.training_inputs(ASKED, resolution, sources())
        folder = tmp_path_factory.mktemp("trained") / identity.cell_id(resolution.key, inputs)
        train_job(
            Job(
                op="train", request=ASKED, request_digest=request_digest(ASKED), train_cases=8,
                id=folder.name, inputs=inputs, folder=folder,
            ),
            lambda event: None,
        )  # fmt: skip
    return folder


class HereExecutor:
    """Does a worker's job in this process: starting one takes seconds."""

    def __init__(self, devices, threads, log_folder):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def map(self, jobs, report):
        for tag, job in jobs:
            try:
                end = run_job(job, lambda event, tag=tag: report(tag, event))
            except BenchError as error:
                end = Failed(message=str(error))
            report(tag, end)


@pytest.fixture
def stored(trained, tmp_path, cache, monkeypatch) -> Path:
    """A copy of the trained cell in a results folder of the test's own."""
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))
    monkeypatch.setattr(verifying, "LocalExecutor", HereExecutor)
    folder = tmp_path / "results" / "cells" / trained.name
    shutil.copytree(trained, folder)
    return folder


def outcomes(folder: Path, options: VerifyOptions = QUICK) -> dict[str, Check]:
    (found,) = verify([folder], options)
    return {check.name: check for check in found.checks}


def failed(folder: Path, options: VerifyOptions = QUICK) -> set[str]:
    return {name for name, check in outcomes(folder, options).items() if check.outcome == "failed"}


def edit(folder: Path, change) -> None:
    """Change the text of a record as an editor does."""
    file = folder / "cell.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def sealed(folder: Path, change=lambda content: None) -> None:
    """Change a record and make all its checksums anew, as somebody who means to deceive does."""

    def everything(content):
        change(content)
        content["files"] = {name: file_digest(folder / name) for name in content["files"]}
        for label, test in content["tests"].items():
            test["scores"] = file_digest(folder / "scores" / f"{label}.parquet")
            test["predictions"] = file_digest(folder / "predictions" / f"{label}.npz")

    edit(folder, everything)
    load_cell(folder / "cell.json").write(folder)


def change_scores(folder: Path, grid: str = "native", **values) -> None:
    """Overwrite columns of the first case of busi-test on one grid."""
    file = folder / "scores" / "busi-test.parquet"
    rows = pd.read_parquet(file)
    at = rows.index[rows["grid"] == grid][0]
    for name, change in values.items():
        rows.loc[at, name] = change(rows.loc[at])
    write_frame(file, rows)


def call_one_pixel_right(folder: Path, grid: str) -> None:
    """Count one false pixel of the prediction as found, and make DSC and IoU of the counts."""
    for name, step in {"tp": 1, "fp": -1, "fn": -1, "tn": 1}.items():
        change_scores(folder, grid, **{name: lambda row, n=name, s=step: row[n] + s})
    change_scores(
        folder,
        grid,
        dsc=lambda row: 2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]),
        iou=lambda row: row["tp"] / (row["tp"] + row["fp"] + row["fn"]),
    )


def state(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"  # holds the last process and time
    }


# ---- a folder that somebody handed you


def test_a_cell_as_a_run_left_it_passes_every_check_and_stays_as_it_is(stored):
    before = state(stored)
    (found,) = verify([stored], QUICK)
    assert found.state == "verified" and found.failed == ()
    names = [check.name for check in found.checks]
    assert names == [
        *("record", "checksum of the record", "identity", "files", "history"),
        *("counts of bus-test", "examples of bus-test", "counts of busi-test"),
        *("examples of busi-test", "scores of bus-test", "medpy on bus-test"),
        *("scores of busi-test", "medpy on busi-test", "training data", "training code"),
    ]
    assert state(stored) == before


def test_one_changed_number_is_named(stored):
    change_scores(stored, dsc=lambda row: row["dsc"] + 1e-12)
    found = outcomes(stored)
    case = pd.read_parquet(stored / "scores" / "busi-test.parquet")["case_id"][0]
    assert "scores/busi-test.parquet was changed" in found["files"].detail
    assert f"{case} (native): dsc" in found["counts of busi-test"].detail
    assert f"{case} (native): dsc" in found["scores of busi-test"].detail
    assert f"{case} (native): dsc" in found["medpy on busi-test"].detail
    assert found["scores of bus-test"].outcome == "passed"


def test_a_changed_distance_within_its_range_is_found_by_scoring_again(stored):
    change_scores(stored, hd95=lambda row: row["hd95"] * 0.999)
    sealed(stored)
    assert failed(stored) == {"scores of busi-test", "medpy on busi-test"}


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("hd95", lambda row: row["diagonal"] + 1, "px lies outside"),
        ("hd95_directed", lambda row: float("nan"), "hd95_directed nan px lies outside"),
        ("tp", lambda row: row["tp"] + 1, "are not the 4096 pixels"),
        ("fp", lambda row: -1, "are not the 4096 pixels"),
        ("iou", lambda row: row["dsc"], "its counts give"),
        ("empty", lambda row: "both", "empty both is stored, its counts give none"),
        ("diagonal", lambda row: 1.0, "diagonal 1.0 is stored"),
        ("height", lambda row: 63, "63 x 64 px, the mask 64 x 64"),
        ("case_id", lambda row: "another", "the cases on the native grid are not the predicted"),
    ],
)
def test_rows_that_cannot_be_are_found_without_the_masks(stored, column, value, words):
    change_scores(stored, **{column: value})
    sealed(stored)
    found = {check.name: check for check in check_stored(stored)[1]}
    assert found["counts of busi-test"].outcome == "failed"
    assert words in found["counts of busi-test"].detail
    assert found["files"].outcome == found["record"].outcome == "passed"


@pytest.mark.parametrize("again", [lambda folder: None, sealed], ids=["as is", "checksums remade"])
def test_a_swapped_prediction_file_is_named(stored, again):
    one, other = (stored / "predictions" / f"{name}-test.npz" for name in ("busi", "bus"))
    one.rename(stored / "aside")
    other.rename(one)
    (stored / "aside").rename(other)
    again(stored)
    found = failed(stored)
    assert {"counts of busi-test", "counts of bus-test"} <= found
    assert ("files" in found) == (again is not sealed)


def test_predictions_of_the_same_cases_by_another_cell_are_found(stored):
    own = read_predictions(stored, "busi-test", file_digest(stored / "predictions/busi-test.npz"))
    other = Predictions(own.case_ids, tuple(~mask for mask in own.network), own.native)
    other.write(stored, "busi-test")
    sealed(stored)
    found = {check.name: check for check in check_stored(stored)[1]}
    assert "pixels are predicted" in found["counts of busi-test"].detail
    assert "the mask shown is not the stored prediction" in found["examples of busi-test"].detail


EDITS = {
    "seed": lambda c: c["key"].update(seed=1),
    "recipe": lambda c: c["recipe"].update(lr=0.5),
    "settings": lambda c: c["key"]["settings"].update(stretch=False),
    "numerics": lambda c: c["provenance"]["request"]["profile"].update(precision="bf16"),
    "method": lambda c: c["key"].update(method="unet"),
    "selection": lambda c: c["key"].update(selection="last"),
    "epochs": lambda c: c["key"].update(epochs=300),
    "code": lambda c: c["inputs"].update(code="0" * 64),
    "title": lambda c: c.update(title="Best-UNet"),
    "parameters": lambda c: c.update(trainable_params=1),
    "device": lambda c: c["provenance"].update(device="NVIDIA H200"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_record_is_found(stored, name):
    edit(stored, EDITS[name])
    assert "checksum of the record" in failed(stored)


@pytest.mark.parametrize("name", list(EDITS)[:8])
def test_what_decides_numbers_is_found_even_with_its_checksum_remade(stored, name):
    sealed(stored, EDITS[name])
    found = outcomes(stored)
    assert found["checksum of the record"].outcome == "passed"
    assert found["identity"].outcome == "failed"


def test_what_is_only_said_is_bound_by_the_digest_of_all_records(stored):
    """A title with all checksums remade passes; the published digest of the results does not."""
    published = folder_digest([stored])
    assert folder_digest([stored]) == published
    sealed(stored, EDITS["title"])
    assert failed(stored) == set()
    assert folder_digest([stored]) != published


def test_counts_that_agree_with_the_prediction_need_the_masks_to_be_refused(stored):
    """One pixel more of the same prediction is called right: nothing in the folder contradicts."""

    call_one_pixel_right(stored, "native")
    sealed(stored)
    assert [c for c in check_stored(stored)[1] if c.outcome == "failed"] == []
    assert failed(stored) == {"scores of busi-test", "medpy on busi-test"}


def test_the_kept_examples_refuse_the_same_on_the_network_grid(stored):
    call_one_pixel_right(stored, "network")
    sealed(stored)
    found = {check.name: check for check in check_stored(stored)[1]}
    assert "scored again" in found["examples of busi-test"].detail


@pytest.mark.parametrize(
    "name, check",
    [
        ("scores/busi-test.parquet", "counts of busi-test"),
        ("predictions/busi-test.npz", "counts of busi-test"),
        ("scores/busi-test-examples.npz", "examples of busi-test"),
        ("history.parquet", "history"),
    ],
)
def test_a_torn_file_is_named_and_ends_nothing(stored, name, check):
    (stored / name).write_bytes(b"PAR1 torn")
    found = outcomes(stored)
    assert found[check].outcome == "failed" and "cannot be read" in found[check].detail
    assert found["scores of bus-test"].outcome == "passed"


def test_weights_may_be_left_out_but_not_be_others(stored):
    weights = stored / "weights.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    found = outcomes(stored)
    assert found["weights"].outcome == "skipped" and found["files"].outcome == "passed"
    weights.write_bytes(content[:-1] + b"\x7f")
    assert failed(stored) == {"files"}


def test_a_selected_epoch_that_the_rule_does_not_pick_is_found(stored):
    history = pd.read_parquet(stored / "history.parquet")
    picked = load_cell(stored / "cell.json").provenance["selected_epoch"]
    other = next(epoch for epoch in history["epoch"] if epoch != picked)
    sealed(stored, lambda c: c["provenance"].update(selected_epoch=int(other)))
    assert f"best-val picks epoch {picked}, not {other:.0f}" in outcomes(stored)["history"].detail


def test_a_history_with_an_epoch_cut_off_is_found(stored):
    history = pd.read_parquet(stored / "history.parquet")
    write_frame(stored / "history.parquet", history[:2])
    sealed(stored)
    assert "2 epochs, but 3 in the record" in outcomes(stored)["history"].detail


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_checked(stored, tmp_path):
    other = stored.parent / "unet-busi-0"
    other.mkdir()
    (other / "cell.json").write_text('{"format": 2')
    bad, good = verify(sorted([other, stored], reverse=True), QUICK)
    assert bad.cell == "unet-busi-0" and bad.state == "failed"
    assert "is no cell record of format 2" in bad.checks[0].detail
    assert good.state == "verified"


def test_a_record_from_before_records_had_a_checksum_is_verified_in_part(stored):
    edit(stored, lambda content: content.pop("checksum"))
    (found,) = verify([stored], QUICK)
    assert found.state == "in part"
    assert [check.name for check in found.checks if check.outcome == "skipped"] == [
        "checksum of the record"
    ]


def test_other_data_at_hand_is_no_fault_of_the_cell(stored, monkeypatch):
    monkeypatch.setattr(Sources, "pixels", lambda self, *of: "other pixels")
    found = outcomes(stored)
    assert {name for name, check in found.items() if check.outcome == "skipped"} == {
        *("scores of bus-test", "medpy on bus-test", "scores of busi-test"),
        *("medpy on busi-test", "training data"),
    }
    assert failed(stored) == set()


def test_the_cell_whose_targets_have_another_size_than_elsewhere_is_named(tmp_path):
    """tp + fn is the target: the same 10 pixels in every cell of one test set but the third."""
    cells = [cell(tmp_path, method=name) for name in ("unet", "gms", "ege_unet")]
    wrong = case_rows([{}, {"tp": 9}, {}, {}])
    cells[2] = put_scores(cells[2], "busi-test", wrong)
    found = target_checks(cells)
    assert [found[one.id][0].outcome for one in cells] == ["passed", "passed", "failed"]
    assert found[cells[2].id][0].detail == (
        "case-1 network: its target has another size than in 2 of 3 cells"
    )
    assert target_checks(cells[:1]) == {}


@pytest.mark.parametrize(
    "pred, target, expected",
    [
        ("....", "....", (1.0, 1.0, 0.0)),  # medpy: NaN, NaN and an exception
        ("##..", "....", (0.0, 0.0, 17**0.5)),
        ("....", "##..", (0.0, 0.0, 17**0.5)),
        ("##..", ".##.", (0.5, 1 / 3, 1.0)),
    ],
)
def test_the_reference_is_medpy_and_the_empty_rule_where_medpy_has_no_answer(
    pred, target, expected
):
    masks = [np.array([[c == "#" for c in text]]) for text in (pred, target)]
    assert tuple(medpy_scores(*masks).values()) == expected


# ---- training and prediction again


def test_the_first_epochs_and_the_predictions_repeat_in_every_bit(stored):
    before = state(stored)
    found = outcomes(stored, VerifyOptions(epochs=2))
    assert found["training"].detail == "2 epochs: every value of the history bit for bit"
    assert found["predictions of busi-test"].detail == "0 of 32768 pixels differ"
    assert found["predictions of bus-test"].outcome == "passed"
    assert "trained weights" not in found
    after = state(stored)
    assert after.pop(MARKS) and after == before


def test_after_all_epochs_the_weights_are_compared(stored):
    found = outcomes(stored, VerifyOptions(epochs=99))
    assert found["training"].detail.startswith("3 epochs")
    assert found["trained weights"].outcome == "passed"


def test_a_history_that_training_does_not_give_is_found(stored):
    history = pd.read_parquet(stored / "history.parquet")
    history.loc[0, "loss"] *= 1 + 1e-12
    write_frame(stored / "history.parquet", history)
    sealed(stored)
    check = outcomes(stored, VerifyOptions(epochs=1))["training"]
    assert check.outcome == "failed" and "epoch 1: loss" in check.detail
    assert failed(stored) == set()  # nothing in the files shows it


def test_weights_that_do_not_give_the_predictions_are_found(stored):
    from safetensors.torch import load_file, save_file

    weights = load_file(stored / "weights.safetensors")
    save_file({name: -tensor for name, tensor in weights.items()}, stored / "weights.safetensors")
    sealed(stored)
    found = failed(stored, VerifyOptions(epochs=1))
    assert found & {"predictions of busi-test", "predictions of bus-test"}
    assert "training" not in found


def test_nothing_is_trained_where_the_files_are_not_the_stored_ones(stored):
    change_scores(stored, dsc=lambda row: 0.5)
    found = outcomes(stored, VerifyOptions(epochs=1))
    assert found["training"].outcome == "skipped"
    assert found["training"].detail == "the stored files are not as recorded"


def test_without_weights_training_repeats_and_predictions_are_skipped(stored):
    (stored / "weights.safetensors").unlink()
    found = outcomes(stored, VerifyOptions(epochs=1))
    assert found["training"].outcome == "passed"
    assert found["predictions of busi-test"].outcome == "skipped"


CPU = {"device": "EPYC", "processor": "EPYC", "threads": 1, "packages": {"torch": "2.8"}}
NOW = {"device": "EPYC", "processor": "EPYC", "threads": 1, "torch": "2.8"}


@pytest.mark.parametrize(
    "recorded, machine, words",
    [
        ({}, {}, ""),
        ({"threads": 4}, {}, "threads 4, now 1"),
        ({"processor": "Xeon", "device": "Xeon"}, {}, "processor Xeon, now EPYC"),
        ({}, {"torch": "2.9"}, "torch 2.8, now 2.9"),
        ({"device": "NVIDIA H200"}, {}, "trained on NVIDIA H200, repeated on EPYC"),
        (
            {"device": "NVIDIA H200"},
            {"device": "NVIDIA H200"},
            "trained on NVIDIA H200, repeated on NVIDIA H200",
        ),
    ],
)
def test_bits_must_agree_on_the_same_cpu_and_nowhere_else(recorded, machine, words):
    assert compare.other_machine(CPU | recorded, NOW | machine) == words


@pytest.mark.parametrize(
    "again, gap",
    [
        ({"loss": 1.0}, None),
        ({"loss": 0.99}, 0.01),
        ({"loss": 1.0, "seconds": 9.0}, None),
        ({"loss": 1.0, "val_dsc": 0.5}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_the_gap_of_a_loss_is_relative_and_a_missing_value_is_infinitely_far(again, gap):
    gaps = compare.row_gaps({"loss": 1.0, "val_dsc": None, "seconds": 1.0}, again)
    assert [value for value, _ in gaps] == ([] if gap is None else [pytest.approx(gap)])


def test_the_gap_of_a_dsc_is_absolute():
    ((gap, _),) = compare.row_gaps({"val_dsc": 0.010}, {"val_dsc": 0.012})
    assert gap == pytest.approx(0.002)


@pytest.mark.parametrize(
    "device, loss, differing, outcome",
    [
        ("EPYC", 1.0, 0, ("passed", "passed", True)),
        ("EPYC", 1.001, 1, ("failed", "failed", False)),
        ("NVIDIA H200", 1.001, 1, ("passed", "passed", False)),
        ("NVIDIA H200", 1.02, 5, ("failed", "failed", False)),
    ],
)
def test_a_gpu_is_given_the_stated_limits_and_a_cpu_none(
    tmp_path, device, loss, differing, outcome
):
    record = cell(tmp_path, provenance=CPU | {"device": device})
    replayed = Replayed(
        history=({"epoch": 1, "loss": loss},), pixels={"busi-test": (differing, 4096)},
        machine=NOW | {"device": device},
    )  # fmt: skip
    found = compare.judge(record, [{"epoch": 1, "loss": 1.0}], replayed)
    assert (*(check.outcome for check in found.checks), found.equal) == outcome


# ---- adoption


ADOPT = VerifyOptions(epochs=1, adopt=True)


@pytest.fixture
def other_code(monkeypatch):
    """The training code of today has another digest than the cell's, and gives its numbers."""
    monkeypatch.setattr(identity, "training_code", lambda source: "other code")
    monkeypatch.setattr(verifying, "training_code", lambda source: "other code")


def test_a_cell_whose_code_changed_and_numbers_did_not_moves(stored, other_code):
    before, files = load_cell(stored / "cell.json"), state(stored)
    (found,) = verify([stored], ADOPT)
    assert found.adopted is not None and found.adopted != before.id and not stored.exists()
    after = load_cell(stored.parent / found.adopted / "cell.json")
    note = after.provenance["adopted"][0]
    assert (note["from"], note["changed"], note["inputs"]) == (before.id, ["code"], before.inputs)
    assert note["when"] and note["compared"]["checks"] == {
        "training": "1 epoch: every value of the history bit for bit",
        "predictions of bus-test": "0 of 32768 pixels differ",
        "predictions of busi-test": "0 of 32768 pixels differ",
    }
    same = {"id", "inputs", "request", "provenance", "folder", "checksum"}
    assert after.model_dump(exclude=same) == before.model_dump(exclude=same)
    assert after.inputs == before.inputs | {"code": "other code"}
    kept = {name: value for name, value in after.provenance.items() if name != "adopted"}
    assert kept == before.provenance
    moved = state(stored.parent / found.adopted)
    assert moved.keys() == files.keys() - {".lock"}
    assert {n for n in moved if moved[n] != files[n]} == {"cell.json"}
    assert CellStore(stored.parent).lookup(ASKED, sources()).done
    assert verify([stored.parent / found.adopted], QUICK)[0].state == "verified"


def test_unchanged_code_leaves_nothing_to_adopt(stored):
    (found,) = verify([stored], ADOPT)
    assert found.adopted is None and not found.refused and stored.is_dir()
    assert found.adoption == "nothing to adopt: the cell's digests are those of today's code"


def test_a_cell_whose_numbers_changed_is_not_adopted(stored, other_code):
    history = pd.read_parquet(stored / "history.parquet")
    history.loc[0, "loss"] += 1e-9
    write_frame(stored / "history.parquet", history)
    sealed(stored)
    (found,) = verify([stored], ADOPT)
    assert found.refused and found.adoption == "not adopted: a check failed"
    assert stored.is_dir() and len(cell_folders(stored.parents[1])) == 1


def test_without_weights_a_cell_is_not_adopted(stored, other_code):
    (stored / "weights.safetensors").unlink()
    (found,) = verify([stored], ADOPT)
    assert found.adoption == "not adopted: not every test set was predicted again"


def test_agreement_within_a_limit_is_not_enough_to_adopt(stored, other_code):
    sealed(stored, lambda c: c["provenance"].update(device="NVIDIA H200"))
    history = pd.read_parquet(stored / "history.parquet")
    history.loc[0, "loss"] *= 1 + 1e-6
    write_frame(stored / "history.parquet", history)
    sealed(stored)
    (found,) = verify([stored], ADOPT)
    assert found.failed == () and "agree in every bit" in found.adoption


def test_the_old_folder_stays_until_the_new_one_is_complete(stored, other_code, monkeypatch):
    before = state(stored)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adopt.os, "rename", full)
    (found,) = verify([stored], ADOPT)
    assert found.adopted is None and "the disk is full" in found.adoption
    after = state(stored)
    after.pop(MARKS)
    assert after == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]
    assert [path.name for path in stored.parents[1].iterdir()] == ["cells"]


# ---- marks


def test_a_failed_check_marks_the_cell_until_it_passes(stored):
    file = stored / "scores" / "busi-test.parquet"
    intact = file.read_bytes()
    assert failure_notes(load_cell(stored / "cell.json")) == ()
    change_scores(stored, dsc=lambda row: 0.5)
    verify([stored], QUICK)
    (note,) = failure_notes(load_cell(stored / "cell.json"))
    assert re.fullmatch(
        r"verification failed on 20\d\d-\d\d-\d\d \(seed 0\): counts of busi-test: .* \(and 3 more\)",
        note,
    )
    file.write_bytes(intact)
    verify([stored], QUICK)
    assert failure_notes(load_cell(stored / "cell.json")) == ()


def test_a_skipped_check_leaves_what_an_earlier_one_found(tmp_path):
    record = cell(tmp_path)
    bad = Check(name="training", outcome="failed", detail="other losses")
    store_marks(record.folder, [bad], "2026-01-02T00:00:00+00:00", always=True)
    skip = Check(name="training", outcome="skipped", detail="no data")
    store_marks(record.folder, [skip], "2026-01-03T00:00:00+00:00", always=True)
    expected = "verification failed on 2026-01-02 (seed 0): training: other losses"
    assert failure_notes(record) == (expected,)
    block = TableBlock(name="t", caption="T", kind="methods", datasets=("busi",))
    (table,) = build_tables([block], [record, cell(tmp_path, seed=1)])
    assert expected in [table.footnotes[number - 1] for number in table.rows[0].footnotes]


def test_a_cell_that_was_stored_anew_has_no_mark(tmp_path):
    record = cell(tmp_path)
    bad = Check(name="training", outcome="failed", detail="other losses")
    store_marks(record.folder, [bad], "2026-01-02T00:00:00+00:00", always=True)
    record.model_copy(update={"title": "trained again"}).write(record.folder)
    assert failure_notes(record) == ()


def test_a_verification_is_whole_in_part_or_failed():
    def checks(*outcomes):
        made = (Check(name=str(i), outcome=o, detail="") for i, o in enumerate(outcomes))
        return Verification(cell="c", checks=tuple(made)).state

    assert checks("passed") == "verified"
    assert checks("passed", "skipped") == "in part"
    assert checks("passed", "skipped", "failed") == "failed"


# ---- the command


def test_a_quick_check_imports_no_torch(stored, cache):
    code = (
        "import sys\nfrom bench.cli.app import app\n"
        "app(['verify', '--all', '--quick'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    env = os.environ | {"GMS_BENCH_CACHE": str(cache)}
    quick = subprocess.run(
        [sys.executable, "-c", code], cwd=stored.parents[2], env=env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert quick.returncode == 0, quick.stderr
    assert f"verified {stored.name}" in quick.stdout


def test_a_worker_of_its_own_repeats_a_cell(stored, monkeypatch):
    monkeypatch.setattr(verifying, "LocalExecutor", LocalExecutor)
    found = outcomes(stored, VerifyOptions(epochs=1))
    threads = load_cell(stored / "cell.json").provenance["threads"]
    assert found["training"].detail == "1 epoch: every value of the history bit for bit", threads
    assert found["predictions of busi-test"].outcome == "passed"


def run_command(*words) -> int:
    """The exit status of `bench verify` in this process."""
    from bench.cli.app import app

    return app(["verify", *map(str, words)], standalone_mode=False) or 0


def test_the_command_names_what_failed_and_ends_with_status_1(stored, capsys):
    results = stored.parents[1]
    assert run_command(stored.name[:12], "--results", results, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    (found,) = said["cells"]
    assert (found["state"], found["cell"]) == ("verified", stored.name)
    assert said["results"] == folder_digest([stored])
    change_scores(stored, "network", dsc=lambda row: 1.0)
    sealed(stored)
    assert run_command("--all", "--quick", "--results", results) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"failed {stored.name}" in said and "dsc 1.0 is stored" in said


def test_a_cell_that_cannot_be_adopted_is_status_1(stored, other_code, capsys):
    (stored / "weights.safetensors").unlink()
    assert run_command(stored.name, "--results", stored.parents[1], "--adopt") == 1
    assert "not adopted: not every test set was predicted again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "Name cells or give --all"),
        (("tiny", "--all"), "Name cells or give --all"),
        (("--all", "--quick", "--adopt"), "--adopt needs the training repeated"),
        (("--all",), "holds no cell"),
    ],
)
def test_wrong_words_are_refused(words, message):
    with pytest.raises(BenchError, match=message):
        run_command(*words, "--results", "/nowhere")


def test_a_record_that_is_written_again_carries_the_checksum_of_its_content(tmp_path):
    record: CellRecord = cell(tmp_path)
    first = json.loads((record.folder / "cell.json").read_text())["checksum"]
    load_cell(record.folder / "cell.json").write(record.folder)
    assert json.loads((record.folder / "cell.json").read_text())["checksum"] == first
    record.model_copy(update={"title": "x"}).write(record.folder)
    assert json.loads((record.folder / "cell.json").read_text())["checksum"] != first


# ---- results committed in this repository

COMMITTED = sorted(
    {
        record.parents[2]
        for record in (Path(__file__).parents[2] / "results").rglob("cells/*/cell.json")
    }
)


@pytest.fixture
def committed(tmp_path, cache, monkeypatch) -> Path:
    """A copy of a committed results folder, without what is not of its cells."""
    if not COMMITTED:
        pytest.skip("no results folder with cells is committed")
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))
    shutil.copytree(COMMITTED[0] / "cells", tmp_path / "cells")
    return tmp_path


def changed_number(cells: list[Path]) -> None:
    file = min(cells[0].glob("scores/*.parquet"))
    rows = pd.read_parquet(file)
    write_frame(file, rows.assign(dsc=rows["dsc"].where(rows.index != 3, 0.123)))


def swapped_prediction(cells: list[Path]) -> None:
    file = min(cells[0].glob("predictions/*.npz"))
    own = file_digest(file)
    others = (cell / "predictions" / file.name for cell in cells[1:])
    other = next(path for path in others if path.is_file() and file_digest(path) != own)
    shutil.copy(other, file)


def edited_record(cells: list[Path]) -> None:
    edit(cells[0], lambda content: content["key"].update(seed=content["key"]["seed"] + 1))


def test_committed_results_hold_in_every_check_that_needs_no_data(committed):
    found = verify(cell_folders(committed), QUICK)
    assert {one.cell: one.failed for one in found if one.failed} == {}


@pytest.mark.parametrize("change", [changed_number, swapped_prediction, edited_record])
def test_a_copy_of_the_committed_results_with_one_change_is_refused(committed, change):
    cells = cell_folders(committed)
    change(cells)
    found = verify(cells[:2], QUICK)
    assert [bool(one.failed) for one in found] == [True, False]
