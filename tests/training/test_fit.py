"""Which cases a cell trains on, validates on and is scored against."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from latent_doubles import Summary
from torch import nn
from training_doubles import CPU, STEADY, squares

from bench.contracts import BuildContext, MethodSpec, Settings
from bench.data.splits import Split
from bench.method import Method
from bench.training.engine import Engine
from bench.training.fit import TrainingData, build, fit, latent_source

TWENTY = squares(20)  # no two cases alike
IDS = TWENTY.case_ids
SPLIT = Split("squares", "published", 0, train=IDS[:8], val=IDS[8:17], test=IDS[17:])


class Blind(Method):
    """Remembers the images that it trains on, and predicts the bright pixels, moved by `error`."""

    error = 0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.trained: list[torch.Tensor] = []
        self.predicted: list[torch.Tensor] = []

    def loss(self, batch):
        self.trained.append(batch.images)
        return {"loss": self.weight.sum()}

    def predict(self, images):
        self.predicted.append(images)
        return (images.amin(1, keepdim=True) > 0.5).float().roll(self.error, -1)


def fitted(
    method=None, target=TWENTY, split=SPLIT, selection="last", latents=None, metric="dsc", **changes
):
    method = method or Blind()
    recipe = STEADY.model_copy(update={"steps_per_epoch": None} | changes)
    data = TrainingData(TWENTY, target, split, latents)
    trained = fit(
        method,
        data,
        recipe,
        CPU,
        selection=selection,
        metric=metric,
        validate_every=1,
        seed=0,
        resume_file=None,
        on_progress=lambda event: None,
    )
    return method, trained.history[-1]


def cases_in(batches) -> list[str]:
    """The ids of the cases that images belong to, in their order."""
    known = {image.tobytes(): case for image, case in zip(TWENTY.images, IDS, strict=True)}
    pixels = (torch.cat(batches).permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return [known[image.tobytes()] for image in pixels]


def test_the_training_cases_train_and_no_other():
    method, _ = fitted(epochs=3)
    drawn = cases_in(method.trained)
    assert len(drawn) == 3 * 8 and sorted(set(drawn)) == sorted(SPLIT.train)


@pytest.mark.parametrize(
    "selection, val, scored",
    [
        ("last", SPLIT.val, {}),
        ("best-val", SPLIT.val, {"val_dsc": SPLIT.val}),
        ("best-test", SPLIT.val, {"val_dsc": SPLIT.val, "test_dsc": SPLIT.test}),
        ("best-test", (), {"test_dsc": SPLIT.test}),
    ],
)
def test_a_selection_rule_scores_its_own_cases_during_training(selection, val, scored):
    split = Split("squares", "published", 0, train=SPLIT.train, val=val, test=SPLIT.test)
    method, row = fitted(split=split, selection=selection)
    expected = [case for cases in scored.values() for case in cases]
    assert (cases_in(method.predicted) if method.predicted else []) == expected
    measured = {name for name in ("val_dsc", "test_dsc") if not np.isnan(row[name])}
    assert measured == set(scored)
    assert all(row[name] == 1.0 for name in measured)  # every case against its own mask


def test_validation_scores_against_the_targets_masks_at_their_size():
    """The same squares at 32 px score 1, and their complements 0, whatever the network's masks."""
    masks = TWENTY.masks.repeat(2, axis=1).repeat(2, axis=2)
    for target, expected in ((masks, 1.0), (~masks, 0.0)):
        _, row = fitted(target=replace(TWENTY, masks=target), selection="best-val")
        assert row["val_dsc"] == expected


def test_the_protocols_metric_is_measured_beside_the_dsc():
    """Bright pixels at 0.6 on masks of them: 2 x 0.6 / 1.6, and a DSC of 1."""

    class Pale(Blind):
        def predict(self, images):
            return 0.6 * super().predict(images)

    _, row = fitted(Pale(), selection="best-test", metric="soft-dice")
    assert (row["test_dsc"], row["test_soft_dice"]) == (1.0, pytest.approx(0.75))
    assert np.isnan(fitted(Pale(), metric="soft-dice")[1]["test_soft_dice"])


def test_validation_notices_a_wrong_prediction():
    """Squares of 6 px moved by 3 px: 2 x 18 / 72."""

    class Moved(Blind):
        error = 3

    _, row = fitted(Moved(), selection="best-val")
    assert row["val_dsc"] == pytest.approx(0.5, abs=0.1)  # at the right edge they wrap around


class Stored:
    """Latents that tell which case they are of."""

    def __init__(self, *kinds):
        self.kinds = kinds
        self.asked: list[int] = []

    def read(self, cases, views, upload):
        return "nothing"

    def batch(self, images, masks, reading, sent):
        return None, None, None

    def images(self, cases, view=0):
        self.asked += [int(case) for case in cases]
        return torch.from_numpy(TWENTY.masks[cases]).float()[:, None]


def test_validation_predicts_from_stored_latents_where_the_method_can():
    class FromLatents(Blind):
        def predict_latents(self, image_latents):
            return image_latents

    stored = Stored("image")
    method, row = fitted(FromLatents(), selection="best-val", latents=stored)
    assert stored.asked == list(range(8, 17)) and method.predicted == []
    assert row["val_dsc"] == 1.0
    for other, latents in ((Blind(), Stored("image")), (FromLatents(), Stored("mask"))):
        method, _ = fitted(other, selection="best-val", latents=latents)
        assert latents.asked == [] and cases_in(method.predicted) == list(SPLIT.val)


# ---- before training


def built(seed: int, tokenizer=None) -> Method:
    """A network of random weights, as a cell of this seed starts with it."""
    spec = MethodSpec(
        name="tiny", title="Tiny", family="CNN", summary="s", citation="c", upstream="u",
        licence="l", build=lambda settings, context: nn.Conv2d(3, 1, 3),
    )  # fmt: skip
    return build(spec, Settings(), STEADY, BuildContext(16, tokenizer), seed, CPU)


def test_the_first_weights_are_drawn_by_the_cells_seed_alone():
    weights = []
    for seed in (0, 0, 1):
        torch.rand(3)  # what was drawn before does not count
        weights.append(torch.cat([p.flatten() for p in built(seed).parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_tokenizer_that_is_a_module_is_put_on_the_engines_device():
    class Placed(nn.Module):
        device = None

        def to(self, device):
            self.device = device
            return self

    tokenizer = Placed()
    built(0, tokenizer)
    assert tokenizer.device == CPU.device
    built(0, object())  # one that is no module stays where it is


class Reads(Blind):
    latent_inputs = ("image",)


def test_latents_are_cached_where_there_is_a_tokenizer_and_the_loss_reads_them(tmp_path):
    bf16 = Engine(torch.device("cpu"), "bf16")
    source = latent_source(Reads(), Summary(), TWENTY, tmp_path, bf16)
    assert (source.kinds, source.precision) == (("image",), "bf16")
    assert source.arrays is TWENTY and source.folder.is_relative_to(tmp_path)
    assert latent_source(Blind(), Summary(), TWENTY, tmp_path, CPU) is None  # reads none
    assert latent_source(Reads(), None, TWENTY, tmp_path, CPU) is None


def test_training_data_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TrainingData(TWENTY, TWENTY, SPLIT, None).latents = None
