"""Latents are encoded once per weights, case and view, and shared by every process."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_doubles import CASES, Summary, arrays

from bench.core.checksums import Damaged, seal
from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.training import latents as latents_module
from bench.training.augment import apply_view
from bench.training.latents import SHARD, LatentSource
from bench.training.transfers import Upload


def source(tmp_path: Path, tokenizer: Summary | None = None, **options) -> LatentSource:
    return LatentSource(tokenizer or Summary(), arrays(), tmp_path, torch.device("cpu"), **options)


def batch(latents: LatentSource, images, masks, cases, views):
    """The latents of one batch, read and uploaded as training does."""
    upload = Upload()
    reading = latents.read(cases, views, upload)
    return latents.batch(images, masks, reading, upload.send(latents.device))


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
    found, of_masks, std = batch(latents, images, masks, cases, views)
    tokenizer = Summary()
    assert torch.allclose(found, tokenizer.encode(images), atol=1e-6)
    assert torch.allclose(of_masks, tokenizer.encode(masks.expand(-1, 3, -1, -1)), atol=1e-6)
    assert std is None
    assert not found.requires_grad


def test_views_are_encoded_and_never_turned_latents(tmp_path):
    latents = source(tmp_path)
    plain, turned = latents.images([4], view=0), latents.images([4], view=1)
    assert (torch.rot90(plain, 1, (-2, -1)) - turned).abs().max() > 0.01


@pytest.mark.parametrize("views", [[3, 0], [-1, -1], [5, -1]])
def test_the_deviation_is_that_of_the_images_not_of_the_masks(tmp_path, views):
    latents = source(tmp_path, Summary(has_posterior=True))
    images, masks, cases, views = batch_of(latents, [1, 18], views)
    of_images, of_masks, std = batch(latents, images, masks, cases, views)
    mean, expected = Summary(has_posterior=True).posterior(images)
    assert torch.allclose(of_images, mean, atol=1e-6)
    assert torch.allclose(std, expected, atol=1e-5)
    assert (std - (of_masks + 10)).abs().max() > 0.1


def test_every_case_gets_its_own_latents(tmp_path):
    """More cases than a shard, in no order, and all different."""
    latents = source(tmp_path)
    cases = [19, 2, 16, 0, 15, 7]
    images, masks, at, views = batch_of(latents, cases, [0] * 6)
    of_images, of_masks, _ = batch(latents, images, masks, at, views)
    for row, case in enumerate(cases):
        image = torch.from_numpy(latents.arrays.images[case]).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(latents.arrays.masks[case])[None, None].float()
        assert torch.allclose(of_images[row : row + 1], Summary().encode(image), atol=1e-6)
        assert torch.allclose(
            of_masks[row : row + 1], Summary().encode(mask.expand(-1, 3, -1, -1)), atol=1e-6
        )
    assert torch.equal(latents.images(cases), of_images)


def test_changed_pictures_are_encoded_and_stored_latents_are_not_used_for_them(tmp_path):
    """View -1: noise or blur changed the picture, so its latents are its own."""
    latents = source(tmp_path)
    images, masks, cases, _ = batch_of(latents, [4, 17], [0, 0])
    noisy = (images + 0.3 * torch.rand(images.shape)).clamp(0, 1)
    found, *_ = batch(latents, noisy, masks, cases, torch.tensor([-1, -1]))
    assert torch.allclose(found, Summary().encode(noisy), atol=1e-6)
    assert (found - latents.images([4, 17])).abs().max() > 0.01


# What the method does not read is not encoded


@pytest.mark.parametrize(
    "kinds, encoded", [(("image",), CASES), (("mask",), CASES), (("mask", "image"), 2 * CASES)]
)
@pytest.mark.parametrize("view", [0, -1])
def test_only_the_kinds_asked_for_are_encoded_and_given(tmp_path, kinds, encoded, view):
    latents = source(tmp_path, Summary(has_posterior=True), kinds=kinds)
    images, masks, *rest = batch_of(latents, list(range(CASES)), [view] * CASES)
    of_images, of_masks, std = batch(latents, images, masks, *rest)
    assert sum(latents.tokenizer.batches) == encoded
    assert (of_images is None, of_masks is None, std is None) == (
        "image" not in kinds,
        "mask" not in kinds,
        "image" not in kinds,
    )
    mean, deviation = Summary().posterior(images)
    if of_images is not None:
        assert torch.allclose(of_images, mean, atol=1e-6)
        assert torch.allclose(std, deviation, atol=1e-5)
    if of_masks is not None:
        expected = Summary().encode(masks.expand(-1, 3, -1, -1))
        assert torch.allclose(of_masks, expected, atol=1e-6)


def test_the_order_of_kinds_does_not_matter_and_other_kinds_have_other_files(tmp_path):
    source(tmp_path, kinds=("image", "mask")).images([0])
    same = source(tmp_path, kinds=("mask", "image"))
    same.images([0])
    assert same.counts()["misses"] == 0
    other = source(tmp_path, kinds=("image",))
    other.images([0])
    assert other.counts()["misses"] == SHARD


@pytest.mark.parametrize("kinds", [(), ("images",), ("image", "text")])
def test_unknown_kinds_are_refused(tmp_path, kinds):
    with pytest.raises(ValueError, match="are not one or more of image, mask"):
        source(tmp_path, kinds=kinds)


def test_latents_of_images_need_a_source_of_images(tmp_path):
    with pytest.raises(ValueError):
        source(tmp_path, kinds=("mask",)).images([0])


def test_stored_latents_are_computed_in_float32_and_others_in_the_precision_of_the_cell(tmp_path):
    class Recording(Summary):
        def encode(self, images):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().encode(images)

    seen: list[bool] = []
    latents = source(tmp_path, Recording(), precision="bf16")
    batch(latents, *batch_of(latents, [0], [0]))
    batch(latents, *batch_of(latents, [0], [-1]))
    assert seen == [False, True]


# The cache


def test_a_second_cell_encodes_nothing_and_counts_its_hits(tmp_path):
    first, second = source(tmp_path), source(tmp_path)
    batch(first, *batch_of(first, [0, 1, 2], [0, 0, -1]))
    assert first.counts() == {"hits": 1, "misses": SHARD, "on_the_fly": 1}
    batch(second, *batch_of(second, [0, 1, 15], [0, 0, 0]))
    assert second.counts() == {"hits": 3, "misses": 0, "on_the_fly": 0}
    assert second.tokenizer.batches == []


def test_continuous_samples_are_encoded_image_and_mask_in_one_batch(tmp_path):
    latents = source(tmp_path)
    batch(latents, *batch_of(latents, [0, 1, 2], [-1, -1, -1]))
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
    files = sorted(f.suffix for f in tmp_path.rglob("*") if f.is_file())
    assert files == [".npy"] * 6 + [".sha256"] * 6  # and no temporary file
    alone = source(tmp_path / "alone")
    assert np.array_equal(alone.images(range(CASES), view=2).numpy(), one)


def shortened(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def overwritten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")


def no_array(file: Path) -> None:
    file.write_bytes(b"\x00\xff" * 100)


def without_checksum(file: Path) -> None:
    file.with_name(f"{file.name}.sha256").unlink()


def sealed_but_of_another_shape(file: Path) -> None:
    np.save(file, np.zeros((SHARD, 2, 3, 2, 1), np.float32))
    seal(file)


def sealed_but_of_another_type(file: Path) -> None:
    np.save(file, np.load(file).astype(np.float64))
    seal(file)


@pytest.mark.parametrize(
    "damage",
    [
        shortened,
        overwritten,
        no_array,
        without_checksum,
        sealed_but_of_another_shape,
        sealed_but_of_another_type,
    ],
)
def test_a_damaged_file_is_named_set_aside_and_encoded_again(tmp_path, caplog, damage):
    before = source(tmp_path).images([0, 1])
    file = next(tmp_path.rglob("*.npy"))
    damage(file)

    again = source(tmp_path)
    assert torch.equal(again.images([0, 1]), before)
    assert again.counts() == {"hits": 1, "misses": SHARD, "on_the_fly": 0}
    (warning,) = caplog.messages
    assert str(file) in warning
    assert warning.endswith(f"It is kept as {file.name}.damaged and made anew.")
    assert file.with_name(f"{file.name}.damaged").exists()

    third = source(tmp_path)
    third.images([0, 1])
    assert third.counts()["misses"] == 0 and len(caplog.messages) == 1


def test_a_missing_file_is_encoded_again_without_a_warning(tmp_path, caplog):
    before = source(tmp_path).images([0])
    next(tmp_path.rglob("*.npy")).unlink()
    assert torch.equal(source(tmp_path).images([0]), before)
    assert caplog.messages == []


def test_a_disk_that_changes_what_is_written_is_named(tmp_path, monkeypatch):
    def broken(path):
        raise Damaged(f"{path} does not have its sha256")

    monkeypatch.setattr(latents_module, "verify", broken)
    with pytest.raises(BenchError, match="although it was just written. Check the disk"):
        source(tmp_path).images([0])


def test_untrained_tokenizers_have_nothing_to_store_under(tmp_path):
    tokenizer = Summary()
    tokenizer.weights_hash = "untrained"
    with pytest.raises(ValueError, match="no weights hash"):
        source(tmp_path, tokenizer)


def test_latents_of_a_gpu_have_files_of_their_own(tmp_path):
    folders = {
        LatentSource(Summary(), arrays(), tmp_path, torch.device(name)).folder.parent.name
        for name in ("cpu", "cuda:0", "cuda:1")
    }
    assert folders == {f"{'ab' * 16}-16px-v2", f"{'ab' * 16}-16px-v2-cuda"}


@pytest.fixture
def matmul_in_tf32():
    """Convolutions may be in TF32 by torch's default; here matrix products as well."""
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def test_stored_latents_are_computed_without_tf32_and_others_as_before(tmp_path, matmul_in_tf32):
    class Watching(Summary):
        allowed: list[bool] = []

        def encode(self, images):
            self.allowed.append(torch.backends.cudnn.allow_tf32)
            self.allowed.append(torch.backends.cuda.matmul.allow_tf32)
            return super().encode(images)

    latents = source(tmp_path, Watching())
    batch(latents, *batch_of(latents, [0], [0]))  # stored
    batch(latents, *batch_of(latents, [0], [-1]))  # encoded on the fly
    assert Watching.allowed == [False, False, True, True]
