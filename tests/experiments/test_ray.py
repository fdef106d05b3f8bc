"""Ray on this machine, with faults: every cell once, every digit as by the local executor."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from cluster_runs import Runs, parent_of

from bench.core.errors import BenchError
from bench.experiments.executors import make
from bench.experiments.executors.choice import Choice
from bench.experiments.executors.make import make_executor
from bench.experiments.executors.shared_files import Places, missing, tokens

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform != "linux",
    reason="Ray is not installed (pip install 'gms-bench[ray]') or this is no Linux",
)
RAY = ("--executor", "ray")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache) -> Runs:
    """A folder with the local run's cells."""
    found = Runs(tmp_path_factory.mktemp("ray"), cache, RAY_DISABLE_IMPORT_WARNING="1")
    local = found.start("local", "--jobs", "2", "--threads", "1")
    assert local.wait(timeout=300) == 0, found.said
    return found


@needs_ray
@pytest.mark.heavy
def test_a_killed_actor_is_replaced_and_its_cell_goes_on(runs):
    process = runs.start("actor", *RAY)
    runs.until(lambda: runs.training("actor"), process)
    worker = next(iter(runs.training("actor").values()))
    os.kill(parent_of(worker), signal.SIGKILL)
    assert process.wait(timeout=300) == 0, runs.said
    assert "Its Ray actor was lost" in runs.said and "retry 1 of 3" in runs.said
    runs.require_each_once("actor", repeated=1)


@needs_ray
@pytest.mark.heavy
def test_a_killed_driver_leaves_nothing_that_trains_and_the_next_one_goes_on(runs):
    process = runs.start("driver", *RAY)
    runs.until(lambda: runs.training("driver"), process)
    workers = runs.training("driver").values()
    process.kill()
    process.wait()
    runs.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    again = runs.start("driver", *RAY)
    assert again.wait(timeout=300) == 0, runs.said
    assert "resume at epoch" in runs.said
    runs.require_each_once("driver", repeated=len(workers))


@needs_ray
@pytest.mark.heavy
def test_a_signal_lets_actors_store_their_trainings(runs):
    process = runs.start("signal", *RAY)
    runs.until(lambda: runs.training("signal"), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=90) == 130, runs.said
    assert "0 of 3 cells are stored, " in runs.said and "more will resume" in runs.said
    assert not list((runs.folder / "signal").glob("cells/*/cell.json"))
    again = runs.start("signal", *RAY)
    assert again.wait(timeout=300) == 0, runs.said
    runs.require_each_once("signal", repeated=2)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, refused_text):
    monkeypatch.setattr(make.importlib.util, "find_spec", lambda name: None)
    places = Places(tmp_path, tmp_path)
    for kind, package in (("ray", "ray"), ("slurm", "submitit")):
        said = refused_text(make_executor, Choice(kind), ("cpu",), 1, tmp_path, places)
        assert f"--executor {kind} needs the package {package}" in said
        assert f"pip install 'gms-bench[{kind}]'" in said


@pytest.fixture
def refused_text():
    """Calls something and gives the text of its BenchError."""

    def call(what, *words) -> str:
        with pytest.raises(BenchError) as caught:
            what(*words)
        return str(caught.value)

    return call


def test_a_node_with_another_disk_at_the_same_path_is_named(tmp_path):
    places = Places(tmp_path / "results", tmp_path / "cache", tmp_path)
    with tokens(places) as made:
        assert missing(made, places.data) == ""
        assert "does not see" in missing(made, tmp_path / "elsewhere")
        other = {file.with_name(".token-other"): words for file, words in made.items()}
        assert f"does not see {tmp_path / 'results'} as the machine" in missing(other, None)
        changed = {file: "another" for file in made}
        assert "on a file system that all nodes share" in missing(changed, None)
    assert not list(places.results.iterdir()) and not list(places.cache.iterdir())
