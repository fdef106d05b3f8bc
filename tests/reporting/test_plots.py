"""Figures of hand-written cells: which are drawn, what they say, nothing clipped, equal bytes."""

import itertools
import warnings

import numpy as np
import pytest
from records import case_rows, cell, curve, put_scores

from bench.core.errors import BenchError
from bench.core.files import write_with
from bench.experiments.cells import load_cells
from bench.experiments.matrices import Matrix, TableBlock, get_matrix

matplotlib = pytest.importorskip("matplotlib", reason="figures need matplotlib")

from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.reporting.cases import Images, require_cases
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.plots import (
    Example,
    Reconstruction,
    build_figures,
    qualitative_figure,
    reconstruction_figure,
    save,
    styled,
)
from bench.reporting.plots import build as build_module
from bench.reporting.plots.curves import curves_figure, series_labels
from bench.reporting.plots.optimism import optimism_figure
from bench.reporting.plots.performance import drop_figure, parameters_figure, spread_figure
from bench.reporting.plots.series import figure_data
from bench.reporting.plots.style import series_style

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # such as a layout that collapses

TITLES = {"bus": "BUS", "busi": "BUSI", "kvasir-instrument": "Kvasir-Instrument"}
METHODS = TableBlock(
    name="t1", caption="Methods", kind="methods", datasets=("busi", "bus"), reference="gms"
)
CROSS = TableBlock(
    name="t3", caption="Cross", kind="cross-domain", pairs=(("busi", "bus"),), reference="gms"
)
MATRIX = Matrix(name="m", title="m", tables=(METHODS, CROSS))


def disc(size=32, radius=8, at=(16, 16)):
    y, x = np.mgrid[:size, :size]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2


def put_examples(record, label, pred):
    dataset, subset = label.rsplit("-", 1)
    file = record.scores_file(dataset, subset).with_name(f"{label}-examples.npz")
    target = disc()
    picture = np.repeat((200 * target).astype(np.uint8)[..., None], 3, axis=2)
    write_with(
        file,
        lambda stream: np.savez_compressed(
            stream,
            case_ids=np.array(["case-0"]),
            images=picture[None],
            masks=target[None],
            preds=pred[None],
        ),
    )


@pytest.fixture
def cells(tmp_path):
    folder = tmp_path / "cells"
    for method, dsc in (("unet", 0.7), ("gms", 0.8)):
        means = {"busi-test": dsc, "bus-test": dsc - 0.3}
        record = cell(folder, method, "busi", dsc=means, history=curve(best=dsc))
        put_examples(record, "busi-test", disc(radius=7))
    cell(folder, "unet", "bus", status="failed", error="out of memory")
    return load_cells(folder)


def words(figure):
    """Every word that is drawn."""
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def assert_nothing_is_clipped(figure):
    figure.canvas.draw()
    canvas = figure.bbox
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            outside = (box.x0 < -1, box.y0 < -1, box.x1 > canvas.x1 + 1, box.y1 > canvas.y1 + 1)
            # Ticks beyond an axis' limits are placed but not drawn.
            if any(outside) and box.width and text.get_clip_on() is False:
                is_drawn = text.axes is None or text.get_text() in _seen(text.axes)
                assert not is_drawn, f"{text.get_text()!r} is cut off: {outside}"


def _seen(axes):
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return {axes.get_title(), axes.get_xlabel(), axes.get_ylabel()} | {t.get_text() for t in ticks}


# ---- all of them


def test_a_matrix_gets_its_figures_as_png_and_pdf(cells, tmp_path):
    paths = build_figures(MATRIX, cells, tmp_path / "figures", TITLES)
    names = {path.name for path in paths}
    wanted = ("in-domain-dsc", "in-domain-parameters", "in-domain-examples", "t3-dsc", "t3-drop")
    assert names == {f"{name}.{e}" for name in (*wanted, "training") for e in ("png", "pdf")}
    for path in paths:
        start = path.read_bytes()[:8]
        assert start.startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")


def test_no_cells_give_no_figures(tmp_path):
    assert build_figures(MATRIX, [], tmp_path) == []


def test_when_every_cell_failed_there_is_nothing_to_draw(tmp_path):
    cells = [cell(tmp_path / "cells", status="failed", error="crash")]
    assert build_figures(MATRIX, cells, tmp_path / "figures", TITLES) == []


def test_a_dataset_without_scores_gets_no_axes_and_is_named(cells):
    data = figure_data(METHODS, cells, TITLES)
    assert [data.title(column) for column in data.columns] == ["BUSI"]
    assert data.remark == "No scores on BUS."
    with styled():
        (name, figure), *_ = build_module._figures(
            [data], cells, TITLES, ["unet", "gms"], "r", (Images(None), {})
        )
        assert name == "t1-dsc"
        assert [axes.get_title() for axes in figure.axes] == ["BUSI"]
        assert any("No scores on BUS." in text for text in words(figure))


def test_a_row_that_failed_says_so_beside_rows_with_scores(tmp_path):
    block = METHODS.model_copy(update={"datasets": ("busi",)})
    cells = [cell(tmp_path, "gms"), cell(tmp_path, "unet", status="failed", error="NaN")]
    with styled():
        assert "failed" in words(spread_figure(figure_data(block, cells, TITLES), "t", "r"))


def test_figures_refuse_to_mix_profiles(tmp_path):
    mixed = [cell(tmp_path), cell(tmp_path, profile="paper")]
    with pytest.raises(BenchError, match="mix profiles: demo.*paper"):
        build_figures(MATRIX, mixed, tmp_path / "figures")


def test_the_remark_names_the_comparison_key_the_phantoms_and_selection_on_test(
    tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(build_module, "_figures", lambda *a: seen.append(a[-2]) or [])
    build_figures(MATRIX, [cell(tmp_path, protocol="paper", selection="best-test")], tmp_path)
    build_figures(MATRIX, [cell(tmp_path, profile="paper", image_size=224)], tmp_path)
    assert "Profile demo, protocol paper, selection rule best-test, 96 px." in seen[0]
    assert "phantoms stand in" in seen[0] and "chosen on the test cases" in seen[0]
    assert "phantoms" not in seen[1] and "chosen on" not in seen[1]


def test_the_paper_matrix_joins_its_tables_of_methods_in_one_figure():
    blocks = build_module._blocks(get_matrix("paper"))
    assert blocks[0].name == "in-domain"
    assert len(blocks[0].datasets) == 5
    assert [block.kind for block in blocks[1:]] == ["cross-domain", "ablation", "ablation"]


def test_the_same_figure_is_saved_as_the_same_bytes(tmp_path):
    def once(folder):
        with styled():
            example = Example("BUSI", np.zeros((32, 32, 3), np.uint8), disc(), {"UNet": disc()})
            return save(qualitative_figure([example], ["UNet"], "t", "r"), folder, "f")

    first, second = once(tmp_path / "a"), once(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_figure_that_fails_to_save_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(self, file, **options):
        file.write(b"half a figure")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(Figure(), tmp_path, "f")
    assert list(tmp_path.iterdir()) == []


# ---- each kind


def test_the_spread_figure_has_a_panel_per_dataset_a_box_per_method_and_its_mean(cells):
    with styled():
        figure = spread_figure(figure_data(METHODS, cells, TITLES), "Methods", "remark")
        assert [axes.get_title() for axes in figure.axes] == ["BUSI"]
        found = words(figure)
        means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
        assert_nothing_is_clipped(figure)
    assert means == pytest.approx([70, 80])
    assert {"UNet", "GMS", "CNN", "Generative", "mean"} <= set(found)


def test_cases_are_averaged_over_seeds_before_they_are_drawn(tmp_path):
    import pandas as pd

    for seed, values in ((0, (0.2, 0.8)), (1, (0.4, 1.0))):
        record = cell(tmp_path, seed=seed, cases=2)
        rows = record.scores("busi", "test").assign(dsc=values)
        native = rows.assign(grid="native", dsc=0.0)
        put_scores(record, "busi-test", pd.concat([rows, native]))
    block = METHODS.model_copy(update={"datasets": ("busi",)})
    data = figure_data(block, load_cells(tmp_path), {})
    spread = data.spread(data.layout.rows[0], data.layout.columns[0])
    assert spread.cases == pytest.approx([30, 90])


def with_cases(folder, scores, method="unet"):
    """A cell on busi with a DSC for each of case-0, case-1, ..., of which `kept` holds images."""
    record = cell(folder, method)
    record = put_scores(record, "busi-test", case_rows([{"dsc": dsc} for dsc in scores]))
    file = record.scores_file("busi", "test").with_name("busi-test-examples.npz")
    count = len(scores)
    kept = {
        "case_ids": np.array([f"case-{at}" for at in range(count)]),
        "images": np.stack([np.full((32, 32, 3), at, np.uint8) for at in range(count)]),
        "masks": np.stack([disc()] * count),
        "preds": np.stack([disc(radius=3 + at) for at in range(count)]),
    }
    write_with(file, lambda stream: np.savez_compressed(stream, **kept))
    return record


def examples_of(records, **chosen):
    block = METHODS.model_copy(update={"datasets": ("busi",)})
    data = figure_data(block, records, TITLES)
    return build_module._examples(data, Images(None), chosen)


def test_the_worst_the_median_and_the_best_case_are_drawn_with_their_dsc(tmp_path):
    record = with_cases(tmp_path, [0.5, 0.123, 0.9, 0.6, 0.7])
    worst, median, best = examples_of([record])
    labels = [example.label for example in (worst, median, best)]
    assert labels == [
        "BUSI, worst of 5 kept\ncase-1", "BUSI, median of 5 kept\ncase-3",
        "BUSI, best of 5 kept\ncase-2",
    ]  # fmt: skip
    assert worst.scores == {"UNet": "DSC 12.3"}
    assert (worst.image == 1).all() and (worst.preds["UNet"] == disc(radius=4)).all()
    assert (worst.target == disc()).all()


def test_cases_are_chosen_by_the_mean_over_methods(tmp_path):
    one = with_cases(tmp_path, [0.2, 0.3, 0.9])
    other = with_cases(tmp_path, [0.9, 0.1, 0.8], "gms")
    found = examples_of([one, other])
    assert [example.label.split()[-1] for example in found] == ["case-1", "case-0", "case-2"]
    assert found[1].scores == {"UNet": "DSC 20.0", "GMS": "DSC 90.0"}


def test_cases_that_were_asked_for_come_first(tmp_path):
    record = with_cases(tmp_path, [0.5, 0.1, 0.9, 0.6, 0.7])
    found = examples_of([record], busi=("case-4", "case-2"), glas=("testA_1",))
    assert [example.label.replace("\n", " ") for example in found] == [
        "BUSI, asked for case-4", "BUSI, asked for case-2", "BUSI, worst of 5 kept case-1",
        "BUSI, median of 5 kept case-3",
    ]  # fmt: skip


def test_a_case_that_nobody_scored_is_refused_with_near_names(tmp_path):
    records = [with_cases(tmp_path, [0.5, 0.1])]
    scores = ScoreIndex(scores_of(records))
    require_cases({"busi": ("case-0", "case-1")}, records, scores)
    with pytest.raises(
        BenchError, match="No scored test case of busi has the id 'csae-1'. Near: case-1"
    ):
        require_cases({"busi": ("csae-1",)}, records, scores)
    with pytest.raises(BenchError, match="No scored dataset named 'bus'. Did you mean 'busi'"):
        require_cases({"bus": ("case-1",)}, records, scores)


def test_the_parameter_figure_places_each_method_at_its_count(cells):
    with styled():
        figure = parameters_figure(figure_data(METHODS, cells, TITLES), "t", "r")
        points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in figure.axes[0].lines]
        assert figure.axes[0].get_xscale() == "log"
        assert figure.axes[0].get_xlim() == (1, 100)
        assert_nothing_is_clipped(figure)
    assert points == [(pytest.approx(14.751873), pytest.approx(70)), (1.564976, pytest.approx(80))]


def test_the_drop_figure_writes_cross_minus_own(cells):
    with styled():
        figure = drop_figure(figure_data(CROSS, cells, TITLES), "t", "r")
        found = words(figure)
        assert_nothing_is_clipped(figure)
    assert found.count("−30.0") == 2
    assert "BUSI to BUS" in found


def test_external_sets_scored_on_all_cases_only_are_drawn_and_named_so(tmp_path):
    cells = [cell(tmp_path, dsc={"busi-test": 0.7, "bus-all": 0.5})]
    with styled():
        assert "BUSI to BUS (all cases)" in words(
            drop_figure(figure_data(CROSS, cells, TITLES), "t", "")
        )


def test_curves_have_loss_above_dsc_below_and_say_which_dsc(tmp_path):
    on_val = cell(tmp_path, "unet", history=curve())
    with styled():
        above, below = curves_figure([on_val], TITLES, "t", "r", ["unet"]).axes
    assert above.get_yscale() == "log" and above.get_title() == "BUSI"
    assert below.get_ylabel() == "validation DSC (%)"
    assert list(below.lines[0].get_xdata()) == [4, 8, 12, 16, 20]
    tested = curve().assign(test_dsc=0.5, val_dsc=np.nan)
    on_test = cell(tmp_path, "gms", history=tested)
    with styled():
        figure = curves_figure([on_test], TITLES, "t", "r", ["gms"])
        assert figure.axes[1].get_ylabel() == "test DSC (%)"
        assert_nothing_is_clipped(figure)


def shifts(figure, axes):
    """How many points each curve is moved up."""
    figure.canvas.draw()
    moved = []
    for line in axes.lines:
        there = line.get_transform().transform([(4, 0.5)])[0, 1]
        moved.append((there - axes.transData.transform([(4, 0.5)])[0, 1]) * 72 / figure.dpi)
    return [round(float(points), 1) for points in moved]


def test_curves_that_coincide_are_drawn_side_by_side(tmp_path):
    cells = [
        cell(tmp_path, "unet", history=curve()),
        cell(tmp_path, "gms", history=curve()),
        cell(tmp_path, "ege_unet", history=curve(best=0.3)),
    ]
    with styled():
        figure = curves_figure(cells, TITLES, "t", "r", ["unet", "gms", "ege_unet"])
        above, below = figure.axes
        assert shifts(figure, above) == [0, 1.7, 3.4]  # three equal losses
        assert shifts(figure, below) == [0, 1.7, 0]  # two equal DSC, one lower
        assert "Curves that coincide are drawn side by side." in " ".join(words(figure))
    assert [line.get_marker() for line in above.lines] == ["o", "s", "^"]


def test_variants_of_a_method_get_their_own_curve_and_name(tmp_path):
    cells = [
        cell(tmp_path, "gms", history=curve()),
        cell(tmp_path, "gms", changed={"loss": "lm"}, history=curve()),
        cell(tmp_path, "unet", history=curve()),
    ]
    assert sorted(series_labels(cells).values()) == ["GMS", "GMS (loss=lm)", "UNet"]


def test_the_qualitative_grid_has_rows_of_examples_and_columns_of_methods():
    picture = np.zeros((32, 32, 3), np.uint8)
    examples = [
        Example("BUSI", picture, disc(), {"UNet": disc(radius=6), "GMS": ~disc(radius=40)}),
        Example("Kvasir-Instrument", picture, disc(at=(0, 0)), {"GMS": disc()}, {"GMS": "DSC 1"}),
    ]
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")  # a contour of an empty mask would warn
        figure = qualitative_figure(examples, ["UNet", "GMS"], "t", "r")
        assert len(figure.axes) == 2 * 3
        found = words(figure)
        assert_nothing_is_clipped(figure)
    assert {"Image", "UNet", "GMS", "BUSI", "Kvasir-Instrument", "DSC 1"} <= set(found)
    assert found.count("no prediction") == 1
    assert {"ground truth", "prediction"} <= set(found)


def test_the_reconstruction_figure_marks_the_worst_case():
    picture = np.zeros((32, 32, 3), np.uint8)
    row = Reconstruction("BUSI malignant (5)", picture, picture, disc(), disc(radius=7), "Dice 0.9")
    worst = Reconstruction("x", picture, picture, disc(), disc(), "Dice 1", worst=True)
    with styled():
        figure = reconstruction_figure([row, worst], "tiny-kl")
        found = words(figure)
        assert_nothing_is_clipped(figure)
    assert "x\n(worst case)" in found and "Dice 0.9" in found
    wrong = figure.axes[4].images[0].get_array()
    assert wrong.sum() == (disc() ^ disc(radius=7)).sum()


def test_figures_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one example"):
        qualitative_figure([], ["UNet"], "t", "r")
    with pytest.raises(ValueError, match="at least one case"):
        reconstruction_figure([], "t")


def test_fourteen_methods_get_fourteen_different_looks():
    looks = [series_style(index) for index in range(49)]
    assert len(set(looks)) == 49
    for one, other in itertools.pairwise(looks):
        assert one[0] != other[0]


# ---- optimism


def optimistic(folder, method, picked, best):
    """A cell whose validation prefers its last epoch, and whose test cases the one before."""
    history = curve().assign(test_dsc=np.nan)
    history.loc[history["epoch"] == 16, "test_dsc"] = best
    history.loc[history["epoch"] == 20, "test_dsc"] = picked
    return cell(folder, method, history=history, provenance={"optimism": best - picked})


def test_the_optimism_figure_sets_the_best_test_dsc_against_that_of_validations_epoch(tmp_path):
    cells = [optimistic(tmp_path, "unet", 0.7, 0.75), optimistic(tmp_path, "gms", 0.8, 0.8)]
    with styled():
        figure = optimism_figure(cells, TITLES, "r", ["unet", "gms"])
        dots = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
        points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots]
        assert_nothing_is_clipped(figure)
    assert points == [(pytest.approx(70), pytest.approx(75)), (pytest.approx(80),) * 2]


def test_the_optimism_is_drawn_where_it_was_measured(tmp_path):
    optimistic(tmp_path / "cells", "unet", 0.7, 0.75)
    cell(tmp_path / "cells", "gms", history=curve())
    names = {p.stem for p in build_figures(MATRIX, load_cells(tmp_path / "cells"), tmp_path / "f")}
    assert "optimism" in names


# ---- curves without a measured DSC, and of two recipes


def test_training_without_any_measured_dsc_has_no_axes_for_it(tmp_path):
    record = cell(tmp_path, history=curve().assign(val_dsc=np.nan), selection="last")
    with styled():
        figure = curves_figure([record], TITLES, "t", "r", ["unet"])
    (above,) = figure.axes
    assert (above.get_ylabel(), above.get_xlabel()) == ("training loss (log)", "epoch")


def test_curves_of_two_versions_of_the_code_have_names_of_their_own(tmp_path):
    cells = [
        cell(tmp_path, seed=n, history=curve(), inputs={"code": c * 64}) for n, c in enumerate("ab")
    ]
    assert sorted(series_labels(cells).values()) == ["UNet (code aaaaaaaa)", "UNet (code bbbbbbbb)"]


def test_files_of_a_part_have_names_of_their_own(cells, tmp_path):
    paths = build_figures(
        MATRIX, cells, tmp_path / "f", TITLES, suffix="--seeds-1", narrowed="seeds 1"
    )
    assert {path.stem.partition("--")[2] for path in paths} == {"seeds-1"}
