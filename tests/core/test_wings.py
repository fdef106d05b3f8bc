"""The wings: imports run one way, no arrow hides in a string, and the top of bench stays small."""

import ast
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parent

WINGS = (
    "core",
    "contracts",  # all modules at the top of bench/, which plugin authors import
    "metrics",
    "data",
    "tokenizers",
    "training",
    "experiments",
    "reporting",
    "conformance",
    "cli",
)
"""From left to right: a wing imports itself and what stands left of it."""

FILES = sorted(path for path in ROOT.rglob("*.py") if "_shipped" not in path.parts)


def module_of(path: Path) -> str:
    """`bench.core.files` of a path."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def wing_of(module: str) -> str:
    """The wing of `bench.x.y`; modules at the top are one wing, "contracts"."""
    inner = module.split(".")[1:]
    return inner[0] if inner and inner[0] in WINGS else "contracts"


def imported(path: Path) -> set[str]:
    """Modules of bench and methods that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.parent.name == "phantoms", f"{path}: relative import"
            if node.level == 0 and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.partition(".")[0] in ("bench", "methods")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_stands_left_of_its_wing(path):
    if path == ROOT / "__init__.py":
        return  # the public face hands on names of several wings, and imports them when asked
    own = WINGS.index(wing_of(module_of(path)))
    for name in imported(path) - {"bench.__version__"}:
        assert name.partition(".")[0] != "methods", f"{path} imports {name}"
        assert WINGS.index(wing_of(name)) <= own, f"{path} imports {name}, which stands right of it"


def test_no_circle_of_imports():
    graph = {module_of(path): imported(path) & MODULES for path in FILES}
    graph["bench"] = set()  # imports when a name is asked for, not when it is imported
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        assert name not in chain, " -> ".join((*chain[chain.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*chain, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_import_hides_in_a_string(path):
    allowed = {"bench.experiments.executors.worker", "bench.conformance.measure_worker"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            started = name in MODULES and "." in name and name not in allowed
            hidden = started and wing_of(name) != wing_of(module_of(path)) and ":" in node.value
            assert not hidden, f"{path} names {node.value!r}"
            assert not node.value.startswith("methods."), f"{path} names {node.value!r}"


def test_the_top_of_bench_holds_what_plugin_authors_and_notebooks_import():
    top = sorted(path.name for path in ROOT.glob("*.py"))
    assert top == [
        "__init__.py", "contracts.py", "method.py", "protocols.py", "recipes.py", "registry.py",
    ]  # fmt: skip
