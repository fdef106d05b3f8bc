"""Digests of the code that decides a cell's weights and of the code that decides its scores.

Python files are read, never run. Docstrings, comments, messages of errors and logs, annotations of
functions, and the names of files and modules do not count: an imported first-party module counts
by its content, so a digest covers everything that it reaches by imports. What a cell's identity
holds elsewhere does not count here either: recipes, default settings and the descriptive fields of
a `MethodSpec`.
"""

import ast
import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import digest
from bench.core.paths import PACKAGE
from bench.registry import module_file

# Harness code that decides numbers; the rest of `bench` moves data, checks it and prints.
_TRAINING = ("bench.training", "bench.metrics", "bench.method")
_TOKENIZERS = ("bench.tokenizers",)
_SCORING = ("bench.metrics",)

_ERRORS = ("Error", "Failure", "Exception", "Broken", "Skipped", "unknown_name")
_LOGS = ("warn", "warning", "info", "debug", "exception")
_DESCRIPTIVE = (
    "Recipe",
    "Original",
    "TokenizerSpec",
    "model_copy",
)  # their content is digested as values
_KEPT_OF_SPEC = ("build", "builder")


@cache
def training_code(source: Path) -> str:
    """sha256 of the code that trains and predicts with the method that `source` defines."""
    return _of_roots((*_files("training"), PACKAGE / "method.py", source), _TRAINING)


@cache
def tokenizer_code(source: Path) -> str:
    """sha256 of the code of the tokenizer whose loader `source` defines."""
    return _of_roots((source,), _TOKENIZERS)


@cache
def scoring_code() -> str:
    """sha256 of the code that makes per-case scores of predicted masks."""
    return _of_roots((PACKAGE / "metrics" / "rows.py",), _SCORING)


@cache
def resolving_code(source: Path) -> str:
    """sha256 of the code that turns a request into settings and a recipe: the method's files with
    their defaults, and the harness's own."""
    harness = (
        "recipes.py",
        "contracts.py",
        "protocols.py",
        "experiments/resolve.py",
        "experiments/lengths.py",
    )
    own = _of_roots((source,), (), everything=True)
    return digest([own, *(_text_digest(PACKAGE / name) for name in harness)])


def _files(wing: str) -> tuple[Path, ...]:
    return tuple(sorted((PACKAGE / wing).rglob("*.py")))


def _text_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_roots(roots: Iterable[Path], counted: tuple[str, ...], everything: bool = False) -> str:
    reader = _reader(counted, everything)
    return digest(sorted(reader.content(path) for path in roots))


@cache
def _reader(counted: tuple[str, ...], everything: bool) -> "_Reader":
    return _Reader(counted, everything)


class _Reader:
    """Digests of files under one rule of what counts; each file is read once.

    counted: prefixes of the harness's modules that are followed. everything: whether defaults and
    descriptive fields count, too.
    """

    def __init__(self, counted: tuple[str, ...], everything: bool) -> None:
        self.counted, self.everything = counted, everything
        self._known: dict[Path, str] = {}
        self._open: list[Path] = []  # the chain of imports that leads to the file being read
        self._circular: set[Path] = set()

    def content(self, path: Path) -> str:
        """Digest of a file's code, in which every import that counts stands for its content."""
        if path in self._known:
            return self._known[path]
        if path in self._open:  # modules that import each other: each counts where it is met first
            self._circular.update(self._open[self._open.index(path) :])
            return "circular"
        self._open.append(path)
        tree = _Normal(path, self._imported(path), self.everything).visit(_parsed(path))
        self._open.pop()
        found = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
        if path not in self._circular:
            self._known[path] = found
        return found

    def _imported(self, path: Path) -> Callable[[str], str | None]:
        """module -> its content, None for one that does not count."""

        def imported(module: str) -> str | None:
            file = _first_party(path, module, self.counted)
            return None if file is None else self.content(file)

        return imported


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise BenchError(f"{path}, line {error.lineno}: {error.msg}. Correct the file.") from error


def _first_party(path: Path, module: str, counted: tuple[str, ...]) -> Path | None:
    """The file of a module that counts: a counted wing's, or of the importing file's own package,
    or a file or package beside a lone plugin file."""
    top = module.partition(".")[0]
    if top == "bench":
        wanted = any(module == wing or module.startswith(f"{wing}.") for wing in counted)
        return _find(module) if wanted else None
    root, package = _package_of(path)
    if package == "bench" or package and package != top:
        return None
    place = root.joinpath(*module.split("."))
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((file for file in files if file.is_file() and file != path), None)


@cache
def _find(module: str) -> Path | None:
    """The file of a module; None for a name that is an attribute of a module."""
    try:
        return module_file(module)
    except BenchError:
        return None


def _package_of(path: Path) -> tuple[Path, str]:
    """(the folder that holds a file's top-level package, that package's name); a lone file's own
    folder and ""."""
    top = ""
    while (path.parent / "__init__.py").exists():
        path = path.parent
        top = path.name
    return path.parent, top


class _Normal(ast.NodeTransformer):
    """Leaves of a module what can change a number."""

    def __init__(self, path: Path, imported: Callable[[str], str | None], everything: bool) -> None:
        self.path, self.imported, self.everything = path, imported, everything

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return self._import([(alias.name, "", alias.asname) for alias in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        base = _absolute(self.path, node)
        return self._import([(base, alias.name, alias.asname) for alias in node.names])

    def _import(self, names: list[tuple[str, str, str | None]]) -> ast.AST | None:
        """A sorted list of (content or module, name); None for imports of the harness that do not
        count."""
        found = []
        for module, name, alias in names:
            inner = self.imported(f"{module}.{name}") if name else None
            content = inner or self.imported(module)
            if content is not None:
                found.append(f"{content} {'' if inner else name} {alias or name}")
            elif module.partition(".")[0] != "bench":
                found.append(f"{module} {name} {alias}")
        return ast.Expr(ast.Constant("\n".join(sorted(found)).encode())) if found else None

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self._without_docstring(node)
        # A renamed module may take another place among the imports, which changes nothing.
        node.body.sort(key=_import_order)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if not self.everything and any(_name(base).endswith("Settings") for base in node.bases):
            for item in node.body:  # defaults count through the resolved settings
                if isinstance(item, ast.AnnAssign):
                    item.value, item.annotation = None, ast.Constant("")
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        return self._without_docstring(node)

    def _without_docstring(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = _name(node.func)
        if name.endswith(_ERRORS) or not self.everything and name in _DESCRIPTIVE:
            node.args, node.keywords = [], []
        elif not self.everything and name == "MethodSpec":
            node.keywords = [kept for kept in node.keywords if kept.arg in _KEPT_OF_SPEC]
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Call) and _name(node.value.func) in _LOGS:
            return None
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    """A string that stands alone: a comment in the form of a docstring, as after a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _import_order(node: ast.stmt) -> tuple[bool, str]:
    """Imports first, in an order of their content; the rest stays in its order."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False, repr(node.value.value)
    return True, ""


def _name(node: ast.AST) -> str:
    """`f` of `f`, `m.f` and `m.n.f`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


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
