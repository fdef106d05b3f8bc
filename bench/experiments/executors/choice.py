"""Which executor a run asks for, with its own options."""

from dataclasses import dataclass, field
from typing import Any, Literal

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
