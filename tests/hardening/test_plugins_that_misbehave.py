"""Plugin files and packages that fail, leave, hang or take names: one sentence with the line."""

import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench import registry
from bench.core import plugin_files

ROOT = Path(__file__).parents[2]
LIST = ("list", "methods", "--plugin", "mine.py")

SPEC = """
from bench.contracts import MethodSpec
SPEC = MethodSpec(name="mine", title="Mine", family="CNN", build=lambda settings, context: None,
                  summary="s", citation="none")
"""

TEXTS = {
    "nothing": ("", "defines no SPEC"),
    "no spec": ("x = 1", "defines no SPEC"),
    "a number": ("SPEC = 3", "defines 3 as SPEC"),
    "a class": ("class SPEC: pass", "as SPEC or in SPECS"),
    "specs of one": ("SPECS = 3", "SPECS is 3"),
    "specs by name": ("SPECS = {'a': 1}", "SPECS is {'a': 1}"),
    "specs none": ("SPECS = [None]", "defines no SPEC"),
    "a text": ("SPECS = 'unet'", "SPECS is 'unet'"),
    "exit": ("import sys\nsys.exit(0)", "mine.py:2 (`sys.exit(0)`): SystemExit: 0"),
    "exit in words": ("raise SystemExit('bye')", "mine.py:1 (`raise SystemExit('bye')`)"),
    "quit": ("quit()", "mine.py:1 (`quit()`): SystemExit"),
    "generator exit": ("raise GeneratorExit", "mine.py:1"),
    "raises": ("x = 1\nraise ValueError('no')", "mine.py:2 (`raise ValueError('no')`)"),
    "raises lines": (r"raise ValueError('a\nb\nc')", "ValueError: a b c"),
    "raises a book": ("raise ValueError('a' * 100_000)", "mine.py:1"),
    "an odd error": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E", "mine.py:3",
    ),
    "no module": ("import nothing_like_this", "No module named 'nothing_like_this'"),
    "no name": ("from bench.contracts import MethodSpecs", "cannot import name 'MethodSpecs'"),
    "no attribute": ("import bench\nbench.nothing", "mine.py:2 (`bench.nothing`)"),
    "syntax": ("def f(:\n    pass", "mine.py:1 (`def f(:`)"),
    "indent": ("if 1:\nx = 1", "mine.py:2"),
    "NUL": ("x = 1\x00", "mine.py"),
    "binary": ("\x89PNG\r\n", "mine.py"),
    "recursion": ("def f():\n    f()\nf()", "RecursionError"),
    "deep": ("x = " + "(" * 5000 + ")" * 5000, "mine.py"),
    "memory": ("x = [0] * 10**15", "mine.py:1 (`x = [0] * 10**15`): MemoryError"),
    "of another name": (SPEC.replace('"mine"', '"unet"'), "a method named 'unet', a name that"),
    "of a family": (SPEC.replace('"mine"', '"smp:unet/x"'), "the family smp:"),
    "itself": ("import mine", "mine.py"),
}  # fmt: skip


@pytest.mark.parametrize("text, says", TEXTS.values(), ids=TEXTS)
def test_a_plugin_that_cannot_be_used(refused, home, text, says):
    (home / "mine.py").write_text(text)
    refused(*LIST, says=(says,))


@pytest.mark.parametrize("name", ["mine.txt", "mine", "folder.py", "nowhere.py"])
def test_what_is_no_python_file(refused, home, name):
    (home / "mine.txt").write_text(SPEC)
    (home / "mine").write_text(SPEC)
    (home / "folder.py").mkdir()
    refused("list", "methods", "--plugin", name, says=(f"No plugin file {name}",))


def test_two_plugins_of_one_name(refused, home):
    for name in ("mine.py", "yours.py"):
        (home / name).write_text(SPEC)
    words = refused(*LIST, "--plugin", "yours.py", says=("yours.py defines a method named 'mine'",))
    assert "mine.py has" in words


def test_one_file_given_twice_is_one_plugin(home, commanded):
    (home / "mine.py").write_text(SPEC)
    status, out, _ = commanded(*LIST, "--plugin", str(home / "mine.py"))
    assert status == 0 and out.count("mine") == 1


HANGS = {
    "sleep": ("import time\ntime.sleep(1000)", "mine.py:2 (`time.sleep(1000)`)"),
    "loop": ("while True:\n    pass", "mine.py:"),
    "lock": ("import threading\nthreading.Event().wait()", "mine.py:2"),
    "swallows": (
        "import time\ntry:\n    time.sleep(1000)\nexcept Exception:\n    pass", "mine.py:3",
    ),
    "socket": (
        "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\ns.accept()",
        "mine.py:5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, says", HANGS.values(), ids=HANGS)
def test_a_plugin_that_hangs_at_import_is_ended(refused, home, monkeypatch, text, says):
    monkeypatch.setattr(plugin_files, "IMPORT_SECONDS", 0.3)
    (home / "mine.py").write_text(text)
    started = time.monotonic()
    refused(*LIST, says=(says, "TooSlow: no end after 0.3 s"))
    assert time.monotonic() - started < 10


def test_the_limit_is_the_one_that_the_manual_states():
    assert plugin_files.IMPORT_SECONDS == 120
    assert "within 120 s" in (ROOT / "docs" / "methods.md").read_text()


# Installed packages


def installed(monkeypatch, home, text: str) -> None:
    """A module on the path that an entry point registers as the method `theirs`."""
    (home / "their_package.py").write_text(text)
    monkeypatch.syspath_prepend(str(home))
    entry = EntryPoint("theirs", "their_package:SPEC", registry.METHODS)
    entries = registry._entries(registry.METHODS) | {"theirs": entry}
    monkeypatch.setattr(
        registry, "_entries", lambda group: entries if group == registry.METHODS else {}
    )


@pytest.mark.parametrize(
    "text, says",
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import sys\nsys.exit(1)", "SystemExit: 1"),
        ("x = (", "SyntaxError"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("x = 1", "has no attribute 'SPEC'"),
        ("SPEC = 3", "it must give a MethodSpec"),
        (SPEC, "whose name is 'theirs'"),
    ],
)
def test_a_package_that_cannot_be_used(refused, home, monkeypatch, text, says):
    monkeypatch.delitem(__import__("sys").modules, "their_package", raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    installed(monkeypatch, home, text)
    refused("describe", "method", "theirs", says=("'theirs'", says))


# The documented example


def test_the_example_is_used_from_another_folder_by_its_file(home, commanded):
    """Its network lies in a second module, which is imported when the weights are built."""
    plugin = ROOT / "examples" / "taef2" / "gms_bench_taef2.py"
    status, out, _ = commanded("list", "tokenizers", "--plugin", plugin)
    assert status == 0 and "taef2" in out
    spec = registry.get_tokenizer("taef2")
    import torch

    with torch.device("meta"):
        network = spec.load(weights=False)
    assert type(network).__module__ == "gms_bench_taef2_network"
