"""Statistics of tables: alignment, common seeds, empties, warnings, ties, words and files."""

import csv
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statistics_doubles import frame, index, table

from bench.core.errors import BenchError
from bench.reporting.statistics import (
    datasets_statistics,
    require_reference,
    table_statistics,
    to_rich,
    with_ties,
    write_datasets,
    write_statistics,
)
from bench.reporting.statistics.sheets import datasets_sheet, in_a_row, sheets_of
from bench.reporting.statistics.tables import reference_row
from bench.reporting.statistics.write import to_markdown
from bench.reporting.tables.entries import mark_best
from bench.reporting.tables.render import to_csv, to_latex
from bench.reporting.tables.render import to_markdown as table_markdown
from bench.reporting.tables.table import Entry

RNG = np.random.default_rng
B = 1_000


def noisy(mean, cases=40, seeds=(0, 1, 2), spread=0.05, seed=0):
    """Seed -> scores around `mean`."""
    rng = RNG([seed, int(1000 * mean)])
    return {s: np.clip(rng.normal(mean, spread, cases), 0, 1) for s in seeds}


def statistics(scores, reference="gms"):
    return table_statistics(table(scores), index(scores), reference, B)


def only(found, metric="dsc"):
    """The statistics of the only column."""
    (column,) = found.columns
    return column.metrics[metric]


def words(found):
    return "\n".join(map(to_markdown, sheets_of(found)))


# ---- differences


def test_a_difference_is_the_row_minus_the_reference_in_points():
    scores = frame({"unet": {0: [0.5, 0.7], 1: [0.7, 0.7]}, "gms": {0: [0.8, 0.8], 1: [0.8, 0.9]}})
    one = only(statistics(scores)).comparisons["unet"]
    assert one.mean.value == pytest.approx(-17.5)
    assert one.median.value == pytest.approx(-17.5)  # -20 and -15
    assert (one.better.value, one.ties, one.cases, one.seeds) == (0, 0, 2, (0, 1))


def test_the_smaller_distance_is_the_better_one():
    values = {"unet": {0: [3.0, 5.0, 9.0, 13.0]}, "gms": {0: [4.0, 6.0, 10.0, 4.0]}}
    one = only(statistics(frame(values, metric="hd95")), "hd95").comparisons["unet"]
    assert (one.mean.value, one.median.value, one.better.value) == (1.5, -1.0, 0.75)
    assert one.mean.p == 1.0  # the 9 outweighs the three others in every pattern
    assert one.primary == one.better.p == 10 / 16  # all but the 6 patterns with two signs of each


def test_cases_are_aligned_by_id_not_by_place():
    scores = frame({"unet": {0: [0.1, 0.5, 0.9]}, "gms": {0: [0.2, 0.6, 1.0]}})
    turned = pd.concat(
        [scores[scores["method"] == "unet"], scores[scores["method"] == "gms"][::-1]]
    )
    one = only(statistics(turned)).comparisons["unet"]
    assert (one.mean.low, one.mean.high) == pytest.approx((-10, -10))


def test_no_number_depends_on_the_order_of_rows():
    scores = frame({"unet": noisy(0.7), "gms": noisy(0.8), "gss": noisy(0.75)})
    mixed = scores.sample(frac=1, random_state=0).reset_index(drop=True)
    first = table_statistics(table(scores), index(scores), "gms", B)
    second = table_statistics(table(scores), index(mixed), "gms", B)
    assert words(first) == words(second)
    for label, one in only(first).comparisons.items():
        assert repr(only(second).comparisons[label]) == repr(one)
    assert (only(first).ranking.shares == only(second).ranking.shares).all()


def test_dropped_cases_are_counted():
    scores = frame({"unet": {0: [0.5, 0.6, 0.7]}, "gms": {0: [0.8, 0.8, 0.9]}})
    gone = (scores["method"] == "gms") & (scores["case"] == "case-0002")
    found = statistics(scores[~gone].reset_index(drop=True))
    assert only(found).sample.dropped == 1
    assert only(found).comparisons["unet"].cases == 2
    assert "1 cases that some row lacks are left out." in words(found)


def test_holms_family_is_all_rows_of_one_dataset_and_metric():
    rng = RNG(0)
    base = rng.normal(0.8, 0.05, 12)
    values = {f"m{i}": {0: base - 0.01 * i + rng.normal(0, 0.02, 12)} for i in range(3)}
    found = only(statistics(frame(values | {"gms": {0: base}})))
    raw = sorted(one.mean.p for one in found.comparisons.values())
    adjusted = sorted(one.p_holm for one in found.comparisons.values())
    assert adjusted[0] == pytest.approx(min(1, 3 * raw[0]))
    assert adjusted[1] == pytest.approx(min(1, max(3 * raw[0], 2 * raw[1])))


# ---- seeds that lack


def test_a_row_that_lacks_a_seed_is_compared_on_common_seeds_and_neither_ranked_nor_marked():
    scores = frame(
        {
            "unet": {0: [0.9, 0.8], 1: [0.1, 0.2]},
            "gss": {0: [0.6, 0.5], 1: [0.6, 0.5]},
            "lucky": {0: [0.99, 0.99]},
            "gms": {0: [0.8, 0.8], 1: [0.7, 0.7]},
        }
    )
    found = statistics(scores)
    lucky = only(found).comparisons["lucky"]
    assert lucky.seeds == (0,) and lucky.mean.value == pytest.approx(19)
    assert only(found).sample.complete == ["unet", "gss", "gms"]
    assert len(only(found).ranking.ranks) == 3
    assert "not ranked and not marked: lucky." in words(found)
    ties = {row.label: row.entries[0].tied for row in with_ties(found.table, found).rows}
    assert not ties["lucky"]


def test_a_row_without_a_common_seed_is_not_compared():
    scores = frame({"unet": {5: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}})
    found = statistics(scores)
    assert only(found).comparisons == {"unet": None} and only(found).ranking is None
    assert "no seed in common" in words(found)


# ---- empty masks


def test_distances_have_a_version_without_the_cases_empty_on_either_side():
    values = {"unet": {0: [300.0, 5.0, 6.0, 7.0]}, "gms": {0: [4.0, 300.0, 5.0, 4.0]}}
    empty = {"unet": ["pred", "none", "none", "none"], "gms": ["none", "pred", "none", "none"]}
    one = only(statistics(frame(values, metric="hd95", empty=empty)), "hd95").comparisons["unet"]
    assert (one.empty, one.reference_empty, one.cases) == (1, 1, 4)
    assert one.mean.value == pytest.approx(1.25)  # two diagonals that cancel
    rest = one.without_empty
    assert (rest.cases, rest.empty, rest.reference_empty) == (2, 0, 0)
    assert rest.mean.value == rest.median.value == 2.0


def test_an_empty_mask_in_one_seed_leaves_the_case_out():
    values = {"unet": {0: [300.0, 5.0], 1: [3.0, 5.0]}, "gms": {0: [4.0, 4.0], 1: [4.0, 4.0]}}
    scores = frame(values, metric="hd95")
    first = (scores["cell"] == "unet-busi-0") & (scores["case"] == "case-0000")
    scores.loc[first, "empty"] = "pred"
    one = only(statistics(scores), "hd95").comparisons["unet"]
    assert (one.empty, one.without_empty.cases) == (1, 1)


def test_without_empty_masks_there_is_no_second_version():
    scores = frame({"unet": {0: [2.0, 5.0]}, "gms": {0: [4.0, 6.0]}}, metric="hd95")
    assert only(statistics(scores), "hd95").comparisons["unet"].without_empty is None


# ---- warnings


@pytest.mark.parametrize(
    "groups, seeds, said, unsaid",
    [
        (None, 3, ["cases assumed independent", "one split"], ["under 20", "under 3"]),
        (25, 3, ["one split"], ["assumed independent", "under 20", "under 3"]),
        (8, 3, ["Only 8 groups (under 20)"], ["assumed independent"]),
        (25, 2, ["Only 2 seeds (under 3): no interval has a seed component"], ["under 20"]),
        (25, 1, ["Only 1 seed (under 3)"], ["under 20"]),
    ],
)
def test_warnings_are_printed_where_they_apply(groups, seeds, said, unsaid):
    names = None if groups is None else [f"patient-{i % groups}" for i in range(50)]
    values = {m: noisy(0.8, 50, range(seeds), seed=i) for i, m in enumerate(("unet", "gms"))}
    text = words(statistics(frame(values, groups=names)))
    assert all(part in text for part in said), text
    assert not any(part in text for part in unsaid), text


def test_a_group_of_one_case_each_is_known_where_a_name_differs_from_the_case():
    scores = frame({"unet": {0: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}}, groups=["case-0000", "p7"])
    assert only(statistics(scores)).sample.groups_known


# ---- ties


def test_rows_that_cannot_be_told_from_the_best_are_marked_and_explained():
    scores = frame({"unet": noisy(0.5), "gss": noisy(0.8), "gms": noisy(0.801)})
    found = statistics(scores)
    marked = with_ties(found.table, found)
    assert [row.entries[0].tied for row in marked.rows] == [False, True, True]
    assert "no test of significance" not in marked.footer[-1]
    assert "≈ cannot be told from the best" in marked.footer[-1]


@pytest.mark.parametrize(
    "groups, seeds, units",
    [
        (None, 3, "bootstrap over cases and seeds,"),
        (10, 3, "bootstrap over groups of cases and seeds,"),
        (10, 2, "bootstrap over groups of cases,"),
    ],
)
def test_the_footer_says_what_was_resampled(groups, seeds, units):
    names = None if groups is None else [f"patient-{i % groups}" for i in range(40)]
    values = {m: noisy(0.8, 40, range(seeds), seed=i) for i, m in enumerate(("unet", "gms"))}
    found = statistics(frame(values, groups=names))
    assert units in with_ties(found.table, found).footer[-1]


def test_the_mark_of_a_tie_is_in_every_format_and_not_on_the_bold_one():
    scores = frame({"unet": noisy(0.5), "gss": noisy(0.8), "gms": noisy(0.801)})
    plain = table(scores)
    rows = [
        replace(row, entries=(replace(row.entries[0], mark="best" if row.label == "gms" else ""),))
        for row in plain.rows
    ]
    marked = with_ties(replace(plain, rows=tuple(rows)), statistics(scores))
    assert [row.entries[0].tied for row in marked.rows] == [False, True, False]
    assert table_markdown(marked).splitlines()[5].endswith("≈ |")
    assert to_latex(marked).count(r"$\approx$") == 2  # the row and the footer
    ties = [line["tied"] for line in csv.DictReader(io.StringIO(to_csv(marked)))]
    assert ties == ["", "yes", ""]


# ---- the reference


def test_the_reference_is_the_last_row_of_its_method_and_may_be_absent():
    one = table(frame({"unet": {0: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}}))
    assert reference_row(one, "gms") == "gms"
    assert reference_row(one, "sdseg") is None
    found = statistics(frame({"unet": {0: [0.5, 0.6]}, "gss": {0: [0.8, 0.8]}}))
    assert found.columns[0].reference is None
    assert only(found).comparisons == {} and only(found).ranking is not None


def test_a_reference_without_a_row_is_refused_with_the_nearest():
    one = table(frame({"unet": {0: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}}))
    with pytest.raises(BenchError, match="gsm.*gms"):
        require_reference([one], "gsm")


def test_a_table_of_one_scored_row_has_no_statistics():
    scores = frame({"unet": {0: [0.5, 0.6]}})
    assert statistics(scores) is None


def test_one_group_has_no_statistics():
    scores = frame({"unet": {0: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}}, groups=["p1", "p1"])
    assert statistics(scores) is None


def test_rows_of_one_label_are_kept_apart():
    scores = frame({"unet": {0: [0.5, 0.6]}, "gms": {0: [0.8, 0.8]}, "gss": {0: [0.7, 0.7]}})
    plain = table(scores)
    twice = replace(plain, rows=(*plain.rows[:2], replace(plain.rows[2], label="unet")))
    found = table_statistics(twice, index(scores), "gms", B)
    values = {name: one.mean.value for name, one in only(found).comparisons.items()}
    assert values == pytest.approx({"unet": -25, "unet (2)": -10})


@pytest.mark.filterwarnings("error")
def test_equal_scores_give_no_nan_and_no_warning():
    same = {0: [0.5, 0.7, 0.5], 1: [0.5, 0.7, 0.5], 2: [0.5, 0.7, 0.5]}
    parts = [frame({"unet": same, "gss": same, "gms": same}, test=f"d{i}") for i in range(2)]
    scores = pd.concat(parts, ignore_index=True)
    found = table_statistics(table(scores), index(scores), "gms", B)
    text = words(found) + to_markdown(datasets_sheet(datasets_statistics([found])[0]))
    assert "nan" not in text and "rankings with this one – on average" in text
    assert [row.entries[0].tied for row in with_ties(found.table, found).rows] == [True] * 3


# ---- rankings


def test_rankings_of_metrics_are_compared():
    dsc = frame({"unet": noisy(0.5), "gss": noisy(0.7), "gms": noisy(0.9)})
    hd95 = frame(
        {"unet": {0: [9.0] * 40, 1: [9.0] * 40, 2: [9.0] * 40},
         "gss": {0: [2.0] * 40, 1: [2.0] * 40, 2: [2.0] * 40},
         "gms": {0: [5.0] * 40, 1: [5.0] * 40, 2: [5.0] * 40}},
        metric="hd95",
    )  # fmt: skip
    found = statistics(pd.concat([dsc, hd95], ignore_index=True))
    assert found.columns[0].agreement() == {("dsc", "hd95"): pytest.approx(1 / 3)}
    assert "DSC and HD95 0.33" in words(found)


def over_five(means):
    parts = [
        frame({m: noisy(mean, 30, seed=i) for m, mean in means.items()}, test=f"d{i}")
        for i in range(5)
    ]
    scores = pd.concat(parts, ignore_index=True)
    return table_statistics(table(scores), index(scores), "gms", B)


def test_datasets_are_ranked_with_their_number_and_what_so_few_can_show():
    (over,) = datasets_statistics([over_five({"unet": 0.5, "gss": 0.7, "gms": 0.9})])
    assert over.result.ranks.tolist() == [3, 2, 1]
    sheet = datasets_sheet(over)
    assert sheet.title == "DSC: mean rank over N = 5 datasets"
    assert sheet.rows[0] == ("gms", "1.00")
    assert over.left_out == ()
    text = " ".join(sheet.notes)
    assert "Nemenyi's critical difference at 5 % is 1.48 ranks" in text
    assert "An exact Wilcoxon test over 5 datasets cannot go below p = 0.0625" in text


def test_a_row_that_lacks_a_seed_somewhere_is_left_out_of_the_mean_ranks_and_named():
    means = {"unet": 0.5, "gss": 0.7, "gms": 0.9, "sdseg": 0.6}
    parts = [frame({m: noisy(v, 30) for m, v in means.items()}, test=f"d{i}") for i in range(3)]
    scores = pd.concat(parts, ignore_index=True)
    scores = scores[scores["cell"] != "sdseg-d1-2"].reset_index(drop=True)
    (over,) = datasets_statistics([table_statistics(table(scores), index(scores), "gms", B)])
    assert (over.labels, over.left_out) == (("unet", "gss", "gms"), ("sdseg",))
    assert "so left out: sdseg." in " ".join(datasets_sheet(over).notes)


def test_a_dataset_counts_once_and_three_methods_are_needed():
    one = over_five({"unet": 0.5, "gss": 0.7, "gms": 0.9})
    (over,) = datasets_statistics([one, one])
    assert over.result.datasets == 5
    assert datasets_statistics([over_five({"unet": 0.5, "gms": 0.9})]) == []


# ---- words and files


def test_a_sheet_says_what_an_eye_can_check():
    scores = frame({"unet": {0: [0.5] * 40}, "gms": {0: [0.8] * 40}})
    first, ranks = sheets_of(statistics(scores))
    assert first.title == "BUSI, DSC: difference to gms in points (above 0: better than gms)"
    assert first.rows == (
        ("unet", "−30.00 [−30.00, −30.00]", "<0.001", "<0.001", "0.00 [0.00, 0.00]", "0 %",
         "−30.00", "<0.001"),
    )  # fmt: skip
    assert ranks.rows == (
        ("unet", "2 [2–2]", "0.00", "2.0"),
        ("gms", "1≈ [1–1]", "1.00", "1.0"),
    )
    assert first.common == ranks.common and in_a_row([first, ranks])[0].common == ()
    assert to_rich(first)


def test_files_hold_full_precision_the_footer_and_both_versions(tmp_path):
    values = {"unet": {0: [300.0, 5.0, 6.0]}, "gms": {0: [4.0, 3.0, 5.0]}}
    empty = {"unet": ["pred", "none", "none"]}
    scores = frame(values, metric="hd95", empty=empty)
    one = table(scores, footer=("Profile paper.",))
    found = table_statistics(one, index(scores), "gms", B)
    files = write_statistics([found], tmp_path)
    assert sorted(file.name for file in files) == sorted(
        ["t1-statistics.md", "t1-statistics.tex", "t1-differences.csv", "t1-ranks.csv"]
    )
    lines = list(csv.DictReader((tmp_path / "t1-differences.csv").open()))
    assert [line["version"] for line in lines] == ["all", "without_empty"]
    assert float(lines[0]["mean_difference"]) == pytest.approx(299 / 3)
    assert lines[0]["profile"] == "paper" and lines[0]["resamples"] == str(B)
    assert "Of the table: Profile paper." in (tmp_path / "t1-statistics.md").read_text()
    text = (tmp_path / "t1-statistics.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.isascii()


def test_the_file_over_datasets_has_a_line_per_method_and_metric(tmp_path):
    over = datasets_statistics([over_five({"unet": 0.5, "gss": 0.7, "gms": 0.9})])
    write_datasets(over, tmp_path)
    lines = list(csv.DictReader((tmp_path / "over-datasets-statistics.csv").open()))
    assert [(line["row"], line["mean_rank"]) for line in lines] == [
        ("unet", "3.0"), ("gss", "2.0"), ("gms", "1.0"),
    ]  # fmt: skip
    assert write_datasets([], tmp_path) == []


# ---- best and second


@pytest.mark.parametrize(
    "seeds, marks",
    [
        ([(0, 1), (0, 1), (0, 1)], ["best", "second", ""]),
        ([(0,), (0, 1), (0, 1)], ["", "best", "second"]),  # the survivor of a failed seed
        ([(0, 1), (0,), (0, 1)], ["best", "", "second"]),
        ([(0, 1), (0,), (0,)], ["", "", ""]),  # one is left: nothing to compare
        ([(0,), (1,), (2,)], ["", "", ""]),
    ],
)
def test_only_rows_with_every_seed_of_the_column_are_marked(seeds, marks):
    values = (90.0, 80.0, 70.0)
    column = [Entry("", "dsc", value=v, seeds=s) for v, s in zip(values, seeds, strict=True)]
    assert [entry.mark for entry in mark_best([column], second=True)[0]] == marks
