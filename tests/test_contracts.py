"""Presets of a method: settings for less work, by the names that profiles use."""

import pytest

from bench.contracts import MethodSpec
from bench.core.errors import BenchError
from bench.registry import get_method, plain_method_names


def spec(presets) -> MethodSpec:
    return MethodSpec("x", "X", "CNN", lambda s, c: None, "none", "none", presets=presets)


@pytest.mark.parametrize(
    "presets, light, minimal",
    [
        ({}, {}, {}),
        ({"light": {"a": 1}}, {"a": 1}, {"a": 1}),
        ({"minimal": {"a": 1}}, {}, {"a": 1}),
        ({"light": {"a": 1, "b": 2}, "minimal": {"a": 3}}, {"a": 1, "b": 2}, {"a": 3, "b": 2}),
    ],
)
def test_minimal_is_light_with_its_own_entries_on_top(presets, light, minimal):
    assert spec(presets).preset(None) == {}
    assert spec(presets).preset("light") == light
    assert spec(presets).preset("minimal") == minimal


def test_an_unknown_preset_is_refused():
    with pytest.raises(BenchError, match="No preset named 'lite'. Did you mean 'light'"):
        spec({}).preset("lite")


def test_what_preset_returns_is_the_callers_own():
    shared = spec({"light": {"a": 1}})
    shared.preset("light")["a"] = 2
    assert shared.preset("light") == {"a": 1}


SCRATCH = {"pretrained": "none"}
FEW_STEPS = {"sampler": "ddim", "samples": 1, "ensemble": "mean"}


def test_presets_of_the_shipped_methods():
    declared = {
        name: (get_method(name).preset("light"), get_method(name).preset("minimal"))
        for name in plain_method_names()
        if get_method(name).presets
    }
    assert declared == {
        "gms": ({"supervision": "out"}, {"supervision": "out"}),
        "swin_unet": (SCRATCH, SCRATCH),
        "sme_swin_unet": (SCRATCH, SCRATCH),
        "mixstyle": (SCRATCH | {"frozen_norm": False},) * 2,
        "dsu": (SCRATCH | {"frozen_norm": False},) * 2,
        "sdseg": (SCRATCH, SCRATCH),
        "gss": (SCRATCH, SCRATCH),
        "medsegdiff_v2": (FEW_STEPS | {"steps": 10}, FEW_STEPS | {"steps": 2}),
    }
