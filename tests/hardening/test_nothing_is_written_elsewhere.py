"""No command writes outside --out, the cache and the data folder, and no pickle is executed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "methods").rglob("*.py")])


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """(dotted name, call) of every call of a plain name."""
    return [
        (ast.unparse(node.func), node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    ]


def keyword(call: ast.Call, name: str) -> object:
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "marshal.loads", "shelve.open", "joblib.load", "pd.read_pickle",
    "pandas.read_pickle", "yaml.load", "tempfile.mktemp",
}  # fmt: skip


SETTINGS = {"early.py": {"exec", "compile"}}
"""Runs the settings class of a registered method, which a run imports anyway."""


@pytest.mark.parametrize("file", MODULES, ids=[str(f.relative_to(ROOT)) for f in MODULES])
def test_no_module_executes_what_it_reads(file):
    for name, call in calls(ast.parse(file.read_bytes())):
        place = f"{file.name}:{call.lineno}: {name}"
        assert name not in FORBIDDEN - SETTINGS.get(file.name, set()), place
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, place
        if name in ("np.load", "numpy.load"):
            assert not keyword(call, "allow_pickle"), place
        if name.startswith("subprocess."):
            assert not keyword(call, "shell"), place


WATCH = """
import os, sys
_LOG = os.environ["WRITES_LOG"]
_NAMES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

def _note(paths):
    text = "".join(f"{os.path.realpath(os.fsdecode(p))}\\n" for p in paths if isinstance(p, (str, bytes, os.PathLike)))
    file = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, text.encode())
    os.close(file)

def _hook(event, args):
    if event == "open" and args[0] != _LOG:
        path, mode, flags = args
        if isinstance(flags, int) and flags & _WRITES or isinstance(mode, str) and set(mode) & set("wax+"):
            _note([path])
    elif event in _NAMES:
        # shutil.rmtree names what it removes from an open folder, the last argument.
        inside = args[-1] if isinstance(args[-1], int) and args[-1] >= 0 else None
        folder = "" if inside is None else os.readlink(f"/proc/self/fd/{inside}")
        named = [p for p in args[:2] if isinstance(p, (str, bytes, os.PathLike))]
        _note([os.path.join(folder, os.fsdecode(p)) for p in named])

sys.addaudithook(_hook)
"""
"""Every file that a process and its workers open for writing, make, rename or remove."""


def test_a_run_and_a_prediction_write_where_they_are_told(tmp_path, tiny, cache):
    """Watched from within Python, in the command and its workers."""
    from data_doubles import picture

    home, watch, log = tmp_path / "home", tmp_path / "watch", tmp_path / "log.txt"
    for folder in (home, watch, tmp_path / "scratch"):
        folder.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    picture(1).save(home / "a.png")
    (home / "mine.toml").write_text(
        'title = "Mine"\n[[cells]]\nmethods = ["tiny"]\ntrain = ["busi"]\n'
        '[[tables]]\nname = "mine"\ncaption = "Mine"\nkind = "methods"\ndatasets = ["busi"]\n'
    )
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(watch), os.environ.get("PYTHONPATH", str(ROOT))]),
        "WRITES_LOG": str(log),
        "GMS_BENCH_CACHE": str(cache),
        "HOME": str(home),
        "TMPDIR": str(tmp_path / "scratch"),
        "MPLCONFIGDIR": str(tmp_path / "scratch"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "scratch"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def bench(*words: object) -> str:
        command = [sys.executable, "-m", "bench.cli", *map(str, words)]
        done = subprocess.run(
            command, env=env, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = (
        "-m",
        "mine.toml",
        "--plugin",
        tiny,
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--jobs",
        1,
    )
    bench("run", *run, "--out", "results")
    (folder,) = (home / "results" / "cells").iterdir()
    bench(
        "predict", folder.name, "a.png", "--results", "results", "--out", "masks", "--plugin", tiny
    )
    # A process measures its peak of memory by a write to its own entry in /proc.
    system = (tmp_path / "scratch", Path("/dev"), Path("/proc"))
    allowed = (home / "results", home / "masks", cache, *system)
    allowed = tuple(Path(os.path.realpath(folder)) for folder in allowed)
    written = {Path(line) for line in log.read_text().splitlines()}
    assert len(written) > 20 and home / "results" / "tables" in {p.parent.parent for p in written}
    outside = [path for path in written if not any(path.is_relative_to(place) for place in allowed)]
    assert outside == []
