"""The commit that a cell was trained at, as tables print it."""

from bench.experiments.cells import CellRecord


def commit_of(record: CellRecord) -> str:
    """Start of the commit, "+dirty" for a checkout with changes."""
    commit = record.provenance.get("commit")
    dirty = "+dirty" if record.provenance.get("dirty") else ""
    return f"{commit[:10]}{dirty}" if commit else "unknown"
