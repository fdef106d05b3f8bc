"""The example plugin: a third party's tokenizer, with its real weights where they lie at hand."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import registry
from bench.core.errors import BenchError
from bench.data.pixels import levels, load

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
WEIGHTS = SHARED / "tokenizers" / "taef2"
PLUGIN = ROOT / "examples" / "taef2" / "gms_bench_taef2.py"


@pytest.fixture
def spec(monkeypatch):
    """The plugin's SPEC, as `--plugin` gives it."""
    monkeypatch.setattr(registry, "_plugin_files", [])
    registry.use_plugin_files([PLUGIN])
    return registry.get_tokenizer("taef2")


def test_the_plugin_file_makes_the_tokenizer_known(spec):
    found, location = registry.choose_tokenizer("continuous", "taef2@somewhere", {})
    assert (found, location) == (spec, "somewhere")
    assert spec.source_file == registry.find_tokenizer("taef2").source == PLUGIN


def test_a_plugin_file_loads_its_network_without_a_change_of_the_search_path(spec):
    assert str(PLUGIN.parent) not in sys.path
    with torch.device("meta"):
        network = spec.load(weights=False)
    assert sys.modules[type(network).__module__].__file__ == str(
        PLUGIN.with_name("gms_bench_taef2_network.py")
    )


def test_architecture_and_size_are_those_of_the_fact_sheet(spec):
    with torch.device("meta"):
        tokenizer = spec.load(weights=False)
    assert sum(p.numel() for p in tokenizer.parameters()) == spec.parameters == 2_677_027
    assert (tokenizer.latent_channels, tokenizer.factor) == (32, 8)


def test_missing_and_foreign_weights_are_named(spec, tmp_path):
    with pytest.raises(BenchError, match="lacks taef2_encoder.safetensors and taef2_decoder"):
        spec.load(str(tmp_path))
    for name in spec.wanted:
        save_file({"1.weight": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(BenchError, match="does not hold TAEF2"):
        spec.load(str(tmp_path))


def read_masks(groups: list[list[Path]], threshold: int) -> np.ndarray:
    """bool (N, 224, 224); files of one case are joined by OR."""
    masks = []
    for files in groups:
        parts = [Image.fromarray(levels(load(file)) > threshold) for file in files]
        small = [np.asarray(part.resize((224, 224), Image.Resampling.NEAREST)) for part in parts]
        masks.append(np.logical_or.reduce(small))
    return np.stack(masks)


def masks_of(name: str) -> np.ndarray:
    data = SHARED / "data"
    if name == "glas":
        return read_masks([[f] for f in sorted(data.glob("Warwick*/*_anno.bmp"))], 0)
    if name == "stu":
        return read_masks([[f] for f in sorted(data.glob("STU-Hospital/**/mask_*.png"))], 127)
    cases: dict[str, list[Path]] = {}
    for file in sorted(data.glob("Dataset_BUSI_with_GT/[bm]*/*_mask*.png")):
        cases.setdefault(re.sub(r"_mask.*", "", file.name), []).append(file)
    return read_masks(list(cases.values()), 127)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no TAEF2 weights in {WEIGHTS}")
@pytest.mark.parametrize("name, least", [("busi", 0.997), ("stu", 0.998), ("glas", 0.998)])
def test_real_masks_come_back_through_the_real_weights(spec, name, least):
    """At 224 px, every third mask, in bfloat16: a mask that is cut at one half hardly notices."""
    from bench.tokenizers.evaluation import EvalSet, evaluate

    masks = masks_of(name)[::3]
    ids = tuple(map(str, range(len(masks))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = evaluate(spec.load(str(WEIGHTS)), [EvalSet(name, ids, masks)]).table()
    assert table["dice"][0] >= least
