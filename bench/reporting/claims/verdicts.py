"""From evidence to a verdict, one function per relation.

An interval decides: a lead whose whole interval is above 0 holds, one whose whole interval is below
fails, and anything else is undecided at this sample size. On printed numbers the interval is what
the digits leave.
"""

from collections.abc import Callable
from typing import Any

from bench.reporting.claims.comparisons import beats, leads, places
from bench.reporting.claims.counts import (
    fewer_parameters,
    parameter_ratio,
    reconstruction,
    uncorrelated,
)
from bench.reporting.claims.evidence import Evidence
from bench.reporting.claims.outcomes import Outcome
from bench.reporting.published import Edition


def outcome(test: Any, evidence: Evidence, edition: Edition) -> Outcome:
    """The verdict on one claim's test."""
    return _BY_RELATION[test.relation](test, evidence, edition)


_BY_RELATION: dict[str, Callable[[Any, Evidence, Edition], Outcome]] = {
    "beats": beats,
    "leads": leads,
    "places": places,
    "fewer-parameters": fewer_parameters,
    "parameter-ratio": parameter_ratio,
    "uncorrelated": uncorrelated,
    "reconstruction": reconstruction,
}
