"""Channel transformer: attention between the channels of four feature maps of different scales.

Wang, Cao, Wang, Zaiane, "UCTransNet: rethinking the skip connections in U-Net from a channel-wise
perspective with transformer", AAAI 2022, 2441-2449, arXiv:2109.04335. Used on the skips of
UCTransNet and, as MCCT, of SME-SwinUNet. Read in McGregorWwww/UCTransNet@493bd81, nets/CTrans.py.

tokens: one float (N, P, C_i) per level, the same P at every level.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # of every LayerNorm here


class ChannelEmbedding(nn.Module):
    """A map (N, C, S, S) to tokens (N, (S/patch)^2, C) with learned positions, zero at first."""

    def __init__(self, channels: int, side: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, (side // patch) ** 2, channels))
        self.patches = nn.Conv2d(channels, channels, patch, stride=patch)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.patches(x).flatten(2).transpose(1, 2) + self.position)


class Reconstruction(nn.Module):
    """Tokens (N, P, C) back to a map (N, C, S, S): enlarge, then conv 1x1, BatchNorm, ReLU."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        n, p, c = tokens.shape
        side = math.isqrt(p)
        x = tokens.transpose(1, 2).contiguous().view(n, c, side, side)
        # The 1x1 conv would commute with the enlargement; the original convolves the large map.
        x = F.interpolate(x, scale_factor=float(self.patch), mode="nearest")
        return F.relu(self.norm(self.conv(x)))


class ChannelAttention(nn.Module):
    """Multi-head attention of each level's channels over the channels of all levels together.

    Every head has full-width projections, and heads are averaged, not concatenated.
    """

    def __init__(self, channels: Sequence[int], heads: int, dropout: float) -> None:
        super().__init__()
        self.width = sum(channels)
        self.query = nn.ModuleList(_projections(c, heads) for c in channels)
        self.key = _projections(self.width, heads)
        self.value = _projections(self.width, heads)
        self.out = nn.ModuleList(nn.Linear(c, c, bias=False) for c in channels)
        self.attention_dropout = nn.Dropout(dropout)
        self.out_dropout = nn.Dropout(dropout)

    def forward(self, levels: Sequence[Tensor], everything: Tensor) -> list[Tensor]:
        """levels: normalised tokens (N, P, C_i); everything: (N, P, sum C_i)."""
        keys = _all_heads(self.key, everything)
        values = _all_heads(self.value, everything).transpose(2, 3)
        queries = [_all_heads(q, level) for q, level in zip(self.query, levels, strict=True)]
        scores = [q.transpose(2, 3) @ keys / math.sqrt(self.width) for q in queries]
        # Scores (N, heads, C_i, sum C_i) are instance-normalised per head and image before the
        # softmax, so their scale is lost.
        weights = [F.instance_norm(score).softmax(dim=3) for score in scores]
        weights = [self.attention_dropout(weight) for weight in weights]
        mixed = [(weight @ values).mean(dim=1).transpose(1, 2) for weight in weights]
        outputs = [out(x) for out, x in zip(self.out, mixed, strict=True)]
        return [self.out_dropout(output) for output in outputs]


class ChannelBlock(nn.Module):
    """One pre-norm layer: channel attention, then an MLP per level, both residual."""

    def __init__(self, channels: Sequence[int], heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.attention_norms = _norms(channels)
        self.joint_norm = nn.LayerNorm(sum(channels), eps=EPS)
        self.attention = ChannelAttention(channels, heads, dropout)
        self.mlp_norms = _norms(channels)
        self.mlps = nn.ModuleList(_mlp(c, expansion * c) for c in channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        # Keys and values come from the levels as they are, with a norm of their own.
        everything = self.joint_norm(torch.cat(list(levels), dim=2))
        attended = self.attention(_each(self.attention_norms, levels), everything)
        levels = [x + y for x, y in zip(levels, attended, strict=True)]
        expanded = _each(self.mlps, _each(self.mlp_norms, levels))
        return [x + y for x, y in zip(levels, expanded, strict=True)]


class ChannelEncoder(nn.Module):
    """The stack of layers and one LayerNorm per level."""

    def __init__(
        self, channels: Sequence[int], layers: int, heads: int, expansion: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ChannelBlock(channels, heads, expansion, dropout) for _ in range(layers)
        )
        self.norms = _norms(channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        for layer in self.layers:
            levels = layer(levels)
        return _each(self.norms, levels)


class ChannelTransformer(nn.Module):
    """Maps (N, C_i, S_i, S_i) to maps of the same shapes: each plus its reconstruction.

    channels, sides: C_i and S_i of each level. patches: side of each level's patches, such that
    every level has the same number of tokens, (S_i / patch_i)^2.
    Raises ValueError when the levels would differ in tokens.
    """

    def __init__(
        self,
        channels: Sequence[int],
        sides: Sequence[int],
        patches: Sequence[int],
        layers: int = 4,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len({side // patch for side, patch in zip(sides, patches, strict=True)}) != 1:
            raise ValueError(
                f"Every level needs the same number of tokens; sides {tuple(sides)} over patches "
                f"{tuple(patches)} differ."
            )
        self.embeddings = nn.ModuleList(
            ChannelEmbedding(c, side, patch, dropout)
            for c, side, patch in zip(channels, sides, patches, strict=True)
        )
        self.encoder = ChannelEncoder(channels, layers, heads, expansion, dropout)
        self.reconstructions = nn.ModuleList(
            Reconstruction(c, patch) for c, patch in zip(channels, patches, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        tokens = self.encoder(_each(self.embeddings, maps))
        rebuilt = _each(self.reconstructions, tokens)
        return [new + old for new, old in zip(rebuilt, maps, strict=True)]


def _each(modules: nn.ModuleList, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [module(x) for module, x in zip(modules, inputs, strict=True)]


def _norms(channels: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.LayerNorm(c, eps=EPS) for c in channels)


def _projections(width: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(heads))


def _all_heads(projections: nn.Module, tokens: Tensor) -> Tensor:
    """(N, heads, P, C): the tokens through every head's projection."""
    assert isinstance(projections, nn.ModuleList)
    return torch.stack([projection(tokens) for projection in projections], dim=1)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    """Linear, GELU, linear; Xavier-uniform weights, biases normal with std 1e-6."""
    linears = nn.Linear(width, hidden), nn.Linear(hidden, width)
    for linear in linears:
        nn.init.xavier_uniform_(linear.weight)
        nn.init.normal_(linear.bias, std=1e-6)
    return nn.Sequential(linears[0], nn.GELU(), linears[1])
