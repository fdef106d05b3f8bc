"""Finding methods and tokenizers by name, the shipped ones and a plugin's alike.

A name has one meaning: a plugin that takes a registered one is refused. One lookup, `find_method`,
gives both the spec that runs and the file whose code is digested. Names and summaries are read
without importing a method's module, since that imports torch, which takes seconds.
"""

import ast
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bench.contracts import MethodSpec
from bench.core.errors import BenchError, unknown_name
from bench.core.plugin_files import IMPORT_SECONDS, import_file, ours
from bench.core.time_limit import time_limit

METHODS, FAMILIES, TOKENIZERS = "bench.methods", "bench.method_families", "bench.tokenizers"
KINDS = {METHODS: "method", TOKENIZERS: "tokenizer"}

_plugin_files: list[Path] = []  # in the order given by --plugin


@dataclass(frozen=True)
class Registered:
    """What a name stands for.

    source: the Python file that defines it, found without importing it. load: gives its spec.
    """

    name: str
    source: Path
    load: Callable[[], Any]


# -- where names come from --------------------------------------------------------------------


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    """The entry points of installed packages by name; BenchError where two differ."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise BenchError(
                f"Two installed packages register {entry.name!r} in {group}: {_place(other)} and "
                f"{_place(entry)}. Uninstall one of them or rename its entry point."
            )
    return found


def _place(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist is not None else entry.value


def use_plugin_files(files: Iterable[Path]) -> None:
    """Register `--plugin FILE`s; each defines SPEC or SPECS at module level.

    Raises BenchError when a file is missing. What a file defines is read, and refused where it
    is wrong, at the first look-up of a name.
    """
    for file in files:
        path = file.resolve()
        if not path.is_file() or path.suffix != ".py":
            raise BenchError(f"No plugin file {file}. Give the path of a Python file (.py).")
        if path not in _plugin_files:
            _plugin_files.append(path)


def plugin_files() -> tuple[Path, ...]:
    """The plugin files in use, for handing them to worker processes."""
    return tuple(_plugin_files)


def _plugins(group: str) -> dict[str, tuple[Path, Any]]:
    """(file, spec) by name of what the plugin files add to a group.

    Raises BenchError when a file fails to import, defines no spec, or takes a registered name.
    """
    found: dict[str, dict[str, tuple[Path, Any]]] = {METHODS: {}, TOKENIZERS: {}}
    for path in _plugin_files:
        for spec in _specs_of(path):
            kind = _group_of(spec, path)
            taken = _taken_by(kind, spec.name, found[kind])
            if taken is not None:
                raise BenchError(
                    f"Plugin {path} defines a {KINDS[kind]} named {spec.name!r}, a name that "
                    f"{taken} has. Results are stored under names, so each has one meaning. Choose "
                    "another name in the plugin."
                )
            found[kind][spec.name] = path, spec
    return found[group]


def _specs_of(path: Path) -> list[Any]:
    """SPEC and SPECS of a plugin file, each spec once."""
    module = import_file(path)
    several = getattr(module, "SPECS", ())
    if not isinstance(several, list | tuple):
        raise BenchError(f"Plugin {path.name}: SPECS is {several!r}. Write a list of specs.")
    specs: list[Any] = []
    for spec in (getattr(module, "SPEC", None), *several):
        if spec is not None and not any(spec is other for other in specs):
            specs.append(spec)
    if not specs:
        raise BenchError(f"Plugin {path.name} defines no SPEC. Add SPEC = MethodSpec(...).")
    return specs


def _group_of(spec: Any, path: Path) -> str:
    if isinstance(spec, MethodSpec):
        return METHODS
    if _is_tokenizer(spec):
        return TOKENIZERS
    raise BenchError(
        f"Plugin {path.name} defines {spec!r} as SPEC or in SPECS. Give a MethodSpec (a method) or a "
        "TokenizerSpec (a tokenizer)."
    )


def _is_tokenizer(spec: Any) -> bool:
    """Whether it is a TokenizerSpec, by its fields: this module comes before the tokenizers."""
    return all(hasattr(spec, field) for field in ("name", "role", "source_file", "load"))


def _taken_by(group: str, name: str, plugins: Mapping[str, tuple[Path, Any]]) -> str | None:
    """Who has a name already, for a message."""
    prefix, colon, _ = name.partition(":")
    if group == METHODS and colon and prefix in _entries(FAMILIES):
        return f"the family {prefix}: ({_place(_entries(FAMILIES)[prefix])})"
    if name in _entries(group):
        return _place(_entries(group)[name])
    return f"plugin {plugins[name][0]}" if name in plugins else None


# -- looking up -------------------------------------------------------------------------------


def method_names() -> list[str]:
    """Every registered method, families as `smp:<architecture>/<encoder>`."""
    return plain_method_names() + sorted(f"{name}:..." for name in _entries(FAMILIES))


def plain_method_names() -> list[str]:
    """The registered methods that are no family: what `--methods all` means."""
    return sorted({*_entries(METHODS), *_plugins(METHODS)})


def tokenizer_names() -> list[str]:
    """Every registered tokenizer."""
    return sorted({*_entries(TOKENIZERS), *_plugins(TOKENIZERS)})


def find_method(name: str) -> Registered:
    """The method of that name; an installed one is not imported before `load`.

    Raises BenchError with the nearest name if it is unknown.
    """
    plugins = _plugins(METHODS)  # refuses a plugin with a taken name, whatever is looked up
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _entries(FAMILIES):
        entry = _entries(FAMILIES)[prefix]
        return Registered(name, module_file(entry.module), lambda: _load(entry)(rest))
    return _find(
        METHODS,
        name,
        plugins,
        method_names,
        "To add one, register it in the entry-point group bench.methods or give --plugin FILE; "
        "`bench new method NAME` writes a skeleton.",
    )


def find_tokenizer(name: str) -> Registered:
    """The tokenizer of that name (no @location); BenchError with the nearest if it is unknown."""
    return _find(
        TOKENIZERS,
        name,
        _plugins(TOKENIZERS),
        tokenizer_names,
        "To add one, register it in the entry-point group bench.tokenizers or give --plugin FILE.",
    )


def _find(
    group: str,
    name: str,
    plugins: Mapping[str, tuple[Path, Any]],
    known: Callable[[], list[str]],
    next_step: str,
) -> Registered:
    if name in plugins:
        path, spec = plugins[name]
        return Registered(name, path, lambda: spec)
    if name in _entries(group):
        entry = _entries(group)[name]
        return Registered(name, module_file(entry.module), partial(_load_spec, group, entry))
    raise unknown_name(KINDS[group], name, known(), next_step)


def _load(entry: EntryPoint) -> Any:
    try:
        with time_limit(IMPORT_SECONDS):
            return entry.load()
    except BaseException as error:  # sys.exit in a package may not end the harness
        if isinstance(error, KeyboardInterrupt | BenchError) or ours(error):
            raise
        raise BenchError(
            f"Entry point {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: "
            f"{error}. Reinstall the package that registers it, or uninstall it."
        ) from error


def _load_spec(group: str, entry: EntryPoint) -> Any:
    """The spec of an entry point; BenchError unless it is one of its group with its name."""
    spec = _load(entry)
    fits = isinstance(spec, MethodSpec) if group == METHODS else _is_tokenizer(spec)
    if not fits or spec.name != entry.name:
        wanted = "MethodSpec" if group == METHODS else "TokenizerSpec"
        raise BenchError(
            f"Entry point {entry.name!r} in {group} ({_place(entry)}) gives {spec!r}; it must give a "
            f"{wanted} whose name is {entry.name!r}."
        )
    return spec


def get_method(name: str) -> MethodSpec:
    """The spec of a method; imports its module. BenchError with the nearest name if unknown."""
    return find_method(name).load()


def require_method(name: str) -> None:
    """Raise BenchError unless `name` is registered; imports no installed method."""
    find_method(name)


def get_tokenizer(name: str) -> Any:
    """The TokenizerSpec called `name` (no @location). BenchError with the nearest if unknown."""
    return find_tokenizer(name).load()


def source_file(name: str) -> Path:
    """The Python file that defines a method, found without importing it."""
    return find_method(name).source


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
    doc = ast.get_docstring(ast.parse(find_method(name).source.read_bytes()))
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
