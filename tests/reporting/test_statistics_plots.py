"""Figures of statistics: what is drawn, in which direction, nothing clipped."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statistics_doubles import frame, index, table
from test_plots import assert_nothing_is_clipped, words

from bench.reporting.plots.differences import (
    BETTER,
    UNDECIDED,
    WORSE,
    cases_figure,
    forest_figure,
    verdict,
)
from bench.reporting.plots.ranks import blob_figure, critical_difference_figure
from bench.reporting.plots.statistics import build_statistics_figures
from bench.reporting.plots.style import styled
from bench.reporting.statistics import datasets_statistics, table_statistics

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # such as a layout that collapses

MEANS = {"unet": 0.6, "gss": 0.799, "sdseg": 0.9, "gms": 0.8}


def study(tests=("busi", "glas"), metrics=("dsc", "hd95"), means=MEANS):
    parts = []
    for test in tests:
        rng = np.random.default_rng(len(test))
        base = rng.normal(0, 0.05, 60)
        for metric in metrics:
            values = {
                method: {seed: mean + base + rng.normal(0, 0.03, 60) for seed in range(3)}
                for method, mean in means.items()
            }
            if metric == "hd95":
                values = {m: {s: 40 * (1 - v) for s, v in own.items()} for m, own in values.items()}
            parts.append(frame(values, test, metric))
    scores = pd.concat(parts, ignore_index=True)
    return table_statistics(table(scores), index(scores), "gms", 500)


@pytest.fixture(scope="module")
def found():
    return study()


def test_the_colour_is_that_of_the_better_score_for_scores_and_for_distances(found):
    for metric in ("dsc", "hd95"):
        one = found.columns[0].metrics[metric]
        colours = {label: verdict(c, one.sample)[0] for label, c in one.comparisons.items()}
        assert colours == {"unet": WORSE, "gss": UNDECIDED, "sdseg": BETTER}


def test_the_better_side_of_a_forest_is_always_the_right_one(found):
    with styled():
        figure = forest_figure(found.columns, "Forest", "Remark.")
        panels = figure.axes
        assert [axes.xaxis_inverted() for axes in panels] == [False, False, True, True]
        assert [t.get_text() for t in panels[0].get_yticklabels()] == ["unet", "gss", "sdseg"]
        assert_nothing_is_clipped(figure)
    assert "HD95, median difference (px)" in words(figure)


def test_a_method_far_out_gets_an_arrow_and_its_number():
    found = study(means=MEANS | {"broken": 0.1, "acc": 0.78, "swin": 0.79})
    with styled():
        figure = forest_figure(found.columns, "Forest", "")
        figure.canvas.draw()
    left, _ = figure.axes[0].get_xlim()
    assert left > -40  # the method is 70 points worse
    assert any(word.startswith(("−7", "−6")) for word in words(figure))
    markers = {line.get_marker() for line in figure.axes[0].lines}
    assert "<" in markers and ">" not in markers
    assert "<" in {line.get_marker() for line in figure.axes[2].lines}  # worse is left here, too


def test_nothing_is_clipped_in_narrow_figures():
    (column,) = study(("busi",), ("dsc",), {"unet": 0.6, "gms": 0.8}).columns
    with styled():
        assert_nothing_is_clipped(forest_figure([column], "Forest", "Remark."))
        assert_nothing_is_clipped(cases_figure(column, "dsc", "Cases", "Remark."))
        assert_nothing_is_clipped(blob_figure([column], "dsc", "Ranks", "Remark."))


def test_long_names_of_datasets_and_references_have_room():
    """Three short rows beside the longest dataset; the label of one row of panels is below the title."""
    names = {"loss lm": 0.6, "loss seg": 0.7, "gms": 0.8}
    (column,) = study(("busi",), ("dsc",), names).columns
    columns = [replace(column, title="Kvasir-Instrument")] * 3
    with styled():
        assert_nothing_is_clipped(blob_figure(columns, "dsc", "Ranks", "Remark."))
        figure = cases_figure(column, "dsc", "Cases", "Remark. " * 60)
        assert_nothing_is_clipped(figure)
        figure.draw_without_rendering()
        heading, label = figure._suptitle, figure.axes[0].yaxis.label
        assert label.get_text() == "method minus\ngms\n(points)"
        assert label.get_window_extent().y1 < heading.get_window_extent().y0


def test_cases_are_drawn_as_differences_over_means(found):
    with styled():
        figure = cases_figure(found.columns[0], "dsc", "Cases", "")
        assert_nothing_is_clipped(figure)
    own = found.columns[0].metrics["dsc"].sample.rows
    points = figure.axes[0].collections[0].get_offsets()
    unet, gms = (own[label].values.mean(axis=0) for label in ("unet", "gms"))
    assert np.allclose(points, np.stack([(unet + gms) / 2, unet - gms], axis=1))
    assert "unet\nbetter in 0 %" in words(figure)


def test_no_figure_of_cases_without_a_reference(found):
    scores = frame({"unet": {0: [0.5, 0.6]}, "gss": {0: [0.8, 0.8]}})
    other = table_statistics(table(scores), index(scores), "gms", 100)
    assert cases_figure(other.columns[0], "dsc", "Cases", "") is None


def test_blobs_stand_in_the_order_of_ranks_and_fill_those_that_may_be_best(found):
    with styled():
        figure = blob_figure(found.columns, "dsc", "Ranks", "")
        assert_nothing_is_clipped(figure)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["sdseg", "gss", "gms", "unet"]
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    assert [line.get_markerfacecolor() != "white" for line in diamonds] == [
        True,
        False,
        False,
        False,
    ]
    areas = axes.collections[0].get_sizes()
    assert areas == pytest.approx([130.0])  # first in every resample


def test_the_diagram_draws_the_difference_to_scale_with_n():
    (over,) = datasets_statistics([study(("d1", "d2", "d3"), ("dsc",))])
    with styled():
        figure = critical_difference_figure(over, "Over datasets", "")
        assert_nothing_is_clipped(figure)
    assert f"CD = {over.result.difference:.2f} ranks, N = 3 datasets" in words(figure)
    scale = figure.axes[0].lines[1 + len(MEANS)]
    assert np.ptp(scale.get_xdata()) == pytest.approx(over.result.difference)


def test_a_difference_longer_than_the_axis_says_so():
    (over,) = datasets_statistics([study(("d1", "d2"), ("dsc",))])
    with styled():
        figure = critical_difference_figure(over, "Over datasets", "")
    assert any("no two can be told apart" in word for word in words(figure))


def test_files_are_named_by_table_and_content(found, tmp_path):
    over = datasets_statistics([study(("d1", "d2"), ("dsc",))])
    paths = build_statistics_figures([found], over, tmp_path, "Remark.")
    stems = ["t1-forest", "t1-ranks-dsc", "t1-ranks-hd95", "t1-cases-busi", "t1-cases-glas"]
    wanted = {f"{stem}.{e}" for stem in (*stems, "over-datasets-dsc") for e in ("png", "pdf")}
    assert {path.name for path in paths} == wanted == {path.name for path in tmp_path.iterdir()}
