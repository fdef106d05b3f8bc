"""The script that runs everything on a GPU prints commands that this package takes."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bench.cli.app import app
from bench.protocols import get_profile

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def commands(*options: str) -> dict[str, list[str]]:
    """Step -> the words of its command, as `--dry-run` prints them."""
    done = subprocess.run(
        ["bash", SCRIPT, "--dry-run", *options], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    names = [line.removeprefix("# ") for line in lines[::2]]
    return dict(zip(names, map(shlex.split, lines[1::2]), strict=True))


def parsed(words: list[str]) -> dict:
    """The options of a `bench` command, read by the command itself, which does not run."""
    group = typer.main.get_command(app)
    with typer.Context(group) as context:
        name, command, rest = group.resolve_command(context, words[1:])
        assert command is not None
        return command.make_context(name, rest, parent=context).params


def test_every_bench_command_is_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = commands("--data", "prepared", "--jobs", "3", "--work", "elsewhere")
    asked = {name: parsed(words) for name, words in found.items() if words[0] == "bench"}
    assert list(asked) == [
        "eager", "compiled", "contiguous", "measure-fp32", "measure-bf16", "one-at-a-time",
        "packed", "glas",
    ]  # fmt: skip
    assert asked["compiled"]["compile_"] is True and asked["contiguous"]["channels_last"] is False
    assert (asked["one-at-a-time"]["jobs"], asked["packed"]["jobs"]) == ("1", "3")
    assert asked["glas"]["data"] == Path("prepared")
    assert {options["device"] for options in asked.values()} == {"cuda"}
    profiles = {options["profile"] for options in asked.values() if options.get("profile")}
    assert profiles == {"benchmarks/gpu.toml:native", "paper"}
    assert get_profile("benchmarks/gpu.toml:native").precision == "bf16"


def test_without_data_glas_is_left_out_and_scripts_are_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = commands()
    assert "glas" not in found
    scripts = [words[1] for words in found.values() if words[0] == "python" and words[1] != "-m"]
    assert scripts and all(Path(script).is_file() for script in scripts)
    assert found["suite"][-2:] == ["-m", "heavy or not heavy"]


def test_an_unknown_option_ends_with_the_next_step():
    done = subprocess.run(["bash", SCRIPT, "--gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Unknown option --gpu" in done.stderr


def fake(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(0o755)


def test_a_failing_step_costs_itself_alone_and_is_tried_again(tmp_path):
    """`bench` and `python` are stand-ins; the compiled epoch fails the first time."""
    work, calls = tmp_path / "work", tmp_path / "calls"
    fake(tmp_path, "python", f'echo "python $*" >> {calls}')
    fake(
        tmp_path,
        "bench",
        f'echo "bench $*" >> {calls}\n[[ "$*" != *--compile* || -e {tmp_path}/mended ]]',
    )

    def run() -> tuple[int, int]:
        done = subprocess.run(
            ["bash", SCRIPT, "--work", work],
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        ran = len(calls.read_text().splitlines())
        calls.write_text("")
        return done.returncode, ran

    assert run() == (1, 10)
    (tmp_path / "mended").touch()
    assert run() == (0, 2)  # the step that failed, and the tables of all
    steps = [line.split("\t")[0] for line in (work / "times.tsv").read_text().splitlines()]
    assert steps.count("eager") == steps.count("compiled") == 1


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    subprocess.run(["shellcheck", SCRIPT], check=True)


def test_the_tables_say_what_is_missing(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_tables.py", tmp_path, "--device", "cpu",
         "--out", tmp_path],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    text = (tmp_path / "epochs-cpu.md").read_text()
    assert "| method | eager s | compiled s | contiguous s | losses in one graph |" in text
    assert "| packed | 0 | not finished | - |" in text
