"""Imports Python files that are not installed, the `--plugin FILE`s, with the modules beside them.

A plugin file may import the modules of its own folder, also later, inside a function. A finder at
the end of `sys.meta_path` serves them for the rest of the process; `sys.path` stays as it is.
"""

import ast
import hashlib
import importlib.util
import sys
import traceback
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.errors import BenchError
from bench.core.time_limit import TooSlow, time_limit

IMPORT_SECONDS = 120.0
"""For the import of a plugin file, torch included, which takes 2 s from a warm disk."""

LONGEST = 300  # letters of a reason in a message

HARNESS = ("bench", "methods")  # always those that run, also where a plugin lies in a checkout


@cache
def import_file(path: Path) -> ModuleType:
    """The module of a plugin file, imported once.

    Raises BenchError with the file, line and reason when its import fails, exits or takes longer than
    IMPORT_SECONDS, and when it imports a module of its folder whose name another module has.
    """
    _refuse_ambiguous(path)
    _serve(path.parent)
    name = f"bench_plugin_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"Plugin {path.name} is no Python file. Give a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with time_limit(IMPORT_SECONDS):
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit in a plugin may not end the harness
        del sys.modules[name]
        if ours(error):
            raise
        raise BenchError(_fault(path, error)) from error
    return module


def ours(error: BaseException) -> bool:
    """Whether a signal to the harness arrived while a plugin was at work: its own way of ending."""
    return not isinstance(error, Exception | SystemExit | TooSlow | GeneratorExit)


def sibling_file(folder: Path, name: str) -> Path | None:
    """The file of the module `name` (without dots) in `folder`, if there is one."""
    for file in (folder / name / "__init__.py", folder / f"{name}.py"):
        if file.is_file():
            return file
    return None


class _SiblingFinder(MetaPathFinder):
    """Finds modules in the folders of plugin files, after all installed ones."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if path is not None:  # inside a package: the ordinary finders see to it
            return None
        files = (sibling_file(folder, fullname) for folder in self.folders)
        file = next(filter(None, files), None)
        return None if file is None else importlib.util.spec_from_file_location(fullname, file)


_finder = _SiblingFinder()


def _serve(folder: Path) -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    if folder not in _finder.folders:
        _finder.folders.append(folder)


def _refuse_ambiguous(path: Path) -> None:
    """Raise BenchError where an import of `path` or of a module beside it has two meanings."""
    seen, waiting = {path}, [path]
    while waiting:
        file = waiting.pop()
        for name in _imported_names(file):
            sibling = sibling_file(path.parent, name)
            if sibling is None or sibling in seen or name in HARNESS:
                continue
            seen.add(sibling)
            waiting.append(sibling)
            spec = importlib.util.find_spec(name)
            if spec is not None and Path(spec.origin or "").resolve() != sibling.resolve():
                raise BenchError(
                    f"{file.name} imports {name!r}, which is both {sibling} and {spec.origin}. "
                    f"Rename {sibling.name} so that one name has one meaning."
                )


def _imported_names(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports anywhere; none where it cannot be read."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # its import says where
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _fault(path: Path, error: BaseException) -> str:
    """Which line of the plugin failed, and how, in one sentence."""
    try:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    except Exception:  # noqa: BLE001 - an error of the plugin's own, whose text fails as well
        reason = type(error).__name__
    reason = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}..."
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    if isinstance(error, SyntaxError) and error.filename:
        place, line = f"{Path(error.filename).name}:{error.lineno}", error.text
        reason = f"{type(error).__name__}: {error.msg}"
    elif own:
        place, line = f"{Path(own[-1].filename).name}:{own[-1].lineno}", own[-1].line
    else:
        place, line = path.name, None
    shown = f" (`{line.strip()[:LONGEST]}`)" if line else ""
    return f"Plugin {path.name} fails to import at {place}{shown}: {reason}. Fix the file."
