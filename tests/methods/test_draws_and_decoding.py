"""Methods under draws and decoded values that are fixed by hand."""

import pytest
import torch
from generative_doubles import UntrainedVQ, small_kl
from torch import Tensor

from bench.contracts import Batch, BuildContext
from methods import gms, gss, sdseg


@pytest.mark.parametrize("coin, noise", [(0.25, 0.0), (0.5, 0.0), (0.75, 1.5)])
def test_gms_adds_noise_where_the_coin_is_above_one_half(monkeypatch, coin, noise):
    """A draw of 3 standard normal units times a posterior SD of 1/2."""
    settings = gms.SPEC.settings(latent_noise="posterior")
    method = gms.SPEC.build(settings, BuildContext(tokenizer=small_kl()))
    latents = torch.zeros(2, 4, 4, 4)
    batch = Batch(latents, latents, latents, latents, torch.full_like(latents, 0.5))
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.tensor(coin))
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 3.0))
    assert method._with_noise(batch).unique().tolist() == [noise]


@pytest.mark.parametrize(
    "pixel, foreground",
    [
        ((1.9, 0.0, 0.0), 0.0),  # cut off to pure red, which is nearer to black than to white
        ((1.9, 0.9, 0.0), 1.0),
        ((0.9, 0.9, -0.9), 1.0),  # cut off to yellow
        ((0.4, 0.4, 0.4), 0.0),
    ],
)
def test_gss_cuts_decoded_colours_off_at_0_and_1_before_it_reads_them(
    monkeypatch, pixel, foreground
):
    torch.manual_seed(0)
    vq = UntrainedVQ((8, 8, 8, 8), num_tokens=32)
    settings = gss.SPEC.settings(**gss.SPEC.reduced)
    method = gss.SPEC.build(settings, BuildContext(64, vq, load_weights=False)).eval()

    def decode_tokens(tokens: Tensor) -> Tensor:
        return torch.tensor(pixel).view(1, 3, 1, 1).expand(len(tokens), 3, 128, 128)

    monkeypatch.setattr(vq, "decode_tokens", decode_tokens)
    assert method.predict(torch.rand(1, 3, 64, 64)).unique().tolist() == [foreground]


def test_gss_standardises_images_as_imagenet_was(monkeypatch):
    torch.manual_seed(0)
    vq = UntrainedVQ((8, 8, 8, 8), num_tokens=32)
    settings = gss.SPEC.settings(**gss.SPEC.reduced)
    method = gss.SPEC.build(settings, BuildContext(64, vq, load_weights=False))
    monkeypatch.setattr(method.backbone, "forward", lambda x: [x])
    (seen,) = method.features(torch.ones(1, 3, 2, 2))
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(expected)


def test_sdseg_adds_the_draw_to_the_posteriors_mean(monkeypatch):
    """A draw of 2 standard normal units times an SD of 1/2 above a mean of 3; a scale of 1."""
    kl = small_kl()
    settings = sdseg.SPEC.settings(**sdseg.SPEC.reduced)
    method = sdseg.SPEC.build(settings, BuildContext(128, kl, load_weights=False)).eval()
    at = (2, 4, 4, 4)
    monkeypatch.setattr(kl, "posterior", lambda x: (torch.full(at, 3.0), torch.full(at, 0.5)))
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 2.0))
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 32, 32))
    assert method.mask_latents(batch).unique().tolist() == [4.0]
