"""Peak memory belongs to the work at hand, not to what the process did before."""

import pytest
import torch

from bench.core.memory import peak_bytes, start_peak

CPU = torch.device("cpu")
MEGABYTE = 2**20


def test_a_new_peak_forgets_the_old():
    if not start_peak(CPU):
        pytest.skip("this system only knows the peak since the process started")
    before = peak_bytes(CPU)
    held = torch.ones(100 * MEGABYTE, dtype=torch.uint8)
    high = peak_bytes(CPU)
    del held
    assert high - before > 90 * MEGABYTE
    assert peak_bytes(CPU) == pytest.approx(high, abs=5 * MEGABYTE)
    start_peak(CPU)
    assert peak_bytes(CPU) < high - 90 * MEGABYTE
