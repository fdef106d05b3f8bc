import math

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.method import Method
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.checkpoints import save_state
from bench.training.engine import Engine
from bench.training.losses import LogitsMethod
from bench.training.predict import mean_dsc, probabilities
from bench.training.optimizer import make_optimizer
from bench.training.trainer import TrainingFailure, TrainingRun, train
from bench.training.weights import own_state

CPU = Engine(torch.device("cpu"))
RECIPE = Recipe(name="t", lr=0.02, epochs=6, batch_size=4, augmentation="shared", warmup=0)


def squares(n=12, size=16) -> CaseArrays:
    """Bright squares on noise, whose masks are the squares."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (n, size, size, 3), dtype=np.uint8)
    masks = np.zeros((n, size, size), dtype=bool)
    for mask in masks:
        row, column = rng.integers(0, size - 8, 2)
        mask[row : row + 8, column : column + 8] = True
    images[masks] += 150
    ids = tuple(f"c{i}" for i in range(n))
    return CaseArrays(
        dataset="squares",
        case_ids=ids,
        groups=ids,
        images=images,
        masks=masks,
        native_masks=list(masks),
        case_hashes=ids,
        content_hash="squares",
    )


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 1, 3, padding=1),
    )  # fmt: skip
    return LogitsMethod(layers, "bce+dice")


def setting(method, recipe=RECIPE, selection="last", resume=None, every=1, events=None):
    arrays = squares()
    cases = np.arange(8)
    batches = TrainingBatches(arrays, cases, recipe, 0, CPU.device, None)

    def score() -> float:
        probs = probabilities(method, arrays.images[8:], CPU, 0)
        return mean_dsc(probs, arrays.masks[8:])

    log = events.append if events is not None else lambda event: None
    run = TrainingRun(recipe, selection, {"val": score, "test": score}, every, 0, CPU, resume, log)
    return batches, run


def weights(method):
    return torch.cat([t.flatten().double() for t in own_state(method).values()])


def test_it_learns_bright_squares():
    method = network()
    trained = train(method, *setting(method, RECIPE.model_copy(update={"epochs": 30})))
    assert trained.history[-1]["val_dsc"] > 0.9
    assert trained.history[-1]["loss"] < 0.5 * trained.history[0]["loss"]


def test_same_seed_same_weights_and_another_seed_others():
    first, second = network(), network()
    train(first, *setting(first))
    train(second, *setting(second))
    assert torch.equal(weights(first), weights(second))
    third = network()
    batches, run = setting(third)
    batches.seed = run.seed = 1
    train(third, batches, run)
    assert not torch.equal(weights(first), weights(third))


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"optimizer": "sgd", "momentum": 0.9}])
@pytest.mark.parametrize("selection", ["last", "best-val"])
def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path, monkeypatch, changes, selection):
    monkeypatch.setattr("bench.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    recipe = RECIPE.model_copy(update=changes)
    whole = network()
    expected = train(whole, *setting(whole, recipe, selection))

    class Killed(Exception):
        pass

    stopped = network()
    batches, run = setting(stopped, recipe, selection, tmp_path / "state")

    def kill(event):
        if event["epoch"] == 3 and event.get("step") == 1:
            raise Killed

    run.on_progress = kill
    with pytest.raises(Killed):
        train(stopped, batches, run)
    resumed = network(seed=5)  # whatever it starts with is overwritten
    result = train(resumed, *setting(resumed, recipe, selection, tmp_path / "state"))
    assert torch.equal(weights(whole), weights(resumed))
    assert result.epoch == expected.epoch
    for row, other in zip(result.history, expected.history, strict=True):
        assert row | {"seconds": 0} == other | {"seconds": 0}


def test_best_val_takes_the_first_best_epoch_and_last_the_last():
    for selection, expected in (("best-val", 2), ("best-test", 3), ("last", 4)):
        method = network()
        batches, run = setting(method, RECIPE.model_copy(update={"epochs": 4}), selection)
        val, test = iter([0.1, 0.8, 0.8, 0.2]), iter([0.1, 0.2, 0.9, 0.2])
        run.validate = {"val": lambda v=val: next(v), "test": lambda t=test: next(t)}
        kept = {}
        run.on_progress = lambda event, m=method, k=kept: (
            k.__setitem__(event["epoch"], weights(m)) if "loss" in event else None
        )
        assert train(method, batches, run).epoch == expected
        assert torch.equal(weights(method), kept[expected])


def test_validation_runs_every_nth_epoch_and_at_the_end():
    method = network()
    recipe = RECIPE.model_copy(update={"epochs": 5})
    history = train(method, *setting(method, recipe, "best-val", every=2)).history
    assert [not math.isnan(row["val_dsc"]) for row in history] == [False, True, False, True, True]


def test_patience_stops_after_epochs_without_improvement():
    method = network()
    recipe = RECIPE.model_copy(update={"epochs": 20, "patience": 3})
    batches, run = setting(method, recipe, "best-val")
    run.validate = {"val": lambda: 0.5}
    trained = train(method, batches, run)
    assert (trained.epoch, len(trained.history)) == (1, 4)


def test_averaged_weights_lag_behind_and_are_what_is_kept():
    plain, averaged = network(), network()
    start = weights(plain)
    train(plain, *setting(plain))
    train(averaged, *setting(averaged, RECIPE.model_copy(update={"ema_decay": 0.95})))
    moved = (weights(averaged) - start)[:-9].norm()
    assert 0 < moved < (weights(plain) - start)[:-9].norm()


def test_a_loss_that_is_not_finite_stops_with_epoch_and_advice():
    method = network()
    batches, run = setting(method)
    method.loss = lambda batch: {"loss": method.network(batch.images).mean() * float("nan")}
    with pytest.raises(TrainingFailure, match=r"loss is not finite in epoch 1.*recipe\.lr"):
        train(method, batches, run)


def test_a_batch_larger_than_the_training_set_is_refused():
    with pytest.raises(BenchError, match=r"batches of 16, but squares has only 8"):
        setting(network(), RECIPE.model_copy(update={"batch_size": 16}))


def test_weights_of_another_network_are_refused(tmp_path):
    method = network()
    batches, run = setting(method, resume=tmp_path / "state")
    save_state(tmp_path / "state", {"weights": {"other": torch.zeros(1)}})
    with pytest.raises(BenchError, match="another network"):
        train(method, batches, run)


@pytest.mark.parametrize(
    "cases, size, drop_last, steps",
    [(8, 4, True, 2), (9, 4, True, 2), (9, 4, False, 2), (10, 4, False, 3), (10, 4, True, 2)],
)
def test_steps_of_an_epoch(cases, size, drop_last, steps):
    recipe = RECIPE.model_copy(update={"batch_size": size, "drop_last": drop_last})
    batches = TrainingBatches(squares(), np.arange(cases), recipe, 0, CPU.device, None)
    sizes = [len(batch.images) for batch in batches.epoch(0)]
    assert batches.steps == len(sizes) == steps
    assert min(sizes) > 1  # never one image alone


def test_every_case_is_drawn_once_an_epoch_and_foreground_can_be_forced():
    arrays = squares()
    arrays.masks[:10] = False
    recipe = RECIPE.model_copy(update={"augmentation": "none"})
    drawn = [
        b.images
        for b in TrainingBatches(arrays, np.arange(8), recipe, 0, CPU.device, None).epoch(0)
    ]
    assert len({float(image.sum()) for image in torch.cat(drawn)}) == 8
    forced = recipe.model_copy(update={"foreground_share": 0.25})
    batches = TrainingBatches(arrays, np.arange(12), forced, 0, CPU.device, None)
    assert all(batch.masks[-1].any() for batch in batches.epoch(0))


def test_prediction_is_the_same_at_every_call_and_leaves_the_random_stream_alone():
    class Noisy(Method):
        def predict(self, images):
            return torch.rand(len(images), 1, 16, 16)

    before = torch.random.get_rng_state()
    first = torch.cat(list(probabilities(Noisy(), squares().images, CPU, 0)))
    second = torch.cat(list(probabilities(Noisy(), squares().images, CPU, 0)))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_heads_learn_faster_and_norms_do_not_decay_where_the_recipe_says_so():
    method = network()
    method.head_parameters = ("network.4.",)
    recipe = RECIPE.model_copy(update={"head_lr": 10.0, "decay_norms": False, "epochs": 1})
    found = {
        (group["rate"], group["weight_decay"]): [tuple(p.shape) for p in group["params"]]
        for group in make_optimizer(method, recipe).param_groups
    }
    assert found == {
        (1.0, 0.01): [(8, 3, 3, 3), (8,)],
        (1.0, 0.0): [(8,), (8,)],
        (10.0, 0.01): [(1, 8, 3, 3), (1,)],
    }
    assert train(method, *setting(method, recipe)).history[0]["lr"] == pytest.approx(0.02)


def test_a_head_rate_without_a_head_is_refused():
    with pytest.raises(BenchError, match="names no `head_parameters`"):
        make_optimizer(network(), RECIPE.model_copy(update={"head_lr": 10.0}))
