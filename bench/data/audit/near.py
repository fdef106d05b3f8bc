"""Near-duplicate images: perceptual hashes propose pairs, correlations decide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.audit.fingerprints import TURNS, Fingerprints, turned
from bench.data.audit.manifest import LIMITS, Limits, Pair

BLOCK = 512
"""Images of the first set at a time: bounds memory to a few hundred MB for 10,000 images."""

DENSE = 1 / 16
"""Share of candidates in a block from which one product of matrices beats pair by pair."""

SLACK = 1e-4
"""Above the rounding of float32 correlations: pairs this near a limit are computed again exactly."""


@dataclass(frozen=True)
class Near:
    """The result of a search.

    pairs: the hits, sorted by ids. candidates: pairs above the candidate's limits, hits included.
    highest: the highest correlation of any two images as stored, whatever their hashes.
    """

    pairs: tuple[Pair, ...]
    candidates: int
    highest: float


@dataclass(frozen=True)
class _Found:
    """Candidates of one block under one turn: row numbers int64 (K,), correlations float32 (K,),
    distances in bits (K,)."""

    turn: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    correlations: NDArray[np.float32]
    distances: NDArray[np.float32]


@dataclass(frozen=True)
class _Block:
    """Some images of the first set against all others.

    found: per turn. candidates: pairs, each counted once. highest: correlation as stored, -1 where
    there is no pair.
    """

    found: tuple[_Found, ...]
    candidates: int
    highest: float


def near_duplicates(
    one: Fingerprints, other: Fingerprints | None = None, limits: Limits = LIMITS
) -> Near:
    """Near-duplicates within `one`, or between `one` and `other`.

    A candidate's hashes differ in at most `limits.distance` bits and its grey copies correlate above
    `limits.candidate` (Pearson, 64 x 64); a hit is one above `limits.hit`. The second image of a pair
    is also tried under the 8 flips and quarter turns; the turn with the highest correlation
    stands for the pair.
    """
    second = one if other is None else other
    best: Best = {}
    candidates, highest = 0, -1.0
    for block in _blocks(one, second, other is None, limits):
        highest = max(highest, block.highest)
        candidates += block.candidates
        _keep_best(best, block, one, second, limits)
    pairs = tuple(
        Pair(
            first=one.case_ids[row],
            second=second.case_ids[column],
            correlation=round(value, 4),
            distance=distance,
            turn=TURNS[turn],
        )
        for (row, column), (value, distance, turn) in sorted(best.items())
    )
    return Near(pairs, candidates, round(highest, 4))


Best = dict[tuple[int, int], tuple[float, int, int]]
"""(row, column) -> (correlation, distance, turn) of a hit."""


def _keep_best(
    best: Best, block: _Block, one: Fingerprints, second: Fingerprints, limits: Limits
) -> None:
    """Add the hits of a block to `best`, with exact correlations; the first of equal turns wins."""
    for found in block.found:
        for at in np.flatnonzero(found.correlations > limits.hit - SLACK):
            row, column = int(found.rows[at]), int(found.columns[at])
            value = exact_correlation(one.grey[row], turned(second.grey[[column]], found.turn)[0])
            if value > limits.hit and value > best.get((row, column), (-1.0, 0, 0))[0]:
                best[row, column] = (value, int(found.distances[at]), found.turn)


def exact_correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Pearson correlation of two uint8 images of one shape; 0 where one of them is constant.

    All sums are of whole numbers, so every machine gets the same value.
    """
    x, y = one.astype(np.int64).ravel(), other.astype(np.int64).ravel()
    n = x.size
    both = n * int(x @ y) - int(x.sum()) * int(y.sum())
    spreads = [n * int(v @ v) - int(v.sum()) ** 2 for v in (x, y)]
    if 0 in spreads:
        return 0.0
    return both / (spreads[0] ** 0.5 * spreads[1] ** 0.5)


def _blocks(
    one: Fingerprints, second: Fingerprints, within: bool, limits: Limits
) -> Iterator[_Block]:
    """All pairs, `BLOCK` images of `one` at a time; within one set each pair once."""
    first_bits = _signs(one.hashes())
    turned_bits = [_signs(second.hashes(turn)) for turn in range(len(TURNS))]
    units, second_units = one.unit(), second.unit()
    for start in range(0, len(units), BLOCK):
        rows = slice(start, start + BLOCK)
        skipped = start if within else 0  # pairs with earlier images are done
        others = second_units[skipped:]
        allowed = np.ones((len(units[rows]), len(others)), bool)
        if within:
            allowed = np.triu(allowed, 1)
        stored = units[rows] @ others.T
        found, either = [], np.zeros_like(allowed)
        for turn, bits in enumerate(turned_bits):
            distances = (bits.shape[1] - first_bits[rows] @ bits[skipped:].T) / 2
            at = np.nonzero((distances <= limits.distance) & allowed)
            if turn == 0:
                values = stored[at]
            else:
                values = _correlations(_turned_back(units[rows], turn), others, *at)
            at = tuple(axis[values > limits.candidate] for axis in at)
            values = values[values > limits.candidate]
            either[at] = True
            found.append(_Found(turn, at[0] + start, at[1] + skipped, values, distances[at]))
        yield _Block(tuple(found), int(either.sum()), float(stored[allowed].max(initial=-1.0)))


def _correlations(
    units: NDArray[np.float32],
    others: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Correlations of the pairs (rows[k], columns[k])."""
    if len(rows) > DENSE * len(units) * len(others):
        return (units @ others.T)[rows, columns]
    values = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 4096):
        part = slice(start, start + 4096)
        np.einsum("kp,kp->k", units[rows[part]], others[columns[part]], out=values[part])
    return values


def _turned_back(units: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """The images that, compared with others as stored, give the correlations of `units` with the
    others turned."""
    back = {1: 3, 3: 1}.get(turn, turn)  # all turns but these two undo themselves
    side = int(units.shape[1] ** 0.5)
    return turned(units.reshape(-1, side, side), back).reshape(len(units), -1)


def _signs(bits: NDArray[np.bool_]) -> NDArray[np.float32]:
    """-1 and 1, so that a product of matrices counts agreeing less differing bits."""
    return np.where(bits, np.float32(1), np.float32(-1))
