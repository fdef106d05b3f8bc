"""Scores of one case from two masks, and their aggregates from stored rows.

Only `bench.metrics.aggregate` needs pandas; this package imports none of its modules.
"""
