"""Tokenizers: found by name and location, loaded from every format, frozen, differentiable."""

import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generative_doubles import SMALL_KL, SMALL_TINY, SMALL_VQ
from safetensors.torch import load_file, save_file

from bench.core.errors import BenchError
from bench.tokenizers import builtin
from bench.tokenizers.builtin import (
    ANY_DIFFUSERS,
    SD_VAE,
    TAESD,
    TINY_KL_SPEC,
    TINY_VQ_SPEC,
    VQ,
)
from bench.tokenizers.loading import first_stage
from bench.tokenizers.spec import WEIGHTS

SMALL_SD_VAE = replace(SD_VAE, config=SMALL_KL)


def build(config: dict) -> torch.nn.Module:
    import diffusers

    torch.manual_seed(0)
    model = getattr(diffusers, config["_class_name"]).from_config(config)
    if config["_class_name"] == "VQModel":  # diffusers' own start puts all codes in one point
        torch.nn.init.normal_(model.quantize.embedding.weight)
    return model


def images(count: int = 2, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder in diffusers' format per class, with random weights at reduced width."""
    root = tmp_path_factory.mktemp("tokenizers")
    for config in (SMALL_KL, SMALL_VQ, SMALL_TINY):
        build(config).save_pretrained(root / config["_class_name"])
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def tokenizers(folders):
    return {
        "AutoencoderKL": SD_VAE.load(str(folders["AutoencoderKL"])),
        "VQModel": VQ.load(str(folders["VQModel"])),
        "AutoencoderTiny": TAESD.load(str(folders["AutoencoderTiny"])),
    }


CLASSES = ("AutoencoderKL", "VQModel", "AutoencoderTiny")


# -- finding ----------------------------------------------------------------------------------


def test_missing_weights_say_what_is_missing_how_to_fetch_and_how_to_point(tmp_path):
    with pytest.raises(BenchError) as caught:
        SD_VAE.files(str(tmp_path))
    text = str(caught.value)
    assert f"{tmp_path} lacks config.json and diffusion_pytorch_model.safetensors" in text
    assert 'hf download stabilityai/stable-diffusion-2 --include "vae/*"' in text
    assert "sd-vae@LOCATION or GMS_BENCH_TOKENIZER_SD_VAE=LOCATION" in text


@pytest.mark.parametrize(
    "spec, location, reason",
    [
        (VQ, None, "no location is named"),
        (SD_VAE, "/no/such/folder", "neither a folder, nor a file, nor a Hugging Face id"),
        (TAESD, __file__, "is loaded from a folder"),
        (SD_VAE, __file__, "ends in none of .safetensors, .ckpt"),
    ],
)
def test_a_wrong_location_is_named_with_the_rule(spec, location, reason, monkeypatch):
    monkeypatch.delenv(spec.variable, raising=False)
    with pytest.raises(BenchError, match=re.escape(reason)):
        spec.files(location)


def test_a_named_location_beats_the_environment_which_beats_the_default(monkeypatch):
    monkeypatch.delenv(TINY_KL_SPEC.variable, raising=False)
    assert TINY_KL_SPEC.location() == str(TINY_KL_SPEC.folder)
    monkeypatch.setenv("GMS_BENCH_TOKENIZER_TINY_KL", "from-the-environment")
    assert TINY_KL_SPEC.location() == "from-the-environment"
    assert TINY_KL_SPEC.location("named") == "named"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"loader": "module:load"}, "loader is 'module:load', and must be a function"),
        ({"name": "continuous"}, "may not be named 'continuous'.*not a role"),
        ({"name": "mine@there"}, "may not be named 'mine@there'"),
    ],
)
def test_a_spec_refuses_what_could_not_be_looked_up(change, message):
    with pytest.raises(BenchError, match=message):
        replace(SD_VAE, **change)


def test_a_spec_names_the_file_of_its_loader():
    assert SD_VAE.source_file == Path(builtin.__file__).resolve()


def test_a_hub_id_that_is_not_in_the_cache_is_not_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    row = SD_VAE.row()
    assert (row["at_hand"], row["weights_hash"]) == (False, None)
    assert (row["latent_channels"], row["factor"], row["parameters"]) == (4, 8, 83_653_863)


def test_a_hub_id_is_found_in_the_local_cache_without_a_network(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--stabilityai--stable-diffusion-2"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    snapshot = cached / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "vae").symlink_to(folders["AutoencoderKL"])
    assert SD_VAE.row()["at_hand"]
    assert SD_VAE.weights_hash() == SD_VAE.weights_hash(str(folders["AutoencoderKL"]))


def test_the_weights_hash_follows_content_not_place(folders, tmp_path):
    first = SD_VAE.weights_hash(str(folders["AutoencoderKL"]))
    for name in SD_VAE.wanted:
        (tmp_path / name).write_bytes((folders["AutoencoderKL"] / name).read_bytes())
    assert SD_VAE.weights_hash(str(tmp_path)) == first
    state = load_file(tmp_path / WEIGHTS)
    state["quant_conv.bias"] += 1e-3
    save_file(state, tmp_path / WEIGHTS)
    os.utime(tmp_path / WEIGHTS, (0, 0))  # a file system's clock may not tick within this test
    assert SD_VAE.weights_hash(str(tmp_path)) != first


def test_naming_and_hashing_tokenizers_imports_no_torch():
    code = (
        "import sys; from bench.tokenizers import builtin as b;"
        "b.TINY_KL_SPEC.weights_hash(); b.TINY_VQ_SPEC.row();"
        "print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# -- loading ----------------------------------------------------------------------------------


def latent_diffusion_name(key: str) -> str:
    """The name that latent diffusion gives to a tensor of a four-level AutoencoderKL."""
    key = re.sub(r"up_blocks\.(\d)\.", lambda m: f"up.{3 - int(m[1])}.", key)
    for here, there in (
        (r"down_blocks\.(\d)\.", r"down.\1."),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"\.resnets\.", ".block."),
        (r"samplers\.0\.", "sample."),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    ):
        key = re.sub(here, there, key)
    return key


def as_latent_diffusion(state: dict, prefix: str = "first_stage_model.") -> dict:
    found = {}
    for key, value in state.items():
        projection = ".attentions." in key and ".to_" in key and key.endswith("weight")
        found[prefix + latent_diffusion_name(key)] = value[..., None, None] if projection else value
    return found


def older_attention(state: dict) -> dict:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    return {
        re.sub(r"to_[qkv]|to_out\.0", lambda m: names[m[0]], key): value
        for key, value in state.items()
    }


def write_single_files(state: dict, folder: Path) -> dict[str, Path]:
    """The same weights in every layout that is found in the wild."""
    extra = {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.ones(())}
    files = {name: folder / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")}
    save_file(state, files["a.safetensors"])
    save_file(older_attention(state), files["b.safetensors"])
    save_file(as_latent_diffusion(state, prefix=""), files["c.safetensors"])
    for name, content in (
        ("authors.ckpt", {"state_dict": as_latent_diffusion(state) | extra, "global_step": 7}),
        ("bare.ckpt", as_latent_diffusion(state, prefix="") | extra),
        ("diffusers.pt", state),
    ):
        files[name] = folder / name
        torch.save(content, files[name])
    return files


def test_every_format_of_the_same_weights_gives_identical_outputs(folders, tokenizers, tmp_path):
    state = load_file(folders["AutoencoderKL"] / WEIGHTS)
    reference, x = tokenizers["AutoencoderKL"], images()
    latents = reference.encode(x)
    for name, file in write_single_files(state, tmp_path).items():
        loaded = SMALL_SD_VAE.load(str(file))
        assert torch.equal(loaded.encode(x), latents), name
        assert torch.equal(loaded.decode(latents), reference.decode(latents)), name


def test_key_mapping_agrees_with_the_converter_of_diffusers(folders):
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    released = as_latent_diffusion(load_file(folders["AutoencoderKL"] / WEIGHTS))
    theirs, ours = (
        convert_ldm_vae_checkpoint(dict(released), SMALL_KL),
        first_stage(released, SMALL_KL),
    )
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key].reshape(ours[key].shape), ours[key]) for key in ours)


def test_a_pipeline_folder_is_searched_in_its_subfolder(folders, tmp_path):
    (tmp_path / "vae").symlink_to(folders["AutoencoderKL"])
    assert SD_VAE.files(str(tmp_path))[0] == tmp_path / "vae" / "config.json"


class Payload:
    def __reduce__(self):
        return (open, (PAYLOAD_TARGET, "w"))


PAYLOAD_TARGET = ""


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    target = tmp_path / "written-by-the-pickle"
    monkeypatch.setattr(sys.modules[__name__], "PAYLOAD_TARGET", str(target))
    torch.save({"state_dict": {"encoder.conv_in.bias": Payload()}}, tmp_path / "new.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({"state_dict": Payload()}))
    for name in ("new.ckpt", "old.ckpt"):
        with pytest.raises(BenchError, match="is refused: it is a pickle"):
            SMALL_SD_VAE.load(str(tmp_path / name))
    assert not target.exists()


def test_damaged_and_foreign_files_are_named_with_what_does_not_fit(folders, tmp_path):
    state = load_file(folders["AutoencoderKL"] / WEIGHTS)
    whole = (folders["AutoencoderKL"] / WEIGHTS).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file(
        {k: v for k, v in state.items() if k != "quant_conv.bias"}, tmp_path / "l.safetensors"
    )
    save_file(state | {"extra": torch.ones(1)}, tmp_path / "m.safetensors")
    save_file(state | {"quant_conv.bias": torch.ones(3)}, tmp_path / "s.safetensors")
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name, text in (
        ("cut.safetensors", "no whole safetensors file"),
        ("l.safetensors", "lacks 1 tensors, first 'quant_conv.bias'"),
        ("m.safetensors", "also holds 1 tensors, first 'extra'"),
        ("s.safetensors", "shapes other 1 tensors, first 'quant_conv.bias'"),
        ("list.ckpt", "holds no tensors by name"),
    ):
        with pytest.raises(BenchError, match=re.escape(text)):
            SMALL_SD_VAE.load(str(tmp_path / name))


def test_a_folder_of_another_class_is_refused_with_the_name_that_fits(folders):
    with pytest.raises(BenchError, match="describes 'VQModel'; diffusers takes AutoencoderKL or"):
        ANY_DIFFUSERS.load(str(folders["VQModel"]))
    assert ANY_DIFFUSERS.load(str(folders["AutoencoderTiny"])).factor == 8


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is no JSON"),
        ("[1, 2]", "holds a list, not an object"),
        ({"latent_channels": -4}, "latent_channels is -4; counts are 0 or more"),
        ({"block_out_channels": [8, 8, 16, -16]}, r"block_out_channels is \[8, 8, 16, -16\]"),
        ({"norm_num_groups": -4}, "norm_num_groups is -4"),
        ({"scaling_factor": -0.18}, "scaling_factor is -0.18, not a positive number"),
        ({"scaling_factor": 0}, "scaling_factor is 0, not a positive number"),
        ({"scaling_factor": "1"}, "scaling_factor is '1', not a positive number"),
        ({"block_out_channels": 8}, "describes no AutoencoderKL that diffusers"),
        ({"norm_num_groups": 0}, "describes no AutoencoderKL that diffusers"),
        ({"down_block_types": ["NoSuchBlock"] * 4}, "describes no AutoencoderKL that diffusers"),
    ],
)
def test_a_damaged_config_is_named_with_the_rule(text, message, folders, tmp_path):
    config = json.loads((folders["AutoencoderKL"] / "config.json").read_text())
    damaged = text if isinstance(text, str) else json.dumps(config | text)
    (tmp_path / "config.json").write_text(damaged)
    (tmp_path / WEIGHTS).symlink_to(folders["AutoencoderKL"] / WEIGHTS)
    with pytest.raises(BenchError, match=rf"config\.json.*{message}"):
        SD_VAE.load(str(tmp_path))


def test_half_precision_files_are_loaded_as_float32(folders, tmp_path):
    for name in TAESD.wanted:
        (tmp_path / name).write_bytes((folders["AutoencoderTiny"] / name).read_bytes())
    halved = {k: v.half() for k, v in load_file(tmp_path / WEIGHTS).items()}
    save_file(halved, tmp_path / WEIGHTS)
    loaded = TAESD.load(str(tmp_path))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("spec", [SD_VAE, TAESD, TINY_KL_SPEC, TINY_VQ_SPEC], ids=lambda s: s.name)
def test_declared_size_is_the_architectures_without_reading_weights(spec, monkeypatch):
    monkeypatch.setenv(spec.variable, "/no/such/place")
    with torch.device("meta"):
        tokenizer = spec.load(weights=False)
    assert sum(p.numel() for p in tokenizer.parameters()) == spec.parameters
    assert (tokenizer.latent_channels, tokenizer.factor) == (spec.latent_channels, spec.factor)
    assert tokenizer.weights_hash == "untrained"


# -- the contract -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_shapes_types_and_what_a_cell_records(name, tokenizers):
    tokenizer = tokenizers[name]
    latents = tokenizer.encode(images(2, 32))
    assert (latents.shape, latents.dtype) == ((2, 4, 4, 4), torch.float32)
    assert tokenizer.decode(latents).shape == (2, 3, 32, 32)
    assert len(tokenizer.weights_hash) == 64
    assert tokenizer.has_posterior == (name == "AutoencoderKL")
    assert tokenizer.num_tokens == (32 if name == "VQModel" else None)


@pytest.mark.parametrize("name", CLASSES)
def test_a_tokenizer_stays_frozen_inside_a_method_that_trains(name, tokenizers):
    tokenizer = tokenizers[name]
    method = torch.nn.ModuleDict({"tokenizer": tokenizer, "head": torch.nn.Conv2d(4, 4, 1)}).train()
    assert not any(module.training for module in tokenizer.modules())
    latents = method["head"](tokenizer.encode(images()))
    tokenizer.decode(latents).mean().backward()
    assert method["head"].weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in tokenizer.parameters())


def test_scaled_latents_and_posterior_are_the_models_times_its_factor(tokenizers):
    tokenizer, x = tokenizers["AutoencoderKL"], images()
    found = tokenizer.model.encode(x * 2 - 1).latent_dist
    mean, std = tokenizer.posterior(x)
    assert torch.allclose(mean, found.mean * 0.18215)
    assert torch.allclose(std, found.std * 0.18215)
    assert torch.equal(tokenizer.encode(x), mean)
    for name in ("VQModel", "AutoencoderTiny"):
        with pytest.raises(ValueError, match="has no posterior"):
            tokenizers[name].posterior(x)


def test_tokens_and_quantised_latents_say_the_same(tokenizers):
    tokenizer, x = tokenizers["VQModel"], images()
    tokens = tokenizer.encode_tokens(x)
    assert (tokens.shape, tokens.dtype) == ((2, 4, 4), torch.int64)
    assert len(tokens.unique()) > 1
    decoded = tokenizer.decode(tokenizer.encode(x))
    assert torch.allclose(tokenizer.decode_tokens(tokens), decoded, atol=1e-6)
    with pytest.raises(ValueError, match="continuous"):
        tokenizers["AutoencoderKL"].encode_tokens(x)


def test_predicted_latents_are_quantised_on_the_way_out(tokenizers):
    tokenizer = tokenizers["VQModel"]
    latents = tokenizer.encode(images())
    nearby = latents + 1e-3
    assert torch.allclose(tokenizer.decode(nearby), tokenizer.decode(latents), atol=1e-5)


def directional_difference(decode, latents: torch.Tensor, direction: torch.Tensor) -> float:
    step = 1e-5
    up, down = (decode(latents + sign * step * direction) for sign in (1, -1))
    return float((up - down) / (2 * step))


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderTiny"])
def test_gradients_through_decode_equal_finite_differences(name, folders):
    spec = SD_VAE if name == "AutoencoderKL" else TAESD
    tokenizer = spec.load(str(folders[name])).double()
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    latents = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)
    direction = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)

    def decode(z):
        return (tokenizer.decode(z) * weight).sum()

    latents.requires_grad_()
    decode(latents).backward()
    slope = float((latents.grad * direction).sum())
    measured = directional_difference(decode, latents.detach(), direction)
    assert slope == pytest.approx(measured, rel=1e-6)


def test_gradients_of_a_discrete_decode_are_those_at_the_quantised_latents(folders):
    """Straight through: the quantiser counts as the identity."""
    tokenizer = VQ.load(str(folders["VQModel"])).double()
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    latents = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    direction = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)
    (tokenizer.decode(latents) * weight).sum().backward()
    with torch.no_grad():
        raw = latents / tokenizer.scale
        quantised = tokenizer._embeddings(tokenizer._tokens(raw)) * tokenizer.scale

    def painted(z):
        return (tokenizer._paint(z / tokenizer.scale) * weight).sum()

    slope = float((latents.grad * direction).sum())
    assert slope == pytest.approx(directional_difference(painted, quantised, direction), rel=1e-6)


# Stated tolerances: bfloat16 keeps 8 bits, so latents agree to 3 % of their SD and images to
# 0.03 of the range on average; float32 on another device to 1e-3.
BF16 = 0.03
DEVICES = 1e-3


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderTiny"])
def test_bf16_agrees_to_the_stated_tolerance(name, tokenizers):
    tokenizer, x = tokenizers[name], images()
    latents = tokenizer.encode(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, decoded = tokenizer.encode(x), tokenizer.decode(latents)
    assert (rough.dtype, decoded.dtype) == (torch.float32, torch.float32)
    assert (rough - latents).abs().mean() <= BF16 * latents.std()
    assert (decoded - tokenizer.decode(latents)).abs().mean() <= BF16


def test_bf16_leaves_nearly_all_tokens_as_they_are(tokenizers):
    tokenizer, x = tokenizers["VQModel"], images(4)
    tokens = tokenizer.encode_tokens(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = tokenizer.encode_tokens(x)
        decoded = tokenizer.decode_tokens(tokens)
    assert (rough == tokens).float().mean() >= 0.9
    assert (decoded - tokenizer.decode_tokens(tokens)).abs().mean() <= BF16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
@pytest.mark.parametrize("name", CLASSES)
def test_cpu_and_gpu_agree_to_the_stated_tolerance(name, folders):
    spec = {"AutoencoderKL": SD_VAE, "VQModel": VQ, "AutoencoderTiny": TAESD}[name]
    here, there = spec.load(str(folders[name])), spec.load(str(folders[name])).to("cuda")
    x = images()
    latents = here.encode(x)
    if name == "VQModel":
        same = here.encode_tokens(x) == there.encode_tokens(x.cuda()).cpu()
        assert same.float().mean() >= 0.9  # a tie between codes may fall the other way
    else:
        assert (there.encode(x.cuda()).cpu() - latents).abs().max() <= DEVICES
    assert (there.decode(latents.cuda()).cpu() - here.decode(latents)).abs().max() <= DEVICES


# -- what ships -------------------------------------------------------------------------------

EMBEDDED = pytest.mark.parametrize("spec", [TINY_KL_SPEC, TINY_VQ_SPEC], ids=lambda s: s.name)


@EMBEDDED
def test_embedded_weights_are_fp16_at_most_4_mb_and_have_a_card(spec):
    folder = Path(spec.files()[0]).parent
    assert (folder / WEIGHTS).stat().st_size <= 4_000_000
    assert {v.dtype for v in load_file(folder / WEIGHTS).values()} == {torch.float16}
    card = json.loads((folder / "card.json").read_text())
    assert card["weights_sha256"] == spec.row()["weights_hash"]
    assert card["licence"] == "Apache-2.0"
    assert "never trained on real images" in (folder / "README.md").read_text()


@EMBEDDED
def test_embedded_tokenizers_give_phantom_masks_back(spec):
    from bench.tokenizers.evaluation import evaluate, phantom_sets

    table = evaluate(spec.load(), phantom_sets(96, count=3)).table()
    assert table["dice"].min() >= (0.98 if spec.role == "continuous" else 0.96)
    assert table["psnr"].min() >= 17


def test_latents_of_the_embedded_continuous_tokenizer_have_unit_scale():
    from bench.tokenizers.evaluation import mask_images, phantom_sets

    tokenizer = TINY_KL_SPEC.load()
    spread = [float(tokenizer.encode(mask_images(s.masks)).std()) for s in phantom_sets(96, 2)]
    assert all(0.3 <= sd <= 2.0 for sd in spread)
