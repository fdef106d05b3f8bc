"""`bench new method` writes a package that keeps the contract before anything is changed."""

import subprocess
import sys
import tomllib

import pytest

from bench.conformance.scaffold import new_method
from bench.core.errors import BenchError


def test_the_skeleton_is_a_package_with_entry_point_and_test(tmp_path):
    files = new_method("my_method", tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "my_method/pyproject.toml",
        "my_method/README.md",
        "my_method/bench_my_method.py",
        "my_method/tests/test_bench_my_method.py",
    ]
    project = tomllib.loads(files[0].read_text())["project"]
    assert project["entry-points"]["bench.methods"] == {"my_method": "bench_my_method:SPEC"}


def test_its_own_test_passes_as_written(tmp_path):
    folder = new_method("my_method", tmp_path)[0].parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["MyMethod", "my-method", "2d", "_x", "a__b", "class", ""])
def test_names_that_are_refused(name, tmp_path):
    with pytest.raises(BenchError, match="cannot name a method.*my_method"):
        new_method(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_registered_name_is_refused(tmp_path):
    with pytest.raises(BenchError, match="'unet' is registered already"):
        new_method("unet", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    new_method("my_method", tmp_path)
    with pytest.raises(BenchError, match="exists already. Choose another name"):
        new_method("my_method", tmp_path)
