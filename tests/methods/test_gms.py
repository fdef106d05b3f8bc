"""GMS: exact counts, what each loss asks of the network, and that it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from generative_doubles import UntrainedKL, UntrainedVQ, sd_vae, small_kl
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training_doubles import stored

from bench.contracts import Batch, BuildContext
from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.recipes import SHARED
from bench.training.batches import TrainingBatches
from bench.training.latents import LatentSource
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


class PosteriorOfBrightness(nn.Module):
    """Latents are mean brightness; the posterior's deviation is brightness + 1."""

    name, weights_hash = "brightness", "brightness"
    latent_channels, factor, has_posterior, num_tokens = 4, 8, True, None

    def encode(self, images: Tensor) -> Tensor:
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = F.avg_pool2d(images.mean(1, keepdim=True), 8).expand(-1, 4, -1, -1)
        return mean, mean + 1


@pytest.mark.parametrize("augmentation", ["none", "ege-unet"], ids=["stored", "on the fly"])
def test_latent_noise_has_the_spread_of_the_images_posterior_not_the_masks(tmp_path, augmentation):
    """Images are 0.2 bright and masks 1.0 everywhere: deviations 1.2 and 2.0."""
    tokenizer, ids, n = PosteriorOfBrightness(), tuple("abcdefghij"), 10
    masks = np.ones((n, 64, 64), dtype=bool)
    arrays = CaseArrays(
        dataset="grey",
        case_ids=ids,
        groups=ids,
        images=np.full((n, 64, 64, 3), 51, dtype=np.uint8),
        masks=masks,
        native_masks=stored(list(masks)),
        case_hashes=ids,
        content_hash="grey",
    )
    cpu = torch.device("cpu")
    recipe = SHARED.model_copy(update={"augmentation": augmentation, "batch_size": n})
    source = LatentSource(tokenizer, arrays, tmp_path, cpu)
    batch = next(TrainingBatches(arrays, np.arange(n), recipe, 0, cpu, source).epoch(0))
    gms = make(tokenizer, latent_noise="posterior")
    torch.manual_seed(1)
    noise = torch.stack([gms._with_noise(batch) for _ in range(20)]) - batch.image_latents
    noisy = noise[noise.flatten(1).std(1) > 0]
    bright = batch.image_latents > 0.199  # a turned image has black corners
    assert noisy[:, bright].std().item() == pytest.approx(1.2, rel=0.02)
    assert batch.mask_latents[bright].max().item() == pytest.approx(1)


def head_values(**values: float):
    """A mapping whose heads give constants, and a decoder that paints the latents' mean."""

    def mapping(latents: Tensor) -> dict[str, Tensor]:
        return {name: torch.full_like(latents, value) for name, value in values.items()}

    def decode(latents: Tensor) -> Tensor:
        return latents.mean((1, 2, 3), keepdim=True).expand(-1, 3, 32, 32)

    return mapping, decode


@pytest.mark.parametrize("supervision", ["multi", "out"])
def test_gms_predicts_from_the_last_head_alone(tokenizer, monkeypatch, supervision):
    gms, batch = make(tokenizer, supervision=supervision).eval(), batch_of(tokenizer)
    mapping, decode = head_values(level3=0.1, level2=0.2, level1=0.3, out=0.4)
    monkeypatch.setattr(gms.mapping, "forward", mapping)
    monkeypatch.setattr(tokenizer, "decode", decode)
    for probs in (gms.predict(batch.images), gms.predict_latents(batch.image_latents)):
        torch.testing.assert_close(probs, torch.full((2, 1, 32, 32), 0.4))


@pytest.mark.parametrize("decoded, prob", [(-0.5, 0.0), (0.25, 0.25), (1.5, 1.0)])
def test_decoded_values_outside_0_and_1_are_clamped(tokenizer, monkeypatch, decoded, prob):
    monkeypatch.setattr(tokenizer, "decode", lambda z: torch.full((1, 3, 32, 32), decoded))
    assert make(tokenizer).decode(torch.zeros(1, 4, 4, 4)).unique().tolist() == [prob]


@pytest.mark.parametrize(
    "supervision, latent, image",
    # Mask latents 0, masks 1: a head's squared error is value^2, its Dice 2 v / (v + 1).
    [
        ("multi", 0.2**2 + 0.3**2 + 0.4**2, 3 - (0.4 / 1.2 + 0.6 / 1.3 + 0.8 / 1.4)),
        ("out", 0.4**2, 1 - 0.8 / 1.4),
    ],
)
def test_losses_of_constant_heads(tokenizer, monkeypatch, supervision, latent, image):
    gms = make(tokenizer, supervision=supervision)
    mapping, decode = head_values(level3=9.0, level2=0.2, level1=0.3, out=0.4)
    monkeypatch.setattr(gms.mapping, "forward", mapping)
    monkeypatch.setattr(tokenizer, "decode", decode)
    zeros = torch.zeros(2, 4, 4, 4)
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32), zeros, zeros)
    losses = {name: float(value) for name, value in gms.loss(batch).items()}
    assert losses == pytest.approx({"loss": latent + image, "latent": latent, "image": image})


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
