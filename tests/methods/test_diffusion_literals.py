"""The variational bound, against torch's own distributions on two steps of noise."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from methods.layers.diffusion import Schedule, binned_log_likelihood

HALVES = Schedule(torch.tensor([0.5, 0.5]))
"""Half of the signal's power is lost in each of two steps."""


def pixel(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value)


def test_the_posterior_of_two_halvings():
    """q(x0 | x1) is x0; of the second step: 1/2 x sqrt(1/2) / (3/4) for both, variance 1/3."""
    share = 0.5 * math.sqrt(0.5) / 0.75
    assert HALVES.mean_of_x0.tolist() == pytest.approx([1.0, share])
    assert HALVES.mean_of_xt.tolist() == pytest.approx([0.0, share])
    assert HALVES.posterior_log_variance.exp().tolist() == pytest.approx([1 / 3, 1 / 3])
    assert HALVES.signal.tolist() == pytest.approx([math.sqrt(0.5), 0.5])
    assert HALVES.noise.tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.75)])


@pytest.mark.parametrize(
    "mix, variance", [(-1.0, 1 / 3), (0.0, math.sqrt(1 / 6)), (1.0, 1 / 2), (3.0, 3 / 4)]
)
def test_a_term_is_the_divergence_of_two_gaussians_in_bits(mix, variance):
    """mix runs from the posterior's variance to beta, in logarithms."""
    x0, xt, predicted = pixel(0.2), pixel(-0.4), pixel(0.9)
    bound = HALVES.variational_bound(x0, xt, torch.tensor([1]), predicted, pixel(mix))
    share = 0.5 * math.sqrt(0.5) / 0.75
    true = Normal(torch.tensor(share * (0.2 - 0.4)), torch.tensor(math.sqrt(1 / 3)))
    ours = Normal(torch.tensor(share * (0.9 - 0.4)), torch.tensor(math.sqrt(variance)))
    assert bound.tolist() == pytest.approx([float(kl_divergence(true, ours)) / math.log(2)])


def test_the_first_step_costs_the_bits_of_its_bin():
    """A Gaussian of mean 0.1 and variance 1/2 around a pixel of 0."""
    bound = HALVES.variational_bound(
        pixel(0.0), pixel(0.7), torch.tensor([0]), pixel(0.1), pixel(1.0)
    )
    normal = Normal(torch.tensor(0.1, dtype=torch.float64), math.sqrt(0.5))
    ends = normal.cdf(torch.tensor([1 / 255, -1 / 255], dtype=torch.float64))
    assert bound.item() == pytest.approx(-math.log2(float(ends[0] - ends[1])), rel=1e-3)


@pytest.mark.parametrize(
    "x, mean, std",
    [(0.0, 0.1, 0.5), (0.5, 0.4, 0.1), (1.0, 0.5, 1.0), (-1.0, -0.2, 0.5), (0.998, 0.9, 0.2)],
)
def test_a_bin_is_2_255ths_wide_and_the_outermost_reach_to_infinity(x, mean, std):
    normal = Normal(torch.tensor(mean, dtype=torch.float64), std)
    above, below = normal.cdf(torch.tensor([x + 1 / 255, x - 1 / 255], dtype=torch.float64))
    share = 1 - below if x == 1 else above if x == -1 else above - below
    found = binned_log_likelihood(
        torch.tensor(x, dtype=torch.float64), normal.mean, torch.tensor(std).log().double()
    )
    assert found.item() == pytest.approx(math.log(share), rel=2e-3, abs=2e-3)


def test_an_impossible_value_costs_as_much_as_a_probability_of_1e_12():
    found = binned_log_likelihood(torch.tensor(0.0), torch.tensor(50.0), torch.tensor(0.0))
    assert found.item() == pytest.approx(math.log(1e-12))
