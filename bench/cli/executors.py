"""Options of `bench run` and `bench tune` that say where trainings run: devices, workers, executor."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from bench.cli import options as opt
from bench.core.errors import BenchError
from bench.core.reading import parse_json
from bench.experiments.executors.choice import Choice, Kind

MOST_PER_GPU = 8  # workers of --jobs auto on one GPU; each needs a core of its own, too

CLUSTER_THREADS = 1  # of a worker of Ray or Slurm, unless --threads says more

GPU_OPTIONS = ("gres", "gpus_per_node", "gpus_per_task", "num_gpus")  # of submitit

Device = Annotated[str, typer.Option(help="auto (every GPU), cpu, mps, cuda, or cuda:0,cuda:1.")]
Jobs = Annotated[
    str | None,
    typer.Option(help="Cells at a time on each device; auto: as many as a GPU's memory holds."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each worker. Default: cores / jobs.")
]
Where = Annotated[Kind, typer.Option("--executor", help="Where they run; see docs/executors.md.")]
Address = Annotated[str | None, typer.Option(help="Of a running Ray cluster, or auto.")]
RayGpus = Annotated[float | None, typer.Option(help="GPUs of each Ray actor, e.g. 0.25.")]
Partition = Annotated[str | None, typer.Option("--slurm-partition", help="Partition of Slurm.")]
Slurm = Annotated[
    list[str] | None, typer.Option(help="KEY=VALUE: a further option of Slurm; repeatable.")
]


@dataclass(frozen=True)
class Asked:
    """The options as typed; None or empty where they were not given."""

    executor: Kind = "local"
    device: str = "auto"
    jobs: str | None = None
    threads: int | None = None
    address: str | None = None
    ray_gpus: float | None = None
    partition: str | None = None
    slurm: Sequence[str] | None = None


@dataclass(frozen=True)
class Workers:
    """devices: one per local worker, or the one that a cluster's workers compute on. threads: of
    each worker."""

    devices: tuple[str, ...]
    threads: int
    choice: Choice


def workers(asked: Asked) -> Workers:
    """What the options mean together; BenchError where they contradict each other."""
    _refuse_foreign(asked)
    jobs = _count(asked.jobs)
    if asked.executor == "ray":
        return _ray(asked, jobs)
    if asked.executor == "slurm":
        return _slurm(asked, jobs)
    return _local(asked, jobs)


def _refuse_foreign(asked: Asked) -> None:
    """BenchError for an option of an executor that was not asked for."""
    given = {
        "--address": ("ray", asked.address),
        "--ray-gpus": ("ray", asked.ray_gpus),
        "--slurm-partition": ("slurm", asked.partition),
        "--slurm": ("slurm", asked.slurm or None),
    }
    for option, (executor, value) in given.items():
        if value is not None and executor != asked.executor:
            raise BenchError(
                f"{option} is an option of --executor {executor}. Add that, or drop it."
            )
    if asked.jobs == "auto" and asked.executor != "local":
        raise BenchError(
            "--jobs auto is for --executor local. Give a number, or with Ray --ray-gpus 0.25."
        )


def _count(text: str | None) -> int | None:
    """`--jobs` as a number; None for `auto` and where it is not given."""
    if text is None or text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text[:9]) or len(text) > 4:
        raise BenchError(f"--jobs {text[:40]!r}: write a number from 1 to 9999, or auto.")
    return int(text)


def _local(asked: Asked, jobs: int | None) -> Workers:
    """Workers on this machine; asking for GPUs must not import torch here."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    named = opt.devices(asked.device)
    packing = asked.jobs == "auto" and named != ("cpu",)
    if named == ("cpu",):
        each = jobs or min(cores, 4)
    elif packing:
        each = max(1, min(MOST_PER_GPU, cores // len(named)))
    else:
        each = jobs or 1
    found = named * each
    return Workers(found, asked.threads or max(1, cores // len(found)), Choice(packing=packing))


def _ray(asked: Asked, jobs: int | None) -> Workers:
    """Actors: --jobs is their number on CPUs, and how many share a GPU on GPUs."""
    wanted = asked.ray_gpus
    if wanted is not None and not (0 < wanted <= 1):
        raise BenchError(f"--ray-gpus {wanted:g}: each cell computes on one GPU. Write 0.01 to 1.")
    if wanted is not None and asked.device == "cpu":
        raise BenchError("--ray-gpus and --device cpu contradict. Give one of them.")
    if wanted is None and asked.device not in ("auto", "cpu"):
        wanted = 1 / (jobs or 1)
    choice = Choice(
        "ray", jobs=None if wanted else jobs, address=asked.address, ray_gpus=wanted or 0.0
    )
    return Workers(("cuda" if wanted else "cpu",), asked.threads or CLUSTER_THREADS, choice)


def _slurm(asked: Asked, jobs: int | None) -> Workers:
    """Array jobs, one cell each; a GPU is asked for by an option of Slurm."""
    found: dict[str, Any] = {} if asked.partition is None else {"partition": asked.partition}
    for pair in asked.slurm or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise BenchError(f"--slurm {pair[:60]!r}: write KEY=VALUE, such as time=600.")
        found[name.strip().lstrip("-").replace("-", "_")] = _value(text)
    if "cpus_per_task" in found:
        raise BenchError("--slurm cpus_per_task: write --threads N, which sets both.")
    gpus = any(name in found for name in GPU_OPTIONS)
    if asked.device not in ("auto", "cpu") and not gpus:
        raise BenchError(f"--device {asked.device}: ask Slurm for it: --slurm gpus_per_node=1.")
    device = "cuda" if gpus and asked.device != "cpu" else "cpu"
    choice = Choice("slurm", jobs=jobs, slurm=found)
    return Workers((device,), asked.threads or CLUSTER_THREADS, choice)


def _value(text: str) -> Any:
    """A value as JSON where it reads as JSON, else as text."""
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        return text
    except ValueError as error:
        raise BenchError(f"--slurm: {error}. Give another value.") from error
