"""Finding methods, tokenizers and cards by name, the shipped ones and a plugin's alike.

Names and summaries are known without importing a method's module, since that imports torch, which
takes seconds.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.contracts import MethodSpec
from bench.core.errors import BenchError, unknown_name

METHODS, FAMILIES, TOKENIZERS = "bench.methods", "bench.method_families", "bench.tokenizers"

_plugin_files: list[Path] = []  # in the order given by --plugin


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise BenchError(
                f"Two installed packages register {entry.name!r} in {group}: {other.value} and "
                f"{entry.value}. Uninstall one of them or rename its entry point."
            )
    return found


def use_plugin_files(files: Iterable[Path]) -> None:
    """Make `--plugin FILE`s known; each defines SPEC or SPECS at module level.

    Raises BenchError when a file is missing, fails to import or defines neither.
    """
    for file in files:
        path = file.resolve()
        if not path.is_file():
            raise BenchError(f"No plugin file {file}. Give the path of a Python file.")
        if path not in _plugin_files:
            _plugin_files.append(path)


def plugin_files() -> tuple[Path, ...]:
    """The plugin files in use, for handing them to worker processes."""
    return tuple(_plugin_files)


@cache
def _import_file(path: Path) -> ModuleType:
    name = f"bench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BenchError(f"Plugin {path.name} fails to import: {error!r}. Fix the file.") from error
    return module


def _plugin_specs(kind: type | None = None) -> dict[str, Any]:
    specs: dict[str, Any] = {}
    for path in _plugin_files:
        module = _import_file(path)
        found = [getattr(module, "SPEC", None), *getattr(module, "SPECS", ())]
        found = [spec for spec in found if spec is not None]
        if not found:
            raise BenchError(f"Plugin {path.name} defines no SPEC. Add SPEC = MethodSpec(...).")
        specs |= {spec.name: spec for spec in found if kind is None or isinstance(spec, kind)}
    return specs


def method_names() -> list[str]:
    """Every registered method, families as `smp:<architecture>/<encoder>`."""
    families = [f"{name}:..." for name in _entries(FAMILIES)]
    return sorted({*_entries(METHODS), *_plugin_specs(MethodSpec)}) + sorted(families)


def plain_method_names() -> list[str]:
    """The registered methods that are no family: what `--methods all` means."""
    return sorted({*_entries(METHODS), *_plugin_specs(MethodSpec)})


def get_method(name: str) -> MethodSpec:
    """The spec of a method; imports its module. BenchError with the nearest name if unknown."""
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _entries(FAMILIES):
        return _entries(FAMILIES)[prefix].load()(rest)
    plugins = _plugin_specs(MethodSpec)
    if name in plugins:
        return plugins[name]
    require_method(name)
    spec = _load(_entries(METHODS)[name])
    if not isinstance(spec, MethodSpec) or spec.name != name:
        raise BenchError(
            f"Entry point {name!r} in {METHODS} gives {spec!r}; it must give a MethodSpec whose "
            f"name is {name!r}."
        )
    return spec


def require_method(name: str) -> None:
    """Raise BenchError unless `name` is registered; imports nothing."""
    prefix, colon, _ = name.partition(":")
    if colon and prefix in _entries(FAMILIES):
        return
    if name not in _entries(METHODS) and name not in _plugin_specs(MethodSpec):
        raise unknown_name(
            "method",
            name,
            method_names(),
            "To add one, register it in the entry-point group bench.methods or give --plugin FILE; "
            "`bench new method NAME` writes a skeleton.",
        )


def get_tokenizer(name: str) -> Any:
    """The TokenizerSpec called `name` (no @location). BenchError with the nearest if unknown."""
    plugins = {k: v for k, v in _plugin_specs().items() if not isinstance(v, MethodSpec)}
    if name in plugins:
        return plugins[name]
    known = _entries(TOKENIZERS)
    if name not in known:
        raise unknown_name(
            "tokenizer",
            name,
            {*known, *plugins},
            "To add one, register it in the entry-point group bench.tokenizers.",
        )
    return _load(known[name])


def tokenizer_names() -> list[str]:
    """Every registered tokenizer."""
    plugins = [k for k, v in _plugin_specs().items() if not isinstance(v, MethodSpec)]
    return sorted({*_entries(TOKENIZERS), *plugins})


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise BenchError(
            f"Entry point {entry.name!r} ({entry.value}) cannot be loaded: {error}. Reinstall the "
            "package that registers it, or uninstall it."
        ) from error


def source_file(name: str) -> Path:
    """The Python file that defines a method, found without importing it."""
    prefix, colon, _ = name.partition(":")
    for group, key in ((FAMILIES, prefix), (METHODS, name)):
        if key in _entries(group) and (group == METHODS or colon):
            return module_file(_entries(group)[key].module)
    require_method(name)
    for path in _plugin_files:
        module = _import_file(path)
        specs = [getattr(module, "SPEC", None), *getattr(module, "SPECS", ())]
        if any(spec is not None and spec.name == name for spec in specs):
            return path
    raise AssertionError(name)


def module_file(module: str) -> Path:
    """The file of a module, found by its place in its package and without importing anything.

    BenchError when there is no such module.
    """
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.origin is not None:
        place = Path(spec.origin)
        for part in inner:
            folder = place.parent if place.name == "__init__.py" else place  # a file holds none
            package = folder / part / "__init__.py"
            place = package if package.is_file() else folder / f"{part}.py"
        if place.is_file():
            return place
    raise BenchError(f"Module {module!r} is not installed. Reinstall the package behind it.")


def summary(name: str) -> str:
    """The first line of a method's module docstring, read without importing the module."""
    doc = ast.get_docstring(ast.parse(source_file(name).read_text()))
    return doc.splitlines()[0] if doc else ""


def choose_tokenizer(
    role: str | None, requested: str | None, roles: Mapping[Any, str]
) -> tuple[Any, str | None] | None:
    """(TokenizerSpec, location or None) that a cell uses; None for a method without a tokenizer.

    role: what the method asks for. requested: a role or NAME[@LOCATION] that overrules it. roles:
    the profile's tokenizer for each role.
    """
    if role is None:
        return None
    named = requested or role
    name, _, location = roles.get(named, named).partition("@")
    return get_tokenizer(name), location or None
