"""Statistics as small tables of words: what is printed and written beside each table."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.reporting.statistics.across import ALPHA
from bench.reporting.statistics.comparison import Comparison, Estimate
from bench.reporting.statistics.permutation import EXACT_GROUPS, FLIPS
from bench.reporting.statistics.resampling import LEAST_SEEDS
from bench.reporting.statistics.tables import (
    ColumnStatistics,
    DatasetsStatistics,
    MetricStatistics,
    TableStatistics,
)
from bench.reporting.tables.entries import NOTHING
from bench.reporting.tables.table import UNITS

DISTANCE_NOTE = (
    "Median and P(better) are primary: p is the sign-flip test of P(better) = 0.5, since the mean of "
    "distances follows a few cases. A case with one empty mask scores the image diagonal. Empty: how "
    "often a mask is empty, own and the reference's, summed over seeds. Rows 'not empty': the number "
    "of cases without an empty mask on either side, and the same on these cases alone."
)
RANKS_NOTE = (
    "Rank of the mean (mean-then-rank) with its 95 % interval; ≈ cannot be told from the best at "
    "95 %, for distances by P(better). Per case: mean of the ranks within each case "
    "(rank-then-mean)."
)

NAMES = {"dsc": "DSC", "iou": "IoU", "hd95": "HD95", "hd95_directed": "HD95 directed"}


@dataclass(frozen=True)
class Sheet:
    """A table of words. rows: as many words as headers. notes: lines below it.

    common: lines that hold for all sheets of one test set.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    common: tuple[str, ...] = ()


def in_a_row(sheets: Sequence[Sheet]) -> list[Sheet]:
    """The same sheets, to be read one after the other: common lines only below the last of a run."""
    following = [*(sheet.common for sheet in sheets[1:]), None]
    return [
        replace(sheet, common=()) if sheet.common == after else sheet
        for sheet, after in zip(sheets, following, strict=True)
    ]


def sheets_of(found: TableStatistics) -> list[Sheet]:
    """Per test set: a sheet of differences per metric, then one of ranks."""
    return list(_sheets(found))


def _sheets(found: TableStatistics) -> Iterator[Sheet]:
    for column in found.columns:
        notes = (_method(column, found.resamples), *column.warnings())
        for metric, one in column.metrics.items():
            if column.reference and one.comparisons:
                yield _differences(column, column.reference, metric, one, notes)
        if any(one.ranking for one in column.metrics.values()):
            yield _ranks(column, notes)


# ---- numbers as words


def signed(value: float, digits: int = 2) -> str:
    """ "+1.20" or "−0.45"."""
    return f"{value:+.{digits}f}".replace("-", "−")


def p_words(p: float) -> str:
    """ "0.034", "<0.001", or a dash where a test is not defined."""
    if math.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _tau(tau: float) -> str:
    """A dash where one of the rankings orders nothing."""
    return NOTHING if math.isnan(tau) else f"{tau:.2f}"


def _difference(one: Estimate, digits: int = 2) -> str:
    low, high = signed(one.low, digits), signed(one.high, digits)
    return f"{signed(one.value, digits)} [{low}, {high}]"


def _share(one: Estimate) -> str:
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


# ---- differences


def _differences(
    column: ColumnStatistics,
    reference: str,
    metric: str,
    one: MetricStatistics,
    notes: tuple[str, ...],
) -> Sheet:
    unit = "points" if UNITS[metric] == "%" else "px"
    side = "below" if one.sample.is_distance else "above"
    title = (
        f"{column.title}, {NAMES[metric]}: difference to {reference} in {unit} ({side} 0: better "
        f"than {reference})"
    )
    build = _distance_row if one.sample.is_distance else _score_row
    headers = DISTANCE_HEADERS if one.sample.is_distance else SCORE_HEADERS
    rows = []
    for label, found in one.comparisons.items():
        if found is None:
            rows.append((label, "no seed in common", *[NOTHING] * (len(headers) - 2)))
            continue
        rows.append((label, *build(found)))
        if found.without_empty:
            cases = found.without_empty.cases
            rows.append((f"  not empty: {cases}", *build(found.without_empty)))
    return Sheet(title, headers, tuple(rows), _family(one, reference), notes)


SCORE_HEADERS = (
    *("Model", "Mean difference [95 %]", "p", "p (Holm)", "P(better) [95 %]", "Ties"),
    *("Median difference", "p (Wilcoxon)"),
)
DISTANCE_HEADERS = (
    *("Model", "Median difference [95 %]", "P(better) [95 %]", "p", "p (Holm)", "Ties"),
    *("Mean difference [95 %]", "p (mean)", "Empty"),
)


def _score_row(one: Comparison) -> tuple[str, ...]:
    return (
        _difference(one.mean),
        p_words(one.mean.p),
        p_words(one.p_holm),
        _share(one.better),
        f"{100 * one.ties:.0f} %",
        signed(one.median.value),
        p_words(one.p_wilcoxon),
    )


def _distance_row(one: Comparison) -> tuple[str, ...]:
    return (
        _difference(one.median),
        _share(one.better),
        p_words(one.better.p),
        p_words(one.p_holm),
        f"{100 * one.ties:.0f} %",
        _difference(one.mean, 1),
        p_words(one.mean.p),
        f"{one.empty}, {one.reference_empty}",
    )


def _family(one: MetricStatistics, reference: str) -> tuple[str, ...]:
    known = [found for found in one.comparisons.values() if found]
    lead = f"Holm's family: {len(known)} rows against {reference} on this dataset and metric."
    if one.sample.is_distance:
        return (lead, DISTANCE_NOTE)
    return (lead,)


def _method(column: ColumnStatistics, resamples: int) -> str:
    sample = next(iter(column.metrics.values())).sample
    flips = "exact" if sample.groups <= EXACT_GROUPS else f"{FLIPS:,} flips"
    groups = f" in {sample.groups} groups" if sample.groups_known else ""
    seeds = " and seeds" if len(sample.seeds) >= LEAST_SEEDS else ""
    return (
        f"{len(sample.cases)} cases{groups}, seeds {', '.join(map(str, sample.seeds))}. Intervals: "
        f"95 % percentiles of {resamples:,} resamples of groups{seeds}; median and P(better): of "
        f"groups. p: sign flips of whole groups ({flips}), seeds averaged first, so no p has a seed "
        "component. P(better): share of cases with the better score, ties half."
    )


# ---- ranks


def _ranks(column: ColumnStatistics, notes: tuple[str, ...]) -> Sheet:
    ranked = {name: one for name, one in column.metrics.items() if one.ranking}
    labels = list(dict.fromkeys(x for one in column.metrics.values() for x in one.sample.rows))
    heads = ("rank", "P(first)", "Per case")
    headers = ["Model"]
    headers += [f"{NAMES[n]} {h}" if h == heads[0] else h for n in ranked for h in heads]
    rows = [
        (label, *(word for one in ranked.values() for word in _rank(label, one)))
        for label in labels
    ]
    stable = [_stability(NAMES[name], one) for name, one in ranked.items()]
    agree = [
        f"{NAMES[first]} and {NAMES[second]} {_tau(tau)}"
        for (first, second), tau in column.agreement().items()
    ]
    lines = [
        RANKS_NOTE,
        *stable,
        *([f"Kendall's tau between the rankings of {'; '.join(agree)}."] if agree else []),
    ]
    return Sheet(f"{column.title}: ranks", tuple(headers), tuple(rows), tuple(lines), notes)


def _rank(label: str, one: MetricStatistics) -> tuple[str, ...]:
    if one.ranking is None or label not in one.sample.complete:
        return (NOTHING, NOTHING, NOTHING)
    at, found = one.sample.complete.index(label), one.ranking
    span = f"{found.low[at]:g}–{found.high[at]:g}"
    return (
        f"{found.ranks[at]:g}{'≈' * bool(found.best[at])} [{span}]",
        f"{found.first[at]:.2f}",
        f"{found.case_ranks[at]:.1f}",
    )


def _stability(name: str, one: MetricStatistics) -> str:
    assert one.ranking
    return (
        f"{name}: Kendall's tau of the bootstrap rankings with this one {_tau(one.ranking.tau)} on "
        f"average, 2.5 % quantile {_tau(one.ranking.tau_low)}; of mean-then-rank with rank-then-mean "
        f"{_tau(one.ranking.tau_of_orders)}."
    )


# ---- several datasets


def datasets_sheet(one: DatasetsStatistics) -> Sheet:
    """Mean ranks over datasets, best first."""
    result = one.result
    order = sorted(range(len(one.labels)), key=lambda place: result.ranks[place])
    rows = tuple((one.labels[place], f"{result.ranks[place]:.2f}") for place in order)
    return Sheet(
        f"{NAMES[one.metric]}: mean rank over N = {result.datasets} datasets",
        ("Model", "Mean rank"),
        rows,
        tuple(datasets_notes(one)),
    )


def datasets_notes(one: DatasetsStatistics) -> list[str]:
    """What the ranks can and cannot show."""
    result, methods = one.result, len(one.labels)
    lead = (
        f"Datasets: {', '.join(one.titles)}. Friedman p: {p_words(result.p)} (chi-square "
        f"approximation). Nemenyi's critical difference at 5 % is {result.difference:.2f} ranks, "
        f"of {methods - 1} that are possible."
    )
    lines = [lead]
    if one.left_out:
        lines.append(
            f"Not with all seeds on every dataset, so left out: {', '.join(one.left_out)}."
        )
    if result.difference >= methods - 1:
        lines.append(
            f"With N = {result.datasets} no two of these {methods} methods can be told apart."
        )
    if result.wilcoxon_floor > ALPHA:
        lines.append(
            f"An exact Wilcoxon test over {result.datasets} datasets cannot go below p = "
            f"{result.wilcoxon_floor:g}: no pair can be significant at 5 %."
        )
    if result.datasets < 10:
        lines.append(f"Fewer than 10 datasets (N = {result.datasets}): a description, no proof.")
    return lines
