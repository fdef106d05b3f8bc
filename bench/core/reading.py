"""Reading the text, TOML and JSON files that users and publishers write.

Every mistake in such a file is a BenchError that names the file and, where it can, the line. JSON on
the command line is read here as well, so that one rule says which values there are.
"""

import json
import math
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError

MAX_BYTES = 64 * 2**20
"""Of a text file; a table of ten thousand cases has less than one."""


class _Fault(ValueError):
    """What is wrong with a text, for a message."""


def require_file(path: Path, what: str) -> None:
    """BenchError unless `path` is a regular file: reading a pipe or a device may never end."""
    if not path.exists():
        raise BenchError(f"No {what} at {path}. Name an existing file.")
    if not path.is_file():
        raise BenchError(
            f"{path} is a folder, a pipe or a device, and a {what} is a regular file. Name the file."
        )


def require_folder(path: Path, what: str) -> Path:
    """`path`, which may not exist yet; BenchError where it, or a part of it, is a file."""
    for part in (path, *path.parents):
        if part.exists():
            if part.is_dir():
                break
            raise BenchError(f"{part} is a file, and the {what} is a folder. Name a folder.")
    return path


def read_text(path: Path, what: str) -> str:
    """The UTF-8 text of a file, without a byte-order mark. what: names the file in messages."""
    require_file(path, what)
    if path.stat().st_size > MAX_BYTES:
        raise BenchError(
            f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no {what} is. Name another file."
        )
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text. Save the "
            "file as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file."""
    return parse_toml(path, read_text(path, what))


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """The content of the TOML text of `path`."""
    try:
        content = tomllib.loads(text)
        _require_plain(content)
    except (ValueError, RecursionError) as error:  # tomllib's own error is a ValueError
        raise BenchError(
            f"{path} cannot be read as TOML: {_reason(error)}. Correct the file."
        ) from error
    return content


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file."""
    text = read_text(path, what)
    try:
        return parse_json(text)
    except ValueError as error:
        raise BenchError(f"{path} is not JSON: {error}. Correct the file.") from error


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def toml_line(text: str, place: Sequence[str | int]) -> int | None:
    """The line, from 1, of the value at `place` (keys and list positions) of a TOML text.

    Where the text lacks that value, the line of the table that should hold it; None for the file
    itself.
    """
    lines = _toml_lines(text)
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None


def _toml_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Place -> line of every key and table that stands on a line of its own."""
    found: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    quoted = False  # within a string of several lines
    for number, line in enumerate(text.splitlines(), start=1):
        inside, quoted = quoted, quoted ^ bool((line.count("'''") + line.count('"""')) % 2)
        if inside:
            continue
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found[table] = number
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(name: str) -> tuple[str | int, ...]:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises ValueError with the reason: also for numbers that are not finite, numbers of more digits
    than Python reads, a key that occurs twice in one object, and nesting beyond what is read.
    """
    try:
        content = json.loads(text, object_pairs_hook=_pairs)
        _require_plain(content)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise _Fault(_reason(error)) from error
    return content


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _Fault(f"the key {key!r} occurs twice in one object")
        content[key] = value
    return content


def _require_plain(value: Any) -> None:
    """_Fault for NaN and infinities: a record of results cannot hold them."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _Fault(f"it holds {value}, and numbers are finite")
    for part in value.values() if isinstance(value, dict) else value if _is_list(value) else ():
        _require_plain(part)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its brackets are nested too deep"
    if "integer string conversion" in str(error):
        return f"a number has more than {sys.get_int_max_str_digits()} digits"
    return str(error)
