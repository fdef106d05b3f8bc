"""Every registered method keeps the contract, the heavy ones under their reduced settings.

The whole takes many CPU minutes, so all but a few are marked `heavy`: `python -m pytest -m heavy`.
"""

import pytest

from bench.conformance.check import check_method
from bench.registry import plain_method_names

QUICK = ("nnunet", "unet")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.heavy)
        for name in plain_method_names()
    ],
)
def test_the_method_keeps_the_contract(name):
    report = check_method(name)
    assert report.passed, report.failures()
