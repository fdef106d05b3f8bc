"""Scores of one case from two masks, and their aggregates from stored rows.

Only `bench.metrics.aggregate` needs pandas; importing this package costs numpy.
"""

from bench.metrics.case import CaseScores, score_case

__all__ = ["CaseScores", "score_case"]
