"""Claims on counts of parameters, their correlation with scores, and reconstructions."""

from collections.abc import Sequence, Sized
from dataclasses import replace

import numpy as np
from scipy import stats

from bench.reporting.claims.evidence import Entry, Evidence, Need, Place
from bench.reporting.claims.model import (
    OTHERS,
    FewerParameters,
    ParameterRatio,
    Reconstruction,
    Uncorrelated,
)
from bench.reporting.claims.outcomes import Outcome, Word, once, rivals_of, together
from bench.reporting.published import Edition


def _counts(
    evidence: Evidence, edition: Edition, first: str
) -> tuple[dict[str, tuple[float, float]], tuple[Need, ...]]:
    """(method -> range of its parameters in millions, what is not at hand) of the edition's methods
    that it prints a count of."""
    names = dict.fromkeys(n.key.method for n in edition.numbers if n.key.metric == "params_m")
    found = {name: evidence.parameters(name) for name in names}
    trained: dict[str, Place] = {}
    for key in (number.key for number in edition.numbers):
        if key.train:
            trained.setdefault(key.method, Place(key.train, key.test))
    needs = [Need(Entry(name), trained[name]) for name, own in found.items() if own is None]
    return {name: own for name, own in found.items() if own is not None}, tuple(needs)


def fewer_parameters(test: FewerParameters, evidence: Evidence, edition: Edition) -> Outcome:
    """Which methods have fewer parameters; the range counts those that surely and maybe do."""
    counts, needs = _counts(evidence, edition, test.first)
    if needs:
        return Outcome("not run", needs=needs)
    least, most = counts.pop(test.first)
    surely = {name for name, (_, high) in counts.items() if high < least}
    maybe = {name for name, (low, _) in counts.items() if low < most}
    verdict: Word = "undecided" if surely != maybe else "fails"
    if surely == maybe == set(test.fewer):
        verdict = "holds"
    words = ", ".join(sorted(maybe)) or "none"
    return Outcome(verdict, len(surely), len(surely), len(maybe), _of(counts), words)


def parameter_ratio(test: ParameterRatio, evidence: Evidence, edition: Edition) -> Outcome:
    """How many methods have a ratio in the stated range; the range counts surely and maybe."""
    counts, needs = _counts(evidence, edition, test.first)
    if needs:
        return Outcome("not run", needs=needs)
    least, most = counts.pop(test.first)
    ratios = {name: (low / most, high / least) for name, (low, high) in counts.items()}
    surely = [n for n, (low, high) in ratios.items() if test.low <= low and high <= test.high]
    maybe = [n for n, (low, high) in ratios.items() if high >= test.low and low <= test.high]
    half = len(counts) / 2
    verdict: Word = (
        "holds" if len(surely) > half else "fails" if len(maybe) <= half else "undecided"
    )
    words = ", ".join(surely) or "none"
    return Outcome(verdict, len(surely), len(surely), len(maybe), _of(counts), words)


def _of(counts: Sized) -> str:
    """The unit of a count of other methods."""
    return f"of {len(counts)} methods"


def uncorrelated(test: Uncorrelated, evidence: Evidence, edition: Edition) -> Outcome:
    """Spearman's rho per column, of the rows that are means over images; the strongest carries."""
    parts: list[Outcome] = []
    needs: list[Need] = []
    for place in map(Place.of, test.on):
        entries = [Entry(name) for name in rivals_of(OTHERS, edition, place, ())]
        scores = {e.method: evidence.score(e, place, test.metric) for e in entries}
        counts = {e.method: evidence.parameters(e.method) for e in entries}
        lacking = [e for e in entries if scores[e.method] is None or counts[e.method] is None]
        needs += [Need(entry, place) for entry in lacking]
        kept = [e.method for e in entries if e not in lacking and evidence.per_image(e, place)]
        if not lacking:
            sizes = [sum(counts[name] or ()) for name in kept]
            parts.append(_spearman(sizes, [scores[name] for name in kept], place))
    if needs:
        return Outcome("not run", needs=once(needs))
    strongest = max(parts, key=lambda part: abs(part.value or 0))
    words = "; ".join(part.detail for part in parts)
    return replace(strongest, verdict=together([part.verdict for part in parts]), detail=words)


def _spearman(counts: Sequence[float], scores: Sequence[float | None], place: Place) -> Outcome:
    """Spearman's rho with Fieller's interval: atanh(rho) has a variance of 1.06 / (n - 3).

    No sample shows that a correlation is nil, so the verdict is "fails" or "undecided".
    """
    n = len(counts)
    rho = float(stats.spearmanr(counts, scores).statistic)
    half = stats.norm.ppf(0.975) * np.sqrt(1.06 / (n - 3))
    low, high = np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)
    verdict: Word = "undecided" if low <= 0 <= high else "fails"
    words = f"{place.words}: rho {rho:+.2f} over {n} methods"
    return Outcome(verdict, rho, float(low), float(high), "rho", words)


def reconstruction(test: Reconstruction, evidence: Evidence, edition: Edition) -> Outcome:
    """The mean Dice of masks through the tokenizer on every test set; the least carries."""
    found = evidence.reconstructions(test.tokenizer)
    if not found:
        return Outcome("not run", detail="no reconstruction is measured")
    verdicts: list[Word] = [
        "holds" if one.low > test.value else "fails" if one.high < test.value else "undecided"
        for one in found
    ]
    least = min(found, key=lambda one: one.value)
    words = ", ".join(f"{one.test} {one.value:.2f}" for one in found)
    return Outcome(together(verdicts), least.value, least.low, least.high, "% Dice", words)
