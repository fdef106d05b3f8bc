"""A codebook that follows its latents: k-means start, moving averages, no dead codes.

Moving averages: van den Oord et al. 2017, appendix A.1. Restarts of unused codes: Dhariwal et al.
2020 (Jukebox). k-means start: Lancucki et al. 2020, arXiv:2005.08520.
"""

import torch
from torch import Tensor

from bench.tokenizers.autoencoders import nearest_code


def spread_choice(
    latents: Tensor, weights: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """`count` of the latents (T, C), drawn by weight: far-off ones rather than copies."""
    weights = weights.cpu() + 1e-12  # where the generator is
    chosen = torch.multinomial(weights, count, len(weights) < count, generator=generator)
    return latents[chosen.to(latents.device)]


def fit_codes(latents: Tensor, count: int, generator: torch.Generator, rounds: int = 12) -> Tensor:
    """k-means of latents (T, C) to `count` codes (count, C).

    The start ignores copies (most patches of masks are blank): it draws from distinct latents.
    """
    distinct = torch.unique((latents * 50).round(), dim=0) / 50
    codes = spread_choice(distinct, torch.ones(len(distinct)), count, generator)
    for _ in range(rounds):
        index = nearest_code(latents, codes)
        hits = torch.bincount(index, minlength=count)
        sums = torch.zeros_like(codes).index_add_(0, index, latents)
        codes = torch.where(hits[:, None] > 0, sums / hits.clamp_min(1)[:, None], codes)
    return codes


class MovingCodebook:
    """Updates `codes` (K, C), a model's embedding weight, in place from the latents it quantises."""

    def __init__(self, codes: Tensor, decay: float) -> None:
        self.codes, self.decay = codes, decay
        self.hits = torch.ones(len(codes), device=codes.device)
        self.sums = codes.detach().clone()

    @torch.no_grad()
    def start(self, codes: Tensor) -> None:
        """Begin from fitted codes (K, C)."""
        self.codes.copy_(codes)
        self.hits.fill_(0.1)
        self.sums.copy_(codes * 0.1)

    @torch.no_grad()
    def update(self, latents: Tensor, index: Tensor) -> None:
        """Move the codes that were used towards the mean of their latents (T, C)."""
        hits = torch.bincount(index, minlength=len(self.codes)).float()
        self.hits.lerp_(hits, 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, index, latents), 1 - self.decay)
        used = self.hits > 1e-3
        self.codes[used] = self.sums[used] / self.hits[used, None]

    @torch.no_grad()
    def restart(self, latents: Tensor, index: Tensor, generator: torch.Generator) -> int:
        """Move unused codes onto the latents farthest from their codes; returns how many moved."""
        dead = (self.hits < 0.01).nonzero().flatten()
        if not len(dead):
            return 0
        errors = (latents - self.codes[index]).square().sum(dim=1)
        fresh = spread_choice(latents, errors, min(len(dead), len(latents) // 4), generator)
        moved = dead[: len(fresh)]
        self.codes[moved] = fresh
        self.hits[moved] = 0.05
        self.sums[moved] = fresh * 0.05
        return len(moved)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the model's own weights."""
        return {"hits": self.hits, "sums": self.sums}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state()`."""
        self.hits.copy_(state["hits"])
        self.sums.copy_(state["sums"])


def perplexity(index: Tensor, count: int) -> float:
    """exp of the entropy of code use: from 1 (collapsed) to `count` (all used alike)."""
    share = torch.bincount(index.flatten(), minlength=count).double()
    share = share[share > 0] / share.sum()
    return float(torch.exp(-(share * share.log()).sum()))
