"""Reading the tables and lists that publishers ship beside their images, as they are found."""

import csv
from pathlib import Path, PurePosixPath

from bench.core.errors import BenchError
from bench.core.reading import read_text

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_lines(path: Path) -> list[str]:
    """Non-blank lines, whatever ends them (CR alone, LF, both), without blanks around them."""
    lines = read_text(path, "table or list").splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a comma- or tab-separated table with a header, cells and column names stripped.

    Blank lines are skipped. A row with one cell more than the header has an index column that the
    header does not name (as pandas and R write it); it is dropped, as is a first column without a
    name. Any other row of another length raises BenchError naming the line.
    """
    lines = read_lines(path)
    if not lines:
        raise BenchError(f"{path} is empty. Get the table from the publisher again.")
    separator = "\t" if "\t" in lines[0] else ","
    try:
        header, *rows = (
            [cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)
        )
    except csv.Error as error:
        raise BenchError(f"{path} is no table: {error}. Correct the file.") from error
    table = []
    for number, row in enumerate(rows, start=2):
        cells = row[1:] if len(row) == len(header) + 1 else row
        if len(cells) != len(header):
            raise BenchError(
                f"{path}, line {number}: {len(row)} cells under a header of {len(header)}. "
                "Correct the line, or get the table from the publisher again."
            )
        table.append({name: cell for name, cell in zip(header, cells, strict=True) if name})
    return table


def column(path: Path, table: list[dict[str, str]], key: str, value: str) -> dict[str, str]:
    """key column -> value column, empty values left out; BenchError on a missing column, or when
    one key has two values."""
    found: dict[str, str] = {}
    for row in table:
        if key not in row or value not in row:
            raise BenchError(
                f"{path} has no column {key if key not in row else value!r}. Columns: "
                f"{', '.join(row)}. Get the table from the publisher, or correct the card."
            )
        if not row[value]:
            continue
        if found.setdefault(row[key], row[value]) != row[value]:
            raise BenchError(
                f"{path}: {row[key]!r} has {value} {found[row[key]]!r} and {row[value]!r}. "
                "Correct the table: a case belongs to one group."
            )
    return found


def case_name(line: str) -> str:
    """A case's name as lists give it, without folders and without an image suffix."""
    name = PurePosixPath(line.strip().replace("\\", "/")).name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
