"""Optuna's own figures of a study: history, importances and parallel coordinates."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.files import write_with

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger("bench")

NEEDED = {"history": 1, "importances": 3, "parallel": 2}
"""Figure -> complete trials that it needs."""


def draw(study: "Study", folder: Path) -> list[Path]:
    """Write `history.png`, `importances.png` and `parallel.png` into a study's folder; the files.

    A figure that has too few complete trials is left out. Importances: PED-ANOVA, optuna's measure
    that needs no other package.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import optuna
    from optuna.visualization import matplotlib as plots

    done = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls its matplotlib figures experimental
        for name, wanted in NEEDED.items():
            if done < wanted:
                continue
            if name == "history":
                axes = plots.plot_optimization_history(study)
            elif name == "importances":
                evaluator = optuna.importance.PedAnovaImportanceEvaluator()
                axes = plots.plot_param_importances(study, evaluator=evaluator)
            else:
                axes = plots.plot_parallel_coordinate(study)
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.set_size_inches(10, 6)
            write_with(
                folder / f"{name}.png",
                lambda file: figure.savefig(file, format="png", dpi=110, bbox_inches="tight"),  # noqa: B023
            )
            plt.close(figure)
            files.append(folder / f"{name}.png")
    return files
