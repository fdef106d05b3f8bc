"""Training and judging tokenizers: reproducible, resumable, and measured by what comes back."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import BenchError
from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.builtin import TINY_KL_SPEC, TINY_VQ_SPEC
from bench.tokenizers.embedded_training import codebook, corpus
from bench.tokenizers.embedded_training.objective import colour_loss, hard_dice, pyramid_loss
from bench.tokenizers.embedded_training.recipes import (
    RECIPES,
    TINY_KL,
    TINY_VQ,
    TokenizerRecipe,
    tokenizer_recipe,
)
from bench.tokenizers.embedded_training.train import WEIGHTS, TokenizerRun, rate, run_training
from bench.tokenizers.evaluation import EvalSet, evaluate, figure, mask_set, prepared_sets
from bench.tokenizers.model_cards import write_training_card

SHORT = {
    "batches": ((32, 2, 1.0),),
    "warmup": 1,
    "log_every": 1,
    "check_every": 4,
    "save_every": 1,
    "colour_start": 1,
    "probe_start": 1,
}
SMALL = {
    "tiny-kl": TINY_KL.model_copy(
        update=SHORT
        | {
            "config": TINY_KL.config
            | {"encoder_block_out_channels": (4,) * 4, "decoder_block_out_channels": (4,) * 4}
        }
    ),
    "tiny-vq": TINY_VQ.model_copy(
        update=SHORT
        | {
            "codebook_start": 1,
            "config": TINY_VQ.config
            | {"block_out_channels": (4, 4, 8, 8), "norm_num_groups": 2, "num_vq_embeddings": 16},
        }
    ),
}


@pytest.fixture(scope="module")
def pool() -> corpus.Pool:
    images = np.stack([corpus.paint_image(i, 64, 0) for i in range(4)])
    masks = np.stack([corpus.paint_mask(i, 64, 0) for i in range(9)]).astype(np.uint8)
    return corpus.Pool(images, masks)


class Stop(Exception):
    pass


def stop_after(step: int):
    def progress(row):
        if row["step"] == step:
            raise Stop

    return progress


@pytest.mark.parametrize("name", SMALL)
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(name, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tokenizers.embedded_training.train.CHECKED", (2, 32))
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    run_training(TokenizerRun(SMALL[name], pool, seed=3, steps=4), whole)
    with pytest.raises(Stop):
        run_training(TokenizerRun(SMALL[name], pool, 3, 4), parted, stop_after(3))
    run_training(TokenizerRun(SMALL[name], pool, 3, 4), parted)
    assert (whole / WEIGHTS).read_bytes() == (parted / WEIGHTS).read_bytes()
    rows = [list(csv.DictReader((f / "curve.csv").open())) for f in (whole, parted)]
    assert [r["step"] for r in rows[1]] == ["1", "2", "3", "4"]
    assert [r["loss"] for r in rows[0]] == [r["loss"] for r in rows[1]]
    loaded = {"tiny-kl": TINY_KL_SPEC, "tiny-vq": TINY_VQ_SPEC}[name].load(str(parted))
    assert loaded.encode(torch.rand(1, 3, 32, 32)).shape == (1, 4, 4, 4)


@pytest.mark.parametrize("name, spec", [("tiny-kl", TINY_KL_SPEC), ("tiny-vq", TINY_VQ_SPEC)])
def test_a_training_ends_with_a_model_card(name, spec, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tokenizers.embedded_training.train.CHECKED", (2, 32))
    run_training(TokenizerRun(SMALL[name], pool, 0, 1), tmp_path)
    write_training_card(tmp_path, spec, sizes=(32,), count=1)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["weights_sha256"] == spec.weights_hash(str(tmp_path))
    assert card["training"]["recipe"]["steps"] == 1
    assert [row["cases"] for row in card["evaluations"][0]["datasets"]] == [1] * 5
    text = (tmp_path / "README.md").read_text()
    assert "| glas phantoms | 1 | " in text and "1 steps of AdamW" in text
    assert ("Codebook perplexity" in text) == (name == "tiny-vq")


def test_a_run_resumes_only_itself(pool, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tokenizers.embedded_training.train.CHECKED", (2, 32))
    run_training(TokenizerRun(SMALL["tiny-kl"], pool, 0, 1), tmp_path)
    with pytest.raises(BenchError, match="another recipe or seed"):
        run_training(TokenizerRun(SMALL["tiny-kl"], pool, 1, 2), tmp_path)


def test_only_the_embedded_tokenizers_can_be_trained():
    with pytest.raises(BenchError, match="No tokenizer that this package can train named 'sd-vae'"):
        tokenizer_recipe("sd-vae")


def test_ones_own_pictures_join_the_pool(tmp_path):
    Image.new("RGB", (50, 40), (200, 100, 0)).save(tmp_path / "own.png")
    extra = corpus.read_pictures(tmp_path, 32)
    pool = corpus.Pool.stored(tmp_path / "pool", 2, 2, 32, 0, extra=extra)
    assert pool.images[2, 5, 5].tolist() == [200, 100, 0]
    (tmp_path / "own.png").write_bytes(b"no image")
    with pytest.raises(BenchError, match="own.png cannot be decoded"):
        corpus.read_pictures(tmp_path, 32)
    with pytest.raises(BenchError, match="holds no pictures"):
        corpus.read_pictures(tmp_path / "pool", 32)


@pytest.mark.parametrize("step, share", [(0, 0.5), (1, 1.0), (5, 1.0), (8, 0.5), (10, 0.0)])
def test_the_rate_rises_stays_and_falls(step, share):
    recipe = SMALL["tiny-kl"].model_copy(update={"warmup": 2, "decay": 0.4})
    assert rate(recipe, 10, step) == pytest.approx(share * recipe.lr)


def test_recipes_refuse_unknown_fields_and_are_found_by_name():
    assert tokenizer_recipe("tiny-vq") is RECIPES["tiny-vq"]
    with pytest.raises(ValueError, match="extra"):
        TokenizerRecipe(name="x", network="VQModel", config={}, steps=1, epochs=3)


# -- the corpus -------------------------------------------------------------------------------


def test_pictures_and_masks_are_a_function_of_index_size_and_seed():
    for i in range(18):
        assert np.array_equal(corpus.paint_image(i, 32, 5), corpus.paint_image(i, 32, 5))
        assert np.array_equal(corpus.paint_mask(i, 32, 5), corpus.paint_mask(i, 32, 5))
    assert not np.array_equal(corpus.paint_image(1, 32, 5), corpus.paint_image(1, 32, 6))


def test_masks_cover_empty_full_and_everything_between():
    masks = [corpus.paint_mask(i, 48, 0) for i in range(180)]
    shares = np.array([m.mean() for m in masks])
    assert (shares == 0).any() and (shares == 1).any()
    assert ((shares > 0) & (shares < 0.05)).any() and ((shares > 0.2) & (shares < 0.8)).any()
    assert any(m[0].any() and m[-1].any() for m in masks if m.mean() < 0.5)  # touching borders


def test_crops_are_whole_uint8_and_follow_the_generator(pool):
    crops = [pool.image_crops(np.random.default_rng(1), 3, 40) for _ in range(2)]
    assert np.array_equal(*crops)
    assert (crops[0].shape, crops[0].dtype) == ((3, 40, 40, 3), np.uint8)
    masks = pool.mask_crops(np.random.default_rng(1), 6, 48)
    assert masks.shape == (6, 48, 48)
    assert set(np.unique(masks)) <= {0, 1}


def test_the_pool_is_rendered_once(tmp_path):
    said = []
    pools = [corpus.Pool.stored(tmp_path, 2, 2, 32, 0, said.append) for _ in range(2)]
    assert len(said) == 1
    assert np.array_equal(pools[0].images, pools[1].images)


# -- losses and codebook ----------------------------------------------------------------------


def test_losses_are_zero_only_for_the_same_picture():
    x = torch.rand(2, 3, 32, 32)
    assert pyramid_loss(x, x) == 0 and colour_loss(x, x) == 0
    assert colour_loss(x + 0.1, x) == pytest.approx(0, abs=1e-6)  # brighter, same colour
    assert colour_loss(x + torch.tensor([0.3, 0, 0]).view(3, 1, 1), x) == pytest.approx(0.4 / 3)


@pytest.mark.parametrize(
    "decoded, mask, expected",
    [
        ([0.9, 0.6, 0.1, 0.2], [1, 1, 0, 0], 1.0),
        ([0.9, 0.4, 0.1, 0.2], [1, 1, 0, 0], 2 / 3),
        ([0.1, 0.1, 0.1, 0.2], [0, 0, 0, 0], 1.0),
        ([0.9, 0.1, 0.1, 0.2], [0, 0, 0, 0], 0.0),
    ],
)
def test_decoded_masks_are_cut_at_one_half_of_the_mean_channel(decoded, mask, expected):
    values = torch.tensor(decoded).view(1, 1, 2, 2)
    tilted = torch.cat([values - 0.3, values, values + 0.3], dim=1)
    target = torch.tensor(mask).view(1, 1, 2, 2).float()
    assert float(hard_dice(tilted, target)) == pytest.approx(expected)


def test_k_means_finds_separate_clusters_however_unlike_in_size():
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    sizes = (900, 20, 20)
    parts = [c + 0.05 * torch.randn(n, 2) for c, n in zip(centres, sizes, strict=True)]
    codes = codebook.fit_codes(torch.cat(parts), 12, torch.Generator().manual_seed(0))
    assert (torch.cdist(centres, codes).min(dim=1).values < 0.2).all()


def test_unused_codes_move_onto_badly_served_latents():
    codes = torch.tensor([[0.0, 0.0], [99.0, 99.0]])
    book = codebook.MovingCodebook(codes, decay=0.5)
    latents = torch.cat([torch.zeros(30, 2), torch.full((10, 2), 4.0)])
    for _ in range(8):
        book.update(latents, codebook.nearest_code(latents, book.codes))
    moved = book.restart(
        latents, codebook.nearest_code(latents, codes), torch.Generator().manual_seed(0)
    )
    assert moved == 1
    assert codes[1].tolist() == [4.0, 4.0]


@pytest.mark.parametrize("use, expected", [([0] * 8, 1.0), ([0, 1, 2, 3], 4.0)])
def test_perplexity_counts_codes_in_use(use, expected):
    assert codebook.perplexity(torch.tensor(use), 4) == pytest.approx(expected)


# -- judging ----------------------------------------------------------------------------------


class Blur(FrozenTokenizer):
    """Keeps the mean of every 2 x 2 pixels: even masks come back whole, a single pixel is lost."""

    name, latent_channels, factor = "blur", 3, 2

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.freeze()

    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images, 2)

    def decode(self, latents):
        return latents.repeat_interleave(2, -1).repeat_interleave(2, -2)


def square(side: int, size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[4 : 4 + side, 4 : 4 + side] = True
    return mask


def test_evaluation_reports_the_mean_and_names_the_worst_case(tmp_path):
    masks = np.stack([square(8), square(1), square(0)])
    pictures = np.full((3, 32, 32, 3), 128, np.uint8)
    sets = [EvalSet("made-up", ("whole", "lost", "blank"), masks, pictures)]
    result = evaluate(Blur(), sets, batch_size=2)
    row = result.table().iloc[0]
    assert (row["cases"], row["empty"], row["worst_case"]) == (3, 2, "lost")
    assert row["dice"] == pytest.approx(2 / 3)
    assert row["ssim"] == pytest.approx(1.0) and row["psnr"] == pytest.approx(100.0)
    assert result.latents["made-up"]["image"]["mean"] == pytest.approx([128 / 255] * 3)
    assert set(result.throughput()) == {"encode", "decode"}
    assert result.as_json()["datasets"][0]["worst_case"] == "lost"
    figure(Blur(), sets, result, tmp_path / "worst.png")
    assert Image.open(tmp_path / "worst.png").size[0] > 500


def test_a_bare_folder_of_masks_is_judged_without_images(tmp_path):
    Image.fromarray(np.uint8(square(8, 64)) * 255).save(tmp_path / "one.png")
    cases = mask_set(tmp_path, 32)
    assert (cases.case_ids, cases.masks.shape, cases.images) == (("one",), (1, 32, 32), None)
    result = evaluate(Blur(), [cases])
    assert result.as_json()["datasets"][0]["psnr"] is None


def test_the_command_judges_a_folder_of_masks(bench, tmp_path):
    Image.fromarray(np.uint8(square(20, 64)) * 255).save(tmp_path / "one.png")
    words = ("tokenizer", "eval", "tiny-kl", "--masks", tmp_path, "--size", 64, "--out", "found")
    result = bench(*words, "--json")
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout)["datasets"][0]
    assert (row["cases"], row["worst_case"]) == (1, "one") and row["dice"] > 0.98
    assert Image.open(tmp_path / "found" / "tokenizers" / "tiny-kl-64.png").size[0] > 500
    nowhere = bench("tokenizer", "eval", "tiny-kl", "--masks", tmp_path / "nowhere")
    assert nowhere.returncode == 2 and "No folder" in nowhere.stderr


def test_folders_without_masks_or_prepared_data_say_what_to_do(tmp_path):
    with pytest.raises(BenchError, match="holds no masks"):
        mask_set(tmp_path, 32)
    with pytest.raises(BenchError, match="bench data prepare NAME --from FOLDER"):
        prepared_sets(tmp_path, 32)


def test_codes_in_use_are_counted_per_dataset():
    from bench.tokenizers.evaluation import phantom_sets

    found = evaluate(TINY_VQ_SPEC.load(), phantom_sets(64, count=1)[:1]).latents
    for kind in ("mask", "image"):
        stats = found["bus phantoms"][kind]
        assert 1 <= stats["perplexity"] <= stats["codes_used"] <= 64
