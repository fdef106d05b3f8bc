"""Checks of a tokenizer with its weights: the contract `bench.contracts.Tokenizer`."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from bench.conformance.checks import Broken, Skipped, Step
from bench.contracts import Tokenizer
from bench.data import phantoms
from bench.metrics.overlap import dice
from bench.registry import get_tokenizer

SIDE, CASES = 64, 3
MASK_DSC = 0.8  # below this no mapping of latents can segment well


class TokenizerSubject:
    """A tokenizer under check, with three phantoms."""

    def __init__(self, name: str) -> None:
        short, _, location = name.partition("@")
        self.spec, self.location = get_tokenizer(short), location or None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """It, loaded; BenchError where its weights are missing."""
        return self.spec.load(self.location)

    @cached_property
    def pictures(self) -> tuple[Tensor, Tensor]:
        """images (N, 3, S, S) in [0, 1] and masks (N, 3, S, S) in {0, 1}: three equal channels."""
        drawn = [phantoms.render("ham10000", i, SIDE, 0) for i in range(CASES)]
        images = torch.from_numpy(np.stack([image for image, _ in drawn])).permute(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([mask for _, mask in drawn]))[:, None]
        return images.float() / 255, masks.float().expand(-1, 3, -1, -1)

    @cached_property
    def latents(self) -> Tensor:
        """The images' latents."""
        with torch.no_grad():
            return self.tokenizer.encode(self.pictures[0])


def tokenizer_steps(name: str) -> list[Step]:
    """The checks of a tokenizer in order. Raises BenchError for an unknown name."""
    subject = TokenizerSubject(name)
    return [
        ("loads", lambda: loads_frozen(subject)),
        ("shapes", lambda: shapes_fit_the_factor(subject)),
        ("hash", lambda: hash_is_stable(subject)),
        ("range", lambda: pictures_come_back(subject)),
        ("masks", lambda: masks_come_back(subject)),
        ("modes", lambda: nothing_changes(subject)),
        ("posterior", lambda: posterior_agrees(subject)),
        ("tokens", lambda: tokens_agree(subject)),
        ("gradient", lambda: decode_is_differentiable(subject)),
    ]


def loads_frozen(subject: TokenizerSubject) -> str:
    """An `nn.Module` with the contract's attributes and without a parameter that trains."""
    tokenizer = subject.tokenizer
    if not isinstance(tokenizer, nn.Module):
        raise Broken(f"The loader gives {type(tokenizer).__name__}, not a torch.nn.Module.")
    wanted = ("name", "latent_channels", "factor", "has_posterior", "num_tokens", "weights_hash")
    missing = [field for field in wanted if not hasattr(tokenizer, field)]
    if missing:
        raise Broken(f"The tokenizer has no attribute {', '.join(missing)}.")
    if any(p.requires_grad for p in tokenizer.parameters()):
        raise Broken("Parameters require gradients; call requires_grad_(False) on the module.")
    if (subject.spec.role == "discrete") != (tokenizer.num_tokens is not None):
        raise Broken(
            f"Role {subject.spec.role!r} and num_tokens={tokenizer.num_tokens} disagree; a discrete "
            "tokenizer has a codebook, a continuous one has num_tokens=None."
        )
    return f"{sum(p.numel() for p in tokenizer.parameters()):,} frozen parameters"


def shapes_fit_the_factor(subject: TokenizerSubject) -> str:
    """encode (N, 3, S, S) to float32 (N, C, S/f, S/f), decode back to (N, 3, S, S)."""
    tokenizer, latents = subject.tokenizer, subject.latents
    side = SIDE // tokenizer.factor
    _require(latents, (CASES, tokenizer.latent_channels, side, side), "encode")
    with torch.no_grad():
        _require(tokenizer.decode(latents), (CASES, 3, SIDE, SIDE), "decode")
    return f"latents {tuple(latents.shape[1:])} at {SIDE} px, SD {float(latents.std()):.2f}"


def _require(found: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(found.shape) != shape or found.dtype != torch.float32:
        raise Broken(f"{what} gives {found.dtype} {tuple(found.shape)}, not float32 {shape}.")
    if not bool(torch.isfinite(found).all()):
        raise Broken(f"{what} gives NaN or infinity.")


def hash_is_stable(subject: TokenizerSubject) -> str:
    """Two loads carry one hash, the one that planning reads without loading."""
    again = subject.spec.load(subject.location).weights_hash
    hashes = {subject.tokenizer.weights_hash, again, subject.spec.weights_hash(subject.location)}
    if len(hashes) != 1 or hashes == {"untrained"}:
        raise Broken(f"weights_hash is not one sha256 of the weights: {sorted(hashes)}.")
    return again[:12]


def pictures_come_back(subject: TokenizerSubject) -> str:
    """Decoded images lie near [0, 1] and nearer to the pictures than their mean colour does."""
    images, _ = subject.pictures
    with torch.no_grad():
        decoded = subject.tokenizer.decode(subject.latents)
    low, high = float(decoded.min()), float(decoded.max())
    if low < -0.5 or high > 1.5:
        raise Broken(f"decode gives values in [{low:.2f}, {high:.2f}]; images lie in [0, 1].")
    error = float((decoded - images).square().mean())
    plain = float((images.mean((2, 3), keepdim=True) - images).square().mean())
    if error >= plain:
        raise Broken("decode(encode(images)) is no better than each image's mean colour.")
    return f"in [{low:.2f}, {high:.2f}], PSNR {-10 * np.log10(error):.1f} dB"


def masks_come_back(subject: TokenizerSubject) -> str:
    """Masks survive encode and decode."""
    _, masks = subject.pictures
    with torch.no_grad():
        decoded = subject.tokenizer.decode(subject.tokenizer.encode(masks))
    pred, target = decoded.mean(1) > 0.5, masks[:, 0] > 0.5
    counts = torch.stack([mask.flatten(1).sum(1) for mask in (pred & target, pred, target)])
    dsc = float(dice(*counts.cpu().numpy()).mean())
    if dsc < MASK_DSC:
        raise Broken(f"Masks come back with DSC {dsc:.3f}; generative methods need {MASK_DSC}.")
    return f"DSC {dsc:.3f}"


def nothing_changes(subject: TokenizerSubject) -> str:
    """train() changes nothing, and encoding repeats to the last bit."""
    subject.tokenizer.train()  # type: ignore[attr-defined]
    with torch.no_grad():
        again = subject.tokenizer.encode(subject.pictures[0])
    if not torch.equal(again, subject.latents):
        raise Broken("encode differs after train(); override train() so that it stays in eval.")
    return "the same in train mode"


def posterior_agrees(subject: TokenizerSubject) -> str:
    """posterior() gives encode's mean and a positive deviation, or a ValueError without one."""
    tokenizer, images = subject.tokenizer, subject.pictures[0]
    if not tokenizer.has_posterior:
        _require_value_error(lambda: tokenizer.posterior(images), "posterior")
        raise Skipped("has_posterior is False")
    with torch.no_grad():
        mean, deviation = tokenizer.posterior(images)
    if not torch.allclose(mean, subject.latents, atol=1e-5) or float(deviation.min()) <= 0:
        raise Broken("posterior(images) must be (encode(images), a positive deviation).")
    return f"mean deviation {float(deviation.mean()):.3g}"


def tokens_agree(subject: TokenizerSubject) -> str:
    """Indices int64 within the codebook; their picture is that of the latents."""
    tokenizer, images = subject.tokenizer, subject.pictures[0]
    if tokenizer.num_tokens is None:
        _require_value_error(lambda: tokenizer.encode_tokens(images), "encode_tokens")
        raise Skipped("continuous: it has no tokens")
    with torch.no_grad():
        tokens = tokenizer.encode_tokens(images)
        painted = tokenizer.decode_tokens(tokens)
        decoded = tokenizer.decode(subject.latents)
    side = SIDE // tokenizer.factor
    if tokens.dtype != torch.int64 or tuple(tokens.shape) != (CASES, side, side):
        raise Broken(f"encode_tokens gives {tokens.dtype} {tuple(tokens.shape)}.")
    if int(tokens.min()) < 0 or int(tokens.max()) >= tokenizer.num_tokens:
        raise Broken(f"encode_tokens gives indices outside 0..{tokenizer.num_tokens - 1}.")
    if not torch.allclose(painted, decoded, atol=1e-3):
        raise Broken("decode_tokens(encode_tokens(x)) differs from decode(encode(x)).")
    return f"{len(tokens.unique())} of {tokenizer.num_tokens} codes in use on {CASES} pictures"


def _require_value_error(call, what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise Broken(f"{what} must raise ValueError where the tokenizer has none.")


def decode_is_differentiable(subject: TokenizerSubject) -> str:
    """The gradient of decode agrees with a central difference along a random direction.

    A discrete tokenizer passes gradients straight through its codebook, where differences are
    steps: there only a finite gradient that is not zero is asked for.
    """
    tokenizer = subject.tokenizer
    generator = torch.Generator().manual_seed(0)
    latents = subject.latents[:1].clone().requires_grad_(True)
    weights = torch.randn((1, 3, SIDE, SIDE), generator=generator)
    (tokenizer.decode(latents) * weights).sum().backward()
    gradient = latents.grad
    if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        raise Broken("decode gives no finite gradient for its latents; no torch.no_grad() inside.")
    if tokenizer.num_tokens is not None:
        return "straight-through gradient"
    direction = gradient / gradient.norm()  # the steepest one: rounding weighs least
    step = 1e-2
    with torch.no_grad():
        ahead, behind = (
            (tokenizer.decode(latents + sign * step * direction) * weights).double().sum()
            for sign in (1, -1)
        )
    slope, expected = float(ahead - behind) / (2 * step), float(gradient.norm())
    if abs(slope - expected) > 0.05 * expected:
        raise Broken(f"Slope of decode is {slope:.4g}, its gradient says {expected:.4g}.")
    return f"slope {slope:.4g}, gradient {expected:.4g}"
