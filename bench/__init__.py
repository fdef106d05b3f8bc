"""gms-bench: a benchmark harness for 2-D medical image segmentation.

    scores = bench.load_scores("results")  # a row per cell, test set, grid, case and metric
    cells = bench.load_cells("results")  # a row per cell

docs/scores.md describes the columns. `import bench` imports neither pandas nor torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.reporting.frame import load_cells, load_scores

__version__ = "0.1.0"
__all__ = ["__version__", "load_cells", "load_scores"]


def __getattr__(name: str) -> Any:
    """The functions of `__all__`, imported at first use: they need pandas."""
    if name in ("load_cells", "load_scores"):
        from bench.reporting import frame

        return getattr(frame, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
