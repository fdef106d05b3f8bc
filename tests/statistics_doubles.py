"""A table and its scores from arrays, for the tests of statistics."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.reporting.frame import SCORE_COLUMNS, ScoreIndex
from bench.reporting.tables.entries import MARKED_BY_MEAN
from bench.reporting.tables.table import Column, Entry, Table, TableRow

Values = Mapping[str, Mapping[int, Sequence[float]]]
"""Label -> seed -> a score per case, in the stored unit."""


def frame(values: Values, test: str = "busi", metric: str = "dsc", groups=None, empty=None):
    """The frame of scores of one metric: cells are named `<label>-<seed>`, cases case-0, case-1.

    groups: a name per case; by default the case ids. empty: label -> word per case.
    """
    parts = []
    for label, seeds in values.items():
        for seed, scores in seeds.items():
            cases = [f"case-{i:04d}" for i in range(len(scores))]
            words = (empty or {}).get(label, ["none"] * len(cases))
            part = {
                "cell": f"{label}-{test}-{seed}", "method": label.lower(), "variant": "", "seed": seed,
                "train": test, "test": test, "subset": "test", "grid": "network",
                "case": cases, "group": cases if groups is None else groups, "metric": metric,
                "value": np.asarray(scores, float), "empty": words,
            }  # fmt: skip
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)[list(SCORE_COLUMNS)]


def table(scores: pd.DataFrame, name: str = "t1", footer: tuple[str, ...] = ()) -> Table:
    """The table of a frame: a row per method, a column per test set and metric."""
    means = scores.groupby(["method", "test", "metric", "seed", "cell"], observed=True, sort=False)
    lines = means["value"].mean().reset_index()
    methods = list(dict.fromkeys(lines["method"]))
    places = list(dict.fromkeys(zip(lines["test"], lines["metric"], strict=True)))
    rows = tuple(_row(method, lines, places) for method in methods)
    tests = dict.fromkeys(test for test, _ in places)
    return Table(
        name=name,
        caption="A table",
        lead_headers=("Model",),
        label_at=0,
        spans=tuple((test.upper(), sum(t == test for t, _ in places)) for test in tests),
        headers=tuple(metric for _, metric in places),
        rows=rows,
        footer=(*footer, f"Best bold, {MARKED_BY_MEAN}."),
        facts=(("profile", "paper"), ("grid", "network")),
    )


def _row(method: str, lines: pd.DataFrame, places) -> TableRow:
    entries = []
    for test, metric in places:
        own = lines[
            (lines["method"] == method) & (lines["test"] == test) & (lines["metric"] == metric)
        ].sort_values("seed")
        scale = 100 if metric in ("dsc", "iou") else 1
        value = float(scale * own["value"].mean()) if len(own) else None
        entries.append(
            Entry(
                "–" if value is None else f"{value:.2f}",
                metric,
                Column(test, test),
                value=value,
                seeds=tuple(map(int, own["seed"])),
                cells=tuple(map(str, own["cell"])),
            )
        )
    facts = (("method", method), ("changes", "{}"))
    return TableRow("", method, (method,), tuple(entries), facts=facts)


def index(scores: pd.DataFrame) -> ScoreIndex:
    """The look-up in a frame."""
    return ScoreIndex(scores)
