"""Claims that one method is better than others: in every column, by how much, at which place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from bench.reporting.claims.evidence import UNITS, Entry, Evidence, Lead, Need, Place
from bench.reporting.claims.model import OTHERS, Beats, Leads, Metric, Places
from bench.reporting.claims.outcomes import Outcome, Word, once, rivals_of, together
from bench.reporting.published import Edition

NAMES: dict[Metric, str] = {"dsc": "DSC", "iou": "IoU", "hd95": "HD95"}


@dataclass(frozen=True)
class _Compared:
    """A lead with what it is of; None where a score is not at hand."""

    first: Entry
    second: Entry
    place: Place
    metric: Metric
    lead: Lead | None

    @property
    def words(self) -> str:
        """ "gms against unet, busi DSC: 81.43 against 72.27"."""
        text = f"{self.first.words} against {self.second.words}, {self.place.words} "
        text += NAMES[self.metric]
        if self.lead is None:
            return text
        one, other = self.lead.scores
        return f"{text}: {one:.2f} against {other:.2f}"

    @property
    def margin(self) -> float:
        """The lead in widths of its interval: comparable between metrics."""
        assert self.lead is not None
        width = self.lead.high - self.lead.low
        return self.lead.value / width if width else float(np.sign(self.lead.value)) * np.inf


def _compare(
    evidence: Evidence, first: Entry, second: Entry, place: Place, metric: Metric
) -> _Compared:
    return _Compared(first, second, place, metric, evidence.lead(first, second, place, metric))


def _needs(compared: Iterable[_Compared], evidence: Evidence) -> tuple[Need, ...]:
    """The entries behind leads that are not at hand."""
    absent = [one for one in compared if one.lead is None]
    sides = [(Need(e, o.place), o.metric) for o in absent for e in (o.first, o.second)]
    lacking = [need for need, metric in sides if evidence.score(*need, metric) is None]
    # All of them where only a common seed is missing.
    return once(lacking or [need for need, _ in sides])


def _carried_by(one: _Compared, verdict: Word, detail: str, needs: tuple[Need, ...]) -> Outcome:
    assert one.lead is not None
    return Outcome(
        verdict=verdict,
        value=one.lead.value,
        low=one.lead.low,
        high=one.lead.high,
        unit=UNITS[one.metric],
        detail=detail,
        needs=needs,
    )


def beats(test: Beats, evidence: Evidence, edition: Edition) -> Outcome:
    """Every lead must be above 0; the closest comparison carries the verdict, or one that is lost."""
    compared = [
        _compare(evidence, Entry(one, test.first_as), Entry(other, test.second_as), place, metric)
        for text, metric in product(test.on, test.metrics)
        if (text, metric) not in test.but_not
        for place in (Place.of(text),)
        for one in test.first
        for other in rivals_of(test.second, edition, place, test.first)
    ]
    known = sorted((one for one in compared if one.lead is not None), key=lambda one: one.margin)
    needs = _needs(compared, evidence)
    if not known:
        return Outcome("not run", needs=needs)
    lost = [one for one in known if one.lead and one.lead.high < 0]
    won = [one for one in known if one.lead and one.lead.low > 0]
    if lost:
        words = "; ".join(one.words for one in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        return _carried_by(lost[0], "fails", words + more, needs)
    counts = f"{len(won)} of {len(compared)} comparisons hold"
    counts += f", {len(compared) - len(known)} lack scores" if len(known) < len(compared) else ""
    verdict: Word = "not run" if needs else "holds" if len(won) == len(compared) else "undecided"
    return _carried_by(known[0], verdict, f"{counts}; closest: {known[0].words}", needs)


def leads(test: Leads, evidence: Evidence, edition: Edition) -> Outcome:
    """The lead over the best rival of each column against the stated number."""
    first = Entry(test.first, test.first_as)
    found: list[_Compared] = []
    for place in map(Place.of, test.on):
        names = rivals_of(test.second, edition, place, (test.first,))
        rivals = [Entry(name, test.second_as) for name in names]
        compared = [_compare(evidence, first, rival, place, test.metric) for rival in rivals]
        if any(one.lead is None for one in compared):
            found += [one for one in compared if one.lead is None]
        else:
            found.append(min(compared, key=lambda one: one.lead.value if one.lead else 0.0))
    needs = _needs(found, evidence)
    if needs:
        return Outcome("not run", detail="the second-best is unknown", needs=needs)
    carried = [max(found, key=_value)] if test.over == "largest" else found
    verdicts = [_against(test, one.lead, evidence.printed) for one in carried if one.lead]
    shown = min(carried, key=_value)
    words = "; ".join(f"{one.words} ({_value(one):+.2f})" for one in carried)
    return _carried_by(shown, together(verdicts), words, ())


def _value(one: _Compared) -> float:
    assert one.lead is not None
    return one.lead.value


def _against(test: Leads, lead: Lead, printed: bool) -> Word:
    """A lead against the number that the sentence gives.

    Printed: the number must be one that the tables' digits allow. Ours: the lead is at least the
    number; with `about`, it rounds to it.
    """
    value = float(test.value)
    if test.about:
        low, high = value - 0.5, value + 0.5
        if low <= lead.low and lead.high < high:
            return "holds"
        return "fails" if lead.high < low or lead.low >= high else "undecided"
    if printed:
        return "holds" if lead.low <= value <= lead.high else "fails"
    return "holds" if lead.low >= value else "fails" if lead.high < value else "undecided"


def places(test: Places, evidence: Evidence, edition: Edition) -> Outcome:
    """The place in every column and metric; the farthest one off carries the verdict."""
    first = Entry(test.first)
    parts: list[Outcome] = []
    needs: list[Need] = []
    for text, metric in product(test.on, test.metrics):
        place = Place.of(text)
        rivals = [Entry(name) for name in rivals_of(OTHERS, edition, place, (test.first,))]
        compared = [_compare(evidence, first, rival, place, metric) for rival in rivals]
        needs += _needs(compared, evidence)
        leads = [one.lead for one in compared if one.lead is not None]
        parts.append(_place_among(test.place, leads, f"{place.words} {NAMES[metric]}"))
    if needs:
        return Outcome("not run", needs=once(needs))
    worst = max(parts, key=lambda part: abs((part.value or 0) - test.place))
    verdict = together([part.verdict for part in parts])
    return replace(worst, verdict=verdict, detail="; ".join(part.detail for part in parts))


def _place_among(place: int, leads: Sequence[Lead], words: str) -> Outcome:
    """The place, with the best and worst one that the intervals of the leads allow."""
    best = 1 + sum(lead.high < 0 for lead in leads)
    worst = 1 + sum(lead.low <= 0 for lead in leads)
    own = 1 + sum(lead.value < 0 for lead in leads)
    verdict: Word = "undecided"
    if best == worst == place:
        verdict = "holds"
    elif not best <= place <= worst:
        verdict = "fails"
    unit = f"of {len(leads) + 1} places"
    return Outcome(verdict, own, best, worst, unit, f"{words}: place {own}")
