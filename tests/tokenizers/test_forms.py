"""A loaded tokenizer's cheaper forms beside the published network: restructured, and in bfloat16."""

import copy

import diffusers
import pytest
import torch
from generative_doubles import SMALL_KL, SMALL_TINY, SMALL_VQ
from torch import Tensor

from bench.tokenizers.autoencoders import WRAPPERS
from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.builtin import TINY_KL_SPEC
from bench.tokenizers.half import HalfTokenizer
from bench.tokenizers.restructured import DoublingConv

BLOCKS_AT_FULL_SIZE = SMALL_TINY | {"num_decoder_blocks": (1, 1, 1, 1)}
CONFIGS = {"kl": SMALL_KL, "vq": SMALL_VQ, "tiny": SMALL_TINY, "taesd": BLOCKS_AT_FULL_SIZE}


def published(name: str) -> FrozenTokenizer:
    config = CONFIGS[name]
    torch.manual_seed(0)
    model = getattr(diffusers, config["_class_name"]).from_config(config)
    if config["_class_name"] == "VQModel":  # diffusers' own start puts all codes in one point
        torch.nn.init.normal_(model.quantize.embedding.weight)
    return WRAPPERS[config["_class_name"]](model)


def restructured(name: str) -> FrozenTokenizer:
    tokenizer = published(name)
    tokenizer.restructure()
    return tokenizer


def latents(seed: int = 1) -> Tensor:
    return torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def decoded_and_gradient(tokenizer: FrozenTokenizer, form: str) -> tuple[Tensor, Tensor]:
    z = latents().requires_grad_()
    picture = getattr(tokenizer, form)(z)
    weights = torch.randn(picture.shape, generator=torch.Generator().manual_seed(2))
    (picture * weights).sum().backward()
    return picture.detach(), z.grad


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one.flatten().double(), other.flatten().double(), 0))


@pytest.mark.parametrize("form", ["decode", "decode_mean"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_restructured_decoder_gives_the_same_pictures_and_gradients(name, form):
    wanted, slope = decoded_and_gradient(published(name), form)
    found, gradient = decoded_and_gradient(restructured(name), form)
    assert found.shape == wanted.shape == ((2, 3, 32, 32) if form == "decode" else (2, 1, 32, 32))
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 5e-6
    assert cosine(gradient, slope) > 1 - 1e-8


@pytest.mark.parametrize("name", CONFIGS)
def test_every_doubling_of_a_decoder_is_restructured(name):
    decoding = [m for m in restructured(name).modules() if isinstance(m, DoublingConv)]
    # The last one of "tiny" has two forms: for three colours, and for their mean.
    assert len(decoding) == (4 if name == "tiny" else 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_restructuring_keeps_the_encoder_and_the_number_of_parameters(name):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    plain, other = published(name), restructured(name)
    assert torch.equal(plain.encode(images), other.encode(images))
    counts = [sum(p.numel() for p in one.parameters()) for one in (plain, other)]
    assert counts[0] == counts[1]


def test_only_tokenizers_with_weights_are_restructured():
    """What is counted is the published network."""
    kinds = [type(m) for m in TINY_KL_SPEC.load(weights=False).modules()]
    assert DoublingConv not in kinds
    assert DoublingConv in [type(m) for m in TINY_KL_SPEC.load().modules()]


@pytest.mark.parametrize("name", CONFIGS)
def test_rounded_weights_decode_and_slope_alike(name):
    tokenizer = restructured(name)
    wanted, slope = decoded_and_gradient(tokenizer, "decode_mean")
    with torch.autocast("cpu", torch.bfloat16):
        found, gradient = decoded_and_gradient(HalfTokenizer(tokenizer), "decode_mean")
    assert found.dtype == torch.float32
    assert 0 < float((found - wanted).abs().max() / wanted.abs().max()) < 0.05
    assert cosine(gradient, slope) > 0.99


def test_weights_are_rounded_under_autocast_alone():
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    tokenizer = restructured("kl")
    half, wanted = HalfTokenizer(tokenizer), tokenizer.encode(images)
    assert torch.equal(half.encode(images), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert 0 < float((half.encode(images) - wanted).abs().max() / wanted.abs().max()) < 0.05


def test_with_autocast_every_weight_that_runs_is_rounded(monkeypatch):
    """No layer rounds weights while it runs: none is in float32, and autocast is off."""
    half = HalfTokenizer(restructured("kl"))
    inner, seen = half._half[0], []

    def look(module, arguments):
        seen.append(torch.is_autocast_enabled("cpu"))
        assert {t.dtype for t in module.state_dict().values()} <= {torch.bfloat16}

    for module in inner.modules():
        module.register_forward_pre_hook(look)
    with torch.autocast("cpu", torch.bfloat16):
        half.decode_mean(latents())
        half.encode(torch.rand(1, 3, 32, 32))
    assert seen and not any(seen)


def test_a_codebook_is_not_rounded():
    tokenizer, codes = restructured("vq"), torch.arange(32).view(2, 4, 4)
    inner = HalfTokenizer(tokenizer)._half[0]
    embeddings = tokenizer._embeddings(codes)
    assert torch.equal(inner._embeddings(codes), embeddings)
    assert torch.equal(inner._tokens(embeddings), codes)


def test_the_rounded_copy_is_neither_counted_nor_stored_and_moves_along():
    tokenizer = restructured("kl")
    half = HalfTokenizer(copy.deepcopy(tokenizer))
    counts = [sum(p.numel() for p in one.parameters()) for one in (half, tokenizer)]
    assert counts[0] == counts[1]
    assert len(half.state_dict()) == len(tokenizer.state_dict())
    half.to(memory_format=torch.channels_last)
    kernel = half._half[0].model.decoder.conv_in.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert kernel.dtype == torch.bfloat16
