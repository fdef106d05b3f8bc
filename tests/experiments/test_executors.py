"""Worker processes: a crash, a stray line and changed global settings stay with the job that made
them."""

import logging
import sys

import pytest
from requests_of_tests import request

from bench.experiments.cells import load_cells
from bench.experiments.executors import local
from bench.experiments.executors.faults import fault_of
from bench.experiments.executors.local import LocalExecutor, Worker
from bench.experiments.executors.slots import slots
from bench.experiments.executors.worker import changed_settings
from bench.experiments.locks import LOST
from bench.experiments.messages import Failed, Finished, Job, Leaving, Retry, Started, Step

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


def test_a_worker_whose_cell_another_one_took_records_no_failure(tmp_path, monkeypatch):
    one = worker(tmp_path, monkeypatch, "nothing", then=f"sys.exit({LOST})")
    (failed,) = events_of(one)
    assert failed.in_use and "Another process took the cell" in failed.message
    one.stop()


def test_a_lost_device_ends_the_process_and_the_job_is_done_once_more(tmp_path, monkeypatch):
    lost = Failed(message="CUDA error: an illegal memory access", fault="device")
    then = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); break"
    one = worker(tmp_path, monkeypatch, lost.model_dump_json(), then=then)
    retry, end = events_of(one)
    assert isinstance(retry, Retry) and "cpu is lost to the worker process: CUDA" in retry.why
    assert end == lost and (tmp_path / "starts").read_text() == "xx"
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


OUT = Failed(message="OutOfMemoryError: tried to allocate 2 GiB", fault="memory").model_dump_json()


def test_jobs_without_memory_run_again_alone_after_the_others(tmp_path, monkeypatch):
    """The jobs 0 and 1 want more memory than there is beside another worker, 1 more than there is."""
    work = f"""
    import os, pathlib, time
    number = int(job["id"])
    pids = pathlib.Path({str(tmp_path / "pids")!r})
    pids.mkdir(exist_ok=True)
    (pids / str(os.getpid())).touch()
    crowd = [pid for pid in os.listdir(pids) if pathlib.Path("/proc", pid).exists()]
    print({OUT!r} if number == 1 or (number == 0 and len(crowd) > 1) else {DONE!r}, flush=True)
    """
    one = worker(tmp_path, monkeypatch, "", then="exec(__import__('textwrap').dedent(WORK))")
    del one
    script = tmp_path / "worker.py"
    script.write_text(f"WORK = {work!r}\n" + script.read_text())
    log: list = []
    executor = LocalExecutor(["cpu", "cpu"], 1, tmp_path / "logs")
    jobs = [(n, JOB.model_copy(update={"id": str(n)})) for n in (1, 0, 2, 3)]
    with executor:
        # both processes are there before the first job with a question ends
        executor.map([(9, JOB.model_copy(update={"id": "9"}))] * 4, lambda tag, event: None)
        executor.map(jobs, lambda tag, event: log.append((tag, event)))
    ends = [(tag, event) for tag, event in log if isinstance(event, Finished | Failed)]
    assert [tag for tag, _ in ends[:2]] == [2, 3] or [tag for tag, _ in ends[:2]] == [3, 2]
    assert dict(ends)[0] == Finished(dsc={})
    assert dict(ends)[1].message == (
        "OutOfMemoryError: tried to allocate 2 GiB. It was alone on cpu. Use a smaller batch (--set "
        "recipe.batch_size=N) or a smaller --image-size; other programs on the device count, too."
    )
    why = [event.why for tag, event in log if isinstance(event, Retry)]
    assert len(why) == 2 and all(
        "Too little memory on cpu" in one and "--jobs 1" in one for one in why
    )


@pytest.mark.parametrize(
    "text, kind, fault",
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "OutOfMemoryError", "memory"),
        ("CUDA error: out of memory", "RuntimeError", "memory"),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
            "RuntimeError",
            "memory",
        ),
        ("CUDA error: an illegal memory access was encountered", "RuntimeError", "device"),
        ("CUDA error: device-side assert triggered", "RuntimeError", "device"),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "RuntimeError", "device"),
        ("mat1 and mat2 shapes cannot be multiplied", "RuntimeError", ""),
        ("CUDA error: in a message of another kind", "ValueError", ""),
    ],
)
def test_faults_of_a_device_are_told_from_other_errors(text, kind, fault):
    torch = pytest.importorskip("torch")
    kinds = {"OutOfMemoryError": torch.cuda.OutOfMemoryError, "RuntimeError": RuntimeError}
    error = kinds.get(kind, ValueError)(text)
    assert fault_of(error) == fault
    try:
        try:
            raise error
        except Exception as inner:
            raise ValueError("a method's own words") from inner
    except ValueError as outer:
        assert fault_of(outer) == fault


GB = 10**9


@pytest.mark.parametrize(
    "memory, peaks, most, expected",
    [
        (80 * GB, [], 8, 1),  # nothing is known yet
        (80 * GB, [10 * GB], 8, 5),  # 76 GB to use, 13.5 GB each
        (80 * GB, [10 * GB, 2 * GB], 8, 5),  # the largest decides
        (80 * GB, [1 * GB], 8, 8),  # 33 fit; no more than asked for
        (80 * GB, [70 * GB], 8, 1),  # one cell runs however large it is
        (0, [10 * GB], 8, 1),  # a device that does not say its memory
    ],
)
def test_cells_that_fit_on_a_gpu(memory, peaks, most, expected):
    assert slots(memory, peaks, most) == expected


def test_packing_starts_with_one_worker_and_adds_those_that_fit(tmp_path, monkeypatch):
    """Three workers; the first cell's peak leaves room for two."""
    done = Finished(dsc={}, peak_bytes=10 * GB, device_bytes=30 * GB).model_dump_json()
    one = worker(
        tmp_path, monkeypatch, "", then="__import__('time').sleep(0.5); print(END, flush=True)"
    )
    del one
    script = tmp_path / "worker.py"
    script.write_text(f"END = {done!r}\n" + script.read_text())
    at_work, most, first = set(), [], []

    def follow(tag, event):
        if isinstance(event, Started):
            at_work.add(tag)
            most.append(len(at_work))
        elif isinstance(event, Finished):
            at_work.remove(tag)
            first.append(len(most))

    executor = LocalExecutor(["cuda:0"] * 3, 1, tmp_path / "logs", packing=True)
    with executor:
        executor.map([(n, JOB) for n in range(7)], follow)
    assert first[0] == 1 and max(most) == 2 and len(first) == 7


FAULTY = '''"""A method whose device fails in the first training of each folder, and works after that."""

import os
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench.contracts import MethodSpec, Settings


class FaultySettings(Settings):
    fault: Literal["device", "memory"] = "device"
    times: int = 1


class Faulty(nn.Conv2d):
    def forward(self, images):
        seen = Path("PLACE") / f"{self.settings.fault}{self.settings.times}"
        if self.training:
            with seen.open("a") as file:
                file.write(f"{os.getpid()}\\n")
            if len(seen.read_text().split()) <= self.settings.times:
                if self.settings.fault == "memory":
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().forward(images)


def build(settings, context):
    network = Faulty(3, 1, 1)
    network.settings = settings
    return network


SPEC = MethodSpec(
    name="faulty", title="Faulty", family="CNN", build=build, settings=FaultySettings, summary="x",
    citation="none",
)
'''


def test_cells_survive_one_fault_of_their_device(bench, tmp_path):
    (tmp_path / "faulty_plugin.py").write_text(FAULTY.replace("PLACE", str(tmp_path)))
    matrix = tmp_path / "m.toml"
    matrix.write_text(
        'title = "M"\n[[cells]]\nmethods = ["faulty"]\ntrain = ["busi"]\n'
        'settings = { fault = ["device", "memory"], times = [1, 9] }\n'
        '[[tables]]\nname = "t"\ncaption = "T"\nkind = "methods"\ndatasets = ["busi"]\n'
    )
    result = bench(
        "run", "-m", matrix, "--plugin", tmp_path / "faulty_plugin.py", "--profile", "smoke",
        "--device", "cpu", "--jobs", 2, "--verbose",
    )  # fmt: skip
    said = result.stdout + result.stderr
    records = {
        (r.key.settings["fault"], r.key.settings["times"]): r
        for r in load_cells(tmp_path / "results/cells")
    }
    ends = {key: record.status for key, record in records.items()}
    assert ends == {
        ("device", 1): "done", ("memory", 1): "done", ("device", 9): "failed",
        ("memory", 9): "failed",
    }, said  # fmt: skip
    tries = {key: (tmp_path / f"{key[0]}{key[1]}").read_text().split() for key in ends}
    assert len(tries["device", 9]) == len(tries["memory", 9]) == 2
    assert len(set(tries["device", 9])) == 2  # in a process of its own each
    assert "Use a smaller batch" in records["memory", 9].error
    assert "cpu is lost to the worker process: RuntimeError: CUDA error" in said


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
