"""Which absent training is the one that a row would show."""

import pytest

from bench.reporting.tables.entries import _asks_for
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.variants import Variant

GMS = Row("", "GMS", ("GMS",), "gms", Variant("gms", '{"loss": "lm"}', "tiny-kl", "continuous"))


@pytest.mark.parametrize(
    "settings, tokenizer, asked",
    [
        ({"loss": "lm"}, None, True),
        ({"loss": "lm"}, "tiny-kl", True),
        ({"loss": "lm"}, "continuous", True),
        ({"loss": "lm"}, "discrete", False),
        ({}, None, False),
    ],
)
def test_settings_and_a_named_tokenizer_are_those_of_the_row(settings, tokenizer, asked):
    item = Missing(method="gms", train="busi", settings=settings, tokenizer=tokenizer)
    assert _asks_for(item, GMS) == asked
