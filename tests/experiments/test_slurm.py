"""A Slurm of one node on this machine, with faults: every cell once, every digit as locally."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest
import slurm_cluster
from cluster_runs import Runs, parent_of
from slurm_cluster import said

WHY_NOT = slurm_cluster.lacking() or (
    "" if importlib.util.find_spec("submitit") else "pip install 'gms-bench[slurm]'"
)

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

SLURM = ("--executor", "slurm", "--slurm-partition", "low", "--slurm", "time=60")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    """A folder with the local run's cells, and a cluster."""
    with slurm_cluster.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        found = Runs(tmp_path_factory.mktemp("runs"), cache, SLURM_CONF=environment["SLURM_CONF"])
        local = found.start("local", "--jobs", "2", "--threads", "1")
        assert local.wait(timeout=300) == 0, found.said
        yield found


def queue(runs) -> dict[str, str]:
    """Id -> state of all jobs in the queue."""
    text = said("squeue", "--noheader", "--array", "--format=%i %T", **runs.environment)
    return {row.split()[0]: row.split()[1] for row in text.splitlines() if row.split()}


def running(runs) -> list[str]:
    return [id for id, state in queue(runs).items() if state == "RUNNING"]


def start_soon(runs) -> None:
    """Requeued jobs wait two minutes by Slurm's rule; the test does not."""
    for id, state in queue(runs).items():
        if state == "PENDING":
            said("scontrol", "update", f"JobId={id}", "StartTime=now", **runs.environment)


def ended(runs, process) -> int:
    """The command's exit status, once it has one."""

    def met() -> bool:
        start_soon(runs)
        return process.poll() is not None

    runs.until(met, limit=300)
    return process.returncode


def test_a_killed_job_is_sent_again_and_goes_on_from_its_stored_state(runs):
    process = runs.start("killed", *SLURM)
    runs.until(lambda: len(runs.training("killed")) == 2, process)
    victim = next(iter(runs.training("killed").values()))
    os.kill(
        parent_of(victim), signal.SIGKILL
    )  # submitit's process, which the worker outlives by 1 s
    assert ended(runs, process) == 0, runs.said
    assert "ended without a result. It is sent again, retry 1 of 3" in runs.said
    runs.require_each_once("killed", repeated=1)
    assert not list((runs.folder / "killed/logs/slurm").glob("*.json*"))


@pytest.mark.parametrize("command", [("scontrol", "requeue"), ("scancel", "--signal=USR2")])
def test_a_requeued_job_and_a_warned_one_store_their_trainings_and_go_on(runs, command):
    results = command[0]
    process = runs.start(results, *SLURM)
    runs.until(lambda: len(runs.training(results)) == 2, process)
    said(*command, running(runs)[0], **runs.environment)
    assert ended(runs, process) == 0, runs.said
    log = "".join(file.read_text() for file in (runs.folder / results).glob("cells/*/log.txt"))
    assert log.count("starts again on") == 1, log
    assert log.count("Slurm takes the node away") == (results == "scancel")  # submitit's signal
    runs.require_each_once(results, repeated=1)


def test_a_job_of_a_higher_partition_takes_the_node_and_gives_it_back(runs):
    process = runs.start("preempted", *SLURM)
    runs.until(lambda: len(runs.training("preempted")) == 2, process)
    urgent = ("sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null")
    said(*urgent, "--wrap=sleep 5", **runs.environment)
    assert ended(runs, process) == 0, runs.said
    assert "starts again on" in runs.said
    runs.require_each_once("preempted", repeated=3)


def test_a_drained_node_lets_its_jobs_end_and_starts_no_more_until_it_is_resumed(runs):
    process = runs.start("drained", *SLURM)
    runs.until(lambda: len(runs.training("drained")) == 2, process)
    (node,) = said("sinfo", "--noheader", "--format=%n", **runs.environment).split()
    drain = ("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    said(*drain, **runs.environment)
    runs.until(lambda: len(list((runs.folder / "drained").glob("cells/*/cell.json"))) == 2, process)
    runs.until(lambda: not running(runs), process)
    assert list(queue(runs).values()) == ["PENDING"] and process.poll() is None
    said("scontrol", "update", f"NodeName={node}", "State=RESUME", **runs.environment)
    assert ended(runs, process) == 0, runs.said
    runs.require_each_once("drained", repeated=0)


def test_a_killed_driver_is_followed_by_one_that_sends_nothing_twice(runs):
    process = runs.start("driver", *SLURM)
    runs.until(lambda: len(runs.training("driver")) == 2, process)
    process.kill()
    process.wait()
    assert len(queue(runs)) == 3
    again = runs.start("driver", *SLURM)
    assert ended(runs, again) == 0, runs.said
    assert "of an earlier command" in runs.said
    sent = list((runs.folder / "driver/logs/slurm").glob("*_submitted.pkl"))
    assert len(sent) == 3  # of the first command alone
    runs.require_each_once("driver", repeated=0, logged=False)


def test_a_signal_stores_the_trainings_and_empties_the_queue(runs):
    process = runs.start("signal", *SLURM)
    runs.until(lambda: len(runs.training("signal")) == 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, runs.said
    assert "0 of 3 cells are stored, 2 more will resume" in runs.said
    assert not queue(runs)
    again = runs.start("signal", *SLURM)
    assert ended(runs, again) == 0, runs.said
    runs.require_each_once("signal", repeated=2)


def test_what_sbatch_refuses_is_said(runs):
    process = runs.start("refused", *SLURM, "--slurm", "qos=none", "--slurm-partition", "nowhere")
    assert process.wait(timeout=120) == 2, runs.said
    assert "--executor slurm: sbatch refuses the jobs" in runs.said


def test_a_node_that_sees_another_cache_ends_the_run_before_anything_trains(runs):
    (node,) = said("sinfo", "--noheader", "--format=%n", **runs.environment).split()
    drain = ("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    said(*drain, **runs.environment)
    process = runs.start("unshared", *SLURM)
    runs.until(lambda: queue(runs), process)
    token = Path(runs.environment["GMS_BENCH_CACHE"]) / ".token"
    right = token.read_text()
    token.write_text("of another disk")
    try:
        said("scontrol", "update", f"NodeName={node}", "State=RESUME", **runs.environment)
        assert process.wait(timeout=120) == 2, runs.said
    finally:
        token.write_text(right)
    assert f"does not see {token.parent} as the machine that started the run does" in runs.said
    assert not list((runs.folder / "unshared").glob("cells/*/cell.json"))
    runs.until(lambda: not queue(runs))
