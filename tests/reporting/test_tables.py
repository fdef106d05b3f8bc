"""Tables of hand-written cells: every number, mark, dagger, footnote and refusal."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from records import case_rows, cell, facts, put_scores
from rich.console import Console

from bench.core.errors import BenchError
from bench.experiments.cells import load_cells
from bench.experiments.matrices import TableBlock, get_matrix
from bench.reporting.tables import (
    Missing,
    build_tables,
    comparable_groups,
    select,
    show,
    to_csv,
    to_latex,
    to_latex_document,
    to_markdown,
    to_rich,
    write_tables,
)

ROWS = {"reference": "gms", "edition": "aaai2025"}  # as the shipped matrices have it
METHODS = TableBlock(name="t1", caption="Methods", kind="methods", datasets=("busi",), **ROWS)
CROSS = TableBlock(
    name="t3", caption="Cross", kind="cross-domain", pairs=(("busi", "bus"),), **ROWS
)
LOSSES, TOKENIZERS = (
    table.model_copy(update={"datasets": ("busi",)}) for table in get_matrix("ablations").tables
)
PARAMETERS = TableBlock(name="params", caption="Parameters", kind="parameters", **ROWS)


def one(block, cells, **options):
    (table,) = build_tables([block], cells, **options)
    return table


def texts(table):
    return {row.label: [entry.text for entry in row.entries] for row in table.rows}


def entry(table, label, metric="dsc"):
    (row,) = [row for row in table.rows if row.label == label]
    return next(e for e in row.entries if e.metric == metric)


def footnotes_of(table, entry):
    return [table.footnotes[number - 1] for number in entry.footnotes]


# ---- numbers


def test_a_row_prints_per_image_means_in_per_cent_and_pixels(tmp_path):
    table = one(METHODS, [cell(tmp_path, "unet", dsc=0.8)])
    assert texts(table) == {"UNet": ["80.00", "72.00", "16.00"]}
    assert table.headers == ("DSC↑", "IoU↑", "HD95↓")
    assert table.rows[0].lead == ("CNN", "UNet", "14.75")


def test_two_seeds_print_their_mean_and_sd_with_ddof_1(tmp_path):
    cells = [cell(tmp_path, seed=0, dsc=0.80), cell(tmp_path, seed=1, dsc=0.84)]
    found = entry(one(METHODS, cells), "UNet")
    assert found.text == "82.00 ± 2.83"
    assert (found.seeds, found.cases) == ((0, 1), 4)


def test_three_seeds_print_their_mean_not_their_median(tmp_path):
    cells = [cell(tmp_path, seed=seed, dsc=dsc) for seed, dsc in enumerate((0.1, 0.2, 0.6))]
    assert entry(one(METHODS, cells), "UNet").text.startswith("30.00 ± ")


def test_one_seed_has_no_sd(tmp_path):
    found = entry(one(METHODS, [cell(tmp_path)]), "UNet")
    assert (found.text, found.sd) == ("80.00", None)


def test_the_native_grid_is_a_choice_and_its_absence_a_reason(tmp_path):
    record = cell(tmp_path, dsc=0.8)
    rows = [case_rows([{"dsc": 0.8}]), case_rows([{"dsc": 0.6}], grid="native", size=500)]
    record = put_scores(record, "busi-test", pd.concat(rows))
    assert entry(one(METHODS, [record]), "UNet").text == "80.00"
    native = one(METHODS, [record], grid="native")
    assert entry(native, "UNet").text == "60.00"
    assert "native" in " ".join(native.footer)
    other = cell(tmp_path, "ege_unet", dsc=0.8)
    both = one(METHODS, [record, other], grid="native")
    assert entry(both, "EGE-UNet").reason == "no scores on the native grid"


def test_an_entry_is_the_mean_of_cases_that_differ(tmp_path):
    """Four cases of which the mean (52.50), the median (55.00) and the pooled value differ."""
    values = [0.0, 0.2, 0.9, 1.0]
    scores = [{"dsc": v, "iou": v / 2, "hd95": 10 * v, "tp": 1 + i} for i, v in enumerate(values)]
    record = put_scores(cell(tmp_path), "busi-test", case_rows(scores))
    assert texts(one(METHODS, [record])) == {"UNet": ["52.50", "26.25", "5.25"]}


def test_the_sd_is_over_the_seeds_means_not_over_cases(tmp_path):
    cells = []
    for seed, values in enumerate(((0.1, 0.9), (0.2, 0.8), (0.3, 1.0))):
        rows = case_rows([{"dsc": value} for value in values])
        cells.append(put_scores(cell(tmp_path, seed=seed), "busi-test", rows))
    found = entry(one(METHODS, cells), "UNet")
    assert found.text == "55.00 ± 8.66"  # means 50, 50, 65: variance (25 + 25 + 100) / 2
    assert (found.seeds, found.cases) == ((0, 1, 2), 2)


def test_empty_masks_are_summed_over_seeds(tmp_path):
    kinds = (("pred", "none", "both"), ("none", "none", "target"))
    cells = []
    for seed, empty in enumerate(kinds):
        rows = case_rows([{"empty": kind, "dsc": 0.5} for kind in empty])
        cells.append(put_scores(cell(tmp_path, seed=seed), "busi-test", rows))
    table = one(METHODS, cells)
    assert (entry(table, "UNet").empty, entry(table, "UNet").cases) == (3, 3)
    assert any("Test cases: busi 3." in line and "busi: UNet 3." in line for line in table.footer)


# ---- marks


@pytest.mark.parametrize(
    "dscs, marks",
    [
        ((0.80004, 0.80001, 0.7), ("best", "best", "second")),  # 80.00, 80.00, 70.00
        ((0.80004, 0.80006, 0.7), ("second", "best", "")),  # 80.00, 80.01, 70.00
        ((0.8, 0.70004, 0.70001), ("best", "second", "second")),
        ((0.5, 0.5, 0.5), ("best", "best", "best")),
    ],
)
def test_ranks_are_those_of_the_printed_digits(tmp_path, dscs, marks):
    methods = ("unet", "ege_unet", "gms")
    cells = [cell(tmp_path, m, dsc=d) for m, d in zip(methods, dscs, strict=True)]
    table = one(METHODS, cells)
    assert tuple(row.entries[0].mark for row in table.rows) == marks


def test_the_lowest_hd95_is_the_best(tmp_path):
    cells = []
    for method, pixels in (("unet", 7.0), ("ege_unet", 5.0), ("gms", 6.0)):
        rows = case_rows([{"dsc": 0.5, "hd95": pixels}])
        cells.append(put_scores(cell(tmp_path, method), "busi-test", rows))
    marks = {row.label: row.entries[2].mark for row in one(METHODS, cells).rows}
    assert marks == {"UNet": "", "EGE-UNet": "best", "GMS": "second"}


def test_a_dash_gets_no_mark_and_leaves_the_only_number_without_one(tmp_path):
    cells = [cell(tmp_path, "unet"), cell(tmp_path, "gms", status="failed", error="crash")]
    table = one(METHODS, cells)
    assert [row.entries[0].mark for row in table.rows] == ["", ""]


def test_best_is_bold_and_second_underlined_in_the_metrics_own_direction(tmp_path):
    cells = [cell(tmp_path, m, dsc=d) for m, d in (("unet", 0.7), ("ege_unet", 0.6), ("gms", 0.8))]
    table = one(METHODS, cells)
    marks = {row.label: [e.mark for e in row.entries] for row in table.rows}
    assert marks == {
        "UNet": ["second", "second", "second"],
        "EGE-UNet": ["", "", "best"],  # 20 x DSC pixels: the lowest distance
        "GMS": ["best", "best", ""],
    }


def test_equal_print_gets_equal_marks(tmp_path):
    cells = [
        cell(tmp_path, m, dsc=d) for m, d in (("unet", 0.80001), ("gms", 0.8), ("ege_unet", 0.7))
    ]
    table = one(METHODS, cells)
    assert [entry(table, name).mark for name in ("UNet", "GMS", "EGE-UNet")] == [
        "best",
        "best",
        "second",
    ]


def test_a_lone_number_is_not_the_best(tmp_path):
    assert entry(one(METHODS, [cell(tmp_path)]), "UNet").mark == ""


def test_ablations_mark_the_best_only(tmp_path):
    cells = [
        cell(tmp_path, "gms", dsc=0.8),
        cell(tmp_path, "gms", dsc=0.7, changed={"loss": "lm"}),
    ]
    marks = [row.entries[0].mark for row in one(LOSSES, cells).rows]
    assert marks == ["", "", "best"]


def test_the_dagger_means_fewer_trainable_parameters_than_gms(tmp_path):
    cells = [cell(tmp_path, method) for method in ("unet", "ege_unet", "gms")]
    table = one(METHODS, cells)
    assert {row.label: row.dagger for row in table.rows} == {
        "UNet": False,
        "EGE-UNet": True,
        "GMS": False,
    }
    assert "† fewer trainable parameters than GMS." in table.footer
    without = one(METHODS, cells[:2])
    assert not any(row.dagger for row in without.rows)


# ---- rows


def test_rows_come_in_the_papers_order_with_gms_last_and_families_together(tmp_path):
    cells = [cell(tmp_path, method) for method in ("gms", "ege_unet", "my_net", "unet")]
    table = one(METHODS, cells)
    assert [row.label for row in table.rows] == ["UNet", "EGE-UNet", "my_net", "GMS"]
    assert [row.group for row in table.rows] == ["CNN", "CNN", "CNN", "Generative"]


def test_an_ablations_cells_stay_out_of_the_comparison_of_methods(tmp_path):
    cells = [
        cell(tmp_path, "gms", dsc=0.8),
        cell(tmp_path, "gms", dsc=0.1, changed={"loss": "lm"}),
        cell(tmp_path, "gms", dsc=0.2, role="discrete"),
    ]
    table = one(METHODS, cells)
    assert texts(table) == {"GMS": ["80.00", "72.00", "16.00"]}
    assert "Other settings or tokenizers stored and not shown: GMS 2." in table.footer


def test_settings_that_the_profile_prescribes_are_no_variant(tmp_path):
    preset = {"supervision": "out"}
    cells = [
        cell(tmp_path, "gms", dsc=0.8, changed={"supervision": "out"}, preset=preset),
        cell(tmp_path, "gms", dsc=0.7, changed={"supervision": "out", "loss": "lm"}, preset=preset),
    ]
    assert list(texts(one(METHODS, cells))) == ["GMS"]
    assert [row.entries[0].text for row in one(LOSSES, cells).rows] == ["70.00", "–", "80.00"]


def test_a_setting_put_back_to_its_default_against_the_profile_is_a_variant(tmp_path):
    preset = {"supervision": "out"}
    both = {"supervision": "both"}  # the method's default, so not among the changed ones
    cells = [
        cell(tmp_path, "gms", dsc=0.8, changed=preset, preset=preset),
        cell(tmp_path, "gms", dsc=0.7, settings=both, preset=preset),
    ]
    assert texts(one(METHODS, cells)) == {"GMS": ["80.00", "72.00", "16.00"]}


def test_the_dagger_is_explained_by_the_references_title_alone(tmp_path):
    cells = [cell(tmp_path, "gms", changed={"width": w}) for w in (1, 2)]
    footer = one(METHODS, [*cells, cell(tmp_path, "ege_unet")]).footer
    assert "† fewer trainable parameters than GMS." in footer


def test_variants_alike_in_rank_get_a_row_each_named_by_what_differs(tmp_path):
    cells = [cell(tmp_path, "unet", changed={"width": w}, dsc=d) for w, d in ((16, 0.5), (32, 0.6))]
    assert texts(one(METHODS, cells)) == {
        "UNet [width=16]": ["50.00", "45.00", "10.00"],
        "UNet [width=32]": ["60.00", "54.00", "12.00"],
    }


def test_the_loss_table_has_the_papers_three_rows_and_check_marks(tmp_path):
    table = one(LOSSES, [cell(tmp_path, "gms", dsc=0.8)])
    assert table.lead_headers == ("L_lm", "L_seg")
    assert [row.lead for row in table.rows] == [("✓", ""), ("", "✓"), ("✓", "✓")]
    assert [row.entries[0].text for row in table.rows] == ["–", "–", "80.00"]


def test_the_tokenizer_table_has_a_row_per_tokenizer_discrete_first(tmp_path):
    cells = [
        cell(tmp_path, "gms", dsc=0.8),
        cell(tmp_path, "gms", dsc=0.7, role="discrete"),
        cell(tmp_path, "gms", dsc=0.1, changed={"loss": "lm"}),
        cell(tmp_path, "other", dsc=0.9, role="discrete"),
    ]
    table = one(TOKENIZERS, cells)
    assert [row.lead for row in table.rows] == [("tiny-vq", "discrete"), ("tiny-kl", "continuous")]
    assert [row.entries[0].text for row in table.rows] == ["70.00", "80.00"]


def test_the_cross_domain_table_reads_the_other_datasets_scores(tmp_path):
    cells = [cell(tmp_path, "unet", dsc={"busi-test": 0.9, "bus-test": 0.5, "bus-all": 0.4})]
    table = one(CROSS, cells, titles={"bus": "BUS", "busi": "BUSI"})
    assert table.spans == (("BUSI to BUS", 2),)
    assert texts(table) == {"UNet": ["50.00", "10.00"]}
    every = one(CROSS, cells, external_subset="all")
    assert every.spans == (("busi to bus (all cases)", 2),)
    assert texts(every) == {"UNet": ["40.00", "8.00"]}


def test_the_parameter_table_has_exact_counts_beside_the_printed_ones(tmp_path):
    cells = [cell(tmp_path, method) for method in ("unet", "gms")]
    table = one(
        PARAMETERS, cells, published="aaai2025", explanations={"unet": "The paper cites 14 M."}
    )
    assert texts(table) == {
        "UNet": ["14,751,873", "14.75", "15.75", "14.0", "+0.75"],
        "GMS": ["1,564,976", "1.56", "2.56", "1.5", "+0.06"],
    }
    assert [table.footnotes[n - 1] for n in table.rows[0].footnotes] == ["The paper cites 14 M."]


# ---- ablations of another paper, without a line of harness code

OTHER_PAPER = """
title = "Another paper"
reference = "unet"
edition = "EDITION"

[[cells]]
methods = ["gms", "ege_unet", "unet"]
train = ["busi"]

[[tables]]
name = "main"
caption = "Main table"
kind = "methods"
datasets = ["busi"]

[[tables]]
name = "depth-and-codes"
caption = "Depth and tokenizer"
kind = "ablation"
datasets = ["busi"]
method = "ege_unet"
varies = ["depth", "tokenizer"]
headers = ["Depth", "Codes", "Role"]

[[tables.rows]]
settings = { depth = 4 }
tokenizer = "discrete"
words = ["four", "yes", ""]
published = { depth = "4", codes = "yes" }

[[tables.rows]]
settings = { depth = 5 }
tokenizer = "tiny-vq"

[tables.published]
"4, tiny-kl" = { depth = "4", codes = "no" }
"""


def test_a_second_paper_is_a_matrix_file_and_an_edition(tmp_path):
    (tmp_path / "own.toml").write_text(
        'title = "Own"\ncitation = "c"\nurl = "u"\nnotes = []\n[tables]\n1 = "a"\n2 = "b"\n'
    )
    (tmp_path / "own.csv").write_text(
        "table,line,type,model,method,train,test,depth,codes,metric,printed,mark\n"
        "1,1,Small,EGE,ege_unet,busi,busi,,,dsc,75.0,\n"
        "1,2,Large,Swin-B (Ours),swin_unet,busi,busi,,,dsc,76.0,best\n"
        "2,1,,EGE,ege_unet,busi,busi,4,yes,dsc,61.5,\n"
        "2,2,,EGE,ege_unet,busi,busi,4,no,dsc,60.5,\n"
    )
    edition = str(tmp_path / "own.toml")
    (tmp_path / "matrix.toml").write_text(OTHER_PAPER.replace("EDITION", edition))
    folder = tmp_path / "cells"
    deep = {"settings": {"depth": 4}, "role": "discrete"}
    cells = [
        cell(folder, "unet", dsc=0.7),
        cell(folder, "gms", dsc=0.6),
        cell(folder, "ege_unet", dsc=0.5, **deep),
        cell(folder, "ege_unet", dsc=0.9, changed={"width": 8}, **deep),  # differs elsewhere, too
        cell(folder, "ege_unet", dsc=0.4, settings={"depth": 4}, role="continuous"),
        cell(folder, "ege_unet", dsc=0.3, changed={"depth": 9}, role="continuous"),
    ]
    asked = [Missing(method="swin_unet", train="busi")]
    main, ablation = build_tables(
        get_matrix(str(tmp_path / "matrix.toml")).tables, cells, missing=asked, published=edition
    )
    # gms and ege_unet as in the cells, swin_unet after ege_unet as in the edition, unet last.
    assert [(row.group, row.label, row.dagger) for row in main.rows] == [
        ("Generative", "GMS", True),
        ("CNN", "EGE-UNet", True),
        ("CNN", "UNet", False),
        ("Large", "Swin-B", False),
    ]
    assert "† fewer trainable parameters than UNet." in main.footer
    assert ablation.lead_headers == ("Depth", "Codes", "Role")
    found = [(*row.lead, row.entries[0].text, row.entries[0].printed) for row in ablation.rows]
    assert found == [
        ("four", "yes", "", "50.00", "61.5"),
        ("5", "tiny-vq", "", "–", None),
        ("4", "tiny-kl", "continuous", "40.00", "60.5"),
        ("9", "tiny-kl", "continuous", "30.00", None),
    ]
    assert ablation.rows[0].label == "depth 4, discrete"
    assert [row.dagger for row in ablation.rows] == [False] * 4


def test_an_ablation_has_no_rows_when_nothing_of_its_method_is_stored_or_asked_for(tmp_path):
    assert build_tables([LOSSES, TOKENIZERS], [cell(tmp_path, "unet")]) == []
    asked = [Missing(method="gms", train="busi", settings={"loss": "seg"}, reason="no data")]
    (table,) = build_tables([LOSSES, TOKENIZERS], [cell(tmp_path, "unet")], missing=asked)
    assert [row.entries[0].reason for row in table.rows] == ["no data"] * 3


def test_a_tokenizer_that_was_asked_for_has_a_row_unless_one_of_its_role_is_stored(tmp_path):
    asked = [
        Missing(method="gms", train="busi", tokenizer=name) for name in ("discrete", "continuous")
    ]
    table = one(TOKENIZERS, [cell(tmp_path, "gms")], missing=asked)
    assert [row.lead for row in table.rows] == [("tiny-kl", "continuous"), ("discrete", "")]
    assert table.rows[1].entries[0].text == "–"


def test_a_loss_that_the_file_does_not_list_follows_with_its_value(tmp_path):
    cells = [cell(tmp_path, "gms"), cell(tmp_path, "gms", changed={"loss": "new"}, dsc=0.3)]
    table = one(LOSSES, cells)
    assert [row.lead for row in table.rows] == [("✓", ""), ("", "✓"), ("✓", "✓"), ("new", "")]
    assert [row.entries[0].text for row in table.rows] == ["–", "–", "80.00", "30.00"]
    assert table.label_at == 1


def test_of_one_value_the_variant_nearest_to_the_defaults_is_shown(tmp_path):
    plain = {"changed": {"loss": "lm"}}
    cells = [
        cell(tmp_path, "gms", dsc=0.1, changed={"loss": "lm", "width": 8}),
        cell(tmp_path, "gms", dsc=0.2, role="discrete", **plain),
        cell(tmp_path, "gms", dsc=0.3, **plain),
    ]
    assert one(LOSSES, cells).rows[0].entries[0].text == "30.00"


# ---- what is missing


def test_missing_seeds_are_named_each_with_its_reason(tmp_path):
    cells = [cell(tmp_path, "gms", seed=seed) for seed in (0, 1, 3)]
    cells += [cell(tmp_path, "unet", seed=3, dsc=0.6)]
    cells += [cell(tmp_path, "unet", seed=0, status="failed", error="\n  NaN loss\ntrace")]
    table = one(METHODS, cells)
    found = entry(table, "UNet")
    assert (found.text, found.seeds) == ("60.00", (3,))
    assert footnotes_of(table, found) == [
        "over 1 of 3 seeds: seed 0 failed: NaN loss, seed 1 not run"
    ]
    assert footnotes_of(table, entry(table, "GMS")) == []


def test_a_long_error_is_cut_at_120_characters(tmp_path):
    for length, shown in ((120, "x" * 120), (121, "x" * 117 + "...")):
        folder = tmp_path / str(length)
        cells = [cell(folder, "unet"), cell(folder, "gms", status="failed", error="x" * length)]
        assert entry(one(METHODS, cells), "GMS").reason == f"failed: {shown}"


def test_a_missing_cell_is_visible_with_its_reason(tmp_path):
    block = TableBlock(name="t", caption="c", kind="methods", datasets=("busi", "glas", "bus"))
    cells = [
        cell(tmp_path, "unet", "busi"),
        cell(tmp_path, "unet", "glas", status="failed", error="NaN loss at epoch 3\nTraceback"),
    ]
    asked = [Missing(method="unet", train="bus", reason="no data: bus is not prepared")]
    table = one(block, cells, missing=asked)
    (row,) = table.rows
    reasons = [footnotes_of(table, e) for e in row.entries[::3]]
    assert [e.text for e in row.entries[::3]] == ["80.00", "–", "–"]
    assert reasons == [[], ["failed: NaN loss at epoch 3"], ["no data: bus is not prepared"]]


def test_a_method_that_was_asked_for_and_never_ran_has_a_row(tmp_path):
    asked = [Missing(method="nnunet", train="busi")]
    table = one(METHODS, [cell(tmp_path)], missing=asked)
    assert [row.lead for row in table.rows] == [("CNN", "UNet", "14.75"), ("CNN", "nnUNet", "–")]
    assert footnotes_of(table, entry(table, "nnUNet")) == ["not run"]


def test_a_mean_over_fewer_seeds_than_its_neighbours_says_so(tmp_path):
    cells = [cell(tmp_path, "gms", seed=seed) for seed in (0, 1)]
    cells += [cell(tmp_path, "unet", seed=0)]
    cells += [cell(tmp_path, "unet", seed=1, status="failed", error="out of memory")]
    table = one(METHODS, cells)
    (note,) = footnotes_of(table, entry(table, "UNet"))
    assert note == "over 1 of 2 seeds: seed 1 failed: out of memory"


def test_a_cell_trained_but_not_scored_there_says_so(tmp_path):
    cells = [cell(tmp_path, "unet"), cell(tmp_path, "gms", dsc={"busi-test": 0.8, "bus-test": 0.4})]
    assert [row.label for row in one(CROSS, cells).rows] == ["GMS"]
    cells.append(cell(tmp_path, "unet", seed=1, dsc={"busi-test": 0.8, "bus-test": 0.4}))
    table = one(CROSS, cells)
    (note,) = footnotes_of(table, entry(table, "UNet"))
    assert note == "over 1 of 2 seeds: seed 0 trained, not scored on these cases"


def test_a_table_without_rows_is_left_out(tmp_path):
    assert build_tables([METHODS, CROSS], [cell(tmp_path, "unet", "glas")]) == []


# ---- refusals


@pytest.mark.parametrize(
    "other, words",
    [
        ({"profile": "paper"}, "mix profiles: demo (1 cells), paper (1 cells).*--profile"),
        ({"protocol": "paper"}, "mix protocols: clean.*paper.*--protocol"),
        ({"selection": "best-test"}, "mix selection rules: best-test.*best-val.*--selection"),
        ({"image_size": 224}, "mix image sizes: 96.*224.*--image-size"),
        ({"epochs": 2}, "lengths of training on 'busi'.*'shared': 2, 20 epochs.*--epochs"),
        ({"inputs": {"split": "s2"}}, "different versions of 'busi'.*digest of its split"),
        ({"inputs": {"data": "d2"}}, "different versions of 'busi'.*digest of its data"),
        ({"cases": 5}, "mix test sets of 'busi'.*5 cases.* 4, 4 of them the same"),
    ],
)
def test_a_table_refuses_to_mix(tmp_path, other, words):
    cells = [cell(tmp_path, "unet"), cell(tmp_path, "gms", **other)]
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(BenchError, match=pattern):
        build_tables([METHODS], cells)


def test_as_many_other_cases_are_not_the_same_test_set(tmp_path):
    record = cell(tmp_path, "gms")
    rows = record.scores("busi", "test")
    rows = rows.assign(case_id=["case-0", "case-1", "case-2", "case-9"])
    cells = [cell(tmp_path, "unet"), put_scores(record, "busi-test", rows)]
    with pytest.raises(BenchError, match="scored 4 cases and .* 4, 3 of them the same"):
        build_tables([METHODS], cells)


@pytest.mark.parametrize("count, tail", [(3, ""), (4, " and 1 more"), (5, " and 2 more")])
def test_a_refusal_names_three_cells_and_counts_the_others(tmp_path, count, tail):
    cells = [cell(tmp_path, f"m{n}", inputs={"data": f"d{n}"}) for n in range(count)]
    named = ", ".join(sorted(record.id for record in cells)[:3])
    with pytest.raises(BenchError, match=re.escape(f"differs between {named}{tail}. Run")):
        build_tables([METHODS], cells)


@pytest.mark.parametrize("name", ["code", "recipe", "settings", "tokenizer", "numerics"])
def test_methods_may_differ_in_all_but_data_and_split(tmp_path, name):
    cells = [cell(tmp_path, "unet", inputs={name: "a"}), cell(tmp_path, "gms", inputs={name: "b"})]
    assert len(one(METHODS, cells).rows) == 2


def test_different_native_recipes_of_different_methods_are_no_mixture(tmp_path):
    cells = [
        cell(tmp_path, "unet", recipe="acc", epochs=1000),
        cell(tmp_path, "gms", recipe="gms", epochs=150),
    ]
    footer = " ".join(one(METHODS, cells).footer)
    assert "Recipe: acc (1000 epochs), gms (150 epochs)." in footer


def test_a_seed_stored_twice_with_equal_inputs_is_refused(tmp_path):
    cells = [cell(tmp_path) for _ in range(2)]
    with pytest.raises(BenchError, match="seed 0 is stored twice with equal inputs.*Delete"):
        build_tables([METHODS], cells)


def test_of_several_failed_runs_the_last_gives_the_reason(tmp_path):
    cells = [
        cell(
            tmp_path, status="failed", error=error, provenance={"finished": f"2026-01-0{day}"},
            inputs={"code": f"c{day}"},
        )
        for day, error in ((1, "first"), (3, "third"), (2, "second"))
    ]  # fmt: skip
    table = one(METHODS, [*cells, cell(tmp_path, "gms")])
    assert entry(table, "UNet").reason == "failed: third"
    (line,) = [line for line in table.footer if line.startswith("Failed runs")]
    assert line == (
        "Failed runs of cells that are shown as they ended otherwise: unet on busi, seed 0."
    )


def test_comparable_groups_and_select_take_mixed_folders_apart(tmp_path):
    cells = [cell(tmp_path), cell(tmp_path, profile="paper", image_size=224)]
    groups = comparable_groups(cells)
    assert list(groups) == [("demo", "clean", "best-val", 96), ("paper", "clean", "best-val", 224)]
    assert select(cells, profile="paper") == [cells[1]]
    assert select(cells, image_size=96, protocol="clean") == [cells[0]]


# ---- below the table


def test_the_footer_says_what_the_numbers_rest_on(tmp_path):
    record = cell(tmp_path, "gms", dsc=0.8)
    rows = [{"dsc": 0.8}, {"empty": "pred", "dsc": 0.0}, {"empty": "target", "dsc": 0.0}]
    record = put_scores(record, "busi-test", case_rows(rows))
    footer = one(METHODS, [record], titles={"busi": "BUSI"}).footer
    assert footer[0] == (
        "Procedural phantoms stand in for the datasets: these numbers say nothing about real "
        "images."
    )
    text = "\n".join(footer)
    for words in (
        "Profile demo, protocol clean, selection rule best-val, 96 x 96 px.",
        (
            "Selection rule best-val: the epoch with the best DSC on validation cases held out of train "
            "is scored (BUSI)."
        ),
        "px on the 96 x 96 grid",
        "one seed (0)",
        "Test cases: BUSI 3.",
        "BUSI: GMS 2",
        "Recipe: shared (20 epochs)",
        "tiny-kl (continuous, weights llllllll)",
        "Commit 0123456789+dirty; device CPU.",
    ):
        assert words in text


def test_a_real_profile_says_nothing_of_phantoms(tmp_path):
    footer = one(METHODS, [cell(tmp_path, profile="paper")]).footer
    assert "hantom" not in " ".join(footer)


def test_selection_on_test_says_so_in_words_and_prints_measured_optimism(tmp_path):
    record = cell(
        tmp_path, protocol="paper", selection="best-test", provenance={"optimism": 0.0123}
    )
    text = " ".join(one(METHODS, [record]).footer)
    assert "chosen on the very test cases it is scored on" in text
    assert "Measured optimism" in text and "mean 1.23 points over 1 cells" in text


SOFT = {"request": {"protocol": {"selection_metric": "soft-dice"}, "profile": {"phantoms": True}}}


@pytest.mark.parametrize("facts, score", [({}, "DSC"), (SOFT, "soft Dice")])
@pytest.mark.parametrize("selection", ["best-val", "best-test"])
def test_the_footer_names_the_score_that_chose_the_epoch(tmp_path, selection, facts, score):
    record = cell(tmp_path, selection=selection, provenance=facts)
    (line,) = [x for x in one(METHODS, [record]).footer if f"rule {selection}:" in x]
    assert {"best-val": f"the best {score} on", "best-test": f"by the {score}, so"}[
        selection
    ] in line
    assert ("averaged over batches of 8 images" in line) == (score == "soft Dice")


SPLIT = {"scheme": "published", "seed": 0, "train": 64, "val": 16, "test": 40}
NAMES = {"busi": "BUSI", "bus": "BUS", "glas": "GlaS"}


def test_the_footer_names_each_split_with_its_source_and_counts(tmp_path):
    block = METHODS.model_copy(update={"datasets": ("busi", "glas")})
    imported = SPLIT | {"scheme": "imported", "origin": "theirs.pkl", "train": 517, "val": 0}
    cells = [
        cell(tmp_path, train="busi", provenance={"split": imported}),
        cell(tmp_path, train="glas", provenance={"split": SPLIT | {"seed": 3}}),
    ]
    assert (
        "Split: BUSI: imported list theirs.pkl, seed 0, 517 train, 0 validation, 40 test; "
        "GlaS: published list, seed 3, 64 train, 16 validation, 40 test."
    ) in one(block, cells, titles=NAMES).footer
    drawn = cell(tmp_path, train="bus", provenance={"split": SPLIT | {"scheme": "random80"}})
    bus = METHODS.model_copy(update={"datasets": ("bus",)})
    (line,) = [x for x in one(bus, [drawn], titles=NAMES).footer if x.startswith("Split")]
    assert line == "Split: BUS: random 80/20, seed 0, 64 train, 16 validation, 40 test."


@pytest.mark.parametrize(
    "selection, side", [("best-test", "test cases"), ("best-val", "validation cases")]
)
def test_a_cross_domain_table_says_where_its_epoch_was_chosen(tmp_path, selection, side):
    record = cell(tmp_path, dsc={"busi-test": 0.8, "bus-test": 0.6}, selection=selection)
    (line,) = [
        x for x in one(CROSS, [record], titles=NAMES).footer if "rule " + selection + ":" in x
    ]
    assert line == f"Selection rule {selection}: BUSI to BUS: chosen on the {side} of BUSI."


def test_the_weights_of_the_last_epoch_are_chosen_nowhere(tmp_path):
    footer = one(METHODS, [cell(tmp_path, selection="last")], titles=NAMES).footer
    assert "Selection rule last: the weights after the last epoch are scored." in footer


def test_the_footer_says_nothing_of_what_a_profile_usually_is(tmp_path):
    text = " ".join(one(METHODS, [cell(tmp_path, profile="paper", image_size=64)]).footer)
    assert "Profile paper, protocol clean, selection rule best-val, 64 x 64 px." in text
    assert "224" not in text


def test_the_shared_recipe_is_told_for_what_it_is_and_a_native_one_is_not(tmp_path):
    words = "Recipe shared: GMS's published optimizer, schedule and augmentation for every method"
    shared = cell(tmp_path, recipe="shared, as in profile demo")
    assert words in " ".join(one(METHODS, [shared]).footer)
    native = cell(tmp_path, "gms", recipe="gms")
    assert words not in " ".join(one(METHODS, [native]).footer)


def test_a_budget_is_in_the_footer(tmp_path):
    asked = {"request": {"protocol": {"budget": 20000}}}
    text = " ".join(one(METHODS, [cell(tmp_path, provenance=asked)]).footer)
    assert "Budget: 20,000 training images, which set the epochs of every row." in text
    assert "Budget" not in " ".join(one(METHODS, [cell(tmp_path)]).footer)


# ---- how each row was trained

BF16 = {"images_seen": 8000, "initial_weights": "random", "precision": "bf16", "normalise": "none"}
FP32 = {"images_seen": 500, "initial_weights": "pretrained: imagenet", "precision": "fp32"}
FP32 |= {"normalise": "imagenet"}


def trained(tmp_path):
    return [
        of_size(cell(tmp_path, "unet", recipe="acc-unet", epochs=40, provenance=BF16)),
        of_size(cell(tmp_path, "gms", recipe="gms", provenance=FP32 | {"tf32": ["convolution"]})),
    ]


def of_size(record):
    return record.model_copy(update={"network_size": 96})


def test_every_row_has_a_footnote_on_its_training(tmp_path):
    table = one(METHODS, trained(tmp_path), titles=NAMES)
    found = {row.label: [table.footnotes[n - 1] for n in row.footnotes] for row in table.rows}
    assert found == {
        "UNet": [
            (
                "Recipe acc-unet; images seen: BUSI 8,000; epochs: BUSI 40; network input 96 px; input normalisation none; "
                "initial weights random; precision bf16; device class CPU."
            )
        ],
        "GMS": [
            (
                "Recipe gms; images seen: BUSI 500; epochs: BUSI 20; network input 96 px; input normalisation imagenet; "
                "initial weights pretrained: imagenet; precision fp32 (TF32 in convolution); device class CPU."
            )
        ],
    }
    for text in (to_markdown(table), to_latex(table)):
        assert "images seen: BUSI 8,000" in text
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(table))
    assert "images seen: BUSI 8,000" in console.file.getvalue()


def test_the_images_of_each_training_dataset_are_told_apart(tmp_path):
    block = METHODS.model_copy(update={"datasets": ("busi", "glas")})
    cells = [
        cell(tmp_path, train="busi", provenance=BF16),
        cell(tmp_path, train="glas", seed=0, provenance=BF16 | {"images_seen": 1500}),
        cell(tmp_path, train="glas", seed=1, provenance=BF16 | {"images_seen": 1600}),
        cell(tmp_path, train="busi", seed=1, provenance=BF16),
    ]
    table = one(block, cells, titles=NAMES)
    assert "images seen: BUSI 8,000, GlaS 1,500 to 1,600;" in table.footnotes[0]


def test_rows_of_one_training_share_a_footnote(tmp_path):
    cells = [cell(tmp_path, method, provenance=BF16) for method in ("unet", "ege_unet")]
    table = one(METHODS, cells)
    assert [row.footnotes for row in table.rows] == [(1,), (1,)]


def test_the_csv_has_the_training_of_every_number(tmp_path):
    asked = [Missing(method="nnunet", train="busi")]
    rows = list(csv.DictReader(io.StringIO(to_csv(one(METHODS, trained(tmp_path), missing=asked)))))
    fields = ("recipe", "epochs", "images_seen", "network_size", "normalise")
    fields += ("initial_weights", "precision")
    found = {row["method"]: tuple(row[field] for field in fields) for row in rows}
    tf32 = "fp32 (TF32 in convolution)"
    assert found == {
        "unet": ("acc-unet", "40", "8000", "96", "none", "random", "bf16"),
        "gms": ("gms", "20", "500", "96", "imagenet", "pretrained: imagenet", tf32),
        "nnunet": ("", "", "", "", "", "", ""),
    }


@pytest.mark.parametrize(
    "length, seen, text, column",
    [
        (
            {"epochs": 1000, "steps_per_epoch": None, "images": 50_000},
            3_000,
            "Recipe gms; shortened from 1000 to 60 epochs, shape kept; images seen: BUSI 3,000;",
            "1000 epochs",
        ),
        (
            {"epochs": 100, "steps_per_epoch": 1000, "images": 800_000},
            3_000,
            "shortened from 100 epochs of 1000 steps to 60 passes, shape kept;",
            "100 epochs of 1000 steps",
        ),
        (
            {"epochs": 20, "steps_per_epoch": None, "images": 1_000},
            3_000,
            "lengthened from 20 to 60 epochs, shape kept;",
            "20 epochs",
        ),
        (None, 3_000, "Recipe gms; images seen: BUSI 3,000;", ""),
    ],
)
def test_a_run_of_another_length_than_the_recipes_says_so(tmp_path, length, seen, text, column):
    facts = BF16 | {"images_seen": seen, "own_length": length}
    table = one(METHODS, [cell(tmp_path, recipe="gms", epochs=60, provenance=facts)], titles=NAMES)
    assert text in table.footnotes[0]
    (row, *_) = csv.DictReader(io.StringIO(to_csv(table)))
    assert row["own_length"] == column


def test_an_older_cell_says_that_its_images_were_not_recorded(tmp_path):
    table = one(METHODS, [cell(tmp_path)])
    assert "images seen: busi not recorded" in table.footnotes[0]


def test_a_cells_footnotes_become_footnotes_of_its_row(tmp_path):
    record = cell(tmp_path, "gss").model_copy(update={"footnotes": ("pretrained=none",)})
    table = one(METHODS, [record])
    own, _training = [table.footnotes[n - 1] for n in table.rows[0].footnotes]
    assert own == "pretrained=none"
    assert "pretrained=none" in to_markdown(table)


def comparable_cell(tmp_path, **changes):
    """A cell that may be held against the print: real complete data, 224 px, 130 test cases."""
    given = {"profile": "paper", "image_size": 224, "cases": 130, "data": {"busi": facts()}}
    return cell(tmp_path, "unet", dsc=0.8, **(given | changes))


def test_published_numbers_stand_beside_ours_with_the_difference(tmp_path):
    record = comparable_cell(tmp_path)
    table = one(METHODS, [record], published="aaai2025")
    found = entry(table, "UNet")
    assert found.printed == "72.27"
    assert found.difference == pytest.approx(80 - 72.27)
    assert "80.00 \\[72.27, +7.73\\]" in to_markdown(table)
    old = one(METHODS, [record], published="arxiv-v1")
    assert entry(old, "UNet", "hd95").printed is None
    with pytest.raises(BenchError, match="Did you mean 'aaai2025'"):
        build_tables([METHODS], [cell(tmp_path)], published="aaai25")


def test_published_ablations_match_by_loss_and_by_the_papers_tokenizers_only(tmp_path):
    cells = [cell(tmp_path, "gms", dsc=0.8, changed={"loss": loss}) for loss in ("lm", "seg")]
    table = one(LOSSES, cells, published="aaai2025")
    assert [row.entries[0].printed for row in table.rows] == ["80.25", "78.75", "81.43"]
    tokenizers = one(TOKENIZERS, [cell(tmp_path, "gms")], published="aaai2025")
    assert [row.entries[0].printed for row in tokenizers.rows] == [None]  # tiny-kl is not SD-VAE


# ---- renderers


@pytest.fixture
def full(tmp_path):
    cells = [cell(tmp_path, m, dsc=d) for m, d in (("unet", 0.7), ("ege_unet", 0.6), ("gms", 0.8))]
    asked = [Missing(method="nnunet", train="busi", reason="no data in C:\\a_b & 50% of $x")]
    return one(METHODS, cells, missing=asked)


def test_markdown_has_one_line_per_row_marks_and_footnotes(full):
    lines = to_markdown(full).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4
    assert len({line.count(" | ") for line in table}) == 1
    assert "| **80.00** |" in table[-1]
    assert "EGE-UNet†" in table[4] and "<u>70.00</u>" in table[2]
    assert "–<sup>1</sup>" in table[3]
    assert any(line.startswith("<sup>1</sup> no data in C:\\\\a\\_b & 50%") for line in lines)


def test_a_rows_facts_are_its_method_changes_tokenizer_and_parameters(tmp_path):
    cells = [cell(tmp_path, "unet"), cell(tmp_path, "gms")]
    asked = [Missing(method="gss", train="busi", tokenizer="tiny-vq")]
    table = one(METHODS, cells, missing=asked)
    facts = {row.label: tuple(value for _, value in row.facts) for row in table.rows}
    assert facts.pop("UNet") == ("unet", "{}", "", "14751873")
    assert facts.pop("GMS") == ("gms", "{}", "tiny-kl", "1564976")
    assert list(facts.values()) == [("gss", "", "", "")]


def test_latex_is_booktabs_escaped_and_balanced(full):
    text = to_latex(full)
    for words in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){4-6}"):
        assert words in text
    assert r"\textbf{80.00}" in text and r"\underline{70.00}" in text
    assert r"EGE-UNet$^\dagger$" in text and r"DSC$\uparrow$" in text
    assert r"C:\textbackslash{}a\_b \& 50\% of \$x" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {5}
    stripped = re.sub(r"\\[{}]", "", text)
    assert stripped.count("{") == stripped.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.isascii()


def test_latex_compiles(full, tmp_path):
    engines = ("pdflatex", "tectonic", "xelatex", "lualatex")
    engine = next(filter(shutil.which, engines), None)
    if engine is None:
        pytest.skip(f"no TeX engine ({', '.join(engines)}) on this machine")
    (tmp_path / "t.tex").write_text(to_latex_document([full, full]))
    subprocess.run([engine, "t.tex"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "t.pdf").stat().st_size > 0


def test_csv_is_long_and_in_full_precision(full):
    rows = list(csv.DictReader(io.StringIO(to_csv(full))))
    assert len(rows) == 4 * 3
    first = rows[0]
    assert (first["method"], first["metric"], first["test"]) == ("unet", "dsc", "busi")
    assert float(first["value"]) == pytest.approx(70, abs=1e-12)
    assert (first["profile"], first["protocol"], first["grid"]) == ("demo", "clean", "network")
    (absent,) = [r for r in rows if r["method"] == "nnunet" and r["metric"] == "dsc"]
    assert absent["value"] == "" and absent["reason"].startswith("no data")


@pytest.mark.parametrize("width", [70, 200])
def test_the_terminal_loses_no_digit_at_any_width(full, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(full))
    printed = console.file.getvalue()
    assert "…" not in printed
    for number in ("70.00", "60.00", "80.00", "14.00", "14.75", "EGE-UNet†"):
        assert number in printed


def test_a_wide_table_breaks_between_datasets_and_repeats_its_rows(tmp_path):
    names = ("busi", "bus", "glas", "ham10000", "kvasir-instrument")
    for method in ("unet", "gms"):
        for number, name in enumerate(names, 1):
            cell(tmp_path, method, train=name, dsc=number / 10 + 0.01234)
    table = one(METHODS.model_copy(update={"datasets": names}), load_cells(tmp_path))
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(table))
    lines = console.file.getvalue().splitlines()
    body = [line for line in lines if "UNet" in line and "EGE" not in line]
    assert len(body) >= 2  # once in each block
    assert max(len(line) for line in body) <= 80
    numbers = [word for line in body for word in line.split() if "." in word]
    means = [f"{100 * (number / 10 + 0.01234):.2f}" for number in range(1, 6)]
    assert [mean for mean in means if mean not in numbers] == []


@pytest.mark.parametrize("width", [40, 80, 132])
def test_no_number_is_broken_at_any_width(full, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(full))
    printed = console.file.getvalue()
    assert "…" not in printed
    for number in ("70.00", "60.00", "80.00", "14.00", "14.75"):
        assert number in printed


def test_a_pipe_gets_markdown_or_csv_and_a_terminal_a_table(full):
    def said(terminal: bool, format: str) -> str:
        console = Console(width=80, file=io.StringIO(), force_terminal=terminal)
        show(full, console, format)
        return console.file.getvalue()

    assert said(False, "auto") == "\n" + to_markdown(full)
    assert said(False, "csv") == to_csv(full) == said(True, "csv")
    assert "| :--" not in said(True, "auto") and "70.00" in said(True, "auto")


def test_write_tables_writes_every_format_and_one_document(full, tmp_path):
    paths = write_tables([full], tmp_path / "tables")
    names = [path.name for path in paths]
    assert names == ["t1.md", "t1.tex", "t1.csv", "all-tables.tex"]
    assert (tmp_path / "tables" / "all-tables.tex").read_text().startswith(r"\documentclass")


def test_the_same_cells_give_the_same_bytes(tmp_path):
    for seed in (0, 1):
        cell(tmp_path, "unet", seed=seed)
        cell(tmp_path, "gms", seed=seed)
    cells = load_cells(tmp_path)
    assert to_csv(one(METHODS, cells)) == to_csv(one(METHODS, cells[::-1]))
    assert to_markdown(one(METHODS, cells)) == to_markdown(one(METHODS, cells[::-1]))


def test_the_shipped_matrix_gives_the_papers_tables(tmp_path):
    for train in ("busi", "ham10000", "kvasir-instrument"):
        cell(tmp_path, "gms", train)
    tables = build_tables(get_matrix("paper").tables, load_cells(tmp_path))
    kinds = {table.name: table.headers for table in tables}
    assert len(kinds["table1-ultrasound"]) == 2 * 3
    assert len(kinds["table2-three-modalities"]) == 3 * 3
    assert len(kinds["table4-losses"]) == len(kinds["table5-tokenizers"]) == 3 * 3


def test_tables_need_neither_torch_nor_matplotlib():
    code = (
        "import sys, bench.reporting.tables, bench.reporting.published, bench.metrics;"
        "print([m for m in ('torch', 'matplotlib', 'diffusers', 'medpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


# ---- optimism, on request


def test_optimism_is_a_column_on_request_in_points_over_seeds(tmp_path):
    cells = [cell(tmp_path, seed=s, provenance={"optimism": g}) for s, g in ((0, 0.01), (1, 0.03))]
    cells += [cell(tmp_path, "gms", seed=seed) for seed in (0, 1)]
    table = one(METHODS, cells, optimism=True)
    assert table.headers == ("DSC↑", "IoU↑", "HD95↓", "Optim.")
    found = entry(table, "UNet", "optimism")
    assert (found.text, found.seeds, found.mark) == ("2.00 ± 1.41", (0, 1), "")
    without = entry(table, "GMS", "optimism")
    assert (without.text, without.reason.split(":")[0]) == ("–", "optimism not measured")
    assert "optimism" not in {e.metric for row in one(METHODS, cells).rows for e in row.entries}


def test_a_cell_that_failed_has_no_optimism_for_that_reason(tmp_path):
    cells = [cell(tmp_path, "unet"), cell(tmp_path, "gms", status="failed", error="NaN")]
    assert entry(one(METHODS, cells, optimism=True), "GMS", "optimism").reason == "failed: NaN"


def test_scores_on_another_dataset_have_no_optimism(tmp_path):
    record = cell(tmp_path, dsc={"busi-test": 0.8, "bus-test": 0.6}, provenance={"optimism": 0.01})
    assert one(CROSS, [record], optimism=True).headers == ("DSC↑", "HD95↓")


# ---- the device


@pytest.mark.parametrize(
    "provenance, words",
    [
        ({"device_class": "GPU", "device": "NVIDIA H200"}, "GPU"),
        ({"device": "AMD EPYC", "processor": "AMD EPYC"}, "CPU"),  # before it was recorded
        ({"device": "NVIDIA H200", "processor": "AMD EPYC"}, "GPU"),
    ],
)
def test_the_device_class_is_told_for_old_records_too(tmp_path, provenance, words):
    table = one(METHODS, [cell(tmp_path, provenance=provenance)])
    assert f"device class {words}." in table.footnotes[0]
