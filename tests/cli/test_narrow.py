"""Lists in a narrow terminal: no word and no number is broken."""

import pytest

from bench.cli import inspect

ROWS = [
    {"name": "acc_unet", "parameters": "16,770,000", "GMACs": 45.91, "note": "of the authors"},
    {"name": "gms", "parameters": "1,564,976", "GMACs": 8.04, "note": None},
]


@pytest.mark.parametrize("width", [20, 30, 40, 80, 132])
def test_rows_keep_their_words_at_any_width(monkeypatch, capsys, width):
    monkeypatch.setattr(inspect.console, "_width", width)
    inspect.print_rows(ROWS, False, "counts")
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    for word in ("acc_unet", "16,770,000", "45.91", "1,564,976", "authors"):
        assert word in said
