"""Mistakes in settings, recipe and tokenizer that can be named before torch is imported.

A method's module imports torch, which takes seconds. Its settings are a small class beside the
network; here that class alone is made, from the statements of the file that it rests on. Where it
rests on more than names and pydantic, nothing is said, and a worker finds the mistake later.
"""

import ast
import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from bench.contracts import Settings
from bench.core.frozen import validated
from bench.experiments.cells import CellRequest
from bench.recipes import SHARED, Recipe
from bench.registry import find_tokenizer, module_file, source_file

CHEAP = (
    "typing",
    "pydantic",
    "enum",
    "math",
    "collections",
    "bench.contracts",
    "bench.core.frozen",
)
"""Modules that a settings class may rest on: imported in no time."""


def refuse_mistakes(requests: Sequence[CellRequest]) -> None:
    """Raise BenchError for the first setting, recipe field or tokenizer of a request that cannot be."""
    for request in requests:
        kind = settings_class(source_file(request.method))
        if kind is not None:
            _require_fields(kind, {}, request.settings, f"method {request.method!r}")
        changes = {name: value for name, value in request.recipe.items() if name != "name"}
        _require_fields(Recipe, SHARED.model_dump(), changes, "the recipe")
        if request.tokenizer and request.tokenizer not in request.profile.tokenizers:
            find_tokenizer(request.tokenizer.partition("@")[0])


def _require_fields(
    model: type[Any], values: dict[str, Any], changes: dict[str, Any], what: str
) -> None:
    """BenchError for a change that the field itself refuses.

    What fields say of each other is left out: a preset, read with the method, may change the others.
    """
    try:
        model.model_validate(values | changes)
    except ValidationError as error:
        if any(fault["loc"] for fault in error.errors()):
            validated(model, values | changes, what)


@cache
def settings_class(file: Path) -> type[Any] | None:
    """The settings of the method that a file defines, without importing it; None where the file
    alone does not tell."""
    tree = ast.parse(file.read_bytes())
    specs = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _named(node)]
    named = {_settings_of(spec) for spec in specs}
    if len(named) != 1:
        return None
    (name,) = named
    if name is None:
        return Settings
    try:
        made = _Maker(tree).made(name)
    except Exception:  # noqa: BLE001 - whatever it rests on, a worker says it in full
        return None
    return made if isinstance(made, type) and issubclass(made, Settings) else None


def _named(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "MethodSpec"


def _settings_of(spec: ast.Call) -> str | None:
    """The name given as `settings=`; None without one."""
    for keyword in spec.keywords:
        if keyword.arg == "settings":
            return keyword.value.id if isinstance(keyword.value, ast.Name) else ""
    return None


class _Maker:
    """Makes single names of a module by running the statements that they rest on, and no others."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = ModuleType("settings_alone")
        self.names = vars(self.module)
        self.where: dict[str, ast.stmt] = {}
        for statement in tree.body:
            for name in _binds(statement):
                self.where[name] = statement

    def made(self, name: str) -> Any:
        """The value of a top-level name. Raises what its statements raise; KeyError without one."""
        if name not in self.names and name in self.where:
            statement = self.where[name]
            if isinstance(statement, ast.ImportFrom):
                self.names[name] = _imported(statement, name)
            else:
                self._run(statement)
        return self.names[name]

    def _run(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            wanted = isinstance(node, ast.Name) and node.id in self.where
            if wanted and self.where[node.id] is not statement:  # type: ignore[attr-defined]
                self.made(node.id)  # type: ignore[attr-defined]
        exec(compile(ast.Module([statement], []), "settings", "exec"), self.names)  # noqa: S102


def _binds(statement: ast.stmt) -> list[str]:
    """The top-level names that a statement binds, of those that settings can rest on."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
    return []


def _imported(statement: ast.ImportFrom, name: str) -> Any:
    """What `from MODULE import NAME` gives; of a costly module, the name alone."""
    module = statement.module or ""
    (inner,) = [alias.name for alias in statement.names if (alias.asname or alias.name) == name]
    if statement.level == 0 and module.startswith(CHEAP):
        return getattr(importlib.import_module(module), inner)
    return _Maker(ast.parse(module_file(module).read_bytes())).made(inner)
