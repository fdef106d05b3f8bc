"""Prediction: each case's own image and masks, whatever batch it falls into."""

import numpy as np
import pytest
import torch
from torch import nn
from training_doubles import CPU, squares

from bench.method import Method
from bench.training.engine import Engine
from bench.training.losses import LogitsMethod
from bench.training.predict import (
    masks_on_grids,
    mean_dsc,
    probabilities,
    resize_probs,
    validation_scores,
)

TWENTY = squares(20)  # more than two batches of 8, and no two cases alike


class Bright(Method):
    """Predicts the bright pixels: every case's own mask, exactly."""

    def predict(self, images):
        return (images.amin(1, keepdim=True) > 0.5).float()


def predict(method, images=TWENTY.images, engine=CPU, seed=0, latents=None):
    return list(probabilities(method, images, engine, seed, latents))


def probs_of(*maps):
    """Probabilities (n, 1, h, w), one batch."""
    return torch.tensor(maps, dtype=torch.float32).unsqueeze(1)


# ---- batches


def test_twenty_cases_come_in_batches_of_eight_in_order():
    chunks = predict(Bright())
    assert [tuple(chunk.shape) for chunk in chunks] == [
        (8, 1, 16, 16),
        (8, 1, 16, 16),
        (4, 1, 16, 16),
    ]
    assert (torch.cat(chunks)[:, 0].bool().numpy() == TWENTY.masks).all()


def test_every_case_gets_its_own_mask_on_both_grids_in_every_batch():
    cases = np.random.default_rng(0).permutation(20)[:18]
    shapes = [TWENTY.native_masks[case].shape for case in cases]
    chunks = predict(Bright(), TWENTY.images[cases])
    network, native = masks_on_grids(iter(chunks), (16, 16), iter(shapes))
    assert (np.array(network) == TWENTY.masks[cases]).all()
    assert [mask.shape for mask in native] == shapes
    for mask, case in zip(native, cases, strict=True):
        wrong = mask ^ TWENTY.native_masks[case]  # the corners, which bilinear resizing rounds off
        assert wrong.sum() < 0.1 * mask.sum()


def test_the_validation_dsc_compares_every_case_with_its_own_mask():
    assert mean_dsc(iter(predict(Bright())), TWENTY.masks) == 1.0
    moved = np.roll(TWENTY.masks, 1, axis=0)
    assert mean_dsc(iter(predict(Bright())), moved) < 0.7


# ---- the method's state


def test_prediction_switches_off_dropout_and_batch_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
    )
    method = LogitsMethod(network, "bce")
    before = network[1].running_mean.clone()
    method.train()
    together = torch.cat(predict(method))
    method.train()
    alone = torch.cat([predict(method, TWENTY.images[i : i + 1])[0] for i in range(20)])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.equal(network[1].running_mean, before)


def test_no_gradient_is_recorded():
    seen = []

    class Watching(Bright):
        def predict(self, images):
            seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return super().predict(images)

    predict(Watching())
    assert seen == [(False, True)] * 3


@pytest.mark.parametrize("precision, inside", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_engine_sets_the_precision_and_probabilities_are_float32(precision, inside):
    seen = []

    class Mixing(Method):
        def predict(self, images):
            mixed = images @ torch.eye(16)
            seen.append(mixed.dtype)
            return mixed[:, :1].clamp(0, 1)

    chunks = predict(
        Mixing(), engine=Engine(torch.device("cpu"), precision=precision, batch_size=5)
    )
    assert seen == [inside] * 4
    assert [(len(chunk), chunk.dtype) for chunk in chunks] == [(5, torch.float32)] * 4


def test_images_are_the_pixels_over_255_placed_by_the_engine():
    class Half(Engine):
        def place(self, x):
            return super().place(x) / 2

    seen = []

    class Keeping(Bright):
        def predict(self, images):
            seen.append(images)
            return super().predict(images)

    predict(Keeping(), engine=Half(torch.device("cpu")))
    expected = torch.from_numpy(TWENTY.images).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(torch.cat(seen), expected / 2)


def test_channels_last_is_a_memory_layout_of_images_and_weights():
    engine = Engine(torch.device("cpu"), channels_last=True)
    for placed in (engine.place(torch.rand(2, 3, 4, 5)), engine.place(nn.Conv2d(3, 4, 3)).weight):
        assert placed.is_contiguous(memory_format=torch.channels_last)
        assert not placed.is_contiguous()
    assert CPU.place(torch.rand(2, 3, 4, 5)).is_contiguous()


def test_sampling_methods_answer_alike_at_every_call_and_leave_the_random_stream_alone():
    class Noisy(Method):
        def predict(self, images):
            return torch.rand(len(images), 1, 16, 16)

    before = torch.random.get_rng_state()
    first, second = predict(Noisy()), predict(Noisy())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])  # every batch has noise of its own
    assert not torch.equal(first[0], predict(Noisy(), seed=1)[0])
    assert torch.equal(before, torch.random.get_rng_state())


# ---- grids and the threshold


def test_the_native_grid_is_resized_first_and_thresholded_then():
    """Between 1 and 0.4, a grid twice as wide reads 1, 0.85, 0.55, 0.4: three pixels of foreground.
    Of the thresholded pair 1 and 0 it would read 1, 0.75, 0.25, 0: two."""
    network, native = masks_on_grids(iter([probs_of([[1.0, 0.4]])]), (1, 2), [(1, 4)])
    assert [mask.tolist() for mask in network] == [[[True, False]]]
    assert [mask.tolist() for mask in native] == [[[True, True, True, False]]]
    assert network[0].dtype == native[0].dtype == np.bool_


def test_resizing_is_bilinear_between_pixel_centres():
    found = resize_probs(probs_of([[0.0, 1.0]]), 1, 4)
    assert found.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
    same = probs_of([[0.2, 0.3]])
    assert resize_probs(same, 1, 2) is same
    assert resize_probs(same, 2, 2).shape == (1, 1, 2, 2)


def test_a_probability_of_one_half_is_background():
    probs, expected = probs_of([[0.5, 0.51], [0.49, 1.0]]), [[False, True], [False, True]]
    network, native = masks_on_grids(iter([probs]), (2, 2), [(2, 2)])
    assert network[0].tolist() == native[0].tolist() == expected
    assert mean_dsc(iter([probs]), np.array([expected])) == 1.0


def test_probabilities_of_another_size_are_resized_to_the_common_grid():
    probs, expected = probs_of([[1.0, 0.4]]), [[True, True, True, False]]
    assert mean_dsc(iter([probs]), np.array([expected])) == 1.0
    network, _ = masks_on_grids(iter([probs]), (1, 4), [(1, 2)])
    assert network[0].tolist() == expected


@pytest.mark.parametrize(
    "pred, target, expected",
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 0, 0, 0], [1, 1, 0, 0], 2 / 3),
        ([1, 1, 1, 0], [1, 0, 0, 0], 1 / 2),
        ([0, 0, 1, 1], [1, 1, 0, 0], 0.0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0.0),  # nothing to find, something said
        ([0, 0, 0, 0], [1, 0, 0, 0], 0.0),  # missed
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),  # nothing to find, nothing said
    ],
)
def test_validation_dsc_of_four_pixels_with_its_empty_rule(pred, target, expected):
    assert mean_dsc(iter([probs_of([pred])]), np.array([[target]], bool)) == pytest.approx(expected)


def test_the_validation_dsc_is_the_mean_over_images_not_over_batches():
    right, wrong = [[1.0, 0.0]], [[0.0, 1.0]]
    masks = np.array([[[True, False]]] * 4)
    assert mean_dsc(iter([probs_of(right, right, wrong), probs_of(wrong)]), masks) == 0.5


# ---- the soft Dice of GMS's release


def test_the_soft_dice_reads_probabilities_without_a_threshold():
    """2 x (0.9 + 0.4) / (0.9 + 0.4 + 0.2 + 2), whereas 0.4 is no foreground: DSC 2 / 3."""
    probs, mask = probs_of([[0.9, 0.4, 0.2, 0.0]]), np.array([[[True, True, False, False]]])
    scores = validation_scores(iter([probs]), mask, "soft-dice")
    assert scores == pytest.approx({"dsc": 2 / 3, "soft_dice": 2.6 / 3.5})
    assert validation_scores(iter([probs]), mask).keys() == {"dsc"}


def test_the_soft_dice_is_a_mean_of_batches_of_eight_whatever_the_predictions_batch():
    """Eight images, half of them right, and a right ninth: (1 / 2 + 1) / 2, not 5 / 9."""
    right, wrong = [[1.0, 0.0]], [[0.0, 1.0]]
    masks = np.array([[[True, False]]] * 9)
    for size in (1, 3, 8, 9):
        maps = [right, wrong] * 4 + [right]
        chunks = (probs_of(*maps[start : start + size]) for start in range(0, 9, size))
        scores = validation_scores(chunks, masks, "soft-dice")
        assert scores == pytest.approx({"dsc": 5 / 9, "soft_dice": 0.75})


def test_the_soft_dice_of_nothing_is_one_and_of_a_shadow_on_nothing_zero():
    masks = np.zeros((1, 1, 2), bool)
    for value, expected in ((0.0, 1.0), (0.01, 0.0)):
        chunk = iter([probs_of([[value, 0.0]])])
        assert validation_scores(chunk, masks, "soft-dice")["soft_dice"] == expected
