"""What a replay's results mean: bit for bit on the same CPU, to a stated tolerance elsewhere.

CPU results are functions of the processor, the number of threads and torch's version; with these
as recorded, every bit has to agree. On a GPU the order of sums is not fixed, so a repeated training
drifts; there, and on another CPU, the limits below decide. They are stated, not measured on a GPU.
For scale: another number of threads moved the first epoch's losses of EGE-UNet on GlaS (bf16) by
up to 3e-4 of their value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.experiments.cells import CellRecord
from bench.experiments.messages import Replayed
from bench.experiments.replay.checks import Check, judged, passed

HISTORY_LIMIT = 0.01  # of a loss or rate: relative; of a DSC in [0, 1]: absolute
PIXEL_LIMIT = 0.001  # share of all pixels of a test set

Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Judged:
    """The checks of a replay, and whether every compared number was equal to the last bit."""

    checks: tuple[Check, ...]
    equal: bool


def judge(record: CellRecord, stored_rows: Sequence[Row], replayed: Replayed) -> Judged:
    """What a replay says about a cell. stored_rows: the history, from its first epoch on."""
    elsewhere = other_machine(record.provenance, replayed.machine)
    checks, equal = [], True
    if replayed.history:
        check, same = _judge_history(stored_rows, replayed.history, elsewhere)
        checks.append(check)
        equal &= same
    if replayed.weights_equal is not None:
        check = _judge_weights(replayed.weights_equal, elsewhere)
        checks.append(check)
        equal &= replayed.weights_equal
    for label, (differing, pixels) in replayed.pixels.items():
        checks.append(_check_pixels(label, differing, pixels, elsewhere))
        equal &= differing == 0
    return Judged(tuple(checks), equal)


def other_machine(recorded: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Why bits may differ: "" for the same processor, threads and torch, and no GPU on either side."""
    if not (_on_cpu(recorded) and _on_cpu(machine)):
        return f"trained on {recorded.get('device')}, repeated on {machine['device']}"
    then = {name: recorded.get(name) for name in ("processor", "threads")}
    then["torch"] = recorded.get("packages", {}).get("torch")
    other = [
        f"{name} {then[name]}, now {machine[name]}" for name in then if then[name] != machine[name]
    ]
    return ", ".join(other)


def _on_cpu(facts: Mapping[str, Any]) -> bool:
    return facts.get("device") in ("CPU", facts.get("processor"))


def _judge_history(
    stored: Sequence[Row], again: Sequence[Row], elsewhere: str
) -> tuple[Check, bool]:
    name = "training"
    epochs = f"{len(again)} epoch{'s' * (len(again) > 1)}"
    if len(stored) < len(again):
        return judged(name, [f"{len(again)} epochs trained, {len(stored)} are stored"], ""), False
    gaps = [gap for one, two in zip(stored, again, strict=False) for gap in row_gaps(one, two)]
    if not gaps:
        return passed(name, f"{epochs}: every value of the history bit for bit"), True
    worst = max(gaps)
    if elsewhere and worst[0] <= HISTORY_LIMIT:
        said = f"{epochs}: to {worst[0]:.1e} (limit {HISTORY_LIMIT:g}); {elsewhere}"
        return passed(name, said), False
    where = f" (limit {HISTORY_LIMIT:g}; {elsewhere})" if elsewhere else ""
    said = f"{len(gaps)} values differ, by up to {worst[0]:.1e}{where}"
    return judged(name, [said, *(text for _, text in gaps)], ""), False


def row_gaps(stored: Row, again: Row) -> list[tuple[float, str]]:
    """(gap, words) of each value of an epoch that differs; its seconds are not compared.

    The gap is relative to the larger of both, for a DSC absolute; infinite where one is missing.
    """
    gaps = []
    for name in sorted((stored.keys() | again.keys()) - {"seconds"}):
        one, two = _number(stored.get(name)), _number(again.get(name))
        if one == two or (math.isnan(one) and math.isnan(two)):
            continue
        size = 1.0 if name.endswith("_dsc") else max(abs(one), abs(two))
        gap = math.inf if math.isnan(one) or math.isnan(two) else abs(one - two) / size
        words = f"epoch {again.get('epoch', 0):.0f}: {name} {one:.9g} is stored, {two:.9g} trained again"
        gaps.append((gap, words))
    return gaps


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _judge_weights(equal: bool, elsewhere: str) -> Check:
    if equal:
        return passed("trained weights", "the whole training: every stored weight bit for bit")
    if elsewhere:
        return passed("trained weights", f"not compared bit for bit: {elsewhere}")
    return judged("trained weights", ["the whole training gives other weights"], "")


def _check_pixels(label: str, differing: int, pixels: int, elsewhere: str) -> Check:
    name, said = f"predictions of {label}", f"{differing} of {pixels} pixels differ"
    if differing == 0 or (elsewhere and differing <= PIXEL_LIMIT * pixels):
        limit = f" (limit {PIXEL_LIMIT:.1%}); {elsewhere}" if differing else ""
        return passed(name, said + limit)
    limit = f" (limit {PIXEL_LIMIT:.1%}; {elsewhere})" if elsewhere else ""
    return judged(name, [said + limit], "")
