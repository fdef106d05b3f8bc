"""What `--executor`, `--jobs`, `--threads` and `--device` mean together."""

import pytest

from bench.cli import executors
from bench.cli.executors import Asked, workers
from bench.core.errors import BenchError


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(executors.os, "sched_getaffinity", lambda pid: set(range(12)))
    monkeypatch.setattr(executors.opt, "visible_gpus", lambda: ("cuda:0", "cuda:1"))


TWO = ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    "asked, devices, threads, packing",
    [
        (Asked(), TWO, 6, False),
        (Asked(jobs="3"), TWO * 3, 2, False),
        (Asked(jobs="auto"), TWO * 6, 1, True),
        (Asked(device="cuda:1", jobs="auto"), ("cuda:1",) * 8, 1, True),
        (Asked(device="cpu"), ("cpu",) * 4, 3, False),
        (Asked(device="cpu", jobs="auto"), ("cpu",) * 4, 3, False),
        (Asked(device="cpu", jobs="2", threads=1), ("cpu",) * 2, 1, False),
    ],
)
def test_local_workers(asked, devices, threads, packing):
    found = workers(asked)
    assert (found.devices, found.threads, found.choice.packing) == (devices, threads, packing)


@pytest.mark.parametrize(
    "asked, device, jobs, gpus",
    [
        (Asked("ray"), "cpu", None, 0.0),
        (Asked("ray", jobs="3"), "cpu", 3, 0.0),
        (Asked("ray", ray_gpus=0.25), "cuda", None, 0.25),
        (Asked("ray", device="cuda", jobs="4"), "cuda", None, 0.25),
        (Asked("ray", device="cuda"), "cuda", None, 1.0),
    ],
)
def test_ray_workers(asked, device, jobs, gpus):
    found = workers(asked)
    assert (found.devices, found.threads) == ((device,), 1)
    assert (found.choice.jobs, found.choice.ray_gpus) == (jobs, gpus)


def test_slurm_options_are_passed_on_and_a_gpu_is_one_of_them():
    found = workers(
        Asked("slurm", jobs="9", threads=4, partition="p", slurm=("time=600", "--mail-type=END"))
    )
    assert (found.devices, found.threads, found.choice.jobs) == (("cpu",), 4, 9)
    assert found.choice.slurm == {"partition": "p", "time": 600, "mail_type": "END"}
    assert workers(Asked("slurm", slurm=("gpus_per_node=1",))).devices == ("cuda",)
    assert workers(Asked("slurm", slurm=("gres=gpu:1",))).devices == ("cuda",)


@pytest.mark.parametrize(
    "asked, message",
    [
        (Asked(address="auto"), "--address is an option of --executor ray"),
        (Asked("ray", partition="p"), "--slurm-partition is an option of --executor slurm"),
        (Asked("slurm", slurm=("time",)), "--slurm 'time': write KEY=VALUE"),
        (Asked("slurm", slurm=("cpus_per_task=4",)), "write --threads N"),
        (Asked("slurm", device="cuda"), "--slurm gpus_per_node=1"),
        (Asked("ray", ray_gpus=2), "--ray-gpus 2: each cell computes on one GPU"),
        (Asked("ray", ray_gpus=0.5, device="cpu"), "contradict"),
        (Asked("ray", jobs="auto"), "--jobs auto is for --executor local"),
        (Asked(jobs="0"), "--jobs '0': write a number from 1 to 9999, or auto."),
        (Asked(jobs="two"), "--jobs 'two'"),
    ],
)
def test_contradictions_are_refused(asked, message):
    with pytest.raises(BenchError) as caught:
        workers(asked)
    assert message in str(caught.value)
