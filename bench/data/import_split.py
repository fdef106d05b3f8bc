"""Bringing a published or own train/test list into a prepared dataset.

Files: a `.pkl` as the GMS authors publish (read without executing it), `.json`, or text.
JSON and pickle: {"train": [...], "test": [...]} with an optional "val"; each list may also be
{"name_list": [...]}, as in the authors' files. Text: either one `train<TAB>name` a line (a
comma or blanks do too), or a line `[train]` (also `train:`) before the names of each subset, one a
line;
`#` starts a comment. A folder with train.txt and test.txt (val.txt) works too.
Names may carry folders and an image suffix.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import digest, file_digest, write_json
from bench.core.reading import read_json, require_file
from bench.core.safe_pickle import read_pickle
from bench.data.cards import require_name
from bench.data.layouts import some
from bench.data.metadata import case_name, read_lines
from bench.data.prepared import IMPORTED, Imported, read_records

SUBSETS = ("train", "val", "test")

Lists = dict[str, list[str]]


@dataclass(frozen=True)
class ImportReport:
    """What was stored. foreign: names without a case; unlisted: cases without a name."""

    dataset: str
    path: Path
    counts: dict[str, int]
    foreign: tuple[str, ...]
    unlisted: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text, what is missing first."""
        lines = []
        if self.foreign:
            lines.append(
                f"WARNING: {len(self.foreign)} of the listed names have no case here and were "
                f"dropped: {some([*self.foreign])}. Scores on what is left of the split do not "
                "compare with published ones."
            )
        if self.unlisted:
            lines.append(
                f"{len(self.unlisted)} case(s) are in no list and are not used: "
                f"{some([*self.unlisted])}"
            )
        counts = ", ".join(f"{subset} {count}" for subset, count in self.counts.items() if count)
        lines.append(f"{self.dataset}: imported {counts} into {self.path}")
        return lines


def import_split(
    data_root: Path, name: str, file: Path, *, allow_partial: bool = False
) -> ImportReport:
    """Store the lists in `file` as the split `imported` of a prepared dataset.

    allow_partial: the dataset here lacks cases of the listed one; drop names that match no case
    instead of refusing. Written atomically; nothing is stored on an error.
    Raises BenchError for a dataset that is not prepared, a file of no known form or with
    executable pickle instructions, names in two lists, foreign names, or no usable train or test
    name.
    """
    require_name(name)
    known = {case.id for case in read_records(data_root / name).cases}
    lists = read_lists(file)
    _refuse_repeats(file, lists)
    foreign = sorted({case for names in lists.values() for case in names} - known)
    if foreign and not allow_partial:
        raise BenchError(
            f"{len(foreign)} of the names in {file} match no case of {name}: {some(foreign)}. "
            "Every name must match. Is it this dataset's list? If the dataset "
            "prepared here is incomplete, say so with --allow-partial."
        )
    kept = {subset: [case for case in lists.get(subset, []) if case in known] for subset in SUBSETS}
    for subset in ("train", "test"):
        if not kept[subset]:
            raise BenchError(
                f"{file} names no {subset} case that is prepared of {name}; a split needs both "
                "sides. Prepare the cases it names, or bring another file."
            )
    unlisted = sorted(known - {case for names in kept.values() for case in names})
    return _store(data_root, name, file, kept, foreign, unlisted)


def _store(
    data_root: Path, name: str, file: Path, kept: Lists, foreign: list[str], unlisted: list[str]
) -> ImportReport:
    imported = Imported(
        dataset=name,
        origin=file.name,
        sha256=file_digest(file) if file.is_file() else digest(kept),
        train=tuple(kept["train"]),
        val=tuple(kept["val"]),
        test=tuple(kept["test"]),
        foreign=tuple(foreign),
        unlisted=len(unlisted),
    )
    path = data_root / name / IMPORTED
    with disk_errors(f"import a split of {name}", path.parent):
        write_json(path, imported.model_dump(mode="json"))
    counts = {subset: len(names) for subset, names in kept.items()}
    return ImportReport(name, path, counts, tuple(foreign), tuple(unlisted))


def read_lists(file: Path) -> Lists:
    """Subset -> case names of a file in one of the known forms; BenchError otherwise."""
    if file.is_dir():
        return _from_folder(file)
    require_file(file, "list")
    suffix = file.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        return _from_nested(file, read_pickle(file))
    if suffix == ".json":
        return _from_nested(file, read_json(file, "list"))
    if suffix in (".txt", ".tsv", ".csv", ".lst"):
        return _from_text(file, read_lines(file))
    raise BenchError(f"{file} is of no known kind. Known: .pkl, .json, .txt, .tsv, .csv.")


def _from_nested(file: Path, content: Any) -> Lists:
    if not isinstance(content, dict) or not {"train", "test"} <= set(content) <= set(SUBSETS):
        keys = ", ".join(map(str, content)) if isinstance(content, dict) else "no keys"
        raise BenchError(
            f'{file} has {keys[:200]}; wanted {{"train": [...], "test": [...]}}, with an optional '
            '"val". Write the lists so.'
        )
    return {subset: _names(file, subset, value) for subset, value in content.items()}


def _names(file: Path, subset: str, value: Any) -> list[str]:
    if isinstance(value, dict) and set(value) == {"name_list"}:
        value = value["name_list"]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise BenchError(f"{file}: {subset!r} is not a list of names. Write one list of strings.")
    return [case_name(name) for name in value]


def _from_folder(folder: Path) -> Lists:
    files = {subset: folder / f"{subset}.txt" for subset in SUBSETS}
    missing = [files[subset].name for subset in ("train", "test") if not files[subset].exists()]
    if missing:
        raise BenchError(f"{folder} has no {' and no '.join(missing)}. Add them, or name a file.")
    return {
        subset: [case_name(line) for line in read_lines(path)]
        for subset, path in files.items()
        if path.exists()
    }


_HEADER = re.compile(r"\[(train|val|test)\]|(train|val|test)\s*:", re.IGNORECASE)
_ROW = re.compile(r"(train|val|test)[\t, ]+(.+)", re.IGNORECASE)


def _from_text(file: Path, lines: list[str]) -> Lists:
    lists: Lists = {}
    current: str | None = None
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        if header := _HEADER.fullmatch(text):
            current = (header[1] or header[2]).lower()
        elif current:
            lists.setdefault(current, []).append(case_name(text))
        elif row := _ROW.fullmatch(text):
            lists.setdefault(row[1].lower(), []).append(case_name(row[2]))
        else:
            raise BenchError(
                f"{file}, line {number}: {text[:80]!r} is neither `train<TAB>name` nor below a "
                "line `[train]`, `[val]` or `[test]`. Correct the line."
            )
    return lists


def _refuse_repeats(file: Path, lists: Lists) -> None:
    counts = Counter(name for names in lists.values() for name in names)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise BenchError(
            f"{len(twice)} name(s) occur twice in {file}: {some(twice)}. A case is on one side of "
            "a split, once. Correct the lists."
        )
