"""Filling a layout: cells in, a finished table out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import TableBlock
from bench.experiments.replay.marks import failure_notes
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.published import Edition, load_edition
from bench.reporting.tables.ceilings import ceiling_lines
from bench.reporting.tables.commits import commit_of
from bench.reporting.tables.comparable import ComparisonKey, require_comparable, standing
from bench.reporting.tables.data import data_line
from bench.reporting.tables.entries import (
    MARKED_BY_MEAN,
    NOTHING,
    ColumnScores,
    EntryBuilder,
    mark_best,
)
from bench.reporting.tables.footer import (
    cases_line,
    column_title,
    differences_line,
    key_lines,
    measure_line,
    origin_line,
    selection_line,
    split_line,
    training_line,
)
from bench.reporting.tables.layout import Layout, make_layout, used
from bench.reporting.tables.leaks import leak_line
from bench.reporting.tables.parameters import (
    counts_of,
    explanation_footnotes,
    fewer_than,
    millions,
    parameter_entries,
    parameter_headers,
)
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.tables.table import HEADERS, Entry, Footnotes, Grid, Table, TableRow
from bench.reporting.tables.training import Training, code_text, training_text

LEADS: dict[str, tuple[tuple[str, ...], int]] = {
    # kind -> headers of the leading words, and which of them footnotes follow
    "methods": (("Type", "Model", "Trainable Params (M)"), 1),
    "cross-domain": (("Model",), 0),
    "parameters": (("Type", "Model"), 1),
}

RANKED = ("methods", "cross-domain")  # kinds that mark the second-best, too

NO_RECORDS = "No cell is stored for this table yet."


@dataclass(frozen=True)
class Options:
    """How every table of one report is built; see `build_tables`."""

    missing: Sequence[Missing] = ()
    grid: Grid = "network"
    published: str | None = None
    external_subset: Literal["test", "all"] = "test"
    titles: Mapping[str, str] = field(default_factory=dict)
    explanations: Mapping[str, str] = field(default_factory=dict)
    optimism: bool = False
    remarks: Sequence[str] = ()


def build_tables(
    blocks: Sequence[TableBlock],
    cells: Sequence[CellRecord],
    *,
    missing: Sequence[Missing] = (),
    grid: Grid = "network",
    published: str | None = None,
    external_subset: Literal["test", "all"] = "test",
    titles: Mapping[str, str] | None = None,
    explanations: Mapping[str, str] | None = None,
    scores: ScoreIndex | None = None,
    optimism: bool = False,
    remarks: Sequence[str] = (),
) -> list[Table]:
    """The tables that a matrix names, filled from stored cells.

    blocks: what the matrix wants shown. cells: records of one comparison key, from `load_cells`.
    missing: trainings asked for without a record; their reasons become footnotes, and methods known
    only from here get a row. grid: scores at "network" size or on each image's "native" grid.
    published: an edition ("aaai2025", "arxiv-v1") whose numbers are shown beside ours.
    external_subset: which cases of a foreign test set. titles: dataset name -> header.
    explanations: method -> why its exact parameter count differs from the printed one. scores: the
    cells' scores where they are read already; else they are read from the cells' files. optimism:
    whether a column shows it. remarks: lines for every footer.

    A table for which nothing is stored or asked is left out, and so are all without any cell.
    Raises BenchError when a table would mix what cannot be compared.
    """
    options = Options(
        missing,
        grid,
        published,
        external_subset,
        titles or {},
        explanations or {},
        optimism,
        remarks,
    )
    scores = scores or ScoreIndex(scores_of(cells))
    tables = [build_table(block, cells, scores, options) for block in blocks]
    return [table for table in tables if table is not None]


def build_table(
    block: TableBlock, cells: Sequence[CellRecord], scores: ScoreIndex, options: Options
) -> Table | None:
    """One table, None when nothing is stored or asked for it; raises as `build_tables`."""
    cells, failed = standing(cells)
    layout = make_layout(block, cells, options.missing, options.external_subset, options.optimism)
    if not layout.rows or not cells:
        return None
    shown = used(layout, cells)
    key = require_comparable(block.name, shown or cells)
    edition = load_edition(options.published) if options.published else None
    methods, trains = {row.method for row in layout.rows}, {c.train for c in layout.columns}
    superseded = [
        record
        for record in failed
        if record.key.method in methods and (not trains or record.key.train in trains)
    ]
    return _Builder(layout, shown, scores, key, edition, options, superseded).table()


@dataclass
class _Builder:
    """One table under construction."""

    layout: Layout
    records: Sequence[CellRecord]
    scores: ScoreIndex
    key: ComparisonKey
    edition: Edition | None
    options: Options
    superseded: Sequence[CellRecord]
    footnotes: Footnotes = field(default_factory=Footnotes)

    @property
    def block(self) -> TableBlock:
        return self.layout.block

    @property
    def reference(self) -> Row | None:
        """The first row of the block's reference method."""
        own = (row for row in self.layout.rows if row.method == self.block.reference)
        return next(own, None)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({record.key.seed for record in self.records}))

    def table(self) -> Table:
        headers, label_at = self._leads()
        rows = self._rows()
        return Table(
            name=self.block.name,
            caption=self.block.caption,
            lead_headers=headers,
            label_at=label_at,
            spans=self._spans(),
            headers=self._headers(),
            rows=tuple(rows),
            footnotes=self.footnotes.texts(),
            footer=tuple(self._footer(rows)),
            facts=(*self.key._asdict().items(), ("grid", self.options.grid)),
        )

    def _leads(self) -> tuple[tuple[str, ...], int]:
        """Headers of the leading words, and the place of the one that footnotes follow."""
        block = self.block
        if block.kind != "ablation":
            return LEADS[block.kind]
        return block.headers, block.headers.index(block.footnotes_at or block.headers[0])

    def _spans(self) -> tuple[tuple[str, int], ...]:
        width, titles = len(self.layout.metrics), self.options.titles
        columns = () if self.block.kind == "parameters" else self.layout.columns
        return tuple((_span_title(c.train, c.test, c.subset, titles), width) for c in columns)

    def _headers(self) -> tuple[str, ...]:
        if self.block.kind == "parameters":
            return parameter_headers(self.edition)
        return tuple(HEADERS[m] for _ in self.layout.columns for m in self.layout.metrics)

    def _rows(self) -> list[TableRow]:
        least = counts_of(self.reference, self.records)[0] if self.reference else None
        entries = self._entries()
        return [
            self._row(row, own, least) for row, own in zip(self.layout.rows, entries, strict=True)
        ]

    def _row(self, row: Row, entries: tuple[Entry, ...], least: int | None) -> TableRow:
        kind, (trainable, _) = self.block.kind, counts_of(row, self.records)
        own = [record for record in self.records if row.takes(record)]
        texts = dict.fromkeys(
            text for record in own for text in (*record.footnotes, *failure_notes(record))
        )
        texts |= {row.note: None} if row.note else {}
        footnotes = tuple(self.footnotes.number(text) for text in texts)
        if kind == "parameters":
            footnotes += explanation_footnotes(row, self.options.explanations, self.footnotes)
        trained = self._trained(entries)
        if trained:
            footnotes += (self.footnotes.number(training_text(trained)),)
            versions = {commit_of(record) for record in self.records}
            if len(versions) > 1 or len({record.inputs.get("code") for record in own}) > 1:
                footnotes += (self.footnotes.number(code_text(own)),)
        return TableRow(
            group=row.group,
            label=row.label,
            lead=_lead(row, kind, trainable),
            entries=entries,
            dagger=kind != "ablation" and fewer_than(least, trainable),
            footnotes=footnotes,
            facts=_facts(row, trainable),
        )

    def _trained(self, entries: tuple[Entry, ...]) -> dict[str, Training]:
        """How a row's cells were trained, by the title of the training dataset."""
        titles = self.options.titles
        return {
            titles.get(entry.column.train, entry.column.train): entry.training
            for entry in entries
            if entry.column and entry.training
        }

    def _entries(self) -> list[tuple[Entry, ...]]:
        """Entries row by row, marked column by column."""
        if self.block.kind == "parameters":
            return [
                parameter_entries(row, self.records, self.edition, self.footnotes)
                for row in self.layout.rows
            ]
        scores = ColumnScores(self.block.name, self.options.grid, self.scores)
        builder = EntryBuilder(
            self.block.name,
            scores,
            self.records,
            self.options.missing,
            self.footnotes,
            self.edition,
            self.seeds,
        )
        rows = [
            [builder.entry(row, c, m) for c in self.layout.columns for m in self.layout.metrics]
            for row in self.layout.rows
        ]
        second = self.block.kind in RANKED
        columns = [_marked(list(column), second) for column in zip(*rows, strict=True)]
        return list(zip(*columns, strict=True))

    def _footer(self, rows: Sequence[TableRow]) -> list[str]:
        done = [record for record in self.records if record.status == "done"]
        lines = key_lines(self.key, self.records)
        if self.block.kind != "parameters":
            columns, titles = self.layout.columns, self.options.titles
            lines.append(data_line(done, columns, titles))
            lines.append(split_line(done, columns, titles))
            lines += filter(None, [leak_line(done, titles)])
            lines.append(selection_line(self.key, done, columns, titles))
            lines.append(measure_line(self.key, self.options.grid, self.seeds))
            lines.append(cases_line(rows, titles))
            lines.append(training_line(self.records) if self.records else NO_RECORDS)
            lines += ceiling_lines(done, columns, titles)
            lines += differences_line(rows)
        if self.records:
            lines.append(origin_line(done or self.records))
        if any(entry.mark for row in rows for entry in row.entries):
            second = ", second underlined" if self.block.kind in RANKED else ""
            lines.append(f"Best bold{second}, {MARKED_BY_MEAN}.")
            scored = [e for row in rows for e in row.entries if e.metric == "dsc" and e.value]
            if not all(entry.ranked for entry in scored):
                lines.append("Rows that lack a seed take no part in the marks.")
        if self.reference and any(row.dagger for row in rows):
            title = next(r.title for r in self.records if self.reference.takes(r))
            lines.append(f"† fewer trainable parameters than {title}.")
        if self.edition is not None and self.block.kind != "parameters":
            lines.append(
                f"In brackets: printed in {self.edition.title}; ours minus printed, where the two "
                "are comparable."
            )
        lines += self.layout.left_out
        return [*lines, *self._not_shown(), *self.options.remarks]

    def _not_shown(self) -> list[str]:
        """Failed runs beside which a finished or later one stands."""
        named = sorted(
            {f"{r.key.method} on {r.key.train}, seed {r.key.seed}" for r in self.superseded}
        )
        if not named:
            return []
        return [f"Failed runs of cells that are shown as they ended otherwise: {'; '.join(named)}."]


def _marked(entries: Sequence[Entry], second: bool) -> list[Entry]:
    """The entries of a column, those that are ranked marked among themselves."""
    if not entries or entries[0].metric == "optimism":
        return list(entries)
    marked = iter(mark_best([[one for one in entries if one.ranked]], second)[0])
    return [next(marked) if entry.ranked else entry for entry in entries]


def _span_title(train: str, test: str, subset: str, titles: Mapping[str, str]) -> str:
    return column_title(train, test, titles) + (" (all cases)" if subset == "all" else "")


def _lead(row: Row, kind: str, trainable: int | None) -> tuple[str, ...]:
    if kind == "methods":
        return (*row.lead, NOTHING if trainable is None else millions(trainable))
    return row.lead[-1:] if kind == "cross-domain" else row.lead


def _facts(row: Row, trainable: int | None) -> tuple[tuple[str, str], ...]:
    variant = row.variant
    return (
        ("method", row.method),
        ("changes", variant.changes if variant else ""),
        ("tokenizer", (variant.tokenizer or "") if variant else (row.tokenizer or "")),
        ("trainable_params", "" if trainable is None else str(trainable)),
    )
