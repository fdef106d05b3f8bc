"""Replay: what a stored cell says, computed again.

`stored` checks a folder by itself, `rescore` with the test masks, `retrain` repeats training and
prediction in a worker, `compare` tells what its results mean, `adopt` moves a cell under the code
of today, `marks` keeps the outcome beside the cell, and `verify` does them in order.
"""
