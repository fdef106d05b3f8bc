"""Finding, deleting and reading stored cells."""

import json

import pytest
from records import cell
from requests_of_tests import request
from typer.testing import CliRunner

from bench.cli import cells as listed
from bench.cli.app import app
from bench.experiments import locks
from bench.experiments.attempts import STATE, Attempt, begin
from bench.experiments.cells import load_cells
from bench.experiments.code_digest import training_code
from bench.registry import source_file


@pytest.fixture
def results(tmp_path):
    """Two done cells, one of old code, one failed and one stopped after 27 epochs."""
    torch = pytest.importorskip("torch")
    from bench.training.checkpoints import save_state

    folder = tmp_path / "cells"
    now = {"code": training_code(source_file("unet"))}
    for name, changes in {
        "unet": {"dsc": 0.75, "inputs": now},
        "ege_unet": {"dsc": 0.5, "inputs": {"code": training_code(source_file("ege_unet"))}},
        "gms": {"dsc": 0.9, "inputs": {"code": "of another day"}},
        "swin_unet": {"status": "failed", "error": "out of memory"},
    }.items():
        cell(folder, name, **changes)
    stopped = folder / "unet-busi-0123456789ab"
    begin(stopped, Attempt(asked="a", request=request(seed=3), epochs=60))
    save_state(stopped / STATE, {"epoch": 27, "weights": {"w": torch.zeros(2)}})
    return tmp_path


def bench(*words, **options):
    return CliRunner().invoke(app, [str(word) for word in words], **options)


def test_states_and_facts_of_cells(results):
    found = {(row.method, row.state): row for row in listed.rows(results)}
    assert found.keys() == {
        ("unet", "done"), ("ege_unet", "done"), ("gms", "stale"), ("swin_unet", "failed"),
        ("unet", "resumable"),
    }  # fmt: skip
    done, stopped = found["unet", "done"], found["unet", "resumable"]
    assert (done.dataset, done.dsc, done.seed) == ("busi", pytest.approx(0.75), 0)
    assert (stopped.epochs, stopped.seed, stopped.dsc) == (60, 3, None)


@pytest.mark.parametrize(
    "filters, methods",
    [
        (("--method", "unet"), ["unet", "unet"]),
        (("--failed",), ["swin_unet"]),
        (("--failed", "--stale"), ["gms", "swin_unet"]),
        (("--resumable", "--dataset", "busi"), ["unet"]),
        (("--dataset", "glas"), []),
    ],
)
def test_filters_of_the_list(results, filters, methods):
    said = bench("list", "cells", "--json", "--results", results, *filters)
    assert sorted(row["method"] for row in json.loads(said.stdout)) == methods


def test_the_table_of_cells_fits_80_columns(results, monkeypatch):
    monkeypatch.setattr(listed.console, "_width", 80)
    said = bench("list", "cells", "--results", results).stdout
    assert max(map(len, said.splitlines())) <= 80 and "…" not in said
    assert "resumable" in said and "0.750" in said and "swin_unet" in said


def test_rm_asks_and_deletes_what_the_filters_name_alone(results, monkeypatch):
    refused = bench("rm", "--failed", "--results", results)
    assert "To delete 1 cell: --yes" in str(refused.exception)
    assert len(load_cells(results / "cells")) == 4
    assert "Which cells?" in str(bench("rm", "--results", results).exception)
    said = bench("rm", "--failed", "--resumable", "--yes", "--results", results).stdout
    assert "2 of 2 cells deleted" in said
    left = load_cells(results / "cells")
    assert sorted(record.key.method for record in left) == ["ege_unet", "gms", "unet"]


def test_rm_keeps_a_cell_that_a_process_works_on(results):
    (folder,) = [row.folder for row in listed.rows(results) if row.state == "resumable"]
    with locks.held(folder):
        said = bench("rm", "--resumable", "--yes", "--results", results).stdout
    assert "0 of 1 cells deleted" in said and folder.is_dir()


def test_show_says_a_cell_in_words_and_takes_the_last_part_of_an_id(results):
    (record,) = [r for r in load_cells(results / "cells") if r.key.method == "swin_unet"]
    said = bench("show", record.id, "--results", results).stdout
    assert f"{record.id}: failed" in said and "Error: out of memory" in said
    (done,) = [r for r in load_cells(results / "cells") if r.key.method == "unet"]
    said = bench("show", done.id, "--results", results).stdout
    assert "trained on busi, seed 0" in said and "Parameters: " in said
    assert "means over busi-test" in said and "0.7500" in said
    assert listed.cell_folder(done.id.rsplit("-", 1)[-1], results) == done.folder


def test_reports_take_a_profile_as_the_run_did_and_say_what_is_stored(tmp_path):
    cell(tmp_path / "cells", "unet", train="busi", profile="small")
    asked = (
        "report",
        "--matrix",
        "in-domain",
        "--no-statistics",
        "--results",
        tmp_path,
        "--profile",
    )
    assert bench(*asked, "my-profiles.toml:small").exit_code == 0
    said = bench(*asked, "my-profiles.toml:large")
    assert said.exit_code == 1
    assert (
        "to report on of profile large. Stored (profile, protocol, selection, image size): small,"
        in str(said.exception)
    )
