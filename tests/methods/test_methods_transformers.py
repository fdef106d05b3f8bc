"""SwinUNet, SME-SwinUNet and UCTransNet: exact counts, the originals' numbers, pretrained files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import BuildContext, MethodSpec
from bench.core.errors import BenchError
from methods import sme_swin_unet, swin_unet, uctransnet
from methods.layers import swin
from methods.layers.channel_transformer import ChannelAttention, ChannelTransformer
from methods.layers.swin import PatchExpand, load_pretrained
from methods.sme_swin_unet import ExternalAttention, SMESwinUNet, superpixel_outlines
from methods.swin_unet import SwinUNet
from methods.uctransnet import ChannelGate, GatedUpLevel, UCTransNet

SPECS = [swin_unet.SPEC, sme_swin_unet.SPEC, uctransnet.SPEC]
ARCHITECTURE = BuildContext(load_weights=False)


def meta(spec: MethodSpec) -> nn.Module:
    with torch.device("meta"):
        return spec.build(spec.settings(), ARCHITECTURE).eval()


@pytest.mark.parametrize(
    "spec, tensors, params, gmacs",
    [
        (swin_unet.SPEC, 218, 27_168_132, 6.07125),
        (sme_swin_unet.SPEC, 512, 169_790_777, 6.37051),
        (uctransnet.SPEC, 370, 66_430_657, 38.5776),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_counts_of_the_fact_sheet(spec, tensors, params, gmacs):
    network = meta(spec)
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.empty(1, 3, 224, 224, device="meta"))
    assert logits.shape == (1, 1, 224, 224)
    assert len(list(network.parameters())) == tensors
    assert sum(p.numel() for p in network.parameters()) == params
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=2e-6)


def waves(network: nn.Module) -> nn.Module:
    """Weights that any implementation can repeat: ones become 1 + 0.1 sine, the rest 0.05 sine."""
    with torch.no_grad():
        for index, p in enumerate(network.parameters()):
            wave = torch.sin(torch.arange(p.numel()) % 1009 * 0.7 + index).view_as(p)
            p.copy_(1 + 0.1 * wave if bool((p == 1).all()) else 0.05 * wave)
    return network.eval()


def picture() -> Tensor:
    ramp = torch.arange(224) / 223
    stripes = torch.sin(9 * ramp)[:, None].abs() * ramp
    return torch.stack([ramp[:, None] * ramp, (ramp[:, None] - ramp).abs(), stripes])[None]


ORIGINALS = {  # logits at rows and columns 0, 75, 150, from the code named in each method's file
    "swin_unet": [
        [0.00470, 0.12132, 0.01193],
        [-0.05544, 0.04678, -0.00330],
        [-0.01930, 0.01318, -0.09590],
    ],
    "sme_swin_unet": [
        [0.03398, 0.05488, 0.05075],
        [0.05296, -0.01714, -0.03029],
        [0.01389, 0.04644, 0.03990],
    ],
    "uctransnet": [
        [-0.05215, -0.05243, -0.05228],
        [-0.05343, -0.05106, -0.05228],
        [-0.05575, -0.07135, -0.07438],
    ],
}


@pytest.mark.parametrize(
    "name, make",
    [
        ("swin_unet", lambda: SwinUNet(embed_dim=24)),
        ("sme_swin_unet", lambda: SMESwinUNet(embed_dim=12)),
        ("uctransnet", lambda: UCTransNet(base_channels=8)),
    ],
)
def test_same_weights_give_the_original_logits(name, make, monkeypatch):
    # Superpixels depend on scikit-image's version, so both sides skip them here.
    monkeypatch.setattr(sme_swin_unet, "superpixel_outlines", lambda images: images)
    with torch.no_grad():
        logits = waves(make())(picture())
    assert logits[0, 0, ::75, ::75].numpy() == pytest.approx(np.array(ORIGINALS[name]), abs=2e-5)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_another_image_size_is_refused_with_the_size_it_takes(spec):
    with pytest.raises(ValueError, match=r"got \(1, 3, 96, 96\).*Resize to 224"):
        meta(spec)(torch.empty(1, 3, 96, 96, device="meta"))


@pytest.mark.parametrize(
    "spec, optimizer, lr, momentum, weight_decay",
    [
        (swin_unet.SPEC, "sgd", 5e-4, 0.9, 1e-4),
        (sme_swin_unet.SPEC, "sgd", 5e-4, 0.9, 1e-4),
        (uctransnet.SPEC, "adam", 1e-3, None, 0.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_native_recipes(spec, optimizer, lr, momentum, weight_decay):
    recipe = spec.recipe
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == (optimizer, lr, weight_decay)
    assert momentum is None or recipe.momentum == momentum
    assert (recipe.batch_size, recipe.schedule, recipe.period) == (12, "cosine-restarts", 10)


# Swin


def rates(stage) -> list[float]:
    return [getattr(block.drop_path1, "drop_prob", 0.0) for block in stage.blocks]


def test_drop_path_rises_over_the_encoder_and_the_decoder_repeats_it():
    network = SwinUNet(embed_dim=6, drop_path=0.7)
    encoder = [rate for stage in network.encoder for rate in rates(stage)]
    decoder = [rate for stage in network.decoder[1:] for rate in rates(stage)]
    assert encoder == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert decoder == pytest.approx([0.4, 0.5, 0.2, 0.3, 0.0, 0.1])


def test_expanding_makes_four_pixels_of_each_row_by_row():
    expand = PatchExpand(channels=4, out_channels=2, factor=2)
    expand.norm = nn.Identity()
    with torch.no_grad():
        expand.expand.weight.copy_(torch.arange(8.0)[:, None].expand(8, 4) / 4)
    pixels = expand(torch.ones(1, 1, 1, 4))
    assert pixels[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def swin_file(path, embed_dim: int = 24, depths=(2, 2, 6, 2)) -> SwinTransformer:
    """A random Swin Transformer of timm, stored at `path` as timm stores it."""
    torch.manual_seed(1)
    model = SwinTransformer(embed_dim=embed_dim, depths=depths, num_classes=5).eval()
    save_file(model.state_dict(), path)
    return model


def test_a_file_of_timm_makes_our_encoder_the_one_of_timm(tmp_path):
    model = swin_file(tmp_path / "swin.safetensors", depths=(2, 2, 2, 2))
    network = SwinUNet(embed_dim=24).eval()
    load_pretrained(network, str(tmp_path / "swin.safetensors"))
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        bottleneck, _ = network.encode(images)
        assert torch.equal(bottleneck, model.forward_features(images))


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.name)
def test_decoder_stages_load_the_encoder_blocks_of_their_width(spec, tmp_path):
    path = tmp_path / "swin.safetensors"
    model = swin_file(path)
    network = spec.build(spec.settings(pretrained=str(path), embed_dim=24), BuildContext())
    network = getattr(network, "swin", network)
    fresh = spec.build(spec.settings(pretrained="none", embed_dim=24), BuildContext())
    assert sorted(getattr(fresh, "swin", fresh).state_dict()) == sorted(network.state_dict())
    for stage, source in zip(network.decoder[1:], model.layers[2::-1], strict=True):
        for block, other in zip(stage.blocks, source.blocks, strict=False):  # of six, two fit
            theirs = other.state_dict()
            assert all(torch.equal(v, theirs[k]) for k, v in block.state_dict().items())
    assert bool((network.norm_up.weight == 1).all())  # 24 wide, not the file's 192


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.name)
def test_imagenet_weights_out_of_reach_stop_the_build_and_name_the_way_out(spec, monkeypatch):
    def offline(repo: str, file: str) -> str:
        raise OSError("no network.")

    monkeypatch.setattr(swin, "hf_hub_download", offline)
    with pytest.raises(BenchError) as caught, torch.device("meta"):
        spec.build(spec.settings(), BuildContext())
    for part in (
        "timm/swin_tiny_patch4_window7_224.ms_in1k/model.safetensors",
        "no network.",
        "pretrained=FILE.safetensors",
        "pretrained=none",
    ):
        assert part in str(caught.value)


def test_counting_reads_no_weights(monkeypatch):
    monkeypatch.setattr(swin, "hf_hub_download", lambda *_: pytest.fail("fetched"))
    swin_unet.SPEC.build(swin_unet.SPEC.settings(embed_dim=6), ARCHITECTURE)


@pytest.mark.parametrize(
    "pretrained, message",
    [
        ("imagnet", "No file imagnet with pretrained Swin weights. pretrained is imagenet, none,"),
        (
            "wide.safetensors",
            r"shape \(24, 3, 4, 4\); this network needs \(12, 3, 4, 4\). Set embed",
        ),
        ("short.safetensors", "has no tensor 'layers.3.blocks.1.norm1.weight'"),
        ("text.safetensors", "text.safetensors is not a safetensors file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(pretrained, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swin_file(tmp_path / "wide.safetensors")
    swin_file(tmp_path / "short.safetensors", embed_dim=12, depths=(2, 2, 2, 1))
    (tmp_path / "text.safetensors").write_text("not weights, but long enough to hold a header")
    with pytest.raises(BenchError, match=message):
        load_pretrained(SwinUNet(embed_dim=12), pretrained)


# SME-SwinUNet


def test_unused_parameters_are_those_without_gradient():
    torch.manual_seed(0)
    network = SMESwinUNet(embed_dim=6)
    network(torch.rand(1, 3, 224, 224)).mean().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert idle == set(network.unused_parameters)


def test_unused_parameters_of_the_published_width():
    network = meta(sme_swin_unet.SPEC)
    named = dict(network.named_parameters())
    assert len(network.unused_parameters) == 21
    assert sum(named[name].numel() for name in network.unused_parameters) == 32_933


def test_superpixel_borders_are_yellow_on_an_otherwise_unchanged_image():
    images = torch.zeros(2, 3, 64, 64)
    images[0, :, :, 32:] = 1
    drawn = superpixel_outlines(images)
    yellow = (drawn == torch.tensor([1.0, 1.0, 0.0])[:, None, None]).all(dim=1)
    assert drawn.dtype == torch.float32 and drawn.shape == images.shape
    assert yellow[0, :, 31:33].any(dim=1).all()  # the edge between black and white
    assert torch.equal(drawn[0][:, ~yellow[0]], images[0][:, ~yellow[0]])
    assert 0.05 < yellow[0].float().mean() < 0.6


def test_superpixels_of_an_image_do_not_depend_on_the_threads(monkeypatch):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([superpixel_outlines(image[None]) for image in images])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(superpixel_outlines(images), alone)


def test_external_attention_leaves_rank_eight():
    torch.manual_seed(0)
    attention = ExternalAttention(32)
    nn.init.normal_(attention.key.weight)
    nn.init.normal_(attention.value.weight)
    out = attention(torch.randn(1, 100, 32))
    assert int(torch.linalg.matrix_rank(out[0])) == 8


def test_the_channel_transformer_shifts_each_channel_of_a_skip_by_a_constant():
    torch.manual_seed(0)
    sides = (16, 8, 4, 2)
    transformer = ChannelTransformer((2, 4, 8, 16), sides, patches=sides).eval()
    maps = [torch.rand(1, c, s, s) for c, s in zip((2, 4, 8, 16), sides, strict=True)]
    for old, new in zip(maps, transformer(maps), strict=True):
        assert (new - old).flatten(2).std(dim=2).max() < 1e-6


# UCTransNet


def test_channel_attention_is_its_formula():
    """Queries of one level against keys of all, heads averaged, written once more with einsum."""
    torch.manual_seed(0)
    attention = ChannelAttention((3, 5), heads=2, dropout=0.1).eval()
    levels = [torch.randn(1, 4, 3), torch.randn(1, 4, 5)]
    everything = torch.randn(1, 4, 8)
    heads = []
    for h in range(2):
        query = levels[1][0] @ attention.query[1][h].weight.T
        key, value = (everything[0] @ m[h].weight.T for m in (attention.key, attention.value))
        scores = torch.einsum("pc,pd->cd", query, key) / 8**0.5
        scores = (scores - scores.mean()) / (scores.var(unbiased=False) + 1e-5).sqrt()
        heads.append(torch.einsum("cd,pd->pc", scores.softmax(dim=1), value))
    expected = (heads[0] + heads[1]) / 2 @ attention.out[1].weight.T
    assert torch.allclose(attention(levels, everything)[1][0], expected, atol=1e-6)


def test_levels_with_unequal_tokens_are_refused():
    with pytest.raises(ValueError, match="same number of tokens"):
        ChannelTransformer((2, 4), sides=(16, 8), patches=(4, 4))


def test_a_gate_without_opinion_halves_the_skip_and_cuts_it_at_zero():
    gate = ChannelGate(1)
    for p in gate.parameters():
        nn.init.zeros_(p)
    skip = torch.tensor([[[[2.0, -2.0]]]])
    assert gate(torch.ones(1, 1, 1, 2), skip).tolist() == [[[[1.0, 0.0]]]]


def test_the_gated_skip_comes_before_the_enlarged_feature():
    level = GatedUpLevel(1, 1)
    level.units, level.gate = nn.Identity(), nn.Identity()
    level.gate.forward = lambda x, skip: skip
    joined = level(torch.tensor([[[[1.0]]]]), torch.full((1, 1, 2, 2), 7.0))
    assert joined.tolist() == [[[[7, 7], [7, 7]], [[1, 1], [1, 1]]]]
