"""How hard the phantoms are at the demo's length. Many CPU minutes: `python -m pytest -m heavy`."""

import pytest

from bench.data.phantoms import STYLES
from bench.experiments.cells import load_cells

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def dsc(bench_in, tmp_path_factory):
    """Mean DSC on test cases by (method, style): gms with the compound loss, a narrow unet."""
    folder = tmp_path_factory.mktemp("demo")
    words = ("run", "--matrix", "in-domain", "--profile", "demo", "--device", "cpu", "--jobs", 2)
    for method, more in (("gms", ()), ("unet", ("--set", "base_channels=16"))):
        result = bench_in(folder)(*words, "--methods", method, *more)
        assert result.returncode == 0, result.stderr
    found = {}
    for record in load_cells(folder / "results" / "cells"):
        scores = record.scores(record.key.train, "test")
        mean = scores[scores["grid"] == "network"]["dsc"].mean()
        found[record.key.method, record.key.train] = mean
    return found


@pytest.mark.parametrize("style", STYLES)
def test_gms_learns_the_look(style, dsc):
    assert dsc["gms", style] >= 0.70


@pytest.mark.parametrize("style", STYLES)
def test_a_small_unet_does_not_solve_the_look(style, dsc):
    assert 0.5 < dsc["unet", style] < 0.98
