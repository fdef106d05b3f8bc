"""Which epoch's weights a cell keeps, by the protocol's selection rule."""

from torch import Tensor

from bench.protocols import Selection, SelectionMetric
from bench.training.transfers import download


class Selected:
    """The weights that the rule prefers so far.

    "last" keeps those of the last epoch, "best-val" and "best-test" those of the epoch with the
    highest score on these cases. metric: which score. epoch: 1-based, 0 while there is none.
    """

    def __init__(self, rule: Selection, epochs: int, metric: SelectionMetric = "dsc") -> None:
        self.rule, self.epochs = rule, epochs
        self.column = f"{'val' if rule == 'best-val' else 'test'}_{metric.replace('-', '_')}"
        self.epoch, self.best = 0, -1.0
        self.weights: dict[str, Tensor] = {}

    def prefers(self, row: dict[str, float]) -> bool:
        """Whether the epoch of this row of the history is better than the selected one."""
        if self.rule == "last":
            return row["epoch"] == self.epochs
        # False for NaN, an epoch without validation; the earlier epoch wins a tie.
        return self._score(row) > self.best

    def take(self, row: dict[str, float], weights: dict[str, Tensor]) -> None:
        """Keep a copy of these weights, on the CPU."""
        self.weights = download(weights)
        self.epoch = int(row["epoch"])
        if self.rule != "last":
            self.best = self._score(row)

    def _score(self, row: dict[str, float]) -> float:
        return row[self.column]

    def waited(self, epochs_done: int, patience: int | None) -> bool:
        """Whether no epoch was better for `patience` epochs; never under the rule "last"."""
        if patience is None or self.rule == "last":
            return False
        return epochs_done - self.epoch >= patience

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"epoch": self.epoch, "best": self.best, "weights": self.weights}

    def restore(self, stored: dict) -> None:
        """Continue from a checkpoint."""
        self.epoch, self.best, self.weights = stored["epoch"], stored["best"], stored["weights"]
