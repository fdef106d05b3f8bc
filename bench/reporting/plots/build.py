"""Which figures a matrix's cells give, and where they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import Matrix, TableBlock
from bench.metrics.empty import overlap_when_empty
from bench.reporting.plots.curves import curves_figure
from bench.reporting.plots.performance import drop_figure, parameters_figure, spread_figure
from bench.reporting.plots.pictures import Example, Mask, qualitative_figure
from bench.reporting.plots.series import FigureData, figure_data
from bench.reporting.plots.style import save, styled
from bench.reporting.tables.comparable import ComparisonKey, latest, require_one_key
from bench.reporting.tables.footer import PHANTOM_WORDS, on_phantoms
from bench.reporting.tables.parameters import counts_of
from bench.reporting.tables.table import Column

MANY_CURVES = 200  # cells beyond which single lines say nothing


def build_figures(
    matrix: Matrix,
    cells: Sequence[CellRecord],
    folder: Path,
    titles: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draw every figure that the cells allow, as PNG and PDF under `folder`; returns the files.

    Spread of DSC and example predictions per table of the matrix, DSC against parameters, the
    cross-domain drop, training curves. cells: records of one key. titles: dataset -> heading.
    Raises BenchError when the cells do not share profile, protocol, selection rule and size.
    """
    if not cells:
        return []
    key = require_one_key("figures", cells)
    records, _ = latest("figures", cells)
    records.sort(key=lambda record: record.id)
    remark = _remark(key, records)
    paths: list[Path] = []
    with styled():
        for name, figure in _figures(_blocks(matrix), records, titles or {}, remark):
            paths += save(figure, folder, name)
    return paths


def _blocks(matrix: Matrix) -> list[TableBlock]:
    """The matrix's tables as figure blocks: all tables of methods become one."""
    named = [block for block in matrix.tables if block.kind == "methods"]
    blocks = [block for block in matrix.tables if block.kind not in ("methods", "parameters")]
    if named:
        datasets = tuple(dict.fromkeys(name for block in named for name in block.datasets))
        block = named[0].model_copy(
            update={"name": "in-domain", "caption": "In-domain segmentation", "datasets": datasets}
        )
        blocks.insert(0, block)
    return blocks


def _figures(
    blocks: Sequence[TableBlock],
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    remark: str,
) -> list[tuple[str, Figure]]:
    figures: list[tuple[str, Figure]] = []
    for block in blocks:
        shown = figure_data(block, records, titles)
        if not shown.layout.rows:
            continue
        figures.append((f"{block.name}-dsc", spread_figure(shown, block.caption, remark)))
        counted = any(counts_of(row, records)[0] for row in shown.layout.rows)
        if block.kind == "methods" and counted:
            title = "DSC against trainable parameters"
            figures.append((f"{block.name}-parameters", parameters_figure(shown, title, remark)))
        if block.kind == "cross-domain":
            title = "What is lost on the other dataset"
            figures.append((f"{block.name}-drop", drop_figure(shown, title, remark)))
        examples = _examples(shown)
        if examples:
            columns = [row.label for row in shown.layout.rows]
            figure = qualitative_figure(examples, columns, f"{block.caption}: examples", remark)
            figures.append((f"{block.name}-examples", figure))
    trained = [record for record in records if record.status == "done"]
    if trained and len(trained) <= MANY_CURVES:
        figures.append(("training", curves_figure(trained, titles, "Training curves", remark)))
    return figures


def _remark(key: ComparisonKey, records: Sequence[CellRecord]) -> str:
    words = (
        f"Profile {key.profile}, protocol {key.protocol}, selection rule {key.selection}, "
        f"{key.image_size} px."
    )
    if key.selection == "best-test":
        words += " Checkpoints were chosen on the test cases."
    return f"{words} {PHANTOM_WORDS}" if on_phantoms(key, records) else words


def _examples(shown: FigureData) -> list[Example]:
    """The first stored test case of each column, with every row's prediction of it."""
    examples = []
    for column in shown.layout.columns:
        found = {}
        for row in shown.layout.rows:
            for record in shown.records_of(row, column.train)[:1]:
                file = record.scores_file(column.test, column.subset)
                file = file.with_name(f"{file.stem}-examples.npz")
                if file.is_file():
                    with np.load(file) as stored:
                        found[row.label] = {name: stored[name] for name in stored.files}
        if found:
            examples.append(_example(shown, column, found))
    return examples


def _example(
    shown: FigureData, column: Column, found: Mapping[str, Mapping[str, np.ndarray]]
) -> Example:
    first = next(iter(found.values()))
    case = str(first["case_ids"][0])
    target = first["masks"][0].astype(bool)
    preds = {
        label: stored["preds"][0].astype(bool)
        for label, stored in found.items()
        if str(stored["case_ids"][0]) == case
    }
    scores = {label: f"DSC {100 * _dsc(pred, target):.1f}" for label, pred in preds.items()}
    return Example(shown.title(column), first["images"][0], target, preds, scores)


def _dsc(pred: Mask, target: Mask) -> float:
    total = int(pred.sum()) + int(target.sum())
    return 2 * int((pred & target).sum()) / total if total else overlap_when_empty("both")
