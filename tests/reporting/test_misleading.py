"""Eleven ways in which a table once misled, each built from cells, and what is printed instead.

Each docstring says what used to be printed.
"""

import csv
import io

import pandas as pd
import pytest
from records import case_rows, cell, curve, facts, put_scores
from requests_of_tests import request
from rich.console import Console

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.data.prepared import CaseIndex, Imported
from bench.experiments.cells import load_cells
from bench.experiments.matrices import Matrix, TableBlock
from bench.experiments.runner import Task
from bench.experiments.sources import Sources
from bench.protocols import get_profile, get_protocol
from bench.reporting import report
from bench.reporting.plots import build as plots
from bench.reporting.plots.series import figure_data
from bench.reporting.tables import build_tables, to_csv
from bench.reporting.tables.narrowing import Narrowing

METHODS = TableBlock(
    name="t1", caption="Table 1", kind="methods", datasets=("busi", "bus"), reference="gms"
)
CROSS = TableBlock(name="t3", caption="Table 3", kind="cross-domain", pairs=(("busi", "bus"),))
MATRIX = Matrix(name="m", title="m", tables=(METHODS,))
TITLES = {"busi": "BUSI", "bus": "BUS"}


def one(cells, block=METHODS, **options):
    (table,) = build_tables([block], cells, titles=TITLES, **options)
    return table


def dsc(table):
    """Row's label -> its DSC on the first dataset."""
    return {row.label: row.entries[0].text for row in table.rows}


def footnotes(table, numbers):
    return [table.footnotes[number - 1] for number in numbers]


def footer(table, start):
    (line,) = [line for line in table.footer if line.startswith(start)]
    return line


def asked(**profile):
    """Provenance of a cell whose run changed fields of its profile."""
    return {"request": {"profile": profile}}


# ---- 1. recipes of one name


def with_rate(folder, rate, seed, value):
    inputs = {"recipe": f"digest of {rate}"}
    fields = {"name": "shared, changed", "lr": rate, "epochs": 20}
    return cell(folder, seed=seed, dsc=value, recipe="shared, changed", recipe_fields=fields, inputs=inputs)  # fmt: skip


def test_1_two_learning_rates_of_one_recipe_name_are_two_rows(tmp_path):
    """Was: "80.00", the later one, and "1 older runs of the same cells are stored"."""
    table = one([with_rate(tmp_path, 0.01, 0, 0.8), with_rate(tmp_path, 0.1, 0, 0.2)])
    assert dsc(table) == {"UNet [recipe.lr=0.01]": "80.00", "UNet [recipe.lr=0.1]": "20.00"}


def test_1_seeds_of_two_learning_rates_are_not_averaged(tmp_path):
    """Was: "50.00 ± 42.43" over seeds 0 and 1."""
    table = one([with_rate(tmp_path, 0.01, 0, 0.8), with_rate(tmp_path, 0.1, 1, 0.2)])
    assert dsc(table) == {"UNet [recipe.lr=0.01]": "80.00", "UNet [recipe.lr=0.1]": "20.00"}
    assert footnotes(table, table.rows[0].entries[0].footnotes) == [
        "over 1 of 2 seeds: seed 1 not run"
    ]


def test_1_the_same_full_recipe_is_one_row_whatever_its_name(tmp_path):
    fields = {"lr": 0.01, "epochs": 20}
    cells = [
        cell(tmp_path, seed=seed, recipe=name, recipe_fields=fields | {"name": name}, inputs={"recipe": "r"})
        for seed, name in enumerate(("shared", "shared, as in profile demo"))
    ]  # fmt: skip
    assert dsc(one(cells)) == {"UNet": "80.00 ± 0.00"}


# ---- 2. versions of the code


def test_2_two_versions_of_the_code_are_two_rows(tmp_path):
    """Was: "70.00 ± 14.14" over two versions; the only sign was "+dirty" in the footer."""
    cells = [
        cell(tmp_path, seed=seed, dsc=value, inputs={"code": code * 64}, provenance={"commit": code * 40})
        for seed, (code, value) in enumerate((("a", 0.8), ("b", 0.6)))
    ]  # fmt: skip
    table = one(cells)
    assert dsc(table) == {"UNet [code aaaaaaaa]": "80.00", "UNet [code bbbbbbbb]": "60.00"}
    assert "Training code aaaaaaaa, commit aaaaaaaaaa+dirty." in footnotes(
        table, table.rows[0].footnotes
    )


# ---- 3. recipes, numerics and lengths in one table


def test_3_recipe_numerics_and_device_are_told_row_by_row(tmp_path):
    """Was: three rows alike, and "Recipe: acc, shared" in the footer."""
    cells = [
        cell(tmp_path, "unet", recipe="acc", provenance={"precision": "fp32"}),
        cell(tmp_path, "gms", provenance={"precision": "bf16", "device_class": "GPU"}),
    ]
    table = one(cells)
    unet, gms = (footnotes(table, row.footnotes)[-1] for row in table.rows)
    assert "Recipe acc;" in unet and "precision fp32; device class CPU." in unet
    assert "Recipe shared;" in gms and "precision bf16; device class GPU." in gms
    assert footer(table, "Rows differ") == (
        "Rows differ in recipe (acc, shared), precision (bf16, fp32), device class (CPU, GPU); each "
        "row's footnote says its own."
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    found = {(r["method"], r["recipe"], r["precision"], r["device_class"]) for r in rows[::6]}
    assert found == {("unet", "acc", "fp32", "CPU"), ("gms", "shared", "bf16", "GPU")}


def test_3_a_run_of_another_length_is_refused_beside_the_others(tmp_path):
    """Was: the row of 5,000 epochs won the bold print over rows of 20."""
    cells = [
        cell(tmp_path, "unet", dsc=0.9, recipe="acc", epochs=5000, provenance=asked(epochs=5000)),
        cell(tmp_path, "gms", dsc=0.8, recipe="gms", epochs=20, provenance=asked(epochs=20)),
    ]
    with pytest.raises(
        BenchError,
        match=r"profile differs in epochs: 20 .*, 5000 .*--epochs NUMBER, or --epochs own",
    ):
        one(cells)
    assert dsc(one([c for c in cells if Narrowing(epochs="20").takes(c)])) == {"GMS": "80.00"}
    native = cell(tmp_path, "gms", recipe="gms", epochs=150, provenance=asked(epochs=None))
    assert [c.key.epochs for c in [*cells, native] if Narrowing(epochs="own").takes(c)] == [150]


def test_3_native_lengths_may_differ_and_are_told(tmp_path):
    cells = [
        cell(tmp_path, "unet", recipe="acc", epochs=5000),
        cell(tmp_path, "gms", recipe="gms", epochs=20),
    ]
    assert "epochs (20, 5000)" in footer(one(cells), "Rows differ")


def test_3_a_row_of_its_recipes_own_length_is_named_beside_a_shortened_one(tmp_path):
    own = {"epochs": 1000, "steps_per_epoch": None, "images": 69000}
    cells = [
        cell(tmp_path, "unet", epochs=20),
        cell(tmp_path, "gms", epochs=20, provenance={"own_length": own, "images_seen": 1380}),
    ]
    assert "own length (1000 epochs, as run)" in footer(one(cells), "Rows differ")


# ---- 4. a variant in place of the method


@pytest.mark.parametrize(
    "changes, label",
    [
        ({"changed": {"loss": "lm"}}, "GMS [loss=lm]"),
        ({"role": "discrete"}, "GMS [tiny-vq]"),
        ({}, "GMS"),
    ],
)
def test_4_a_lone_variant_is_named_by_what_differs(tmp_path, changes, label):
    """Was: "GMS", the method's own name, when only its variant was stored."""
    table = one([cell(tmp_path, "gms", **changes)], published="aaai2025")
    assert list(dsc(table)) == [label]
    printed = table.rows[0].entries[0].printed
    assert (printed is None) == (label != "GMS")


def test_4_an_ablation_says_what_else_its_row_differs_in(tmp_path):
    block = TableBlock(
        name="t4", caption="c", kind="ablation", datasets=("busi",), method="gms", varies=("loss",), headers=("Loss",)
    )  # fmt: skip
    table = one([cell(tmp_path, "gms", changed={"loss": "lm", "width": 8})], block)
    assert footnotes(table, table.rows[0].footnotes)[0] == (
        "Not at the method's defaults elsewhere: width=8."
    )


# ---- 5. a part of what is stored


@pytest.fixture
def stored(tmp_path):
    for seed, value in enumerate((0.7, 0.8, 0.9)):
        for method in ("unet", "gms"):
            cell(tmp_path / "cells", method, seed=seed, dsc=value, history=curve())
    return tmp_path


def rebuilt(folder, **narrowed):
    """(the files that a report writes, by name; what it prints)."""
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    view = report.View(Narrowing(**narrowed))
    files = report.rebuild(MATRIX, folder, {}, view, console)
    return {file.name: file for file in files}, console.file.getvalue()


@pytest.mark.parametrize(
    "narrowed, suffix, words, left",
    [
        ({"seeds": (1,)}, "--seeds-1", "seeds 1", "4 cells: seeds 0 (2), 2 (2)"),
        ({"methods": ("gms",)}, "--methods-gms", "methods gms", "3 cells: methods unet (3)"),
    ],
)
def test_5_a_part_gets_a_file_of_its_own_and_names_what_it_leaves_out(
    stored, narrowed, suffix, words, left
):
    """Was: the one seed, or the one method, under "Table 1" and over the file of the full table."""
    full, _ = rebuilt(stored)
    before = {name: file_digest(file) for name, file in full.items()}
    part, printed = rebuilt(stored, **narrowed)
    assert not part.keys() & full.keys()
    assert before == {name: file_digest(file) for name, file in full.items()}
    text = part[f"t1{suffix}.md"].read_text()
    assert text.startswith(f"**Table 1 (a part: {words})**")
    assert f"Stored and left out: {left}. `bench report` shows all." in text.replace("\\", "")
    assert f"Stored and left out: {left}." in printed
    assert f"in-domain-dsc{suffix}.png" in part


def test_5_only_the_columns_that_were_asked_for_are_shown(stored):
    """Was: a column of dashes, and panels "not run", for a dataset that nobody asked for."""
    cell(stored / "cells", "unet", "bus", history=curve())
    part, _ = rebuilt(stored, datasets=("busi",))
    (head,) = [x for x in part["t1--datasets-busi.md"].read_text().splitlines() if "DSC↑" in x]
    assert head.count("BUSI") == 3 and "BUS " not in head.replace("BUSI", "")


def test_5_naming_everything_is_no_part(stored):
    part, _ = rebuilt(stored, seeds=(0, 1, 2), methods=("unet", "gms"), datasets=("busi", "bus"))
    assert part.keys() == rebuilt(stored)[0].keys()


def test_5_a_run_of_some_seeds_does_not_overwrite_the_table_of_all(stored):
    """Was: `bench run`, whose seeds are 0 by default, over the file of three seeds."""
    (record,) = [r for r in load_cells(stored / "cells") if r.id.startswith("gms-busi-1")]
    task = Task(request(method="gms", seed=1), "done", record, id=record.id)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    view = report.View(Narrowing(methods=("gms",), seeds=(1,)))
    names = {file.name for file in report.of_run(MATRIX, [task], stored, view, console)}
    assert "t1--methods-gms--seeds-1.md" in names and "t1.md" not in names


def test_5_a_run_beside_cells_of_other_code_says_that_it_shows_a_part(stored):
    new = cell(stored / "cells", "gms", seed=0, dsc=0.1, inputs={"code": "new"}, history=curve())
    task = Task(request(method="gms", seed=0), "done", new, id=new.id)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    view = report.View(Narrowing(seeds=(0,)))
    files = {file.name: file for file in report.of_run(MATRIX, [task], stored, view, console)}
    text = files["t1--seeds-0--this-run.md"].read_text()
    assert "(a part: seeds 0; the cells of one run)" in text
    assert "6 cells: other runs of gms (1), unet (1); seeds 1 (2), 2 (2)." in text


# ---- 6. seeds that diverged


def test_6_the_survivor_of_three_seeds_is_not_bold_and_says_so(tmp_path):
    """Was: 90.00 in bold, from the one seed of three that did not diverge."""
    cells = [cell(tmp_path, "gms", seed=seed, dsc=0.8) for seed in range(3)]
    cells += [cell(tmp_path, "ege_unet", seed=seed, dsc=0.7) for seed in range(3)]
    cells += [cell(tmp_path, "unet", seed=0, dsc=0.9)]
    cells += [cell(tmp_path, seed=seed, status="failed", error="loss is NaN") for seed in (1, 2)]
    table = one(cells)
    found = {row.label: row.entries[0] for row in table.rows}
    assert {label: entry.mark for label, entry in found.items()} == {
        "UNet": "",
        "EGE-UNet": "second",
        "GMS": "best",
    }
    assert footnotes(table, found["UNet"].footnotes) == [
        "over 1 of 3 seeds: seed 1 failed: loss is NaN, seed 2 failed: loss is NaN"
    ]
    assert "Rows that lack a seed take no part in the marks." in table.footer
    data = figure_data(METHODS, cells, TITLES)
    assert "UNet (1 of 3 seeds)" in [data.label(row) for row in data.layout.rows]


# ---- 7. footers


def test_7_a_cross_domain_table_says_on_which_cases_it_was_chosen(tmp_path):
    """Was: "chosen on the very test cases it is scored on", below scores on another dataset."""
    record = cell(
        tmp_path, dsc={"busi-test": 0.8, "bus-test": 0.5}, protocol="paper", selection="best-test",
        data={"busi": facts(), "bus": facts(163, 163, split={"train": 132, "test": 31})},
    )  # fmt: skip
    table = one([record], CROSS)
    assert "chosen on the test cases of BUSI" in footer(table, "Selection rule")
    assert "very test cases" not in " ".join(table.footer)
    assert "test subset of BUS: published list, seed 0" in footer(table, "Split")


def test_7_a_random_split_is_called_one_under_every_protocol(tmp_path):
    """Was: "as the paper does it", by the name of the protocol."""
    split = {"scheme": "random80", "seed": 3, "train": 517, "val": 0, "test": 130}
    table = one([cell(tmp_path, protocol="paper", data={"busi": facts(split=split)})])
    assert footer(table, "Split") == (
        "Split: BUSI: random 80/20, seed 3, digest dddddddd, 517 train, 0 validation, 130 test."
    )
    assert "as the paper" not in " ".join(table.footer)


def test_7_size_and_length_are_those_of_the_cells(tmp_path):
    """Was: "224 x 224 and full length", by the name of the profile."""
    record = cell(tmp_path, profile="paper", image_size=96, epochs=4, data={"busi": facts()})
    text = " ".join(one([record]).footer)
    assert "96 x 96 px" in text and "(4 epochs)" in text
    assert "224" not in text and "full length" not in text


# ---- 8. differences to printed numbers

WHOLE = {"profile": "paper", "image_size": 224, "cases": 130}


@pytest.mark.parametrize(
    "changes, grid, reason",
    [
        ({"data": {"busi": facts(50, None, phantoms=True)}}, "network", "busi: phantoms"),
        ({"image_size": 64}, "network", "64 px, printed at 224 px"),
        ({"data": {"busi": facts(98)}}, "network", "busi: 98 of 647 published cases"),
        (
            {"data": {"busi": facts(largest=(300, 200), published_largest=(600, 400))}},
            "network",
            "busi: rescaled copy (at most 300 x 200 px, published 600 x 400)",
        ),
        ({"cases": 20}, "network", "20 test cases, printed over 130"),
        ({"data": {}}, "network", "the cell does not record its data of busi"),
        ({}, "native", "scored on the native grid"),
    ],
)
def test_8_a_difference_that_means_nothing_is_not_printed(tmp_path, changes, grid, reason):
    """Was: "80.00 [72.27, +7.73]" for each of these."""
    record = cell(tmp_path, **({"data": {"busi": facts()}} | WHOLE | changes))
    rows = record.scores("busi", "test")
    record = put_scores(record, "busi-test", pd.concat([rows, rows.assign(grid="native")]))
    table = one([record], published="aaai2025", grid=grid)
    entry = table.rows[0].entries[0]
    assert (entry.printed, entry.difference) == ("72.27", None)
    assert entry.incomparable == f"not comparable: {reason}"
    assert entry.incomparable in footnotes(table, entry.footnotes)
    assert "+7.73" not in to_csv(table)


def test_8_real_complete_data_of_the_published_size_are_held_against_the_print(tmp_path):
    record = cell(tmp_path, data={"busi": facts()}, **WHOLE)
    entry = one([record], published="aaai2025").rows[0].entries[0]
    assert entry.difference == pytest.approx(80 - 72.27) and entry.incomparable is None


def test_8_an_edition_that_does_not_say_where_it_tested_is_not_compared_with(tmp_path):
    data = {"busi": facts(), "bus": facts(163, 163)}
    record = cell(tmp_path, profile="paper", image_size=224, cases=31, dsc={"busi-test": 0.8, "bus-test": 0.6}, data=data)  # fmt: skip
    without = one([record], CROSS, published="aaai2025").rows[0].entries[0]
    assert without.incomparable == "not comparable: the edition does not state its test cases"
    stated = one([record], CROSS, published="arxiv-v1").rows[0].entries[0]
    assert stated.difference is not None


# ---- 9. figures


def test_9_a_native_figure_shows_native_scores(tmp_path):
    """Was: the network grid's 80, in a folder named native."""
    record = cell(tmp_path, dsc=0.8)
    rows = [case_rows([{"dsc": 0.8}]), case_rows([{"dsc": 0.6}], grid="native", size=500)]
    record = put_scores(record, "busi-test", pd.concat(rows))
    for grid, value in (("network", 80), ("native", 60)):
        data = figure_data(METHODS, [record], TITLES, grid=grid)
        assert data.spread(data.layout.rows[0], data.columns[0]).cases == pytest.approx([value])


def test_9_without_native_scores_a_native_figure_has_no_axes(tmp_path):
    data = figure_data(METHODS, [cell(tmp_path)], TITLES, grid="native")
    assert data.columns == () and data.remark == "No scores on BUSI, BUS."


@pytest.mark.parametrize(
    "other, words",
    [
        ({"inputs": {"data": "d2"}}, "different versions of 'busi'.*digest of its data"),
        ({"inputs": {"split": "s2"}}, "different versions of 'busi'.*digest of its split"),
        ({"provenance": asked(epochs=5)}, "profile differs in epochs"),
        ({"cases": 5}, "mix test sets of 'busi'"),
    ],
)
def test_9_figures_refuse_what_tables_refuse(tmp_path, other, words):
    """Was: drawn side by side."""
    cells = [cell(tmp_path, "unet", provenance=asked(epochs=20)), cell(tmp_path, "gms", **other)]
    with pytest.raises(BenchError, match=words):
        _ = [
            data.spread(row, column)
            for data in [figure_data(METHODS, cells, TITLES)]
            for row in data.layout.rows
            for column in data.columns
        ]


# ---- 10. versions of test sets, failed runs, empty validation


@pytest.mark.parametrize("field, words", [("cases", "test images or masks"), ("scoring", "scores")])
def test_10_a_column_refuses_two_versions_of_a_foreign_test_set(tmp_path, field, words):
    """Was: one column over the test images, or the metrics, of two versions."""
    cells = [cell(tmp_path, m, dsc={"busi-test": 0.8, "bus-test": 0.5}) for m in ("unet", "gms")]
    foreign = cells[1].tests["bus-test"].model_copy(update={field: "another"})
    cells[1] = cells[1].model_copy(update={"tests": cells[1].tests | {"bus-test": foreign}})
    assert dsc(one(cells)) == {"UNet": "80.00", "GMS": "80.00"}
    with pytest.raises(BenchError, match=f"mix versions of the {words} of 'bus'.*Run the matrix"):
        one(cells, CROSS)


def test_10_a_later_failed_run_hides_no_finished_cell(tmp_path):
    """Was: "–", with the reason of the later run."""
    done = cell(tmp_path, dsc=0.8, provenance={"finished": "2026-01-01"})
    late = cell(
        tmp_path, status="failed", error="crash", inputs={"code": "new"}, provenance={"finished": "2026-02-01"},
    )  # fmt: skip
    table = one([done, late])
    assert dsc(table) == {"UNet": "80.00"}
    assert footer(table, "Failed runs").endswith("unet on busi, seed 0.")


def test_10_best_val_without_a_validation_case_is_refused_before_any_training():
    """Was: trained to the end, and died when the epoch was to be chosen."""
    ids = ("a", "b", "c", "d")
    lists = Imported(
        dataset="busi", origin="mine.json", sha256="0", train=ids[:2], val=(), test=ids[2:], foreign=(), unlisted=0,
    )  # fmt: skip
    sources = Sources(get_profile("smoke"), None, [])
    sources._indices["busi"] = CaseIndex("busi", ids, ids, (None,) * 4, (None,) * 4, "0", 0, lists)
    rule = get_protocol("clean").model_copy(update={"val_share": 0.0})
    with pytest.raises(BenchError, match="busi has no validation cases.*best-val"):
        sources.training_split("busi", rule)


# ---- 11. partial data


def test_11_a_part_of_a_dataset_is_told_in_table_csv_and_figure(tmp_path, monkeypatch):
    """Was: told once by `bench data prepare`, and nowhere beside the numbers."""
    part = {"busi": facts(98), "bus": facts(163, 163, largest=(80, 60), published_largest=(160, 120))}  # fmt: skip
    for method in ("unet", "gms"):
        for train in ("busi", "bus"):
            cell(tmp_path / "cells", method, train, profile="paper", data=part, history=curve())
    table = one(load_cells(tmp_path / "cells"))
    assert footer(table, "Data") == (
        "Data: BUSI: 98 of 647 published cases, no group ids; BUS: all 163 published cases, rescaled "
        "copy (at most 80 x 60 px, published 160 x 120), no group ids."
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert rows[0]["train_data"] == "98 of 647 published cases, no group ids"
    assert "rescaled copy" in rows[3]["test_data"]
    assert (rows[0]["split_scheme"], rows[0]["split_digest"], rows[0]["split_train"]) == (
        *("published", "d" * 64),
        "517",
    )
    assert rows[0]["selected_on"] == "validation cases of busi"
    remarks = []
    monkeypatch.setattr(
        plots, "_block_figures", lambda data, remark, *rest: remarks.append(remark) or []
    )
    rebuilt(tmp_path)
    assert (
        "Data: BUSI: 98 of 647 published cases; BUS: rescaled copy (at most 80 x 60 px, published 160 "
        "x 120)."
    ) in remarks[0]
