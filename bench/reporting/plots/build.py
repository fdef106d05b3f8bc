"""Which figures a matrix's cells give, and where they are written."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.core.errors import BenchError
from bench.experiments.cells import CellRecord, TestSet
from bench.experiments.matrices import Matrix, TableBlock
from bench.reporting.cases import Chosen, Images, Line, averages, worst_median_best
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.plots.curves import curves_figure
from bench.reporting.plots.optimism import optimism_figure
from bench.reporting.plots.performance import drop_figure, parameters_figure, spread_figure
from bench.reporting.plots.pictures import Example, qualitative_figure
from bench.reporting.plots.series import FigureData, figure_data
from bench.reporting.plots.style import save, styled
from bench.reporting.tables.comparable import ComparisonKey, require_one_key, standing
from bench.reporting.tables.data import facts_of, shortcomings
from bench.reporting.tables.footer import PHANTOM_WORDS, on_phantoms
from bench.reporting.tables.layout import row_order
from bench.reporting.tables.parameters import counts_of
from bench.reporting.tables.table import Column, Grid

logger = logging.getLogger("bench")

MANY_CURVES = 200  # cells beyond which single lines say nothing


def build_figures(
    matrix: Matrix,
    cells: Sequence[CellRecord],
    folder: Path,
    titles: Mapping[str, str] | None = None,
    scores: ScoreIndex | None = None,
    *,
    grid: Grid = "network",
    suffix: str = "",
    narrowed: str = "",
    images: Images | None = None,
    chosen: Chosen | None = None,
) -> list[Path]:
    """Draw every figure that the cells allow, as PNG and PDF under `folder`; returns the files.

    Spread of DSC and example predictions per table of the matrix, DSC against parameters, the
    cross-domain drop, training curves, and the optimism where it was measured. cells: records of
    one comparison key. titles: dataset -> heading. scores: the cells' scores where they are read
    already. grid: where scores are taken. suffix, narrowed: of a report on a part of what is stored:
    what follows each file's name, and what it is narrowed to in words. images: of the test cases;
    without, those of phantoms. chosen: cases to draw besides the worst, median and best ones.
    Raises BenchError when the cells cannot be compared, by the checks that tables make.
    """
    if not cells:
        return []
    titles = titles or {}
    key = require_one_key("figures", cells)
    records, _ = standing(cells)
    records.sort(key=lambda record: record.id)
    scores = scores or ScoreIndex(scores_of(records))
    order = row_order(matrix, {record.key.method for record in records})
    remark = _remark(key, records) + (f" A part: {narrowed}." if narrowed else "")
    paths: list[Path] = []
    with styled():
        data = [figure_data(block, records, titles, scores, grid) for block in _blocks(matrix)]
        looks = (images or Images(None), chosen or {})
        for name, figure in _figures(data, records, titles, order, remark, looks):
            paths += save(figure, folder, name + suffix)
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
    every: Sequence[FigureData],
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    order: Sequence[str],
    remark: str,
    looks: tuple[Images, Chosen],
) -> list[tuple[str, Figure]]:
    figures: list[tuple[str, Figure]] = []
    for data in every:
        names = [name for c in data.columns for name in (c.train, c.test)]
        if names:
            own = _with_data(remark, data.records, names, titles)
            figures += _block_figures(data, f"{own} {data.remark}".rstrip(), *looks)
    drawn = {id(record) for data in every for record in data.records}
    trained = [r for r in records if r.status == "done" and id(r) in drawn and _has_history(r)]
    remark = _with_data(remark, trained, [record.key.train for record in trained], titles)
    if any(data.grid == "native" for data in every):
        remark += " Scores taken during training are on the network grid."
    if trained and len(trained) <= MANY_CURVES:
        figures.append(
            ("training", curves_figure(trained, titles, "Training curves", remark, order))
        )
    measured = [record for record in trained if record.provenance.get("optimism") is not None]
    if measured:
        figures.append(("optimism", optimism_figure(measured, titles, remark, order)))
    return figures


def _block_figures(
    data: FigureData, remark: str, images: Images, chosen: Chosen
) -> list[tuple[str, Figure]]:
    """The figures of one table of the matrix."""
    block = data.layout.block
    figures = [(f"{block.name}-dsc", spread_figure(data, block.caption, remark))]
    counted = any(counts_of(row, data.records)[0] for row in data.layout.rows)
    if block.kind == "methods" and counted:
        title = "DSC against trainable parameters"
        figures.append((f"{block.name}-parameters", parameters_figure(data, title, remark)))
    if block.kind == "cross-domain":
        title = "What is lost on the other dataset"
        figures.append((f"{block.name}-drop", drop_figure(data, title, remark)))
    examples = _examples(data, images, chosen)
    if examples:
        columns = [row.label for row in data.layout.rows if any(row.label in e.preds for e in examples)]  # fmt: skip
        figure = qualitative_figure(examples, columns, f"{block.caption}: examples", remark)
        figures.append((f"{block.name}-examples", figure))
    return figures


def _has_history(record: CellRecord) -> bool:
    """Whether a cell's history is whole; a damaged one is named and costs its own curve."""
    try:
        record.history()
    except BenchError as error:
        logger.warning("%s", error)
        return False
    return True


def _remark(key: ComparisonKey, records: Sequence[CellRecord]) -> str:
    words = (
        f"Profile {key.profile}, protocol {key.protocol}, selection rule {key.selection}, "
        f"{key.image_size} px."
    )
    if key.selection == "best-test":
        words += " Checkpoints were chosen on the test cases."
    return f"{words} {PHANTOM_WORDS}" if on_phantoms(key, records) else words


def _with_data(
    remark: str,
    records: Sequence[CellRecord],
    datasets: Iterable[str],
    titles: Mapping[str, str],
) -> str:
    """The remark, and which of these datasets are not the complete published ones."""
    known = facts_of(records)
    short = {name: shortcomings(known[name]) for name in dict.fromkeys(datasets) if name in known}
    parts = [
        f"{titles.get(name, name)}: {', '.join(found)}"
        for name, found in short.items()
        if found and not known[name].phantoms
    ]
    return remark + (f" Data: {'; '.join(parts)}." if parts else "")


def _examples(data: FigureData, images: Images, chosen: Chosen) -> list[Example]:
    """Cases of each column, with every row's prediction of them."""
    found = []
    for column in data.columns:
        lines = list(_lines(data, column))
        found += _of_column(data, column, lines, images, chosen.get(column.test, ()))
    return found


def _lines(data: FigureData, column: Column) -> Iterator[Line]:
    """The rows whose cells were scored on the very same cases as the first one's."""
    label, cases = f"{column.test}-{column.subset}", None
    for row in data.layout.rows:
        for record in data.records_of(row, column.train)[:1]:
            rows = data.dsc(record, column)
            if label not in record.tests or rows.empty:
                continue
            cases = cases or record.tests[label].cases
            if record.tests[label].cases == cases:
                values = rows["value"].astype(float)
                yield Line(row.label, record, dict(zip(rows["case"].astype(str), values, strict=True)))  # fmt: skip


def _of_column(
    data: FigureData, column: Column, lines: list[Line], images: Images, chosen: Sequence[str]
) -> list[Example]:
    """The worst, the median and the best case by mean DSC over the rows, after those asked for."""
    label, means = f"{column.test}-{column.subset}", averages(lines)
    if not means:
        return []
    everything = images.of(lines[0].record, TestSet(dataset=column.test, subset=column.subset))
    kept = {
        case: own
        for line in lines
        for case, (own, _) in images.kept(line, label).items()
        if case in means
    }
    picture = everything or kept.get
    among = means if everything else {case: means[case] for case in means if case in kept}
    extent = "" if everything else f" of {len(among)} kept"
    reasons: dict[str, str] = {}
    for case in chosen:
        if case in among:
            reasons[case] = "asked for"
        elif case in means:
            logger.warning("No image of %s of %s is at hand: it is not drawn.", case, column.test)
    for case, word in worst_median_best(among):
        reasons.setdefault(case, word + extent)
    masks = {line.label: images.masks(line, label, reasons) for line in lines}
    unit = "native DSC" if data.grid == "native" else "DSC"
    found = []
    for case, why in reasons.items():
        own = picture(case)
        assert own is not None  # the case is among those with an image
        preds = {name: held[case] for name, held in masks.items() if case in held}
        words = {line.label: f"{unit} {100 * line.dsc[case]:.1f}" for line in lines}
        title = f"{data.title(column)}, {why}\n{case}"
        found.append(Example(title, own.image, own.target, preds, words))
    return found
