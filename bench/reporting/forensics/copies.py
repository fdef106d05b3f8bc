"""Printed numbers that equal the mean of runs which somebody else logged."""

import csv
import statistics
import tomllib
from pathlib import Path

from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.frozen import Frozen
from bench.reporting.forensics.reading import WAYS, Way, printed_as
from bench.reporting.published import Edition, PrintedNumber


class LoggedRun(Frozen):
    """One run's per-image means on a test set, in [0, 1] as logged."""

    dataset: str
    method: str
    run: int
    dsc: float
    iou: float


class LoggedRuns(Frozen):
    """Runs from one source. files: where in the repository the values stand."""

    name: str
    title: str
    citation: str
    url: str
    commit: str
    files: str
    runs: tuple[LoggedRun, ...]

    @property
    def source(self) -> str:
        """Repository, commit and files in one line."""
        return f"{self.url} at {self.commit[:10]}, {self.files}"

    def values(self, dataset: str, method: str, metric: str) -> list[float]:
        """The logged values of one test set in per cent, run by run."""
        own = [run for run in self.runs if (run.dataset, run.method) == (dataset, method)]
        return [100 * getattr(run, metric) for run in own]


class Copy(Frozen):
    """A printed number that is the mean of logged runs. sd: of the runs, in points, ddof 1.

    mean: in per cent. ways: of printing the mean that give the printed text.
    """

    number: PrintedNumber
    mean: float
    sd: float
    runs: int
    ways: tuple[Way, ...]
    source: str


def read_runs(file: Path) -> LoggedRuns:
    """Logged runs from a .toml file that names their source, with the values in a .csv beside it.

    Columns of the .csv: dataset, method (as registered here), run, dsc, iou. Raises BenchError for
    a file that does not hold them. docs/claims.md shows one.
    """
    try:
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
        with file.with_suffix(".csv").open(encoding="utf-8", newline="") as lines:
            runs = tuple(LoggedRun.model_validate(row) for row in csv.DictReader(lines))
        return LoggedRuns(name=file.stem, runs=runs, **facts)
    except (OSError, ValueError, TypeError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(
            f"{file} holds no logged runs: {why}. Write title, citation, url, commit and files into "
            "it, and dataset,method,run,dsc,iou into a .csv of the same name."
        ) from error


def compared(edition: Edition, logged: LoggedRuns) -> list[Copy]:
    """Every in-domain number of the edition that logged runs exist for, equal or not."""
    found = []
    for number in edition.numbers:
        key = number.key
        if key.train != key.test or key.variant or key.metric not in ("dsc", "iou"):
            continue
        values = logged.values(key.test, key.method, key.metric)
        if len(values) > 1:
            found.append(_compare(number, values, logged.source))
    return found


def _compare(number: PrintedNumber, values: list[float], source: str) -> Copy:
    mean = statistics.fmean(values)
    ways = tuple(way for way in WAYS if printed_as(mean, way, number.printed) == number.printed)
    return Copy(
        number=number,
        mean=mean,
        sd=statistics.stdev(values),
        runs=len(values),
        ways=ways,
        source=source,
    )


def summary(edition: Edition, logged: LoggedRuns) -> str:
    """How many of the comparable numbers are such means, by way of printing."""
    found = compared(edition, logged)
    if not found:
        return f"{logged.name} has no two runs of a method and dataset that {edition.name} prints."
    counts = {way: sum(way in copy.ways for copy in found) for way in WAYS}
    spreads = [copy.sd for copy in found if copy.number.key.metric == "dsc"]
    return (
        f"Of {len(found)} numbers with logged runs, {counts['truncated']} equal the mean of the runs "
        f"truncated and {counts['rounded']} rounded; the runs' DSC has an SD of {min(spreads):.1f} "
        f"to {max(spreads):.1f} points."
    )
