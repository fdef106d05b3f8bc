"""Augmentation in batches on the device: one draw for an image and its mask.

images: float32 in [0, 1], (N, 3, H, W). masks: float32 in [0, 1], (N, 1, H, W). Each sample draws
its own view; randomness comes from the generator that the trainer passes, on the CPU, so that a
run draws the same numbers on every device. `draw` makes all of a batch's draws, `change` applies
them on the device: it reads no value back and sends none one by one.

A *view* in 0..7 names one of the eight flips and quarter turns, which map the pixel grid onto
itself: a tokenizer's latents of such a view can be computed once and stored. View -1 marks a sample
whose picture was changed continuously. Changes come in this order: view, colour, movement,
intensity.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.errors import unknown_name
from bench.training.colour import Recolouring, draw_jitter, jitter
from bench.training.intensity import Change, Intensity, draw_variation, vary
from bench.training.movement import Movement, Shift, draw_move, move
from bench.training.transfers import Upload

VIEWS = 8


_NO_MOVEMENT, _NO_VARIATION = Movement(), Intensity()


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges of one augmentation policy; every range is drawn uniformly.

    views: which of the eight discrete views are drawn with probability `view_p`, uniformly; a view
    that stands there k times is k times as frequent.
    move_unless_view: the movement only for samples left at view 0.
    color: (brightness, contrast, saturation, hue) jitter, hue as a share of the colour circle.
    """

    view_p: float = 0.0
    views: tuple[int, ...] = tuple(range(VIEWS))
    color_p: float = 0.0
    color: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    move: Movement = _NO_MOVEMENT
    move_unless_view: bool = False
    intensity: Intensity = _NO_VARIATION


FLIPS = (0, 2, 4, 6)  # identity, half a turn, horizontal flip, vertical flip
QUARTER_TURNED = (1, 3, 5, 7)

_GMS = Augmentation(
    view_p=1.0,
    # Both flips and a turn by 0 to 3 quarters, each with p 0.5: a quarter-turned view is as frequent
    # as a third of the others.
    views=3 * FLIPS + QUARTER_TURNED,
    color_p=0.2,
    color=(0.1, 0.1, 0.1, 0.1),
    move=Movement(
        p=0.4, rotate=(-20, 20), scale=(0.9, 1.1), shift=0.15, border="reflect", native=True
    ),
)

POLICIES: dict[str, Augmentation] = {
    "none": Augmentation(),
    # Flips and quarter turns only: every latent can come from the cache.
    "discrete": Augmentation(view_p=1.0),
    # GMS's released policy, by its own name and as part of the shared recipe.
    "gms": _GMS,
    "shared": _GMS,
    # ACC-UNet's harness: half of the samples quarter turns and a flip, which together are one of
    # the four reflections; half of the rest a small rotation.
    "acc-unet": Augmentation(
        view_p=0.5,
        views=(4, 5, 6, 7),
        move=Movement(p=0.5, rotate=(-20, 19), whole_degrees=True, nearest=True, border="cut"),
        move_unless_view=True,
    ),
    "ege-unet": Augmentation(
        view_p=1.0,
        views=FLIPS,
        move=Movement(p=0.5, rotate=(0, 360), nearest=True, border="minimum", native=True),
    ),
    "flips": Augmentation(view_p=1.0, views=FLIPS),
    "horizontal-flip": Augmentation(view_p=1.0, views=(0, 4)),
    # nnU-Net v2's default 2-D policy.
    "nnunet": Augmentation(
        view_p=1.0,
        views=FLIPS,
        move=Movement(
            p=0.2,
            rotate=(-180, 180),
            scale=(0.7, 1.4),
            zoom_out=True,
            apart=True,
            mask="majority",
        ),
        intensity=Intensity(
            noise_p=0.1,
            blur_p=0.2,
            brightness_p=0.15,
            contrast_p=0.15,
            low_resolution_p=0.25,
            gamma_p=0.3,
            inverted_gamma_p=0.1,
        ),
    ),
}


def policy(name: str) -> Augmentation:
    """The augmentation called `name`; BenchError with the nearest match if unknown."""
    if name not in POLICIES:
        raise unknown_name("augmentation", name, POLICIES)
    return POLICIES[name]


def apply_view(x: Tensor, view: int) -> Tensor:
    """One of the eight views of (..., H, W): a horizontal flip if view >= 4, then view % 4 quarter
    turns counter-clockwise."""
    if view >= 4:
        x = x.flip(-1)
    return torch.rot90(x, view % 4, (-2, -1))


@dataclass(frozen=True)
class Draw:
    """One batch's changes, drawn on the CPU; indices and factors lie in an `Upload`.

    turns: (view, place of the indices of its samples) of every view but 0. colours: of `jitter`.
    shift: of `move`, None where no sample moves. changes: of `vary`. views: int64 (N,), as
    `augment` returns them.
    """

    turns: list[tuple[int, int]]
    colours: list[Recolouring]
    shift: Shift | None
    changes: list[Change]
    views: Tensor


def draw(
    n: int,
    size: tuple[int, int],
    how: Augmentation,
    generator: torch.Generator,
    upload: Upload,
    shapes: Tensor | None = None,
) -> Draw:
    """One random draw per sample of a batch of n images of `size` (H, W).

    shapes: as `augment` takes them.
    """

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    # The draws that every policy makes, whatever its probabilities: stored trainings rest on them.
    turned = chance(how.view_p)
    drawn = torch.tensor(how.views)[torch.randint(len(how.views), (n,), generator=generator)]
    views = torch.where(turned, drawn, 0)
    moved = chance(how.move.p)
    unit = torch.rand(n, 4, generator=generator)
    coloured = chance(how.color_p)
    factors = torch.rand(n, 4, generator=generator) * 2 - 1

    amounts = factors * torch.tensor(how.color)
    colours = draw_jitter(coloured, amounts, generator)
    if how.move.apart:
        scaled = chance(how.move.p)
        unit[~moved, 0] = 0.5  # the middle of the range: no rotation
        unit[~scaled, 1] = math.nan  # no scaling
        moved = moved | scaled
    if how.move_unless_view:
        moved &= ~turned
    shift = draw_move(moved, unit, how.move, _aspects(shapes, views), size, upload)
    changes, varied = draw_variation(n, size, how.intensity, generator, upload)
    turns = [
        (view, upload.add((views == view).nonzero().flatten()))
        for view in views.unique().tolist()
        if view
    ]
    return Draw(turns, colours, shift, changes, torch.where(moved | coloured | varied, -1, views))


def change(
    images: Tensor, masks: Tensor, drawn: Draw, how: Augmentation, sent: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """(images, masks) changed as drawn; the input is left alone.

    sent: what the draw's upload gave on the images' device. The host waits for nothing.
    """
    images, masks = _turn(images, drawn.turns, sent), _turn(masks, drawn.turns, sent)
    images = jitter(images, drawn.colours)
    if drawn.shift is not None:
        images, masks = move(images, masks, drawn.shift, how.move, sent)
    return vary(images, drawn.changes, sent), masks


def augment(
    images: Tensor,
    masks: Tensor,
    how: Augmentation,
    generator: torch.Generator,
    shapes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(images, masks, views): one random draw per sample, uploaded and applied.

    shapes: int64 (N, 2), (height, width) of each picture before it was made square, None where it
    was square; read by policies that rotate before the resize. views: int64 (N,) on the CPU, the
    discrete view of each sample, -1 where its picture was also changed continuously.
    """
    upload = Upload()
    size = (images.shape[-2], images.shape[-1])
    drawn = draw(len(images), size, how, generator, upload, shapes)
    return *change(images, masks, drawn, how, upload.send(images.device)), drawn.views


def _aspects(shapes: Tensor | None, views: Tensor) -> Tensor | None:
    """Height over width of each picture as its view shows it, float32 (N,)."""
    if shapes is None:
        return None
    aspects = shapes[:, 0] / shapes[:, 1]
    return torch.where(views % 2 == 1, 1 / aspects, aspects)


def _turn(x: Tensor, turns: list[tuple[int, int]], sent: list[Tensor]) -> Tensor:
    out = x.clone()
    for view, place in turns:
        at = sent[place]
        out[at] = apply_view(x[at], view)
    return out
