"""Replay: what a stored cell says, computed again.

`stored` checks a folder by itself and `rows` its scores, `rescore` uses the test masks, `retrain`
repeats training and prediction in a worker, `compare` tells what its results mean, `adopt` moves a
cell under the code of today, `marks` keeps the outcome beside the cell, and `verify` does all of
it in order.
"""
