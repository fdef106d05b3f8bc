"""Latents are encoded once per weights, case and view, and shared by every process."""

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays, NativeMasks
from bench.training.augment import apply_view
from bench.training.latents import SHARD, LatentSource

SIZE, CASES = 16, 20


class Summary(torch.nn.Module):
    """A tokenizer of factor 8 that no turn leaves alone: means weighted by place."""

    name, weights_hash = "summary", "ab" * 32
    latent_channels, factor, num_tokens = 3, 8, None

    def __init__(self, has_posterior: bool = False) -> None:
        super().__init__()
        self.has_posterior = has_posterior
        self.batches: list[int] = []
        self.weight = torch.nn.Parameter(torch.linspace(0.1, 2, 64).view(8, 8))

    def encode(self, images):
        self.batches.append(len(images))
        patches = images.unfold(2, 8, 8).unfold(3, 8, 8)
        return (patches * self.weight).mean((-1, -2))

    def posterior(self, images):
        mean = self.encode(images)
        return mean, torch.full_like(mean, 0.25)

    def decode(self, latents):
        return latents.repeat_interleave(8, -1).repeat_interleave(8, -2)


def arrays(count: int = CASES, seed: int = 0) -> CaseArrays:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    masks = rng.random((count, SIZE, SIZE)) < 0.3
    hashes = [hashlib.sha256(i.tobytes() + m.tobytes()) for i, m in zip(images, masks, strict=True)]
    native = NativeMasks(np.zeros(0, np.uint8), np.zeros((0, 2), np.int64))
    ids = tuple(f"case{i}" for i in range(count))
    keys = tuple(h.hexdigest() for h in hashes)
    return CaseArrays("made-up", ids, ids, images, masks, native, keys, "content")


def source(tmp_path: Path, tokenizer: Summary | None = None, **options) -> LatentSource:
    return LatentSource(tokenizer or Summary(), arrays(**options), tmp_path, torch.device("cpu"))


def batch_of(latents: LatentSource, cases: list[int], views: list[int]):
    images = torch.from_numpy(latents.arrays.images[cases]).permute(0, 3, 1, 2).float() / 255
    masks = torch.from_numpy(latents.arrays.masks[cases])[:, None].float()
    turn = [max(view, 0) for view in views]
    images = torch.stack([apply_view(x, v) for x, v in zip(images, turn, strict=True)])
    masks = torch.stack([apply_view(x, v) for x, v in zip(masks, turn, strict=True)])
    return images, masks, torch.tensor(cases), torch.tensor(views)


def test_stored_and_fresh_latents_are_those_of_the_augmented_pictures(tmp_path):
    latents = source(tmp_path)
    images, masks, cases, views = batch_of(latents, [3, 17, 0, 5, 9], [0, 7, -1, 2, 5])
    found, of_masks, std = latents.batch(images, masks, cases, views)
    tokenizer = Summary()
    assert torch.allclose(found, tokenizer.encode(images), atol=1e-6)
    assert torch.allclose(of_masks, tokenizer.encode(masks.expand(-1, 3, -1, -1)), atol=1e-6)
    assert std is None
    assert not found.requires_grad


def test_views_are_encoded_and_never_turned_latents(tmp_path):
    latents = source(tmp_path)
    plain, turned = latents.images([4], view=0), latents.images([4], view=1)
    assert (torch.rot90(plain, 1, (-2, -1)) - turned).abs().max() > 0.01


def test_the_posteriors_deviation_comes_along(tmp_path):
    latents = source(tmp_path, Summary(has_posterior=True))
    *_, std = latents.batch(*batch_of(latents, [1, 2], [3, -1]))
    assert torch.equal(std, torch.full((2, 3, 2, 2), 0.25))


def test_a_second_cell_encodes_nothing_and_counts_its_hits(tmp_path):
    first, second = source(tmp_path), source(tmp_path)
    first.batch(*batch_of(first, [0, 1, 2], [0, 0, -1]))
    assert first.counts() == {"hits": 1, "misses": SHARD, "on_the_fly": 1}
    second.batch(*batch_of(second, [0, 1, 15], [0, 0, 0]))
    assert second.counts() == {"hits": 3, "misses": 0, "on_the_fly": 0}
    assert second.tokenizer.batches == []


def test_continuous_samples_are_encoded_image_and_mask_in_one_batch(tmp_path):
    latents = source(tmp_path)
    latents.batch(*batch_of(latents, [0, 1, 2], [-1, -1, -1]))
    assert latents.tokenizer.batches == [6]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["weights", "pixels", "size"])
def test_other_weights_pixels_or_sizes_never_share_a_file(tmp_path, other):
    latents = source(tmp_path)
    latents.images([0])
    tokenizer, cases = Summary(), arrays(seed=1 if other == "pixels" else 0)
    if other == "weights":
        tokenizer.weights_hash = "cd" * 32
    if other == "size":
        wide = np.repeat(np.repeat(cases.images, 2, 1), 2, 2)
        masks = np.repeat(np.repeat(cases.masks, 2, 1), 2, 2)
        cases = CaseArrays(
            "made-up", cases.case_ids, cases.groups, wide, masks, cases.native_masks,
            cases.case_hashes, "content",
        )  # fmt: skip
    again = LatentSource(tokenizer, cases, tmp_path, torch.device("cpu"))
    again.images([0])
    assert again.counts()["misses"] == SHARD


def test_filling_stores_every_case_and_the_last_short_shard(tmp_path):
    latents, seen = source(tmp_path), []
    latents.fill(views=(0, 6), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert latents.counts() == {"hits": 0, "misses": 2 * CASES, "on_the_fly": 0}
    assert len(latents.images(range(CASES), view=6)) == CASES
    assert latents.counts()["hits"] == CASES


def _fill(folder: str, barrier, out) -> None:
    torch.set_num_threads(1)
    latents = source(Path(folder))
    barrier.wait(60)
    latents.fill(views=(0, 1, 2))
    out.put(latents.images(range(CASES), view=2).numpy())


def test_two_processes_fill_one_cache_and_read_the_same(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_fill, args=(str(tmp_path), barrier, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    one, two = out.get(timeout=60), out.get(timeout=60)
    for worker in workers:
        worker.join(60)
    assert np.array_equal(one, two)
    files = sorted(tmp_path.rglob("*"))
    assert [f.suffix for f in files if f.is_file()] == [".npy"] * 6  # and no temporary file
    alone = source(tmp_path / "alone")
    assert np.array_equal(alone.images(range(CASES), view=2).numpy(), one)


def test_a_damaged_file_is_named_and_not_used(tmp_path):
    source(tmp_path).images([0])
    file = next(tmp_path.rglob("*.npy"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BenchError, match=f"{file.name} is damaged.*Delete it"):
        source(tmp_path).images([0])


def test_untrained_tokenizers_have_nothing_to_store_under(tmp_path):
    tokenizer = Summary()
    tokenizer.weights_hash = "untrained"
    with pytest.raises(ValueError, match="no weights hash"):
        source(tmp_path, tokenizer)
