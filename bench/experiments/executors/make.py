"""Making the executor that a run asks for. Ray and submitit are imported only when asked."""

import importlib.util
from pathlib import Path

from bench.core.errors import BenchError
from bench.experiments.executors.choice import Choice
from bench.experiments.executors.interface import Executor
from bench.experiments.executors.local import LocalExecutor
from bench.experiments.executors.shared_files import Places


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
