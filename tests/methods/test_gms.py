"""GMS: exact counts, what each loss asks of the network, and that it learns."""

import pytest
import torch
from generative_doubles import UntrainedKL, UntrainedVQ, sd_vae, small_kl
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Batch, BuildContext
from bench.core.errors import BenchError
from methods.gms import GMS, RELEASED_NOISE_GAIN, SPEC


def make(tokenizer: UntrainedKL, **settings) -> GMS:
    return SPEC.build(SPEC.settings(**settings), BuildContext(tokenizer=tokenizer))


def batch_of(tokenizer: UntrainedKL, n: int = 2, size: int = 32) -> Batch:
    images, masks = torch.rand(n, 3, size, size), torch.zeros(n, 1, size, size)
    masks[..., size // 4 : size // 2, size // 4 :] = 1
    with torch.no_grad():
        mean, std = tokenizer.posterior(images)
        return Batch(images, masks, mean, tokenizer.encode(masks.expand(-1, 3, -1, -1)), std)


@pytest.fixture
def tokenizer() -> UntrainedKL:
    torch.manual_seed(0)
    return small_kl()


@pytest.mark.parametrize("supervision, trainable", [("multi", 1_564_976), ("out", 1_556_464)])
def test_counts_of_the_fact_sheet(supervision, trainable):
    with torch.device("meta"):
        gms = make(sd_vae(), supervision=supervision)
    assert sum(p.numel() for p in gms.parameters() if p.requires_grad) == trainable
    assert sum(p.numel() for p in gms.parameters()) == trainable + 83_653_863


def test_operations_of_one_inference_at_224():
    with torch.device("meta"):
        gms = make(sd_vae()).eval()
        with FlopCounterMode(display=False) as counter:
            probs = gms.predict(torch.empty(1, 3, 224, 224))
    assert probs.shape == (1, 1, 224, 224)
    assert counter.get_total_flops() / 2e9 == pytest.approx(344.165, abs=5e-4)


def test_only_the_level3_head_never_gets_a_gradient(tokenizer):
    gms = make(tokenizer)
    gms.loss(batch_of(tokenizer))["loss"].backward()
    params = dict(gms.named_parameters())
    idle = {n for n, p in params.items() if p.requires_grad and p.grad is None}
    assert idle == set(gms.unused_parameters)
    assert sum(params[n].numel() for n in idle) == 4_864
    assert all(p.grad is None for n, p in params.items() if not p.requires_grad)


@pytest.mark.parametrize(
    "loss, supervision, parts, decodes",
    [
        ("lm", "multi", {"latent"}, 0),
        ("lm", "out", {"latent"}, 0),
        ("seg", "out", {"image"}, 1),
        ("lm+seg", "out", {"latent", "image"}, 1),
        ("lm+seg", "multi", {"latent", "image"}, 3),
    ],
)
def test_a_loss_that_is_off_is_not_computed(
    tokenizer, monkeypatch, loss, supervision, parts, decodes
):
    calls: list[Tensor] = []
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda z: (calls.append(z), decode(z))[1])
    losses = make(tokenizer, loss=loss, supervision=supervision).loss(batch_of(tokenizer))
    assert set(losses) == {"loss", *parts}
    assert len(calls) == decodes
    torch.testing.assert_close(losses["loss"], torch.stack([losses[p] for p in parts]).sum())


def test_losses_are_sums_over_the_three_supervised_heads(tokenizer):
    gms, batch = make(tokenizer), batch_of(tokenizer)
    outputs = gms.mapping(batch.image_latents)
    expected = sum(
        ((outputs[head] - batch.mask_latents) ** 2).mean() for head in ("level2", "level1", "out")
    )
    torch.testing.assert_close(gms.loss(batch)["latent"], expected)


def test_image_loss_agrees_with_monai(tokenizer):
    monai = pytest.importorskip("monai.losses", reason="MONAI is not installed")
    gms, batch = make(tokenizer, loss="seg", supervision="out"), batch_of(tokenizer)
    probs = gms.predict_latents(batch.image_latents)
    torch.testing.assert_close(gms.loss(batch)["image"], monai.DiceLoss()(probs, batch.masks))


def test_predictions_are_probabilities_the_same_from_images_and_from_cached_latents(tokenizer):
    gms, batch = make(tokenizer).eval(), batch_of(tokenizer, n=1)
    with torch.no_grad():
        probs = gms.predict(batch.images)
        cached = gms.predict_latents(batch.image_latents)
    assert probs.shape == (1, 1, 32, 32) and probs.dtype == torch.float32
    assert 0 <= float(probs.min()) and float(probs.max()) <= 1
    torch.testing.assert_close(probs, cached)


@pytest.mark.parametrize(
    "latent_noise, gain",
    [("off", 0.0), ("posterior", 1.0), ("as-released", RELEASED_NOISE_GAIN)],
)
def test_latent_noise_has_the_posteriors_spread_in_half_of_the_batches(
    tokenizer, latent_noise, gain
):
    gms = make(tokenizer, latent_noise=latent_noise)
    zeros = torch.zeros(4, 4, 32, 32)
    batch = Batch(zeros, zeros, zeros, zeros, torch.full_like(zeros, 0.5))
    torch.manual_seed(1)
    spreads = torch.stack([gms._with_noise(batch).std() for _ in range(40)])
    noisy = spreads > 0
    assert noisy.sum() == 0 if gain == 0 else 10 <= noisy.sum() <= 30
    torch.testing.assert_close(
        spreads[noisy], torch.full_like(spreads[noisy], 0.5 * gain), rtol=0.05, atol=0
    )


def test_latent_noise_needs_a_posterior():
    with pytest.raises(BenchError, match="'untrained-vq' has no posterior.*latent_noise=off"):
        make(UntrainedVQ((8, 8), num_tokens=16), latent_noise="posterior")


def test_training_without_latents_is_a_contract_violation(tokenizer):
    with pytest.raises(ValueError, match="image_latents"):
        make(tokenizer).loss(Batch(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)))


def test_the_mapping_model_learns_two_latents_by_heart(tokenizer):
    gms, batch = make(tokenizer, loss="lm", supervision="out"), batch_of(tokenizer)
    optimizer = torch.optim.AdamW(gms.mapping.parameters(), 2e-3)
    losses = []
    for _ in range(60):
        losses.append(gms.loss(batch)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.02 * losses[0]
