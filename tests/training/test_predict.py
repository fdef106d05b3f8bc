"""Prediction: each case's own image, latents and masks, whatever batch it falls into."""

import numpy as np
import pytest
import torch
from torch import nn
from training_doubles import CPU, squares

from bench.data.arrays import CaseArrays
from bench.training.engine import Engine
from bench.training.predict import mean_dsc, probabilities, resize_probs, score

TWENTY = squares(20)  # more than two batches of 8, and no two cases alike


class Bright(nn.Module):
    """Predicts the bright pixels: every case's own mask, exactly."""

    def predict(self, images):
        return (images.amin(1, keepdim=True) > 0.5).float()


def predict(method, images=TWENTY.images, engine=CPU, seed=0, latents=None):
    return list(probabilities(method, images, engine, seed, latents))


def arrays(masks, native_masks=None) -> CaseArrays:
    masks = np.array(masks, dtype=bool)
    ids = tuple(f"c{number}" for number in range(len(masks)))
    return CaseArrays(
        dataset="drawn",
        case_ids=ids,
        groups=ids,
        images=np.zeros((*masks.shape, 3), np.uint8),
        masks=masks,
        native_masks=[np.array(m, dtype=bool) for m in native_masks or masks],
        case_hashes=ids,
        content_hash="drawn",
    )


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


def test_every_case_is_scored_against_its_own_mask_in_every_batch():
    """Squares of 6 px, 2 px apart: another case's mask scores 2/3 or less on either grid."""
    cases = np.random.default_rng(0).permutation(20)[:18]
    rows, _ = score(iter(predict(Bright(), TWENTY.images[cases])), TWENTY, cases)
    assert len(rows) == 36 and rows["dsc"].min() > 0.95  # on native grids, bilinear corners differ
    for grid in ("network", "native"):
        own = rows[rows["grid"] == grid]
        assert own["case_id"].tolist() == [f"c{case}" for case in cases]
        assert own["group"].tolist() == [f"g{case}" for case in cases]
    native = rows[rows["grid"] == "native"]
    assert native["height"].tolist() == [16 * (case % 4 + 1) for case in cases]
    assert native["width"].tolist() == [16 * (case % 3 + 1) for case in cases]
    network = rows[rows["grid"] == "network"]
    assert set(zip(network["height"], network["width"], strict=True)) == {(16, 16)}
    assert network["dsc"].tolist() == [1.0] * 18


def test_the_validation_dsc_compares_every_case_with_its_own_mask():
    assert mean_dsc(iter(predict(Bright())), TWENTY.masks) == 1.0
    moved = np.roll(TWENTY.masks, 1, axis=0)
    assert mean_dsc(iter(predict(Bright())), moved) < 0.7


def test_every_batch_gets_its_own_latents():
    class FromLatents(nn.Module):
        def predict_latents(self, latents):
            return latents[:, :1, :1, :1].expand(-1, 1, 16, 16)

    values = torch.arange(20) / 20
    latents = values[:, None, None, None].expand(20, 4, 2, 2)
    found = torch.cat(predict(FromLatents(), latents=latents))
    assert torch.equal(found[:, 0, 3, 5], values)


# ---- the method's state


def test_prediction_switches_off_dropout_and_batch_statistics():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
    )
    network.predict = lambda images: network.forward(images).sigmoid()
    before = network[1].running_mean.clone()
    network.train()
    alone = [predict(network, TWENTY.images[i : i + 1])[0] for i in range(20)]
    network.train()
    assert torch.allclose(torch.cat(predict(network)), torch.cat(alone), atol=1e-6)
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

    class Mixing(nn.Module):
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
    class Noisy(nn.Module):
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
    target = arrays([[[1, 0]]], native_masks=[[[1, 1, 1, 0]]])
    rows, _ = score(iter([probs_of([[1.0, 0.4]])]), target, np.array([0]))
    assert rows["grid"].tolist() == ["network", "native"]
    assert rows[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[1, 0, 0, 1], [3, 0, 0, 1]]


def test_resizing_is_bilinear_between_pixel_centres():
    found = resize_probs(probs_of([[0.0, 1.0]]), 1, 4)
    assert found.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
    same = probs_of([[0.2, 0.3]])
    assert resize_probs(same, 1, 2) is same
    assert resize_probs(same, 2, 2).shape == (1, 1, 2, 2)


def test_a_probability_of_one_half_is_background():
    probs = probs_of([[0.5, 0.51], [0.49, 1.0]])
    rows, preds = score(iter([probs]), arrays([[[0, 1], [0, 1]]]), np.array([0]), examples=1)
    assert rows["dsc"].tolist() == [1.0, 1.0]
    assert preds.tolist() == [[[False, True], [False, True]]]
    assert mean_dsc(iter([probs]), np.array([[[False, True], [False, True]]])) == 1.0


def test_probabilities_of_another_size_are_resized_to_the_networks_grid():
    probs = probs_of([[1.0, 0.4]])
    masks = np.array([[[True, True, True, False]]])
    assert mean_dsc(iter([probs]), masks) == 1.0
    rows, _ = score(iter([probs]), arrays(masks), np.array([0]))
    assert rows["tp"].tolist() == [3, 3]


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


def test_the_first_examples_are_kept_as_masks_at_network_size():
    cases = np.arange(19, -1, -1)
    chunks = predict(Bright(), TWENTY.images[cases])
    _, preds = score(iter(chunks), TWENTY, cases, examples=10)
    assert (preds == TWENTY.masks[cases[:10]]).all()
    assert len(score(iter(chunks), TWENTY, cases)[1]) == 0
