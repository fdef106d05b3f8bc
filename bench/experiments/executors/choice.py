"""Which executor a run asks for, and making it. Ray and submitit are imported only when asked."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.experiments.executors.interface import Executor
from bench.experiments.executors.local import LocalExecutor
from bench.experiments.executors.shared_files import Places

Kind = Literal["local", "ray", "slurm"]


@dataclass(frozen=True)
class Choice:
    """The executor of a run and its own options.

    jobs: cells at a time; None for as many as the cluster grants. packing: local cells per GPU are
    learned from the first cell's peak memory. address: of a running Ray cluster; None starts Ray on
    this machine. ray_gpus: GPUs of each Ray actor, e.g. 0.25. slurm: options of sbatch, with
    underscores.
    """

    kind: Kind = "local"
    jobs: int | None = None
    packing: bool = False
    address: str | None = None
    ray_gpus: float = 0.0
    slurm: dict[str, Any] = field(default_factory=dict)


def make_executor(
    choice: Choice, devices: tuple[str, ...], threads: int, logs: Path, places: Places
) -> Executor:
    """The executor that was asked for; BenchError where its package is not installed.

    devices: one per local worker; a cluster's workers compute on the first. threads: CPU threads
    of each. logs: the folder of this run's logs.
    """
    if choice.kind == "ray":
        _require("ray", "ray")
        from bench.experiments.executors.ray import RayExecutor

        return RayExecutor(choice, devices[0], threads, logs, places)
    if choice.kind == "slurm":
        _require("submitit", "slurm")
        from bench.experiments.executors.slurm import SlurmExecutor

        return SlurmExecutor(choice, devices[0], threads, logs, places)
    return LocalExecutor(list(devices), threads, logs, packing=choice.packing)


def _require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise BenchError(
            f"--executor {extra} needs the package {package}, which is not installed. Install it with "
            f"pip install 'gms-bench[{extra}]', or leave --executor out."
        )
