"""Training batches: which cases are drawn, in which order, and with which pixels and latents."""

import dataclasses

import numpy as np
import pytest
import torch
from latent_doubles import CASES, Summary, arrays

from bench.contracts import Batch
from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays, NativeMasks
from bench.data.pixels import pack
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.latents import LatentSource

CPU = torch.device("cpu")
PLAIN = Recipe(name="plain", batch_size=4, augmentation="none")
TRAIN = np.array([1, 3, 4, 6, 8, 9, 11, 13, 15, 16, 18, 19])  # beyond one shard, not from 0
"""Rows that train; the other 8 of the 20 cases validate or test."""


def batches_of(
    rows=TRAIN, seed: int = 0, cases: CaseArrays | None = None, latents=None, **changes
) -> TrainingBatches:
    recipe = PLAIN.model_copy(update=changes)
    return TrainingBatches(cases or arrays(), rows, recipe, seed, CPU, latents)


def rows_of(batch: Batch) -> list[int]:
    """Which cases' pixels a batch holds, found by comparing them with every case's."""
    images = (batch.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.flatnonzero((arrays().images == image).all((1, 2, 3))) for image in images]
    assert all(len(found) == 1 for found in rows)
    return [int(found[0]) for found in rows]


def drawn(batches: TrainingBatches, epoch: int = 0) -> list[list[int]]:
    return [rows_of(batch) for batch in batches.epoch(epoch)]


# Which cases


def test_an_epoch_holds_every_training_case_once_and_no_other():
    epoch = drawn(batches_of())
    assert [len(batch) for batch in epoch] == [4, 4, 4]
    assert sorted(row for batch in epoch for row in batch) == TRAIN.tolist()


@pytest.mark.parametrize("steps", [3, 7])
def test_cases_that_do_not_train_never_appear(steps):
    batches = batches_of(steps_per_epoch=steps)
    seen = {row for epoch in range(5) for batch in drawn(batches, epoch) for row in batch}
    assert seen == set(TRAIN.tolist())


def test_the_order_is_pinned():
    """Every stored training rests on it."""
    assert drawn(batches_of()) == [[8, 3, 15, 13], [9, 4, 11, 16], [19, 1, 18, 6]]
    assert rows_of(next(batches_of(seed=1).epoch(0))) == [19, 9, 11, 4]


@pytest.mark.parametrize("steps, shuffles", [(None, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_no_more_shuffles_are_drawn_than_the_epoch_needs(monkeypatch, steps, shuffles):
    """Augmentations draw from the same generator after them. 12 cases are three batches of 4."""
    drawn_so_far, shuffle = [], torch.randperm

    def counted(n, generator):
        drawn_so_far.append(n)
        return shuffle(n, generator=generator)

    monkeypatch.setattr(torch, "randperm", counted)
    list(batches_of(steps_per_epoch=steps).epoch(0))
    assert drawn_so_far == [12] * shuffles


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    batches = batches_of()
    orders = [drawn(batches, epoch) for epoch in range(4)]
    orders += [drawn(batches_of(seed=seed)) for seed in (1, 2)]
    assert len({str(order) for order in orders}) == 6


def test_an_epoch_depends_on_its_number_alone_not_on_those_before():
    batches = batches_of()
    drawn(batches, 0)
    assert drawn(batches, 3) == drawn(batches_of(), 3)


def test_a_second_epoch_draws_other_augmentations():
    """One case in batches of one: only its augmentation can change."""
    batches = batches_of(rows=np.array([5]), batch_size=1, augmentation="shared")
    pictures = [next(batches.epoch(epoch)).images for epoch in range(4)]
    assert all(not torch.equal(pictures[0], other) for other in pictures[1:])
    assert torch.equal(next(batches.epoch(0)).images, pictures[0])


# How many


@pytest.mark.parametrize(
    "cases, size, drop_last, sizes",
    [
        (8, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (9, 4, True, [4, 4]),
        (9, 4, False, [4, 4, 1]),  # as the originals do: one image is a batch
        (10, 4, True, [4, 4]),
        (10, 4, False, [4, 4, 2]),
        (11, 4, False, [4, 4, 3]),
        (4, 4, True, [4]),
        (3, 1, False, [1, 1, 1]),
        (3, 4, False, [3]),  # a batch larger than the training set is one smaller batch
    ],
)
def test_sizes_of_batches(cases, size, drop_last, sizes):
    batches = batches_of(np.arange(cases), batch_size=size, drop_last=drop_last)
    assert [len(batch.images) for batch in batches.epoch(0)] == sizes
    assert batches.steps == len(sizes)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_a_fixed_number_of_steps_has_full_batches_and_starts_over_when_all_are_drawn(steps):
    batches = batches_of(rows=np.arange(10), steps_per_epoch=steps)
    epoch = drawn(batches)
    assert [len(batch) for batch in epoch] == [4] * steps == [4] * batches.steps
    flat = [row for batch in epoch for row in batch]
    counts = [flat.count(row) for row in range(10)]
    assert max(counts) - min(counts) <= 1 and sum(counts) == 4 * steps


def test_a_pass_without_its_rest_dropped_holds_every_case_once():
    batches = batches_of(drop_last=False, batch_size=5)
    epoch = drawn(batches)
    assert [len(batch) for batch in epoch] == [5, 5, 2]
    assert sorted(row for batch in epoch for row in batch) == TRAIN.tolist()


def test_a_fixed_number_of_steps_keeps_the_smaller_batches_of_each_pass():
    batches = batches_of(rows=np.arange(10), drop_last=False, steps_per_epoch=5)
    epoch = drawn(batches)
    assert [len(batch) for batch in epoch] == [4, 4, 2, 4, 4]
    assert sorted(row for batch in epoch[:3] for row in batch) == list(range(10))


def test_cases_drawn_with_replacement_fill_every_batch_and_repeat():
    batches = batches_of(replacement=True, drop_last=False, batch_size=5)
    epochs = [drawn(batches, epoch) for epoch in range(40)]
    assert {tuple(map(len, epoch)) for epoch in epochs} == {(5, 5, 5)}
    flat = [row for epoch in epochs for batch in epoch for row in batch]
    assert set(flat) == set(TRAIN.tolist())
    twice = sum(len(set(batch)) < 5 for epoch in epochs for batch in epoch) / 120
    assert twice == pytest.approx(1 - 11 * 10 * 9 * 8 / 12**4, abs=0.17)  # 0.618, 4 SE


def test_a_batch_larger_than_the_training_set_is_refused():
    assert batches_of(np.arange(4)).steps == 1
    message = "batches of 4, but made-up has only 3 training cases .*--set recipe.batch_size=4"
    with pytest.raises(BenchError, match=message):
        batches_of(np.arange(3))


# Foreground


def some_empty(full: list[int]) -> CaseArrays:
    """Only the cases in `full` have foreground."""
    cases = arrays()
    for row in range(CASES):
        cases.masks[row] = False
    for row in full:
        cases.masks[row, 0, 0] = True
    return cases


@pytest.mark.parametrize(
    "share, forced", [(0.0, 0), (0.1, 0), (0.13, 1), (0.25, 1), (0.5, 2), (0.6, 2), (1.0, 4)]
)
def test_the_end_of_each_batch_is_forced_to_hold_foreground(share, forced):
    batches = batches_of(cases=some_empty([8, 19]), foreground_share=share)
    for batch in batches.epoch(0):
        rows = rows_of(batch)
        assert len(rows) == 4
        assert set(rows[4 - forced :]) <= {8, 19}
        assert batch.masks.flatten(1).any(1).tolist() == [row in (8, 19) for row in rows]


def test_forced_cases_are_drawn_among_all_with_foreground():
    batches = batches_of(cases=some_empty([1, 8, 19]), foreground_share=0.25, steps_per_epoch=40)
    assert {rows_of(batch)[-1] for batch in batches.epoch(0)} == {1, 8, 19}


def test_forcing_leaves_the_other_cases_of_the_batch():
    plain = drawn(batches_of(cases=some_empty([8])))
    forced = drawn(batches_of(cases=some_empty([8]), foreground_share=0.25))
    assert [rows[:3] for rows in forced] == [rows[:3] for rows in plain]


def test_without_any_foreground_nothing_is_forced():
    assert drawn(batches_of(cases=some_empty([]), foreground_share=0.5)) == drawn(batches_of())


# Pixels


def test_images_are_floats_between_0_and_1_and_masks_0_or_1():
    cases = arrays()
    for batch in batches_of().epoch(0):
        rows = rows_of(batch)
        images = cases.images[rows].transpose(0, 3, 1, 2) / np.float32(255)
        assert batch.images.dtype == batch.masks.dtype == torch.float32
        assert np.array_equal(batch.images.numpy(), images)
        assert np.array_equal(batch.masks.numpy(), cases.masks[rows][:, None])
        assert (batch.image_latents, batch.mask_latents, batch.image_latents_std) == (None,) * 3


def test_the_recipes_augmentation_is_applied():
    turned = [b.images for b in batches_of(augmentation="flips").epoch(0)]
    plain = [b.images for b in batches_of().epoch(0)]
    assert not torch.equal(torch.cat(turned), torch.cat(plain))
    assert torch.equal(
        torch.cat(turned).sum((1, 2, 3)).sort().values.round(decimals=2),
        torch.cat(plain).sum((1, 2, 3)).sort().values.round(decimals=2),
    )


def with_native_masks(size: int = 16) -> CaseArrays:
    """Masks stored at 2 x 2 px with one pixel set, at the top left."""
    cases = arrays()
    bits = np.tile(pack(np.array([[True, False], [False, False]])), CASES)
    native = NativeMasks(bits, np.full((CASES, 2), 2, np.int64))
    return dataclasses.replace(cases, native_masks=native)


@pytest.mark.parametrize(
    "how, row",
    [
        ("soft", [1.0, 0.75, 0.25, 0.0]),  # bilinear, without antialiasing
        ("dilated", [1.0, 1.0, 1.0, 0.0]),
    ],
)
def test_masks_between_the_stored_pixels(how, row):
    cases = with_native_masks()
    small = dataclasses.replace(cases, images=cases.images[:, :4, :4], masks=cases.masks[:, :4, :4])
    batch = next(batches_of(cases=small, masks=how).epoch(0))
    assert batch.masks.dtype == torch.float32
    assert batch.masks[0, 0, 0].tolist() == pytest.approx(row, abs=0.002)


def test_latents_of_masks_are_those_of_nearest_neighbours(tmp_path):
    latents = LatentSource(Summary(), with_native_masks(), tmp_path, CPU)
    with pytest.raises(BenchError, match="recipe.masks is 'soft'.*Set recipe.masks=nearest"):
        batches_of(cases=with_native_masks(), latents=latents, masks="soft")


# Latents


@pytest.mark.parametrize("augmentation", ["none", "discrete", "shared", "nnunet"])
def test_latents_are_those_of_the_very_pictures_of_the_batch(tmp_path, augmentation):
    """Stored latents for flips and quarter turns; moved, noisy and blurred pictures are encoded."""
    tokenizer = Summary(has_posterior=True)
    latents = LatentSource(tokenizer, arrays(), tmp_path, CPU)
    batches = batches_of(latents=latents, augmentation=augmentation)
    for epoch in range(4):
        for batch in batches.epoch(epoch):
            images, std = Summary().posterior(batch.images)
            masks = Summary().encode(batch.masks.expand(-1, 3, -1, -1))
            assert torch.allclose(batch.image_latents, images, atol=1e-5)
            assert torch.allclose(batch.image_latents_std, std, atol=1e-4)
            assert torch.allclose(batch.mask_latents, masks, atol=1e-5)
    counts = latents.counts()
    assert (counts["on_the_fly"] == 0) == (augmentation in ("none", "discrete"))
    assert counts["hits"] > 0


def test_latents_that_the_method_does_not_read_stay_none(tmp_path):
    latents = LatentSource(Summary(), arrays(), tmp_path, CPU, kinds=("mask",))
    batch = next(batches_of(latents=latents).epoch(0))
    assert batch.image_latents is None and batch.image_latents_std is None
    expected = Summary().encode(batch.masks.expand(-1, 3, -1, -1))
    assert torch.allclose(batch.mask_latents, expected, atol=1e-6)


def test_latents_change_neither_order_nor_pixels(tmp_path):
    latents = LatentSource(Summary(), arrays(), tmp_path, CPU)
    with_latents = batches_of(latents=latents, augmentation="shared").epoch(2)
    for one, other in zip(with_latents, batches_of(augmentation="shared").epoch(2), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)
