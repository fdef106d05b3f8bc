"""A third party's method is installed and run by name; a single file works without installing."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import registry
from bench.conformance.check import check_method
from bench.core.errors import BenchError
from bench.registry import get_method, use_plugin_files

PACKAGE = Path(__file__).parent / "package"


@pytest.fixture(autouse=True, scope="module")
def no_plugin_outlives_this_file():
    """Other tests list what is registered."""
    before = registry.plugin_files()
    yield
    registry._plugin_files[:] = before


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder into which pip installed the example package, without network."""
    for tool in ("pip", "setuptools"):
        if find_spec(tool) is None:
            pytest.skip(f"{tool} is not in this environment")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, dirs_exist_ok=True)  # a build leaves files behind
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


def run_bench(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    """The command line with the packages in `path` at hand."""
    search = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-W", "ignore", "-m", "bench.cli", *words]
    env = os.environ | {"PYTHONPATH": search}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_an_installed_method_is_listed_and_described_by_name(installed):
    listed = run_bench("list", "methods", "--json", path=installed)
    rows = {row["name"]: row["summary"] for row in json.loads(listed.stdout)}
    assert rows["colour_line"].startswith("Colour Line: one linear decision")
    facts = json.loads(
        run_bench("describe", "method", "colour_line", "--json", path=installed).stdout
    )
    assert facts["trainable_params"] == 4
    assert facts["param_shapes"] == [[[1], 1], [[1, 3, 1, 1], 1]]


def test_an_installed_method_is_checked_by_name(installed):
    done = run_bench("check", "method", "colour_line", "--json", path=installed)
    checks = {row["name"]: row for row in json.loads(done.stdout)}
    failed = [row for row in checks.values() if row["status"] == "fail"]
    assert [row["name"] for row in failed] in ([], ["overfits"]), (
        failed
    )  # four numbers learn little
    assert done.returncode == (1 if failed else 0)


def test_without_installing_it_the_name_is_unknown(tmp_path):
    done = run_bench("describe", "method", "colour_lin", path=tmp_path)
    assert done.returncode != 0
    assert "No method named 'colour_lin'" in done.stderr + done.stdout


def test_a_plugin_file_needs_no_installation(tmp_path):
    file = tmp_path / "my_line.py"
    text = (PACKAGE / "bench_colour_line.py").read_text()
    file.write_text(text.replace('name="colour_line"', 'name="my_line"'))
    use_plugin_files([file])
    assert get_method("my_line").title == "Colour Line"
    with pytest.raises(BenchError, match="No method named 'my_lin'. Did you mean 'my_line'"):
        get_method("my_lin")


@pytest.mark.parametrize(
    "text, message",
    [
        ("SPECS = ()\n", "defines no SPEC"),
        ("import no_such_module\n", "fails to import.*no_such_module"),
    ],
)
def test_a_file_that_is_no_plugin_says_what_is_missing(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.registry._plugin_files", [])
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(BenchError, match=message):
        check_method(str(file))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BenchError, match="No plugin file .*absent.py"):
        check_method(str(tmp_path / "absent.py"))
