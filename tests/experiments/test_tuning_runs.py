"""`bench tune` as a user runs it: in a process, on phantoms, killed and resumed, then `bench run`."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tuning_doubles import content

from bench.experiments.cells import load_cells
from bench.experiments.replay.stored import check_record
from bench.experiments.tuning import studies
from bench.experiments.tuning.winners import read_summaries

SMOKE = ("--profile", "smoke", "--device", "cpu", "--jobs", 2)
SEARCH = ("--datasets", "busi", "--trials", 3, "--budget", 24, *SMOKE)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A method of two convolutions that takes its time, and one that fails in training."""
    from plugin_doubles import TINY

    slow = TINY.replace(
        "        factor =",
        "        __import__('time').sleep(0.5 * self.training)\n        factor =",
    )
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "tiny_plugin.py").write_text(slow)
    broken = slow.replace('name="tiny"', 'name="broken"').replace('] = "none"', '] = "raise"')
    (folder / "broken_plugin.py").write_text(broken)
    return folder


@pytest.fixture(scope="module")
def words(plugin):
    """The command of every search here, without its method."""
    plugins = (plugin / "tiny_plugin.py", plugin / "broken_plugin.py")
    return ("tune", *(word for file in plugins for word in ("--plugin", file)), *SEARCH)


@pytest.fixture(scope="module")
def searched(bench_in, tmp_path_factory, words):
    """(the folder, what was printed) of a search of both methods that nothing stopped."""
    home = tmp_path_factory.mktemp("searched")
    return home, bench_in(home)(*words, "--methods", "tiny,broken")


def folder_of(home):
    """The folder of the only search."""
    (folder,) = (home / "results" / "tuning").iterdir()
    return folder


def study(home, method="tiny"):
    """All that optuna keeps of a study's trials."""
    folder = folder_of(home)
    storage = studies.open_storage(studies.storage_url(folder, None))
    found = studies.open_study(storage, f"{folder.name}/{method}-busi")
    return content(type("One", (), {"study": found})())


def test_a_search_spends_its_images_and_a_failing_method_stops_no_other(searched):
    home, ended = searched
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert (
        "tiny on busi: 3 trials (3 complete), 72 of 72 images; best validation DSC" in ended.stdout
    )
    assert (
        "broken on busi: 3 trials (3 failed), 0 of 72 images. Given up: as many trials failed as were "
        "planned. The first: RuntimeError: a fault on request." in ended.stdout
    )
    assert "Images of each study: 72 (planned 72" in ended.stdout
    summaries = {one.method: one for one in read_summaries(folder_of(home))}
    assert (summaries["tiny"].ended, summaries["broken"].given_up) == (True, True)


def test_figures_stand_beside_the_study_and_nothing_is_stored_as_a_cell(searched, bench_in):
    home, _ = searched
    folder = folder_of(home)
    pictures = {path.name for path in (folder / "tiny-busi").glob("*.png")}
    assert pictures == {"history.png", "importances.png", "parallel.png"}
    assert not list((folder / "broken-busi").glob("*.png"))
    assert not (home / "results" / "cells").exists()
    listed = json.loads(bench_in(home)("list", "studies", "--json").stdout)
    assert [(row["study"].partition("/")[2], row["state"], row["images"]) for row in listed] == [
        ("broken-busi", "given up", 0),
        ("tiny-busi", "done", 72),
    ]
    weights = [path for path in folder.rglob("*") if path.suffix == ".safetensors"]
    assert weights == []


@pytest.mark.heavy  # 34 s; test_tuning.py stops searches at every point without a process
def test_a_search_that_is_killed_and_resumed_is_the_same_study(
    searched, plugin, words, tmp_path, cache
):
    command = [sys.executable, "-m", "bench.cli", *map(str, words), "--methods", "tiny,broken"]
    env = os.environ | {
        "GMS_BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "GMS_BENCH_CHECKPOINT_SECONDS": "0",
    }  # fmt: skip
    env.pop("GMS_BENCH_DATA", None)
    first = subprocess.Popen(
        [*command, "--verbose"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    )
    for line in first.stdout:
        if "tiny on busi, trial 1: epoch 1" in line:
            os.kill(first.pid, signal.SIGKILL)
            break
    first.wait()
    running = [trial for trial in study(tmp_path) if trial[2] == "RUNNING"]
    assert [trial[0] for trial in running] == [1]
    state = folder_of(tmp_path) / "tiny-busi" / "trials" / "0001" / "resume" / "state.safetensors"
    deadline = time.monotonic() + 10  # its worker ends within a second of the command
    while not state.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(2)
    assert state.is_file() and not (state.parents[1] / "trial.json").exists()

    second = subprocess.run(
        command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert second.returncode == 1 and "tiny on busi: 3 trials (3 complete)" in second.stdout
    assert folder_of(tmp_path).name == folder_of(searched[0]).name
    for method in ("tiny", "broken"):
        assert study(tmp_path, method) == study(searched[0], method)


def test_the_winner_is_trained_and_its_table_states_the_search(searched, bench_in, plugin):
    home, _ = searched
    bench, folder = bench_in(home), folder_of(home)
    words = (
        "run",
        "--plugin",
        plugin / "tiny_plugin.py",
        "--train",
        "busi",
        "--methods",
        "tiny",
        *SMOKE,
    )
    result = bench(*words, "--protocol", "tuned", "--tuned", folder, "--budget", 24)
    assert result.returncode == 0, result.stderr
    (record,) = load_cells(home / "results" / "cells")
    (summary,) = [one for one in read_summaries(folder) if one.method == "tiny"]
    study_of = f"{folder.name}/tiny-busi, trial {summary.winner.trial}"
    assert (record.key.recipe, record.recipe["tuned"]) == (f"tuned: {study_of}", study_of)
    assert record.recipe["lr"] == summary.winner.recipe["lr"]
    assert (
        f"Recipe tuned: {study_of}; found by a search: 3 trials, 72 training images at 64 px, winner "
        "by validation DSC; " in result.stdout
    )
    assert "Search of each tuned recipe: 72 training images in trials of 24, on" in result.stdout
    _, checks = check_record(record.folder)
    assert [check.outcome for check in checks] == ["passed"] * 3
