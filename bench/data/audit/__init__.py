"""The leak audit: duplicates, near-duplicates, shared patients and odd masks of prepared datasets.

Modules import each other by name; this file imports nothing, because planning reads manifests only.
"""
