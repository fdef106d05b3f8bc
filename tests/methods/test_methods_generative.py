"""The diffusion methods and GSS: exact counts, their arithmetic, and what each says of its start."""

import math

import pytest
import torch
from generative_doubles import UntrainedKL, UntrainedVQ, sd_vae, small_kl
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Batch, BuildContext
from bench.core.errors import BenchError
from bench.tokenizers.dalle import DALLE
from methods import gss, medsegdiff_v2, sdseg
from methods.layers.diffusion import (
    Schedule,
    linear_betas,
    make_scheduler,
    run_unet,
    sample,
    scaled_linear_betas,
)
from methods.layers.sdseg_weights import copy_released_unet, layer_pairs, read_weights


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def gmacs(run) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2e9


def reduced(method, tokenizer=None, size: int = 32, **settings):
    chosen = method.SPEC.settings(**(method.SPEC.reduced | settings))
    return method.SPEC.build(chosen, BuildContext(size, tokenizer, load_weights=False))


def batch_of(n: int, size: int) -> Batch:
    images, masks = torch.rand(n, 3, size, size), torch.zeros(n, 1, size, size)
    masks[..., size // 4 : size // 2, size // 4 :] = 1
    return Batch(images, masks)


# --- counts of the fact sheet -------------------------------------------------------------------


def test_counts_of_medsegdiff():
    with torch.device("meta"):
        method = medsegdiff_v2.build(medsegdiff_v2.MedSegDiffSettings(), BuildContext()).eval()
        step = gmacs(lambda: method.predict_step(torch.empty(1, 3, 224, 224)))
    assert trainable(method.denoiser) == 113_673_218
    assert trainable(method.condition) == 15_727_232
    assert trainable(method) == 129_400_450
    assert step == pytest.approx(199.5084, abs=5e-5)


def test_counts_of_sdseg():
    with torch.device("meta"):
        method = sdseg.build(sdseg.SDSegSettings(), BuildContext(256, sd_vae(), False)).eval()
        inference = gmacs(lambda: method.predict(torch.empty(1, 3, 256, 256)))
    assert trainable(method.denoiser) == 294_973_828
    assert trainable(method.condition) == 34_163_628
    assert trainable(method) == 329_137_456
    assert sum(p.numel() for p in method.parameters()) == 412_791_319
    assert inference == pytest.approx(468.3854, abs=5e-5)


@pytest.mark.parametrize(
    "backbone, count, operations",
    [("swin_t", 49_764_572, 540.838), ("resnet50", 49_892_194, 563.868)],
)
def test_counts_of_gss(backbone, count, operations):
    with torch.device("meta"):
        tokenizer = DALLE.load(weights=False)
        method = gss.build(
            gss.GSSSettings(backbone=backbone), BuildContext(224, tokenizer, False)
        ).eval()
        inference = gmacs(lambda: method.predict(torch.empty(1, 3, 224, 224)))
    assert trainable(method) == count
    assert sum(p.numel() for p in tokenizer.parameters()) == 97_616_006
    assert inference == pytest.approx(operations, abs=5e-4)


# --- diffusion arithmetic -----------------------------------------------------------------------


def test_betas_are_those_of_the_papers():
    plain, rooted = linear_betas(1e-4, 0.02), scaled_linear_betas(0.0015, 0.0155)
    assert plain[[0, 999]].tolist() == pytest.approx([1e-4, 0.02])
    assert plain.diff().std() < 1e-12
    assert rooted[[0, 999]].tolist() == pytest.approx([0.0015, 0.0155])
    assert rooted.sqrt().diff().std() < 1e-12


def test_at_the_last_step_sdsegs_x0_multiplies_errors_39_fold():
    schedule = Schedule(scaled_linear_betas(0.0015, 0.0155))
    last = torch.tensor([999])
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    gain = schedule.x0_of(zero, last, zero) - schedule.x0_of(zero, last, one)
    assert float(gain) == pytest.approx(38.66, abs=0.01)


def test_x0_of_inverts_add_noise():
    schedule = Schedule(linear_betas(1e-4, 0.02))
    x0, noise, t = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 10, 300])
    torch.testing.assert_close(
        schedule.x0_of(schedule.add_noise(x0, t, noise), t, noise), x0, rtol=0, atol=1e-5
    )


def test_a_perfect_prediction_has_no_variational_cost():
    schedule = Schedule(linear_betas(1e-4, 0.02))
    x0, noise, t = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.tensor([5, 50])
    xt = schedule.add_noise(x0, t, noise)
    posterior = torch.full_like(x0, -1)
    bound = schedule.variational_bound(x0, xt, t, x0, posterior)
    torch.testing.assert_close(bound, torch.zeros(2), rtol=0, atol=1e-4)
    assert (schedule.variational_bound(x0, xt, t, x0 + 1, posterior) > bound).all()
    assert (schedule.variational_bound(x0, xt, t, x0, posterior + 2) > bound).all()


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm"])
@pytest.mark.parametrize("predicts", ["epsilon", "sample"])
def test_samplers_return_the_picture_that_a_perfect_denoiser_knows(sampler, predicts):
    torch.manual_seed(0)
    schedule = Schedule(linear_betas(1e-4, 0.02))
    x0 = (torch.rand(1, 1, 8, 8) > 0.5).float()

    def denoise(xt, t):
        noise = (xt - schedule.at("signal", t) * x0) / schedule.at("noise", t)
        return (noise if predicts == "epsilon" else x0), torch.full_like(x0, -1)

    scheduler = make_scheduler(sampler, schedule.betas, predicts)
    drawn = sample(denoise, torch.randn(1, 1, 8, 8), scheduler, 20)
    torch.testing.assert_close(drawn, x0, rtol=0, atol=0.05)


# --- MedSegDiff-V2 ------------------------------------------------------------------------------


def test_the_diffusion_loss_does_not_train_the_condition_network():
    torch.manual_seed(0)
    method = reduced(medsegdiff_v2)
    parts = method.loss(batch_of(2, 32))
    (parts["prediction"] + parts["variance"]).backward()
    assert all(p.grad is None for p in method.condition.parameters())
    assert all(p.grad is not None for p in method.denoiser.parameters())


def test_medsegdiff_starts_by_predicting_no_noise():
    torch.manual_seed(0)
    parts = reduced(medsegdiff_v2, predict="noise").loss(batch_of(2, 32))
    assert parts["prediction"].item() == pytest.approx(1, abs=0.1)  # the noise's own variance
    expected = parts["prediction"] + parts["variance"] + 10 * parts["condition"]
    torch.testing.assert_close(parts["loss"], expected)


@pytest.mark.parametrize("predict", ["noise", "mask"])
def test_medsegdiffs_losses_of_a_perfect_and_of_a_constant_denoiser(monkeypatch, predict):
    """The condition network answers 0.5 everywhere; the denoiser is right, then 2 too high."""
    method, batch = reduced(medsegdiff_v2, predict=predict), batch_of(2, 32)
    half = torch.full((2, 1, 32, 32), 0.5)
    monkeypatch.setattr(method.condition, "forward", lambda images: (half, half))
    for offset in (0.0, 2.0):

        def denoise(images, features, xt, t, offset=offset):
            assert images is batch.images and features.equal(half)
            at = method.schedule.at
            noise = (xt - at("signal", t) * batch.masks) / at("noise", t)
            return (noise if predict == "noise" else batch.masks) + offset, -torch.ones_like(xt)

        monkeypatch.setattr(method, "denoise", denoise)
        torch.manual_seed(0)
        parts = {name: float(value) for name, value in method.loss(batch).items()}
        assert parts["prediction"] == pytest.approx(offset**2, abs=1e-4)
        assert parts["condition"] == pytest.approx(0.25)
        if not offset:
            assert parts["variance"] == pytest.approx(0, abs=1e-3)
        assert parts["loss"] == pytest.approx(
            parts["prediction"] + parts["variance"] + 10 * 0.25, rel=1e-5
        )


def test_the_variance_term_does_not_move_the_prediction():
    torch.manual_seed(0)
    method = reduced(medsegdiff_v2, predict="noise")
    method.loss(batch_of(2, 32))["variance"].backward()
    last = method.denoiser.conv_out.weight.grad  # (prediction, variance mix)
    assert last[0].eq(0).all() and last[1].ne(0).any()


def test_medsegdiff_fuses_as_many_draws_as_asked_clamped_to_probabilities(monkeypatch):
    draws = iter([-1.0, 0.5, 4.0])
    monkeypatch.setattr(
        medsegdiff_v2, "sample", lambda denoise, noise, *_: torch.full_like(noise, next(draws))
    )
    method = reduced(medsegdiff_v2, samples=3, ensemble="mean").eval()
    probs = method.predict(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(probs, torch.full((2, 1, 32, 32), 0.5))  # of 0, 0.5 and 1


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm"])
@pytest.mark.parametrize("predict", ["noise", "mask"])
def test_every_sampler_gives_probabilities_in_the_stated_steps(sampler, predict):
    torch.manual_seed(0)
    method = reduced(medsegdiff_v2, sampler=sampler, predict=predict, steps=3, samples=2).eval()
    calls = []
    method.denoiser.conv_in.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        probs = method.predict(torch.rand(1, 3, 32, 32))
    assert len(calls) == 3 * 2
    assert probs.shape == (1, 1, 32, 32) and probs.dtype == torch.float32
    assert 0 <= float(probs.min()) and float(probs.max()) <= 1


def votes(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).view(len(rows), 1, 1, 1, -1)


@pytest.mark.parametrize(
    "how, expected",
    [("mean", [1, 2 / 3, 1 / 3, 0]), ("as-released", [1, 4 / 9, 1 / 9, 0])],
)
def test_fusion_by_mean_and_as_released(how, expected):
    draws = votes([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])
    assert medsegdiff_v2.fuse(draws, how).flatten().tolist() == pytest.approx(expected)


def test_staple_trusts_the_raters_that_agree():
    honest = [1, 1, 1, 1, 0, 0, 0, 0]
    contrary = [0, 0, 0, 0, 1, 1, 1, 0]
    fused = medsegdiff_v2.fuse(votes(honest, honest, contrary), "staple").flatten()
    assert (fused > 0.5).int().tolist() == honest


@pytest.mark.parametrize("value", [0, 1])
def test_staple_of_unanimous_blank_votes(value):
    fused = medsegdiff_v2.fuse(votes(*[[value] * 4] * 3), "staple")
    assert (fused > 0.5).flatten().tolist() == [bool(value)] * 4


# --- SDSeg --------------------------------------------------------------------------------------


@pytest.fixture
def kl() -> UntrainedKL:
    torch.manual_seed(0)
    return small_kl()


def test_sdseg_divides_latents_by_the_first_batchs_deviation(kl):
    method = reduced(sdseg, kl, 128)
    first, second = batch_of(2, 128), batch_of(2, 128)
    second.masks = 1 - second.masks
    torch.testing.assert_close(method.mask_latents(first).std(), torch.tensor(1.0))
    kept = method.latent_std.clone()
    method.mask_latents(second)
    assert method.latent_std == kept > 0
    assert "latent_std" in method.state_dict()


def test_sdseg_never_measures_the_deviation_in_eval_mode(kl):
    method = reduced(sdseg, kl, 128).eval()
    method.mask_latents(batch_of(2, 128))
    assert method.latent_std == 0


def test_sdseg_trains_both_networks_and_predicts_in_one_step(kl):
    method = reduced(sdseg, kl, 128, predict="noise")
    parts = method.loss(batch_of(2, 128))
    torch.testing.assert_close(parts["loss"], parts["noise"] + parts["latent"])
    parts["loss"].backward()
    assert method.denoiser.conv_out.weight.grad is not None
    assert all(p.grad is None for p in kl.parameters())
    calls = []
    method.denoiser.conv_in.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        probs = method.eval().predict(torch.rand(1, 3, 128, 128))
    assert len(calls) == 1
    assert probs.shape == (1, 1, 128, 128)
    assert 0 <= float(probs.min()) and float(probs.max()) <= 1


@pytest.mark.parametrize("predict", ["noise", "latent"])
def test_sdsegs_losses_of_a_perfect_and_of_a_constant_denoiser(kl, monkeypatch, predict):
    """A U-Net that is off by 2 costs 2 in what it predicts; x0 is off by that over signal/noise."""
    method, batch = reduced(sdseg, kl, 128, predict=predict), batch_of(2, 128)
    x0 = torch.randn(2, 4, 16, 16)
    monkeypatch.setattr(method, "mask_latents", lambda given: x0)
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.tensor([10, 10]))
    at, t = method.schedule.at, torch.tensor([10, 10])
    gain = float((at("noise", t) / at("signal", t))[0])
    for offset in (0.0, 2.0):

        def denoise(xt, t, condition, offset=offset):
            noise = (xt - at("signal", t) * x0) / at("noise", t)
            return (noise if predict == "noise" else x0) + offset

        monkeypatch.setattr(method, "denoise", denoise)
        parts = {name: float(value) for name, value in method.loss(batch).items()}
        if predict == "noise":
            expected = {"latent": offset * gain, "noise": offset}
        else:
            expected = {"latent": offset}
        expected["loss"] = sum(expected.values())
        assert parts == pytest.approx(expected, abs=1e-4)


def test_sdseg_draws_mask_latents_from_the_masks_own_posterior(kl, monkeypatch):
    method, batch = reduced(sdseg, kl, 128), batch_of(2, 128)
    method.latent_std.fill_(2.0)
    seen = []

    def posterior(pictures):
        seen.append(pictures)
        return torch.full((2, 4, 64, 64), 3.0), torch.full((2, 4, 64, 64), 0.5)

    monkeypatch.setattr(kl, "posterior", posterior)
    latents = method.mask_latents(batch)
    assert seen[0].equal(batch.masks.expand(-1, 3, -1, -1))
    assert latents.mean().item() == pytest.approx(3 / 2, abs=0.01)  # divided by latent_std
    assert latents.std().item() == pytest.approx(0.5 / 2, rel=0.03)


def test_sdseg_predicts_at_the_last_step_and_undoes_the_scale(kl, monkeypatch):
    method = reduced(sdseg, kl, 128, predict="latent").eval()
    method.latent_std.fill_(2.0)
    steps, decoded = [], []

    def denoise(xt, t, condition):
        steps.append(t.tolist())
        return torch.full_like(xt, 0.7)

    def decode(latents):
        decoded.append(latents)
        return torch.tensor([-1.0, 0.5, 4.0]).view(1, 3, 1, 1).expand(2, 3, 128, 128)

    monkeypatch.setattr(method, "denoise", denoise)
    monkeypatch.setattr(kl, "decode", decode)
    probs = method.predict(torch.rand(2, 3, 128, 128))
    assert steps == [[999, 999]]
    torch.testing.assert_close(decoded[0].unique(), torch.tensor([1.4]))
    torch.testing.assert_close(probs, torch.full((2, 1, 128, 128), 0.5))  # mean of 0, 0.5 and 1


def test_sdseg_reads_cached_latents_only_where_there_is_no_posterior(kl, monkeypatch):
    assert reduced(sdseg, kl, 128).latent_inputs == ()
    monkeypatch.setattr(kl, "has_posterior", False)
    method, batch = reduced(sdseg, kl, 128).eval(), batch_of(2, 128)
    assert method.latent_inputs == ("mask",)
    with pytest.raises(ValueError, match="trains on batch.mask_latents"):
        method.mask_latents(batch)
    batch.mask_latents = torch.rand(2, 4, 16, 16)
    assert method.mask_latents(batch).equal(batch.mask_latents)


def test_sdseg_names_the_papers_weights_when_they_are_missing(kl):
    with pytest.raises(BenchError, match="LSUN-Churches-256.*pretrained=none"):
        sdseg.build(sdseg.SDSegSettings(width=16, condition_width=16), BuildContext(128, kl))


def test_sdseg_says_that_it_started_from_random_weights(kl):
    assert "random weights" in reduced(sdseg, kl, 128).footnotes[0]


def released_names(unet) -> dict[str, torch.Tensor]:
    """The U-Net's weights under CompVis' names."""
    named = {}
    for layer, name in layer_pairs(unet):
        for part in ("weight", "bias"):
            if name.endswith(".qkv"):
                thirds = [getattr(own, part) for own in (layer.to_q, layer.to_k, layer.to_v)]
                heads = [third.unflatten(0, (layer.heads, -1)) for third in thirds]
                tensor = torch.stack(heads, 1).flatten(0, 2)
            else:
                tensor = getattr(layer, part)
            named[f"model.diffusion_model.{name}.{part}"] = tensor.detach().clone()
    return named


def test_released_unet_weights_fill_every_layer():
    torch.manual_seed(0)
    source, target = sdseg.make_denoiser(16, 4, 0.0), sdseg.make_denoiser(16, 4, 0.0)
    for parameter in source.parameters():
        nn.init.normal_(parameter, std=0.1)
    copy_released_unet(target, released_names(source), "file")
    x, t = torch.randn(1, 8, 16, 16), torch.tensor([500])
    torch.testing.assert_close(run_unet(source, x, t), run_unet(target, x, t))


def test_the_condition_half_of_the_first_convolution_starts_at_zero():
    unet = sdseg.make_denoiser(16, 4, 0.0)
    weights = released_names(unet)
    first = "model.diffusion_model.input_blocks.0.0.weight"
    weights[first] = torch.ones(16, 4, 3, 3)
    copy_released_unet(unet, weights, "file")
    assert unet.conv_in.weight[:, :4].eq(1).all() and unet.conv_in.weight[:, 4:].eq(0).all()


def test_foreign_weights_are_named(tmp_path):
    with pytest.raises(BenchError, match="time_embed.0.weight.*pretrained=none"):
        copy_released_unet(sdseg.make_denoiser(16, 4, 0.0), {}, "other.safetensors")
    with pytest.raises(BenchError, match="No file"):
        read_weights(tmp_path / "absent.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(BenchError, match=r"bad\.ckpt cannot be read as plain weights"):
        read_weights(tmp_path / "bad.ckpt")


# --- GSS ----------------------------------------------------------------------------------------


@pytest.fixture
def vq() -> UntrainedVQ:
    torch.manual_seed(0)
    return UntrainedVQ((8, 8, 8, 8), num_tokens=32)


def test_gss_reads_back_what_it_paints(vq):
    method = reduced(gss, vq, 64)
    classes = torch.randint(2, (2, 8, 8))
    assert torch.equal(method.read(method.paint(classes)), classes)
    grey = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert method.read(grey).flatten().tolist() == [0, 1]


def test_gss_learns_the_tokens_of_the_painted_mask(vq, monkeypatch):
    method, batch = reduced(gss, vq, 64), batch_of(2, 64)
    painted = []
    encode = vq.encode_tokens
    monkeypatch.setattr(vq, "encode_tokens", lambda x: (painted.append(x), encode(x))[1])
    parts = method.loss(batch)
    assert painted[0].shape == (2, 3, 128, 128)  # one cell of 8 px for every 4 px of the image
    assert set(painted[0].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(parts["loss"], 0.8 * parts["token"] + 0.2 * parts["pixel"])
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_gss_losses_of_undecided_branches(vq, monkeypatch):
    """Equal logits over 32 tokens and over 2 classes cost ln 32 and ln 2."""
    method, batch = reduced(gss, vq, 64), batch_of(2, 64)
    monkeypatch.setattr(method.tokens, "forward", lambda maps: torch.zeros(2, 32, 16, 16))
    monkeypatch.setattr(method.pixels, "forward", lambda maps: torch.zeros(2, 2, 16, 16))
    losses = {name: float(value) for name, value in method.loss(batch).items()}
    token, pixel = math.log(32), math.log(2)
    assert losses == pytest.approx(
        {"loss": 0.8 * token + 0.2 * pixel, "token": token, "pixel": pixel}
    )


def test_gss_paints_the_most_likely_token_of_each_cell(vq, monkeypatch):
    """Token 5 in the left half is painted white, token 3 in the right half black."""
    method = reduced(gss, vq, 64).eval()
    logits = torch.zeros(1, 32, 16, 16)
    logits[:, 5, :, :8] = logits[:, 3, :, 8:] = 1
    monkeypatch.setattr(method.tokens, "forward", lambda maps: logits)

    def decode_tokens(tokens):
        bright = torch.where(tokens == 5, 0.8, 0.3) * (tokens > 1)
        return bright[:, None].expand(-1, 3, -1, -1).repeat_interleave(8, 2).repeat_interleave(8, 3)

    monkeypatch.setattr(vq, "decode_tokens", decode_tokens)
    probs = method.predict(torch.rand(1, 3, 64, 64))
    assert probs[..., :32].eq(1).all() and probs[..., 32:].eq(0).all()


def test_gss_paints_a_pixel_as_foreground_above_one_half(vq, monkeypatch):
    """Masks are enlarged bilinearly before the threshold; the background wins a tie."""
    method, batch = reduced(gss, vq, 64), batch_of(1, 64)
    batch.masks[:] = torch.tensor([0.5, 0.51]).repeat_interleave(32)
    painted = []
    encode = vq.encode_tokens
    monkeypatch.setattr(vq, "encode_tokens", lambda x: (painted.append(x), encode(x))[1])
    method.loss(batch)
    assert painted[0][..., :63].eq(0).all() and painted[0][..., 65:].eq(1).all()


def test_gss_predicts_without_the_pixel_branch(vq):
    method = reduced(gss, vq, 64).eval()
    method.pixels.forward = None
    with torch.no_grad():
        probs = method.predict(torch.rand(1, 3, 64, 64))
    assert probs.shape == (1, 1, 64, 64)
    assert 0 <= float(probs.min()) and float(probs.max()) <= 1


def test_gss_refuses_a_continuous_tokenizer(kl):
    with pytest.raises(BenchError, match="'untrained-kl' is continuous.*dalle"):
        reduced(gss, kl, 64)


def test_gss_says_when_its_codes_are_not_the_papers(vq):
    assert any("32 codes of untrained-vq" in text for text in reduced(gss, vq, 64).footnotes)
