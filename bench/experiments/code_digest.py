"""A digest of the code that a cell's numbers rest on, found by following imports, without running.

Comments and docstrings do not count: rewording one must not make a lab train everything again.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from bench.core.errors import BenchError
from bench.registry import module_file, source_file

_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# Messages, places and bookkeeping: no number depends on them.
_NEUTRAL = (
    "bench.core.errors",
    "bench.core.disk",
    "bench.core.memory",
    "bench.core.paths",
    "bench.core.provenance",
    "bench.core.threads",
)
# What a worker runs, and what it loads by name; everything they import from the harness counts.
_ROOTS = ("bench.experiments.jobs", "bench.tokenizers.loading")


@cache
def code_digest(method: str) -> str:
    """sha256 over the method's file, the harness and what both import from their own packages."""
    files = _closure(source_file(method))
    for root in _ROOTS:
        files |= _closure(module_file(root))
    files -= {module_file(name) for name in _NEUTRAL}
    lines = sorted(_file_digest(path) for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def _file_digest(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _closure(start: Path) -> set[Path]:
    """`start` and every file of first-party packages reachable from it by imports."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imported_files(path)
    return seen


@cache
def _imported_files(path: Path) -> tuple[Path, ...]:
    own = _package_of(path)
    files = []
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] in {"bench", "methods", own}:
                file = _find(name)
                if file is not None:
                    files.append(file)
    return tuple(files)


def _package_of(path: Path) -> str:
    """The top-level package a file lies in, "" for a lone file."""
    top = ""
    while (path.parent / "__init__.py").exists():
        path = path.parent
        top = path.name
    return top


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


@cache
def _find(name: str) -> Path | None:
    """The file of a module; None for a name that is an attribute of a module."""
    try:
        return module_file(name)
    except BenchError:
        return None
