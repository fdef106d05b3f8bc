"""Change the code in one point at a time and count the changes that some test notices.

    pip install -e '.[test,mutation]'
    python benchmarks/mutation.py [--sample 25] [--seed 0] [--only 'bench/metrics/*'] [--retry]

tests/mutation/targets.toml names the modules and the tests of each. Every mutant is written into a
copy of the checkout, and its tests run there in a forked process: torch is imported once, not once
per mutant. Results are appended to a file of JSON lines, so a stopped run goes on where it stopped.
docs/mutation.md says what counts.
"""

import argparse
import contextlib
import difflib
import fnmatch
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).parents[1]
LISTS = ROOT / "tests" / "mutation"
COPIED = (
    "bench",
    "methods",
    "tests",
    "datasets",
    "docs",
    "examples",
    "pyproject.toml",
    "README.md",
)
MEMORY = 12 * 2**30
"""Bytes a mutant's process may allocate: a wrong sign must not fill the machine."""

# One or two partners per operator, of cosmic-ray's eleven and seven. The others are noticed by
# any test that reaches the line, and would only raise the rate.
BINARY = (
    "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Div Mod_FloorDiv Pow_Mul BitOr_BitAnd BitAnd_BitOr "
    "BitXor_BitAnd LShift_RShift RShift_LShift"
)
COMPARISON = (
    "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
)
OTHERS = (
    "ReplaceUnaryOperator_USub_UAdd ReplaceUnaryOperator_Delete_Invert "
    "ReplaceUnaryOperator_Delete_Not AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue "
    "ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue ReplaceContinueWithBreak "
    "ExceptionReplacer NumberReplacer RemoveDecorator ZeroIterationForLoop"
)


class RemoveCall(Operator):
    """Replace a statement that only calls something by `pass`; cosmic-ray has no such operator."""

    def mutation_positions(self, node):
        if node.type == "atom_expr" and node.parent.type == "simple_stmt":
            yield (node.start_pos, node.end_pos)

    def mutate(self, node, index):
        return parso.python.tree.Name("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls):
        return ()


def operators() -> dict[str, Operator]:
    """The mutation operators by name."""
    names = [f"ReplaceBinaryOperator_{pair}" for pair in BINARY.split()]
    names += [f"ReplaceComparisonOperator_{pair}" for pair in COMPARISON.split()]
    provider = OperatorProvider()
    return {name: provider[name]() for name in names + OTHERS.split()} | {
        "RemoveCall": RemoveCall()
    }


@dataclass(frozen=True)
class Mutant:
    """One change: the operator's `occurrence`-th place in the module."""

    module: str
    operator: str
    occurrence: int
    line: int

    def source(self, original: str) -> str | None:
        """The changed module, or None where the change gives no valid or no other code."""
        changed = mutate_code(original, operators()[self.operator], self.occurrence)
        try:
            compile(changed, self.module, "exec")
        except SyntaxError:
            return None
        return changed if changed != original else None


def mutants_of(module: str, source: str, functions: list[str] | None = None) -> list[Mutant]:
    """Every mutant of a module, in the order of the text; type annotations are left alone.

    functions: names of the functions to change, None for the whole module.
    """
    seen: Counter[str] = Counter()
    found = []
    for node in ast_nodes(parso.parse(source)):
        for name, operator in operators().items():
            for _ in operator.mutation_positions(node):
                if _in_one_of(node, functions) and not _in_annotation(node):
                    found.append(Mutant(module, name, seen[name], node.start_pos[0]))
                seen[name] += 1
    return sorted(found, key=lambda mutant: mutant.line)


def _in_one_of(node, functions: list[str] | None) -> bool:
    while node is not None and functions is not None:
        if node.type == "funcdef" and node.name.value in functions:
            return True
        node = node.parent
    return functions is None


def _in_annotation(node) -> bool:
    """Whether a node lies in the type of a parameter, a variable or a returned value."""
    while (parent := node.parent) is not None:
        if parent.type == "tfpdef" and node is parent.children[-1]:
            return True
        if parent.type == "annassign" and node is parent.children[1]:
            return True
        if parent.type == "funcdef" and node is parent.annotation:
            return True
        node = parent
    return False


def difference(original: str, changed: str) -> tuple[str, str]:
    """The changed lines before and after, stripped, joined where they are several."""
    lines = list(difflib.ndiff(original.splitlines(), changed.splitlines()))
    sides = (
        " / ".join(line[2:].strip() for line in lines if line.startswith(mark)) for mark in "-+"
    )
    before, after = (
        re.sub(r" +", " ", side).replace("( ", "(").replace("[ ", "[") for side in sides
    )
    return before, after


# ---- running


class Copy:
    """A copy of the checkout, in which one file at a time is another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignore)
            elif source.exists():
                shutil.copy(source, folder / name)
        shutil.copytree(ROOT / "results" / "published", folder / "results" / "published")

    @contextlib.contextmanager
    def changed(self, module: str, source: str) -> Iterator[None]:
        """The copy with another text in `module`, for the length of the block."""
        path = self.folder / module
        original = path.read_text()
        self._write(path, source)
        try:
            yield
        finally:
            self._write(path, original)

    def _write(self, path: Path, source: str) -> None:
        path.write_text(source)
        # Python takes bytecode for current by size and second alone.
        for old in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            old.unlink()

    def test(self, tests: list[str], timeout: float, report: Path | None = None) -> str:
        """Run tests in a forked process: "survived", "killed" or "timeout".

        report: where the process writes the names of the modules it imported.
        """
        child = os.fork()
        if child == 0:
            os._exit(self._child(tests, report))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "survived" if status == 0 else "killed"
            time.sleep(0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"

    def _child(self, tests: list[str], report: Path | None) -> int:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.chdir(self.folder)
        log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.path.insert(0, str(self.folder))
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        import pytest

        options = ["-x", "-o", "addopts=", "-m", "not heavy", "-p", "no:cacheprovider"]
        code = int(pytest.main([*options, *tests]))
        if report is not None:
            report.write_text("\n".join(sys.modules))
        sys.stdout.flush()
        return code


def warm_up(copy: Copy, tests: list[str]) -> float:
    """Seconds the tests take unchanged, once the libraries they import are imported here.

    Every later process is forked from this one and has them. Raises SystemExit where the tests fail.
    """
    report = copy.folder / "imported.txt"
    if copy.test(tests, 900, report) != "survived":
        raise SystemExit(
            f"{tests} fail on the code as it is:\n{(copy.folder / 'log.txt').read_text()}"
        )
    ours = ("bench", "methods", "conftest", "tests", "__main__")
    local = {path.stem for path in (copy.folder / "tests").rglob("*.py")}
    for name in report.read_text().splitlines():
        top = name.partition(".")[0]
        if top not in ours and top not in local and name not in sys.modules:
            with contextlib.suppress(BaseException):  # names made up at run time
                importlib.import_module(name)
    started = time.monotonic()
    copy.test(tests, 900)
    return time.monotonic() - started


# ---- results


def read_results(path: Path) -> dict[str, dict]:
    """The last stored result of every mutant."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def key_of(original: str, mutant: Mutant) -> str:
    """Names a mutant of this very text of its module."""
    content = [mutant.module, original, mutant.operator, mutant.occurrence]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def equivalents() -> set[tuple[str, str, str]]:
    """(module, line, changed line) of the mutants listed as equivalent."""
    listed = tomllib.loads((LISTS / "equivalent.toml").read_text())["equivalent"]
    return {(e["module"], e["line"], after) for e in listed for after in e["becomes"]}


@dataclass(frozen=True)
class Target:
    """A module, what pytest gets to test it, and which functions to change (None: all of it)."""

    module: str
    tests: list[str]
    functions: list[str] | None


def targets_of(only: list[str]) -> list[Target]:
    """The listed modules that match one of the patterns."""
    found = []
    for entry in tomllib.loads((LISTS / "targets.toml").read_text())["target"]:
        for pattern in [*entry["modules"], *entry["tests"]]:
            if not list(ROOT.glob(pattern)):
                raise SystemExit(f"tests/mutation/targets.toml: no file matches {pattern!r}")
        tests = [*entry["tests"], *(["-k", entry["select"]] if "select" in entry else [])]
        for pattern in entry["modules"]:
            paths = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
            found += [Target(path, tests, entry.get("functions")) for path in paths]
    return [t for t in found if any(fnmatch.fnmatch(t.module, glob) for glob in only)]


def sampled(mutants: list[Mutant], count: int, seed: int, module: str) -> list[Mutant]:
    """`count` of the mutants, drawn by seed and module; all where count is 0."""
    order = list(mutants)
    random.Random(f"{seed}/{module}").shuffle(order)
    return order[:count] if count else order


def run(module: str, tests: list[str], chosen: list[Mutant], copy: Copy, args) -> None:
    """Test the chosen mutants that have no stored result yet; those that survived, with --retry."""
    original = (copy.folder / module).read_text()
    known = read_results(args.results)
    keys = {mutant: key_of(original, mutant) for mutant in chosen}
    stored = {m: known[key]["outcome"] for m, key in keys.items() if key in known}
    if args.retry:
        todo = [m for m in chosen if stored.get(m) in ("survived", "timeout")]
    else:
        todo = [m for m in chosen if m not in stored]
    if not todo:
        return
    timeout = 10 + 4 * warm_up(copy, tests)
    for mutant in todo:
        changed = mutant.source(original)
        row = {"key": keys[mutant], "module": module, "line": mutant.line}
        if changed is None:
            row |= {"outcome": "invalid"}
        else:
            before, after = difference(original, changed)
            with copy.changed(module, changed):
                outcome = copy.test(tests, timeout)
            row |= {"outcome": outcome, "before": before, "after": after}
        with args.results.open("a") as file:
            file.write(json.dumps(row | {"operator": mutant.operator}) + "\n")


def report(modules: list[tuple[str, str, int, list[Mutant]]], results: Path) -> None:
    """Print the survivors, then the table of rates.

    modules: (path, text, number of its mutants, those chosen).
    """
    known, listed = read_results(results), equivalents()
    table, totals = [], Counter()
    for module, original, every, chosen in modules:
        counts = Counter(mutants=every)
        for mutant in chosen:
            row = known.get(key_of(original, mutant))
            if row is None or row["outcome"] == "invalid":
                continue
            outcome = "killed" if row["outcome"] == "timeout" else row["outcome"]
            if outcome == "survived" and (module, row["before"], row["after"]) in listed:
                outcome = "equivalent"
            if outcome == "survived":
                print(f"{module}:{row['line']}\n  - {row['before']}\n  + {row['after']}")
            counts[outcome] += 1
            counts["tested"] += 1
        table.append((module, counts))
        totals += counts
    print("\n| module | mutants | tested | killed | survived | equivalent | rate |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for module, counts in [*table, ("all", totals)]:
        scored = counts["killed"] + counts["survived"]
        rate = f"{counts['killed'] / scored:.0%}" if scored else "-"
        columns = ("mutants", "tested", "killed", "survived", "equivalent")
        numbers = " | ".join(str(counts[column]) for column in columns)
        print(f"| {module} | {numbers} | {rate} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=0, help="mutants per module; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of module paths")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "mutation.jsonl")
    parser.add_argument(
        "--retry", action="store_true", help="test former survivors again, and no others"
    )
    parser.add_argument("--report", action="store_true", help="print stored results only")
    args = parser.parse_args()
    args.results = args.results.resolve()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    modules = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        copy = None if args.report else Copy(Path(scratch) / "checkout")
        for target in targets_of(args.only):
            module = target.module
            root = copy.folder if copy is not None else ROOT  # ROOT may be edited meanwhile
            original = (root / module).read_text()
            every = mutants_of(module, original, target.functions)
            chosen = sampled(every, args.sample, args.seed, module)
            modules.append((module, original, len(every), chosen))
            if copy is not None:
                run(module, target.tests, chosen, copy, args)
                print(f"{module}: {len(chosen)} of {len(every)} mutants", file=sys.stderr)
    report(modules, args.results)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
