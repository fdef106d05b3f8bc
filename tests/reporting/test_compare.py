"""`bench compare` and the statistics of `bench report`, on hand-written cells."""

import csv
import io

import numpy as np
import pytest
from records import case_rows, cell, curve, put_scores
from rich.console import Console
from typer.testing import CliRunner

from bench.cli.app import app
from bench.core.errors import BenchError
from bench.experiments.matrices import Matrix, TableBlock
from bench.reporting import comparing
from bench.reporting.report import View, rebuild
from bench.reporting.tables.narrowing import EVERYTHING, Narrowing

pytest.importorskip("matplotlib", reason="figures need matplotlib")

METHODS = TableBlock(
    name="t1", caption="Methods", kind="methods", datasets=("busi",), reference="gms"
)
LOSSES = TableBlock(
    name="t4", caption="Losses", kind="ablation", datasets=("busi",), method="gms", varies=("loss",),
    headers=("Loss",), reference="gms",
)  # fmt: skip
MATRIX = Matrix(name="m", title="m", tables=(METHODS,))
FILTERS = dict.fromkeys(("profile", "protocol", "selection", "image_size"))


def scored(folder, method, dsc, seed, **facts):
    record = cell(folder / "cells", method, seed=seed, history=curve(), **facts)
    rng = np.random.default_rng([seed, *map(ord, method)])
    values = np.clip(dsc + rng.normal(0, 0.02, 30), 0, 1)
    rows = case_rows([{"dsc": v, "iou": 0.9 * v, "hd95": 20 * (1 - v)} for v in values])
    put_scores(record, "busi-test", rows)


@pytest.fixture
def results(tmp_path):
    for seed in range(3):
        for method, dsc in (("unet", 0.6), ("gss", 0.801), ("gms", 0.8)):
            scored(tmp_path, method, dsc, seed)
    return tmp_path


def compared(results, matrix=MATRIX, reference=None, asked=EVERYTHING, **filters):
    console = Console(file=io.StringIO(), width=132)
    chosen = FILTERS | filters
    files = comparing.compare(matrix, results, chosen, asked, reference, "network", "test", console)
    return files, console.file.getvalue()


def reported(results, statistics):
    console = Console(file=io.StringIO(), width=132)
    rebuild(MATRIX, results, FILTERS, View(statistics=statistics), console)
    return (results / "tables" / "demo-clean-best-val-96" / "t1.md").read_text()


def test_compare_prints_and_writes_tables_and_figures(results):
    files, text = compared(results)
    folder = results / "statistics" / "demo-clean-best-val-96"
    assert {file.parent for file in files} == {folder}
    endings = ("statistics.md", "statistics.tex", "differences.csv", "ranks.csv", "forest.png")
    assert {f"t1-{e}" for e in endings} <= {file.name for file in files}
    assert all(file.stat().st_size for file in files)
    assert "DSC: difference to GMS in points" in text and "gss" in text
    assert "Profile demo, protocol clean" in text


def test_another_reference_has_a_folder_of_its_own(results):
    files, text = compared(results, reference="unet")
    assert files[0].parent.name == "demo-clean-best-val-96-against-unet"
    assert "difference to UNet" in text


def test_a_part_is_compared_in_a_folder_of_its_own(results):
    files, text = compared(results, asked=Narrowing(methods=("unet", "gms"), seeds=(0, 1)))
    assert files[0].parent.name == "demo-clean-best-val-96--methods-unet+gms--seeds-0+1"
    assert "gss" not in text and "UNet" in text


def test_an_unknown_reference_is_refused(results):
    with pytest.raises(BenchError, match="Give a method with stored cells"):
        compared(results, reference="u-net")


def test_compare_refuses_what_a_table_refuses(results):
    scored(results, "sdseg", 0.7, 0, inputs={"split": "another"})
    with pytest.raises(BenchError, match="different versions of 'busi'"):
        compared(results)


def test_keys_that_cannot_be_mixed_are_compared_apart(results):
    for method in ("unet", "gms"):
        scored(results, method, 0.5, 0, protocol="paper", selection="best-test")
    files, _ = compared(results)
    assert len({file.parent for file in files}) == 2
    files, _ = compared(results, protocol="paper")
    assert {file.parent.name for file in files} == {"demo-paper-best-test-96"}


def test_one_method_is_nothing_to_compare(tmp_path):
    scored(tmp_path, "unet", 0.6, 0)
    with pytest.raises(BenchError, match="two rows with scores"):
        compared(tmp_path)


def test_an_ablation_is_compared_with_its_methods_own_default(tmp_path):
    for loss, dsc in (("lm", 0.7), ("seg", 0.75)):
        scored(tmp_path, "gms", dsc, 0, changed={"loss": loss})
    scored(tmp_path, "gms", 0.8, 0)
    matrix = Matrix(name="m", title="m", tables=(LOSSES,))
    compared(tmp_path, matrix, reference="gms")
    folder = tmp_path / "statistics" / "demo-clean-best-val-96-against-gms"
    lines = list(csv.DictReader((folder / "t4-differences.csv").open()))
    pairs = {(line["row"], line["reference"]) for line in lines}
    assert pairs == {("loss lm", "loss lm+seg"), ("loss seg", "loss lm+seg")}


def test_the_commands_take_a_matrix_file_a_reference_and_a_switch(results):
    file = results / "mine.toml"
    file.write_text(
        'title = "Mine"\nreference = "gms"\n'
        '[[cells]]\nmethods = ["unet", "gms"]\ntrain = ["busi"]\n'
        '[[tables]]\nname = "t1"\ncaption = "C"\nkind = "methods"\ndatasets = ["busi"]\n'
    )
    words = ["-m", str(file), "--out", str(results)]
    for command in (
        ["compare", *words, "--reference", "gss"],
        ["report", *words, "--no-statistics"],
    ):
        outcome = CliRunner().invoke(app, command)
        assert outcome.exit_code == 0, outcome.output
    folders = {path.parent.name for path in results.rglob("t1-differences.csv")}
    assert folders == {"demo-clean-best-val-96-against-gss"}


def line_of(text, label):
    (line,) = [line for line in text.splitlines() if line.startswith("|") and f" {label}" in line]
    return line


def test_a_report_marks_ties_and_says_how(results):
    text = reported(results, True)
    assert "≈ cannot be told from the best" in text and "no test of significance" not in text
    pair = [line_of(text, "gss"), line_of(text, "GMS")]
    for place in (4, 5, 6):  # DSC, IoU, HD95: one of the two is bold, the other is tied with it
        marks = sorted(("**" in (word := line.split("|")[place]), "≈" in word) for line in pair)
        assert marks == [(False, True), (True, False)]
    assert "≈" not in line_of(text, "UNet")
    folder = results / "tables" / "demo-clean-best-val-96"
    assert (folder / "t1-statistics.md").is_file() and (folder / "t1-differences.csv").is_file()


def test_a_report_without_statistics_says_that_nothing_was_tested(results):
    text = reported(results, False)
    assert "no test of significance" in text and "≈" not in text
    assert not (results / "tables" / "demo-clean-best-val-96" / "t1-statistics.md").exists()


def test_the_survivor_of_failed_seeds_is_neither_bold_nor_tied(results):
    scored(results, "sdseg", 0.95, 0)
    for seed in (1, 2):
        cell(results / "cells", "sdseg", seed=seed, status="failed", error="loss is not finite")
    text = reported(results, True)
    line = line_of(text, "sdseg")
    assert float(line.split("|")[4].split("<")[0]) > 90  # the highest DSC of all
    assert not any(mark in line for mark in ("**", "≈", "<u>"))
    assert any("**" in line_of(text, label) for label in ("GMS", "gss"))
