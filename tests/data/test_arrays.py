"""Arrays: each case decoded once, the cache shared and never half-written."""

import errno
import json
import threading

import numpy as np
import pytest
from data_doubles import busi, glas, make_busi, make_glas, tree
from PIL import Image

from bench.core.errors import BenchError
from bench.data import arrays, phantoms
from bench.data.arrays import NativeMasks, load_arrays, phantom_arrays, phantom_index
from bench.data.pixels import pack, unpack
from bench.data.prepare import prepare, read_index
from bench.data.splits import make_split


@pytest.fixture
def folder(tmp_path):
    prepare(busi(), make_busi(tmp_path / "source"), tmp_path / "data")
    return tmp_path / "data" / "busi"


def test_images_are_bilinear_and_masks_nearest(tmp_path, folder):
    loaded = load_arrays(folder, 8, tmp_path / "cache")
    assert loaded.case_ids == read_index(folder).case_ids
    image = Image.open(folder / "images" / "benign_1.png").convert("RGB")
    mask = Image.open(folder / "masks" / "benign_1.png")
    assert (loaded.images[0] == np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))).all()
    assert (loaded.masks[0] == np.asarray(mask.resize((8, 8), Image.Resampling.NEAREST))).all()
    assert (loaded.images.dtype, loaded.images.shape) == (np.uint8, (7, 8, 8, 3))
    assert (loaded.masks.dtype, loaded.masks.shape) == (np.bool_, (7, 8, 8))


def test_native_masks_are_the_stored_ones(tmp_path, folder):
    loaded = load_arrays(folder, 8, tmp_path / "cache")
    stored = np.asarray(Image.open(folder / "masks" / "benign_2.png"))
    assert (loaded.native_masks[1] == stored).all() and stored.sum() == 13
    assert (loaded.native_masks[-1] == loaded.native_masks[6]).all()
    assert len(list(loaded.native_masks)) == len(loaded.native_masks) == 7
    assert [mask.shape for mask in loaded.native_masks[1:3]] == [(16, 20)] * 2
    with pytest.raises(IndexError):
        loaded.native_masks[7]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 9)])
def test_bits_come_back_as_the_mask(shape):
    mask = np.random.default_rng(0).random(shape) > 0.5
    assert (unpack(pack(mask), *shape) == mask).all()


def test_native_masks_of_different_sizes_share_one_run_of_bytes():
    masks = [np.ones((3, 3), bool), np.zeros((2, 5), bool), np.eye(4, dtype=bool)]
    bits = np.concatenate([pack(mask) for mask in masks])
    held = NativeMasks(bits, np.array([mask.shape for mask in masks], np.int64))
    assert all((one == mask).all() for one, mask in zip(held, masks, strict=True))
    with pytest.raises(ValueError, match="6 bytes of masks, 4 wanted"):
        NativeMasks(bits, np.array([[3, 3], [2, 5]], np.int64))


def test_the_second_load_decodes_nothing(tmp_path, folder, monkeypatch):
    first = load_arrays(folder, 8, tmp_path / "cache")

    def never(path):
        raise AssertionError(f"decoded {path}")

    monkeypatch.setattr(arrays, "load", never)
    second = load_arrays(folder, 8, tmp_path / "cache")
    assert (first.images == second.images).all()
    assert first.case_hashes == second.case_hashes and first.content_hash == second.content_hash
    with pytest.raises(AssertionError, match="decoded"):
        load_arrays(folder, 16, tmp_path / "cache")


def test_arrays_cannot_be_written_by_accident(tmp_path, folder):
    with pytest.raises(ValueError, match="read-only"):
        load_arrays(folder, 8, tmp_path / "cache").images[0] = 0


def test_case_hashes_tell_cases_and_sizes_apart(tmp_path, folder):
    small, large = (load_arrays(folder, size, tmp_path / "cache") for size in (8, 16))
    assert len(set(small.case_hashes) | set(large.case_hashes)) == 14
    assert small.content_hash != large.content_hash


def test_other_cases_get_other_arrays(tmp_path, folder):
    before = load_arrays(folder, 8, tmp_path / "cache")
    prepare(busi(), tmp_path / "source", folder.parent, leave_out=["benign_1"])
    after = load_arrays(folder, 8, tmp_path / "cache")
    assert after.case_ids == before.case_ids[1:]
    assert after.case_hashes == before.case_hashes[1:]


def test_groups_come_from_the_index_not_from_the_cache(tmp_path):
    prepare(glas(), make_glas(tmp_path / "source"), tmp_path / "data")
    first = load_arrays(tmp_path / "data" / "glas", 8, tmp_path / "cache")
    table = next((tmp_path / "source").glob("*/Grade.csv"))
    table.write_bytes(table.read_bytes().replace(b",1,", b",6,"))
    prepare(glas(), tmp_path / "source", tmp_path / "data")
    second = load_arrays(tmp_path / "data" / "glas", 8, tmp_path / "cache")
    assert "1" in first.groups and "1" not in second.groups
    assert len(list((tmp_path / "cache" / "arrays").iterdir())) == 1


def test_rows_are_looked_up_by_case(tmp_path, folder):
    loaded = load_arrays(folder, 8, tmp_path / "cache")
    assert loaded.rows(["malignant_1", "benign_1"]).tolist() == [4, 0]
    with pytest.raises(KeyError):
        loaded.rows(["nobody"])


def test_a_file_changed_after_preparing_is_refused(tmp_path, folder):
    Image.new("RGB", (20, 16)).save(folder / "images" / "benign_1.png")
    with pytest.raises(BenchError, match=r"benign_1\.png or its mask changed.*Prepare busi again"):
        load_arrays(folder, 8, tmp_path / "cache")
    (folder / "masks" / "benign_1.png").unlink()
    with pytest.raises(BenchError, match="does not exist. Prepare again"):
        load_arrays(folder, 8, tmp_path / "cache")
    assert tree(tmp_path / "cache") == ["arrays"]


def test_a_full_disk_leaves_no_cache(tmp_path, folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "pack", full)
    with pytest.raises(BenchError, match="Cannot cache busi at 8 pixels in .*the disk is full"):
        load_arrays(folder, 8, tmp_path / "cache")
    assert tree(tmp_path / "cache") == ["arrays"]


def test_two_builders_at_once_agree(tmp_path, folder):
    gate, results = threading.Barrier(2), []

    def wait(done, total):
        if done == 1:
            gate.wait(timeout=10)  # both are building before either has finished

    def build():
        results.append(load_arrays(folder, 8, tmp_path / "cache", progress=wait))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results[0].images == results[1].images).all()
    assert len(list((tmp_path / "cache" / "arrays").iterdir())) == 1


def test_a_damaged_cache_says_which_folder_to_delete(tmp_path, folder):
    load_arrays(folder, 8, tmp_path / "cache")
    (place,) = (tmp_path / "cache" / "arrays").iterdir()
    images = place / "images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(BenchError, match=rf"{place.name} are damaged .*Delete the folder"):
        load_arrays(folder, 8, tmp_path / "cache")


def test_ham10000_at_224_fits_in_3_gb(tmp_path, folder):
    load_arrays(folder, 8, tmp_path / "cache")
    (place,) = (tmp_path / "cache" / "arrays").iterdir()
    sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    assert json.loads((place / "meta.json").read_text())["native_bytes"] == 7 * 16 * 20 / 8
    assert sizes["images.npy"] == 7 * 8 * 8 * 3 + 128 and sizes["masks.npy"] == 7 * 8 * 8 + 128
    assert 10_015 * (224 * 224 * 4 + 600 * 450 / 8) < 3e9


# Phantoms


def test_phantoms_are_rendered_once_at_network_size(tmp_path, monkeypatch):
    first = phantom_arrays("busi", 3, 32, 0, tmp_path)
    image, mask = phantoms.render("busi", 1, 32, 0)
    assert (first.images[1] == image).all() and (first.masks[1] == mask).all()
    assert (first.native_masks[1] == mask).all()
    assert first.case_ids == ("busi-phantom-0001", "busi-phantom-0002", "busi-phantom-0003")
    monkeypatch.setattr(phantoms, "render", None)
    assert (phantom_arrays("busi", 3, 32, 0, tmp_path).images == first.images).all()


def test_phantom_index_fits_the_arrays_and_splits_like_a_dataset(tmp_path):
    index = phantom_index("glas", 8, 4, 0)
    assert index.case_ids == phantom_arrays("glas", 12, 32, 0, tmp_path).case_ids
    split = make_split(index, "default", val_share=0.25)
    assert (split.scheme, len(split.train), len(split.val), len(split.test)) == (
        "published",
        6,
        2,
        4,
    )
    assert split.test == index.case_ids[8:]
    assert len(make_split(index, "grouped").test) == 3


def test_phantom_identity_knows_look_seed_and_count():
    hashes = {
        phantom_index(*key).content_hash
        for key in (("glas", 8, 4, 0), ("glas", 8, 4, 1), ("busi", 8, 4, 0), ("glas", 8, 5, 0))
    }
    assert len(hashes) == 4
