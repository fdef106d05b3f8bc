"""Pieces shared by the diffusion methods: noise schedule arithmetic and a U-Net with a condition.

Sources: Ho, Jain, Abbeel, DDPM, NeurIPS 2020, arXiv:2006.11239; Nichol, Dhariwal, "Improved
denoising diffusion probabilistic models", ICML 2021, arXiv:2102.09672 (learned variance). The U-Net
and the samplers are diffusers' (Apache-2.0).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn

STEPS = 1000
"""Diffusion steps of training; samplers visit some or all of them."""


class Schedule(nn.Module):
    """A discrete diffusion with betas (T,), as float32 buffers computed in float64.

    signal, noise: how much of x0 and of the noise x[t] holds. The others are of the posterior
    q(x[t-1] | x[t], x0): its mean's two factors and its log variance.
    """

    betas: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        betas = betas.double()
        bar = torch.cumprod(1 - betas, dim=0)
        previous = torch.cat([torch.ones_like(bar[:1]), bar[:-1]])
        variance = betas * (1 - previous) / (1 - bar)
        variance = torch.cat([variance[1:2], variance[1:]])  # the first is 0, its log infinite
        constants = {
            "betas": betas,
            "log_beta": betas.log(),
            "signal": bar.sqrt(),
            "noise": (1 - bar).sqrt(),
            "mean_of_x0": betas * previous.sqrt() / (1 - bar),
            "mean_of_xt": (1 - previous) * (1 - betas).sqrt() / (1 - bar),
            "posterior_log_variance": variance.log(),
        }
        for name, values in constants.items():
            self.register_buffer(name, values.float(), persistent=False)

    def at(self, name: str, t: Tensor) -> Tensor:
        """Constant `name` at steps t int64 (N,), as (N, 1, 1, 1)."""
        return getattr(self, name)[t].view(-1, 1, 1, 1)

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x[t]: x0 with the noise of step t."""
        return self.at("signal", t) * x0 + self.at("noise", t) * noise

    def x0_of(self, xt: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x0 that `noise` implies: the inverse of `add_noise`."""
        return (xt - self.at("noise", t) * noise) / self.at("signal", t)

    def posterior_mean(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x[t-1] | x[t], x0)."""
        return self.at("mean_of_x0", t) * x0 + self.at("mean_of_xt", t) * xt

    def variational_bound(
        self, x0: Tensor, xt: Tensor, t: Tensor, predicted_x0: Tensor, mix: Tensor
    ) -> Tensor:
        """One term of the bound per image, bits per element (N,), for a learned variance.

        mix: nominally in [-1, 1], from the posterior's log variance to log beta. At t = 0 it is the
        likelihood of x0 in bins of 2/255.
        """
        low, high = self.at("posterior_log_variance", t), self.at("log_beta", t)
        log_variance = low + (mix + 1) / 2 * (high - low)
        mean = self.posterior_mean(predicted_x0, xt, t)
        kl = normal_kl(self.posterior_mean(x0, xt, t), low, mean, log_variance)
        nll = -binned_log_likelihood(x0, mean, 0.5 * log_variance)
        return torch.where(t == 0, nll.mean((1, 2, 3)), kl.mean((1, 2, 3))) / math.log(2)


def normal_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL divergence of Gaussian 1 from Gaussian 2, nats, elementwise."""
    gap = log_variance1 - log_variance2
    return 0.5 * (gap.exp() - 1 - gap + (mean1 - mean2).square() * (-log_variance2).exp())


def binned_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability, nats, that a Gaussian falls in x's bin of width 2/255; the bins at -1 and 1
    reach to infinity."""

    def cdf(at: Tensor) -> Tensor:
        # The tanh approximation of the normal distribution function, as in the released code.
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (at + 0.044715 * at**3)))

    scale = (-log_std).exp()
    above, below = cdf((x - mean + 1 / 255) * scale), cdf((x - mean - 1 / 255) * scale)
    inner = torch.where(x > 0.999, 1 - below, above - below)
    return torch.where(x < -0.999, above, inner).clamp(min=1e-12).log()


def linear_betas(first: float, last: float) -> Tensor:
    """T betas evenly spaced, float64."""
    return torch.linspace(first, last, STEPS, dtype=torch.float64)


def scaled_linear_betas(first: float, last: float) -> Tensor:
    """T betas whose square roots are evenly spaced, float64."""
    return torch.linspace(first**0.5, last**0.5, STEPS, dtype=torch.float64).square()


def run_unet(unet: Any, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    """diffusers' UNet2DModel's forward with `condition` (N, C, H, W) added after its first convolution."""
    embedding = unet.time_embedding(unet.time_proj(t).to(x.dtype))
    h = unet.conv_in(x)
    if condition is not None:
        h = h + condition
    skips: tuple[Tensor, ...] = (h,)
    for block in unet.down_blocks:
        h, features = block(hidden_states=h, temb=embedding)
        skips += features
    h = unet.mid_block(h, embedding)
    for block in unet.up_blocks:
        used = len(block.resnets)
        h = block(h, skips[-used:], embedding)
        skips = skips[:-used]
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


def zero_outputs(unet: Any) -> None:
    """Zero a UNet2DModel's last layer and that of every residual branch, as guided diffusion does."""
    for module in unet.modules():
        for name in ("conv2", "to_out"):
            last = getattr(module, name, None)
            if last is not None:
                zero(last[0] if isinstance(last, nn.ModuleList) else last)
    zero(unet.conv_out)


def zero(layer: nn.Module) -> None:
    """Set a layer's weights and biases to 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


Denoise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x[t], t int64 (N,)) -> (prediction, variance mix), each shaped like x[t]."""


def sample(
    denoise: Denoise,
    noise: Tensor,
    scheduler: Any,
    steps: int,
    streams: list[torch.Generator] | None = None,
) -> Tensor:
    """x0 from pure noise (N, C, H, W) in `steps` steps.

    scheduler: see `make_scheduler`, for what `denoise` predicts. streams: where an ancestral sampler
    draws each image's further noise from; None for torch's global generator.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    ancestral = scheduler.config.get("variance_type") == "learned_range"
    x = noise
    for t in scheduler.timesteps:
        predicted, mix = denoise(x, t.expand(len(x)))
        output = torch.cat([predicted, mix], dim=1) if ancestral else predicted
        x = scheduler.step(output, t, x, generator=streams).prev_sample
    return x


def make_scheduler(sampler: str, betas: Tensor, predicts: str) -> Any:
    """diffusers' scheduler over training betas (T,); predicts: "epsilon" or "sample" (x0).

    sampler: "ddpm" (ancestral, learned variance, x0 clamped to [-1, 1]), "ddim" (deterministic, x0
    clamped likewise) or "dpm" (DPM-Solver++ of second order, dynamic thresholding).
    """
    common = {
        "num_train_timesteps": len(betas),
        "trained_betas": betas.tolist(),
        "prediction_type": predicts,
    }
    match sampler:
        case "ddpm":
            return DDPMScheduler(variance_type="learned_range", clip_sample=True, **common)
        case "ddim":
            return DDIMScheduler(clip_sample=True, **common)
        case "dpm":
            return DPMSolverMultistepScheduler(
                algorithm_type="dpmsolver++",
                solver_order=2,
                thresholding=True,
                sample_max_value=1e6,  # thresholds above 1 rescale, as in the solver's own code
                **common,
            )
    raise ValueError(f"sampler must be ddpm, ddim or dpm, got {sampler!r}")
