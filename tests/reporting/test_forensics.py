"""Checks of printed and own tables: every known hit comes out with its number, and nothing else."""

from collections import Counter
from pathlib import Path

import pytest
from records import case_rows, cell, put_scores

from bench.core.errors import BenchError
from bench.experiments.cells import load_cells
from bench.reporting.forensics import findings_of_cells, findings_of_edition, rows_of_edition
from bench.reporting.forensics.columns import discordant, places
from bench.reporting.forensics.copies import LoggedRun, LoggedRuns, compared, read_runs, summary
from bench.reporting.forensics.leads import leads, spread
from bench.reporting.forensics.reading import computed, printed, printed_as
from bench.reporting.forensics.rows import ScoredRow, columns
from bench.reporting.published import load_edition, shared

AAAI, V1 = load_edition("aaai2025"), load_edition("arxiv-v1")


def found(edition, check):
    return [one for one in findings_of_edition(edition) if one.check == check]


# ---- what the printed digits leave


@pytest.mark.parametrize(
    "text, rounded, truncated",
    [("76.23", (76.225, 76.235), (76.23, 76.24)), ("14.0", (13.95, 14.05), (14.0, 14.1))],
)
def test_a_printed_number_stands_for_a_range(text, rounded, truncated):
    reading = printed(text)
    assert reading.ranges["rounded"] == pytest.approx(rounded)
    assert reading.ranges["truncated"] == pytest.approx(truncated)
    assert (reading.low, reading.high) == pytest.approx((rounded[0], truncated[1]))


def test_the_two_ways_of_printing_a_mean():
    assert printed_as(68.5179, "rounded", "68.51") == "68.52"
    assert printed_as(68.5179, "truncated", "68.51") == "68.51"


# ---- the counts


@pytest.mark.parametrize(
    "edition, counts",
    [
        (
            AAAI,
            {
                "jensen": 1,
                "pooled": 4,
                "discordance": 1,
                "equal": 1,
                "lead": 4,
                "edition": 1,
            },
        ),
        (V1, {"pooled": 4, "lead": 6, "edition": 1}),
    ],
)
def test_what_is_flagged_and_nothing_else(edition, counts):
    assert Counter(one.check for one in findings_of_edition(edition) if one.flagged) == counts


# ---- the numbers


def test_sdseg_on_glas_is_below_jensens_bound_by_386_thousandths():
    (one,) = found(AAAI, "jensen")
    assert (one.models, one.where) == (("SDSeg",), "Table 2, glas")
    assert one.value == pytest.approx(-0.386, abs=5e-4)
    assert one.high < -0.37  # impossible however the digits were made


def test_ege_unet_is_pooled_on_four_datasets_on_one_only_if_truncated():
    for edition in (AAAI, V1):
        hits = found(edition, "pooled")
        assert {one.models for one in hits} == {("EGE-UNet",)}
        only = {
            one.where.split(", ")[1]: "only if the numbers are truncated" in one.text
            for one in hits
        }
        assert only == {
            "busi": True,
            "glas": False,
            "ham10000": False,
            "kvasir-instrument": False,
        }


# Values of ACC-UNet's authors, which the project does not ship; docs/claims.md has the format.
LOGGED = Path(__file__).parents[3] / "shared" / "runs" / "acc-unet.toml"


@pytest.mark.skipif(not LOGGED.is_file(), reason="the logged runs are not at ../shared/runs")
def test_24_of_24_baseline_numbers_are_anothers_means_truncated():
    logged = read_runs(LOGGED)
    assert len(logged.runs) == 6 * 2 * 3
    for edition in (AAAI, V1):
        all_compared = compared(edition, logged)
        assert len(all_compared) == 24
        assert sum("truncated" in one.ways for one in all_compared) == 24
        assert sum("rounded" in one.ways for one in all_compared) == 16
        spreads = [one.sd for one in all_compared if one.number.key.metric == "dsc"]
        assert (round(min(spreads), 1), round(max(spreads), 1)) == (0.2, 2.1)


def runs_of(*scores):
    """Runs of UNet on BUSI, which the paper prints as 72.27 and 63.00."""
    runs = [
        LoggedRun(dataset="busi", method="unet", run=number, dsc=dsc, iou=iou)
        for number, (dsc, iou) in enumerate(scores)
    ]
    facts = dict.fromkeys(("title", "citation", "files"), "made up")
    return LoggedRuns(name="made-up", url="a.org/b", commit="0" * 40, runs=tuple(runs), **facts)


def test_a_number_that_is_the_truncated_mean_of_runs_is_a_copy():
    """Means 72.278 and 63.004: the first prints as 72.27 only if truncated."""
    logged = runs_of((0.72178, 0.62904), (0.72378, 0.63104))
    ways = {one.number.key.metric: one.ways for one in compared(AAAI, logged)}
    assert ways == {"dsc": ("truncated",), "iou": ("rounded", "truncated")}
    (dsc, _) = [one for one in findings_of_edition(AAAI, logged) if one.check == "copy"]
    assert (dsc.models, dsc.where) == (("UNet",), "Table 1, busi")
    assert dsc.value == pytest.approx(72.278)
    assert dsc.source == "a.org/b at 0000000000, made up"
    assert "2 numbers with logged runs, 2 equal the mean of the runs truncated and 1 rounded" in (
        summary(AAAI, logged)
    )


def test_another_mean_and_a_single_run_are_no_copies():
    assert [one.ways for one in compared(AAAI, runs_of((0.73, 0.64), (0.73, 0.64)))] == [(), ()]
    assert compared(AAAI, runs_of((0.7227, 0.63))) == []


def test_logged_runs_are_read_from_two_files(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('title = "t"\ncitation = "c"\nurl = "u"\ncommit = "d2bbae4148"\nfiles = "f"\n')
    file.with_suffix(".csv").write_text("dataset,method,run,dsc,iou\nbusi,unet,1,0.7,0.6\n")
    assert read_runs(file).values("busi", "unet", "iou") == [60.0]
    file.with_suffix(".csv").write_text("dataset,method\nbusi,unet\n")
    with pytest.raises(BenchError, match="holds no logged runs: .*dataset,method,run,dsc,iou"):
        read_runs(file)


def test_gss_on_bus_is_third_by_dsc_and_eleventh_by_hd95():
    (one,) = found(AAAI, "discordance")
    assert (one.models, one.where) == (("GSS",), "Table 1, bus")
    assert one.text == "place 3 by DSC and place 11 by HD95 among 12 rows"


def test_two_models_share_one_hd95_on_ham10000():
    (one,) = found(AAAI, "equal")
    assert one.models == ("MultiResUNet", "MedSegDiff-V2")
    assert (one.where, one.text) == ("Table 2, ham10000", "both show 13.02")


@pytest.mark.parametrize(
    "test, second, chances",
    [
        ("bus", "nnUNet", (0.15, 0.11, 0.05)),
        ("busi", "GSS", (0.14, 0.08, 0.01)),
        ("glas", "ACC-UNet", (0.35, 0.31, 0.21)),
        ("ham10000", "nnUNet", (0.04, 0.01, 0.00)),  # EGE-UNet's pooled 93.90 is no rival
        ("kvasir-instrument", "nnUNet", (0.36, 0.33, 0.24)),
    ],
)
def test_the_chance_that_the_lead_is_noise(test, second, chances):
    (column,) = [c for c in columns(rows_of_edition(AAAI)) if c[0].test == test and len(c) == 12]
    (lead,) = leads(column)
    assert (lead.best.model, lead.second.model) == ("GMS", second)
    assert [one.value for one in lead.chances] == pytest.approx(chances, abs=6e-3)
    assert all(one.low <= one.value <= one.high for one in lead.chances)
    assert lead.is_noise == (test != "ham10000")


def test_the_editions_share_139_numbers_and_differ_in_one():
    assert len(shared("arxiv-v1", "aaai2025")) == 139
    for edition, text in (
        (V1, "93.95 here, 93.91 in aaai2025; 93.95 is nnUNet's in aaai2025"),
        (AAAI, "93.91 here, 93.95 in arxiv-v1; 93.95 is nnUNet's in aaai2025"),
    ):
        (one,) = found(edition, "edition")
        assert (one.models, one.where) == (("ACC-UNet",), "Table 2, kvasir-instrument")
        assert one.text == f"{text}; the other 138 shared numbers agree"


# ---- the rules


def row(model, cases=50, **scores):
    """A row of one column, scores as printed text."""
    readings = {metric: printed(text) for metric, text in scores.items()}
    return ScoredRow("Table 1", "busi", "busi", model.lower(), model, readings, cases)


def test_the_spread_of_two_images_from_their_means():
    """DSC 0.6 and 1.0: IoU 3/7 and 1. The true SD is 20 points."""
    assert spread(80.0, 100 * (3 / 7 + 1) / 2) == pytest.approx(20.3, abs=0.05)


def test_equal_numbers_share_a_place_and_smaller_distances_are_better():
    rows = [row("A", hd95="3.0"), row("B", hd95="2.0"), row("C", hd95="2.0")]
    assert places(rows, "hd95") == {"A": 3, "B": 1, "C": 1}


def test_a_pooled_row_takes_no_place():
    """Six rows of one order, and a pooled one that is first by DSC and last by HD95."""
    scores = [(f"{90 - i}.00", f"{84 - i}.00", f"{10 + i}.00") for i in range(6)]
    rows = [row(f"M{i}", dsc=d, iou=j, hd95=h) for i, (d, j, h) in enumerate(scores)]
    pooled = row("Pooled", dsc="95.00", iou="90.48", hd95="90.00")
    lone = row("Lone", dsc="95.00", iou="91.48", hd95="90.00")
    assert not list(discordant([*rows, pooled]))
    assert [hit[0].model for hit in discordant([*rows, lone])] == ["Lone"]
    assert next(leads([*rows, pooled])).best.model == "M0"


# ---- the same checks of our own cells


def overlaps(*dsc):
    """Case scores whose IoU belongs to their DSC."""
    return [{"dsc": d, "iou": d / (2 - d), "hd95": 10 * (1 - d)} for d in dsc]


def test_true_means_of_stored_cells_raise_no_flag(tmp_path):
    for number, method in enumerate(("unet", "gms", "ege_unet")):
        scores = overlaps(0.5 + 0.01 * number, 0.7, 0.95 - 0.02 * number)
        put_scores(cell(tmp_path, method), "busi-test", case_rows(scores))
    assert {one.check for one in findings_of_cells(load_cells(tmp_path))} <= {"lead"}


def test_a_changed_iou_of_a_stored_cell_is_below_jensens_bound(tmp_path):
    scores = overlaps(0.5, 0.7, 0.95)
    scores[1]["iou"] -= 0.2
    put_scores(cell(tmp_path), "busi-test", case_rows(scores))
    (one,) = findings_of_cells(load_cells(tmp_path))
    assert (one.check, one.where) == ("jensen", "demo clean best-val 96, busi")


def test_iou_above_dsc_is_flagged(tmp_path):
    put_scores(cell(tmp_path), "busi-test", case_rows([{"dsc": 0.5, "iou": 0.6}] * 3))
    assert [one.check for one in findings_of_cells(load_cells(tmp_path))] == ["order"]


@pytest.mark.parametrize(
    "scores, flagged",
    [
        ((0.8, 0.8, 0.8), True),  # every image the same: as pooled would look
        ((0.8,), False),  # one image tells nothing
        ((0.0, 0.0, 0.0), False),
        ((1.0, 1.0, 1.0), False),
    ],
)
def test_what_looks_pooled_among_our_rows(tmp_path, scores, flagged):
    put_scores(cell(tmp_path), "busi-test", case_rows(overlaps(*scores)))
    checks = [one.check for one in findings_of_cells(load_cells(tmp_path))]
    assert checks == (["pooled"] if flagged else [])


def test_two_rows_equal_to_the_last_digit_are_flagged(tmp_path):
    for method in ("unet", "ege_unet"):
        put_scores(cell(tmp_path, method), "busi-test", case_rows(overlaps(0.5, 0.7, 0.96)))
    equal = [one for one in findings_of_cells(load_cells(tmp_path)) if one.check == "equal"]
    assert {one.metric for one in equal} == {"dsc", "iou", "hd95"}


def test_an_exact_number_stands_for_itself():
    assert computed(80.0).low == pytest.approx(80.0) and computed(80.0).text == "80.0"
