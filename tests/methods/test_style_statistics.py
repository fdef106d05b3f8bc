"""The statistics that MixStyle gives an image, with the share and the partner fixed by hand."""

import pytest
import torch
from torch.distributions import Beta

from methods.layers.deeplab import StyleOperator
from methods.mixstyle import MixStyle


def test_mixstyle_takes_a_quarter_of_its_own_statistics_and_the_rest_of_its_partners(monkeypatch):
    """Means 0 and 10, deviations 1 and 5: 7.5 and 4 for the first image, 2.5 and 2 for the second."""
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 16, 16)
    noise = (noise - noise.mean()) / noise.std()
    x = torch.cat([noise, 5 * noise + 10])
    monkeypatch.setattr(Beta, "sample", lambda self, shape: torch.full(shape, 0.25))
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.tensor([1, 0]))
    out = MixStyle().restyled(x)
    assert out.mean((1, 2, 3)).tolist() == pytest.approx([7.5, 2.5], abs=1e-4)
    assert out.std((1, 2, 3)).tolist() == pytest.approx([4.0, 2.0], abs=1e-3)
    torch.testing.assert_close(out[0], 4 * noise[0] + 7.5, rtol=0, atol=1e-3)


@pytest.mark.parametrize("coin, styled", [(0.4, True), (0.5, True), (0.6, False)])
def test_the_style_changes_where_the_coin_is_at_most_the_probability(monkeypatch, coin, styled):
    class Negated(StyleOperator):
        def restyled(self, x):
            return -x

    monkeypatch.setattr(torch, "rand", lambda size, device: torch.tensor(coin))
    x = torch.ones(2, 1, 2, 2)
    assert torch.equal(Negated(0.5).train()(x), -x if styled else x)
