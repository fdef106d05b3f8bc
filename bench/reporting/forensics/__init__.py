"""Checks of tables of scores: of the numbers that a paper prints, and of our own.

    findings = findings_of_edition(load_edition("aaai2025"))
    findings = findings_of_cells(load_cells(Path("results/cells")))

Every check takes what the printed digits leave open into account: a number printed with two decimals
was rounded or truncated, and nothing in a table says which. docs/claims.md names each check's
source.
"""

from bench.reporting.forensics.copies import read_runs
from bench.reporting.forensics.copies import summary as copies_summary
from bench.reporting.forensics.findings import Finding, findings_of_cells, findings_of_edition
from bench.reporting.forensics.rows import ScoredRow, rows_of_cells, rows_of_edition

__all__ = [
    "Finding",
    "ScoredRow",
    "copies_summary",
    "findings_of_cells",
    "findings_of_edition",
    "read_runs",
    "rows_of_cells",
    "rows_of_edition",
]
