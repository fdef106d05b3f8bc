"""The contract of a method, as checks that run on a CPU with four small phantoms.

Everything goes through the pieces that a real run uses: `TrainingBatches`, `LatentSource`,
`probabilities` and the trainer.
"""

import random
import re
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.conformance.checks import Broken, Skipped, Step
from bench.conformance.declared import declared_powers_are_valid, names_are_the_contracts
from bench.conformance.describe import describe_method
from bench.conformance.file_watch import FileWatch
from bench.conformance.subject import CASES, CPU, Subject
from bench.contracts import PRESETS, Settings, Tokenizer
from bench.core.errors import unknown_name
from bench.core.frozen import validated
from bench.registry import get_method
from bench.training.augment import policy
from bench.training.engine import Engine
from bench.training.losses import get_loss
from bench.training.predict import mean_dsc, probabilities
from bench.training.trainer import TrainingRun, train
from bench.training.weights import load_own_state, own_state

TARGET_DSC = 0.9
OVERFIT_STEPS = 200  # optimizer steps of Adam at 2e-3, batch 4, unless the method asks for others


def method_steps(name: str, settings: dict[str, Any], steps: int) -> tuple[Subject, list[Step]]:
    """The method's subject (enter it before running) and its checks in order."""
    spec = get_method(name)
    values = validated(spec.settings, spec.reduced | settings, f"method {name!r}")
    subject = Subject(spec, values)
    checks = {
        "facts": facts_are_complete,
        "settings": settings_are_frozen,
        "presets": presets_are_settings,
        "recipe": recipe_names_exist,
        "builds": builds,
        "names": names_are_the_contracts,
        "powers": declared_powers_are_valid,
        "counts": counts_without_weights,
        "predicts": predicts_probabilities,
        "loss": loss_is_finite,
        "gradients": gradients_reach_what_trains,
        "batch of 1": predicts_one_image,
        "odd batch": trains_on_three,
        "same seed": same_seed_same_result,
        "state": state_survives_safetensors,
        "modes": eval_is_repeatable,
        "bf16": runs_in_bfloat16,
        "isolation": sees_only_what_it_is_given,
    }
    listed: list[Step] = [(label, lambda do=do: do(subject)) for label, do in checks.items()]  # type: ignore[misc]
    return subject, [*listed, ("overfits", lambda: overfits(subject, steps))]


def facts_are_complete(subject: Subject) -> str:
    """Name, title, summary and citation are there; the reduced settings are the method's own."""
    spec = subject.spec
    missing = [f for f in ("title", "family", "summary", "citation") if not getattr(spec, f)]
    if missing:
        raise Broken(f"SPEC leaves {', '.join(missing)} empty; tables and users need them.")
    if not re.fullmatch(r"[a-z0-9][\w.:/+-]*", spec.name):
        raise Broken(f"SPEC.name is {spec.name!r}; use lower-case letters, digits and _ - . : /")
    if spec.tokenizer not in (None, "continuous", "discrete"):
        raise Broken(f"SPEC.tokenizer is {spec.tokenizer!r}; use 'continuous', 'discrete' or None.")
    return f"{spec.title} ({spec.family}); {spec.citation}"


def settings_are_frozen(subject: Subject) -> str:
    """Settings never change, refuse unknown fields, and survive JSON."""
    settings, kind = subject.settings, type(subject.settings)
    if not isinstance(settings, Settings):
        raise Broken("SPEC.settings must be a subclass of bench.contracts.Settings.")
    if kind.model_validate_json(settings.model_dump_json()) != settings:
        raise Broken("Settings change on the way through JSON; use plain numbers, text and lists.")
    if not kind.model_config.get("frozen") or kind.model_config.get("extra") != "forbid":
        raise Broken("Settings override model_config; keep frozen=True and extra='forbid'.")
    try:
        kind(**settings.model_dump(), no_such_setting=1)  # type: ignore[call-arg]
    except ValidationError:
        return f"{len(kind.model_fields)} options, frozen, JSON-able, unknown ones refused"
    raise Broken("Settings accept an unknown field; a typo in --set would pass unseen.")


def presets_are_settings(subject: Subject) -> str:
    """Presets have names that profiles use, and hold settings of the method."""
    spec = subject.spec
    for name in spec.presets:
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
    for name in PRESETS:
        validated(spec.settings, spec.preset(name), f"preset {name!r} of method {spec.name!r}")
    return ", ".join(f"{name}: {spec.preset(name) or 'no changes'}" for name in PRESETS)


def recipe_names_exist(subject: Subject) -> str:
    """The native recipe names a loss and an augmentation that the harness has."""
    recipe = subject.spec.recipe
    get_loss(recipe.loss)
    policy(recipe.augmentation)
    return f"{recipe.name}: {recipe.optimizer}, {recipe.epochs} epochs, batch {recipe.batch_size}"


def builds(subject: Subject) -> str:
    """`build` gives a network or a method."""
    method = subject.build()
    kind = "method" if method.authored is method else "network"
    return f"{kind} at {subject.side} px"


def counts_without_weights(subject: Subject) -> str:
    """At default settings it builds and infers on the meta device: no weights, no values read."""
    try:
        facts = describe_method(subject.spec.name)
    except (RuntimeError, NotImplementedError) as error:
        raise Broken(
            f"Counting on the meta device fails: {error}. With load_weights=False, build and "
            "inference may not read a tensor's values (.item(), .numpy(), if tensor: ...)."
        ) from error
    return (
        f"{facts.trainable_params:,} trainable of {facts.total_params:,} parameters, "
        f"{facts.gmacs_224:.6g} GMACs ({facts.inference} at 224 px) with default settings"
    )


def predicts_probabilities(subject: Subject) -> str:
    """One map in [0, 1] per image, as `probabilities` requires of every prediction."""
    probs = subject.predict(subject.built, [0, 1])
    return f"in [{float(probs.min()):.3f}, {float(probs.max()):.3f}]"


def loss_is_finite(subject: Subject) -> str:
    """A dict of finite scalars, "loss" among them."""
    return _require_loss(subject.loss(subject.built, subject.batch(CASES)))


def _require_loss(parts: dict[str, Tensor]) -> str:
    if not isinstance(parts, dict) or "loss" not in parts:
        raise Broken('loss(batch) must return a dict with the key "loss".')
    for name, value in parts.items():
        if not isinstance(value, Tensor) or value.ndim != 0:
            raise Broken(f"loss(batch)[{name!r}] must be a scalar tensor; reduce it with .mean().")
        if not bool(torch.isfinite(value)):
            raise Broken(f"loss(batch)[{name!r}] is {float(value.detach())} on the first batch.")
    if not parts["loss"].requires_grad:
        raise Broken('loss(batch)["loss"] has no gradient; do not detach it.')
    return ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in parts.items())


def gradients_reach_what_trains(subject: Subject) -> str:
    """Finite gradients for all that trains, none for the frozen and the declared unused."""
    method = subject.build()
    subject.loss(method, subject.batch(CASES))["loss"].backward()
    unused = set(method.unused_parameters)
    without, wrong, spare, count = [], [], [], 0
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            wrong += [name] if parameter.grad is not None else []
        elif parameter.grad is None:
            without += [] if name in unused else [name]
        elif not bool(torch.isfinite(parameter.grad).all()):
            wrong.append(name)
        else:
            spare += [name] if name in unused else []
            count += 1
    if without:
        raise Broken(
            f"{len(without)} trainable parameters get no gradient, e.g. {', '.join(without[:3])}. "
            "Use them, freeze them (requires_grad_(False)) or name them in `unused_parameters`."
        )
    if wrong:
        raise Broken(f"Gradients that are not finite, or of frozen parameters: {wrong[:3]}.")
    if spare:
        raise Broken(f"`unused_parameters` names some that do get a gradient: {spare[:3]}.")
    _require_frozen(subject.tokenizer)
    return f"{count} tensors get finite gradients, {len(unused)} are declared unused"


def _require_frozen(tokenizer: Tokenizer | None) -> None:
    if not isinstance(tokenizer, nn.Module):
        return
    for name, parameter in tokenizer.named_parameters():
        if parameter.requires_grad or parameter.grad is not None:
            raise Broken(f"Parameter {name} of the frozen tokenizer trains; leave it frozen.")


def predicts_one_image(subject: Subject) -> str:
    """A batch of one in eval mode."""
    subject.predict(subject.built, [0])
    return "a single image is predicted"


def trains_on_three(subject: Subject) -> str:
    """A batch of three in train mode, as the last batch of an epoch may be."""
    return _require_loss(subject.loss(subject.build(), subject.batch(3)))


def same_seed_same_result(subject: Subject) -> str:
    """Two builds from one torch seed agree in losses and predictions to the last bit."""
    states = random.getstate(), np.random.get_state()
    try:
        results = [_losses_and_probs(subject, other) for other in (1, 2)]
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    for first, second in zip(*results, strict=True):
        if not torch.equal(first, second):
            raise Broken(
                "Two runs from the same torch seed differ. Draw all randomness from torch's global "
                "generator, in build too; Python's random and numpy.random are not seeded."
            )
    return "two builds, three losses each and their predictions are equal"


def _losses_and_probs(subject: Subject, other_seed: int) -> list[Tensor]:
    random.seed(other_seed)
    np.random.seed(other_seed)
    method, batch = subject.build(), subject.batch(CASES)
    losses = [subject.loss(method, batch, seed)["loss"].detach() for seed in range(3)]
    return [*losses, subject.predict(method, [0, 1])]


def state_survives_safetensors(subject: Subject) -> str:
    """Own weights through a safetensors file into another instance: the same predictions."""
    method, other = subject.build(0), subject.build(1)
    subject.loss(method, subject.batch(CASES))  # moves batch statistics
    state = own_state(method)
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise Broken(f"The state holds {odd[:3]}, not tensors; keep such things in settings.")
    stored = save({name: value.contiguous().clone() for name, value in state.items()})
    load_own_state(other, load(stored))
    if not torch.equal(subject.predict(method, [0, 1]), subject.predict(other, [0, 1])):
        raise Broken(
            "A second instance with the stored weights predicts otherwise: something that changes "
            "results is neither a parameter nor a persistent buffer."
        )
    return f"{len(state)} tensors, {len(stored) / 1e6:.1f} MB"


def eval_is_repeatable(subject: Subject) -> str:
    """In eval mode nothing changes, and train() leaves the frozen tokenizer alone."""
    method = subject.build()
    first = subject.predict(method, [0, 1])
    before = {name: value.clone() for name, value in own_state(method).items()}
    method.train()
    latents = _latents(subject)  # while the method, hence its tokenizer, is in train mode
    again = subject.predict(method, [0, 1])
    changed = [name for name, value in own_state(method).items() if not value.equal(before[name])]
    if changed:
        raise Broken(f"predict() changes {changed[:3]}; in eval mode nothing may change.")
    if not torch.equal(first, again):
        raise Broken("predict() gives other values after train() and eval(); dropout left on?")
    if not torch.equal(latents, _latents(subject)):
        raise Broken("The tokenizer encodes otherwise in train mode; keep it in eval mode.")
    return "predictions repeat, weights and statistics stay"


def _latents(subject: Subject) -> Tensor:
    if subject.tokenizer is None:
        return torch.empty(0)
    with torch.no_grad():
        return subject.tokenizer.encode(subject.batch(2).images)


def runs_in_bfloat16(subject: Subject) -> str:
    """Loss, gradients and predictions stay finite under bfloat16 autocast."""
    method = subject.build()
    if method.bf16_unsupported:
        raise Skipped(method.bf16_unsupported)
    with torch.autocast("cpu", torch.bfloat16):
        parts = subject.loss(method, subject.batch(CASES))
    text = _require_loss(parts)
    parts["loss"].backward()
    grads = [p.grad for p in method.parameters() if p.grad is not None]
    if not all(bool(torch.isfinite(grad).all()) for grad in grads):
        raise Broken("Gradients overflow under bfloat16; compute that part in float32.")
    subject.predict(method, [0, 1], precision="bf16")
    return text


def sees_only_what_it_is_given(subject: Subject) -> str:
    """No data file is opened; predictions depend on no mask and on no other image."""
    method = subject.build()
    batch = subject.batch(CASES)
    state = {name: value.clone() for name, value in own_state(method).items()}
    with FileWatch(subject.folder / "decoy") as watch:
        subject.loss(method, batch)
        load_own_state(method, state)
        probs = subject.predict(method, [0, 1, 2])
    if watch.seen:
        raise Broken(f"loss or predict reads {watch.seen[0]} in a data folder; use the batch only.")
    batch.masks = 1 - batch.masks
    subject.loss(method, batch)
    load_own_state(method, state)
    if not torch.equal(probs, subject.predict(method, [0, 1, 2])):
        raise Broken("Predictions depend on the masks of the last loss(batch); keep nothing of it.")
    turned = subject.predict(method, [2, 0, 1])
    if torch.allclose(turned, probs[[2, 0, 1]], atol=1e-4):
        return "no data file is read, no mask kept, images are predicted one by one"
    if torch.equal(probs, subject.predict(method, [0, 1, 2], seed=1)):
        raise Broken("An image's prediction depends on the others in its batch (eval mode).")
    raise Broken(
        "A sampled prediction depends on the image's place in its batch. Draw with "
        "self.noise(shape, device): each image then has noise of its own."
    )


class _Reached(Exception):
    """The target is reached; training can stop."""


def overfits(subject: Subject, steps: int, check_every: int = 20) -> str:
    """Adam through the real trainer learns four phantoms by heart within the budget."""
    method = subject.build()
    steps = method.overfit_steps or steps
    scores: list[float] = []

    def validate() -> dict[str, float]:
        probs = probabilities(method, subject.arrays.images, Engine(CPU), seed=0)
        scores.append(mean_dsc(probs, subject.arrays.masks))
        if scores[-1] > TARGET_DSC:
            raise _Reached
        return {"dsc": scores[-1]}

    recipe = subject.recipe(CASES, check_every, -(-steps // check_every))
    run = TrainingRun(recipe, "best-val", {"val": validate}, 1, 0, Engine(CPU))
    try:
        train(method, subject.batches(recipe), run)
    except _Reached:
        return f"DSC {scores[-1]:.3f} after {len(scores) * check_every} of {steps} steps"
    raise Broken(
        f"Best DSC on its own {CASES} training phantoms is {max(scores):.3f} after {steps} steps of "
        f"Adam at {recipe.lr:g}; it must exceed {TARGET_DSC}. Check the loss and its sign, or set "
        "faster learning settings in SPEC.reduced."
    )
