"""Statistics of stored scores: differences to a reference with intervals, ranks, ties with the best.

    tables = build_tables(matrix.tables, cells, scores=scores)
    found = [one for table in tables if (one := table_statistics(table, scores, "gms"))]
    write_statistics(found, folder)

`resampling`, `permutation`, `effects`, `ranking` and `across` are functions of arrays; `samples`,
`comparison` and `tables` apply them to a table; `sheets` and `write` print them. docs/statistics.md
has the formulas and how to read the figures.
"""

from bench.reporting.statistics.tables import (
    ColumnStatistics,
    DatasetsStatistics,
    TableStatistics,
    datasets_statistics,
    require_reference,
    table_statistics,
    with_ties,
)
from bench.reporting.statistics.write import to_rich, write_datasets, write_statistics

__all__ = [
    "ColumnStatistics",
    "DatasetsStatistics",
    "TableStatistics",
    "datasets_statistics",
    "require_reference",
    "table_statistics",
    "to_rich",
    "with_ties",
    "write_datasets",
    "write_statistics",
]
