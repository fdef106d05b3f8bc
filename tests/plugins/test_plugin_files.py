"""Importing files that are not installed: their siblings, and what a failing one says."""

import sys

import pytest

from bench.core.errors import BenchError
from bench.core.plugin_files import import_file, sibling_file


def write(folder, **files: str):
    """Python files by stem; gives the path of the first."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder.resolve() / f"{next(iter(files))}.py"


def test_a_plugin_imports_the_modules_beside_it_now_and_later(tmp_path):
    """Later: weights are loaded long after the file was imported."""
    file = write(
        tmp_path,
        entry="from early_sibling import A\ndef load():\n    from late_sibling import B\n    return A + B",
        early_sibling="A = 1",
        late_sibling="B = 2",
    )
    before = list(sys.path)
    module = import_file(file)
    assert sys.path == before
    assert module.load() == 3
    assert sys.path == before


def test_a_package_beside_a_plugin_keeps_its_submodules(tmp_path):
    write(tmp_path / "side_package", __init__="", inner="A = 5")
    file = write(tmp_path, entry="from side_package.inner import A")
    assert import_file(file).A == 5
    assert sibling_file(tmp_path, "side_package") == tmp_path / "side_package" / "__init__.py"
    assert sibling_file(tmp_path, "inner") is None


def test_plugins_of_one_file_name_in_two_folders_are_two_modules(tmp_path):
    files = [write(tmp_path / name, entry=f"A = {name!r}") for name in ("first", "second")]
    modules = [import_file(file) for file in files]
    assert [module.A for module in modules] == ["first", "second"]
    assert [sys.modules[module.__name__] for module in modules] == modules


def test_a_sibling_may_not_have_the_name_of_another_module(tmp_path):
    """Else the folder's file would be digested and the other module would run."""
    file = write(tmp_path, entry="def load():\n    import wave", wave="")
    with pytest.raises(
        BenchError, match=rf"entry.py imports 'wave', which is both {tmp_path}.*lib"
    ):
        import_file(file)


def test_two_plugins_may_not_have_siblings_of_one_name(tmp_path):
    texts = {"entry": "import shared_helper", "shared_helper": "import deeper_helper"}
    first = write(tmp_path / "first", **texts, deeper_helper="A = 1")
    import_file(first)
    second = write(
        tmp_path / "second", entry="import other_helper", other_helper="import deeper_helper"
    )
    write(tmp_path / "second", deeper_helper="A = 2")
    with pytest.raises(BenchError, match=r"other_helper.py imports 'deeper_helper'.*second.*first"):
        import_file(second)


def test_a_plugin_in_a_checkout_runs_with_the_harness_that_is_running(tmp_path):
    write(tmp_path / "bench", __init__="")
    assert import_file(write(tmp_path, entry="from bench import registry")).registry


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1\nimport nothing_like_this", r"entry.py:2 \(`import nothing_like_this`\): Module"),
        ("import sys\n\nsys.exit(3)", r"entry.py:3 \(`sys.exit\(3\)`\): SystemExit: 3\. Fix"),
        ("x = (\n", r"entry.py:1 \(`x = \(`\): SyntaxError: '\(' was never closed\. Fix"),
        ("import json\njson.loads('')", r"entry.py:2 .*JSONDecodeError: Expecting value"),
        ("raise ValueError('one\\ntwo')", r"entry.py:1 .*ValueError: one two\. Fix"),
    ],
    ids=["import", "exit", "syntax", "library", "lines"],
)
def test_a_plugin_that_fails_is_an_error_that_names_its_line(text, message, tmp_path):
    file = write(tmp_path, entry=text)
    with pytest.raises(BenchError, match=rf"^Plugin entry.py fails to import at {message}"):
        import_file(file)
    assert not any(getattr(m, "__file__", None) == str(file) for m in sys.modules.values())


def test_a_fault_in_a_sibling_is_named_there(tmp_path):
    file = write(tmp_path, entry="import faulty_sibling", faulty_sibling="x = 1\n1 / 0")
    with pytest.raises(BenchError, match=r"at faulty_sibling.py:2 \(`1 / 0`\): ZeroDivision"):
        import_file(file)


def test_an_interrupt_during_an_import_stays_an_interrupt(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        import_file(write(tmp_path, entry="raise KeyboardInterrupt"))
