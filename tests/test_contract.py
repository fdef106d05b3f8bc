"""Every registered method keeps the contract, the heavy ones under their reduced settings."""

import pytest

from bench.check import check_method
from bench.registry import plain_method_names


@pytest.mark.parametrize("name", plain_method_names())
def test_the_method_keeps_the_contract(name):
    report = check_method(name)
    assert report.passed, report.failures()
