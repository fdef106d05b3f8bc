"""Worker processes: a crash, a stray line and changed global settings stay with the job that made
them."""

import logging
import sys

import pytest
from requests_of_tests import request

from bench.experiments.cells import load_cells
from bench.experiments.executors import local
from bench.experiments.executors.local import LocalExecutor, Worker
from bench.experiments.executors.worker import changed_settings
from bench.experiments.messages import Failed, Finished, Job, Leaving, Started, Step

JOB = Job(op="resolve", request=request(), request_digest="r", train_cases=8)

SCRIPT = """
import sys
for line in sys.stdin:
    job = __import__("json").loads(line)
    print({said!r}, flush=True)
    {then}
"""


def worker(tmp_path, monkeypatch, *said: str, then: str = "pass") -> Worker:
    """A worker whose process answers each job with these lines, then does `then`."""
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT.format(said="\n".join(said), then=then))
    start = local.subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, str(script)], **options)

    monkeypatch.setattr(local.subprocess, "Popen", popen)
    return Worker("cpu", 1, tmp_path / "logs" / "worker-0.log")


def events_of(one: Worker) -> list:
    events: list = []
    one.run(JOB, events.append)
    return events


DONE = Finished(dsc={}).model_dump_json()


def test_a_stray_line_is_logged_and_the_job_goes_on(tmp_path, monkeypatch, caplog):
    step = Step(epoch=0, step=0, steps=1)
    one = worker(tmp_path, monkeypatch, "Downloading 100%", step.model_dump_json(), DONE)
    with caplog.at_level(logging.WARNING, "bench"):
        assert events_of(one) == [step, Finished(dsc={})]
    assert "stray output of a worker: Downloading 100%" in caplog.text
    one.stop()


def test_a_worker_is_used_again_until_it_leaves(tmp_path, monkeypatch):
    one = worker(tmp_path, monkeypatch, DONE)
    events_of(one)
    first = one.process
    events_of(one)
    assert one.process is first
    one.stop()


def test_a_worker_that_leaves_ends_well_and_another_takes_over(tmp_path, monkeypatch):
    leaving = Leaving(changed=("default dtype",)).model_dump_json()
    one = worker(tmp_path, monkeypatch, leaving, DONE, then="break")
    for _ in range(3):
        assert events_of(one) == [Finished(dsc={})]
    one.stop()


@pytest.mark.parametrize(
    "then, message",
    [
        ("sys.exit(7)", "The worker process exited with status 7."),
        ("__import__('os').kill(__import__('os').getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_a_crash_ends_the_job_with_what_the_log_holds(tmp_path, monkeypatch, then, message):
    one = worker(tmp_path, monkeypatch, "nothing", then=f"print('why', file=sys.stderr); {then}")
    (failed,) = events_of(one)
    assert isinstance(failed, Failed) and message in failed.message
    one.stop()


def test_every_job_is_done_once_and_events_go_to_their_job(tmp_path, monkeypatch):
    executor = LocalExecutor(["cpu", "cpu"], 1, tmp_path / "logs")
    one = worker(tmp_path, monkeypatch, DONE)
    del one
    events: dict[int, list] = {number: [] for number in range(7)}
    with executor:
        executor.map(((n, JOB) for n in events), lambda tag, event: events[tag].append(event))
    assert all(found == [Started(device="cpu"), Finished(dsc={})] for found in events.values())


def test_an_error_of_the_listener_stops_the_rest(tmp_path, monkeypatch):
    worker(tmp_path, monkeypatch, DONE)

    def listener(tag, event):
        raise OSError("disk full")

    executor = LocalExecutor(["cpu"], 1, tmp_path / "logs")
    with executor, pytest.raises(OSError, match="disk full"):
        executor.map([(n, JOB) for n in range(3)], listener)


def test_settings_of_a_fresh_process_count_as_unchanged(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert changed_settings() == ()
    torch.set_default_dtype(torch.float64)
    try:
        assert changed_settings() == ("default dtype",)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert changed_settings() == ("grad mode",)


MEDDLING = '''"""A plugin that changes torch's settings for the whole process."""

import torch
from torch import nn

from bench.contracts import MethodSpec


def build(settings, context):
    torch.set_default_dtype(torch.float64)
    return nn.Conv2d(3, 1, 1)


SPEC = MethodSpec(
    name="meddling", title="Meddling", family="CNN", build=build, summary="x", citation="none",
)
'''


def test_a_method_that_changes_the_default_dtype_does_not_fail_the_next_one(bench, tiny, tmp_path):
    (tmp_path / "meddling_plugin.py").write_text(MEDDLING)
    matrix = tmp_path / "m.toml"
    matrix.write_text(
        'title = "M"\n[[cells]]\nmethods = ["meddling", "tiny"]\ntrain = ["busi"]\n'
        '[[tables]]\nname = "t"\ncaption = "T"\nkind = "methods"\ndatasets = ["busi"]\n'
    )
    result = bench(
        "run", "-m", matrix, "--plugin", tiny, "--plugin", tmp_path / "meddling_plugin.py",
        "--profile", "smoke", "--device", "cpu", "--jobs", 1,
    )  # fmt: skip
    found = {record.key.method: record.status for record in load_cells(tmp_path / "results/cells")}
    assert found["tiny"] == "done", result.stdout + result.stderr
