"""How long the statistics of a full study take: 14 methods, 5 datasets, 3 seeds, 10,000 resamples.

    OMP_NUM_THREADS=2 python benchmarks/compare.py [FOLDER]

The scores are made up; the sizes of the test sets are those of BUS, BUSI, GlaS, HAM10000 and
Kvasir-Instrument. Prints seconds per dataset by the clock and of the CPU, and writes all files and figures to FOLDER
if given.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.reporting.frame import SCORE_COLUMNS, ScoreIndex
from bench.reporting.statistics import (
    datasets_statistics,
    table_statistics,
    write_datasets,
    write_statistics,
)
from bench.reporting.tables.table import Column, Entry, Table, TableRow

METHODS = (
    *("unet", "multiresunet", "acc_unet", "nnunet", "ege_unet", "swin_unet", "sme_swin_unet"),
    *("uctransnet", "mixstyle", "dsu", "medsegdiff_v2", "sdseg", "gss", "gms"),
)
TESTS = {
    "bus": (33, 33),
    "busi": (129, 129),
    "glas": (80, 16),
    "ham10000": (2000, 1800),
    "kvasir-instrument": (118, 118),
}
"""Name -> cases, groups."""
SEEDS = (0, 1, 2)


def scores_of(dataset: str, cases: int, groups: int) -> pd.DataFrame:
    """Made-up scores: methods, groups, cases and seeds each add a part; one case in 60 is missed."""
    rng = np.random.default_rng(sum(map(ord, dataset)))
    shape = (len(METHODS), len(SEEDS), cases)
    group = np.sort(rng.integers(0, groups, cases))
    skill = (
        1.6
        + 0.02 * np.arange(len(METHODS))[:, None, None]
        + rng.normal(0, 0.03, (len(METHODS), 1, 1))
    )
    skill = skill + rng.normal(0, 0.03, shape[:2])[..., None]
    logits = skill + rng.normal(0, 0.6, groups)[group] + rng.normal(0, 0.4, cases)
    logits = logits + rng.normal(0, 0.35, (len(METHODS), 1, cases)) + rng.normal(0, 0.2, shape)
    dsc = 1 / (1 + np.exp(-logits))
    missed = rng.random(shape) < 1 / 60
    dsc[missed] = 0
    distance = np.where(missed, 316.8, 40 * (1 - dsc) * np.exp(rng.normal(0, 0.4, shape)))
    parts = []
    for metric, values in (("dsc", dsc), ("iou", dsc / (2 - dsc)), ("hd95", distance)):
        for m, method in enumerate(METHODS):
            for s, seed in enumerate(SEEDS):
                cell = f"{method}-{dataset}-{seed}"
                part = {
                    "cell": cell, "method": method, "variant": "", "seed": seed, "train": dataset,
                    "test": dataset, "subset": "test", "grid": "network",
                    "case": [f"{i:05d}" for i in range(cases)],
                    "group": [f"g{g:05d}" if groups < cases else f"{i:05d}" for i, g in enumerate(group)],
                    "metric": metric, "value": values[m, s],
                    "empty": np.where(missed[m, s], "pred", "none"),
                }  # fmt: skip
                parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)[list(SCORE_COLUMNS)]


def table_of(dataset: str, scores: pd.DataFrame) -> Table:
    """A table with one column per metric of one dataset."""
    means = scores.groupby(["method", "metric"])["value"].mean()
    rows = []
    for method in METHODS:
        entries = tuple(
            Entry(
                "", metric, Column(dataset, dataset), value=float(means[method, metric]), seeds=SEEDS,
                cells=tuple(f"{method}-{dataset}-{seed}" for seed in SEEDS),
            )
            for metric in ("dsc", "iou", "hd95")
        )  # fmt: skip
        facts = (("method", method), ("changes", "{}"))
        rows.append(TableRow("", method, (method,), entries, facts=facts))
    return Table(
        dataset, f"Made-up scores on {dataset}", ("Model",), 0, ((dataset, 3),), ("", "", ""), tuple(rows),
        facts=(("grid", "network"),),
    )  # fmt: skip


def _spent(started: float, cpu: float) -> str:
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return f"{seconds:.1f} s, {used:.1f} s of CPU"


def main() -> None:
    """Print the seconds."""
    found = []
    begun, used = time.perf_counter(), time.process_time()
    for dataset, (cases, groups) in TESTS.items():
        scores = scores_of(dataset, cases, groups)
        table = table_of(dataset, scores)
        started, cpu = time.perf_counter(), time.process_time()
        one = table_statistics(table, ScoreIndex(scores), "gms")
        assert one
        found.append(one)
        print(f"{dataset}, {cases} cases: {_spent(started, cpu)}")
    datasets = datasets_statistics(found)
    print(f"all, made-up scores included: {_spent(begun, used)}")
    if len(sys.argv) > 1:
        from bench.reporting.plots.statistics import build_statistics_figures

        folder = Path(sys.argv[1])
        started, cpu = time.perf_counter(), time.process_time()
        write_statistics(found, folder)
        write_datasets(datasets, folder)
        print(f"tables: {_spent(started, cpu)}")
        build_statistics_figures(found, datasets, folder, "Made-up scores.")
        print(f"tables and figures: {_spent(started, cpu)}")


if __name__ == "__main__":
    main()
