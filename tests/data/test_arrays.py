"""Arrays: each case decoded once, the cache shared and never half-written."""

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_doubles import busi, glas, make_busi, make_glas, picture, tree
from PIL import Image

from bench.core import checksums
from bench.core.checksums import Damaged
from bench.core.errors import BenchError
from bench.data import arrays, phantoms
from bench.data.arrays import (
    FOLDER,
    NativeMasks,
    arrays_key,
    load_arrays,
    phantom_arrays,
    phantom_index,
)
from bench.data.pixels import (
    pack,
    pixel_hash,
    resized_image,
    resized_mask,
    to_rgb,
    unpack,
)
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
    assert len(list((tmp_path / "cache" / FOLDER).iterdir())) == 1


def test_rows_are_looked_up_by_case(tmp_path, folder):
    loaded = load_arrays(folder, 8, tmp_path / "cache")
    assert loaded.rows(["malignant_1", "benign_1"]).tolist() == [4, 0]
    with pytest.raises(KeyError):
        loaded.rows(["nobody"])


def test_looking_up_rows_reads_the_case_ids_once(tmp_path, folder):
    passes = []

    class Ids(tuple):
        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    loaded = load_arrays(folder, 8, tmp_path / "cache")
    loaded = replace(loaded, case_ids=Ids(loaded.case_ids))
    for row, case_id in enumerate(read_index(folder).case_ids):
        assert loaded.rows([case_id]).tolist() == [row]
    assert len(passes) == 1


def test_a_protocols_resize_has_arrays_and_a_key_of_its_own(tmp_path, folder):
    default, other = (
        load_arrays(folder, 8, tmp_path / "cache", resize=how) for how in ("pillow", "opencv")
    )
    assert default.content_hash == load_arrays(folder, 8, tmp_path / "cache").content_hash
    assert other.content_hash != default.content_hash
    assert arrays_key(read_index(folder), 8, "opencv") != arrays_key(read_index(folder), 8)
    image = to_rgb(Image.open(folder / "images" / "benign_1.png"))
    assert (other.images[0] == resized_image(image, 8, "opencv")).all()
    assert (other.masks[0] == resized_mask(other.native_masks[0], 8, "opencv")).all()


# The key of arrays


def test_equal_keys_mean_equal_pixels(tmp_path, folder):
    index = read_index(folder)
    key = arrays_key(index, 8)
    load_arrays(folder, 8, tmp_path / "cache")
    assert entry(tmp_path / "cache").name == key[:32]
    assert arrays_key(replace(index, groups=("g",) * 7, classes=("c",) * 7), 8) == key


@pytest.mark.parametrize(
    "change", ["size", "cases", "order of cases", "pixels", "version", "pixels of a file"]
)
def test_other_pixels_have_another_key(folder, monkeypatch, change):
    index, size = read_index(folder), 8
    key = arrays_key(index, size)
    if change == "size":
        size = 16
    if change == "cases":
        index = replace(index, case_ids=index.case_ids[1:])
    if change == "order of cases":
        index = replace(index, case_ids=index.case_ids[::-1])
    if change == "pixels":
        index = replace(index, content_hash="0" * 64)
    if change == "version":
        monkeypatch.setattr(arrays, "VERSION", arrays.VERSION + 1)
    if change == "pixels of a file":
        source = folder.parents[1] / "source" / "Dataset_BUSI_with_GT" / "benign"
        picture(99).save(source / "benign (1).png")
        prepare(busi(), folder.parents[1] / "source", folder.parent)
        index = read_index(folder)
    assert arrays_key(index, size) != key


def test_phantoms_have_a_key_too(tmp_path):
    phantom_arrays("busi", 3, 32, 0, tmp_path)
    assert entry(tmp_path).name == arrays_key(phantom_index("busi", 2, 1, 0), 32)[:32]
    others = [("glas", 3, 0, 0), ("busi", 4, 0, 0), ("busi", 3, 0, 1)]
    assert entry(tmp_path).name not in {arrays_key(phantom_index(*one), 32)[:32] for one in others}


def test_keys_are_made_without_reading_pixels(folder, monkeypatch):
    monkeypatch.setattr(arrays, "load", None)
    monkeypatch.setattr(phantoms, "render", None)
    assert len(arrays_key(read_index(folder), 8)) == 64
    assert len(arrays_key(phantom_index("busi", 10_000, 0, 0), 224)) == 64


def test_pixels_are_those_that_the_versions_stand_for(tmp_path, folder):
    """When this fails, the same data give other pixels than stored results rest on: raise VERSION in
    `bench.data.phantoms` (phantoms) or in `bench.data.arrays` (prepared data), then renew the
    digests."""
    ultrasound = phantom_arrays("busi", 2, 32, 0, tmp_path / "cache")
    glands = phantom_arrays("glas", 2, 32, 0, tmp_path / "cache")
    prepared = load_arrays(folder, 8, tmp_path / "cache")
    assert (phantoms.VERSION, arrays.VERSION) == (3, 1)
    assert ultrasound.content_hash[:16] == "6c5841fad65e4f8a"
    assert glands.content_hash[:16] == "fc292bf1a19a9d79"
    assert prepared.content_hash[:16] == "bdca57bdb673bba4"
    assert pixel_hash(prepared.native_masks[1])[:16] == "03f9515be8c64358"


def test_a_file_changed_after_preparing_is_refused(tmp_path, folder):
    Image.new("RGB", (20, 16)).save(folder / "images" / "benign_1.png")
    with pytest.raises(BenchError, match=r"benign_1\.png or its mask changed.*Prepare busi again"):
        load_arrays(folder, 8, tmp_path / "cache")
    (folder / "masks" / "benign_1.png").unlink()
    with pytest.raises(BenchError, match="does not exist. Prepare again"):
        load_arrays(folder, 8, tmp_path / "cache")
    assert tree(tmp_path / "cache") == [FOLDER]


def test_a_full_disk_leaves_no_cache(tmp_path, folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "pack", full)
    with pytest.raises(BenchError, match="Cannot cache busi at 8 pixels in .*the disk is full"):
        load_arrays(folder, 8, tmp_path / "cache")
    assert tree(tmp_path / "cache") == [FOLDER]


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
    assert len(list((tmp_path / "cache" / FOLDER).iterdir())) == 1


def entry(cache: Path) -> Path:
    """The folder of the one entry in a cache."""
    return next(path for path in (cache / FOLDER).iterdir() if len(path.name) == 32)


def shortened(place: Path) -> None:
    images = place / "images.npy"
    images.write_bytes(images.read_bytes()[:-100])


def overwritten(place: Path) -> None:
    masks = place / "masks.npy"
    masks.write_bytes(masks.read_bytes()[:-1] + b"\x01")


def native_overwritten(place: Path) -> None:
    native = place / "native.bin"
    native.write_bytes(bytes(len(native.read_bytes())))


def without_meta(place: Path) -> None:
    (place / "meta.json").unlink()


def meta_is_no_json(place: Path) -> None:
    (place / "meta.json").write_text("{")


def meta_of_other_cases(place: Path) -> None:
    meta = json.loads((place / "meta.json").read_text())
    meta["case_hashes"].reverse()
    (place / "meta.json").write_text(json.dumps(meta))


def without_checksums(place: Path) -> None:
    for path in place.glob("*.sha256"):
        path.unlink()


def emptied(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()


DAMAGES = [
    shortened,
    overwritten,
    native_overwritten,
    without_meta,
    meta_is_no_json,
    meta_of_other_cases,
    without_checksums,
    emptied,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_named_set_aside_and_built_again(tmp_path, folder, caplog, damage):
    first = load_arrays(folder, 8, tmp_path / "cache")
    images, masks = first.images.copy(), first.masks.copy()
    native = [mask.copy() for mask in first.native_masks]
    place = entry(tmp_path / "cache")
    damage(place)

    again = load_arrays(folder, 8, tmp_path / "cache")
    (warning,) = caplog.messages
    assert str(place) in warning and warning.endswith(
        f"It is kept as {place.name}.damaged and made anew."
    )
    assert place.with_name(f"{place.name}.damaged").is_dir()
    assert (again.images == images).all() and (again.masks == masks).all()
    assert all((a == b).all() for a, b in zip(again.native_masks, native, strict=True))
    assert again.case_hashes == first.case_hashes

    caplog.clear()
    load_arrays(folder, 8, tmp_path / "cache")
    assert caplog.messages == []


def test_two_processes_that_find_the_same_damage_agree(tmp_path, folder):
    first = load_arrays(folder, 8, tmp_path / "cache").images.copy()
    overwritten(entry(tmp_path / "cache"))
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load_arrays, folder, 8, tmp_path / "cache") for _ in range(4)]
    assert all((load.result().images == first).all() for load in loads)
    assert not load_arrays(folder, 8, tmp_path / "cache").masks[-1, -1, -1]


def test_a_damaged_entry_is_not_used_where_it_cannot_be_built_again(tmp_path, folder):
    load_arrays(folder, 8, tmp_path / "cache")
    overwritten(entry(tmp_path / "cache"))
    (folder / "masks" / "benign_1.png").unlink()
    with pytest.raises(BenchError, match="benign_1.* does not exist. Prepare again"):
        load_arrays(folder, 8, tmp_path / "cache")


def test_a_disk_that_changes_what_is_written_is_named(tmp_path, folder, monkeypatch):
    def broken(path):
        raise Damaged(f"{path} does not have its sha256")

    monkeypatch.setattr(arrays, "verify", broken)
    with pytest.raises(BenchError, match="although it was just written. Check the disk"):
        load_arrays(folder, 8, tmp_path / "cache")


def test_an_opened_entry_is_not_hashed_again(tmp_path, folder, monkeypatch):
    load_arrays(folder, 8, tmp_path / "cache")
    for path in entry(tmp_path / "cache").iterdir():
        os.utime(path, ns=(0, 1_700_000_000_000_000_000 + path.name.endswith(".sha256")))
    load_arrays(folder, 8, tmp_path / "cache")

    def never(path):
        raise AssertionError(f"hashed {path}")

    monkeypatch.setattr(checksums, "file_digest", never)
    load_arrays(folder, 8, tmp_path / "cache")


def test_ham10000_at_224_fits_in_3_gb(tmp_path, folder):
    load_arrays(folder, 8, tmp_path / "cache")
    (place,) = (tmp_path / "cache" / FOLDER).iterdir()
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


def test_phantoms_of_another_style_seed_or_count_have_another_content_hash():
    hashes = {
        phantom_index(*key).content_hash
        for key in (("glas", 8, 4, 0), ("glas", 8, 4, 1), ("busi", 8, 4, 0), ("glas", 8, 5, 0))
    }
    assert len(hashes) == 4
